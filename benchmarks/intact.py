"""What it costs that files are read once more to be sure of them: `python -m benchmarks.intact [--accounts 20000]`.

A simulated book is checked, built, trained, promoted and decided; then its last month is checked and decided. Printed
is the processor time of each command, that of the hashes in it (counted where they are made), and their share.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data import events, storage
from limitlens.data.contracts import FEEDS
from limitlens.data.world import simulate
from limitlens.limits import ledger, records
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training import feature_tables as tables
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

START, LAST = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)

_hashing = 0.0


def counted(path: Path) -> str:
    """The sha256 of a file, its processor time added up."""
    global _hashing  # noqa: PLW0603 - what is measured
    begun = time.thread_time()
    sha256 = storage.file_sha256(path)
    _hashing += time.thread_time() - begun
    return sha256


def measured(name: str, call: Callable[[], object]) -> None:
    """Run it, and print what it and its hashes cost."""
    global _hashing
    _hashing, begun = 0.0, time.process_time()
    call()
    spent = time.process_time() - begun
    print(f"| {name} | {spent:.1f} s | {_hashing:.2f} s | {_hashing / spent:.1%} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=20_000)
    given = parser.parse_args()
    for module in (events, ledger, records, tables):
        module.file_sha256 = counted  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        simulate(root / "all", accounts=given.accounts, months=12, seed=5, futures=0, start=START)
        for name, since, until in (("before", None, LAST), ("last", LAST, None)):
            for source in ("accounts", *FEEDS):
                rows = pq.read_table(root / "all" / source)
                rows = rows.filter(pc.less(rows["known_time"], until)) if until else rows
                rows = rows.filter(pc.greater_equal(rows["known_time"], since)) if since else rows
                (root / name / source).mkdir(parents=True)
                pq.write_table(rows, root / name / source / "1.parquet")
        space = Workspace(root / "work")
        small = replace(default_settings(), n_estimators=50)
        chosen = space.feature_set
        print("| command | processor | hashes | share |\n|---|---|---|---|")
        measured("check, eleven months", lambda: check(space, root / "before"))
        measured("build, a month start", lambda: tables.feature_tables(space, chosen(small), [LAST]))
        train(space, small, default_policy(), developer="developer")
        promote(space, None, LAST, override=Override(default_policy().release.approver, "a benchmark"))
        measured("decide, the book", lambda: decide(space, as_of=LAST))
        measured("check, a month", lambda: check(space, root / "last"))
        measured("build again, a month start later", lambda: tables.feature_tables(space, chosen(small), [LAST]))
        measured("decide, a month", lambda: decide(space))


if __name__ == "__main__":
    main()
