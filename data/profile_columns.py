"""The columns of a profile: what is counted of a slice on a day."""

from collections.abc import Sequence

import pyarrow as pa

from limitlens.data.contracts import FEEDS, SOURCES

#: What a slice value says where the column is empty, and a kind that cannot be read.
NONE = "(none)"

#: A value is fresh on the day on which it is first seen, and for so many days in all.
FRESH_DAYS = 10

#: By what a figure is found: source, kind of row, one value of a slice column, UTC day of the known time as delivered.
KEYS = ("source", "kind", "slice_column", "slice_value", "day")

_EVENTS = [SOURCES[name] for name in FEEDS]
_IDS = ("event_id", "account_id", "kind", "instalment_id")


def _named(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


#: Columns whose nulls, whose values seen for the first time and whose commonest value are counted.
NULLS = _named([c.name for s in _EVENTS for c in s.columns if c.nullable and c.dtype != "boolean"])
FRESH = _named([c.name for s in _EVENTS for c in s.columns if c.dtype == "string" and c.name not in _IDS])
COMMON = ("counterparty", "device_id")

COUNTS = (
    "rows",
    "accounts",
    "quarantined",
    "versions",
    "repeats",
    *(f"null_{name}" for name in NULLS),
    *(f"fresh_{name}" for name in FRESH),
    *(f"common_{name}" for name in COMMON),
    "amounts",
    "log_amount",
    "log_amount_squared",
    "not_positive",
    "whole",
    "linked",
    "matched",
    "lag",
    "lag_squared",
    "late",
    "hour_cos",
    "hour_sin",
)

#: A profile as it is stored; ``commonest_*`` is the value of a kind and day that ``common_*`` counts.
PROFILE = pa.schema(
    [
        *((name, pa.string()) for name in KEYS[:-1]),
        ("day", pa.date32()),
        *((name, pa.int64()) for name in COUNTS),
        *((f"commonest_{name}", pa.string()) for name in COMMON),
    ]
)
