"""A workspace that survives: damage, deletions, strange places, kills and full disks end in one line, or are mended."""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.data.errors import GateError, IntegrityError, WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.data.storage import write_text
from limitlens.data.unfinished import sweep
from limitlens.pipeline import tracking
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import small_settings
from tests.ledgers import LAST, python, quiet

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished demo."""
    shutil.copytree(small_workspace.root, tmp_path / "copied")
    return Workspace(tmp_path / "copied")


def an_open_line(workspace: Workspace) -> str:
    latest = workspace.ledger.query("SELECT account_id FROM current WHERE action = 'keep' ORDER BY as_of DESC LIMIT 1")
    return str(latest["account_id"].iloc[0])


def told(workspace: Workspace, *words: str) -> BaseException | None:
    """How a command of the command line ends that is not asked to write."""
    return CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)]).exception


def killed_while(code: str, event: str, *arguments: str) -> None:
    """Run code in a process of its own that is killed when SQLite has run a statement that begins so."""
    watched = f"""
import os, signal, sqlite3, sys
from pathlib import Path
class Watched(sqlite3.Cursor):
    def execute(self, sql, *given):
        done = super().execute(sql, *given)
        if sql.lstrip().startswith({event!r}):
            os.kill(os.getpid(), signal.SIGKILL)
        return done
class Connection(sqlite3.Connection):
    def cursor(self, *given):
        return super().cursor(Watched)
    def execute(self, sql, *given):
        return self.cursor().execute(sql, *given)
connect = sqlite3.connect
sqlite3.connect = sqlite3.dbapi2.connect = lambda *given, **named: connect(*given, **{{**named, "factory": Connection}})
{code}
"""
    done = subprocess.run([sys.executable, "-c", watched, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


# Damage

#: Commands that read what was recorded; each is given an account, and a file to write to.
READERS = (
    ["ledger", "list"],
    ["ledger", "verify"],
    ["ledger", "replay"],
    ["ledger", "export", "OUT.csv"],
    ["why", "ACCOUNT"],
    ["queue"],
    ["report", "--out", "OUT.html"],
    ["score", "--as-of", "2026-07-01", "--out", "OUT.parquet"],
    ["decide"],
)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def zeroed(path: Path) -> None:
    """Damage a reader only meets within the file."""
    body = bytearray(path.read_bytes())
    body[4 : len(body) // 2] = bytes(len(body) // 2 - 4)
    path.write_bytes(body)


@pytest.mark.parametrize(
    ("folder", "damage"),
    [("decisions", Path.unlink), ("decisions", zeroed), ("attributions", cut), ("events/payment", zeroed)],
)
def test_a_recorded_file_that_cannot_be_read_is_named_by_every_command(
    folder: str, damage: Callable[[Path], None], copied: Workspace, tmp_path: Path
) -> None:
    account = an_open_line(copied)
    path = min((copied.root / folder).glob("*.parquet"))
    damage(path)
    for words in READERS:
        given = [word.replace("ACCOUNT", account).replace("OUT", str(tmp_path / "out")) for word in words]
        ended = told(copied, *given)
        if words != ["ledger", "verify"] and (ended is None or (isinstance(ended, SystemExit) and ended.code == 7)):
            continue  # it need not read the file
        assert isinstance(ended, IntegrityError), (words, ended)
        assert str(path) in str(ended)
        assert "\n" not in str(ended)


def test_a_single_flipped_bit_is_named_before_anything_is_decided_scored_or_trained(
    behind: Workspace, tmp_path: Path
) -> None:
    draw = random.Random(1)
    files = [
        path for name in ("events", "decisions", "attributions") for path in (behind.root / name).rglob("*.parquet")
    ]
    commands = [
        lambda: decide(behind, progress=quiet),
        lambda: score(behind, LAST, tmp_path / "scores.parquet"),
        lambda: reconcile(behind),
    ]
    for number in range(40):
        path = draw.choice(files)
        body = path.read_bytes()
        place = draw.randrange(len(body))
        path.write_bytes(body[:place] + bytes([body[place] ^ 1 << draw.randrange(8)]) + body[place + 1 :])
        with pytest.raises(IntegrityError, match=re.escape(str(path))):
            commands[number % len(commands)]()
        path.write_bytes(body)
    path = next(path for path in files if path.is_relative_to(behind.root / "events"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=re.escape(str(path))):
        train(behind, small_settings(), default_policy(), developer="developer")


@pytest.mark.parametrize("mark", ["{}", "[]", "{", "null", '{"load": 1, "files": {}, "sources": {}}', "\xff"])
def test_a_mark_of_a_load_that_is_none_is_named(mark: str, copied: Workspace) -> None:
    path = copied.root / "loads" / "0001.json"
    path.write_text(mark, encoding="latin-1")
    for words in (["ledger", "verify"], ["decide"], ["why", "A000001"], ["queue"]):
        ended = told(copied, *words)
        assert isinstance(ended, IntegrityError), (words, ended)
        assert str(ended).startswith(f"{path}: not the file that was written (")


def test_a_ledger_that_is_no_sqlite_file_or_damaged_is_named(copied: Workspace) -> None:
    path = copied.root / "ledger.sqlite"
    for rest in copied.root.glob("ledger.sqlite-*"):
        rest.unlink()
    whole = path.read_bytes()
    for body in (b"garbage" * 1_000, whole[:5_000], whole[:4_096] + b"\x05" * (len(whole) - 4_096)):
        path.write_bytes(body)
        for words in (["ledger", "list"], ["ledger", "verify"], ["decide"], ["why", "A000001"], ["iterations"]):
            ended = told(copied, *words)
            assert isinstance(ended, IntegrityError), (words, ended)
            assert str(ended).startswith(f"{path}: not the file that was written (")


def test_a_cell_of_the_ledger_that_is_none_of_ours_is_named(copied: Workspace) -> None:
    with closing(sqlite3.connect(copied.root / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE runs SET as_of = 'yesterday' WHERE rowid = 1")
    for words in (["ledger", "list"], ["ledger", "verify"], ["decide"]):
        assert isinstance(told(copied, *words), IntegrityError), words


def test_a_feature_table_that_cannot_be_read_is_built_again(copied: Workspace, tmp_path: Path) -> None:
    given = ["score", "--as-of", "2026-07-01", "--out", str(tmp_path / "scores.parquet")]
    assert told(copied, *given) is None
    before = (tmp_path / "scores.parquet").read_bytes()
    for path in (copied.root / "features").glob("*/*.parquet"):
        cut(path)
    assert told(copied, *given) is None
    assert (tmp_path / "scores.parquet").read_bytes() == before


# Strange places


def test_a_workspace_may_have_any_name_and_holds_all_that_is_its_own(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    name = 'w?1 p%20q #1 it\'s "[x]" {a,b} \\ 额度=新'
    shutil.copytree(small_workspace.root, tmp_path / name)
    space = Workspace(tmp_path / name)
    account = an_open_line(space)
    override(space, account, at=NOON, actor="Li Na", reason="seen", action="keep")
    for words in (
        ["ledger", "list"],
        ["why", account],
        ["score", "--as-of", "2026-07-01", "--out", str(tmp_path / "o")],
    ):
        assert told(space, *words) is None, words
    assert tracking.heads(space.mlflow).keys() > tracking.heads(small_workspace.mlflow).keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "o"])


@pytest.mark.parametrize("encoding", ["gbk", "latin-1"])
def test_output_is_printed_in_any_encoding_and_keeps_its_signs(encoding: str, small_workspace: Workspace) -> None:
    found = small_workspace.ledger.query(
        "SELECT account_id, as_of FROM current WHERE share_cents_behaviour < 0 AND action = 'close' ORDER BY 1 LIMIT 1"
    ).iloc[0]
    words = [
        "why",
        found["account_id"],
        "--as-of",
        f"{found['as_of']:%Y-%m-%d}",
        "--workspace",
        str(small_workspace.root),
    ]
    code = "from limitlens.pipeline.cli import main; main()"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, env=environment, check=True)
    said = done.stdout.decode(encoding)
    [whole] = re.findall(r"behaviour  +(−[\d,.]+)", CliRunner().invoke(app, words).stdout)[:1]
    assert f" {whole.replace('−', '-')}\n" in said
    assert ("告知客户" in said) == (encoding == "gbk")


#: Runs commands of the command line one after the other; prints how each ended and what it said on the standard error.
_SEVERAL = """
import contextlib, io, json, sys
from limitlens.pipeline.cli import main
ended = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:], said = words, io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        ended.append((end.code or 0, said.getvalue()))
print(json.dumps(ended))
"""


def ended_after(struck: str, workspace: Workspace, commands: list[list[str]], cwd: Path) -> list[tuple[int, str]]:
    """Exit codes and errors of commands in a process of their own that something was done to first."""
    words = json.dumps([[*one, "--workspace", str(workspace.root)] for one in commands])
    command = [sys.executable, "-c", struck + _SEVERAL, words, str(workspace.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert len(ended) == len(commands)
    return [(code, said) for code, said in ended]


#: Takes from a process of root what lets it write where modes forbid it.
READING_ONLY = """
import ctypes, sys
class Head(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]
none = (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(ctypes.byref(Head(0x20080522, 0)), none) == 0
try:
    open(sys.argv[2] + "/probe", "w")
    raise AssertionError("could be written to")
except PermissionError:
    pass
"""


#: Further commands that only read.
FURTHER_READERS = (
    ["ledger", "verify", "--anchor", "OUT.json", "--public-key", "OUT.pub.pem"],
    ["ledger", "overrides"],
    ["quality"],
    ["quarantine", "list"],
    ["quarantine", "show"],
    ["quarantine", "export", "OUT.q.csv", "--source", "payment"],
    ["iterations"],
    ["false-positives", "--cases", "OUT.fp.csv"],
    ["holds", "list"],
    ["review", "show", "ACCOUNT"],
    ["review", "stats"],
    ["labels", "--out", "OUT.labels.html"],
)


def test_a_workspace_on_a_read_only_disk_is_read_and_nothing_else(copied: Workspace, tmp_path: Path) -> None:
    account, out = an_open_line(copied), str(tmp_path / "out")
    every = (*READERS, *FURTHER_READERS)
    given = [[word.replace("ACCOUNT", account).replace("OUT", out) for word in words] for words in every]
    assert CliRunner().invoke(app, ["ledger", "new-key", out]).exit_code == 0
    assert told(copied, "ledger", "anchor", "--key", f"{out}.pem", "--out", f"{out}.json") is None
    assert told(copied, *next(words for words in given if words[0] == "score")) is None  # its table is stored
    for path in [copied.root, *copied.root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = sorted(copied.root.rglob("*"))
    for words, (code, said) in zip(given, ended_after(READING_ONLY, copied, given, tmp_path), strict=True):
        assert code == (1 if words == ["decide"] else 0), (words, said)
        if words == ["decide"]:
            assert re.fullmatch(r"error .*: cannot be written \(Permission denied\); make .*\n", said)
    assert sorted(copied.root.rglob("*")) == before
    for path in [copied.root, *before]:
        path.chmod(path.stat().st_mode | 0o200)


#: Asks the desk, in this process, for pages; prints the status of each.
_PAGES = """
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from limitlens.pipeline.serving.app import desk_app
from limitlens.pipeline.workspace import Workspace
served = desk_app(Workspace(Path(sys.argv[2])), {}, lambda: datetime(2026, 7, 3, tzinfo=UTC), ["localhost"])
async def asked(path):
    sent, scope = [], {"type": "http", "method": "GET", "path": path, "query_string": sys.argv[1].encode()}
    async def receive():
        return {"type": "http.request"}
    async def send(message):
        sent.append(message)
    await served(scope | {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}, receive, send)
    print(path, sent[0]["status"])
for path in sys.argv[3:]:
    asyncio.run(asked(path))
"""


def test_the_desk_serves_a_workspace_on_a_read_only_disk(copied: Workspace) -> None:
    pages = ["/cases", "/holds", "/iterations"]
    account = f"account={an_open_line(copied)}"
    for path in [copied.root, *copied.root.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    done = python("-c", READING_ONLY + _PAGES, account, str(copied.root), *pages)
    for path in [copied.root, *copied.root.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    assert done.stdout.splitlines() == [f"{page} 200" for page in pages], done.stderr


def test_on_a_full_disk_the_old_state_stays_readable(copied: Workspace, tmp_path: Path) -> None:
    account = an_open_line(copied)
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    commands = [["ledger", "list"], ["ledger", "verify"], ["ledger", "replay", "--account", account]]
    commands += [["why", account], ["queue"], ["iterations"]]
    for words, (code, said) in zip(commands, ended_after(full, copied, commands, tmp_path), strict=True):
        assert code == 0, (words, said)


def test_what_only_reads_makes_no_workspace(tmp_path: Path) -> None:
    for words in READERS:
        if words != ["decide"]:
            assert isinstance(told(Workspace(tmp_path / "none"), *words), WorkspaceError), words
    assert not (tmp_path / "none").exists()


# The store of MLflow


def test_an_experiment_deleted_in_mlflow_is_replaced_and_its_heads_still_count(copied: Workspace) -> None:
    account, mlflow = an_open_line(copied), tracking.client(copied.mlflow)
    links, anchors = verify(copied)
    for hour in (13, 14, 15):
        order = {"at": NOON.replace(hour=hour), "actor": "Li Na", "reason": "seen", "action": "keep"}
        override(copied, account, **order)  # type: ignore[arg-type]
        assert verify(copied) == (links := links + 2, anchors := anchors + 1)
        for experiment in mlflow.search_experiments():
            mlflow.delete_experiment(experiment.experiment_id)
    names = {one.name for one in mlflow.search_experiments(view_type=3)}
    assert {name.removeprefix(f"limitlens moved to {copied.mlflow.resolve()}") for name in names} >= {"", ", 2", ", 3"}


@pytest.mark.slow
def test_a_database_of_mlflow_whose_creation_was_killed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_create", tracking._create.__wrapped__)  # type: ignore[attr-defined]
    code = "from limitlens.pipeline.tracking import client; client(Path(sys.argv[1])).search_experiments()"
    killed_while(code, "CREATE TABLE trace_info", str(tmp_path))
    assert not (tmp_path / "mlflow.db").exists()
    assert list(tmp_path.iterdir())
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())
    killed_while(code, "CREATE TABLE trace_info", str(tmp_path))
    assert tracking.heads(tmp_path) == {}
    with tracking.recorded_run(tmp_path, "train", {tracking.HEAD: "abc"}) as (_, run_id):
        pass
    assert tracking.heads(tmp_path) == {run_id: "abc"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db"]


def test_a_database_of_mlflow_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"garbage")
    with pytest.raises(IntegrityError, match=r"mlflow\.db: not the file that was written"):
        tracking.heads(tmp_path)


def test_a_database_of_mlflow_that_is_damaged_is_named(copied: Workspace) -> None:
    database = copied.mlflow / "mlflow.db"
    whole = database.read_bytes()
    for body in (whole[: len(whole) // 2], whole[:4_096] + b"\x05" * (len(whole) - 4_096)):
        database.write_bytes(body)
        for words in (["ledger", "verify"], ["decide"], ["promote", "1", "--reviewer", "Chen Wei"]):
            ended = told(copied, *words)
            if words[0] != "ledger" and isinstance(ended, SystemExit | None):
                continue  # it need not read it
            assert isinstance(ended, IntegrityError), (words, ended)
            assert str(ended).startswith(f"{database}: not the file that was written (")
            assert "\n" not in str(ended)


# Killed


def test_a_promotion_that_was_killed_and_repeated_is_on_record_once(copied: Workspace) -> None:
    with closing(sqlite3.connect(copied.root / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM promotions")
        connection.execute("DELETE FROM promotion_reasons")
    code = """
from datetime import UTC, datetime
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.workspace import Workspace
approved = Override("head of credit risk", "a small book")
at = datetime(2026, 7, 1, tzinfo=UTC)
promote(Workspace(sys.argv[1]), None, at, "2", override=approved, progress=lambda _: None)
"""
    killed_while(code, "INSERT INTO promotions", str(copied.root))
    assert copied.registry.promotions() == []
    approved, kind = Override("head of credit risk", "a small book"), {"bootstrap", "override"}
    version, recorded = promote(copied, None, NOON, "2", override=approved, progress=lambda _: None)
    assert version == "2"
    assert recorded in kind
    with pytest.raises(GateError, match="champion already"):
        promote(copied, None, NOON, "2", override=approved, progress=lambda _: None)
    assert [one.model_version for one in copied.registry.promotions()] == ["2"]
    mlflow = tracking.client(copied.mlflow)
    assert mlflow.get_model_version_by_alias(tracking.MODEL_NAME, tracking.CHAMPION).version == 2


def test_a_training_that_was_killed_when_all_but_the_end_of_its_run_was_recorded_is_ended(copied: Workspace) -> None:
    policy, settings = default_policy(), small_settings()
    first = train(copied, settings, policy, developer="Wang Fang", progress=quiet)
    links = verify(copied)
    mlflow = tracking.client(copied.mlflow)
    mlflow.update_run(first.mlflow_run_id, "RUNNING")
    again = train(copied, settings, policy, developer="Wang Fang", progress=quiet)
    assert (again.model_version, again.mlflow_run_id) == (first.model_version, first.mlflow_run_id)
    assert verify(copied) == links
    assert mlflow.get_run(first.mlflow_run_id).info.status == "FINISHED"


@pytest.mark.parametrize("place", ["out", "work/events/payment", "work/features/x", "work/quarantine"])
def test_what_a_killed_run_had_not_finished_goes_with_the_next(place: str, tmp_path: Path) -> None:
    code = """
import os, signal
import pyarrow as pa
from limitlens.data.storage import parquet_stream
with parquet_stream(pa.schema([("account_id", pa.string())]), Path(sys.argv[1]) / "rows.parquet", 1) as write:
    write(pa.table({"account_id": ["A000001"]}))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    folder, others = tmp_path / place, tmp_path / place / ".notes.7.tmp"
    killed_while(code, "nothing", str(folder))
    others.touch()
    [left] = folder.glob(".rows.parquet.*.tmp")
    with left.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as long as it is written
        sweep(tmp_path)
        assert left.exists()
    if place == "out":
        write_text("scores", folder / "other.txt")
    else:
        with exclusive(tmp_path / "work", "check", begins=True):
            pass
    assert not left.exists()
    assert others.exists()


@pytest.mark.slow
def test_a_command_killed_before_a_change_of_a_file_or_at_any_moment_is_made_up_for() -> None:
    few = ["--only", "^train$", "--each", "4", "--random", "2", "--lines", "200"]
    done = python("-m", "benchmarks.command_kills", *few)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| `train` |" in done.stdout
