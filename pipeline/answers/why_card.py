"""Why, as one page about one account: readable without a network, nothing in it runs."""

from typing import Any

from limitlens.limits.attribution import PLAYERS
from limitlens.pipeline.answers.answer import Answer
from limitlens.pipeline.answers.report_tables import MEANING
from limitlens.pipeline.answers.timeline import Moment
from limitlens.pipeline.answers.why_text import VERBS, first_sentence, hold_sentences, split_sentences, told_groups
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.page import render


def card(answer: Answer, language: str = "en") -> str:
    """The page about one answer, in HTML.

    Parameters
    ----------
    answer : Answer
    language : {"en", "zh"}
    """
    return in_language(render("why.html.j2", card_context(answer)), language)


def card_body(answer: Answer, language: str = "en") -> str:
    """What stands in that page, to be shown in another."""
    return in_language(render("why_body.html.j2", card_context(answer)), language)


def card_context(answer: Answer) -> dict[str, Any]:
    """Everything the page shows; what comes from the account is escaped when it is filled in."""
    groups = told_groups(answer)
    contributions = [abs(fact.contribution) for group in groups for fact in group.facts]
    moments = answer.line.timeline
    return {
        "answer": answer,
        "first_sentence": None if answer.split.share_cents else first_sentence(answer),
        "verb": VERBS[answer.decision.action],
        "verbs": VERBS,
        "meaning": MEANING,
        "colours": plots.COLOURS,
        "players": PLAYERS,
        "waterfall": _waterfall(answer),
        "sentences": [*hold_sentences(answer), *(split_sentences(answer) if answer.split.share_cents else [])],
        "groups": groups,
        "model_moved": any(answer.model.model_parts.values()),
        "strongest": max(contributions, default=0.0) or 1.0,
        "life": _life(moments, answer.decision.as_of),
    }


def _waterfall(answer: Answer) -> str:
    if answer.split.share_cents is None:
        return ""
    shares = {player: cents / 100 for player, cents in answer.split.share_cents.items()}
    parts = {f"behaviour: {group.name}": group.share_cents / 100 for group in answer.split.groups if group.share_cents}
    if len(parts) > 1:
        shares = parts | {player: share for player, share in shares.items() if player != "behaviour"}
    return plots.waterfall(answer.decision.limit_before_cents / 100, shares, answer.decision.limit_cents / 100)


def _life(moments: tuple[Moment, ...], asked: str) -> str:
    moved = {
        place: "override" if moment.action == "override" else moment.cause
        for place, moment in enumerate(moments)
        if moment.cause and moment.limit_cents != moment.limit_before_cents
    }
    return plots.life(
        [moment.as_of[:10] for moment in moments],
        [moment.limit_cents / 100 for moment in moments],
        [float("nan") if moment.pd is None else moment.pd for moment in moments],
        moved,
        max(p for p, moment in enumerate(moments) if moment.as_of == asked and moment.action != "override"),
    )
