"""Score on Spark: executors read the events, build features and score, the driver writes the file.

A task has one part of the book: its lines, all their events, and those of others that link them. Features come from the
code of one machine, and PDs from its iteration, so the file is the same. The feature table is nowhere as a whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa

from limitlens.data.frames import to_arrow
from limitlens.data.lock import alone_in, building
from limitlens.data.progress import Progress
from limitlens.data.storage import table_sha256
from limitlens.features.line import LINE_FACTS
from limitlens.features.table import build_table
from limitlens.limits.iteration import Iteration
from limitlens.pipeline.deciding.part_rows import reads_of, received
from limitlens.pipeline.deciding.recipes import Recipe, iteration_of, recipe_of
from limitlens.pipeline.deciding.score import SCORES, ScoreLines, scores_of
from limitlens.pipeline.deciding.seals import sealed
from limitlens.pipeline.deciding.waves import Job, Wave, job_name, results, staging
from limitlens.pipeline.workspace import Workspace

_LINES = pa.schema([("account_id", pa.string()), *((name, pa.int64()) for name in LINE_FACTS)])

#: Tables of a scored part.
KINDS = {"score": SCORES}


@dataclass(frozen=True)
class Basis:
    """What every task is given."""

    recipe: Recipe
    as_of: datetime


@contextmanager
def scored_on_spark(
    workspace: Workspace, lake: str | None = None, *, lines_a_task: int | None = None
) -> Iterator[ScoreLines]:
    """Open Spark to score lines; of several calls for one workspace the others wait, since they clear up one folder.

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
        For :func:`limitlens.pipeline.deciding.score.score`; leaving the block without an error removes what waited.
    """
    with ExitStack() as held, staging(workspace, "score", lake) as place:

        def score_lines(
            space: Workspace, iteration: Iteration, as_of: datetime, lines: pd.DataFrame, progress: Progress
        ) -> Iterator[pa.Table]:
            held.enter_context(building(space.root))
            held.enter_context(alone_in(space.root / "loads"))
            book = to_arrow(lines, _LINES)
            size, tasks = place.sizes(len(book), lines_a_task)
            basis = Basis(recipe_of(space, iteration.model_version, iteration.policy.digest), as_of)
            reads = reads_of({iteration.model.features})

            def wave_of(some: Sequence[pa.Table]) -> Wave[Basis]:
                accounts = [part["account_id"].combine_chunks() for part in some]
                return Wave(basis, reads, [{"lines": part} for part in some], accounts)

            parts = [book.slice(first, size) for first in range(0, len(book), size)]
            stands_on = [iteration.digest, iteration.model_version, as_of.isoformat(), table_sha256(book)]
            name = job_name(space, *stands_on, size, tasks)
            for result in results(place, space, Job(name, score_rows, KINDS, parts, tasks, wave_of), progress):
                yield result[as_of][0]

        yield score_lines


def score_rows(basis: Basis, rows: pa.Table) -> pa.Table:
    """Score the part that some rows are of; runs where a task runs.

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
    mine, iteration = received(rows), iteration_of(basis.recipe)
    lines = mine.given["lines"].to_pandas()
    moment = pd.Timestamp(basis.as_of).as_unit("us")
    points = lines[["account_id"]].assign(as_of=moment, known_by=moment)
    table = build_table(iteration.model.features, points, mine.events)
    return sealed(KINDS, mine.part, {basis.as_of: (scores_of(iteration, table, lines),)})
