"""A slow, obvious second implementation of every feature: loops over dicts, no SQL, no pandas.

It shares with the product only the declarations, and is written from their words.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import pstdev
from typing import Any
from zoneinfo import ZoneInfo

from limitlens.features.declarations import Aggregate, FeatureSet

Row = dict[str, Any]
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


# What is seen


def in_order(rows: list[Row]) -> list[Row]:
    """By time and, within one microsecond, by order of acceptance; rows without a number stand as they came."""
    return sorted(rows, key=lambda row: (row["event_time"], row.get("event_no", 0)))


def visible(rows: list[Row], known_by: datetime) -> list[Row]:
    """Of every event the latest version known, unless that withdraws it."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row["known_time"] < known_by:
            best = latest.get(row["event_id"], row)
            newer = (row["known_time"], row["delivered_known_time"]) >= (
                best["known_time"],
                best["delivered_known_time"],
            )
            latest[row["event_id"]] = row if newer else best
    return in_order([row for row in latest.values() if not row.get("retracted")])


@dataclass(frozen=True)
class Past:
    """What was known at a moment: the visible rows of every account by source, and the account that is asked about."""

    everybody: dict[str, list[Row]]
    account_id: str
    as_of: datetime
    zone: str = "UTC"

    def others(self, source: str) -> list[Row]:
        """Rows of all accounts before the as-of time."""
        return [dict(row) for row in self.everybody[source] if row["event_time"] < self.as_of]

    def own(self, source: str) -> list[Row]:
        """Rows of the account before the as-of time."""
        return [row for row in self.others(source) if row["account_id"] == self.account_id]

    def days(self, first: datetime) -> float:
        """Days from a time to the as-of time, with their fraction."""
        return (self.as_of - first) / DAY


# The rows that are counted


def consumption(past: Past) -> list[Row]:
    rows = past.own("consumption")
    for row in rows:
        local = row["event_time"].astimezone(ZoneInfo(past.zone))
        row["night"] = local.hour < 6
        row["weekend"] = local.strftime("%A") in ("Saturday", "Sunday")
    return rows


def flow(past: Past) -> list[Row]:
    rows = []
    for row in past.own("consumption"):
        if row["kind"] == "refund":
            rows.append(row | {"flow_cents": -row["amount_cents"]})
        elif row["kind"] != "statement_balance":
            rows.append(row | {"flow_cents": row["amount_cents"]})
    for row in past.own("payment"):
        if row["kind"] == "repayment":
            rows.append(row | {"flow_cents": -row["amount_cents"]})
    return in_order(rows)


def payment(past: Past) -> list[Row]:
    rows = past.own("payment")
    for row in rows:
        row["past_due"] = (row["dpd_days"] or 0) > 0
    return rows


def _instalments(past: Past) -> list[Row]:
    """Every instalment known, due or not yet, with what was paid for it; the oldest first."""
    found: dict[str, Row] = {}
    for row in past.everybody["payment"]:
        if row["account_id"] == past.account_id and row["kind"] == "due":
            name = row["event_id"] if row["instalment_id"] is None else row["instalment_id"]
            one = found.setdefault(name, {"name": name, "due_time": row["event_time"], "due_cents": 0})
            one["due_cents"] += row["amount_cents"]
            one |= {"linked_cents": 0, "settled_time": None}
    credit = 0
    for row in past.own("payment"):
        if row["kind"] == "repayment" and row["instalment_id"] in found:
            one = found[row["instalment_id"]]
            one["linked_cents"] += row["amount_cents"]
            if one["settled_time"] is None and one["linked_cents"] >= one["due_cents"]:
                one["settled_time"] = row["event_time"]
        elif row["kind"] == "repayment":
            credit += row["amount_cents"]
    credit += sum(max(one["linked_cents"] - one["due_cents"], 0) for one in found.values())
    credit += _stated_as_settled(past, found)
    ordered = sorted(found.values(), key=lambda one: (one["due_time"], one["name"]))
    for one in ordered:
        one["open_cents"] = 0
        if one["due_time"] < past.as_of and one["linked_cents"] < one["due_cents"]:
            rest = one["due_cents"] - one["linked_cents"]
            missing = rest - min(rest, credit)
            credit -= min(rest, credit)
            one["open_cents"] = missing if missing > 100 and missing / one["due_cents"] > 0.01 else 0
    return ordered


def _status(past: Past) -> Row | None:
    """The latest delivered status."""
    stated = [row for row in past.own("payment") if row["kind"] == "status" and row["dpd_days"] is not None]
    return stated[-1] if stated else None


def _stated_as_settled(past: Past, instalments: dict[str, Row]) -> int:
    """What had not been paid, when a status came, of instalments older than the days it states."""
    status = _status(past)
    if status is None:
        return 0
    paid = Counter[str]()
    for row in past.own("payment"):
        if row["kind"] == "repayment" and row["event_time"] <= status["event_time"]:
            paid[row["instalment_id"] if row["instalment_id"] in instalments else ""] += row["amount_cents"]
    spare, unpaid = paid[""], 0
    for name, one in instalments.items():
        spare += max(paid[name] - one["due_cents"], 0)
        if (status["event_time"] - one["due_time"]) // DAY > status["dpd_days"]:
            unpaid += max(one["due_cents"] - paid[name], 0)
    return max(unpaid - spare, 0)


def _stated_days(past: Past) -> int:
    """Days past due by the latest status: they go on until something is repaid."""
    status = _status(past)
    if status is None or status["dpd_days"] <= 0:
        return 0
    rows = past.own("payment")
    if not any(row["kind"] == "repayment" and row["event_time"] > status["event_time"] for row in rows):
        return int(status["dpd_days"] + (past.as_of - status["event_time"]) // DAY)
    return 0 if any(one["due_time"] <= status["event_time"] for one in _instalments(past)) else status["dpd_days"]


def instalment(past: Past) -> list[Row]:
    rows = []
    for one in _instalments(past):
        due, settled = one["due_time"], one["settled_time"]
        late = None if settled is None else (settled - due) // DAY
        kind = "missed" if one["open_cents"] else "late" if late is not None and late > 0 else "met"
        row = {"kind": kind, "amount_cents": one["due_cents"], "lateness_days": late, "name": one["name"]}
        row["event_time"] = due if settled is None else min(due, settled)
        row["days_late"] = (past.as_of - due) // DAY if kind == "missed" else late
        row["exact"] = settled is not None and one["linked_cents"] == one["due_cents"]
        if row["event_time"] < past.as_of:
            rows.append(row)
    return sorted(rows, key=lambda row: (row["event_time"], row["name"]))


def passed_on(past: Past) -> list[Row]:
    draws = [row["event_time"] for row in past.own("consumption") if row["kind"] == "draw"]
    rows = [row for row in past.own("payment") if row["kind"] == "transfer_out"]
    return [row for row in rows if any(time <= row["event_time"] < time + 2 * DAY for time in draws)]


def device(past: Past) -> list[Row]:
    rows = past.own("device")
    for row in rows:
        row["night"] = row["event_time"].astimezone(ZoneInfo(past.zone)).hour < 6
    return rows


def step(past: Past) -> list[Row]:
    events = past.own("device")
    rows = []
    for before, row in pairwise(events):
        elapsed = row["event_time"] - before["event_time"]
        if elapsed <= 90 * DAY:
            row["device_switch"] = _known_and_differ(before["device_id"], row["device_id"])
            row["city_change"] = _known_and_differ(before["city"], row["city"])
            distance = distance_km(before, row)
            row["speed_kmh"] = None if distance is None else distance / (max(elapsed, MINUTE) / HOUR)
            rows.append(dict(row))
    return rows


def _known_and_differ(first: str | None, second: str | None) -> bool:
    return first is not None and second is not None and first != second


def distance_km(first: Row, second: Row) -> float | None:
    """Great-circle distance, by the angle between two vectors."""
    udeg = [row[name] for row in (first, second) for name in ("latitude_udeg", "longitude_udeg")]
    if None in udeg:
        return None
    lat1, lon1, lat2, lon2 = (math.radians(value / 1e6) for value in udeg)
    east = math.cos(lat2) * math.sin(lon2 - lon1)
    north = math.cos(lat1) * math.sin(lat2) - math.sin(lat1) * math.cos(lat2) * math.cos(lon2 - lon1)
    along = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(lon2 - lon1)
    return 6371.0 * math.atan2(math.hypot(east, north), along)


def device_used(past: Past) -> list[Row]:
    rows = _last_uses(past.own("device"), "device_id")
    for row in rows:
        row["known_days"] = past.days(row["first_time"])
    return rows


def city_used(past: Past) -> list[Row]:
    return _last_uses(past.own("device"), "city")


def shared_device(past: Past) -> list[Row]:
    return _with_members(_last_uses(past.own("device"), "device_id"), past.others("device"), "device_id")


def shared_payee(past: Past) -> list[Row]:
    sent = [
        row
        for row in past.others("payment")
        if row["kind"] == "transfer_out" and row["event_time"] >= past.as_of - 90 * DAY
    ]
    own = [row for row in sent if row["account_id"] == past.account_id]
    return _with_members(_last_uses(own, "counterparty"), sent, "counterparty")


def _last_uses(events: list[Row], column: str) -> list[Row]:
    """One row for each value, at its last use; those of one microsecond by name."""
    rows = []
    for value in sorted({row[column] for row in events} - {None}):
        times = [row["event_time"] for row in events if row[column] == value]
        rows.append({column: value, "event_time": max(times), "first_time": min(times)})
    return sorted(rows, key=lambda row: row["event_time"])


def _with_members(rows: list[Row], everybody: list[Row], column: str) -> list[Row]:
    for row in rows:
        row["members"] = len({other["account_id"] for other in everybody if other[column] == row[column]})
    return rows


def new_city(past: Past) -> list[Row]:
    return _first_uses(past.own("device"), "city")


def new_device(past: Past) -> list[Row]:
    rows = _first_uses(past.own("device"), "device_id")
    moments = {row["event_time"] for row in new_city(past)}
    for row in rows:
        row["with_new_city"] = row["event_time"] in moments
    return rows


def _first_uses(events: list[Row], column: str) -> list[Row]:
    """One row for each value, when it was first seen, but for those of the very first moment."""
    known: set[str | None] = {None}
    rows = []
    for event in events:
        if event[column] not in known and event["event_time"] > events[0]["event_time"]:
            rows.append({column: event[column], "event_time": event["event_time"]})
        known.add(event[column])
    return rows


def shared_risk(past: Past) -> list[Row]:
    return past.own("shared_risk")


ROWS: dict[str, Callable[[Past], list[Row]]] = {
    found.__name__: found
    for found in (
        *(consumption, flow, payment, instalment, passed_on, shared_payee, device, step),
        *(device_used, city_used, new_device, new_city, shared_device, shared_risk),
    )
}


# The aggregations


def aggregate(declared: Aggregate, window: int, rows: list[Row], as_of: datetime) -> float | None:
    """One aggregate over rows that stand in order."""
    meant = [
        row
        for row in rows
        if (not declared.kinds or row["kind"] in declared.kinds) and (not declared.only or row[declared.only])
    ]
    chosen = _within(window, meant, as_of)
    if declared.per:
        return _over_periods(declared, window, chosen, as_of)
    if declared.how == "count":
        return len(chosen)
    if declared.how.startswith("days_since"):
        times = [row["event_time"] for row in chosen]
        moment = {"days_since_last": max, "days_since_first": min}[declared.how](times, default=None)
        return None if moment is None else (as_of - moment) / DAY
    values = _values(declared, chosen)
    if declared.how == "shift":
        return _shift(Counter(values), Counter(_values(declared, _within(180, meant, as_of))))
    return _of_values(declared.how, values)


def _within(window: int, rows: list[Row], as_of: datetime) -> list[Row]:
    return [row for row in rows if not window or row["event_time"] >= as_of - window * DAY]


def _values(declared: Aggregate, rows: list[Row]) -> list[Any]:
    return [row[declared.column] for row in rows if row[declared.column] is not None]


def _of_values(how: str, values: list[Any]) -> float | None:
    if how == "sum":
        return sum(values)
    if how == "distinct":
        return len(set(values))
    if not values:
        return None
    measure: dict[str, Callable[[list[Any]], float]] = {
        "mean": lambda found: sum(found) / len(found),
        "std": pstdev,
        "max": max,
        "min": min,
        "last": lambda found: found[-1],
        "entropy": _entropy,
    }
    return measure[how](values)


def _entropy(values: list[Any]) -> float:
    shares = [count / len(values) for count in Counter(values).values()]
    return round(-sum(share * math.log(share) for share in shares), 9)


def _shift(now: Counter[Any], usual: Counter[Any]) -> float | None:
    if not now:
        return None
    along = sum(now[value] * usual[value] for value in usual)
    return round(1 - along / math.hypot(*now.values()) / math.hypot(*usual.values()), 9)


def _over_periods(declared: Aggregate, window: int, rows: list[Row], as_of: datetime) -> float | None:
    """The periods of a window, the latest first, empty ones among them; null where no row is at all."""
    filled = []
    for start in range(0, window, declared.per):
        first, end = as_of - (start + declared.per) * DAY, as_of - start * DAY
        filled.append([row for row in rows if first <= row["event_time"] < end])
    if declared.how == "count":
        return sum(1 for period in filled if period)
    amounts = [sum(_values(declared, period)) if declared.column else len(period) for period in filled]
    return {"max": max, "std": pstdev}[declared.how](amounts) if rows else None


# Where the account stands


def arrears(rows: list[Row], account_id: str, as_of: datetime, known_by: datetime) -> tuple[int, int]:
    """Days past due and overdue cents: of instalments that are missed, or as the latest status says and on from it."""
    past = Past({"payment": visible(rows, known_by)}, account_id, as_of)
    missed = [one for one in _instalments(past) if one["open_cents"]]
    days = max(((as_of - one["due_time"]) // DAY for one in missed), default=0)
    return max(days, _stated_days(past)), sum(one["open_cents"] for one in missed)


def balance(past: Past) -> int:
    """What is owed: the latest delivered balance, and what flowed after it."""
    stated = [row for row in past.own("consumption") if row["kind"] == "statement_balance"]
    flows = [row for row in flow(past) if not stated or row["event_time"] > stated[-1]["event_time"]]
    return (stated[-1]["amount_cents"] if stated else 0) + sum(row["flow_cents"] for row in flows)


def balance_mean(past: Past) -> float:
    """The balance hour by hour, counted back over 90 days; a flow is there from the hour in which it happened."""
    flows = [row for row in flow(past) if row["event_time"] >= past.as_of - 90 * DAY]
    hours_since = [-((row["event_time"] - past.as_of) // HOUR) for row in flows]
    before = sum(row["flow_cents"] * (90 * 24 - hours) for row, hours in zip(flows, hours_since, strict=True))
    return balance(past) - before / (90 * 24)


def features(
    declared: FeatureSet, events: dict[str, list[Row]], account_id: str, as_of: datetime, known_by: datetime
) -> dict[str, float | None]:
    """Every column of a feature set for one account."""
    seen = {source: visible(rows, known_by) for source, rows in events.items()}
    past = Past(seen, account_id, as_of, declared.timezone)
    days, overdue = arrears(events["payment"], account_id, as_of, known_by)
    positions = {
        "dpd_days": days,
        "past_due_cents": overdue,
        "balance_cents": balance(past),
        "balance_mean_90d_cents": balance_mean(past),
    }
    rows = {name: ROWS[name](past) for name in {a.rows for a in declared.aggregates}}
    found: dict[str, float | None] = {p.name: positions[p.name] for p in declared.positions}
    for a in declared.aggregates:
        found |= {a.column_name(window): aggregate(a, window, rows[a.rows], as_of) for window in a.windows}
    for r in declared.ratios:
        top, bottom = found[r.numerator], found[r.denominator]
        found[r.name] = None if top is None or not bottom else top / bottom
    return found
