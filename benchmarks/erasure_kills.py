"""Kill `limitlens erase` at each change of a file: `python -m benchmarks.erasure_kills WORKSPACE ACCOUNT [--every 1]`.

A copy of the workspace is erased by a process that is killed with SIGKILL after so many renames, syncs, removals and
commits; then `limitlens erase --resume` finishes it, or the same erasure is ordered again if it had not begun. The
result has to equal that of an erasure nobody killed: every file byte for byte, every row of SQLite, and no file left
over; MLflow's store, whose runs have names of their own, may not name the account. Exits with 1 if anything differs.
"""

import argparse
import itertools
import os
import secrets
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - so that a forked run need not

from benchmarks.kills import Step, forked, killed_at
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.privacy.erase import erase, resume
from limitlens.pipeline.workspace import Workspace

AT = datetime(2027, 1, 1, tzinfo=UTC)


def watch(step: Step) -> None:
    """From now on, tell ``step`` of every change of a file that this process has just made."""

    def after(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def told(*given: Any, **named: Any) -> Any:
            result = call(*given, **named)
            step(name)
            return result

        return told

    for name in ("replace", "fsync", "unlink", "rmdir"):
        setattr(os, name, after(getattr(os, name), name))

    class Watched(sqlite3.Connection):
        """Tells of what it has committed."""

        def __exit__(self, *error: Any) -> Any:
            done = super().__exit__(*error)
            step("commit")
            return done

        def execute(self, sql: str, *given: Any) -> sqlite3.Cursor:
            done = super().execute(sql, *given)
            if sql.startswith(("VACUUM", "PRAGMA wal_checkpoint")):
                step(sql.split("(", 1)[0])
            return done

    sqlite3.connect = partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]


def ordered(root: Path, account: str) -> None:
    """What a person does: erase, or finish what was begun. Names for nobody are counted, so that they are the same."""
    numbers = itertools.count()
    secrets.token_hex = lambda size=32: f"{next(numbers):0{2 * size}x}"
    if resume(Workspace(root)) is None:
        erase(Workspace(root), [account], at=AT, actor="Li Na", reason="asked for")


def intact(root: Path) -> None:
    """Verify it."""
    verify(Workspace(root))


def fingerprint(root: Path, account: str) -> dict[str, object]:
    """All that has to be equal."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock"]
    rows = {}
    for path in files:
        if path.suffix == ".sqlite":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                rows[path.name] = list(connection.iterdump())
    ours = [path for path in files if "sqlite" not in path.name and not path.is_relative_to(root / "mlflow")]
    return {
        "files": {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in ours},
        "rows": rows,
        "named": [path.name for path in files if account.encode() in path.read_bytes()],
    }


def main() -> None:
    """Run the trials; exits with 1 if an erasure that was killed and finished differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("account")
    parser.add_argument("--every", type=int, default=1, help="only every so many changes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "steps.txt"

        def attempt(step: Step | None, root: Path) -> int:
            def work() -> None:
                if step:
                    watch(step)
                ordered(root, given.account)

            return forked(work)

        def copied() -> Path:
            shutil.rmtree(folder / "work", ignore_errors=True)
            shutil.copytree(given.workspace, folder / "work")
            return folder / "work"

        def note(reached: str) -> None:
            with log.open("a", encoding="utf-8") as lines:
                lines.write(f"{reached}\n")

        root = copied()
        if attempt(note, root):
            raise SystemExit("the erasure that nobody killed failed")
        expected = fingerprint(root, given.account)
        steps = log.read_text(encoding="utf-8").splitlines()
        killed, equal = Counter[str](), Counter[str]()
        for number in range(0, len(steps), given.every):
            root = copied()
            if (code := attempt(killed_at(number), root)) != -signal.SIGKILL:
                raise SystemExit(f"not killed at change {number}: ended with {code}")
            same = attempt(None, root) == 0 and fingerprint(root, given.account) == expected
            killed[steps[number]] += 1
            equal[steps[number]] += same and forked(partial(intact, root)) == 0
    print("| killed after a | kills | equal afterwards |\n|---|---|---|")
    for reached, count in (*sorted(killed.items()), ("all", killed.total())):
        print(f"| {reached} | {count} | {equal.total() if reached == 'all' else equal[reached]} |")
    sys.exit(killed != equal or bool(expected["named"]))


if __name__ == "__main__":
    main()
