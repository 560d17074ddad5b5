"""Small random event tables, dense enough that corners meet: ties, corrections, links, window edges, shared devices."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from limitlens.data.events import stored_schema

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNTS = ("A1", "A2", "A3", "A4")

Row = dict[str, Any]
Events = dict[str, list[Row]]

_KINDS = {
    "consumption": ("purchase", "purchase", "draw", "draw", "refund", "fee", "statement_balance"),
    "payment": ("due", "due", "repayment", "repayment", "transfer_in", "transfer_out", "transfer_out", "status"),
    "device": ("login", "login", "login_failed", "device_change", "password_change"),
}

_MICROSECOND = timedelta(microseconds=1)

#: Ages before the as-of time: the edges of windows and periods, of nights and weekends in Shanghai, and the future.
_EDGES = [timedelta(days=days) for days in (-30, -1, 0, 1, 2, 3, 7, 28, 30, 60, 90, 91, 92, 120, 180, 365, 400)]
_EDGES += [timedelta(hours=hours) for hours in (1, 2, 8, 32, 49, 152)]
_AGES = [age + shift for age in _EDGES for shift in (-_MICROSECOND, timedelta(0), _MICROSECOND)]
_LAGS = [timedelta(0), _MICROSECOND, timedelta(minutes=30), timedelta(days=1), timedelta(days=10)]

_CENTS = [0, 1, 99, 100, 12_345, 10**13]
_INSTALMENT_CENTS = {"due": [0, 1, 100, 100, 100, 200], "repayment": [0, 1, 100, 100, 200, 200, 300]}
_WORDS = [None, "x", "y", "z"]
#: Shanghai, a street away, Beijing, Sydney, two ends of the earth, and what is not fully known.
_PLACES = [(31_230_400, 121_473_700), (31_231_400, 121_473_700), (39_904_200, 116_407_400), (-33_868_800, 151_209_300)]
_PLACES += [(0, 0), (0, 180_000_000), (None, None), (31_230_400, None)]


def _content(random: Random, source: str) -> Row:
    kind = random.choice(_KINDS[source])
    cents = random.choice(_INSTALMENT_CENTS.get(kind, _CENTS))
    if source == "device":
        latitude, longitude = random.choice(_PLACES)
        place = {"latitude_udeg": latitude, "longitude_udeg": longitude}
        return {"kind": kind, "device_id": random.choice(_WORDS), "city": random.choice(_WORDS)} | place
    if source == "consumption":
        sign = random.choice([1, -1]) if kind == "statement_balance" else 1
        words = {"category": random.choice(_WORDS), "channel": random.choice(_WORDS)}
        return {"kind": kind, "amount_cents": sign * cents} | words
    return {
        "kind": kind,
        "amount_cents": cents,
        "instalment_id": random.choice([*_WORDS, "u", "v", "w"]),
        "dpd_days": random.choice([None, 0, 5, 95]) if kind == "status" else None,
        "counterparty": random.choice(_WORDS) if kind.startswith("transfer") else None,
    }


def _versions(random: Random, source: str, number: int, times: Sequence[datetime]) -> list[Row]:
    """One to three versions of an event of one account; the later ones move it, change it or withdraw it."""
    account = random.choice(ACCOUNTS)
    first = random.choice(times)
    delivered = {first + random.choice(_LAGS), *random.sample(times, random.choice([0, 0, 1, 2]))}
    return [
        {
            "event_id": f"{account}-{number}",
            "account_id": account,
            "event_time": random.choice([first, random.choice(times)]),
            "known_time": time,
            "delivered_known_time": time,
            "retracted": random.choice([None, None, None, None, False, True]),
        }
        | _content(random, source)
        for time in sorted(delivered)
    ]


@st.composite
def event_tables(draw: st.DrawFn) -> Events:
    """Rows of the three sources, accepted in any order; some came after a decision and are known from it on."""
    random = draw(st.randoms(use_true_random=True))
    size = draw(st.integers(10, 60))
    times = [AS_OF - age for age in random.sample(_AGES, random.randint(3, 12))]
    decided = random.choice([AS_OF - timedelta(days=40), AS_OF - _MICROSECOND, AS_OF])
    events = {}
    for source in _KINDS:
        rows = [row for number in range(size) for row in _versions(random, source, number, times)]
        random.shuffle(rows)
        events[source] = accepted(_stamped(row, decided) if random.random() < 0.1 else row for row in rows)
    return events


def _stamped(row: Row, decided: datetime) -> Row:
    return row | {"known_time": max(row["known_time"], decided)}


def accepted(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their acceptance, with the number of the event and whether they correct it."""
    numbers: dict[str, int] = {}
    found = []
    for row in rows:
        correction = row["event_id"] in numbers
        number = numbers.setdefault(row["event_id"], len(numbers) + 1)
        found.append({"event_no": number, "correction": correction} | row)
    return found


def to_arrow(events: Events, accounts: Iterable[str] = ACCOUNTS) -> dict[str, pa.Table]:
    """The relations a feature build reads, accounts included; rows without a number are accepted as they stand."""
    opened = datetime(2010, 1, 1, tzinfo=UTC)
    line = {"opened_at": opened, "known_time": opened, "delivered_known_time": opened, "limit_cents": 100_000}
    lines = [line | {"account_id": account, "segment": "salaried"} for account in accounts]
    tables = {source: pa.Table.from_pylist(accepted(rows), stored_schema(source)) for source, rows in events.items()}
    return tables | {"accounts": pa.Table.from_pylist(lines, stored_schema("accounts"))}
