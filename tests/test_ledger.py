"""The ledger never lies: kills, full disks, two runs at once, tampering, overrides, and what can be asked of it."""

import csv
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.kills import entry, fingerprint, unfinished
from limitlens.data.errors import ConfigError, IntegrityError, WorkspaceError
from limitlens.data.spreadsheet import write_csv
from limitlens.data.storage import file_sha256
from limitlens.limits.attribution import LATTICE, PLAYERS
from limitlens.limits.chain import next_head
from limitlens.limits.entries import attribution_entries
from limitlens.limits.hold import Hold
from limitlens.limits.lattice import Lattice
from limitlens.limits.ledger import Ledger
from limitlens.limits.override import OVERRIDE_ACTIONS, Override, Restoration, overridden
from limitlens.limits.state import first_state, next_state, state_before, unpacked
from limitlens.pipeline.answers.history import Selection, decisions_of, export
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli import app, main
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.states_before import carried
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace

pytestmark = pytest.mark.slow

LAST = datetime(2026, 7, 1, tzinfo=UTC)
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
ROOT = Path(__file__).parent.parent


def quiet(_: str) -> None:
    """Progress nobody reads."""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Ledger:
    """Three runs and two overrides, on their own."""
    ledger = Ledger(tmp_path / "small")
    for number in (1, 2, 3):
        ledger.append(*entry(number, 20))
        if number < 3:
            order(ledger, number)
    return ledger


def order(ledger: Ledger, number: int) -> None:
    """Record an override of the first account."""
    at = datetime(2026, 1, number, 12, tzinfo=UTC)
    ledger.record_override(Override("A000000001", at, "limit", 100, 200 * number, "Chen Wei", "salary slip"))


def recorded(path: Path) -> Ledger:
    """Two of each kind of link; the last of each kind stands behind all others of it."""
    ledger = Ledger(path)
    for number in (1, 2):
        ledger.append(*entry(number, 20))
        order(ledger, number)
    for number in (1, 2):
        run, _, attributions = entry(number, 20)
        ledger.append_revision(run, run.as_of + timedelta(days=30), attributions, known_rows=5, late_rows=1)
    for number in (1, 2):
        ledger.open_hold(Hold("payment", run.as_of, run.as_of, "check", "no rows", "due", "city", f"place {number}"))
    for number in (1, 2):
        ledger.release_hold(number, "true", run.as_of, "Chen Wei", "a holiday")
    for number in (1, 2):
        line = ("A000000001", run.as_of, run.as_of, number, 0, 700_00, True, 0.02, run.as_of, run.as_of)
        ledger.record_restoration(Restoration(*line, "Chen Wei", "came late"))
    return ledger


@pytest.fixture
def behind(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished demo that has not decided its last date yet, a month start."""
    unfinished(small_workspace.root, tmp_path / "behind", LAST)
    return Workspace(tmp_path / "behind")


# Killed, full, twice at once


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
    assert small.verify() == 5
    assert not any(path.exists() for path in rest)


def test_recording_a_run_again_changes_nothing_and_with_other_content_is_refused(small: Ledger) -> None:
    before = fingerprint(small.workspace)
    small.append(*entry(2, 20))
    run, decisions, attributions = entry(2, 20)
    for changed in ((decisions.slice(1), attributions), (decisions, attributions.slice(1))):
        with pytest.raises(IntegrityError, match="recorded before with other content"):
            small.append(run, *changed)
    assert fingerprint(small.workspace) == before


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
    assert done.stdout.startswith("WorkspaceError"), done.stderr
    assert "no room on the disk" in done.stdout
    assert small.verify() == 5


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
    assert (small.verify(), small.head()) == (5, head)


def test_a_date_whose_record_met_a_full_disk_is_recorded_by_the_same_command_again(
    behind: Workspace, small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.MlflowClient.log_text", full)
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


_HELD = """
import sys
from pathlib import Path
from benchmarks.kills import watch
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.workspace import Workspace
def wait(step):
    if step == "after the rename of decisions":
        print(step, flush=True)
        sys.stdin.readline()
watch(wait)
decide(Workspace(Path(sys.argv[1])), progress=lambda _: None)
"""


def test_of_two_runs_at_once_one_wins_and_the_other_is_told(
    behind: Workspace,
    small_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-c", _HELD, str(behind.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline().startswith("after the rename")
        monkeypatch.setattr(sys, "argv", ["limitlens", "decide", "--workspace", str(behind.root)])
        with pytest.raises(SystemExit) as second:
            main()
        first.communicate("go on\n")
    said = capsys.readouterr().err
    assert (first.returncode, second.value.code) == (0, 5)
    assert len(said.strip().splitlines()) == 1
    assert "a run is in progress" in said
    reconcile(behind, quiet)
    assert ledger_of(behind) == ledger_of(small_workspace)


def test_a_killed_holder_frees_the_workspace(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from limitlens.data.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'decide'): print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceError, match="a run is in progress"):
            verify(Workspace(tmp_path))
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert verify(Workspace(tmp_path)) == (0, 0)


_DECIDE = """
import sys
from pathlib import Path
from limitlens.data import engine
from limitlens.features import table
from limitlens.pipeline.deciding import reconcile as reconciling
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.workspace import Workspace
engine.limit_memory("1GB")
engine._database().execute("SET threads = 2")
table.LITERAL_ROWS, table.PART_EVENTS, reconciling.BATCH_SPLITS = 1_000, 20_000, 500
decide(Workspace(Path(sys.argv[1])), progress=lambda _: None)
reconciling.reconcile(Workspace(Path(sys.argv[1])), progress=lambda _: None)
"""


def test_threads_memory_and_batches_leave_no_trace_in_the_ledger(behind: Workspace, small_workspace: Workspace) -> None:
    """Each of them unlike those the demo was made with: one thread, all memory, one part, one batch."""
    done = python("-c", _DECIDE, str(behind.root), OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    assert ledger_of(behind) == ledger_of(small_workspace)


def ledger_of(workspace: Workspace) -> dict[str, object]:
    return {name: value for name, value in fingerprint(workspace.root).items() if name != "mlflow"}


# Tampered with


def test_verify_counts_runs_overrides_and_revisions_in_the_order_of_recording(small: Ledger) -> None:
    """Revisions between, before and behind the others; the head is that of the last link."""
    for number in (1, 3):
        run, _, attributions = entry(number, 20)
        known_by = run.as_of + timedelta(days=30)
        small.append_revision(run, known_by, attributions, known_rows=5, late_rows=1)
        order(small, number)
    small.append(*entry(4, 20))
    assert small.verify() == 10
    assert small.heads()[small.runs()[-1].run_id] == small.head()


def edit_a_cell(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "decisions").glob("*.parquet"))[1]
    table = pq.read_table(path)
    limits = table["limit_cents"].to_pylist()
    pq.write_table(table.set_column(4, table.schema.field(4), pa.array([1, *limits[1:]], pa.int64())), path)
    return path.name


def truncate(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "attributions").glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-9])
    return path.name


def remove(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "attributions").glob("*.parquet"))[2]
    path.unlink()
    return path.name


def sql(text: str, named: str) -> Callable[[Ledger], str]:
    def run(ledger: Ledger) -> str:
        with sqlite3.connect(ledger.workspace / "ledger.sqlite") as connection:
            assert connection.execute(text).rowcount > 0
        connection.close()
        return named

    return run


SECOND = f"run {entry(2, 1)[0].run_id[:12]} of 2026-01-02"
THIRD = f"run {entry(3, 1)[0].run_id[:12]} of 2026-01-03"


@pytest.mark.parametrize(
    "strike",
    [
        edit_a_cell,
        truncate,
        remove,
        sql("UPDATE runs SET model_version = 'x' WHERE rowid = 2", SECOND),
        sql("UPDATE runs SET head = 'x' WHERE rowid = 2", SECOND),
        sql("UPDATE overrides SET runs_before = 3 WHERE id = 1", SECOND),
        sql("UPDATE overrides SET reason = 'x' WHERE id = 2", "override 2 of account A000000001"),
        sql("DELETE FROM overrides WHERE id = 2", THIRD),
        sql("DELETE FROM runs WHERE rowid = 1", ""),
    ],
)
def test_verify_names_the_first_broken_link(strike: Callable[[Ledger], str], small: Ledger) -> None:
    named = strike(small)
    with pytest.raises(IntegrityError, match="first broken link") as told:
        small.verify()
    assert named in str(told.value)


def forge(ledger: Ledger, table: str, column: str) -> None:
    """Change a cell of the last row, and files with it, so that neither its files nor the order give it away."""
    with sqlite3.connect(ledger.workspace / "ledger.sqlite") as connection:
        last = f"FROM {table} WHERE rowid = (SELECT MAX(rowid) FROM {table})"
        forged: str | int = 3 if column == "links_before" else 7
        if column in {"decisions", "attributions"}:
            forged = f"{column}/another.parquet"
            (path,) = connection.execute(f"SELECT {column} {last}").fetchone()
            (ledger.workspace / path).rename(ledger.workspace / forged)
        if column.endswith("_sha256"):
            (path,) = connection.execute(f"SELECT {column.removesuffix('_sha256')} {last}").fetchone()
            pq.write_table(pq.read_table(ledger.workspace / path).slice(1), ledger.workspace / path)
            forged = file_sha256(ledger.workspace / path)
        connection.execute(f"UPDATE {table} SET {column} = ? {last.removeprefix(f'FROM {table}')}", [forged])
    connection.close()


@pytest.mark.parametrize("table", ["runs", "overrides", "revisions", "holds", "releases", "restorations"])
def test_each_forged_cell_is_seen_by_the_chain_and_would_not_be_by_one_that_leaves_it_out(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(recorded(tmp_path / "whole").workspace / "ledger.sqlite") as connection:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    for place, column in enumerate(name for name in columns if name not in {"head", "mlflow_run_id"}):

        def leaving_it_out(head: str, content: Sequence[str | int], at: int = place + 1) -> str:
            return next_head(head, [*content[:at], *content[at + 1 :]] if content[0] == table[:-1] else content)

        chained = recorded(tmp_path / f"chained {column}")
        forge(chained, table, column)
        with pytest.raises(IntegrityError, match="first broken link: its row was changed"):
            chained.verify()
        if column == "links_before":  # the order gives it away as well
            continue
        with monkeypatch.context() as mutant:
            mutant.setattr("limitlens.limits.ledger.next_head", leaving_it_out)
            unchained = recorded(tmp_path / f"without {column}")
            forge(unchained, table, column)
            assert unchained.verify() == 12


def test_a_chain_cut_off_at_its_end_is_known_by_the_head_that_mlflow_keeps(behind: Workspace) -> None:
    decide(behind, progress=quiet)
    assert verify(behind)[0] == len(behind.ledger.runs())
    with sqlite3.connect(behind.root / "ledger.sqlite") as connection:
        gone = connection.execute("SELECT decisions, attributions FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
        connection.execute("DELETE FROM runs WHERE rowid = (SELECT MAX(rowid) FROM runs)")
    connection.close()
    for name in gone:
        (behind.root / name).unlink()
    assert behind.ledger.verify() == len(behind.ledger.runs())
    with pytest.raises(IntegrityError, match="its last runs were removed"):
        verify(behind)


def test_a_run_whose_mlflow_run_is_gone_is_named(small: Ledger) -> None:
    run, head = small.runs()[1].run_id, small.heads()[small.runs()[1].run_id]
    small.link_mlflow([run], "m1")
    small.verify_anchors({"m1": head, "another": small.head()})
    with pytest.raises(IntegrityError, match=f"run {run[:12]}: its MLflow run m1 is gone"):
        small.verify_anchors({"another": head})


def test_a_revision_whose_mlflow_run_is_gone_is_named_and_a_head_that_is_none_of_the_chain(tmp_path: Path) -> None:
    ledger = recorded(tmp_path / "whole")
    ledger.link_revisions("m2")
    ledger.verify_anchors({"m2": ledger.head()})
    with pytest.raises(IntegrityError, match="its MLflow run m2 is gone"):
        ledger.verify_anchors({"m1": ledger.head()})
    with pytest.raises(IntegrityError, match=r"does not hold the head 000000000000 that MLflow run m2 recorded"):
        ledger.verify_anchors({"m2": "0" * 64})


def test_runs_wait_until_mlflow_names_them_and_the_latest_decision_is_the_last(small: Ledger) -> None:
    first, *others = small.runs()
    small.link_mlflow([first.run_id], "m1")
    assert small.waiting() == others
    assert set(small.last_decisions()["as_of"].to_pylist()) == {others[-1].as_of}


def test_a_recorded_name_that_leads_out_of_its_folder_is_not_read(small: Ledger) -> None:
    sql("UPDATE runs SET decisions = 'decisions/../../secret.parquet' WHERE rowid = 1", "")(small)
    with pytest.raises(IntegrityError, match=r"secret\.parquet: not a file of"):
        small.query("SELECT * FROM decisions")


# Overrides


def test_the_next_decision_starts_from_the_override_and_its_shares_sum_to_the_change_since(
    behind: Workspace, small_workspace: Workspace
) -> None:
    usual = small_workspace.ledger.query(f"SELECT * FROM current WHERE as_of = '{LAST}' ORDER BY account_id")
    calm = usual[usual["can_draw"] & (usual["action"] == "keep") & usual["previous_as_of"].notna()]
    raised, lowered, frozen, closed, kept = calm["account_id"].iloc[:5]
    orders = {raised: 99_000_00, lowered: 1_234_56}
    for account, cents in orders.items():
        override(behind, account, at=NOON, actor="Chen Wei", reason="salary slip", limit_cents=cents)
    for account, action in {frozen: "freeze", closed: "close", kept: "keep"}.items():
        override(behind, account, at=NOON, actor="Li Na", reason="a call", action=action)
    decide(behind, progress=quiet)
    found = behind.ledger.query(f"SELECT * FROM current WHERE as_of = '{LAST}' ORDER BY account_id")

    lines = found.set_index("account_id")
    assert {account: lines.loc[account, "limit_before_cents"] for account in orders} == orders
    change = lines["limit_cents"] - lines["limit_before_cents"]
    split = lines["phi_state"].notna()
    assert (lines[[f"phi_{player}" for player in PLAYERS]].sum(axis=1) == 120 * change)[split].all()
    assert (lines[[f"share_cents_{player}" for player in PLAYERS]].sum(axis=1) == change)[split].all()
    assert closed not in lines.index

    states = lines["state"]
    assert not states[frozen]["can_draw"]
    assert {states[account]["changed_at"] for account in (raised, lowered, frozen)} == {pd.Timestamp(NOON)}
    assert {states[account]["adverse_at"] for account in (lowered, frozen)} == {pd.Timestamp(NOON)}
    same = [name for name in usual.columns if name not in {"run_id", "previous_as_of"}]
    others, touched = usual[~usual["account_id"].isin(calm["account_id"].iloc[:4])], [raised, lowered, frozen]
    left = found[~found["account_id"].isin(touched)].reset_index(drop=True)
    pd.testing.assert_frame_equal(left[same], others.reset_index(drop=True)[same])

    for account in (*touched, kept):
        assert replay(behind, quiet, account) > 0
    told = render(why(behind, raised, LAST))
    assert "Chen Wei ordered limit 2026-06-30T12:00:00" in told
    assert "→ 99,000.00: salary slip." in told
    assert verify(behind)[0] == len(behind.ledger.runs()) + 5


@given(hnp.arrays(np.int64, (3, *LATTICE), elements=st.integers(0, 10**13)), st.integers(0, 10**13))
def test_shares_sum_to_the_change_since_the_override(limits: np.ndarray, before: int) -> None:
    given_before = np.array([limits[0, 0, 0, 0, 0], before, before])
    times = dict.fromkeys(("as_of", "previous_as_of", "known_by"), pd.Timestamp(LAST))
    changes = pd.DataFrame({"account_id": ["A", "B", "C"], "limit_before_cents": given_before}).assign(**times)
    entries = attribution_entries(Lattice(limits, np.zeros(limits.shape, np.int8)), changes)
    phi = entries[[f"phi_{player}" for player in PLAYERS]].sum(axis=1)
    shown = entries[[f"share_cents_{player}" for player in PLAYERS]].sum(axis=1)
    assert (phi == 120 * (limits[:, 3, 1, 1, 1] - given_before)).all()
    assert (shown == limits[:, 3, 1, 1, 1] - given_before).all()


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-1, 5), st.sampled_from(OVERRIDE_ACTIONS), st.integers(1, 5)),
        max_size=9,
    )
)
def test_a_line_carries_every_override_between_two_decisions_one_after_the_other(
    orders: list[tuple[int, int, str, int]],
) -> None:
    times = pd.Series([pd.Timestamp(LAST).as_unit("us")] * 3)
    lines = pd.DataFrame({"account_id": list("ABC"), "limit_cents": 300, "opened_at": times, "as_of": times})
    last = first_state(lines, np.zeros(3, bool)).add_prefix("state.")
    last = last.assign(account_id=list("ABC"), as_of=times, action="keep", limit_cents=300, can_draw=True, pd=0.25)
    cells = [("ABC"[i], LAST + timedelta(days=day), action, 100 * cents) for i, day, action, cents in orders]
    given_orders = pd.DataFrame(cells, columns=["account_id", "at", "action", "limit_cents"])
    given_orders = given_orders.assign(id=range(len(orders)), at=given_orders["at"].astype("datetime64[us, UTC]"))
    found = carried(last, times + pd.Timedelta(days=4), given_orders)

    for i, account in enumerate("ABC"):
        limit, can_draw, changed, adverse = 300, True, None, None
        for _, at, action, cents in sorted((c for c in cells if c[0] == account), key=lambda cell: cell[1]):
            if not LAST <= at < LAST + timedelta(days=4) or limit == 0:
                continue
            after = {"limit": cents, "close": 0}.get(action, limit)
            draws = {"freeze": False, "close": False, "unfreeze": True}.get(action, can_draw)
            if (after, draws) != (limit, can_draw):
                changed = at
                adverse = at if after < limit or action in {"freeze", "close"} else adverse
            limit, can_draw = after, draws
        row = found.iloc[i]
        assert (row["limit_cents"], row["can_draw"], row["closed"]) == (limit, can_draw, limit == 0)
        assert row["changed_at"] == changed or (changed is None and pd.isna(row["changed_at"]))
        assert row["adverse_at"] == adverse or (adverse is None and pd.isna(row["adverse_at"]))
        assert row["pd_ref"] == 0.25 or changed is None


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"limit_cents": 100, "action": "freeze"}, "and not both"),
        ({}, "needs a limit or one of"),
        ({"action": "unfreeze"}, "it is not frozen"),
        ({"action": "close", "at": LAST}, "choose a later time"),
        ({"limit_cents": 0}, "close the line instead"),
        ({"action": "keep", "reason": " "}, "and a reason"),
        ({"action": "keep", "account_id": "nobody"}, "'nobody' has no decision yet"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(
    order: dict[str, object], message: str, small_workspace: Workspace
) -> None:
    account = small_workspace.ledger.query("SELECT account_id FROM current WHERE can_draw LIMIT 1")["account_id"][0]
    full = {"account_id": account, "at": datetime(2026, 7, 2, tzinfo=UTC), "actor": "Chen Wei", "reason": "r"} | order
    with pytest.raises(WorkspaceError, match=message):
        override(small_workspace, **full)  # type: ignore[arg-type]
    assert small_workspace.ledger.overrides().empty


def test_a_person_changes_a_line_from_the_command_line(behind: Workspace) -> None:
    account = str(behind.ledger.query("SELECT account_id FROM current WHERE can_draw LIMIT 1")["account_id"][0])
    told = ["--by", "Chen Wei", "--reason", "salary slip", "--at", "2026-06-30T12:00", "--workspace", str(behind.root)]
    run = CliRunner().invoke
    shown = run(app, ["ledger", "override", account, "--limit", "54321.09", *told])
    assert shown.output.strip().endswith("→ 54,321.09")
    assert run(app, ["ledger", "override", account, "--limit", "1.005", *told]).exit_code == 2
    listed = run(app, ["ledger", "overrides", "--account", account, "--workspace", str(behind.root)]).output
    assert "54,321.09  by Chen Wei: salary slip" in listed
    assert verify(behind)[0] == len(behind.ledger.runs()) + 1


def test_a_closed_line_stays_closed_whatever_a_person_orders(small_workspace: Workspace) -> None:
    decided = unpacked(small_workspace.ledger.table("SELECT * FROM decisions WHERE action = 'close' LIMIT 1"))
    state = next_state(state_before(decided), decided, decided["as_of"])
    order = pd.DataFrame({"at": [pd.Timestamp(LAST)], "action": "limit", "limit_cents": 5})
    after = overridden(state, order, pd.Series([0.5])).iloc[0]
    assert (after["closed"], after["can_draw"], after["limit_cents"]) == (True, False, 0)


# Asked


def test_the_list_is_what_a_filter_over_the_decisions_gives(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    run_id = str(current["run_id"].iloc[-1])
    chosen = {
        Selection(cause="model", action="close"): current["phi_model"].fillna(0).ne(0) & (current["action"] == "close"),
        Selection(since=LAST, run_id=run_id[:9]): (current["as_of"] >= LAST) & (current["run_id"] == run_id),
        Selection(until=LAST, model_version="1"): (current["as_of"] < LAST) & (current["model_version"] == "1"),
        Selection(account_id="' OR TRUE --"): current["account_id"] == "' OR TRUE --",
    }
    for selection, rows in chosen.items():
        found = decisions_of(small_workspace, selection, limit=10**6)
        expected = current[rows].sort_values(["as_of", "account_id"], ascending=[False, True])
        assert list(found["account_id"]) == list(expected["account_id"])
        assert found["share_cents_model"].dtype == "Int64"
    assert len(decisions_of(small_workspace, Selection(), limit=3)) == 3
    with pytest.raises(ConfigError, match="no cause is called 'luck'"):
        decisions_of(small_workspace, Selection(cause="luck"), limit=1)


def test_list_prints_lines_for_people_and_json_for_programs(small_workspace: Workspace) -> None:
    words = ["ledger", "list", "--cause", "behaviour", "--limit", "2", "--workspace", str(small_workspace.root)]
    rows = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    lines = CliRunner().invoke(app, words).output.splitlines()
    assert [line.split()[1] for line in lines] == [row["account_id"] for row in rows]
    assert all(
        isinstance(row["share_cents_behaviour"], int) and "behaviour" in line
        for row, line in zip(rows, lines, strict=True)
    )


def test_a_notebook_asks_in_sql(small: Ledger) -> None:
    found = small.query("SELECT (SELECT COUNT(*) FROM current) AS n, (SELECT SUM(limit_cents) FROM overrides) AS cents")
    assert found.iloc[0].to_dict() == {"n": 60, "cents": 600}
    assert small.query("SELECT * FROM runs")["backtest"].tolist() == [False] * 3


def test_an_export_has_every_decision_with_whole_cents_and_the_facts_of_its_run(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    current = small_workspace.ledger.current()
    for name in ("out.parquet", "out.csv"):
        assert export(small_workspace, tmp_path / name) == len(current)
    table = pq.read_table(tmp_path / "out.parquet")
    assert {"mlflow_run_id", "model_digest", "backtest", "phi_state"} <= set(table.column_names)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["account_id"] for row in rows] == current["account_id"].tolist()
    assert sum(int(row["limit_cents"]) for row in rows) == current["limit_cents"].sum()
    shares = table["share_cents_state"].to_pylist()
    assert [row["share_cents_state"] for row in rows] == ["" if share is None else str(share) for share in shares]
    with pytest.raises(ConfigError, match=r"ends in \.parquet or \.csv"):
        export(small_workspace, tmp_path / "out.xlsx")


FORMULAS = ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", '=HYPERLINK("a")', "\n=x", " =x", "＝1+1", "＋x", "－x", "＠x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_text_of_an_export_is_a_formula(text: str, tmp_path: Path) -> None:
    table = pa.table({"name": [text], "told": [[text, "b"]], "cents": [-5], "in": [{"name": text}]})
    write_csv(table, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row == {"name": f"'{text}", "told": f"'{text}; b", "cents": "-5", "in.name": f"'{text}"}
