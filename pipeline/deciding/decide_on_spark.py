"""Decide on Spark: executors read the events and decide, the driver plans, and keeps the ledger.

A task has one part of the book: its planned lines, their last decisions, all their events, and those of others that
link them. It runs what one machine runs (:mod:`limitlens.pipeline.deciding.decide_part`), so its rows are the same. The
ledger takes all of a date or nothing; then the results that waited for it go.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa

from limitlens.data.frames import to_arrow
from limitlens.data.progress import Progress
from limitlens.data.storage import table_sha256
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS, TIME
from limitlens.pipeline.deciding.decide import DecideParts, last_decisions
from limitlens.pipeline.deciding.decide_part import DecidedPart, Part, StandsOn, decided_part, read_part
from limitlens.pipeline.deciding.held_lines import InForce, in_force
from limitlens.pipeline.deciding.part_rows import reads_of, received
from limitlens.pipeline.deciding.parts import parts_of
from limitlens.pipeline.deciding.recipes import Recipe, iteration_of, recipe_of
from limitlens.pipeline.deciding.seals import sealed
from limitlens.pipeline.deciding.waves import Job, Wave, job_name, results, staging
from limitlens.pipeline.workspace import Workspace

_PLANNED = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", TIME),
        ("opened_at", TIME),
        ("limit_cents", pa.int64()),
        ("date", TIME),
        ("watched", pa.bool_()),
    ]
)

#: Tables of a decided part.
KINDS = {"decision": DECISIONS, "attribution": ATTRIBUTIONS}


@dataclass(frozen=True)
class Basis:
    """What every task of a wave is given."""

    new: Recipe
    sides: Mapping[str, Recipe]
    overrides: pd.DataFrame
    holds: InForce
    dates: tuple[datetime, ...]


@contextmanager
def decided_on_spark(
    workspace: Workspace, lake: str | None = None, *, lines_a_task: int | None = None
) -> Iterator[DecideParts]:
    """Open Spark to decide parts.

    Parameters
    ----------
    workspace : Workspace
    lake : str, optional
        As :func:`limitlens.pipeline.deciding.waves.staging` takes it.
    lines_a_task : int, optional
        Default: as many as :meth:`limitlens.pipeline.deciding.waves.Staging.sizes` says.

    Yields
    ------
    callable
        For :func:`limitlens.pipeline.deciding.decide.decide`; leaving the block without an error removes what waited.
    """
    with staging(workspace, "decide", lake) as place:

        def decide_parts(
            space: Workspace, new: Iteration, dates: Sequence[datetime], planned: pd.DataFrame, progress: Progress
        ) -> Iterator[DecidedPart]:
            last = last_decisions(space, planned["account_id"])
            lines, tasks = place.sizes(max(len(last), len(planned)), lines_a_task)
            parts = [part for part in parts_of(planned, last, lines) if any(map(len, part))]
            stands_on = [space.ledger.inputs_head(), new.digest, new.model_version]
            plan = [date.isoformat() for date in dates], table_sha256(to_arrow(planned, _PLANNED))
            name = job_name(space, *stands_on, *plan, lines, tasks)

            def wave_of(some: Sequence[tuple[pd.DataFrame, pa.Table]]) -> Wave[Basis]:
                return _wave(space, new, [read_part(space, dates, *part) for part in some], dates)

            for result in results(place, space, Job(name, decide_rows, KINDS, parts, tasks, wave_of), progress):
                yield {date: (decisions, attributions) for date, (decisions, attributions) in result.items()}

        yield decide_parts


def _wave(workspace: Workspace, new: Iteration, parts: Sequence[Part], dates: Sequence[datetime]) -> Wave[Basis]:
    basis = _basis(workspace, new, parts, dates)
    sets = {new.model.features, *(iteration_of(side).model.features for side in basis.sides.values())}
    tables = [{"planned": to_arrow(part.planned, _PLANNED), "last": part.last, "stood": part.stood} for part in parts]
    # Payments tell for every line whether it fell silent.
    return Wave(basis, reads_of(sets, "payment"), tables, [part.accounts() for part in parts])


def _basis(workspace: Workspace, new: Iteration, parts: Sequence[Part], dates: Sequence[datetime]) -> Basis:
    before = set[str]().union(*(part.run_ids() for part in parts))
    made_by = {
        run.run_id: (run.model_version, run.policy_digest) for run in workspace.ledger.runs() if run.run_id in before
    }
    wanted = {(new.model_version, new.policy.digest), *made_by.values()}
    recipes = {one: recipe_of(workspace, *one) for one in wanted}
    return Basis(
        recipes[new.model_version, new.policy.digest],
        {run_id: recipes[one] for run_id, one in made_by.items()},
        workspace.ledger.overrides(),
        in_force(workspace),
        tuple(dates),
    )


def decide_rows(basis: Basis, rows: pa.Table) -> pa.Table:
    """Decide the part that some rows are of; runs where a task runs.

    Parameters
    ----------
    basis : Basis
    rows : pyarrow.Table
        Of one part, as :func:`limitlens.pipeline.deciding.part_rows.received` takes them.

    Returns
    -------
    pyarrow.Table
        As :func:`limitlens.pipeline.deciding.seals.sealed` gives it, of :data:`KINDS`.
    """
    mine = received(rows)
    sides = {run_id: iteration_of(recipe) for run_id, recipe in basis.sides.items()}
    stands_on = StandsOn(iteration_of(basis.new), sides, basis.overrides, basis.holds)
    part = Part(mine.given["planned"].to_pandas(), mine.given["last"], mine.given["stood"])
    return sealed(KINDS, mine.part, decided_part(part, stands_on, basis.dates, lambda _: mine.events))
