"""Events by hand, and the feature table or one value of it from them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.features.table import build_table
from tests import oracle
from tests.strategies import ACCOUNTS, AS_OF, Events, Row, accepted, to_arrow

SHANGHAI = replace(CATALOGUE, timezone="Asia/Shanghai")
EARLIER, LATER = AS_OF - timedelta(days=30), AS_OF + timedelta(days=5)
MOMENTS = ((AS_OF, AS_OF), (AS_OF, LATER), (EARLIER, AS_OF), (EARLIER, EARLIER))
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def spine(*moments: tuple[datetime, datetime], accounts: Sequence[str] = ACCOUNTS) -> pd.DataFrame:
    """Several moments are built by the columns of the spine, a single one by literal times."""
    rows = [(account, as_of, known_by) for as_of, known_by in moments for account in accounts]
    frame = pd.DataFrame(rows, columns=["account_id", "as_of", "known_by"])
    return frame.astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})


# Against the oracle


def assert_equals_oracle(declared: FeatureSet, points: pd.DataFrame, events: Events) -> None:
    assert_is_oracles(build_table(declared, points, to_arrow(events)), declared, events)


def assert_is_oracles(table: pd.DataFrame, declared: FeatureSet, events: Events) -> None:
    differences = []
    for row in table.to_dict("records"):
        times = row["as_of"].to_pydatetime(), row["known_by"].to_pydatetime()
        for name, value in oracle.features(declared, events, row["account_id"], *times).items():
            if not same(row[name], value):
                differences.append(f"{row['account_id']} {name}: {row[name]}, oracle {value}")
    assert not differences, "\n".join(differences)


def same(got: Any, expected: float | None) -> bool:
    """Whole numbers to the last digit, the rest to nine decimals."""
    if pd.isna(got) or expected is None:
        return pd.isna(got) and expected is None
    return got == (expected if isinstance(expected, int) else pytest.approx(expected, rel=1e-9, abs=2e-9))


def at(table: pd.DataFrame, *moments: tuple[datetime, datetime], accounts: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of some moments and, if they are named, of some accounts."""
    times = zip(table["as_of"], table["known_by"], strict=True)
    chosen = table[[(as_of, known_by) in moments for as_of, known_by in times]]
    return chosen[chosen["account_id"].isin(accounts or chosen["account_id"])].reset_index(drop=True)


# By hand: what a row is


def event(source: str, kind: str, age: float | timedelta, **fields: Any) -> Row:
    """A row so many days before the as-of time, known at once."""
    time = AS_OF - (age if isinstance(age, timedelta) else timedelta(days=age))
    base = {"source": source, "account_id": "A1", "event_time": time, "kind": kind}
    optional = dict.fromkeys(("instalment_id", "dpd_days", "counterparty", "category", "channel", "device_id", "city"))
    row = {**base, **optional, "latitude_udeg": None, "longitude_udeg": None, "amount_cents": 100, "known_time": time}
    return {"delivered_known_time": fields.get("known_time", time), "retracted": None} | row | fields


def draw(age: float | timedelta, cents: int = 100, **fields: Any) -> Row:
    return event("consumption", "draw", age, amount_cents=cents, **fields)


def buy(age: float | timedelta, category: str | None = None, **fields: Any) -> Row:
    return event("consumption", "purchase", age, category=category, **fields)


def due(age: float | timedelta, cents: int = 100_00, name: str | None = "x") -> Row:
    """Known a hundred days ahead, as dues are."""
    known = AS_OF - timedelta(days=100) - (age if isinstance(age, timedelta) else timedelta(days=age))
    return event("payment", "due", age, amount_cents=cents, instalment_id=name, known_time=known)


def repay(age: float | timedelta, cents: int = 100_00, name: str | None = "x") -> Row:
    return event("payment", "repayment", age, amount_cents=cents, instalment_id=name)


def send(age: float | timedelta, party: str | None = None, account: str = "A1", **fields: Any) -> Row:
    return event("payment", "transfer_out", age, counterparty=party, account_id=account, **fields)


def login(age: float | timedelta, device: str | None = None, city: str | None = None, **fields: Any) -> Row:
    return event("device", "login", age, device_id=device, city=city, **fields)


def events_of(*rows: Row) -> Events:
    """Rows by source, accepted in the order given; each an event of its own unless it names one."""
    events: Events = {"consumption": [], "payment": [], "device": [], "shared_risk": []}
    for number, row in enumerate(rows):
        events[row["source"]].append({"event_id": f"e{number}"} | row)
    return {source: accepted(found) for source, found in events.items()}


def values(declared: FeatureSet, *rows: Row, as_of: datetime = AS_OF, later: timedelta = 0 * DAY) -> list[float | None]:
    """Every column of account A1, in order."""
    points = spine((as_of, as_of + later), accounts=["A1"])
    table = build_table(declared, points, to_arrow(events_of(*rows)))
    return [None if pd.isna(table[name].item()) else table[name].item() for name in declared.columns]


def value(declared: Aggregate, *rows: Row, as_of: datetime = AS_OF, later: timedelta = 0 * DAY) -> float | None:
    """The first column of an aggregate for account A1."""
    return values(FeatureSet((replace(declared, windows=declared.windows[:1]),)), *rows, as_of=as_of, later=later)[0]


DRAWS = Aggregate("draws", "consumption", "count", (30,), ("draw",))
DRAWN = Aggregate("drawn", "consumption", "sum", (30,), ("draw",), "amount_cents")


def status(age: float | timedelta, days: int | None) -> Row:
    return event("payment", "status", age, dpd_days=days)
