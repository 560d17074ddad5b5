"""The watch on Spark: the rows and decisions of the plain one, and a stream that was killed brings no file twice."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.features.table import Engine
from limitlens.pipeline.check_delivery import fold
from limitlens.pipeline.cli import app
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching import stream
from limitlens.pipeline.watching.stored_rows import found_by_spark
from limitlens.pipeline.watching.stream import streaming
from limitlens.pipeline.watching.tick import Standing, tick
from limitlens.pipeline.workspace import Workspace
from tests.test_holds import FIRST
from tests.test_watch import HOUR, line_of, put, rows_of, takeover, withdrawn

#: By what the watch looks for stored rows.
LOOKED_FOR = (
    ("accounts", "account_id"),
    ("consumption", "account_id"),
    ("consumption", "event_id"),
    ("payment", "counterparty"),
    ("device", "device_id"),
)


def came(space: Workspace) -> list[dict[str, pa.Table]]:
    """What happens to three lines in three ticks: one is taken over and speaks up, one opens and is emptied."""
    account, noon = line_of(space), FIRST + 12 * HOUR
    opened = {"account_id": "NEW", "opened_at": noon, "known_time": noon - HOUR, "limit_cents": 12_000_00}
    rows, emptied = takeover(account, noon), takeover("NEW", noon + HOUR)
    back = withdrawn(rows, noon + 4 * HOUR)
    new = {"accounts": rows_of("accounts", [opened | {"segment": "salaried"}])}
    return [{**new, **rows}, emptied, {name: pa.concat_tables([t, rows[name]]) for name, t in back.items()}]


def test_spark_finds_the_stored_rows_that_the_copy_has(space: Workspace, spark: Engine) -> None:
    journal = Journal(space.root)
    journal.sync(space.events)
    with found_by_spark(space.events, spark.prepare) as find:
        for source, column in LOOKED_FOR:
            every = run_sql(f"SELECT DISTINCT {column} FROM ({space.events.versions(source)}) ORDER BY 1 LIMIT 30")
            values = every[column].drop_null().to_pylist()
            for some in ([*values, "it's \\ nobody"], values[:3]):  # of the latter it knows all already
                stored, _ = journal.rows(source, column, some)
                found = find(source, column, some)
                order = [(name, "ascending") for name in ("account_id", "known_time", stored.column_names[0])]
                assert len(found) >= 3
                assert found.select(stored.column_names).sort_by(order).equals(stored.sort_by(order))


def test_spark_gives_the_ledger_that_the_plain_watch_gives(space: Workspace, spark: Engine, tmp_path: Path) -> None:
    shutil.copytree(space.root, tmp_path / "other")
    other, new, inbox = Workspace(tmp_path / "other"), tmp_path / "new", tmp_path / "streamed"
    plain: Standing | None = None
    streamed: Standing | None = None
    with found_by_spark(other.events, spark.prepare) as find:
        for number, rows in enumerate(came(space)):
            at = FIRST + (14 + 2 * number) * HOUR
            put(tmp_path / "inbox", f"{number}", rows)
            put(new, f"{number}", rows)
            left = tick(space, tmp_path / "inbox", at, plain)
            with streaming(str(new), inbox, None):
                right = tick(other, inbox, at, streamed, find_stored=find)
            plain, streamed = left.standing, right.standing
            assert (left.rows, left.deduplicated, left.touched) == (right.rows, right.deduplicated, right.touched)
            pd.testing.assert_frame_equal(left.decisions, right.decisions)
    actions = [one.decisions["action"].to_pylist()[-1] for one in other.ledger.pending_ticks()]
    assert actions == ["pause", "pause", "unfreeze"]
    assert other.ledger.head() == space.ledger.head()


def test_a_stream_that_was_killed_brings_the_batch_again_and_no_row_counts_twice(
    space: Workspace, spark: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, inbox, noon = tmp_path / "new", tmp_path / "inbox", FIRST + 12 * HOUR
    rows = takeover(line_of(space), noon)["consumption"]
    broken = rows.slice(0, 1).set_column(rows.column_names.index("account_id"), "account_id", pa.array(["NOBODY"]))
    put(new, "a", {"consumption": pa.concat_tables([rows, broken])})

    def killed(files: pa.Table, inbox: Path) -> None:
        landed(files, inbox)
        raise RuntimeError

    landed = stream.land
    with monkeypatch.context() as patch:
        patch.setattr(stream, "land", killed)
        with pytest.raises(WorkspaceError, match=r"the stream from .* ended"), streaming(str(new), inbox, None):
            pass
    first = tick(space, inbox, noon + 2 * HOUR)
    put(new, "b", takeover(line_of(space), noon + HOUR))
    with streaming(str(new), inbox, None):
        assert not (inbox / "consumption" / "a.parquet").exists()
        assert (inbox / "consumption" / "b.parquet").exists()
    tick(space, inbox, noon + 4 * HOUR, first.standing)
    report = fold(space)
    assert report is not None
    counts = report.sources["consumption"]
    assert (first.rows, counts.rows_in, counts.quarantined) == (5, 9, 1)


def test_the_command_watches_by_spark_and_ends_with_its_own_codes(
    space: Workspace, spark: Engine, tmp_path: Path
) -> None:
    run, new, inbox = CliRunner(), tmp_path / "new", tmp_path / "inbox"
    inbox.mkdir()
    asked = ["watch", str(inbox), "--workspace", str(space.root), "--stream", str(new), "--once"]
    assert "add --engine spark" in run.invoke(app, asked).output
    put(new, "a", takeover(line_of(space), datetime.now(UTC) - 3 * HOUR))
    done = run.invoke(app, [*asked, "--engine", "spark"])
    assert done.exit_code == 0, done.output
    assert "pause" in done.stdout
    assert run.invoke(app, [*asked, "--engine", "spark"]).exit_code == 7
