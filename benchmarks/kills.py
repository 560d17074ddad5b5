"""Kill `limitlens decide` and resume it: `python -m benchmarks.kills WORKSPACE [--random 200] [--each 20]`.

The last runs of a copy of a decided workspace are forgotten. Then `limitlens decide` makes up for them, is killed with
SIGKILL, and is called again; the result has to equal that of a call nobody killed: every Parquet file byte for byte,
every row of the ledger, the head of its chain, one finished run in MLflow with the same numbers, no file left over. It
is killed at random moments, and at every step that can be told apart: this file wraps the writes, syncs and renames of
Python, the statements and commits of SQLite and the calls of MLflow, from outside. `--reconcile` does the same for
`limitlens reconcile`, and `--append` for one run and one revision of the ledger alone, at each of their steps. Exits
with 1 if anything differs.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - so that a forked run need not
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient

from limitlens.data.calendar import format_time
from limitlens.limits.chain import links
from limitlens.limits.ledger import Ledger, Run
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS
from limitlens.pipeline.cli import app
from limitlens.pipeline.workspace import Workspace

#: Told of every step before and after it happens.
Step = Callable[[str], None]

#: Calls of MLflow that write.
_MLFLOW_CALLS = ("create_run", "log_batch", "set_terminated")


def watch(step: Step) -> None:
    """From now on, tell ``step`` what this process is about to make durable, and what it has just done."""

    def around(call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def told(*given: Any, **named: Any) -> Any:
            what = name(*given)
            step(f"before {what}")
            result = call(*given, **named)
            step(f"after {what}")
            return result

        return told

    def table(path: Any) -> str:
        return Path(path).parent.name if Path(path).suffix else Path(path).name

    pq.write_table = around(pq.write_table, lambda _, path, **__: f"the write of {table(path)}")
    os.replace = around(os.replace, lambda _, path: f"the rename of {table(path)}")
    os.fsync = around(os.fsync, lambda handle: f"a sync of {table(Path(f'/proc/self/fd/{handle}').readlink())}")
    sqlite3.connect = partial(sqlite3.connect, factory=_watched(step))  # type: ignore[assignment]
    for call in _MLFLOW_CALLS:
        setattr(MlflowClient, call, around(getattr(MlflowClient, call), lambda *_, call=call: f"MLflow's {call}"))


def _watched(step: Step) -> type[sqlite3.Connection]:
    class Watched(sqlite3.Connection):
        """A connection that tells what it writes to the ledger."""

        written = ""

        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            return self._told(sql, super().execute, *given)

        def executemany(self, sql: str, *given: Any) -> sqlite3.Cursor:
            return self._told(sql, super().executemany, *given)

        def _told(self, sql: str, call: Callable[..., sqlite3.Cursor], *given: Any) -> sqlite3.Cursor:
            words = sql.split()
            if words[0] in {"INSERT", "UPDATE"} and {"runs", "revisions"} & set(words[:3]):
                self.written = f"the {words[0]} of the ledger"
                step(f"before {self.written}")
            done = call(sql, *given)
            if self.written:
                step(f"after {self.written}, not committed")
            return done

        def __exit__(self, *error: Any) -> Any:
            done = super().__exit__(*error)
            if self.written:
                step(f"after {self.written}, committed")
            return done

    return Watched


def killed_at(number: int, name: str | None = None) -> Step:
    """A step that kills this process when the step of that number, of that name or of any, is reached."""
    seen = 0

    def step(reached: str) -> None:
        nonlocal seen
        if name in {None, reached}:
            seen += 1
            if seen > number:
                os.kill(os.getpid(), signal.SIGKILL)

    return step


def forked(work: Callable[[], None], *, kill_after: float | None = None) -> int:
    """Do some work in a process of its own; its exit code, negative if a signal ended it."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fingerprint(root: Path) -> dict[str, Any]:
    """All that has to be equal: files, rows and head of the ledger; runs of MLflow and their numbers."""
    files = sorted(path for name in ("decisions", "attributions") for path in (root / name).glob("*"))
    with _reading(root / "ledger.sqlite") as ledger:
        tables = ("runs", "revisions")
        rows = [row for table in tables for row in ledger.execute(f"SELECT * FROM {table} ORDER BY rowid")]
    recorded = []
    if (root / "mlflow" / "mlflow.db").is_file():
        with _reading(root / "mlflow" / "mlflow.db") as store:
            recorded = store.execute(
                "SELECT runs.run_uuid = ?, status, lifecycle_stage, tags.value, metrics.key, metrics.value FROM runs "
                "LEFT JOIN metrics ON metrics.run_uuid = runs.run_uuid LEFT JOIN tags ON tags.run_uuid = runs.run_uuid "
                "AND tags.key = 'limitlens.ledger_head' WHERE runs.run_uuid IN (SELECT run_uuid FROM tags "
                "WHERE key = 'limitlens.kind' AND value IN ('decide', 'reconcile')) "
                "ORDER BY 1, 2, 3, 4, 5, 6",
                [rows[-1][-1]],
            ).fetchall()
    return {
        "files": {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files},
        "rows": [row[:-1] for row in rows],
        "linked": all(row[-1] for row in rows),
        "head": Ledger(root).inputs_head(),
        "mlflow": recorded,
    }


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
    finally:
        connection.close()


def unfinished(source: Path, target: Path, until: datetime) -> None:
    """Copy a decided workspace; forget every run from a time on, every revision, and what MLflow knows of them."""
    shutil.copytree(source, target)
    with _reading(target / "ledger.sqlite") as ledger, ledger:
        gone = ledger.execute(
            "SELECT decisions, attributions FROM runs WHERE as_of >= ?", [until.isoformat()]
        ).fetchall()
        forgotten = {
            name for (name,) in ledger.execute("SELECT run_id FROM runs WHERE as_of >= ?", [until.isoformat()])
        }
        first = next(
            place
            for place, link in enumerate(links(ledger))
            if link.content[0] == "revision" or (link.content[0] == "run" and link.content[1] in forgotten)
        )
        ledger.execute("DELETE FROM records WHERE links_before >= ?", [first])  # tables that were built since
        gone += ledger.execute("SELECT attributions FROM revisions").fetchall()
        ledger.execute("DELETE FROM runs WHERE as_of >= ?", [until.isoformat()])
        ledger.execute("DELETE FROM revisions")
        heads = [head for (head,) in ledger.execute("SELECT head FROM runs ORDER BY rowid")]
    for name in (name for row in gone for name in row):
        (target / name).unlink()
    with _reading(target / "mlflow" / "mlflow.db") as store, store:
        ours = "IN ('decide', 'reconcile')"
        store.execute(f"UPDATE tags SET value = 'earlier' WHERE key = 'limitlens.kind' AND value {ours}")
        known = ", ".join(f"'{head}'" for head in heads)
        store.execute(
            f"UPDATE tags SET value = ? WHERE key = 'limitlens.ledger_head' AND value NOT IN ({known})", [heads[-1]]
        )


class Trials:
    """Kills and resumptions of one job, from copies of one start to one known end."""

    def __init__(self, start: Path, folder: Path, job: Callable[[Path], None]) -> None:
        self.start, self.folder, self.job = start, folder, job
        self.steps: list[str] = []
        began = time.perf_counter()
        work, log = self._copy("uninterrupted"), folder / "steps.txt"
        if code := forked(partial(self._watched, work, lambda name: _append_line(log, name))):
            raise SystemExit(f"the uninterrupted run failed with {code}")
        self.seconds = time.perf_counter() - began
        self.steps = log.read_text(encoding="utf-8").splitlines()
        self.expected = fingerprint(work)

    def at_step(self, number: int, name: str | None = None) -> bool:
        """Kill at a step, resume, compare."""
        work = self._copy("trial")
        code = forked(partial(self._watched, work, killed_at(number, name)))
        if code != -signal.SIGKILL:
            raise SystemExit(f"not killed at step {number} of {name}: ended with {code}")
        return self._resumed(work)

    def after(self, seconds: float) -> bool:
        """Kill after some seconds, resume, compare."""
        work = self._copy("trial")
        forked(partial(self.job, work), kill_after=seconds)
        return self._resumed(work)

    def _resumed(self, work: Path) -> bool:
        if code := forked(partial(self.job, work)):
            raise SystemExit(f"the resumed run failed with {code}")
        return fingerprint(work) == self.expected

    def _watched(self, work: Path, step: Step) -> None:
        watch(step)
        self.job(work)

    def _copy(self, name: str) -> Path:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.start, self.folder / name)
        return self.folder / name


def _append_line(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def decide(work: Path, until: str) -> None:
    """`limitlens decide` in this process."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        sys.stderr = nowhere
        app(["decide", "--workspace", str(work), "--until", until], standalone_mode=False)


def reconcile(work: Path) -> None:
    """`limitlens reconcile` in this process."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        sys.stderr = nowhere
        app(["reconcile", "--workspace", str(work)], standalone_mode=False)


def append(work: Path) -> None:
    """One run of a thousand rows, and the revision of the one before."""
    ledger, first = Ledger(work), entry(1, 10)
    ledger.sweep()
    ledger.append(*entry(2, 1_000))
    ledger.append_revision(first[0], first[0].as_of + timedelta(days=30), first[2], known_rows=10, late_rows=1)


def entry(number: int, rows: int) -> tuple[Run, pa.Table, pa.Table]:
    """A run with made-up rows, for a ledger on its own."""
    when = datetime.fromisoformat(f"2026-01-{number:02d}T00:00+00:00")
    run_id = sha256(str(number).encode()).hexdigest()
    run = Run(run_id, when, "1", "model", "policy", False)
    names = [f"A{k:09d}" for k in range(rows)]
    tables = []
    for schema in (DECISIONS, ATTRIBUTIONS):
        columns = {field.name: pa.nulls(rows, field.type) for field in schema} | {
            "account_id": pa.array(names),
            "as_of": pa.array([when] * rows, pa.timestamp("us", tz="UTC")),
        }
        tables.append(pa.table(columns, schema=schema))
    return run, tables[0], tables[1]


def _report(found: list[tuple[str, int, int]]) -> bool:
    print("| killed | kills | equal afterwards |\n|---|---|---|")
    for name, kills, equal in [*found, ("all", sum(k for _, k, _ in found), sum(e for *_, e in found))]:
        print(f"| {name} | {kills} | {equal} |")
    return all(kills == equal for _, kills, equal in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path, nargs="?")
    parser.add_argument("--random", type=int, default=200, help="kills at random moments")
    parser.add_argument("--each", type=int, default=20, help="kills at each named step")
    parser.add_argument("--only", default="", help="a pattern; only the steps whose name it matches")
    parser.add_argument("--runs", type=int, default=2, help="dates to decide")
    parser.add_argument("--whole-book", action="store_true", help="the last date, a month start, is one of them")
    parser.add_argument("--reconcile", action="store_true", help="limitlens reconcile, all that is due")
    parser.add_argument("--append", action="store_true", help="Ledger.append and append_revision alone")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.append:
            Ledger(folder / "start").append(*entry(1, 10))
            trials = Trials(folder / "start", folder, append)
        else:
            runs = Workspace(given.workspace).ledger.runs()
            chosen = runs[-given.runs :] if given.whole_book or given.reconcile else runs[-given.runs - 1 : -1]
            until = chosen[-1].as_of + timedelta(days=1) if given.reconcile else chosen[0].as_of
            unfinished(given.workspace, folder / "start", until)
            job = reconcile if given.reconcile else partial(decide, until=format_time(chosen[-1].as_of))
            trials = Trials(folder / "start", folder, job)
        found = []
        if given.append:
            found += [(f"{at}: {step}", 1, int(trials.at_step(at))) for at, step in enumerate(trials.steps)]
        else:
            for step, times in Counter(step for step in trials.steps if re.search(given.only, step)).items():
                equal = sum(trials.at_step(rng.randrange(times), step) for _ in range(given.each))
                found.append((step, given.each, equal))
                print(f"{step}: {equal} of {given.each}", file=sys.stderr)
            equal = sum(trials.after(rng.uniform(0, trials.seconds)) for _ in range(given.random))
            found.append(("at a random moment", given.random, equal))
        print(f"one run takes {trials.seconds:.1f} s\n")
        sys.exit(not _report(found))


if __name__ == "__main__":
    main()
