"""A run that was killed, or that met a full disk, leaves nothing half done."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.kills import entry, fingerprint
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.limits.ledger import Ledger
from limitlens.limits.override import Override
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST, NOON, ledger_of, python, quiet

pytestmark = pytest.mark.slow


def test_an_entry_killed_at_any_step_is_made_up_for_byte_for_byte() -> None:
    done = python("-m", "benchmarks.kills", "--append")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INSERT of the ledger, not committed | 1 | 1 |" in done.stdout


def test_a_decide_killed_between_files_ledger_and_mlflow_is_made_up_for(small_workspace: Workspace) -> None:
    steps = "after .* committed|after MLflow's (create_run|set_terminated)"
    work = str(small_workspace.root)
    done = python("-m", "benchmarks.kills", work, "--each", "1", "--random", "1", "--runs", "1", "--only", steps)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | 7 | 7 |" in done.stdout


def test_what_a_killed_run_left_is_told_apart_and_swept(small: Ledger) -> None:
    rest = [small.workspace / "decisions" / name for name in (".a.parquet.7.tmp", "2026-01-04-x.parquet")]
    for path in rest:
        path.write_bytes(b"half")
    with pytest.raises(IntegrityError, match=r"2026-01-04-x\.parquet: no run has recorded this file"):
        small.verify()
    small.sweep()
    assert small.verify() == 7
    assert not any(path.exists() for path in rest)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("module", "call"), [(pq, "write_table"), (os, "fsync"), (os, "replace")])
def test_a_full_disk_names_what_is_needed_and_free_and_the_run_can_be_repeated(
    module: object, call: str, place: int, small: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small.workspace, tmp_path / "other")
    before, real, calls = fingerprint(small.workspace), getattr(module, call), []

    def full(*given: object, **named: object) -> object:
        calls.append(given)
        if len(calls) == 1 + place * (2 if call == "fsync" else 1):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(module, call, full)
        with pytest.raises(WorkspaceError, match=r"needs up to \d+ KiB and [\d,]+ KiB are free"):
            small.append(*entry(4, 20))
    assert Ledger(small.workspace).runs() == Ledger(tmp_path / "other").runs()
    small.sweep()
    assert fingerprint(small.workspace) == before
    for ledger in (small, Ledger(tmp_path / "other")):
        ledger.append(*entry(4, 20))
    assert fingerprint(small.workspace) == fingerprint(tmp_path / "other")


_LIMITED = """
import resource, sys
from pathlib import Path
from benchmarks.kills import entry
from limitlens.limits.chain import next_head
from limitlens.limits.ledger import Ledger
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Ledger(Path(sys.argv[1])).append(*entry(4, 100_000))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_file_the_system_refuses_is_one_line_too(small: Ledger) -> None:
    done = python("-c", _LIMITED, str(small.workspace))
    assert done.stdout.startswith("NoRoomError"), done.stderr
    assert "no room on the disk" in done.stdout
    assert small.verify() == 7


def test_a_full_sqlite_file_is_one_line_and_keeps_what_it_has(small: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(sqlite3.Connection):
        def executescript(self, sql: str) -> sqlite3.Cursor:
            self.execute("PRAGMA max_page_count = 1")
            return super().executescript(sql)

    real, head = sqlite3.connect, small.head()
    long = Override("A000000001", NOON, "keep", 100, 100, "Chen Wei", "because " * 10_000)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", lambda path: real(path, factory=Full))
        with pytest.raises(WorkspaceError, match="no room on the disk"):
            small.record_override(long)
    assert (small.verify(), small.head()) == (7, head)


def test_a_date_whose_record_met_a_full_disk_is_recorded_by_the_same_command_again(
    behind: Workspace, small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("limitlens.pipeline.deciding.record.write_text", full)
        with pytest.raises(WorkspaceError, match="no room on the disk"):
            decide(behind, as_of=LAST, progress=quiet)
    assert [run.as_of for run in behind.ledger.waiting()] == [LAST]
    again = decide(behind, as_of=LAST, progress=quiet)
    assert not behind.ledger.waiting()
    reconcile(behind, quiet)
    assert ledger_of(behind) == ledger_of(small_workspace)
    last = small_workspace.ledger.runs()[-1].run_id
    assert again.decisions == len(small_workspace.ledger.query(f"FROM decisions WHERE run_id = '{last}'"))


_STARVED = """
from limitlens.data.engine import limit_memory, run_sql
limit_memory("20MB")
try:
    run_sql("SELECT list(range) FROM range(10000000)")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_query_without_room_is_one_line_that_says_how_much_it_wanted() -> None:
    done = python("-c", _STARVED)
    assert done.stdout.startswith("WorkspaceError no room for a query"), done.stderr
    assert "MiB used" in done.stdout
    assert len(done.stdout.splitlines()) == 1
