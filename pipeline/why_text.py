"""Why, as text for a terminal."""

from limitlens.limits.attribution import PLAYERS
from limitlens.pipeline.amounts import money, value
from limitlens.pipeline.why import Answer

#: How a headline says an action.
VERBS = {
    "increase": "limit raised",
    "unfreeze": "unfrozen",
    "keep": "kept",
    "review": "sent to review",
    "hold": "held",
    "decrease": "limit cut",
    "freeze": "frozen",
    "close": "closed",
}


def render(answer: Answer) -> str:
    """The answer as text, for a terminal."""
    lines = [_headline(answer)]
    if answer.share_cents is None:
        lines.append("  This is the first decision on the account: there is no change to explain.")
    else:
        width = max(len(money(cents, signed=True)) for cents in answer.share_cents.values())
        for player in PLAYERS:
            text = f"  {player:<10} {money(answer.share_cents[player], signed=True):>{width}}   {_note(answer, player)}"
            lines.append(text.rstrip())
            lines += _group_lines(answer, width) if player == "behaviour" else []
        lines.append(f"  {_but_for(answer)}")
    lines.append(f"  PD {_percent(answer.pd_before)}{answer.pd:.2%}. Rules: {', '.join(answer.fired_rules) or 'none'}.")
    if answer.reason_texts:
        lines.append(f"  Told to the customer: {'; '.join(answer.reason_texts)}.")
        lines.append(f"  告知客户：{'；'.join(answer.reason_texts_zh)}。")
    lines.append(f"  Replayed from the events and equal to the ledger, to the cent (run {answer.run_id[:12]}).")
    return "\n".join(lines)


def _headline(answer: Answer) -> str:
    verb = VERBS[answer.action]
    limits = f"limit {money(answer.limit_before_cents)} → {money(answer.limit_cents)}"
    return f"{answer.account_id} · opened {answer.opened_at[:10]} · {verb} {answer.as_of} · {limits}"


def _note(answer: Answer, player: str) -> str:
    if player == "model" and answer.model_version != answer.model_version_before:
        return f"version {answer.model_version_before} → {answer.model_version}"
    if player == "policy" and answer.policy != answer.policy_before:
        return f"{answer.policy_before} → {answer.policy}"
    return ""


def _group_lines(answer: Answer, width: int) -> list[str]:
    moved = [group for group in answer.groups if group.share_cents]
    lines = []
    for group in moved or [group for group in answer.groups if group.facts]:
        lines.append(f"    {group.name} {money(group.share_cents, signed=True):>{width}}")
        lines += [
            f"      {f.feature} {value(f.before, f.unit)} → {value(f.after, f.unit)}: {f.why}" for f in group.facts
        ]
    return lines


def _but_for(answer: Answer) -> str:
    needed = ", ".join(answer.necessary) or "no single cause"
    enough = ", ".join(answer.sufficient) or "no single cause"
    return f"Needed for this outcome: {needed}. Enough alone to change the one before: {enough}."


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%} → "
