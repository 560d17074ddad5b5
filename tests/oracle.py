"""A slow, obvious second implementation of every feature: loops over dicts, no SQL, no pandas.

It shares with the product only the declarations, never the compiler.
"""

import math
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from limitlens.features.declarations import Aggregate, FeatureSet

Row = dict[str, Any]
DAY = timedelta(days=1)


def visible(rows: list[Row], account_id: str, known_by: datetime) -> list[Row]:
    """Latest version known of every event of the account that is not withdrawn."""
    versions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["account_id"] == account_id and row["known_time"] < known_by:
            versions[row["event_id"]].append(row)
    latest = [max(found, key=lambda r: (r["known_time"], r["delivered_known_time"])) for found in versions.values()]
    return [row for row in latest if not row.get("retracted")]


def enriched(
    source: str, rows: list[Row], account_id: str, as_of: datetime, known_by: datetime, zone: str
) -> list[Row]:
    """Visible rows before the as-of time with what their context says."""
    seen = visible(rows, account_id, known_by)
    found = [dict(row) for row in seen if row["event_time"] < as_of]
    found.sort(key=lambda r: (r["event_time"], r["event_id"]))
    for row in found:
        local = row["event_time"].astimezone(ZoneInfo(zone))
        row["night"], row["weekend"] = local.hour < 6, local.isoweekday() >= 6
    if source == "payment":
        _lateness(found, [row for row in seen if row["kind"] == "due"])
    if source == "device":
        _novelty(found)
    return found


def _instalment(due: Row) -> str:
    return str(due["instalment_id"] if due["instalment_id"] is not None else due["event_id"])


def _lateness(found: list[Row], dues: list[Row]) -> None:
    due_time: dict[str, datetime] = {}
    for due in dues:
        name = _instalment(due)
        due_time[name] = min(due_time.get(name, due["event_time"]), due["event_time"])
    for row in found:
        row["past_due"] = (row["dpd_days"] or 0) > 0
        linked = row["kind"] == "repayment" and row["instalment_id"] in due_time
        row["lateness_days"] = (row["event_time"] - due_time[row["instalment_id"]]) // DAY if linked else None
        row["late"] = linked and row["lateness_days"] > 0


def _novelty(found: list[Row]) -> None:
    devices: set[str] = set()
    cities: set[str] = set()
    previous = None
    for place, row in enumerate(found):
        device, city = row["device_id"], row["city"]
        row["new_device"] = place > 0 and device is not None and device not in devices
        row["new_city"] = place > 0 and city is not None and city not in cities
        row["new_device_and_city"] = row["new_device"] and row["new_city"]
        row["device_switch"] = device is not None and previous is not None and device != previous
        devices |= {device} - {None}
        cities |= {city} - {None}
        previous = device


def aggregate(declared: Aggregate, window: int, rows: list[Row], as_of: datetime) -> float | None:
    """One aggregate over enriched rows."""
    chosen = [
        row
        for row in rows
        if (not declared.kinds or row["kind"] in declared.kinds)
        and (not declared.only or row[declared.only])
        and (not window or row["event_time"] >= as_of - window * DAY)
    ]
    values = [row[declared.column] for row in chosen if row[declared.column] is not None] if declared.column else []
    if declared.how == "count":
        return len(chosen)
    if declared.how == "sum":
        return sum(values)
    if declared.how == "distinct":
        return len(set(values))
    if declared.how == "days_since_last":
        return (as_of - max(row["event_time"] for row in chosen)) / DAY if chosen else None
    if declared.how == "last":
        return _last(declared, rows)
    if not values:
        return None
    return {"mean": lambda v: sum(v) / len(v), "max": max, "min": min}[declared.how](values)


def _last(declared: Aggregate, rows: list[Row]) -> float | None:
    """Value of the very latest row of the kind, null if that row has none."""
    kind_rows = [row for row in rows if row["kind"] in declared.kinds]
    return kind_rows[-1][declared.column] if kind_rows else None


def arrears(rows: list[Row], account_id: str, as_of: datetime, known_by: datetime) -> tuple[int, int]:
    """Days past due and overdue cents, instalment by instalment."""
    seen = visible(rows, account_id, known_by)
    amount: dict[str, int] = defaultdict(int)
    due_at: dict[str, datetime] = {}
    for due in (row for row in seen if row["kind"] == "due"):
        name = _instalment(due)
        amount[name] += due["amount_cents"]
        due_at[name] = min(due_at.get(name, due["event_time"]), due["event_time"])
    paid: dict[str, int] = defaultdict(int)
    credit = 0
    for row in seen:
        if row["kind"] == "repayment" and row["event_time"] < as_of:
            name = row["instalment_id"]
            room = amount[name] - paid[name] if name in due_at else 0
            used = max(min(room, row["amount_cents"]), 0)
            if name in due_at:
                paid[name] += used
            credit += row["amount_cents"] - used
    oldest, overdue = None, 0
    for name in sorted((n for n in due_at if due_at[n] < as_of), key=lambda n: (due_at[n], n)):
        rest = amount[name] - paid[name]
        covered = min(rest, credit)
        credit -= covered
        if rest > covered:
            overdue += rest - covered
            oldest = oldest or due_at[name]
    days = (as_of - oldest) // DAY if oldest else 0
    statuses = [row for row in seen if row["kind"] == "status" and row["event_time"] < as_of]
    if statuses:
        last = max(statuses, key=lambda r: (r["event_time"], r["event_id"]))
        days = last["dpd_days"] if last["dpd_days"] is not None else days
    return days, overdue


def balance(consumption: list[Row], payment: list[Row]) -> int:
    """Latest delivered balance and what flowed since."""
    stated = [row for row in consumption if row["kind"] == "statement_balance"]
    total, since = (stated[-1]["amount_cents"], stated[-1]["event_time"]) if stated else (0, None)
    for row in consumption:
        if row["kind"] != "statement_balance" and (since is None or row["event_time"] > since):
            total += -row["amount_cents"] if row["kind"] == "refund" else row["amount_cents"]
    for row in payment:
        if row["kind"] == "repayment" and (since is None or row["event_time"] > since):
            total -= row["amount_cents"]
    return total


def features(
    declared: FeatureSet, events: dict[str, list[Row]], account_id: str, as_of: datetime, known_by: datetime
) -> dict[str, float | None]:
    """Every column of a feature set for one account."""
    rows = {
        source: enriched(source, events[source], account_id, as_of, known_by, declared.timezone)
        for source in ("consumption", "payment", "device")
    }
    days, overdue = arrears(events["payment"], account_id, as_of, known_by)
    positions = {
        "dpd_days": days,
        "past_due_cents": overdue,
        "balance_cents": balance(rows["consumption"], rows["payment"]),
    }
    found: dict[str, float | None] = {p.name: positions[p.name] for p in declared.positions}
    for a in declared.aggregates:
        for window in a.windows:
            found[a.column_name(window)] = aggregate(a, window, rows[a.source], as_of)
    for r in declared.ratios:
        top, bottom = found[r.numerator], found[r.denominator]
        found[r.name] = None if top is None or not bottom or math.isnan(bottom) else top / bottom
    return found
