"""About sixty window features with featuretools, in an environment of its own: it needs pandas 2.

`python benchmarks/features_in_featuretools.py WORKSPACE 2026-07-01`, after `pip install featuretools "pandas<3"
pyarrow`. Counts, sums, means and maxima, counts and sums by kind, and the number of distinct words, over 30 and 90 days
before the as-of time: what its primitives can say. It has one clock, so rows known late count as if they had been
known; versions, instalments, days past due and devices beside the ones before them are left out. The seconds stand
beside those of `benchmarks.features`, the numbers do not.
"""

import argparse
import resource
import time
from pathlib import Path

import featuretools as ft
import pandas as pd
import pyarrow.parquet as pq

SOURCES = {
    "consumption": (["amount_cents"], ["category"], ["draw", "purchase"]),
    "payment": (["amount_cents"], [], ["due", "repayment", "transfer_in", "transfer_out"]),
    "device": ([], ["device_id", "city"], ["login_failed"]),
}


def entities(workspace: Path) -> ft.EntitySet:
    """Accounts and their events, as featuretools holds them."""
    held = ft.EntitySet("portfolio")
    accounts = _read(workspace, "accounts", ["account_id"]).drop_duplicates()
    held.add_dataframe(accounts, "accounts", index="account_id")
    for source, (numbers, words, kinds) in SOURCES.items():
        rows = _read(workspace, source, ["account_id", "event_no", "event_time", "kind", *numbers, *words])
        rows = rows.drop_duplicates("event_no", keep="last")
        rows["event_time"] = rows["event_time"].dt.tz_localize(None)
        types = dict.fromkeys(["kind", *words], "Categorical")
        held.add_dataframe(rows, source, index="event_no", time_index="event_time", logical_types=types)
        held.add_relationship("accounts", "account_id", source, "account_id")
        held.add_interesting_values(dataframe_name=source, values={"kind": kinds})
    return held


def _read(workspace: Path, source: str, columns: list[str]) -> pd.DataFrame:
    paths = sorted((workspace / "events" / source).glob("*.parquet"))
    return pd.concat([pq.read_table(path, columns=columns).to_pandas() for path in paths], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("as_of", type=pd.Timestamp)
    given = parser.parse_args()
    begun = time.perf_counter()
    held = entities(given.workspace)
    tables = []
    for days in (30, 90):
        table, _ = ft.dfs(
            entityset=held,
            target_dataframe_name="accounts",
            cutoff_time=given.as_of,
            training_window=f"{days} days",
            agg_primitives=["count", "sum", "mean", "max", "num_unique"],
            where_primitives=["count", "sum"],
            trans_primitives=[],
            max_depth=1,
        )
        tables.append(table.add_suffix(f" {days}d"))
    found = pd.concat(tables, axis=1)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(found):,} lines, {found.shape[1]} columns, {seconds:.2f} s, {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
