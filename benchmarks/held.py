"""What faults of the feed do to decisions, with holds and without.

A simulated book is decided, a month goes by whose last ten days have a fault, and the book is decided again: from the
delivery as it is, and after ``limitlens check`` has judged it. Newly adverse are lines cut, frozen or closed that are
not on the clean events; spared are those it is the other way round for, held ones not counted. Example:

    python -m benchmarks.held --accounts 3000 --seeds 11 12
"""

import argparse
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.faults import Fault, apply_faults
from limitlens.data.storage import write_parquet
from limitlens.data.world import START, simulate
from limitlens.data.world.settings import default_world
from limitlens.limits.policy import ADVERSE
from limitlens.limits.policy_file import at_once
from limitlens.pipeline import Workspace, check, decide, default_policy, default_settings, promote, train
from limitlens.pipeline.release.promote import Override

MONTHS = 15
T0, T1 = add_months(START, MONTHS - 2), add_months(START, MONTHS - 1)
SINCE = T1 - timedelta(days=10)
SOURCES = ("accounts", "consumption", "payment", "device")

#: Accounts whose rows a fault strikes: a column of the accounts and its values; empty: all of them.
Where = tuple[str, tuple[str, ...]]

ALL: Where = ("", ())
SALARIED: Where = ("segment", ("salaried",))
TWO_CITIES: Where = ("home_city", ("city-01", "city-02"))
NINE_CITIES: Where = ("home_city", tuple(f"city-{k:02}" for k in range(1, 10)))

#: Faults of a slice by the name of its row; nine cities are three in ten.
SLICED = {
    "repayments of one segment missing": (Fault("missing_batch", "payment", kinds=("repayment",)), SALARIED),
    "repayments of two cities missing": (Fault("missing_batch", "payment", kinds=("repayment",)), TWO_CITIES),
    "repayments of nine cities missing": (Fault("missing_batch", "payment", kinds=("repayment",)), NINE_CITIES),
    "payments of one segment a hundredfold": (Fault("unit_x100", "payment", recall=0), SALARIED),
    "draws by app a hundredfold": (
        Fault("unit_x100", "consumption", kinds=("draw",), only=(("channel", "app"),), recall=0),
        ALL,
    ),
}

#: Faults of a whole source by the name of its row.
FAULTS = {
    "repayments missing": Fault("missing_batch", "payment", kinds=("repayment",)),
    "payment feed missing": Fault("missing_batch", "payment"),
    "consumption feed missing": Fault("missing_batch", "consumption"),
    "device feed missing": Fault("missing_batch", "device"),
    "repayments late": Fault("late_batch", "payment", kinds=("repayment",), repair_days=30),
    "repayments posted late": Fault("delayed_postings", "payment", kinds=("repayment",), repair_days=30),
    "draws a hundredfold": Fault("unit_x100", "consumption", kinds=("draw",), recall=0),
    "repayments a hundredfold": Fault("unit_x100", "payment", kinds=("repayment",), recall=0),
    "repayments with the other sign": Fault("sign_flip", "payment", kinds=("repayment",), recall=0),
    "repayments without amount": Fault("nulls", "payment", kinds=("repayment",), recall=0),
    "amounts 999999999": Fault("sentinel", "consumption", recall=0),
    "consumption twice, as new": Fault("duplicate_fresh_ids", "consumption", recall=0),
    "consumption twice, same ids": Fault("duplicate_same_ids", "consumption"),
    "consumption wrong by half": Fault("correction", "consumption", recall=0),
    "devices recoded": Fault("category_recoded", "device", column="device_id", recall=0),
    "cities recoded": Fault("category_recoded", "device", column="city", recall=0),
    "clock of draws shifted": Fault("shifted_clock", "consumption", recall=0),
    "repayments of three in ten accounts missing": Fault("missing_batch", "payment", kinds=("repayment",), share=0.3),
}


def quiet(_: str) -> None:
    """Progress nobody reads."""


@dataclass(frozen=True)
class Book:
    """A workspace decided at T0, and the tables of the month after."""

    base: Path
    month: dict[str, pa.Table]
    accounts: pa.Table

    @classmethod
    def made(cls, accounts: int, seed: int, folder: Path) -> "Book":
        """Simulate, train, decide; in a world whose feed has no batch that comes late or a hundredfold of its own."""
        shipped = default_world()
        calm = replace(shipped, faults=tuple(fault for fault in shipped.faults if not fault.before_months))
        simulate(folder / "world", accounts=accounts, months=MONTHS, seed=seed, world=calm, futures=0, progress=quiet)
        tables = {source: pq.read_table(folder / "world" / source) for source in SOURCES}
        for source, table in tables.items():
            write_parquet(_between(table, None, T0), folder / "before" / source / "rows.parquet")
        space = Workspace(folder / "base")
        check_events(folder / "before", space.events)
        train(space, replace(default_settings(), folds=2), at_once(default_policy()), developer="developer")
        promote(space, None, T1, override=Override("head of credit risk", "a benchmark"))
        decide(space, as_of=T0)
        month = {source: _between(table, T0, T1) for source, table in tables.items()}
        return cls(space.root, month, tables["accounts"])

    def decided(self, folder: Path, fault: Fault | None, where: Where, *, holds: bool) -> tuple[pd.DataFrame, int]:
        """Decisions at T1 on the month with a fault, and the number of holds that were opened."""
        shutil.copytree(self.base, folder / "work")
        space = Workspace(folder / "work")
        for source, table in self.month.items():
            struck = self._struck(fault, where, table) if fault and fault.source == source else table
            write_parquet(_between(struck, None, T1), folder / "month" / source / "rows.parquet")
        if holds:
            check(space, folder / "month", loaded_at=T1 + timedelta(hours=1), max_quarantined_share=1.0)
        else:
            check_events(folder / "month", space.events, decided_until=T0, max_quarantined_share=1.0)
        opened = len(space.ledger.holds())
        decide(space, as_of=T1)
        rows = space.ledger.query(f"SELECT account_id, action FROM decisions WHERE as_of = '{T1}'")
        shutil.rmtree(folder)
        return rows.set_index("account_id"), opened

    def _struck(self, fault: Fault, where: Where, table: pa.Table) -> pa.Table:
        column, values = where
        if not column:
            return apply_faults([fault], fault.source, table).table
        inside = self.accounts.filter(pc.is_in(self.accounts[column], pa.array(values)))["account_id"]
        hit = pc.is_in(table["account_id"], inside.combine_chunks())
        damaged = apply_faults([fault], fault.source, table.filter(hit)).table
        return pa.concat_tables([damaged, table.filter(pc.invert(hit))], promote_options="default")


def _between(table: pa.Table, since: datetime | None, until: datetime) -> pa.Table:
    table = table.filter(pc.less(table["known_time"], until))
    return table.filter(pc.greater_equal(table["known_time"], since)) if since else table


def harm(clean: pd.DataFrame, rows: pd.DataFrame) -> tuple[int, int, int]:
    """Lines newly adverse, spared, and held."""
    before, after = clean["action"].isin(list(ADVERSE)), rows["action"].isin(list(ADVERSE)).reindex(clean.index)
    held = (rows["action"] == "hold").reindex(clean.index)
    return int((after & ~before).sum()), int((before & ~after & ~held).sum()), int(held.sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    given = parser.parse_args()
    totals = pd.DataFrame()
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            book = Book.made(given.accounts, seed, folder)
            clean, _ = book.decided(folder / "clean", None, ALL, holds=False)
            whole = {what: (fault, ALL) for what, fault in FAULTS.items()}
            for what, (fault, where) in {"none": (None, ALL), **whole, **SLICED}.items():
                faulty = replace(fault, start=SINCE, end=T1, seed=seed) if fault else None
                without, _ = book.decided(folder / what / "without", faulty, where, holds=False)
                within, opened = book.decided(folder / what / "with", faulty, where, holds=True)
                row = [*harm(clean, without)[:2], *harm(clean, within), opened, len(clean)]
                totals = pd.concat([totals, pd.DataFrame([[what, *row]])])
                print(f"seed {seed}: {what}: {row}", flush=True)
    summed = totals.groupby(0, sort=False).sum()
    print("\n| fault | newly adverse | spared | with holds: newly adverse | spared | held | holds | lines |")
    print("|---|---|---|---|---|---|---|---|")
    for what, row in summed.iterrows():
        print(f"| {what} | {' | '.join(f'{count:,}' for count in row)} |")
    print(f"| all | {' | '.join(f'{count:,}' for count in summed.iloc[1:].sum())} |")


if __name__ == "__main__":
    main()
