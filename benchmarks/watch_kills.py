"""Kill a tick of the watch and resume it: `python -m benchmarks.watch_kills FOLDER 2025-10-01T14:00+00:00`.

The folder holds a decided workspace, `work`, and an `inbox` with files that make a watched rule fire. A copy of it is
killed with SIGKILL after every commit and rename, and the tick called again; the journal, the ledger and the files
have to be those of a tick that nobody killed. With `--random N` so many more are killed at moments of chance, some of
them twice. Exits with 1 if anything differs.
"""

import argparse
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.kills import Step, forked, killed_at
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace


def told_of_steps(step: Step) -> None:
    """From now on, tell of each commit of SQLite that changes something, and of each rename, when it is done."""

    class Watched(sqlite3.Connection):
        def __exit__(self, *error: Any) -> Any:
            wrote = self.in_transaction
            done = super().__exit__(*error)
            if wrote:
                step("a commit")
            return done

        def commit(self) -> None:
            super().commit()
            step("a commit")

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def told(*given: Any) -> Any:
            done = call(*given)
            step(f"a {call.__name__}")
            return done

        return told

    sqlite3.connect = partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]
    os.replace = around(os.replace)


def job(folder: Path, at: datetime, step: Step | None = None) -> None:
    """One tick."""
    if step:
        told_of_steps(step)
    tick(Workspace(folder / "work"), folder / "inbox", at)


def all_there_is(folder: Path) -> dict[str, object]:
    """What came, what was decided, and where the files are."""
    moved = sorted(str(path.relative_to(folder)) for path in (folder / "inbox").rglob("*.parquet"))
    found: dict[str, object] = {"files": moved}
    rows = ("fresh_device", "fresh_payment", "fresh_consumption", "counts", "held", "waiting")
    for name, tables in (("journal", rows), ("ledger", ("ticks", "runs"))):
        with sqlite3.connect(folder / "work" / f"{name}.sqlite") as connection:
            found |= {table: connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall() for table in tables}
        connection.close()
    return found


def trials(start: Path, at: datetime, folder: Path) -> tuple[list[str], list[int]]:
    """Every step of a tick, and the numbers of those at which a kill left a trace."""
    whole, log = shutil.copytree(start, folder / "whole"), folder / "steps"

    def told(name: str) -> None:
        with log.open("a", encoding="utf-8") as lines:
            lines.write(f"{name}\n")

    if code := forked(partial(job, whole, at, told)):
        raise SystemExit(f"the tick that nobody killed failed with {code}")
    steps, expected, wrong = log.read_text(encoding="utf-8").splitlines(), all_there_is(whole), []
    if not expected["ticks"]:
        raise SystemExit("no watched rule fires: nothing would be proved")
    for number in range(len(steps)):
        trial = shutil.copytree(start, folder / f"trial {number}")
        if (code := forked(partial(job, trial, at, killed_at(number)))) != -signal.SIGKILL:
            raise SystemExit(f"not killed at step {number}: ended with {code}")
        if forked(partial(job, trial, at)) or all_there_is(trial) != expected:
            wrong.append(number)
    return steps, wrong


def random_trials(start: Path, at: datetime, folder: Path, count: int) -> list[int]:
    """Numbers of the trials in which a kill at a moment of chance, or two, left a trace."""
    begun, whole = time.monotonic(), shutil.copytree(start, folder / "untouched")
    if forked(partial(job, whole, at)):
        raise SystemExit("the tick that nobody killed failed")
    longest, expected, wrong = time.monotonic() - begun, all_there_is(whole), []
    for number in range(count):
        random = Random(number)
        trial = shutil.copytree(start, folder / f"random {number}")
        for _ in range(random.choice((1, 1, 2))):
            forked(partial(job, trial, at), kill_after=random.uniform(0, longest))
        if forked(partial(job, trial, at)) or all_there_is(trial) != expected:
            wrong.append(number)
        shutil.rmtree(trial)
        if number % 20 == 19:
            print(f"{number + 1} of {count}", file=sys.stderr)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("at", type=datetime.fromisoformat, help="the time of the tick")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="so many kills at moments of chance, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        steps, wrong = trials(given.folder, given.at, Path(name))
        by_chance = random_trials(given.folder, given.at, Path(name), given.random)
    print("| killed after | step | equal afterwards |\n|---|---|---|")
    for number, step in enumerate(steps):
        print(f"| {step} | {number + 1} | {'no' if number in wrong else 'yes'} |")
    if given.random:
        print(f"killed at a moment of chance: {given.random - len(by_chance)} of {given.random} equal afterwards")
    sys.exit(bool(wrong or by_chance))


if __name__ == "__main__":
    main()
