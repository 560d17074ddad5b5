"""Are faults of a feed found, and is a clean one left alone: `python -m benchmarks.incidents [--seeds 4 5 6 7 8]`.

Simulated worlds with delays and corrections, but no batch of faults, and with causes at other rates than shipped.
Found: everything but the last ten days is taken in, then those ten days, with one fault in all of a source or in one
slice of it, at full strength. Found is what holds, and a delivery that the contract refuses; rows that come again
under their ids change no feature, so that a warning is enough for them. Clean: the last sixty days without
a fault, judged day by day and as batches of ten days, each by the days before it.
"""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import DAY, add_months
from limitlens.data.check import check_events
from limitlens.data.contracts import FEEDS
from limitlens.data.errors import InputError
from limitlens.data.events import EventStore
from limitlens.data.fault_operators import FAULTS
from limitlens.data.faults import Fault, apply_fault
from limitlens.data.incident import Incident
from limitlens.data.incidents import judged, profiles_of
from limitlens.data.quality_settings import default_quality
from limitlens.data.storage import write_parquet
from limitlens.data.unusual import LEAST_ROWS
from limitlens.data.world import simulate
from limitlens.data.world.settings import WorldSettings, default_world
from limitlens.data.world.simulation import START

ACCOUNTS, MONTHS, FAULT_DAYS, CLEAN_DAYS = 3_500, 12, 10, 60
END = add_months(START, MONTHS)

#: Rows that a fault strikes, by source: which kinds.
STRUCK: dict[str, tuple[tuple[str, ...], ...]] = {
    "consumption": ((), ("draw",)),
    "payment": (("repayment",), ("transfer_in",)),
    "device": ((),),
}


@dataclass(frozen=True)
class Scope:
    """A source, or a slice of it: of the event, or of the line."""

    name: str
    column: str = ""
    value: str = ""


#: Faults that change no feature: a warning tells of them.
HARMLESS = frozenset({"duplicate_same_ids"})

#: What is struck at a time; a city and a segment are those of the line, but for device.
SCOPES: dict[str, tuple[Scope, ...]] = {
    "consumption": (
        Scope("source"),
        Scope("channel", "channel", "app"),
        Scope("city", "home_city", "city-01"),
        Scope("segment", "segment", "self_employed"),
    ),
    "payment": (
        Scope("source"),
        Scope("city", "home_city", "city-01"),
        Scope("segment", "segment", "self_employed"),
    ),
    "device": (
        Scope("source"),
        Scope("city", "city", "city-01"),
        Scope("segment", "segment", "self_employed"),
    ),
}


def world(seed: int) -> WorldSettings:
    """The shipped world without its batches of faults, its causes rarer or more frequent."""
    shipped = default_world()
    causes = {
        name: replace(cause, rate=cause.rate * (0.6 + 0.3 * (seed % 4))) for name, cause in shipped.causes.items()
    }
    return replace(shipped, causes=causes, faults=tuple(one for one in shipped.faults if not one.before_months))


@dataclass(frozen=True)
class Portfolio:
    """A world taken in until ten days before its end, and those ten days."""

    folder: Path
    last: dict[str, pa.Table]
    accounts: pa.Table

    @classmethod
    def made(cls, seed: int, folder: Path) -> "Portfolio":
        """Simulate it, part it and take in the first part."""
        simulate(folder / "all", accounts=ACCOUNTS, months=MONTHS, seed=seed, world=world(seed), futures=0)
        accounts = pq.read_table(folder / "all" / "accounts")
        write_parquet(accounts, folder / "before" / "accounts" / "accounts.parquet")
        last = {}
        for source in FEEDS:
            table, begin = pq.read_table(folder / "all" / source), pa.scalar(END - FAULT_DAYS * DAY)
            early = pc.less(table["known_time"], begin)
            write_parquet(table.filter(early), folder / "before" / source / "rows.parquet")
            last[source] = table.filter(pc.invert(early))
        check_events(folder / "before", EventStore(folder / "work"))
        return cls(folder, last, accounts)

    def delivered(self, source: str, table: pa.Table) -> list[Incident] | None:
        """The incidents of one source in the last days, its rows replaced; None: the delivery was refused."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            folder = Path(place)
            shutil.copytree(self.folder / "work", folder / "work")
            write_parquet(self.accounts, folder / "in" / "accounts" / "accounts.parquet")
            for name, rows in (self.last | {source: table}).items():
                write_parquet(rows, folder / "in" / name / "rows.parquet")
            store = EventStore(folder / "work")
            try:
                check_events(folder / "in", store)
            except InputError:
                return None
            settings = default_quality().judging
            profiles = profiles_of(store, settings, END)
            return judged(profiles[profiles["source"] == source], store, settings, END - FAULT_DAYS * DAY, END)


def struck(portfolio: Portfolio, fault: Fault, scope: Scope) -> tuple[pa.Table, int]:
    """The last days of a source with a fault in a slice, as far as they have come by the end, and the rows touched."""
    table = portfolio.last[fault.source]
    if scope.column in portfolio.accounts.column_names:
        inside = portfolio.accounts.filter(pc.equal(portfolio.accounts[scope.column], scope.value))["account_id"]
        hit = pc.is_in(table["account_id"], inside.combine_chunks())
        found = apply_fault(fault, table.filter(hit))
        made = pa.concat_tables([found.table, table.filter(pc.invert(hit))], promote_options="default")
    else:
        only = ((scope.column, scope.value),) if scope.column else ()
        found = apply_fault(replace(fault, only=only), table)
        made = found.table
    return made.filter(pc.less(made["known_time"], pa.scalar(END))), len(found.touched)


def cases() -> Iterator[tuple[str, Fault, Scope]]:
    """Every operator in every source that it can strike, in all of it and in slices."""
    for name in FAULTS:
        for source, several in STRUCK.items():
            for kinds in several:
                for scope in SCOPES[source]:
                    if _has_something(name, source, kinds):
                        yield name, Fault(name, source, kinds=kinds, start=END - FAULT_DAYS * DAY, end=END), scope


def _has_something(name: str, source: str, kinds: tuple[str, ...]) -> bool:
    """Whether the operator has something to change there."""
    if name == "category_recoded":
        return kinds not in (("draw",), ("repayment",))
    return source != "device" or name not in ("unit_x100", "sign_flip", "correction")


def detection(seed: int, portfolio: Portfolio) -> pd.DataFrame:
    """A row a case: found or not, and as what."""
    rows = []
    for name, fault, scope in cases():
        table, touched = struck(portfolio, fault, scope)
        found = portfolio.delivered(fault.source, table)
        held = [one for one in found or () if one.state == "hold"]
        rows.append(
            {
                "seed": seed,
                "fault": name,
                "where": f"{fault.source} {' '.join(fault.kinds)}".strip(),
                "scope": scope.name,
                "found": found is None or bool(found if name in HARMLESS else held),
                "as": "refused" if found is None else "; ".join(_short(one) for one in (held or found)[:3]),
                "rows": touched,
                "incidents": len(found or ()),
            }
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def _short(one: Incident) -> str:
    where = " ".join(word for word in (one.source, one.kind, one.slice_column, one.slice_value) if word)
    return f"{one.state} {where}: {one.figure} {one.observed:.3g} for {one.expected:.3g}"


def false_holds(portfolio: Portfolio) -> list[tuple[str, Incident]]:
    """Holds on the clean days: day by day, each new one once, and as batches."""
    with tempfile.TemporaryDirectory(dir=portfolio.folder) as name:
        store = EventStore(Path(name) / "work")
        check_events(portfolio.folder / "all", store)
        settings = default_quality().judging
        profiles = profiles_of(store, settings, END)
        found: list[tuple[str, Incident]] = []
        for way, days in (("daily", 1), ("ten days", FAULT_DAYS)):
            for first in _starts(days):
                for one in judged(profiles, store, settings, first, first + days * DAY):
                    again = any(w == way and o.scope == one.scope and one.since <= o.until for w, o in found)
                    if one.state == "hold" and not again:
                        found.append((way, one))
        return found


def _starts(days: int) -> list[datetime]:
    return [END - DAY * back for back in range(CLEAN_DAYS, 0, -days)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6, 7, 8])
    parser.add_argument("--only", choices=["found", "clean"])
    chosen = parser.parse_args(arguments)
    found, false = [], []
    for seed in chosen.seeds:
        with tempfile.TemporaryDirectory() as name:
            portfolio = Portfolio.made(seed, Path(name))
            if chosen.only != "clean":
                found.append(detection(seed, portfolio))
            if chosen.only != "found":
                false += [(seed, way, one) for way, one in false_holds(portfolio)]
    if found:
        everything = pd.concat(found)
        table = everything[everything["rows"] >= LEAST_ROWS]
        print(f"{len(table)} runs; {len(everything) - len(table)} more touched fewer than {LEAST_ROWS} rows")
        print(table.pivot_table(index="fault", columns="scope", values="found", aggfunc="mean", margins=True).round(3))
        for row in table[~table["found"]].to_dict("records"):
            print("not found:", row["seed"], row["fault"], row["where"], row["scope"], row["rows"], "rows;", row["as"])
    if chosen.only != "found":
        counted = Counter((seed, way, one.source) for seed, way, one in false)
        print(f"false holds in {CLEAN_DAYS} clean days, by world, way and source: {dict(counted)}")
        for seed, way, one in false:
            print("false:", seed, way, _short(one))


if __name__ == "__main__":
    main()
