"""What a whole job costs as the book grows: `python -m benchmarks.job [--lines 10000 100000] [--processes 2]`.

A portfolio of 2,000 lines is simulated and a model trained on it. Its delivery up to a day is copied until the book has
as many lines as asked for, with 20 events a line, and so is what comes on the next day. Each command is a process of
its own, as a scheduler runs them: the first load, three decisions of the whole book, the second a week after the first
and the third a month later, so that the splits of the second are reconciled; then the day's increment: `check`,
`decide` (new lines and paused ones), `score`, `report`; and `ledger verify` and the replay of one account. Printed are
seconds, those of the processor, peak memory of one process, what the workspace grew by, and how many times the seconds
of the processor grew from one size of the book to the next. What is unusual holds nothing: noise of one line is copied
with it.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.lean import DAY, NEXT, run, split
from benchmarks.watch_scale import IDS
from limitlens.data.contracts import FEEDS
from limitlens.data.engine import run_sql
from limitlens.data.quoting import quoted_text
from limitlens.data.world import simulate

#: Lines of the portfolio that is copied, events a line in its copies, and copies in a file of the first load.
LINES, EVENTS, AT_ONCE = 2_000, 20, 25

#: The book is decided before, so that changes are split and splits reconciled.
BEFORE = DAY - timedelta(days=38), DAY - timedelta(days=31)

#: The increment of a day; the rest of the commands is run once a book.
INCREMENT = ("check the day", "decide the day", "score", "report")


@dataclass(frozen=True)
class Cost:
    """Of one command: seconds, seconds of the processor, MiB at most, MB more on the disk."""

    seconds: float
    processor: float
    memory: float
    disk: float


def champion(folder: Path) -> None:
    """A small workspace with a released model and nothing decided, and the deliveries that are copied."""
    simulate(folder / "events", accounts=LINES, futures=0)
    split(folder / "events", folder)
    work = ("--workspace", "small")
    run(sys.executable, "check", "before", *work, "--plain-ids", cwd=folder)
    run(sys.executable, "train", *work, cwd=folder)
    run(sys.executable, "promote", "--override-by", "head of credit risk", "--reason", "a benchmark", *work, cwd=folder)


def widen(folder: Path, lines: int) -> None:
    """Deliveries of so many lines: ``before``, a file for some copies, and ``day``, one file a source."""
    since = _since(folder / "before")
    for part in ("before", "day"):
        for source in ("accounts", *FEEDS):
            out = folder / f"{lines}" / part / source
            out.mkdir(parents=True)
            rows = pq.read_table(folder / part / source)
            if part == "before" and source in FEEDS:
                rows = run_sql("SELECT * FROM rows WHERE event_time >= $since", {"rows": rows}, {"since": since})
            others = [f"{name} || '-' || copy AS {name}" for name in IDS if name in rows.column_names]
            together = AT_ONCE if part == "before" else lines // LINES
            for first in range(0, lines // LINES, together):
                copies = f"range({first}, {min(first + together, lines // LINES)}) AS copies(copy)"
                sql = f"SELECT one.* REPLACE ({', '.join(others)}) FROM one, {copies}"
                pq.write_table(run_sql(sql, {"one": rows}), out / f"{first:06d}.parquet")


def _since(folder: Path) -> object:
    """From when on so many events a line are left."""
    files = [quoted_text(str(folder / source / "*.parquet")) for source in FEEDS]
    every = " UNION ALL ".join(f"SELECT event_time FROM read_parquet({path})" for path in files)
    sql = f"SELECT MIN(event_time) AS since FROM (SELECT * FROM ({every}) ORDER BY 1 DESC LIMIT {LINES * EVENTS})"
    return run_sql(sql)["since"][0].as_py()


def job(python: str, folder: Path, small: Path, processes: int) -> Iterator[tuple[str, Cost]]:
    """The costs of each command on one book, in order."""
    shared = ("--processes", f"{processes}")
    first, second = (f"{date:%Y-%m-%d}" for date in BEFORE)
    work, day, next_day = ("--workspace", "work"), f"{DAY:%Y-%m-%d}", f"{NEXT:%Y-%m-%d}"
    text = (Path(__file__).parent.parent / "conf" / "quality.toml").read_text(encoding="utf-8")
    tolerant = re.sub(r"(?m)^(least_change|least_shift) = \S+", r"\1 = 100", text)
    (folder / "quality.toml").write_text(tolerant.replace("least_share = 0.05", "least_share = 1"), encoding="utf-8")
    quality = ("--quality", "quality.toml")
    (folder / "work").mkdir()
    shutil.copy(small / "ledger.sqlite", folder / "work")
    shutil.copytree(small / "mlflow", folder / "work" / "mlflow")
    for name, words in (
        ("check the book", ("check", "before", "--plain-ids", *quality)),
        ("decide the book", ("decide", "--as-of", first, *shared)),
        ("decide the book again", ("decide", "--as-of", second, *shared)),
        ("a month later", ("decide", "--as-of", day, *shared)),
        ("reconcile", ("reconcile", *shared)),
        ("check the day", ("check", "day", *quality)),
        ("decide the day", ("decide", "--until", next_day)),
        ("score", ("score", "--as-of", next_day)),
        ("report", ("report",)),
        ("ledger verify", ("ledger", "verify")),
        ("replay of an account", ("ledger", "replay", "--account", "A000007-0")),
    ):
        began, before = time.monotonic(), _bytes(folder / "work")
        processor, memory = run(python, *words, *work, cwd=folder, fine=(0, 7, 8))
        seconds, grew = time.monotonic() - began, (_bytes(folder / "work") - before) / 1e6
        print(f"{folder.name}: {name}: {seconds:.1f} s", file=sys.stderr, flush=True)
        yield name, Cost(seconds, processor, memory, grew)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table(costs: dict[int, dict[str, Cost]]) -> list[str]:
    """A row a command, some columns a size of the book, and what the processor's seconds grew by from size to size."""
    sizes = sorted(costs)
    heads = [f"{size:,} lines: s | CPU s | peak MiB | + MB" for size in sizes]
    grown = [f"CPU × from {one:,} to {other:,}" for one, other in pairwise(sizes)]
    lines = [f"| command | {' | '.join([*heads, *grown])} |", "|---" * (1 + 4 * len(sizes) + len(grown)) + "|"]
    for name in costs[sizes[0]]:
        mine = [costs[size][name] for size in sizes]
        cells = [f"{c.seconds:,.1f} | {c.processor:,.1f} | {c.memory:,.0f} | {c.disk:,.1f}" for c in mine]
        cells += [f"{other.processor / one.processor:.1f}" for one, other in pairwise(mine)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def increment(costs: dict[str, Cost]) -> Cost:
    """What a day costs in all."""
    mine = [costs[name] for name in INCREMENT]
    return Cost(
        sum(one.seconds for one in mine), sum(one.processor for one in mine),
        max(one.memory for one in mine), sum(one.disk for one in mine),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args(arguments)
    costs: dict[int, dict[str, Cost]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        champion(folder)
        for lines in given.lines:
            widen(folder, lines)
            costs[lines] = dict(job(sys.executable, folder / f"{lines}", folder / "small", given.processes))
            costs[lines]["the day"] = increment(costs[lines])
            shutil.rmtree(folder / f"{lines}")
    print(*table(costs), sep="\n")


if __name__ == "__main__":
    main()
