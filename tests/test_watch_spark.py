"""The watch on Spark: the rows and decisions of the plain one, and a stream that was killed brings no file twice."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES
from limitlens.data.errors import WorkspaceError
from limitlens.features.table import Engine
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching import stream
from limitlens.pipeline.watching.stored_rows import found_by_spark
from limitlens.pipeline.watching.tick import Standing, tick
from limitlens.pipeline.workspace import Workspace
from tests.conftest import MadeOnce
from tests.test_holds import FIRST, make_books
from tests.test_watch import DAY, HOUR, known_between, line_of, put, rows_of, takeover


@pytest.fixture
def books(made_once: MadeOnce) -> Path:
    return made_once("holds", make_books)


@pytest.fixture
def space(books: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(books / "base", tmp_path / "work")
    return Workspace(tmp_path / "work")


def came(space: Workspace) -> list[dict[str, pa.Table]]:
    """What happens to three lines in three ticks: one is taken over and speaks up, one opens and is emptied."""
    account, noon = line_of(space), FIRST + 12 * HOUR
    opened = {"account_id": "NEW", "opened_at": noon, "known_time": noon - HOUR, "limit_cents": 12_000_00}
    rows, emptied = takeover(account, noon), takeover("NEW", noon + HOUR)
    withdrawn = {
        source: pa.Table.from_pylist(
            [row | {"known_time": noon + 4 * HOUR, "retracted": True} for row in table.to_pylist()], table.schema
        )
        for source, table in rows.items()
    }
    new = {"accounts": rows_of("accounts", [opened | {"segment": "salaried"}])}
    return [{**new, **rows}, emptied, {name: pa.concat_tables([t, rows[name]]) for name, t in withdrawn.items()}]


def test_spark_gives_the_ledger_and_the_rows_that_the_plain_watch_gives(
    space: Workspace, spark: Engine, tmp_path: Path
) -> None:
    shutil.copytree(space.root, tmp_path / "other")
    other, new, inbox = Workspace(tmp_path / "other"), tmp_path / "new", tmp_path / "streamed"
    plain: Standing | None = None
    streamed: Standing | None = None
    with found_by_spark(other.events, spark.prepare) as find:
        for number, rows in enumerate(came(space)):
            at = FIRST + (14 + 2 * number) * HOUR
            put(tmp_path / "inbox", f"{number}", rows)
            put(new, f"{number}", rows)
            with stream.streaming(str(new), inbox, None):
                left = tick(space, tmp_path / "inbox", at, plain)
                right = tick(other, inbox, at, streamed, find_stored=find)
            plain, streamed = left.standing, right.standing
            assert (left.rows, left.deduplicated, left.touched) == (right.rows, right.deduplicated, right.touched)
            pd.testing.assert_frame_equal(left.decisions, right.decisions)
    ticks = other.ledger.pending_ticks()
    assert ticks == space.ledger.pending_ticks()
    assert [one.decisions["action"].to_pylist()[-1] for one in ticks] == ["pause", "pause", "unfreeze"]
    assert other.ledger.head() == space.ledger.head()
