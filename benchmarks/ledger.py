"""How fast the ledger grows and is verified: `python -m benchmarks.ledger WORKSPACE [--rows 1000000] [--runs 3]`.

Rows are drawn from the decisions and attributions of a decided workspace, with account ids and PDs of their own, so
that they compress much as real ones do. Appending them to a new ledger and verifying it run in processes of their own;
printed are rows of decisions a second, each with its attribution, the bytes on disk and the peak memory above that of
a process that has only imported limitlens.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.calendar import parse_time
from limitlens.limits.ledger import Ledger, Run
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS
from limitlens.pipeline.workspace import Workspace


def prepare(workspace: Path, folder: Path, rows: int) -> None:
    """Tables of one run in two Parquet files."""
    ledger, rng = Workspace(workspace).ledger, np.random.default_rng(1)
    names = pa.array([f"A{k:09d}" for k in range(rows)])
    for table, schema in (("decisions", DECISIONS), ("attributions", ATTRIBUTIONS)):
        found = ledger.table(f"SELECT * FROM {table}")
        drawn = found.take(pa.array(rng.integers(0, len(found), rows))).set_column(0, "account_id", names)
        if "pd" in schema.names:
            drawn = drawn.set_column(schema.names.index("pd"), "pd", pa.array(rng.random(rows)))
        pq.write_table(drawn.select(schema.names).cast(schema), folder / f"{table}.parquet")


def append(folder: Path, runs: int) -> float:
    """Seconds to record the runs."""
    tables = [pq.read_table(folder / f"{name}.parquet") for name in ("decisions", "attributions")]
    first, begun = parse_time("2026-01-01"), time.perf_counter()
    for number in range(runs):
        run_id = sha256(str(number).encode()).hexdigest()
        run = Run(run_id, first + timedelta(days=number), "1", "model", "policy", False)
        Ledger(folder / "work").append(run, *tables)
    return time.perf_counter() - begun


def verify(folder: Path, runs: int) -> float:
    """Seconds to verify them."""
    begun = time.perf_counter()
    assert Ledger(folder / "work").verify() == runs
    return time.perf_counter() - begun


def nothing(folder: Path, runs: int) -> float:
    """What a process needs that only imports."""
    return 0.0


WAYS = {"import": nothing, "append": append, "verify": verify}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of one run")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        seconds = WAYS[given.way](given.folder, given.runs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak}))
        return
    if given.folder:
        prepare(given.workspace, given.folder, given.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        # Whatever is started inherits the peak memory of who starts it, so this process stays small.
        again = [sys.executable, "-m", "benchmarks.ledger", *sys.argv[1:], "--folder", folder]
        subprocess.run(again, check=True)
        found = {
            way: json.loads(subprocess.run([*again, "--way", way], check=True, stdout=subprocess.PIPE).stdout)
            for way in WAYS
        }
        size = sum(path.stat().st_size for path in Path(folder, "work").glob("*/*.parquet"))
    total, base = given.rows * given.runs, found.pop("import")["peak"]
    print(f"{total:,} decisions with attributions in {given.runs} runs, {size / total:.1f} bytes each\n")
    print("| step | seconds | rows a second | peak MiB above import |\n|---|---|---|---|")
    for way, run in found.items():
        print(f"| {way} | {run['seconds']:.2f} | {total / run['seconds']:,.0f} | {run['peak'] - base:,.0f} |")


if __name__ == "__main__":
    main()
