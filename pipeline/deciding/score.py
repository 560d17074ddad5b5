"""Score: the PD of every line of the book at one moment, from file to file in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.calendar import data_end, format_time
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.frames import to_arrow
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import parquet_stream
from limitlens.data.unfinished import sweep
from limitlens.features.line import LINE_FACTS
from limitlens.features.spine import book, undecidable
from limitlens.limits.iteration import Iteration
from limitlens.limits.state import unpacked
from limitlens.models.together import SCORES_WORTH, obstacle
from limitlens.pipeline.deciding.states_before import states_before
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.training.feature_tables import opened_tables
from limitlens.pipeline.workspace import Workspace

SCORES = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("pd", pa.float64()),
        ("model_version", pa.string()),
    ]
)

#: Rows scored at once.
BATCH_ROWS = 1 << 16

#: Scores lines at a moment: ``account_id`` with :data:`limitlens.features.line.LINE_FACTS`, by account. Gives tables of
#: :data:`SCORES`, in the order of the lines.
ScoreLines = Callable[[Workspace, Iteration, datetime, pd.DataFrame, Progress], Iterable[pa.Table]]


@dataclass(frozen=True)
class Scored:
    """How many lines were scored, how many not since their limit is 0, by which version, whether as a backtest."""

    rows: int
    limit_zero: int
    model_version: str
    backtest: bool
    path: Path


def score(
    workspace: Workspace,
    as_of: datetime,
    out: Path,
    *,
    model_version: str | None = None,
    score_lines: ScoreLines | None = None,
    progress: Progress = silent,
) -> Scored:
    """Score the whole book and write a Parquet file; nothing is decided or recorded in the ledger.

    Parameters
    ----------
    workspace : Workspace
    as_of : datetime
    out : Path
        File of schema :data:`SCORES`, ordered by account; it appears when it is whole.
    model_version : str, optional
        Default: the champion.
    score_lines : callable, optional
        Default: :func:`scored_here`.
    progress : callable

    Raises
    ------
    WorkspaceError
        No champion, the version was withdrawn, or the data do not reach the moment.
    IntegrityError
        A file that was accepted or recorded, or one of the model, is damaged.
    """
    sweep(workspace.root)
    workspace = workspace.snapshot()
    expect_intact(workspace)
    version = model_version or workspace.registry.champion()
    if version is None:
        raise WorkspaceError("no champion to score with; run limitlens promote first, or name one with --model.")
    known_until = workspace.events.latest_known()
    if as_of > data_end(known_until):
        raise WorkspaceError(
            f"cannot score as of {format_time(as_of)}: the data end at {format_time(known_until)}; deliver more first."
        )
    iteration = workspace.scoring(version)
    backtest = as_of < datetime.fromisoformat(iteration.model.labels_end)
    lines = book([as_of], workspace.relations(iteration.model.features)).reset_index(drop=True)
    state = states_before(
        lines, unpacked(workspace.ledger.last_decisions()), workspace.ledger.overrides(), iteration.policy
    )
    facts = pd.concat([lines[["account_id"]], state[list(LINE_FACTS)]], axis=1)
    pieces = (score_lines or scored_here)(workspace, iteration, as_of, facts, progress)
    rows = 0
    with parquet_stream(SCORES, out) as write:
        for piece in pieces:
            write(piece)
            rows += len(piece)
    zero = undecidable(as_of, workspace.events.relations()).limit_zero
    return Scored(rows, zero, version, backtest, out)


def scored_here(
    workspace: Workspace, iteration: Iteration, as_of: datetime, lines: pd.DataFrame, progress: Progress
) -> Iterator[pa.Table]:
    """Score lines on this machine, from the feature table of the book."""
    [table] = opened_tables(workspace, iteration.model.features, [as_of], progress=progress)
    how = f"with version {iteration.model_version}{_by_whom(iteration, lines)}"
    progress(f"scoring {len(lines):,} lines of {format_time(as_of)} {how}")
    return scored_batches(iteration, table, lines["account_id"], lines)


def _by_whom(iteration: Iteration, lines: pd.DataFrame) -> str:
    """Who scores, where kernels would be worth it and cannot."""
    if len(lines) < SCORES_WORTH:
        return ""
    why = [obstacle(scorer.members) for scorer in iteration.model.scorers.values()]
    return next((f", by LightGBM alone: {one}" for one in why if one), "")


def scored_batches(
    iteration: Iteration, features: pq.ParquetFile, accounts: pd.Series, state: pd.DataFrame
) -> Iterator[pa.Table]:
    """Score a feature file batch by batch.

    Parameters
    ----------
    iteration : Iteration
    features : pyarrow.parquet.ParquetFile
        Feature table of the model, as :func:`limitlens.pipeline.training.feature_tables.opened_tables` gives it.
    accounts : Series of str
        Account of every line in it, in its order.
    state : DataFrame
        State of every line, in the same order.

    Yields
    ------
    pyarrow.Table
        Of schema :data:`SCORES`.

    Raises
    ------
    IntegrityError
        The file holds other accounts.
    """
    start = 0
    for batch in features.iter_batches(BATCH_ROWS):
        table = batch.to_pandas()
        rows = slice(start, start := start + len(table))
        if not np.array_equal(table["account_id"], accounts.iloc[rows]):
            raise IntegrityError("a feature table is not of the book; delete the folder features, it is built again.")
        mine = state.iloc[rows].reset_index(drop=True)
        yield scores_of(iteration, table, mine)


def scores_of(iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame) -> pa.Table:
    """Score lines by their features and their state, in the same order: a table of :data:`SCORES`."""
    scores = {"account_id": table["account_id"], "as_of": table["as_of"], "pd": iteration.score(table, state)}
    return to_arrow(pd.DataFrame({**scores, "model_version": iteration.model_version}), SCORES)
