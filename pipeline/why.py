"""Why: the answer for one account, rebuilt from the events and checked against the ledger before it is given."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.features.line import line_columns
from limitlens.limits.attribution import PLAYERS, show_cents
from limitlens.limits.groups import split_behaviour
from limitlens.limits.iteration import Iteration
from limitlens.models.explanation import shap_values
from limitlens.models.reasons import reason_text
from limitlens.pipeline.attribute import attribute_changes, data_states, state_before
from limitlens.pipeline.moments import Tables, feature_moments, tables_at
from limitlens.pipeline.replay import iterations, recorded_decisions
from limitlens.pipeline.workspace import Workspace

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

#: Facts shown for each group of features.
_MAX_FACTS = 3


@dataclass(frozen=True)
class Fact:
    """A feature that moved: its value at the decision before and at this one, and what it means."""

    feature: str
    before: float | None
    after: float | None
    unit: str
    why: str


@dataclass(frozen=True)
class Group:
    """A group of features inside behaviour: its share of the change, and the facts behind it."""

    name: str
    share_cents: int
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Answer:
    """Why a decision came out as it did; ``None`` where the account had no decision before."""

    account_id: str
    opened_at: str
    as_of: str
    previous_as_of: str | None
    action: str
    limit_before_cents: int
    limit_cents: int
    could_draw: bool
    can_draw: bool
    pd_before: float | None
    pd: float
    fired_rules: tuple[str, ...]
    share_cents: Mapping[str, int] | None
    phi: Mapping[str, int] | None
    necessary: tuple[str, ...]
    sufficient: tuple[str, ...]
    groups: tuple[Group, ...]
    model_version_before: str | None
    model_version: str
    policy_before: str | None
    policy: str
    reasons: tuple[str, ...]
    reason_texts: tuple[str, ...]
    reason_texts_zh: tuple[str, ...]
    overrides: tuple[str, ...]
    run_id: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def why(workspace: Workspace, account_id: str, as_of: datetime | None = None) -> Answer:
    """Explain one decision.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    as_of : datetime, optional
        Time of the decision; default: the last one that changed something or asked for a review, else the last.

    Raises
    ------
    WorkspaceError
        The account has no decision, or none at that time.
    IntegrityError
        The decision or its split cannot be reproduced from the events.
    """
    decisions = recorded_decisions(workspace, account_id)
    place = _place(decisions, account_id, as_of)
    change, earlier = decisions.iloc[[place]].reset_index(drop=True), decisions.iloc[:place]
    if earlier.empty:
        return _answer(workspace, change, None, None)
    previous = earlier.iloc[[-1]].reset_index(drop=True)
    return _answer(workspace, change, previous, _explain(workspace, previous, change))


def _place(decisions: pd.DataFrame, account_id: str, as_of: datetime | None) -> int:
    if decisions.empty:
        raise WorkspaceError(f"account {account_id!r} has no decision; see the account ids in decisions/*.parquet.")
    if as_of is not None:
        found = np.flatnonzero(decisions["as_of"] == pd.Timestamp(as_of))
        if not len(found):
            known = ", ".join(format_time(t) for t in decisions["as_of"])
            raise WorkspaceError(
                f"account {account_id} was not decided as of {format_time(as_of)}; it was at: {known}."
            )
        return int(found[0])
    moved = np.flatnonzero(decisions["action"] != "keep")
    return int(moved[-1]) if len(moved) else len(decisions) - 1


@dataclass(frozen=True)
class _Explained:
    """The replayed split of one change and what stands behind it."""

    entry: pd.Series
    groups: tuple[Group, ...]


def _explain(workspace: Workspace, previous: pd.DataFrame, change: pd.DataFrame) -> _Explained:
    made_by = iterations(workspace, {previous["run_id"].iloc[0], change["run_id"].iloc[0]})
    old, new = made_by[previous["run_id"].iloc[0]], made_by[change["run_id"].iloc[0]]
    keys = ["account_id", "as_of"]
    tables = tables_at(
        feature_moments(change[keys], previous[keys]), {old.model.features, new.model.features}, workspace
    )
    entry = attribute_changes(old, new, previous, change, tables).iloc[0]
    _check_entry(workspace, entry)
    return _Explained(entry, _groups((old, new), previous, change, tables, int(entry["share_cents_behaviour"])))


def _check_entry(workspace: Workspace, entry: pd.Series) -> None:
    """The split that was just rebuilt must be the recorded one."""
    current = workspace.ledger.current(str(entry["account_id"]))
    recorded = current[current["as_of"] == entry["as_of"]].iloc[0]
    for name in (f"phi_{player}" for player in PLAYERS):
        if int(recorded[name]) != int(entry[name]):
            raise IntegrityError(
                f"account {entry['account_id']}: {name} is recorded as {recorded[name]}, but replays as {entry[name]}."
            )


def _groups(
    sides: tuple[Iteration, Iteration], previous: pd.DataFrame, change: pd.DataFrame, tables: Tables, total_cents: int
) -> tuple[Group, ...]:
    """Split behaviour among its groups and name the facts of each."""
    states = data_states(*sides, previous, change, tables)
    pairs = {digest: (states["C0", digest], states["C1", digest]) for _, digest in states}
    names, phi, unit = split_behaviour(*sides, pairs, state_before(previous), state_before(change))
    cents = show_cents(phi, unit=unit, total_cents=np.array([total_cents]))[0]
    facts = _facts(sides[1], *pairs[sides[1].model.features.digest], change)
    return tuple(Group(name, int(share), facts.get(name, ())) for name, share in zip(names, cents, strict=True))


def _facts(new: Iteration, c0: pd.DataFrame, c1: pd.DataFrame, change: pd.DataFrame) -> dict[str, tuple[Fact, ...]]:
    """Features of each group that moved, those of fired rules first, then by what they did to the score."""
    state = state_before(change)
    limit, age = (state[name].to_numpy(np.int64) for name in ("limit_cents", "line_age_days"))
    push = (shap_values(new.model, c1, limit, age) - shap_values(new.model, c0, limit, age)).iloc[0].abs()
    features = new.model.features
    before, after = (pd.concat([t, line_columns(features, t, limit, age)], axis=1).iloc[0] for t in (c0, c1))
    fired = {c.column for r in new.policy.rules if r.name in set(change["fired_rules"].iloc[0]) for c in r.when}
    declared = features.declaration_of
    ordered = sorted((n for n in push.index if n in declared), key=lambda n: (n not in fired, -push[n], n))
    found: dict[str, tuple[Fact, ...]] = {}
    for name in ordered:
        declared_as = declared[name]
        fact = Fact(name, _number(before[name]), _number(after[name]), declared_as.unit, declared_as.why)
        known = found.get(declared_as.source, ())
        counts = (push[name] > 0 or name in fired) and _visibly_moved(fact)
        if counts and len(known) < _MAX_FACTS and fact.why not in {other.why for other in known}:
            found[declared_as.source] = (*known, fact)
    return found


def _visibly_moved(fact: Fact) -> bool:
    return value(fact.before, fact.unit) != value(fact.after, fact.unit)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _answer(
    workspace: Workspace, change: pd.DataFrame, previous: pd.DataFrame | None, explained: _Explained | None
) -> Answer:
    row = change.iloc[0]
    before = previous.iloc[0] if previous is not None else None
    entry = explained.entry if explained else None
    return Answer(
        account_id=str(row["account_id"]),
        opened_at=format_time(row["state.opened_at"].to_pydatetime()),
        as_of=format_time(row["as_of"].to_pydatetime()),
        previous_as_of=format_time(before["as_of"].to_pydatetime()) if before is not None else None,
        action=str(row["action"]),
        limit_before_cents=int(row["limit_before_cents"]),
        limit_cents=int(row["limit_cents"]),
        could_draw=bool(row["state.can_draw"]),
        can_draw=bool(row["can_draw"]),
        pd_before=float(before["pd"]) if before is not None else None,
        pd=float(row["pd"]),
        fired_rules=tuple(row["fired_rules"]),
        share_cents=_by_player(entry, "share_cents"),
        phi=_by_player(entry, "phi"),
        necessary=_flagged(entry, "necessary"),
        sufficient=_flagged(entry, "sufficient"),
        groups=explained.groups if explained else (),
        model_version_before=str(before["model_version"]) if before is not None else None,
        model_version=str(row["model_version"]),
        policy_before=_policy_name(workspace, before),
        policy=str(_policy_name(workspace, row)),
        reasons=tuple(row["reasons"]),
        reason_texts=tuple(reason_text(code) for code in row["reasons"]),
        reason_texts_zh=tuple(reason_text(code, "zh") for code in row["reasons"]),
        overrides=_overrides(workspace, row, before),
        run_id=str(row["run_id"]),
    )


def _overrides(workspace: Workspace, row: pd.Series, before: pd.Series | None) -> tuple[str, ...]:
    """What persons ordered between two decisions, in words."""
    found = workspace.ledger.overrides()
    of_line = found[(found["account_id"] == row["account_id"]) & (found["at"] < row["as_of"])]
    between = of_line.iloc[:0] if before is None else of_line[of_line["at"] >= before["as_of"]]
    return tuple(
        f"{o['actor']} ordered {o['action']} {format_time(o['at'].to_pydatetime())}, limit "
        f"{money(o['limit_before_cents'])} → {money(o['limit_cents'])}: {o['reason']}"
        for o in between.to_dict("records")
    )


def _by_player(entry: pd.Series | None, prefix: str) -> dict[str, int] | None:
    return None if entry is None else {player: int(entry[f"{prefix}_{player}"]) for player in PLAYERS}


def _flagged(entry: pd.Series | None, prefix: str) -> tuple[str, ...]:
    return () if entry is None else tuple(player for player in PLAYERS if entry[f"{prefix}_{player}"])


def _policy_name(workspace: Workspace, row: pd.Series | None) -> str | None:
    if row is None:
        return None
    policy = workspace.policy(str(row["policy_digest"]))
    return f"{policy.name} ({policy.digest[:8]})"


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
    lines += [f"  Before it, outside these causes: {text}." for text in answer.overrides]
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


def value(number: float | None, unit: str) -> str:
    """A feature's value for people: cents as currency, shares of the limit as percent.

    Examples
    --------
    >>> value(123456.0, "cents"), value(0.5, "share of the limit"), value(None, "days"), value(7.0, "count")
    ('1,234.56', '50%', 'none', '7')
    """
    if number is None:
        return "none"
    if unit == "cents":
        return money(round(number))
    if unit == "share of the limit":
        return f"{number:.0%}".replace("-", "−")
    return f"{number:,.2f}".rstrip("0").rstrip(".").replace("-", "−")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2%} → "


def money(cents: int, *, signed: bool = False) -> str:
    """Cents as currency, with a true minus sign.

    Examples
    --------
    >>> money(-140000, signed=True), money(2000000)
    ('−1,400.00', '20,000.00')
    """
    sign = "−" if cents < 0 else "+" if signed and cents > 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole:,}.{rest:02d}"
