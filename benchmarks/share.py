"""A whole exchange between two lenders, from file to file: is it exact, how long does each step take, how much is sent.

    python -m benchmarks.share --customers 1000000 --listed 10000

Half of the listed ids are customers. Seconds are of processor; each step is a process of its own, as the lenders would
run it, and so is its peak of memory.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.pipeline.sharing.exchange import Side, answer, receive, request
from limitlens.pipeline.sharing.pair_secret import new_secret
from limitlens.pipeline.sharing.share_settings import default_share_settings
from limitlens.pipeline.workspace import Workspace

NOW = datetime(2026, 7, 1, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--listed", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        expected = written(root, asked.customers, asked.listed)
        new_secret(root / "secret", lenders := ("lender-a", "lender-b"))
        for lender in lenders:
            (root / lender).mkdir()
        print("| step | CPU s | peak MiB | file sent | bytes | bytes an id |\n|---|---|---|---|---|---|")
        for step, sent in ((ask, "request"), (reply, "answer"), (read, "")):
            seconds, mebibytes = measured(step, root)
            size = (root / sent).stat().st_size if sent else 0
            told = f"{sent} | {size:,} | {size / asked.customers:.1f}" if sent else "– | – | –"
            print(f"| {step.__name__} | {seconds:.1f} | {mebibytes:,.0f} | {told} |", flush=True)
        hits = pq.read_table(root / "hits.parquet")["account_id"].to_pylist()
    print(f"\n{len(hits):,} hits; equal to the plain intersection: {sorted(hits) == sorted(expected)}")


def written(root: Path, customers: int, listed: int) -> set[str]:
    """The two files; the accounts that are to be found."""
    persons = [f"1101051990{number:010d}" for number in range(customers)]
    accounts = [f"A{number:09d}" for number in range(customers)]
    pq.write_table(pa.table({"person_id": persons, "account_id": accounts}), root / "customers.parquet")
    known = persons[:: max(2 * customers // listed, 1)][: listed // 2]
    strangers = [f"9901051990{number:010d}" for number in range(listed - len(known))]
    pq.write_table(pa.table({"person_id": [*strangers, *known]}), root / "list.parquet")
    return {accounts[persons.index(known[0]) + place * max(2 * customers // listed, 1)] for place in range(len(known))}


def side(root: Path, lender: str) -> Side:
    limits = replace(default_share_settings().limits, ids_per_exchange=20_000_000, ids_per_period=20_000_000)
    settings = replace(default_share_settings(), limits=limits)
    return Side(Workspace(root / lender), lender, root / "secret", settings, "a person")


def ask(root: Path) -> None:
    request(side(root, "lender-a"), root / "customers.parquet", root / "request", at=NOW)


def reply(root: Path) -> None:
    answer(side(root, "lender-b"), root / "request", root / "list.parquet", root / "answer", at=NOW)


def read(root: Path) -> None:
    files = (root / "request", root / "answer", root / "customers.parquet")
    receive(side(root, "lender-a"), *files, root / "hits.parquet", at=NOW)


def measured(step: Callable[[Path], None], root: Path) -> tuple[float, float]:
    """Seconds of processor and peak memory of a step in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_timed, (step, root))


def _timed(step: Callable[[Path], None], root: Path) -> tuple[float, float]:
    began = time.process_time()
    step(root)
    return time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
