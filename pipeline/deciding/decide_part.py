"""Decide a part of the book: from its lines, their last decisions and their events, whoever reads them and where.

Nothing is read or written here, so that one process, several, or the executors of a cluster give the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.frames import is_among
from limitlens.data.progress import Progress, silent
from limitlens.features.table import Shared
from limitlens.limits.iteration import Iteration
from limitlens.limits.state import unpacked
from limitlens.pipeline.deciding.attribute import attribution_table
from limitlens.pipeline.deciding.decide_batch import Known, decide_lines, paused_lines
from limitlens.pipeline.deciding.decision_table import decision_table, reasons_of
from limitlens.pipeline.deciding.held_lines import InForce, held_lines, with_moments
from limitlens.pipeline.deciding.point_in_time import RelationsOf, feature_moments, tables_from
from limitlens.pipeline.deciding.split import split, stood_before, with_stood_before
from limitlens.pipeline.workspace import Workspace

#: Run of decisions that are made and not recorded yet.
_NOT_YET = ""

#: Decisions and attributions of each date at which a line is due, without the run they are of.
DecidedPart = Mapping[datetime, tuple[pa.Table, pa.Table]]


@dataclass(frozen=True)
class Part:
    """Lines that are decided together.

    Parameters
    ----------
    planned : DataFrame
        As :func:`limitlens.pipeline.deciding.plan.plan_lines` gives it.
    last : pyarrow.Table
        Last decision of each of some accounts, as :meth:`limitlens.limits.ledger.Ledger.last_decisions` gives it.
    stood : pyarrow.Table
        As :func:`limitlens.pipeline.deciding.split.stood_before` gives it.
    """

    planned: pd.DataFrame
    last: pa.Table
    stood: pa.Table

    def run_ids(self) -> set[str]:
        """Runs of the decisions that those to come are split against."""
        return {run_id for table in (self.last, self.stood) for run_id in pc.unique(table["run_id"]).to_pylist()}

    def accounts(self) -> pa.Array:
        """Accounts of which events are read."""
        planned = pa.array(self.planned["account_id"], pa.string())
        return pc.unique(pa.concat_arrays([planned, *self.last["account_id"].chunks]))


@dataclass(frozen=True)
class StandsOn:
    """What decisions stand on besides events, the same for every part.

    Parameters
    ----------
    new : Iteration
        Which decides.
    sides : mapping of run id to Iteration
        Of :meth:`Part.run_ids`.
    overrides : DataFrame
        As :meth:`limitlens.limits.ledger.Ledger.overrides` gives them.
    holds : InForce
    """

    new: Iteration
    sides: Mapping[str, Iteration]
    overrides: pd.DataFrame
    holds: InForce


def read_part(workspace: Workspace, dates: Sequence[datetime], planned: pd.DataFrame, last: pa.Table) -> Part:
    """Planned lines with their last decisions and what stood before a pause.

    What the watch decided after the last date did not know it: its line waits for the next date.
    """
    latest = unpacked(last)
    ahead = latest.loc[latest["as_of"] >= dates[-1], "account_id"]
    latest, planned = (rows[~is_among(rows["account_id"], ahead)] for rows in (latest, planned))
    decided = latest.set_index("account_id")["as_of"].reindex(planned["account_id"]).set_axis(planned.index)
    stood = stood_before(workspace, latest.reset_index(drop=True))
    return Part(planned[~(planned["as_of"] <= decided)], last.take(latest.index.to_numpy()), stood)


def decided_part(
    part: Part,
    stands_on: StandsOn,
    dates: Sequence[datetime],
    relations_of: RelationsOf,
    *,
    shared: Shared | None = None,
    progress: Progress = silent,
) -> DecidedPart:
    """Decide and split the lines of a part.

    Parameters
    ----------
    part : Part
    stands_on : StandsOn
    dates : sequence of datetime
        Ascending; lines are decided at the first on which they are due and paused ones at each.
    relations_of : callable
        Events of at least the accounts of the part, and of others what links them.
    shared : dict, optional
        As :func:`limitlens.features.table.build_table` takes it.
    progress : callable

    Returns
    -------
    mapping of datetime to (pyarrow.Table, pyarrow.Table)
        In the schemas of the ledger, by account and time; dates at which no line is due have none.
    """
    latest, new = unpacked(part.last), stands_on.new
    if part.planned.empty and paused_lines(latest).empty:
        return {}
    sides = {**stands_on.sides, _NOT_YET: new}
    sets = {iteration.model.features for iteration in sides.values()}
    relations = relations_of(new.model.features)

    def known_of(lines: pd.DataFrame, last: pd.DataFrame) -> Known:
        held = held_lines(lines, stands_on.holds, relations)
        moments = with_moments(feature_moments(lines, last), held)
        progress(f"features of {len(moments):,} rows at {moments['as_of'].nunique():,} moments")
        return Known(tables_from(moments, sets, relations_of, shared), held)

    decided, known = decide_lines(part.planned, latest, stands_on.overrides, new, known_of, dates=dates)
    decided = decided.assign(reasons=reasons_of(new, known.tables, decided), run_id=_NOT_YET)
    before = with_stood_before(latest, part.stood)
    changes, attributions = split(before, decided, sides, known.tables, relations_of, shared=shared)
    made_by = {"model_version": new.model_version, "policy_digest": new.policy.digest}
    return {
        date: (
            decision_table(decided[decided["date"] == date].assign(**made_by)),
            attribution_table(attributions[changes["date"] == date]),
        )
        for date in dates
        if (decided["date"] == date).any()
    }
