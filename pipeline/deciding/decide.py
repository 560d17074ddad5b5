"""Decide: new limits at each date of the plan, every change split among its causes, all of it in the ledger."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.data.frames import is_among, to_arrow
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress, silent
from limitlens.limits.hold import DATA_INCIDENT
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Run
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import FLAGGED, Policy
from limitlens.limits.second_look import last_settled, split_against
from limitlens.limits.state import pack_state, state_before, unpacked
from limitlens.models.explanation import reason_codes, shap_values
from limitlens.pipeline.deciding.attribute import attribute_all, attribution_table
from limitlens.pipeline.deciding.decide_batch import decide_step, due_for_second_look, latest_after, paused_lines
from limitlens.pipeline.deciding.held_lines import HeldLines, held_lines, released_lines, with_moments
from limitlens.pipeline.deciding.plan import Step, decision_dates, plan_steps
from limitlens.pipeline.deciding.point_in_time import Tables, feature_moments, rows_at, tables_at
from limitlens.pipeline.deciding.record import Decided, decided_by, record_decisions
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions
from limitlens.pipeline.workspace import Workspace

#: Actions whose reasons are worked out: the adverse ones, and those a person will look at.
_EXPLAINED = FLAGGED | {"review"}


def decide(
    workspace: Workspace,
    *,
    as_of: datetime | None = None,
    until: datetime | None = None,
    model_version: str | None = None,
    policy: Policy | None = None,
    progress: Progress = silent,
) -> Decided:
    """Decide the calendar, or the whole book at one date.

    The calendar is every month start for the whole book and every day for lines under a week old, for paused ones, and
    for those that ``[daily]`` of the policy names. A call that was killed is made up for by the next one: it decides
    what is missing, and answers as if it had never been interrupted.

    Parameters
    ----------
    workspace : Workspace
    as_of : datetime, optional
        Decide the whole book at this moment only.
    until : datetime, optional
        Last date of the calendar; default: the last month start that most sources of events reach.
    model_version : str, optional
        Default: the champion.
    policy : Policy, optional
        Default: the policy the model was released with.
    progress : callable

    Raises
    ------
    ConfigError
        A rule of the policy names a column that does not exist.
    WorkspaceError
        No champion, a date that is already decided, one the data do not reach, a jump of more than two months that
        nobody asked for, or no room on the disk.
    IntegrityError
        A recorded limit cannot be reproduced; nothing of that date is recorded.
    """
    ledger, registry = workspace.ledger, workspace.registry
    with exclusive(workspace.root, "decide"):
        ledger.sweep()
        version = model_version or registry.champion()
        if version is None:
            raise WorkspaceError("no champion to decide with; run limitlens promote first, or name one with --model.")
        if policy is not None:
            workspace.check_rules(policy, workspace.iteration(version).model.features)
            registry.record_policy(policy.digest, policy.text)
        new = workspace.scoring(version, policy.digest if policy else None)
        relations = workspace.relations(new.model.features)
        if as_of is None or not any(run.as_of == as_of and decided_by(run, new) for run in ledger.waiting()):
            dates = decision_dates(workspace.events.reach(), ledger.decided_until(), as_of, until)
            again = released_lines(workspace, dates[0]) if dates else []
            steps = plan_steps(
                dates,
                ledger.decided_until(),
                relations,
                whole_book=as_of is not None,
                features=new.model.features,
                any_of=new.policy.decided_daily,
                again=again,
            )
            if new.policy.second_look or len(paused_lines(unpacked(ledger.last_decisions()), dates[:1])):
                _decide_by_date(workspace, new, dates, steps, progress)
            elif steps:
                _decide_steps(workspace, new, steps, progress)
        return record_decisions(workspace, new)


def _decide_by_date(
    workspace: Workspace, new: Iteration, dates: Sequence[datetime], steps: Sequence[Step], progress: Progress
) -> None:
    """Dates with second looks: whom one pauses is due at the next ones, and who is lifted is not.

    The features of the days of a pause are computed together: of lines that wait at its first day, for all of them.
    """
    look = new.policy.second_look
    rest = list(dates)
    while rest:
        latest = unpacked(workspace.ledger.last_decisions())
        waiting = paused_lines(latest, rest[:1])["account_id"]
        chunk = _until_decided_anyway(rest[: look.after_days if look else 1], steps, waiting)
        planned = [step for step in steps if step.date in chunk]
        due = [Step(date, due_for_second_look(latest, _at(planned, date), date)) for date in chunk]
        ahead = [*planned, *(step for step in due if len(step.lines))]
        if ahead:
            context = _context(workspace, new, ahead, progress)
            foreseen = set(waiting)
            for place, date in enumerate(chunk):
                if not set(paused_lines(context.latest, [date])["account_id"]) <= foreseen:
                    chunk = chunk[:place]  # paused since: their features come with the next days
                    break
                now = due_for_second_look(context.latest, _at(planned, date), date)
                group = [*_at(planned, date), *([Step(date, now)] if len(now) else [])]
                context = _decide_date(workspace, new, context, date, group, progress=progress) if group else context
        rest = rest[len(chunk) :]


def _until_decided_anyway(dates: list[datetime], steps: Sequence[Step], waiting: pd.Series) -> list[datetime]:
    """Dates up to the next, but not the first, at which the calendar decides a line that waits now.

    One that the calendar decided the day before too does not count: whether it was decided then is certain.
    """
    day_before = _planned(steps, dates[0])
    for place, date in enumerate(dates[1:], 1):
        planned = _planned(steps, date)
        if not waiting[is_among(waiting, planned) & ~is_among(waiting, day_before)].empty:
            return dates[:place]
        day_before = planned
    return dates


def _planned(steps: Sequence[Step], date: datetime) -> pd.Series:
    """Accounts that the calendar decides at a date."""
    parts = [step.lines.loc[step.lines["as_of"] == date, "account_id"] for step in _at(steps, date)]
    accounts: pd.Series = pd.concat([pd.Series(dtype=str), *parts])
    return accounts


def _at(steps: Sequence[Step], date: datetime) -> list[Step]:
    return [step for step in steps if step.date == date]


def _decide_steps(workspace: Workspace, new: Iteration, steps: Sequence[Step], progress: Progress) -> None:
    context = _context(workspace, new, steps, progress)
    for date, group in groupby(steps, lambda step: step.date):
        context = _decide_date(workspace, new, context, date, list(group), progress=progress)


@dataclass(frozen=True)
class DecisionContext:
    """What the decisions of some dates are made from, read once.

    Parameters
    ----------
    latest : DataFrame
        Last decision of each account so far, with its state as ``state.*``.
    before_pause : DataFrame
        The last one that stood before, of lines that were paused when the context was read.
    overrides : DataFrame
        As :meth:`limitlens.limits.ledger.Ledger.overrides` gives them.
    iterations : mapping of run id to Iteration
        That made these decisions.
    held : HeldLines
    tables : mapping of feature set digest to feature table
        Of every decision to come and the one before it.
    """

    latest: pd.DataFrame
    before_pause: pd.DataFrame
    overrides: pd.DataFrame
    iterations: Mapping[str, Iteration]
    held: HeldLines
    tables: Tables


def _context(workspace: Workspace, new: Iteration, steps: Sequence[Step], progress: Progress) -> DecisionContext:
    latest = unpacked(workspace.ledger.last_decisions())
    before_pause = _before_pause(workspace, latest, steps[0].date)
    olds = iterations(workspace, {*latest["run_id"], *before_pause["run_id"]})
    planned = pd.concat([step.lines[["account_id", "as_of"]] for step in steps], ignore_index=True)
    held = held_lines(planned, workspace)
    moments = with_moments(feature_moments(planned, latest, before_pause), held)
    progress(f"features of {len(moments):,} rows at {moments['as_of'].nunique():,} moments")
    tables = tables_at(moments, {i.model.features for i in (new, *olds.values())}, workspace)
    return DecisionContext(latest, before_pause, workspace.ledger.overrides(), olds, held, tables)


def _before_pause(workspace: Workspace, latest: pd.DataFrame, date: datetime) -> pd.DataFrame:
    """The decisions that stood before the pauses that go on at a date."""
    waiting = paused_lines(latest, [date])["account_id"]
    return last_settled(recorded_decisions(workspace, list(waiting))) if len(waiting) else latest.iloc[:0]


def _decide_date(
    workspace: Workspace,
    new: Iteration,
    context: DecisionContext,
    date: datetime,
    steps: Sequence[Step],
    *,
    progress: Progress,
) -> DecisionContext:
    """Decide, split and record one date; the context of the next one."""
    run = _run(workspace, new, date)
    latest, olds, parts = context.latest, {**context.iterations, run.run_id: new}, []
    for step in steps:
        decided = decide_step(step.lines, latest, context.overrides, new, context.tables, held=context.held)
        decided = decided.assign(
            reasons=pd.Series(_reasons(new, context.tables, decided), dtype=object),
            run_id=run.run_id,
            model_version=run.model_version,
            policy_digest=run.policy_digest,
        )
        parts.append((decided, _attribute(decided, replace(context, latest=latest, iterations=olds))))
        latest = latest_after(latest, decided)
    decisions, attributions = (pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))
    if len(decisions):
        progress(f"{format_time(date)}: {len(decisions):,} decisions, {len(attributions):,} attributed")
        workspace.ledger.append(run, _decision_table(decisions), attribution_table(attributions))
    return replace(context, latest=latest, iterations=olds)


def _run(workspace: Workspace, new: Iteration, date: datetime) -> Run:
    """The run of one date, named by everything that goes into it."""
    backtest = date < datetime.fromisoformat(new.model.labels_end)
    decided_with = (date.isoformat(), new.digest, new.model_version, backtest)
    inputs = (*decided_with, workspace.events.digest(), workspace.ledger.head())
    run_id = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    return Run(run_id, date, new.model_version, new.model.digest, new.policy.digest, backtest)


def _reasons(new: Iteration, tables: Tables, decided: pd.DataFrame) -> list[list[str]]:
    """Reason codes of adverse decisions, reviews and holds; nothing for the others."""
    held = decided["action"] == "hold"
    reasons: list[list[str]] = [[DATA_INCIDENT] if one else [] for one in held]
    rows = np.flatnonzero(decided["action"].isin(_EXPLAINED))
    if len(rows):
        chosen = decided.iloc[rows]
        table = rows_at(tables[new.model.features.digest], chosen["account_id"], chosen["as_of"], chosen["as_of"])
        limit, age = (chosen[f"state.{name}"].to_numpy(np.int64) for name in ("limit_cents", "line_age_days"))
        shap = shap_values(new.model, table, limit, age)
        reason_of = {rule.name: rule.reason for rule in new.policy.evidence}
        evidence = [[reason_of[rule] for rule in fired if rule in reason_of] for fired in chosen["fired_rules"]]
        for row, codes in zip(rows, reason_codes(new.model, shap, evidence, age), strict=True):
            reasons[row] = codes
    return reasons


def _attribute(decided: pd.DataFrame, context: DecisionContext) -> pd.DataFrame:
    """Split every change since the decision before; first decisions have nothing to split."""
    before = split_against(context.latest, context.before_pause, decided)
    changes = decided[is_among(decided["account_id"], before.index)].reset_index(drop=True)
    changes = changes.assign(known_by=changes["as_of"])
    previous = before.loc[changes["account_id"]].reset_index()
    return attribute_all(previous, changes, context.iterations, context.tables)


def _decision_table(decisions: pd.DataFrame) -> pa.Table:
    state = pack_state(state_before(decisions))
    plain = to_arrow(decisions, pa.schema([field for field in DECISIONS if field.name != "state"]))
    table = plain.append_column("state", state).select(DECISIONS.names)
    return table.sort_by([("account_id", "ascending"), ("as_of", "ascending")])
