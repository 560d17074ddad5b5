"""A decided day: its decisions in the ledger, and the lines as they stood then, batch by batch."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.progress import Part, Progress, silent
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import DATA_HOLD, limit_and_age, line_columns
from limitlens.features.table import table_parts
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Run
from limitlens.limits.policy import ACTIONS
from limitlens.limits.state import state_before, unpacked
from limitlens.limits.stress import Decisions, Lines
from limitlens.pipeline.workspace import Workspace

#: Lines decided together: many enough that the kernels score them, few enough that their copies take little memory.
BATCH_ROWS = 1 << 15

#: The default is the last day on which at least this share of the most lines of any day were decided.
_WHOLE_BOOK = 0.5

#: What is read of the decisions of the day.
_RECORDED = "account_id, as_of, action, limit_cents, can_draw, pd, state"

#: Columns of a feature table that are none of the policy's and that every batch keeps.
_KEPT = ("account_id", "as_of", "known_by", "segment", "balance_cents")


@dataclass(frozen=True)
class DecidedDay:
    """One day of the ledger.

    Parameters
    ----------
    run : Run
        That decided it.
    iteration : Iteration
        With which.
    accounts : pyarrow.ChunkedArray of str
        Whose lines it decided, in order.
    """

    run: Run
    iteration: Iteration
    accounts: pa.ChunkedArray


@dataclass(frozen=True)
class Batch:
    """Some lines of a decided day, n rows each.

    Parameters
    ----------
    recorded : DataFrame
        Their decisions in the ledger, with ``state.*``.
    features : DataFrame
        Their features as they were known then.
    lines : Lines
    columns : frozenset of str
        Columns that are kept for policies.
    """

    recorded: pd.DataFrame
    features: pd.DataFrame
    lines: Lines
    columns: frozenset[str]


def decided_day(workspace: Workspace, as_of: datetime | None = None) -> DecidedDay:
    """The decisions of a day.

    Parameters
    ----------
    workspace : Workspace
    as_of : datetime, optional
        Default: the last at which at least half as many lines were decided as at any.

    Raises
    ------
    WorkspaceError
        Nothing was decided then.
    """
    counts = workspace.ledger.query("SELECT as_of, COUNT(*) AS lines FROM decisions GROUP BY as_of ORDER BY as_of")
    runs = {run.as_of: run for run in workspace.ledger.runs()}
    by_date = {time.to_pydatetime(): int(n) for time, n in zip(counts["as_of"], counts["lines"], strict=True)}
    whole = [time for time, n in by_date.items() if time in runs and n >= _WHOLE_BOOK * max(by_date.values())]
    date = as_of or max(whole)
    if date not in runs or date not in by_date:
        days = ", ".join(format_time(time) for time in sorted(whole)[-3:])
        raise WorkspaceError(f"nothing was decided as of {format_time(date)}; the last whole books: {days}.")
    run = runs[date]
    accounts = workspace.ledger.table(
        "SELECT account_id FROM decisions WHERE as_of = $date AND run_id = $run ORDER BY account_id",
        {"date": date, "run": run.run_id},
    )["account_id"]
    return DecidedDay(run, workspace.iteration(run.model_version, run.policy_digest), accounts)


def recorded_decisions(day: DecidedDay, workspace: Workspace, first: int = 0, last: int | None = None) -> pa.Table:
    """What the ledger says of some lines of a day, from one place in the order of their accounts to before another."""
    accounts = day.accounts[first:last]
    if not len(accounts):
        raise WorkspaceError(f"no line was decided as of {format_time(day.run.as_of)}; run limitlens ledger verify.")
    return workspace.ledger.table(
        f"SELECT {_RECORDED} FROM decisions WHERE as_of = $date AND run_id = $run "
        "AND account_id BETWEEN $first AND $last ORDER BY account_id",
        {
            "date": day.run.as_of,
            "run": day.run.run_id,
            "first": accounts[0].as_py(),
            "last": accounts[-1].as_py(),
        },
    )


def batches(
    day: DecidedDay, workspace: Workspace, columns: Collection[str], *, scored: bool, progress: Progress = silent
) -> Iterator[Batch]:
    """The lines of a day in order of their accounts.

    Parameters
    ----------
    day : DecidedDay
    workspace : Workspace
    columns : collection of str
        That some policy reads.
    scored : bool
        With all features the model reads; else with those alone that the columns are made of.
    progress : callable

    Raises
    ------
    IntegrityError
        An account that was decided has no features.
    """
    features = day.iteration.model.features
    chosen = features if scored else _of_columns(features, columns)
    points = pd.DataFrame({"account_id": day.accounts.to_pandas()})
    points = points.assign(as_of=pd.Timestamp(day.run.as_of).as_unit("us")).assign(known_by=lambda rows: rows["as_of"])
    done = 0
    for part in _in_batches(table_parts(chosen, points, workspace.relations(features)), BATCH_ROWS):
        decisions = recorded_decisions(day, workspace, done, done + len(part))
        if not part["account_id"].equals(decisions["account_id"]):
            break
        yield batch_of(day.iteration, chosen, part.to_pandas(), unpacked(decisions), frozenset(columns))
        done += len(part)
        progress(Part("lines decided again", done, len(points)))
    if done != len(points):
        raise IntegrityError(f"{len(points) - done:,} lines that were decided have no features; restore the events.")


def _in_batches(parts: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables that follow each other, cut anew so that all but the last have so many rows."""
    waiting = list[pa.Table]()
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= rows:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, rows)
            waiting = [whole.slice(rows)]
    if whole := [one for one in waiting if len(one)]:
        yield pa.concat_tables(whole)


def batch_of(
    iteration: Iteration, features: FeatureSet, table: pd.DataFrame, recorded: pd.DataFrame, columns: frozenset[str]
) -> Batch:
    """A batch from features and recorded decisions of the same lines."""
    state = state_before(recorded)
    held = (recorded["action"] == "hold").to_numpy(bool)
    lines = Lines(
        rule_table(features, table, state, columns).assign(**{DATA_HOLD: held}),
        recorded["pd"].to_numpy(np.float64),
        state,
    )
    return Batch(recorded, table, lines, columns)


def rule_table(
    features: FeatureSet, table: pd.DataFrame, state: pd.DataFrame, columns: Collection[str]
) -> pd.DataFrame:
    """What policies read of some lines: features, and columns of the line itself."""
    limit, age = limit_and_age(state)
    line = line_columns(features, table, limit, age)
    named = [name for name in table.columns if name in columns or name in _KEPT]
    return pd.concat([table[named], line[[name for name in line.columns if name in columns]]], axis=1)


def recorded_decisions_of(batch: Batch) -> Decisions:
    """What the ledger says was decided."""
    rows = batch.recorded
    codes = pd.Categorical(rows["action"], categories=list(ACTIONS)).codes
    limit, can_draw = rows["limit_cents"].to_numpy(np.int64), rows["can_draw"].to_numpy(bool)
    return Decisions(np.asarray(codes, np.int64), limit, can_draw, rows["pd"].to_numpy(np.float64))


def expect_recorded_decisions(batch: Batch, again: Decisions) -> None:
    """Refuse a day that comes out otherwise when nothing is shocked.

    Raises
    ------
    IntegrityError
        Names the first line.
    """
    wrong = np.flatnonzero(~recorded_decisions_of(batch).equal(again))
    if len(wrong):
        row = batch.recorded.iloc[wrong[0]]
        raise IntegrityError(
            f"account {row['account_id']} as of {row['as_of']}: recorded as {row['action']} to {row['limit_cents']} "
            f"cents, but without any shock decided as {ACTIONS[again.action[wrong[0]]]} to "
            f"{again.limit_cents[wrong[0]]}; {len(wrong)} lines differ. Run limitlens ledger replay."
        )


def _of_columns(features: FeatureSet, columns: Collection[str]) -> FeatureSet:
    wanted = {*columns, "balance_cents"} & features.declaration_of.keys()
    return features.only(wanted)
