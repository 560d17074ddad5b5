"""What a tick of the watch costs on Spark: `python -m benchmarks.watch_spark FOLDER [--lines 20000]`.

The book of `benchmarks.watch_scale`; its stored rows are found by Spark on this machine, and the files of each tick
come by Structured Streaming. Printed are the seconds until the stream had brought them, the seconds of the tick and how
often it looks for stored rows, what Spark has answered before included, for the ticks that pause a line and the others.
The first ticks, in which Java warms up, do not count.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.lean import DAY
from benchmarks.watch_scale import arrivals, made
from limitlens.data.spark import spark_sql
from limitlens.pipeline.watching.inbox import waiting_files
from limitlens.pipeline.watching.stored_rows import found_by_spark
from limitlens.pipeline.watching.stream import streaming
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace

#: Ticks in which Java warms up.
WARM = 5

#: Seconds from one look of the stream to the next.
EVERY = 0.5


def renamed(rows: dict[str, pa.Table], folder: Path, name: str) -> None:
    """Put a file of each source into its folder, whole."""
    for source, table in rows.items():
        (folder / source).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / source / f".{name}.parquet")
        (folder / source / f".{name}.parquet").rename(folder / source / f"{name}.parquet")


def measured(folder: Path, copies: int, ticks: int, touched: int) -> np.ndarray:
    """A row a tick: seconds until its files were brought, seconds of the tick, queries, lines paused."""
    workspace, inbox, new = Workspace(folder / "work"), folder / "streamed", folder / "new"
    for left in (new, inbox):
        shutil.rmtree(left, ignore_errors=True)
    first = max(DAY, workspace.ledger.last_moment() or DAY) + timedelta(hours=1)
    figures, standing, queries = list[tuple[float, float, int, int]](), None, list[str]()
    with spark_sql() as prepare, found_by_spark(workspace.events, prepare) as find:

        def counted(source: str, column: str, values: Sequence[str]) -> pa.Table:
            queries.append(source)
            return find(source, column, values)

        with streaming(str(new), inbox, EVERY):
            for at, came in arrivals(workspace.events, first, copies, ticks + WARM, touched):
                renamed(came, new, f"{at:%dT%H%M%S}")
                begun, asked = time.perf_counter(), len(queries)
                while len(waiting_files(inbox)) < len(came):
                    time.sleep(0.01)
                brought = time.perf_counter()
                ticked = tick(workspace, inbox, at, standing, find_stored=counted)
                ended, standing = time.perf_counter(), ticked.standing
                figures.append((brought - begun, ended - brought, len(queries) - asked, len(ticked.decisions)))
    return np.array(figures[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--months", type=int, default=6, help="decisions a line in the ledger")
    parser.add_argument("--ticks", type=int, default=20)
    parser.add_argument("--touched", type=int, default=100, help="lines with a row in each tick")
    given = parser.parse_args()
    copies = made(given.folder, given.lines, given.months)
    found = measured(given.folder, copies, given.ticks, given.touched)
    print("| ticks | brought: median s | tick: median s | longest s | lookups of stored rows, median |")
    print("|---|---|---|---|---|")
    for name, some in (("without a pause", found[found[:, 3] == 0]), ("with a pause", found[found[:, 3] > 0])):
        brought, clock, queries, _ = some.T
        cells = f"{np.median(brought):.2f} | {np.median(clock):.2f} | {clock.max():.2f} | {np.median(queries):.0f}"
        print(f"| {len(some)} {name} | {cells} |")


if __name__ == "__main__":
    main()
