"""Small random event tables, dense enough that corners meet: ties, corrections, links, window edges."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from limitlens.data.events import stored_schema

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS = ("A1", "A2")

Events = dict[str, list[dict[str, Any]]]

#: Ages in hours before the as-of time; window edges, ties and the future among them.
_AGES = st.sampled_from([-48, -1, 0, 1, 5, 23, 24, 25, 47, 48, 49, 168, 169, 720, 721, 2160, 4320, 8760, 9000])
_LAGS = st.sampled_from([0, 1, 24, 240])
_CENTS = st.integers(0, 50_000)
_WORDS = st.sampled_from([None, "x", "y", "z"])

_KINDS = {
    "consumption": ("purchase", "draw", "refund", "fee", "statement_balance"),
    "payment": ("due", "repayment", "transfer_in", "transfer_out", "status"),
    "device": ("login", "device_change", "password_change"),
}


@st.composite
def _row(draw: st.DrawFn, source: str) -> dict[str, Any]:
    event_time = AS_OF - timedelta(hours=draw(_AGES))
    known_time = event_time + timedelta(hours=draw(_LAGS))
    kind = draw(st.sampled_from(_KINDS[source]))
    account = draw(st.sampled_from(ACCOUNTS))
    row = {
        "event_id": f"{account}-{draw(st.integers(0, 7))}",
        "account_id": account,
        "event_time": event_time,
        "known_time": known_time,
        "delivered_known_time": known_time,
        "kind": kind,
        "retracted": draw(st.sampled_from([None, None, None, False, True])),
    }
    if source == "device":
        return row | {"device_id": draw(_WORDS), "city": draw(_WORDS)}
    row["amount_cents"] = draw(_CENTS)
    if source == "consumption":
        return row | {"category": draw(_WORDS), "channel": draw(_WORDS)}
    dpd_days = draw(st.sampled_from([None, 0, 5, 95])) if kind == "status" else None
    return row | {"instalment_id": draw(_WORDS), "dpd_days": dpd_days}


@st.composite
def event_tables(draw: st.DrawFn) -> Events:
    """Rows of the three sources; no two versions of an event share a known time."""
    events = {}
    for source in _KINDS:
        rows = draw(st.lists(_row(source), max_size=14))
        events[source] = list({(r["event_id"], r["known_time"]): r for r in rows}.values())
    return events


def to_arrow(events: Events) -> dict[str, pa.Table]:
    """The relations a feature build reads, accounts included."""
    opened = AS_OF - timedelta(days=500)
    accounts = [
        {
            "account_id": account,
            "opened_at": opened,
            "known_time": opened - timedelta(hours=1),
            "delivered_known_time": opened - timedelta(hours=1),
            "limit_cents": 100_000,
            "segment": "salaried",
        }
        for account in ACCOUNTS
    ]
    tables = {source: pa.Table.from_pylist(rows, stored_schema(source)) for source, rows in events.items()}
    return tables | {"accounts": pa.Table.from_pylist(accounts, stored_schema("accounts"))}
