"""Sixty features of every line, beside what people write by hand: `python -m benchmarks.features WORKSPACE`.

limitlens, DuckDB SQL, Polars and pandas, each written by hand for exactly these features, build the same table from the
accepted events of a workspace, each in a process of its own, one after the other, and write it to Parquet; the tables
are compared value by value. Printed are medians of the seconds, ratios to limitlens, and the largest peak memory.
`--copies K` repeats the portfolio K times under other names first, `--lines N` takes its first N lines; pick the ways
with `--ways`, the whole catalogue among them; `--memory` is that of `limitlens build`. Polars is no dependency of
limitlens: `pip install polars`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features_in_pandas import in_pandas
from limitlens.data.calendar import add_months, data_end
from limitlens.data.contracts import FEEDS
from limitlens.data.engine import MEMORY_LIMIT, limit_memory
from limitlens.data.events import EventStore
from limitlens.data.storage import parquet_stream
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import FeatureSet
from limitlens.features.spine import book
from limitlens.features.table import table_parts
from limitlens.pipeline.training.feature_tables import write_tables

SIXTY: tuple[str, ...] = tuple(
    """
    draw_count_1d draw_count_2d draw_count_7d draw_count_30d draw_count_90d draw_sum_2d draw_sum_7d draw_sum_30d
    draw_sum_90d draw_mean_30d draw_mean_90d draw_max_30d draw_max_90d draw_days_since_ever night_draw_count_30d
    purchase_count_7d purchase_count_30d purchase_count_90d purchase_sum_7d purchase_sum_30d purchase_sum_90d
    purchase_sum_180d purchase_max_30d category_distinct_30d category_distinct_90d refund_sum_90d fee_sum_90d
    balance_cents due_count_90d due_sum_90d repayment_count_30d repayment_count_90d repayment_sum_30d
    repayment_sum_90d repayment_sum_180d repayment_days_since_ever late_count_90d late_count_180d met_count_180d
    lateness_mean_180d lateness_max_180d dpd_days past_due_cents transfer_in_count_30d transfer_in_sum_30d
    transfer_in_sum_90d transfer_out_count_2d transfer_out_sum_2d transfer_out_sum_7d transfer_out_sum_30d
    device_event_count_7d device_event_count_30d device_distinct_7d device_distinct_30d device_distinct_90d
    new_device_count_30d city_distinct_30d device_switch_count_7d device_switch_count_30d failed_login_count_30d
    """.split()  # noqa: SIM905 - a list of sixty quoted words reads worse
)

SOURCES = ("accounts", *FEEDS)

Paths = dict[datetime, Path]
Way = Callable[[Path, Paths], None]


def limitlens(features: FeatureSet) -> Way:
    """The shipped builder: all dates together, written part by part."""

    def build(workspace: Path, paths: Paths) -> None:
        relations = EventStore(workspace).relations()
        lines = book(list(paths), relations)[["account_id", "as_of", "known_by"]]
        write_tables(table_parts(features, lines, relations), paths)

    return build


def date_by_date(build: Callable[[Path, datetime, Path], None]) -> Way:
    """What knows one date at a time."""

    def build_all(workspace: Path, paths: Paths) -> None:
        for as_of, out in paths.items():
            build(workspace, as_of, out)

    return build_all


def sql_by_hand(workspace: Path, as_of: datetime, out: Path) -> None:
    """One DuckDB query with every window written out."""
    query = Path(__file__).with_name("features_by_hand.sql").read_text(encoding="utf-8")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, relation in EventStore(workspace).relations().items():
            connection.execute(f"CREATE TEMP VIEW {name} AS {relation}")
        table = connection.sql(query, params={"as_of": as_of}).to_arrow_table()
        pq.write_table(table, out, compression="zstd")


def pandas(workspace: Path, as_of: datetime, out: Path) -> None:
    """Group-bys and merges."""
    in_pandas(event_files(workspace), as_of).reset_index().to_parquet(out)


def polars(workspace: Path, as_of: datetime, out: Path) -> None:
    """Lazy frames."""
    from benchmarks.features_in_polars import in_polars  # noqa: PLC0415 - it needs no Polars unless it is asked for

    in_polars(event_files(workspace), as_of).write_parquet(out)


def event_files(workspace: Path) -> dict[str, list[str]]:
    """Files of every source."""
    return {source: sorted(map(str, (workspace / "events" / source).glob("*.parquet"))) for source in SOURCES}


WAYS: dict[str, Way] = {
    "limitlens": limitlens(CATALOGUE.only(SIXTY)),
    "SQL by hand": date_by_date(sql_by_hand),
    "Polars": date_by_date(polars),
    "pandas": date_by_date(pandas),
    "limitlens, whole catalogue": limitlens(CATALOGUE),
}


def run_alone(workspace: Path, as_ofs: list[str], memory: str, name: str, out: Path) -> dict[str, float]:
    """One way in a process of its own: seconds without start and imports, peak memory in MiB."""
    command = [sys.executable, "-m", "benchmarks.features", str(workspace), "--way", name, "--out", str(out)]
    told = subprocess.run(
        [*command, "--memory", memory, "--at", *as_ofs], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def run_here(name: str, workspace: Path, as_ofs: list[datetime], out: Path) -> None:
    """What runs in that process."""
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    WAYS[name](workspace, {as_of: out / f"{as_of:%Y-%m-%d}.parquet" for as_of in as_ofs})
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def compare(ours: Path, theirs: Path) -> None:
    """Refuse to time tables that are not the same."""
    for path in sorted(ours.glob("*.parquet")):
        mine, other = (pd.read_parquet(p).set_index("account_id") for p in (path, theirs / path.name))
        other = other.reindex(mine.index)
        zeros = [name for name in SIXTY if mine[name].dtype.kind == "i"]
        other[zeros] = other[zeros].fillna(0)  # an account without an event stands in no group
        for name in SIXTY:
            left, right = mine[name].to_numpy(float), other[name].to_numpy(float)
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9, err_msg=name)


def floor_seconds(workspace: Path) -> float:
    """Time to read and decode the columns that the features need."""
    always = ("account_id", "event_time", "known_time", "kind", "event_no")
    others = {
        "consumption": ("amount_cents", "category"),
        "payment": ("amount_cents", "instalment_id"),
        "device": ("device_id", "city"),
    }
    begun = time.perf_counter()
    with duckdb.connect() as connection:
        files = event_files(workspace)
        for source, columns in others.items():
            read = ", ".join(f"BIT_XOR(HASH({name}))" for name in (*always, *columns))
            connection.execute(f"SELECT {read} FROM read_parquet($1)", [files[source]]).fetchall()
    return time.perf_counter() - begun


def copied(workspace: Path, out: Path, *, copies: int, lines: int) -> Path:
    """A workspace with the portfolio's first lines, repeated under other names, written in the layout of the store."""
    events = EventStore(workspace)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        chosen = f"SELECT DISTINCT account_id FROM ({events.relation('accounts')}) ORDER BY account_id"
        connection.execute(f"CREATE TEMP TABLE chosen AS {chosen} LIMIT {lines}")
        for source in SOURCES:
            schema = pq.read_schema(next((workspace / "events" / source).glob("*.parquet")))
            with parquet_stream(schema, out / "events" / source / "0001.parquet") as write:
                for copy in range(copies):
                    columns = ", ".join(f"{_renamed(name, copy)} AS {name}" for name in schema.names)
                    rows = f"SELECT {columns} FROM ({events.relation(source)}) SEMI JOIN chosen USING (account_id)"
                    order = f"ORDER BY account_id{'' if source == 'accounts' else ', event_time'}"
                    for batch in connection.sql(f"{rows} {order}").to_arrow_reader(1 << 17):
                        write(pa.Table.from_batches([batch]).cast(schema))
    names = [f"events/{source}/0001.parquet" for source in SOURCES]
    [first, *_] = events.loads()
    EventStore(out).commit("0001", names, {"load": "0001", "sources": first["sources"]})
    return out


def _renamed(column: str, copy: int) -> str:
    if column in {"account_id", "event_id", "instalment_id", "device_id", "counterparty"}:
        return f"'{copy:02d}-' || {column}"
    return f"{column} + {copy * 10**9}" if column == "event_no" else column


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dates", type=int, nargs="+", default=[1, 12], help="as-of dates, counted back by months")
    parser.add_argument("--ways", nargs="+", default=["limitlens", "SQL by hand", "Polars", "pandas"], choices=WAYS)
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--lines", type=int, default=10**9)
    parser.add_argument("--memory", default=MEMORY_LIMIT, help="limitlens spills to disk above it")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--at", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        limit_memory(given.memory)
        run_here(given.way, given.workspace, [datetime.fromisoformat(text) for text in given.at], given.out)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder, workspace = Path(temporary), given.workspace
        if given.copies > 1 or given.lines < 10**9:
            workspace = copied(workspace, folder / "copied", copies=given.copies, lines=given.lines)
        end = data_end(EventStore(given.workspace).known_until())
        last = datetime(end.year, end.month, 1, tzinfo=UTC)
        files = event_files(workspace)
        rows = sum(pq.read_metadata(file).num_rows for source in FEEDS for file in files[source])
        print(f"{rows:,} events; to read their columns takes {floor_seconds(workspace):.2f} s\n")
        print("| way | dates | seconds | ratio | peak MiB |\n|---|---|---|---|---|")
        for dates in given.dates:
            as_ofs = [add_months(last, -k).isoformat() for k in range(dates)]
            alone = partial(run_alone, workspace, as_ofs, given.memory)
            print_table(time_ways(given.ways, given.runs, folder / str(dates), alone), dates)


def time_ways(
    ways: list[str], runs: int, folder: Path, run: Callable[[str, Path], dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    """Every way in turn, several times; each table must be the first way's."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(runs):
        for way in ways:
            found[way].append(run(way, folder / way))
            compare(folder / ways[0], folder / way)
    return found


def print_table(found: dict[str, list[dict[str, float]]], dates: int) -> None:
    medians = {way: statistics.median(run["seconds"] for run in runs) for way, runs in found.items()}
    base = next(iter(medians.values()))
    for way, runs in found.items():
        peak = max(run["peak"] for run in runs)
        print(f"| {way} | {dates} | {medians[way]:.2f} | {medians[way] / base:.2f} | {peak:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
