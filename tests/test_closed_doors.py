"""What a query, a settings file or a model could reach outside of the workspace, and does not."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import read_delivered
from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, InputError, QueryError
from limitlens.data.quality_settings import read_quality
from limitlens.data.toml_reader import read_small
from limitlens.data.world import read_world
from limitlens.limits.ledger import Ledger
from limitlens.limits.policy_file import read_policy
from limitlens.models.settings import read_settings
from limitlens.pipeline.serving.people import read_people
from limitlens.pipeline.watching.kafka import read_kafka
from limitlens.pipeline.watching.webhook import secret_in
from tests.ledgers import ROOT, three_runs

#: Each with what the error says of it.
REFUSED = {
    "SELECT * FROM read_csv('/etc/passwd')": "file system operations are disabled",
    "SELECT * FROM read_text('secret.txt')": "file system operations are disabled",
    "SELECT * FROM 'EVENTS'": "file system operations are disabled",
    "SELECT * FROM glob('/etc/*')": "file system operations are disabled",
    "SELECT * FROM read_parquet('https://127.0.0.1:9/x.parquet')": "file system operations are disabled",
    "SELECT * FROM decisions WHERE run_id IN (FROM read_text('/etc/passwd') SELECT content)": "file system",
    "COPY decisions TO 'out.csv'": "the query is COPY",
    "COPY decisions TO 'DECISIONS'": "the query is COPY",
    "ATTACH 'other.db'": "the query is ATTACH",
    "INSTALL httpfs": "the query is LOAD",
    "LOAD httpfs": "the query is LOAD",
    "SET enable_external_access = TRUE": "the query is SET",
    "CREATE TABLE kept AS FROM decisions": "the query is CREATE",
    "DROP VIEW decisions": "the query is DROP",
    "FROM decisions; FROM runs": "the query is SELECT, SELECT",
    "EXPORT DATABASE 'out'": "the query is EXPORT",
    "": "the query is nothing",
    "SELEC 1": "syntax error",
    "FROM small": "does not exist",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_sql_of_a_user_reads_the_tables_of_the_ledger_and_nothing_else(
    sql: str, small: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (tmp_path / "events.parquet").write_bytes(next(small.workspace.glob("decisions/*.parquet")).read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    given = sql.replace("EVENTS", str(tmp_path / "events.parquet")).replace("DECISIONS", str(next(iter(before))))
    for few in (False, True):
        with pytest.raises(QueryError) as refused:
            small.table(given, few=few)
        assert REFUSED[sql] in str(refused.value) or few
        assert "\n" not in str(refused.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    assert not {"out.csv", "other.db", "out"} & {path.name for path in tmp_path.iterdir()}
    assert len(small.query("FROM decisions")) == 60


def test_a_ledger_that_is_named_alike_in_another_folder_is_read_after_the_process_went_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        three_runs(tmp_path / name / "work")
        monkeypatch.chdir(tmp_path / name)
        assert Ledger(Path("work")).query("SELECT COUNT(*) AS n FROM decisions")["n"].item() == 60


@pytest.mark.parametrize("sql", ["LOAD httpfs", "SET enable_external_access = TRUE", "SET TimeZone = 'Asia/Shanghai'"])
def test_our_own_queries_load_nothing_and_set_nothing(sql: str) -> None:
    with pytest.raises(Exception, match=r"disabled through configuration|has been locked"):
        run_sql(sql)


def test_our_own_queries_reach_no_network() -> None:
    with pytest.raises(Exception, match="file system operations are disabled"):
        run_sql("SELECT * FROM read_text('http://127.0.0.1:9/x')")


_SPILLS = """
import os, signal, sys
from limitlens.data import engine
from limitlens.data.unfinished import held_folder
engine.limit_memory("60MB")
engine.run_sql("SELECT MAX(h) FROM (SELECT hash(range) AS h FROM range(4000000) ORDER BY h LIMIT 3900000)")
print(held_folder("limitlens-spill-"), *os.listdir("."), flush=True)
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_spills_lies_in_a_private_folder_that_goes_even_after_a_kill(tmp_path: Path) -> None:
    place, here = tmp_path / "tmp", tmp_path / "here"
    place.mkdir()
    here.mkdir()

    def spilled(how: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", _SPILLS, how],
            cwd=here,
            env=os.environ | {"TMPDIR": str(place)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout.split()

    code, [killed] = spilled("killed")
    assert code == -signal.SIGKILL
    assert Path(killed).parent == place
    assert Path(killed).stat().st_mode & 0o777 == 0o700
    (place / "limitlens-spill-of-nobody").symlink_to(here)
    code, [other] = spilled("ended")
    assert (code, other == killed) == (0, False)
    assert [path.name for path in place.iterdir()] == ["limitlens-spill-of-nobody"]
    assert here.is_dir()


#: What reads a file that somebody names; of anchors and keys ``read_small``.
READERS: dict[str, Callable[[Path], object]] = {
    "policy": read_policy,
    "train": read_settings,
    "quality": read_quality,
    "world": read_world,
    "people": read_people,
    "kafka": read_kafka,
    "anchor or key": lambda path: read_small(path, "a key"),
    "secret": lambda path: secret_in(path, {}),
    "delivery": lambda path: read_delivered(path, "rows.csv", SOURCES["payment"]),
}


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a link to a device", "a gigabyte"])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_small_file_is_refused_unread(reader: str, kind: str, tmp_path: Path) -> None:
    if (reader, kind) == ("delivery", "a gigabyte"):
        pytest.skip("a delivery may be large")
    path = tmp_path / "given"
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a device":
            path = Path("/dev/zero")
        case "a link to a device":
            path.symlink_to("/dev/zero")
        case _:
            with path.open("wb") as file:
                file.truncate(10**9)
    with pytest.raises((ConfigError, InputError)) as refused:
        READERS[reader](path)
    assert "\n" not in str(refused.value)


#: What writes CSV without the one writer, and why no spreadsheet is meant to open it.
OTHER_WRITERS = {"data/shards.py": "a delivery, split", "pipeline/watching/kafka.py": "messages, for the inbox"}


def test_every_table_for_people_goes_through_the_one_writer_that_defuses_formulas() -> None:
    packages = ("data", "features", "models", "limits", "pipeline")
    texts = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
    }
    writing = re.compile(r"\b\w*csv\.(write_csv|writer|DictWriter|CSVWriter)|\.to_csv\(|FORMAT csv", re.IGNORECASE)
    assert {name for name, text in texts.items() if writing.search(text)} == {"data/spreadsheet.py", *OTHER_WRITERS}
    using = {name for name, text in texts.items() if "spreadsheet import write_csv" in text}
    assert using == {
        "data/quarantine.py",  # quarantine export
        "pipeline/answers/history.py",  # ledger export
        "pipeline/deciding/applications.py",  # qualify
        "pipeline/cli/false_positives.py",  # false-positives --cases
        "pipeline/notices/write.py",  # letters.csv
        "pipeline/sharing/exchange.py",  # what share writes
    }


def test_nothing_of_ours_listens_but_the_desk_on_the_loopback() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "pipeline").rglob("*.py")}
    listening = re.compile(r"uvicorn|\.bind\(|HTTPServer|socketserver|mlflow\.server|mlflow ui")
    assert [path.name for path, text in texts.items() if listening.search(text)] == ["serve.py"]
    assert '"Address to listen at.")] = "127.0.0.1"' in texts[ROOT / "pipeline" / "cli" / "serve.py"]
