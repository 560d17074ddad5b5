"""Why, as text for a terminal."""

from collections.abc import Sequence

from limitlens.limits.attribution import ORDERS, PLAYERS
from limitlens.limits.policy import ADVERSE
from limitlens.pipeline.answers.answer import Answer, Fact, Group, Knowledge
from limitlens.pipeline.answers.customer import LANGUAGES
from limitlens.pipeline.answers.timeline import Moment
from limitlens.pipeline.deciding.reconcile import RECONCILED_AFTER
from limitlens.pipeline.pages.amounts import money, value, with_sign

#: How a headline says an action.
VERBS = {
    "opened": "opened",
    "increase": "limit raised",
    "unfreeze": "unfrozen",
    "keep": "kept",
    "review": "sent to review",
    "hold": "held",
    "pause": "paused",
    "decrease": "limit cut",
    "freeze": "frozen",
    "close": "closed",
    "override": "overridden",
}

#: Rows of the timeline that are shown unless all of it is asked for.
_MAX_MOMENTS = 8

#: Late records that are named.
_MAX_LATE = 3

_REASONS = {"en": "Told to the customer: {}.", "zh": "告知客户：{}。"}
_PAUSED = {
    "en": "Told to the customer: drawing is paused, and we look again by {date}: {texts}. The limit stays.",
    "zh": "告知客户：提款已暂停，额度不变，我们将于 {date} 前再次评估：{texts}。",
}
_DIFFERENT = {"en": "What could have been different: {}.", "zh": "如何改善：{}。"}


def render(answer: Answer, *, languages: Sequence[str] = LANGUAGES, whole_timeline: bool = False) -> str:
    """The answer as text, for a terminal.

    Parameters
    ----------
    answer : Answer
    languages : sequence of {"en", "zh"}
        Of what the customer is told.
    whole_timeline : bool
        Show every decision, not only the latest that did something.
    """
    decision, split = answer.decision, answer.split
    lines = [_headline(answer)]
    if split.share_cents is None:
        lines.append(f"  {first_sentence(answer)}")
    else:
        width = max(len(money(cents, signed=True)) for cents in split.share_cents.values())
        for player in PLAYERS:
            text = f"  {player:<10} {money(split.share_cents[player], signed=True):>{width}}   {_note(answer, player)}"
            lines.append(text.rstrip())
            lines += _group_lines(answer, width) if player == "behaviour" else []
            lines += _model_lines(answer, width) if player == "model" else []
        lines += [f"  {sentence}" for sentence in split_sentences(answer)]
    lines += [f"  {sentence}" for sentence in (*joint_sentences(answer), *hold_sentences(answer))]
    lines += [f"  Before it, outside these causes: {text}." for text in answer.line.overrides]
    lines.append(
        f"  PD {_percent(decision.pd_before)}{decision.pd:.2%}. Rules: {', '.join(decision.fired_rules) or 'none'}."
    )
    if decision.watched:
        lines.append("  Decided within the day, by the watch: it pauses drawing or lifts a pause, and moves no limit.")
    if decision.queue_place is not None:
        lines.append(f"  In the review queue: place {decision.queue_place:,} of {decision.queue_length:,}.")
    lines += [f"  {sentence}" for language in languages for sentence in customer_sentences(answer, language)]
    lines += ["  Timeline:", *(f"    {line}" for line in _timeline_lines(answer, whole_timeline))]
    lines.append(f"  Replayed from the events and equal to the ledger, to the cent (run {decision.run_id[:12]}).")
    return "\n".join(lines)


def first_sentence(answer: Answer) -> str:
    """Why a decision has no split."""
    if any(moment.action == "pause" and moment.as_of < answer.decision.as_of for moment in answer.line.timeline):
        return "It ends a pause that began with the first decision on the account: there is no change to explain."
    return "This is the first decision on the account: there is no change to explain."


#: An adverse decision on a line about which nothing is known that a customer did.
_NO_REASON = {
    "en": "Told to the customer: no reason yet; no behaviour that speaks against the line is known, "
    "a person has to say why.",
    "zh": "告知客户：暂无理由；未掌握客户自身的不利行为，须由人工说明原因。",
}


def customer_sentences(answer: Answer, language: str) -> list[str]:
    """What the customer is told in one language: the reasons, and what could have been different."""
    texts, between = (answer.notice.reason_texts, "; ") if language == "en" else (answer.notice.reason_texts_zh, "；")
    sentences = [_REASONS[language].format(between.join(texts))] if texts else []
    if answer.decision.second_look_at:
        sentences = [_PAUSED[language].format(date=answer.decision.second_look_at, texts=between.join(texts))]
    if not texts and answer.decision.action in ADVERSE:
        sentences = [_NO_REASON[language]]
    different = answer.notice.recourse_texts.get(language)
    return [*sentences, _DIFFERENT[language].format(different)] if different else sentences


def _headline(answer: Answer) -> str:
    verb = VERBS[answer.decision.action]
    limits = f"limit {money(answer.decision.limit_before_cents)} → {money(answer.decision.limit_cents)}"
    return f"{answer.line.account_id} · opened {answer.line.opened_at[:10]} · {verb} {answer.decision.as_of} · {limits}"


def _note(answer: Answer, player: str) -> str:
    if player == "model" and answer.model.model_version != answer.model.model_version_before:
        return f"version {answer.model.model_version_before} → {answer.model.model_version}"
    if player == "policy" and answer.decision.policy != answer.decision.policy_before:
        return f"{answer.decision.policy_before} → {answer.decision.policy}"
    return ""


def _group_lines(answer: Answer, width: int) -> list[str]:
    lines = []
    for group in told_groups(answer):
        lines.append(f"    {group.name} {money(group.share_cents, signed=True):>{width}}")
        lines += [f"      {_fact_line(fact)}" for fact in group.facts]
    if any(group.facts for group in told_groups(answer)):
        lines.append("    In brackets: SHAP contribution to the log-odds of default; rule: used by a rule that fired.")
    return lines


def _model_lines(answer: Answer, width: int) -> list[str]:
    if not any(answer.model.model_parts.values()):
        return []
    return [f"    {name} {money(cents, signed=True):>{width}}" for name, cents in answer.model.model_parts.items()]


def told_groups(answer: Answer) -> list[Group]:
    """The groups that moved the limit; if none did, those with something to show."""
    moved = [group for group in answer.split.groups if group.share_cents]
    return moved or [group for group in answer.split.groups if group.facts]


def _fact_line(fact: Fact) -> str:
    values = f"{value(fact.before, fact.unit)} → {value(fact.after, fact.unit)}"
    contribution = [with_sign(fact.contribution, 2)] if abs(fact.contribution) >= 0.005 or not fact.rules else []
    marks = ", ".join([*(["rule"] if fact.rules else []), *contribution])
    return f"{fact.feature} {values} ({marks}): {fact.why}"


def joint_sentences(answer: Answer) -> list[str]:
    """Whether the line jumped alone or with others of its slice."""
    jump = answer.data.joint_jump
    if jump is None:
        return []
    chance = "under 1e-12" if jump.p < 1e-12 else format(jump.p, ".0e")
    note = f" (chance {chance} among all comparisons): look at the data first" if jump.unusual else ""
    return [f"Alone or with others: {jump.text}{note}."]


def hold_sentences(answer: Answer) -> list[str]:
    """What a data incident had to do with the decision, and how it was made good."""
    good = [f"Made good, the notice is withdrawn: {answer.decision.made_good}."] if answer.decision.made_good else []
    held = answer.data.held
    if held is None:
        return good
    incidents = [
        f"Hold {one.hold}{', released' if one.verdict else ''}: {one.scope}, suspect since {one.since}: {one.reason}."
        for one in held.incidents
    ]
    incidents += ["The status of this line used to come every month and did not come for the last one."] * held.silent
    known, before, paid = (
        f"{VERBS[action]}, limit {money(cents)}"
        for action, cents in (
            (held.as_known_action, held.as_known_limit_cents),
            (held.before_fault_action, held.before_fault_limit_cents),
            (held.if_paid_action, held.if_paid_limit_cents),
        )
    )
    outcomes = f"With the data as known: {known}. As before the fault: {before}."
    outcomes += f" And had it paid since: {paid}." if paid != before else ""
    stays = "So the line stays as it was." if answer.decision.action == "hold" else "The hold changed nothing."
    return [*incidents, *good, f"{outcomes} {stays}"]


def split_sentences(answer: Answer) -> list[str]:
    """What stands beside the shares of a split: causes needed and enough, the scale of actions, knowledge, history."""
    return [*_but_for(answer), *_severity(answer), *_order(answer), *_known(answer), _since_opening(answer)]


def _severity(answer: Answer) -> list[str]:
    """The split on the scale of actions, where the limit tells nothing of it."""
    steps = {player: phi / ORDERS for player, phi in (answer.split.severity_phi or {}).items() if phi}
    if not steps or any((answer.split.share_cents or {}).values()):
        return []
    listed = ", ".join(f"{player} {with_sign(step, 2)}" for player, step in steps.items())
    return [f"No limit moved; on the scale of actions: {listed} steps of severity."]


def _order(answer: Answer) -> list[str]:
    return ["A waterfall would name another main cause in another order."] if answer.split.order_matters else []


def _known(answer: Answer) -> list[str]:
    known = answer.data.knowledge
    if known is None:
        return []
    late = f"{_records(known.late_before)} dated before {answer.decision.previous_as_of} arrived after that decision"
    ids = [f"Late: {_late(known)}."] if known.late else []
    if known.status == "provisional":
        return [f"Provisional: {late}; the split becomes final {RECONCILED_AFTER.days} days after this one.", *ids]
    of = known.known_now + known.late_now
    now = f"{_records(known.late_now)} of {of:,} dated before {answer.decision.as_of} arrived after this one"
    return [f"Final, with what was known by {known.known_by}: {late}; {now}.", *ids]


def _late(known: Knowledge) -> str:
    """The first late records, each with its id and when it became known."""
    shown = [
        f"{row.source} {row.event_id}, {row.kind} of {row.event_time[:10]}, known {row.known_time[:10]}"
        for row in known.late[:_MAX_LATE]
    ]
    rest = len(known.late) - len(shown)
    return "; ".join([*shown, f"{rest:,} more"] if rest else shown)


def _records(count: int) -> str:
    return f"{count:,} records" if count > 1 else "1 record" if count else "no record"


def _since_opening(answer: Answer) -> str:
    opening, *parts = answer.line.since_opening.items()
    moved = ", ".join(f"{name} {money(cents, signed=True)}" for name, cents in parts if cents) or "nothing moved it"
    return f"Since the opening, {money(opening[1])} → {money(answer.decision.limit_cents)}: {moved}."


def _but_for(answer: Answer) -> list[str]:
    """Which causes were needed, which were enough, and what would have been decided without each that was needed."""
    needed = ", ".join(answer.split.necessary) or "no single cause"
    enough = ", ".join(answer.split.sufficient) or "no single cause"
    summary = f"Needed for this outcome: {needed}. Enough alone to change the one before: {enough}."
    without = [
        f"But for the {one.player}: {VERBS[one.action]}, limit {money(one.limit_cents)}."
        for one in answer.split.but_for
    ]
    return [summary, " ".join(without)] if without else [summary]


def _timeline_lines(answer: Answer, whole: bool) -> list[str]:
    opened, *later = answer.line.timeline
    shown = later if whole else [moment for moment in later if moment.changed][-_MAX_MOMENTS + 1 :]
    hidden = len([moment for moment in later if moment.changed]) - len(shown)
    rows = [_moment_cells(moment) for moment in (opened, *shown)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    if hidden > 0:
        lines.insert(1, f"… {hidden} earlier changes; --timeline shows them")
    return lines


def _moment_cells(moment: Moment) -> tuple[str, ...]:
    """Time, action, limit, PD, main cause, rules."""
    before = f"{money(moment.limit_before_cents)} → " if moment.limit_before_cents != moment.limit_cents else ""
    cents = f" {money(moment.cause_cents, signed=True)}" if moment.cause_cents is not None else ""
    return (
        moment.as_of.replace("T", " ")[:16],
        VERBS[moment.action],
        f"{before}{money(moment.limit_cents)}",
        f"PD {moment.pd:.2%}" if moment.pd is not None else "",
        f"{moment.cause}{cents}" if moment.cause else "",
        ", ".join(moment.fired_rules),
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%} → "
