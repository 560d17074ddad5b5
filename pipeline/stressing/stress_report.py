"""The page of a stress test, for a risk committee: one HTML file a language, readable without a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from pathlib import Path
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.storage import write_text
from limitlens.limits.policy import ADVERSE, Policy
from limitlens.limits.stress_scenarios import Scenario
from limitlens.models.satellite import Satellite
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.pages.small_cells import FEWEST
from limitlens.pipeline.pages.stress_words import (
    LANGUAGES,
    age_words,
    in_currency,
    odds_words,
    shock_words,
    shown_counts,
    word,
)
from limitlens.pipeline.stressing.answer import Answer, Stressed
from limitlens.pipeline.stressing.shocks import ORDERED


@dataclass(frozen=True)
class Table:
    """A table: the first ``text_columns`` hold words, the others numbers."""

    heads: list[str]
    rows: list[list[str]]
    title: str = ""
    note: str = ""
    text_columns: int = 1


@dataclass(frozen=True)
class Section:
    """A heading, sentences, pictures by caption, tables."""

    title: str
    texts: list[str]
    plots: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def write_stress_report(stressed: Stressed, policy: Policy, out: Path) -> list[Path]:
    """Write the page in English, and in Chinese beside it with ``.zh-CN`` before the ending.

    Parameters
    ----------
    stressed : Stressed
    policy : Policy
        That decided the day.
    out : Path

    Returns
    -------
    list of Path
    """
    paths = [out, out.with_suffix(f".zh-CN{out.suffix}")]
    for lang, path in zip(LANGUAGES, paths, strict=True):
        write_text(render("stress.html.j2", stress_context(stressed, policy, lang)), path)
    return paths


def stress_context(stressed: Stressed, policy: Policy, lang: str) -> dict[str, Any]:
    """Everything the page shows in one language."""
    as_of = format_time(stressed.as_of)
    values = {"lines": f"{stressed.lines:,}", "as_of": as_of, "scenarios": len(stressed.answers)}
    sections = [
        _overview(stressed, lang),
        *(_section(answer, stressed.shifts.get(answer.scenario.name), lang) for answer in stressed.answers),
    ]
    if stressed.satellite:
        sections.append(_satellite(stressed.satellite, lang))
    if stressed.refused:
        titles = [f"{name}: {why}" for name, why in stressed.refused.items()]
        sections.append(Section(word("refused", lang), titles))
    assumed = word("assumed_text", lang).format(lgd=f"{policy.loss.lgd:.0%}", ccf=f"{policy.loss.ccf:.0%}")
    sections.append(Section(word("assumed", lang), [assumed]))
    digests = ", ".join(f"{name} {digest[:12]}" for name, digest in stressed.inputs.items())
    return {
        "lang": lang,
        "title": word("title", lang),
        "as_of": as_of,
        "lead": word("lead", lang).format(**values),
        "figures": _figures(stressed, lang),
        "head": [
            (
                word("stands_on", lang),
                word("version_policy", lang).format(stressed.model_version, f"{policy.name} ({policy.digest[:8]})"),
            ),
            (word("digests", lang), digests),
        ],
        "sections": sections,
    }


def title_of(scenario: Scenario, lang: str) -> str:
    """What a page calls a scenario."""
    return scenario.title_zh if lang == "zh" else scenario.title


def shown(answer: Answer) -> dict[str, Any]:
    """Totals at the severity that stands for it, in the end, and the lines that are paused on the day."""
    [row] = [row for row in answer.totals("end") if row["severity"] == answer.typical]
    [day] = [row for row in answer.totals("day") if row["severity"] == answer.typical]
    return {**row, "paused": day["paused"]}


def _figures(stressed: Stressed, lang: str) -> list[tuple[str, str]]:
    rows = [(title_of(answer.scenario, lang), shown(answer)) for answer in stressed.answers]
    if not rows:
        return [(f"{stressed.lines:,}", word("lines", lang))]
    worst = {
        key: max(rows, key=lambda row: row[1][key])
        for key in ("loss_unanswered_cents", "closed", "credit_removed_cents")
    }
    loss, closed, credit = worst.values()
    return [
        (f"{stressed.lines:,}", word("lines", lang)),
        (in_currency(rows[0][1]["loss_before_cents"]), word("loss_now", lang)),
        (in_currency(loss[1]["loss_unanswered_cents"]), word("worst_loss", lang).format(loss[0])),
        (shown_counts([closed[1]["closed"]], lang)[0], word("worst_closed", lang).format(closed[0])),
        (in_currency(credit[1]["credit_removed_cents"]), word("worst_credit", lang).format(credit[0])),
    ]


def _overview(stressed: Stressed, lang: str) -> Section:
    names = ("loss_before_cents", "loss_unanswered_cents", "loss_after_cents")
    rows = {title_of(answer.scenario, lang): shown(answer) for answer in stressed.answers}
    even = [answer.break_even.get(answer.typical) for answer in stressed.answers]
    moved = [
        [
            title,
            *shown_counts([row["closed"], row["frozen"], row["cut"]], lang),
            *shown_counts([row["paused"]], lang),
            _good_hit(row, lang),
            in_currency(row["credit_removed_cents"]),
        ]
        for title, row in rows.items()
    ]
    lost = [
        [
            title,
            *(in_currency(row[name]) for name in names),
            word("no_break_even", lang) if odds is None else word("odds_times", lang).format(exp(odds)),
        ]
        for (title, row), odds in zip(rows.items(), even, strict=True)
    ]
    heads = (
        ("scenario", "closed", "frozen", "cut", "paused", "good_hit", "credit_removed"),
        ("scenario", "loss_before", "loss_unanswered", "loss_after", "break_even"),
    )
    of_lines, of_losses = ([word(name, lang) for name in some] for some in heads)
    losses = {title: [row[name] / 100 for name in names] for title, row in rows.items()}
    picture = [(word("losses_caption", lang), plots.stress_losses(losses, of_losses[1:4], "losses"))] if losses else []
    tables = [
        Table(of_lines, moved, word("lines_moved", lang), word("small", lang)),
        Table(of_losses, lost, word("losses", lang)),
    ]
    return Section(word("at_one", lang).format(1), [word("at_one_note", lang)], picture, tables)


def _good_hit(row: Mapping[str, Any], lang: str) -> str:
    """The expected number; of a few lines not shown."""
    few = row["newly_adverse"] < FEWEST
    return shown_counts([row["newly_adverse"]], lang)[0] if few else f"{row['good_hit']:,.0f}"


def _section(answer: Answer, shift: float | None, lang: str) -> Section:
    texts, tables = _monotone(answer, lang)
    pictures = _pictures(answer, lang) if answer.slices is None else []
    few = [word("few_moves", lang)] if len(pictures) == 1 else []
    return Section(
        title_of(answer.scenario, lang),
        [_about(answer.scenario, shift, lang), *texts, *few],
        pictures,
        [*tables, _by_group(answer, lang), *_of_kind(answer, lang)],
    )


def _pictures(answer: Answer, lang: str) -> list[tuple[str, str]]:
    """Expected loss by severity, and lines by what becomes of them, where there are enough of them to be shown."""
    totals, name = answer.totals("end"), answer.scenario.name
    severities = [row["severity"] for row in totals]
    losses = {
        word(f"loss_{k}", lang): [row[f"loss_{k}_cents"] / 100 for row in totals] for k in ("unanswered", "after")
    }
    counts = {word(key, lang): [_drawn(row[key]) for row in totals] for key in ("closed", "frozen", "cut")}
    drawn = answer.scenario.kind == "iteration"
    axis = word("draw" if drawn else "severity", lang)
    captions = [word(f"{name}_caption{'_draw' if drawn else ''}", lang) for name in ("curve", "moves")]
    curve = captions[0], plots.stress_curve(severities, losses, axis, f"{name}-curve")
    if not any(map(any, counts.values())):
        return [curve]
    return [curve, (captions[1], plots.stress_moves(severities, counts, axis, f"{name}-moves"))]


def _satellite(fitted: Satellite, lang: str) -> Section:
    values = {"months": fitted.months, "r2": fitted.r_squared, "dw": fitted.durbin_watson}
    rows = [
        [name, f"{weight:+.3f}", f"{fitted.errors[name]:.3f}", f"{fitted.latest[name]:.2f}"]
        for name, weight in fitted.weights.items()
    ]
    heads = [word(name, lang) for name in ("series", "weight", "error", "latest")]
    return Section(word("satellite", lang), [word("satellite_text", lang).format(**values)], [], [Table(heads, rows)])


def _of_kind(answer: Answer, lang: str) -> list[Table]:
    """Tables that only one kind of scenario has."""
    if answer.slices is not None:
        return [_by_slice(answer.slices, lang)]
    return [_closed_in(answer, lang), _by_chance(answer, lang)] if answer.closed_in else []


def _by_slice(slices: pd.DataFrame, lang: str) -> Table:
    """What an outage does without holds and with them, of the whole and of each slice."""
    rows = []
    for row in slices.to_dict("records"):
        name = f"{row['column']} {row['value']}" if row["column"] else word("whole", lang)
        without = shown_counts([row["newly_adverse"], row["newly_closed"]], lang)
        within = shown_counts([row["held"], row["newly_adverse_with_holds"]], lang)
        lines = shown_counts([row["lines"]], lang)
        rows.append([name, *lines, *without, *within, word("yes" if row["noticed"] else "no", lang)])
    heads = ("slice", "lines", "newly_adverse_out", "closed_out", "held", "with_holds", "noticed")
    return Table([word(name, lang) for name in heads], rows, word("outage", lang), word("outage_note", lang))


def _by_chance(answer: Answer, lang: str) -> Table:
    """What the model in use closes, beside what the draws close."""
    counts, closed = answer.by_chance(), _by_draws(answer)[0]
    parts = ("closed", "closed_by_half", "closed_by_fewer")
    rows = list(zip(parts, shown_counts([counts[name] for name in parts], lang), strict=True))
    shares = counts["closed"] and not any(0 < count < FEWEST for count in closed)  # a few would be read off it
    rows.append(("closing_share", f"{counts['closing_share']:.0%}" if shares else word("not_shown", lang)))
    single = [counts[name] for name in ("others_by_half", "newly_closed", "newly_closed_most", "no_longer_closed")]
    single += answer.same_customers or ()
    rows += zip(_SINGLE, (shown_counts([count], lang)[0] for count in single), strict=False)
    return Table(
        [word("counted", lang), word("lines_moved", lang)],
        [[word(f"chance_{name}", lang), cell] for name, cell in rows],
        word("by_chance", lang),
        word("same_note", lang) if answer.same_customers else "",
    )


#: Rows of a table that stand alone.
_SINGLE = (
    "others_by_half",
    "newly_closed",
    "newly_closed_most",
    "no_longer_closed",
    "same_newly_closed",
    "same_no_longer_closed",
)


def _closed_in(answer: Answer, lang: str) -> Table:
    """Lines by whether no draw, some or all of them close them; what a column adds up to is known."""
    columns = [shown_counts(counts, lang) for counts in _by_draws(answer)]
    rows = [[word(name, lang), *cells] for name, *cells in zip(("never", "some", "always"), *columns, strict=True)]
    heads = [word(name, lang) for name in ("draws_closed", "closed_now", "open_now")]
    return Table(heads, rows, word("closed_in", lang).format(len(answer.closed_in) - 1))


def _by_draws(answer: Answer) -> tuple[list[int], list[int]]:
    """Lines that no draw, some or all of them close: of those that the model in use closes, and of the others."""
    parts = (answer.closed_in[:1], answer.closed_in[1:-1], answer.closed_in[-1:])
    mine, others = ([sum(pair[side] for pair in some) for some in parts] for side in (0, 1))
    return mine, others


def _drawn(count: int) -> int:
    """What a picture shows of a count: a few lines would be read off it."""
    return count if count >= FEWEST else 0


def _about(scenario: Scenario, shift: float | None, lang: str) -> str:
    sentences = []
    if shift is not None:
        sentences.append(shock_words("economy", lang, shift, exp(shift)))
    if scenario.log_odds:
        sentences.append(shock_words("pd", lang, odds_words(scenario.log_odds, lang)))
    if scenario.cut_offs_log_odds:
        moved = scenario.cut_offs_log_odds
        sentences.append(shock_words("cut_offs", lang, f"{moved:+g}".replace("-", "−"), exp(-moved)))
    if scenario.policy:
        sentences.append(shock_words("policy", lang, scenario.policy))
    if scenario.utilisation_up:
        sentences.append(shock_words("utilisation", lang, scenario.utilisation_up))
    if scenario.inflow_down:
        sentences.append(shock_words("inflow", lang, scenario.inflow_down))
    if scenario.inflow_delay_days:
        sentences.append(shock_words("delay", lang, scenario.inflow_delay_days))
    if only := [*scenario.segments, *([scenario.counterparty] if scenario.counterparty else [])]:
        sentences.append(shock_words("only", lang, ", ".join(only)))
    if scenario.source:
        kinds = f" ({', '.join(scenario.kinds)})" if scenario.kinds else ""
        sentences.append(shock_words("outage", lang, f"{scenario.source}{kinds}", scenario.days))
    if scenario.draws:
        drawn = "retrained" if scenario.resample == "customers" else "draws"
        sentences.append(shock_words(drawn, lang, scenario.draws))
    if scenario.reaction_log_odds:
        sentences.append(shock_words("reaction", lang, exp(scenario.reaction_log_odds)))
    shock = ("" if lang == "zh" else " ").join(sentences)
    return word("about", lang).format(version=scenario.version, date=scenario.date.isoformat(), shock=shock)


def _monotone(answer: Answer, lang: str) -> tuple[list[str], list[Table]]:
    """Whether more comes of a harsher shock everywhere; where not, why, and a table of the places."""
    kind, rows = answer.scenario.kind, answer.not_monotone()
    if kind not in ORDERED:
        return [], []
    if not rows:
        return [word("monotone_policy" if kind == "policy" else "monotone", lang)], []
    why = {
        "not_monotone": True,
        "why_scored": kind == "behaviour",
        "why_used": answer.scenario.utilisation_up > 0 and any(row["what"] == "lines" for row in rows),
        "why_dead_band": any(row["what"] == "lines" and row["in_dead_band"] for row in rows),
    }
    sentences = ("" if lang == "zh" else " ").join(word(name, lang) for name, applies in why.items() if applies)
    return [sentences], [_where_not_monotone(rows, lang)]


def _where_not_monotone(rows: list[dict[str, Any]], lang: str) -> Table:
    """A row for each step and each thing that moves the other way on it; views that agree stand together."""
    cells: dict[tuple[str, ...], list[str]] = {}
    for row in sorted(rows, key=lambda one: (one["milder"], one["what"])):
        of_lines = row["what"] == "lines"
        rising = (row["lines"], row["in_dead_band"], row["lower_pd"])
        more = shown_counts(rising, lang) if of_lines else ["–"] * 3
        step = f"{row['milder']:g} → {row['harsher']:g}"
        what = word("more_to_draw" if of_lines else row["what"], lang)
        moved = (shown_counts([row[name]], lang)[0] for name in ("pd_down", "pd_up"))
        cells.setdefault((step, what, *more, *moved), []).append(row["view"])
    names = ("step", "other_way", "decisions", "more_to_draw", "in_dead_band", "lower_pd", "pd_down", "pd_up")
    shown_rows = [
        [step, what, word("view_both" if len(views) > 1 else f"view_{views[0]}", lang), *counts]
        for (step, what, *counts), views in cells.items()
    ]
    return Table([word(name, lang) for name in names], shown_rows, word("steps", lang), text_columns=3)


def _by_group(answer: Answer, lang: str) -> Table:
    """Lines newly cut, frozen or closed by segment and age."""
    groups = answer.of("end", answer.typical)
    newly = groups["action_after"].isin(ADVERSE) & ~groups["action_before"].isin(ADVERSE)
    by = ["segment", "age_days"]
    there = groups.groupby(by)["lines"].sum()
    moved = groups[newly].groupby(by)[["lines", "good_millionths"]].sum()
    closing = groups[(groups["action_after"] == "close") & (groups["action_before"] != "close")]
    closed = closing.groupby(by)["lines"].sum().reindex(there.index, fill_value=0)
    moved = moved.reindex(there.index, fill_value=0)
    counted = pd.DataFrame({"lines": there, "closed": closed, "newly": moved["lines"]}).reset_index()
    rows = [
        [
            str(row["segment"]),
            age_words(row["age_days"], lang),
            *shown_counts([row["lines"]], lang),
            *shown_counts([row["closed"], row["newly"]], lang),
        ]
        for row in counted[(counted["closed"] > 0) | (counted["newly"] > 0)].to_dict("records")
    ]
    heads = [word(name, lang) for name in ("segment", "age", "lines", "closed", "newly")]
    title = word("by_group_draw" if answer.scenario.kind == "iteration" else "by_group", lang)
    note = word("by_group_note" if rows else "nobody", lang)
    return Table(heads, rows, title.format(f"{answer.typical:g}"), note, text_columns=2)
