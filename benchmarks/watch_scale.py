"""What a tick of the watch costs on a large book: `python -m benchmarks.watch_scale FOLDER [--lines 1000000]`.

A simulated portfolio of 2,000 lines is trained on and decided, then copied until the book has as many lines as asked
for, with 20 events and one decision a month each; the folder keeps it for another call. Then ticks come, with a row
about each of 100 lines; in every fifth tick one line is drawn empty and the money is passed on, so that a watched rule
pauses it. Ticks are two seconds apart by the time they are told, and run one after the other without waiting. Printed
are the seconds of a tick, the seconds from a row's arrival to the recorded action (rows arrive evenly; a tick begins
two seconds after the one before, or when that has ended), and memory, for each fifth of the ticks; and how many rows a
core takes in and looks at in a second.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.lean import DAY, prepared, split
from limitlens.data.contracts import FEEDS, SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.events import EventStore, stored_schema
from limitlens.data.world import simulate
from limitlens.limits.ledger import Ledger
from limitlens.limits.ledger_tables import ATTRIBUTIONS
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace

#: Lines of the portfolio that is copied, and events a line in its copies.
LINES, EVENTS = 2_000, 20

#: Copies in a load.
AT_ONCE = 50

EVERY = timedelta(seconds=2)

#: What is another one in each copy.
IDS = ("account_id", "event_id", "device_id", "counterparty", "instalment_id")


def widen(small: Path, big: Path, copies: int, months: int) -> None:
    """A workspace of so many copies of a portfolio, its ledger of so many months."""
    shutil.copytree(small, big)
    store = EventStore(big)
    mark, since = store.loads()[0], _since(store)
    highest = {source: _highest(store, source) for source in FEEDS}
    for first in range(1, copies, AT_ONCE):
        load, upto = store.next_load(), min(first + AT_ONCE, copies)
        names = []
        for source in ("accounts", *FEEDS):
            where = "" if source == "accounts" else f" WHERE event_time >= '{since.isoformat()}'"
            rows = run_sql(f"SELECT * FROM ({store.relation(source, ['0001'])}){where}")
            names += store.write(load, f"events/{source}", [copied(rows, first, upto, highest.get(source))])
        store.commit(load, names, {**mark, "load": load})
        print(f"{upto * LINES:,} lines", file=sys.stderr)
    _decide(Ledger(big), copies, months)


def _since(store: EventStore) -> datetime:
    """From when on so many events a line are left."""
    times = [run_sql(f"SELECT event_time FROM ({store.relation(source)})")["event_time"] for source in FEEDS]
    every = np.sort(np.concatenate([column.to_numpy() for column in times]))
    return pd.Timestamp(every[-min(LINES * EVENTS, len(every))], tz="UTC").to_pydatetime()


def _highest(store: EventStore, source: str) -> int:
    return int(run_sql(f"SELECT MAX(event_no) AS no FROM ({store.relation(source)})")["no"][0].as_py())


def copied(rows: pa.Table, first: int, upto: int, highest: int | None = None) -> pa.Table:
    """Copies of some rows, whose ids carry the number of the copy."""
    other = [f"{name} || '-' || copy AS {name}" for name in IDS if name in rows.column_names]
    other += [f"event_no + copy * {highest + 1} AS event_no"] if highest is not None else []
    sql = f"SELECT one.* REPLACE ({', '.join(other)}) FROM one, range({first}, {upto}) AS copies(copy)"
    return run_sql(sql, {"one": rows})


def _decide(ledger: Ledger, copies: int, months: int) -> None:
    """The last decision of each line for each of its copies, and as many months before."""
    run, last = ledger.runs()[-1], ledger.last_decisions()
    for month in range(months, 0, -1):
        moved = pc.subtract(last["as_of"], pa.scalar(timedelta(days=30 * (month - 1)), pa.duration("us")))
        rows = last.set_column(last.column_names.index("as_of"), last.schema.field("as_of"), moved)
        of_copies = replace(run, run_id=f"copies {month}", as_of=run.as_of - timedelta(days=30 * (month - 1)))
        decisions = copied(rows, 1, copies).cast(last.schema).sort_by("account_id")  # as decide records them
        ledger.append(of_copies, decisions, ATTRIBUTIONS.empty_table())


def arrivals(
    store: EventStore, first: datetime, copies: int, ticks: int, touched: int
) -> Iterator[tuple[datetime, dict[str, pa.Table]]]:
    """Moments of ticks, and what comes before each."""
    rng = np.random.default_rng(int(first.timestamp()))
    last = run_sql(f"SELECT * FROM ({store.relation('consumption', ['0001'])}) QUALIFY ROW_NUMBER() OVER ("
                   "PARTITION BY account_id ORDER BY event_time DESC) = 1")  # fmt: skip
    sql = f"SELECT * FROM ({store.relation('accounts', ['0001'])}) WHERE limit_cents > 0 AND opened_at >= $since"
    young = run_sql(sql, values={"since": DAY - timedelta(days=25)})
    for number in range(ticks):
        at = first + number * EVERY
        rows = last.take(rng.permutation(len(last))[:touched]).select(schema_of("consumption").names)
        bought = _came(rows, rng.integers(1, copies, len(rows)), at)
        came = {"consumption": bought}
        if number % 5 == 0:
            who = young.slice(int(rng.integers(0, len(young))), 1)
            came = _emptied(bought, who, int(rng.integers(1, copies)), at)
        yield at, came


def _came(rows: pa.Table, copy: np.ndarray, at: datetime) -> pa.Table:
    frame = rows.to_pandas()
    frame["account_id"] += [f"-{k}" for k in copy]
    frame["event_id"] = [f"tick-{at:%dT%H%M%S}-{k}" for k in range(len(frame))]
    frame["event_time"] = frame["known_time"] = pd.Timestamp(at) - pd.Timedelta(1, "s")
    return pa.Table.from_pandas(frame, rows.schema, preserve_index=False)


def schema_of(source: str) -> pa.Schema:
    """Columns of a delivery."""
    return pa.schema([field for field in stored_schema(source) if field.name in SOURCES[source].column_names()])


def _emptied(bought: pa.Table, who: pa.Table, copy: int, at: datetime) -> dict[str, pa.Table]:
    """Five draws of a sixth of the line each, and what was drawn goes to somebody else."""
    line, limit = f"{who['account_id'][0]}-{copy}", int(who["limit_cents"][0].as_py())
    base = {
        "account_id": line,
        "event_time": at - timedelta(minutes=1),
        "known_time": at - timedelta(seconds=1),
        "retracted": False,
    }
    draws = [
        base | {"event_id": f"draw-{at:%dT%H%M%S}-{k}", "kind": "draw", "amount_cents": limit // 6, "channel": "atm"}
        for k in range(5)
    ]
    sent = base | {
        "event_id": f"sent-{at:%dT%H%M%S}",
        "kind": "transfer_out",
        "amount_cents": limit * 4 // 5,
        "counterparty": f"payee-{at:%dT%H%M%S}",
    }
    return {
        "consumption": pa.concat_tables([bought, pa.Table.from_pylist(draws, bought.schema)]),
        "payment": pa.Table.from_pylist([sent], schema_of("payment")),
    }


def measured(folder: Path, copies: int, ticks: int, touched: int, minutes: float) -> None:
    """Sync and ticks, in a process of their own; none begins after so many minutes."""
    workspace, inbox = Workspace(folder / "work"), folder / "inbox"
    begun = time.perf_counter()
    Journal(workspace.root).sync(workspace.events, lambda text: print(text, file=sys.stderr))
    found: dict[str, list[float]] = {
        "sync": [time.perf_counter() - begun],
        "clock": [],
        "cpu": [],
        "rows": [],
        "paused": [],
        "mib": [],
    }
    standing, end = None, time.perf_counter() + minutes * 60
    first = max(DAY, workspace.ledger.last_moment() or DAY) + timedelta(hours=1)
    for at, came in arrivals(workspace.events, first, copies, ticks, touched):
        if time.perf_counter() > end:
            break
        for source, rows in came.items():
            (inbox / source).mkdir(parents=True, exist_ok=True)
            pq.write_table(rows, inbox / source / f"{at:%dT%H%M%S}.parquet")
        begun, cpu = time.perf_counter(), time.process_time()
        ticked = tick(workspace, inbox, at, standing)
        found["clock"].append(time.perf_counter() - begun)
        found["cpu"].append(time.process_time() - cpu)
        found["rows"].append(ticked.rows)
        found["paused"].append(len(ticked.decisions))
        found["mib"].append(resident_mib())
        standing = ticked.standing
        if ticked.touched < touched or ticked.refused or ticked.quarantined:
            sys.exit(f"tick at {at}: {ticked.touched} touched, {ticked.quarantined} quarantined, {ticked.refused}")
    found["peak"] = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def resident_mib() -> float:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def delays(seconds: list[float]) -> np.ndarray:
    """From arrival to the recorded action, of rows that arrive evenly while the ticks run one after the other."""
    cycles = np.maximum(seconds[:-1], EVERY.total_seconds())
    share = (np.arange(100) + 0.5) / 100
    return (cycles[:, None] * share + np.array(seconds[1:])[:, None]).ravel()


def made(folder: Path, lines: int, months: int) -> int:
    """Make the book, unless an earlier call did; of how many copies it is."""
    copies = max(2, lines // LINES)
    if not (folder / "small").exists():
        simulate(folder / "events", accounts=LINES, futures=0, progress=print)
        split(folder / "events", folder / "small")
        prepared(sys.executable, folder / "small")
    if not (folder / "work").exists():
        widen(folder / "small" / "work", folder / "work", copies, months)
    return copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--months", type=int, default=6, help="decisions a line in the ledger")
    parser.add_argument("--ticks", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=np.inf, help="no tick begins after so many")
    parser.add_argument("--touched", type=int, default=100, help="lines with a row in each tick")
    given = parser.parse_args()
    if given.ticks < 10:
        parser.error("of fewer than 10 ticks a fifth says nothing")
    folder, copies = given.folder, made(given.folder, given.lines, given.months)
    alone = multiprocessing.get_context("spawn").Process(
        target=measured, args=(folder, copies, given.ticks, given.touched, given.minutes)
    )
    alone.start()
    alone.join()
    if alone.exitcode:
        sys.exit(1)
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    print(f"copying the book for the watch: {found['sync'][0]:,.0f} s; peak memory {found['peak'][0]:,.0f} MiB")
    print(
        "| ticks | median s | p95 s | CPU s | of them with a pause, median s | CPU s "
        "| row to action: median s | p95 s | MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for places in np.array_split(np.arange(len(found["clock"])), 5):
        clock, cpu, paused = (np.array(found[name])[places] for name in ("clock", "cpu", "paused"))
        waits, acted = delays(list(clock)), paused > 0
        figures = [np.median(clock), np.quantile(clock, 0.95), np.median(cpu)]
        figures += [np.median(some[acted]) if acted.any() else np.nan for some in (clock, cpu)]
        figures += [np.median(waits), np.quantile(waits, 0.95)]
        cells = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {places[0] + 1} to {places[-1] + 1} | {cells} | {found['mib'][places[-1]]:,.0f} |")
    rows, cpu_s = (float(np.sum(found[name])) for name in ("rows", "cpu"))
    print(f"{rows:,.0f} rows in {cpu_s:,.0f} s of processor: {rows / cpu_s:,.0f} rows a second of a core")


if __name__ == "__main__":
    main()
