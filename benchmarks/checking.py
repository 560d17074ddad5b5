"""What `limitlens check` costs, beside its peers: `python -m benchmarks.checking [--accounts 8000] [--copies 4]`.

A simulated delivery, of which sixty rows of payments are broken on purpose, is checked by each way in turn, in a
process of its own that reads the same Parquet files: `limitlens check --plain-ids` in an empty workspace (what
pseudonyms cost, :mod:`benchmarks.pseudonyms` says); with `--beside PYTHON`
that of another environment (an older version, say); and, where they are installed, pandera and pointblank, both on
Polars, with the rules that :data:`limitlens.data.contracts.SOURCES` declares: types, nulls, ranges, allowed values,
unique keys, times in order. Printed are medians of the rounds: ratios to the first way, seconds of processor, peak
memory, broken rows found. `--copies K` repeats the portfolio K times under other names; `--events FOLDER` takes a
delivery that is there.

The peers say what is wrong and stop there. They put no row apart with its file, row and rule, write no load, recognise
no repeat of an earlier one, do not ask whether the account is known or whether a text hides invisible characters, and
make no profiles by which a later delivery is judged. Neither is a dependency of limitlens: `pip install pandera
pointblank polars`.
"""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.lean import cost
from limitlens.data.contracts import FEEDS
from limitlens.data.world import simulate

ROOT = Path(__file__).parent.parent

#: Rows of payments broken by each of five faults; a conflict breaks two.
SPOILT = 10

#: The command of each way, by its name; ``EVENTS`` and ``WORK`` stand for folders.
Ways = dict[str, list[str]]

#: What is named anew in each copy of the portfolio.
IDS = ("account_id", "event_id", "instalment_id", "device_id", "counterparty")

PEERS = ("pandera", "pointblank")

#: `limitlens check` ends with 8 when it holds what is unusual.
FINE = (0, 8)


class Cost(NamedTuple):
    """What one way took: seconds of processor, MiB at most, broken rows found."""

    seconds: float
    mebibytes: float
    broken: float


def ways(beside: str | None) -> Ways:
    """The ways that can be taken here."""
    check = ["-m", "limitlens.pipeline", "check", "EVENTS", "--workspace", "WORK"]
    found = {"limitlens check": [sys.executable, *check, "--plain-ids"]}
    if beside:
        found["limitlens check, beside"] = [beside, *check]
    for peer in PEERS:
        if find_spec(peer) and find_spec("polars"):
            found[peer] = [
                "env",
                f"PYTHONPATH={ROOT}",
                sys.executable,
                "-m",
                f"benchmarks.checking_in_{peer}",
                "EVENTS",
            ]
        else:
            print(f"{peer} left out: not installed, or Polars is not", file=sys.stderr)
    return found


def spoil(payments: Path) -> None:
    """Break the first rows of a file: negative, of no kind, of no account, known before it happened, in conflict."""
    rows = pq.read_table(payments).to_pandas()
    first = [slice(start, start + SPOILT - 1) for start in range(0, 5 * SPOILT, SPOILT)]
    rows.loc[first[0], "amount_cents"] = -1
    rows.loc[first[1], "kind"] = "gift"
    rows.loc[first[2], "account_id"] = None
    rows.loc[first[3], "kind"] = "repayment"
    rows.loc[first[3], "event_time"] = rows["known_time"] + pd.Timedelta(days=1)
    other = rows.loc[first[4]].assign(amount_cents=lambda row: row["amount_cents"] + 1)
    broken = pa.Table.from_pandas(pd.concat([rows, other]), schema=pq.read_schema(payments), preserve_index=False)
    pq.write_table(broken.replace_schema_metadata(), payments)


def repeat(file: Path, copies: int) -> None:
    """Put copies of the rows of a file below them, of other lines and events."""
    rows = pq.read_table(file)
    pq.write_table(pa.concat_tables([rows, *(_renamed(rows, f"{copy}-") for copy in range(1, copies))]), file)


def _renamed(rows: pa.Table, prefix: str) -> pa.Table:
    for place, field in enumerate(rows.schema):
        if field.name in IDS:
            text = pc.binary_join_element_wise(
                pa.scalar(prefix, field.type), rows[field.name], pa.scalar("", field.type)
            )
            rows = rows.set_column(place, field, text)
    return rows


def measured(found: Ways, events: Path, folder: Path, rounds: int) -> dict[str, Cost]:
    """Medians of what each way takes, in turn."""
    costs: dict[str, list[Cost]] = {name: [] for name in found}
    for number in range(rounds):
        for name, words in found.items():
            work = folder / "work"
            command = [str({"EVENTS": events, "WORK": work}.get(word, word)) for word in words]
            seconds, mebibytes = cost(command, folder, FINE)
            said = (folder / "said.txt").read_text(encoding="utf-8")
            costs[name].append(Cost(seconds, mebibytes, sum(_broken(said))))
            shutil.rmtree(work, ignore_errors=True)
            print(f"round {number + 1} of {rounds}: {name}: {costs[name][-1]}", file=sys.stderr)
    return {name: Cost(*map(median, zip(*mine, strict=True))) for name, mine in costs.items()}


def _broken(said: str) -> Iterator[int]:
    for rows in re.findall(r"([\d,]+) (?:quarantined|broken)", said):
        yield int(rows.replace(",", ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=8_000)
    parser.add_argument("--months", type=int, default=18)
    parser.add_argument("--copies", type=int, default=1, metavar="K")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=Path, metavar="FOLDER")
    parser.add_argument("--beside", metavar="PYTHON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        events = given.events.resolve() if given.events else folder / "events"
        if not given.events:
            simulate(events, accounts=given.accounts, months=given.months, futures=0, progress=print)
            for file in (file for name in ("accounts", *FEEDS) for file in (events / name).glob("*.parquet")):
                repeat(file, given.copies)
            spoil(min((events / "payment").glob("*.parquet")))
        costs = measured(ways(given.beside), events, folder, given.rounds)
    rows = sum(pq.read_metadata(file).num_rows for name in FEEDS for file in (events / name).glob("*.parquet"))
    base = costs["limitlens check"]
    print(f"{rows:,} events")
    print("| way | CPU, ratio | memory, ratio | CPU s | peak MiB | broken rows |")
    print("|---|---|---|---|---|---|")
    for name, one in costs.items():
        ratios = f"{one.seconds / base.seconds:.2f} | {one.mebibytes / base.mebibytes:.2f}"
        print(f"| {name} | {ratios} | {one.seconds:.1f} | {one.mebibytes:,.0f} | {one.broken:,.0f} |")


if __name__ == "__main__":
    main()
