"""Why: the answer for one account, rebuilt from the events and checked against the ledger before it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrivals import count_arrivals, late_rows
from limitlens.data.calendar import format_time
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.incident import scope_text
from limitlens.data.progress import Progress, silent
from limitlens.features.line import limit_and_age, line_columns
from limitlens.features.reasons import REASONS_VERSION, reasons_digest
from limitlens.limits.attribution import PLAYERS, show_cents
from limitlens.limits.cases import QUEUED
from limitlens.limits.groups import split_behaviour
from limitlens.limits.hold import DATA_INCIDENT
from limitlens.limits.iteration import Iteration
from limitlens.limits.model_parts import MODEL_PARTS, split_model
from limitlens.limits.policy import ADVERSE
from limitlens.limits.recourse import Recourse, find_recourse
from limitlens.limits.second_look import as_asked, second_look_at, split_against
from limitlens.limits.state import state_before
from limitlens.models.change import change_of_score
from limitlens.pipeline.answers.answer import (
    Answer,
    ButFor,
    Data,
    Decision,
    Fact,
    Group,
    Held,
    Incident,
    Knowledge,
    LateRow,
    Line,
    Model,
    Notice,
    Split,
)
from limitlens.pipeline.answers.customer import LANGUAGES, reason_texts, recourse_text
from limitlens.pipeline.answers.timeline import timeline
from limitlens.pipeline.deciding.attribute import attribute_changes, data_states
from limitlens.pipeline.deciding.held_lines import SILENT, recorded_holds, with_holds, with_moments
from limitlens.pipeline.deciding.joint_jumps import joint_jumps
from limitlens.pipeline.deciding.point_in_time import Tables, change_moments, rows_at, tables_at
from limitlens.pipeline.deciding.replay import check_replayed, iterations, recorded_decisions
from limitlens.pipeline.deciding.review_queue import queue_of_run
from limitlens.pipeline.pages.amounts import money, value
from limitlens.pipeline.workspace import Workspace

#: Facts shown for each group of features.
_MAX_FACTS = 3

#: Feature rows by data state and feature set, as :func:`limitlens.pipeline.deciding.attribute.data_states` gives them.
_States = Mapping[tuple[str, str], pd.DataFrame]


def why(workspace: Workspace, account_id: str, as_of: datetime | None = None, *, progress: Progress = silent) -> Answer:
    """Explain one decision.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    as_of : datetime, optional
        Time of the decision; default: the last one that changed something or asked for a review, else the last.
    progress : callable

    Raises
    ------
    WorkspaceError
        The account has no decision, or none at that time.
    IntegrityError
        The decision or its split cannot be reproduced from the events.
    """
    decisions = recorded_decisions(workspace, [account_id])
    if decisions.empty:
        raise WorkspaceError(_undecided(workspace, account_id))
    place = _place(decisions, account_id, as_of)
    change = decisions.iloc[[place]].reset_index(drop=True)
    previous = _split_against(decisions.iloc[:place], change)
    progress(f"deciding {account_id} again as of {format_time(change['as_of'].iloc[0].to_pydatetime())}")
    rebuilt = _rebuild(workspace, change, previous, progress)
    progress("what was known when, and what the customer is told")
    return _answer(workspace, change, previous, rebuilt)


def never_limited(workspace: Workspace, account_id: str) -> bool:
    """Whether an account was delivered and never had a limit, so that it was never decided."""
    sql = "SELECT COUNT(*) > 0 AND COUNT(limit_cents) = 0 AS never FROM accounts WHERE account_id = $account"
    accounts = {"accounts": workspace.events.relation("accounts")}
    never: bool = run_sql(sql, accounts, {"account": account_id})["never"][0].as_py()
    return never


def _undecided(workspace: Workspace, account_id: str) -> str:
    ticks = workspace.ledger.pending_ticks()
    if mine := [tick.as_of for tick in ticks if account_id in tick.decisions["account_id"].to_pylist()]:
        return (
            f"account {account_id!r} was decided by the watch alone, last at {format_time(mine[-1])}; "
            "limitlens decide takes that in and splits it by cause."
        )
    sql = "SELECT limit_cents FROM accounts WHERE account_id = $account ORDER BY known_time DESC LIMIT 1"
    accounts = {"accounts": workspace.events.relation("accounts")}
    limits = run_sql(sql, accounts, {"account": account_id})["limit_cents"].to_pylist()
    if limits == [None]:
        return f"account {account_id!r} came without a limit, so it is scored and never decided; deliver its limit."
    if limits == [0]:
        return f"account {account_id!r} has limit 0, so it stands in no book and is never decided; deliver its limit."
    if not limits:
        return f"account {account_id!r} was never delivered; limitlens ledger list shows those that have decisions."
    return f"account {account_id!r} has no decision; limitlens ledger list shows those that have."


def _split_against(earlier: pd.DataFrame, change: pd.DataFrame) -> pd.DataFrame | None:
    """The decision that a change is split against, out of all earlier ones of the account; None for a first one."""
    previous, _ = split_against(earlier, change)
    return previous if len(previous) else None


def _place(decisions: pd.DataFrame, account_id: str, as_of: datetime | None) -> int:
    if as_of is not None:
        places = np.flatnonzero(decisions["as_of"] == pd.Timestamp(as_of))
        if not len(places):
            known = ", ".join(format_time(t) for t in decisions["as_of"])
            raise WorkspaceError(
                f"account {account_id} was not decided as of {format_time(as_of)}; it was at: {known}."
            )
        return int(places[0])
    moved = np.flatnonzero(decisions["action"] != "keep")
    return int(moved[-1]) if len(moved) else len(decisions) - 1


@dataclass(frozen=True)
class _Explained:
    """The replayed split of one change and what stands behind it."""

    entry: pd.Series
    groups: tuple[Group, ...]
    model_parts: Mapping[str, int]
    but_for: tuple[ButFor, ...]


@dataclass(frozen=True)
class _Rebuilt:
    """A decision that was decided again and found equal, and everything that follows from its inputs."""

    iteration: Iteration
    recourse: Recourse | None
    explained: _Explained | None


def _rebuild(workspace: Workspace, change: pd.DataFrame, previous: pd.DataFrame | None, progress: Progress) -> _Rebuilt:
    run_id = change["run_id"].iloc[0]
    recorded = _recorded(workspace, change)
    before = change if previous is None else previous
    change = change.assign(known_by=change["as_of"] if previous is None else recorded["known_by"])
    made_by = iterations(workspace, {run_id, *before["run_id"]})
    sets = {iteration.model.features for iteration in made_by.values()}
    held = recorded_holds(change, workspace)
    tables = tables_at(with_moments(change_moments(before, change), held), sets, workspace)
    new, at = made_by[run_id], change["as_of"]
    table, state = rows_at(tables[new.model.features.digest], change["account_id"], at, at), state_before(change)
    check_replayed(change, with_holds(new.decide(table, state), change, state, held, now=new, tables=tables))
    explained = None
    if previous is not None:
        progress("the same decision; splitting the change by cause")
        sides = (made_by[previous["run_id"].iloc[0]], new)
        explained = _explain(sides, previous, change, recorded.iloc[0], tables)
    return _Rebuilt(new, find_recourse(new, table, state, change.iloc[0]), explained)


def _recorded(workspace: Workspace, change: pd.DataFrame) -> pd.DataFrame:
    """The decision with its latest attribution, as the ledger holds it: one row."""
    current = workspace.ledger.current(str(change["account_id"].iloc[0]))
    recorded: pd.DataFrame = current[current["as_of"] == change["as_of"].iloc[0]].reset_index(drop=True)
    return recorded


def _explain(
    sides: tuple[Iteration, Iteration],
    previous: pd.DataFrame,
    change: pd.DataFrame,
    recorded: pd.Series,
    tables: Tables,
) -> _Explained:
    entry = attribute_changes(*sides, previous, change, tables).iloc[0]
    _check_entry(entry, recorded)
    states = data_states(*sides, previous, change, tables)
    sides, previous, change = as_asked(sides, previous, change)
    without = (_without(player, sides, states, previous, change) for player in _flagged(entry, "necessary"))
    return _Explained(
        entry,
        _groups(sides, previous, change, states, int(entry["share_cents_behaviour"])),
        _model_parts(sides, previous, change, states, int(entry["share_cents_model"])),
        tuple(one for one in without if (one.action, one.limit_cents) != _decided(change)),
    )


def _check_entry(entry: pd.Series, recorded: pd.Series) -> None:
    """The split that was just rebuilt must be the recorded one."""
    for name in entry.index:
        if recorded[name] != entry[name]:
            raise IntegrityError(
                f"account {entry['account_id']}: {name} is recorded as {recorded[name]}, but replays as {entry[name]}."
            )


def _knowledge(workspace: Workspace, entry: pd.Series) -> Knowledge:
    points = pd.DataFrame({"as_of": [entry["previous_as_of"], entry["as_of"]]})
    points = points.assign(account_id=entry["account_id"], known_by=entry["known_by"])
    arrived = count_arrivals(points, workspace.events.relations())
    late_before, late_now = (int(count) for count in arrived["late_rows"])
    known_by = format_time(entry["known_by"].to_pydatetime())
    rows = late_rows(points, workspace.events.relations())
    times = (rows[name].map(lambda time: format_time(time.to_pydatetime())) for name in ("event_time", "known_time"))
    late = tuple(map(LateRow, rows["source"], rows["event_id"], rows["kind"], *times))
    return Knowledge(str(entry["status"]), known_by, late_before, late_now, int(arrived["known_rows"].iloc[1]), late)


def _without(
    player: str, sides: tuple[Iteration, Iteration], states: _States, previous: pd.DataFrame, change: pd.DataFrame
) -> ButFor:
    """The decision with one player as it was before (data: with all records in time), and all others new."""
    old, new = sides
    data = {"behaviour": "C0", "data": "C1"}.get(player, "O1")
    state = state_before(previous if player == "state" else change)
    scored, ruled = old if player == "model" else new, old if player == "policy" else new
    pd_ = scored.score(states[data, scored.model.features.digest], state)
    decided = ruled.rules(states[data, ruled.model.features.digest], pd_, state).iloc[0]
    return ButFor(player, str(decided["action"]), int(decided["limit_cents"]))


def _decided(change: pd.DataFrame) -> tuple[str, int]:
    return str(change["action"].iloc[0]), int(change["limit_cents"].iloc[0])


def _groups(
    sides: tuple[Iteration, Iteration],
    previous: pd.DataFrame,
    change: pd.DataFrame,
    states: _States,
    total_cents: int,
) -> tuple[Group, ...]:
    """Split behaviour among its groups and name the facts of each."""
    pairs = {digest: (states["C0", digest], states["C1", digest]) for _, digest in states}
    names, phi, unit = split_behaviour(*sides, pairs, state_before(previous), state_before(change))
    cents = show_cents(phi, unit=unit, total_cents=np.array([total_cents]))[0]
    facts = _facts(sides[1], *pairs[sides[1].model.features.digest], change)
    return tuple(Group(name, int(share), facts.get(name, ())) for name, share in zip(names, cents, strict=True))


def _model_parts(
    sides: tuple[Iteration, Iteration], previous: pd.DataFrame, change: pd.DataFrame, states: _States, total_cents: int
) -> dict[str, int]:
    phi = split_model(*sides, states, state_before(previous), state_before(change))
    cents = show_cents(phi, total_cents=np.array([total_cents]))[0]
    return dict(zip(MODEL_PARTS, (int(part) for part in cents), strict=True))


def _facts(new: Iteration, c0: pd.DataFrame, c1: pd.DataFrame, change: pd.DataFrame) -> dict[str, tuple[Fact, ...]]:
    """Features of each group that moved, those of fired rules first, then by what they did to the score."""
    state = state_before(change)
    limit, age = limit_and_age(state)
    contributions = change_of_score(new.model, c0, c1, limit, age).iloc[0]
    features = new.model.features
    before, after = (pd.concat([t, line_columns(features, t, limit, age)], axis=1).iloc[0] for t in (c0, c1))
    fired = [rule for rule in new.policy.evidence if rule.name in set(change["fired_rules"].iloc[0])]
    facts: dict[str, tuple[Fact, ...]] = {}
    declared = features.declaration_of
    read = {name: tuple(r.name for r in fired if name in {c.column for c in r.when}) for name in declared}
    for name in sorted(declared, key=lambda name: (not read[name], -abs(contributions[name]), name)):
        declaration, known = declared[name], facts.get(declared[name].source, ())
        values = _number(before[name]), _number(after[name])
        fact = Fact(name, *values, declaration.unit, declaration.why, float(contributions[name]), read[name])
        counts = (fact.contribution != 0 or fact.rules) and _visibly_moved(fact)
        if counts and len(known) < _MAX_FACTS and fact.why not in {other.why for other in known}:
            facts[declaration.source] = (*known, fact)
    return facts


def _visibly_moved(fact: Fact) -> bool:
    return value(fact.before, fact.unit) != value(fact.after, fact.unit)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _answer(workspace: Workspace, change: pd.DataFrame, previous: pd.DataFrame | None, rebuilt: _Rebuilt) -> Answer:
    row = change.iloc[0]
    before = previous.iloc[0] if previous is not None else None
    overrides = workspace.ledger.overrides()
    of_line = overrides[overrides["account_id"] == row["account_id"]]
    restored = of_line[of_line["restores"] == row["as_of"]]
    return Answer(
        _line(workspace, row, before, of_line),
        _decision(workspace, row, before, rebuilt.iteration, restored),
        _split(rebuilt.explained),
        _model(row, before, rebuilt.explained),
        _data(workspace, change, rebuilt.explained),
        _notice(row, rebuilt.recourse, restored),
    )


def _line(workspace: Workspace, row: pd.Series, before: pd.Series | None, of_line: pd.DataFrame) -> Line:
    return Line(
        account_id=str(row["account_id"]),
        opened_at=format_time(row["state.opened_at"].to_pydatetime()),
        since_opening=_since_opening(workspace, row),
        timeline=timeline(_every_decision(workspace, str(row["account_id"])), of_line),
        overrides=_overrides(of_line, row, before),
    )


def _decision(
    workspace: Workspace, row: pd.Series, before: pd.Series | None, iteration: Iteration, restored: pd.DataFrame
) -> Decision:
    place, length = _queue_place(workspace, row) if row["action"] in QUEUED else (None, None)
    return Decision(
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
        policy_before=_policy_name(workspace, before),
        policy=str(_policy_name(workspace, row)),
        made_good=_made_good(restored),
        second_look_at=second_look_at(row, iteration.policy),
        watched=bool(row["state.watched"]),
        queue_place=place,
        queue_length=length,
        digests=_digests(workspace, iteration, str(row["run_id"])),
        run_id=str(row["run_id"]),
    )


def _split(explained: _Explained | None) -> Split:
    entry = explained.entry if explained else None
    return Split(
        share_cents=_by_player(entry, "share_cents"),
        phi=_by_player(entry, "phi"),
        severity_phi=_by_player(entry, "severity_phi"),
        order_matters=entry is not None and bool(entry["order_matters"]),
        necessary=_flagged(entry, "necessary"),
        sufficient=_flagged(entry, "sufficient"),
        but_for=explained.but_for if explained else (),
        groups=explained.groups if explained else (),
    )


def _model(row: pd.Series, before: pd.Series | None, explained: _Explained | None) -> Model:
    return Model(
        model_parts=explained.model_parts if explained else {},
        model_version_before=str(before["model_version"]) if before is not None else None,
        model_version=str(row["model_version"]),
    )


def _data(workspace: Workspace, change: pd.DataFrame, explained: _Explained | None) -> Data:
    row = change.iloc[0]
    jumps = {} if row["state.watched"] else joint_jumps(change, workspace, row["as_of"].to_pydatetime())
    return Data(
        knowledge=_knowledge(workspace, explained.entry) if explained else None,
        joint_jump=jumps.get(str(row["account_id"])),
        held=_held(workspace, row),
    )


def _notice(row: pd.Series, recourse: Recourse | None, restored: pd.DataFrame) -> Notice:
    reasons = (DATA_INCIDENT,) if len(restored) else tuple(row["reasons"])
    adverse = row["action"] in ADVERSE and restored.empty
    return Notice(
        reasons=tuple(row["reasons"]),
        reason_texts=reason_texts(reasons, "en"),
        reason_texts_zh=reason_texts(reasons, "zh"),
        reasons_version=REASONS_VERSION,
        recourse=recourse,
        recourse_texts={language: recourse_text(recourse, language) for language in LANGUAGES if adverse},
    )


def _made_good(restored: pd.DataFrame) -> str | None:
    """How a decision was made good, in words; None: it was not."""
    if restored.empty:
        return None
    row = restored.iloc[-1]
    return (
        f"hold {row['hold']}, {format_time(row['at'].to_pydatetime())} by {row['actor']}, "
        f"limit {money(row['limit_before_cents'])} → {money(row['limit_cents'])}: {row['reason']}"
    )


def _held(workspace: Workspace, row: pd.Series) -> Held | None:
    """What holds had to do with a decision; None where none touched it."""
    if row["as_known_action"] is None or pd.isna(row["as_known_action"]):
        return None
    every = workspace.ledger.every_hold()
    verdicts = workspace.ledger.holds().set_index("hold")["verdict"].dropna().to_dict()
    named = {int(number): every[int(number)] for number in row["holds"] if number != SILENT}
    return Held(
        tuple(
            Incident(number, scope_text(hold.scope), format_time(hold.since), hold.reason, verdicts.get(number))
            for number, hold in named.items()
        ),
        SILENT in row["holds"],
        str(row["as_known_action"]),
        int(row["as_known_limit_cents"]),
        str(row["before_fault_action"]),
        int(row["before_fault_limit_cents"]),
        str(row["if_paid_action"]),
        int(row["if_paid_limit_cents"]),
    )


def _queue_place(workspace: Workspace, row: pd.Series) -> tuple[int | None, int]:
    """Place in the review queue of the run and its length; no place where the run decided again later."""
    run = next(run for run in workspace.ledger.runs() if run.run_id == row["run_id"])
    lines = queue_of_run(workspace, run).lines
    own = lines[(lines["account_id"] == row["account_id"]) & (lines["as_of"] == row["as_of"])]
    return (int(own["place"].iloc[0]) if len(own) else None), len(lines)


def _digests(workspace: Workspace, iteration: Iteration, run_id: str) -> dict[str, str]:
    return {
        "model": iteration.model.digest,
        "features": iteration.model.features.digest,
        "policy": iteration.policy.digest,
        "reasons": reasons_digest(),
        "run": run_id,
        "ledger head": workspace.ledger.head(),
    }


def _every_decision(workspace: Workspace, account: str) -> pd.DataFrame:
    """All decisions about an account, those of ticks that no run has taken in yet last."""
    pending = [tick.decisions.to_pandas() for tick in workspace.ledger.pending_ticks()]
    own = [rows[rows["account_id"] == account] for rows in pending]
    every: pd.DataFrame = pd.concat([workspace.ledger.current(account), *own], ignore_index=True)
    return every


def _overrides(of_line: pd.DataFrame, row: pd.Series, before: pd.Series | None) -> tuple[str, ...]:
    """What persons ordered between two decisions, in words."""
    earlier = of_line[of_line["at"] < row["as_of"]]
    between = earlier.iloc[:0] if before is None else earlier[earlier["at"] >= before["as_of"]]
    return tuple(
        f"{o['actor']} ordered {o['action']} {format_time(o['at'].to_pydatetime())}, limit "
        f"{money(o['limit_before_cents'])} → {money(o['limit_cents'])}: {o['reason']}"
        for o in between.to_dict("records")
    )


def _by_player(entry: pd.Series | None, prefix: str) -> dict[str, int] | None:
    return None if entry is None else {player: int(entry[f"{prefix}_{player}"]) for player in PLAYERS}


def _flagged(entry: pd.Series | None, prefix: str) -> tuple[str, ...]:
    return () if entry is None else tuple(player for player in PLAYERS if entry[f"{prefix}_{player}"])


def _since_opening(workspace: Workspace, row: pd.Series) -> dict[str, int]:
    """Parts of the limit after a decision, from the opening on."""
    sql = "SELECT * FROM since_opening WHERE account_id = $account AND as_of = $at"
    values = {"account": str(row["account_id"]), "at": row["as_of"].to_pydatetime()}
    cents = workspace.ledger.table(sql, values).to_pylist()[0]
    parts = ("first_decision", "overrides", *PLAYERS)
    since = {name.replace("_", " "): cents[f"since_cents_{name}"] for name in parts}
    return {"opening": cents["opening_limit_cents"], **since}


def _policy_name(workspace: Workspace, row: pd.Series | None) -> str | None:
    if row is None:
        return None
    policy = workspace.policy(str(row["policy_digest"]))
    return f"{policy.name} ({policy.digest[:8]})"
