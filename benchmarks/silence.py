"""Late clients of the Taiwan set, delivered as twins that differ in the last month's feed: what silence does.

Late are those two months or more behind in the last month; good are clients never late who did not default. None of
them was trained on. Each stands in the book once a feed, with one history; the book is decided at the start of the last
month and at its end. Example:

    python -m benchmarks.silence ../shared/data/taiwan --late 2000 --good 400
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.limits.policy import ADVERSE
from limitlens.limits.policy_file import at_once
from limitlens.pipeline import Workspace, check, decide, default_policy, default_settings, promote, train
from limitlens.pipeline.release.promote import Override

LAST, END = datetime(2005, 9, 1, tzinfo=UTC), datetime(2005, 10, 1, tzinfo=UTC)
SOURCES = ("accounts", "consumption", "payment")


def _status(payment: pd.DataFrame) -> pd.Series:
    return (payment["kind"] == "status") & (payment["event_time"] >= pd.Timestamp(LAST))


#: What becomes of the payment rows of the last month, by feed.
FEEDS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "intact": lambda payment: payment,
    "status row absent": lambda payment: payment[~_status(payment)],
    "status null, quarantined": lambda payment: payment.assign(
        dpd_days=payment["dpd_days"].astype("Int64").mask(_status(payment))
    ),
    "status 0": lambda payment: payment.assign(dpd_days=payment["dpd_days"].astype("Int64").mask(_status(payment), 0)),
    "no payment row at all": lambda payment: payment[payment["event_time"] < pd.Timestamp(LAST)],
}


def chosen(tables: dict[str, pd.DataFrame], late: int, good: int, seed: int) -> tuple[pd.Index, pd.Index]:
    """Late and good clients, drawn at random."""
    payment = tables["payment"]
    statuses = payment[payment["kind"] == "status"]
    now = statuses[statuses["event_time"] >= pd.Timestamp(LAST)].set_index("account_id")["dpd_days"]
    ever = statuses.groupby("account_id")["dpd_days"].max()
    bad = tables["outcomes"].set_index("account_id")["bad"]
    rng = np.random.default_rng(seed)
    found = []
    for pool, count in ((now.index[now >= 60], late), (ever.index[(ever == 0) & ~bad.reindex(ever.index)], good)):
        found.append(pd.Index(rng.permutation(np.asarray(pool.sort_values()))[:count]))
    return found[0], found[1]


def write(tables: dict[str, pd.DataFrame], out: Path) -> None:
    """Deliver some tables."""
    for name, table in tables.items():
        (out / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), out / name / "rows.parquet")


def twins(tables: dict[str, pd.DataFrame], clients: pd.Index, feed: str) -> dict[str, pd.DataFrame]:
    """The rows of some clients under names of their own, as a feed delivers them."""
    found = {}
    for name in SOURCES:
        rows = tables[name][tables[name]["account_id"].isin(clients)]
        rows = FEEDS[feed](rows) if name == "payment" else rows
        mark = f"-{list(FEEDS).index(feed)}"
        marked = {"account_id": rows["account_id"] + mark}
        marked |= {"event_id": rows["event_id"] + mark} if "event_id" in rows else {}
        found[name] = rows.assign(**marked)
    return found


def decided(folder: Path, tables: dict[str, pd.DataFrame], clients: pd.Index, others: int) -> pd.DataFrame:
    """The decisions about all twins at the end of the last month."""
    rest = tables["accounts"].loc[~tables["accounts"]["account_id"].isin(clients), "account_id"].iloc[:others]
    write({name: table[table["account_id"].isin(rest)] for name, table in tables.items()}, folder / "others")
    space = Workspace(folder / "work")
    check_events(folder / "others", space.events)
    train(space, replace(default_settings(), folds=2), at_once(default_policy()), developer="developer")
    promote(space, None, END, override=Override("head of credit risk", "a benchmark"))
    every = [twins(tables, clients, feed) for feed in FEEDS]
    both = {name: pd.concat([one[name] for one in every]) for name in SOURCES}
    new = {name: table["known_time"] >= pd.Timestamp(LAST) for name, table in both.items()}
    write({name: table[~new[name]] for name, table in both.items()}, folder / "history")
    write({name: table[new[name]] for name, table in both.items()}, folder / "last")
    check_events(folder / "history", space.events)
    decide(space, as_of=LAST)
    check(space, folder / "last", max_quarantined_share=1.0)
    decide(space, as_of=END)
    rows = space.ledger.query(f"SELECT * FROM decisions WHERE as_of = '{END}'")
    mark = rows["account_id"].str.extract(r"^(?P<client>.+)-(?P<feed>\d)$")
    rows = rows.assign(client=mark["client"], feed=mark["feed"].map(dict(enumerate(FEEDS)).get, na_action="ignore"))
    rows["feed"] = mark["feed"].map(lambda place: list(FEEDS)[int(place)], na_action="ignore")
    return rows[rows["client"].isin(clients)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("taiwan", type=Path)
    parser.add_argument("--late", type=int, default=2_000)
    parser.add_argument("--good", type=int, default=400)
    parser.add_argument("--others", type=int, default=10_000, help="clients to learn from")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import_files(read_mapping("taiwan"), given.taiwan, folder / "events")
        names = (*SOURCES, "outcomes")
        tables = {source: pq.read_table(folder / "events" / source).to_pandas() for source in names}
        late, good = chosen(tables, given.late, given.good, given.seed)
        rows = decided(folder, tables, late.append(good), given.others)
    print("| clients | feed | mean PD | under a hold | raised | frozen or held | adverse | actions |")
    print("|---|---|---|---|---|---|---|---|")
    for who, clients in (("late", late), ("good", good)):
        for feed in FEEDS:
            some = rows[rows["client"].isin(clients) & (rows["feed"] == feed)]
            counts = some["action"].value_counts()
            told = ", ".join(f"{action} {count:,}" for action, count in counts.items())
            stays = some["action"].isin(["freeze", "close", "hold"]).mean()
            adverse = some["action"].isin(list(ADVERSE)).mean()
            cells = (
                f"{some['pd'].mean():.3f}",
                f"{some['holds'].notna().mean():.1%}",
                f"{counts.get('increase', 0):,}",
            )
            print(f"| {who} | {feed} | {' | '.join(cells)} | {stays:.1%} | {adverse:.1%} | {told} |")


if __name__ == "__main__":
    main()
