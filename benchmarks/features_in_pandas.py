"""The sixty features of `benchmarks.features` as a careful data scientist writes them in pandas.

Columns are chosen on reading, words are categories, accounts are numbers, each source is sorted out once, and each
window is cut from the next longer one; loops run over columns, never over rows.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd
import pyarrow.parquet as pq

_DAY = pd.Timedelta(days=1)
_VERSION = ["event_no", "known_time", "delivered_known_time", "correction", "retracted"]


def in_pandas(files: Mapping[str, Sequence[str]], as_of: datetime) -> pd.DataFrame:
    """Features of every account, indexed by account."""
    now = pd.Timestamp(as_of)
    names = pd.concat([pq.read_table(path, columns=["account_id"]).to_pandas() for path in files["accounts"]])
    accounts = pd.CategoricalDtype(names["account_id"].sort_values().unique())
    spent = _visible(files["consumption"], ["kind", "amount_cents", "category"], accounts, now)
    paid = _visible(files["payment"], ["kind", "amount_cents", "instalment_id", "event_id", "dpd_days"], accounts, now)
    used = _visible(files["device"], ["kind", "device_id", "city"], accounts, now)
    past = paid[paid["event_time"] < now]
    flows = {kind: past[past["kind"] == kind] for kind in ("due", "repayment", "transfer_in", "transfer_out")}
    parts = [
        _spending(spent[spent["event_time"] < now], now),
        _payment(flows, now),
        _instalments(paid[paid["kind"] == "due"], past, now),
        _devices(used[used["event_time"] < now], now),
    ]
    found = pd.concat(parts, axis=1).drop(columns=["repaid_cents", "spent_cents"])
    found["balance_cents"] = parts[0]["spent_cents"].sub(parts[1]["repaid_cents"], fill_value=0)
    counted = [name for name in found.columns if any(word in name for word in ("_count_", "_sum_", "_distinct_"))]
    zeros = [*counted, "balance_cents", "dpd_days", "past_due_cents"]
    found.index = pd.Index(accounts.categories[found.index], name="account_id")
    return found.fillna(dict.fromkeys(zeros, 0))


def _visible(
    paths: Sequence[str], columns: list[str], accounts: pd.CategoricalDtype, now: pd.Timestamp
) -> pd.DataFrame:
    read = ["account_id", "event_time", *_VERSION, *columns]
    words = [name for name in ("account_id", "kind", "category", "city") if name in read]
    tables = [pq.read_table(path, columns=read, read_dictionary=words) for path in paths]
    rows = pd.concat([table.to_pandas() for table in tables]) if len(tables) > 1 else tables[0].to_pandas()
    rows = rows[rows["known_time"] < now]
    rows = rows.assign(account_id=rows["account_id"].astype(accounts).cat.codes)
    corrected = rows["event_no"].isin(rows.loc[rows["correction"], "event_no"])
    latest = (
        rows[corrected].sort_values(["known_time", "delivered_known_time"]).drop_duplicates("event_no", keep="last")
    )
    rows = pd.concat([rows[~corrected], latest])
    return rows[rows["retracted"] != True]  # noqa: E712 - null is not withdrawn


def _windows(
    rows: pd.DataFrame, stem: str, how: Mapping[str, Sequence[int]], now: pd.Timestamp
) -> dict[str, pd.Series]:
    """Count, sum, mean or maximum of the amounts over several windows, the longest first."""
    found = {}
    for days in sorted({days for windows in how.values() for days in windows}, reverse=True):
        rows = rows[rows["event_time"] >= now - days * _DAY]
        amounts = rows.groupby("account_id", observed=True)["amount_cents"]
        for name, windows in how.items():
            if days in windows:
                found[f"{stem}_{name}_{days}d"] = amounts.agg(name)
    return found


def _days_since_last(rows: pd.DataFrame, now: pd.Timestamp) -> pd.Series:
    return (now - rows.groupby("account_id", observed=True)["event_time"].max()) / _DAY


def _spending(spent: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    draws, purchases = spent[spent["kind"] == "draw"], spent[spent["kind"] == "purchase"]
    windows = {"count": (1, 2, 7, 30, 90), "sum": (2, 7, 30, 90), "mean": (30, 90), "max": (30, 90)}
    found = _windows(draws, "draw", windows, now)
    found["draw_days_since_ever"] = _days_since_last(draws, now)
    found |= _windows(draws[draws["event_time"].dt.hour < 6], "night_draw", {"count": (30,)}, now)
    bought = {"count": (7, 30, 90), "sum": (7, 30, 90, 180), "max": (30,)}
    found |= _windows(purchases, "purchase", bought, now)
    for kind in ("refund", "fee"):
        found |= _windows(spent[spent["kind"] == kind], kind, {"sum": (90,)}, now)
    found |= _distinct(purchases, "category", "category_distinct", (30, 90), now)
    signed = spent["amount_cents"].where(spent["kind"] != "refund", -spent["amount_cents"])
    found["spent_cents"] = signed.groupby(spent["account_id"], observed=True).sum()
    return pd.DataFrame(found)


def _distinct(
    rows: pd.DataFrame, column: str, stem: str, windows: Sequence[int], now: pd.Timestamp
) -> dict[str, pd.Series]:
    rows = rows[rows["event_time"] >= now - max(windows) * _DAY]
    last = rows.groupby(["account_id", column], observed=True)["event_time"].max().reset_index(level=0)
    return {
        f"{stem}_{days}d": last[last["event_time"] >= now - days * _DAY].groupby("account_id", observed=True).size()
        for days in windows
    }


def _payment(flows: Mapping[str, pd.DataFrame], now: pd.Timestamp) -> pd.DataFrame:
    repayments = flows["repayment"]
    found = _windows(flows["due"], "due", {"count": (90,), "sum": (90,)}, now)
    found |= _windows(repayments, "repayment", {"count": (30, 90), "sum": (30, 90, 180)}, now)
    found |= _windows(flows["transfer_in"], "transfer_in", {"count": (30,), "sum": (30, 90)}, now)
    found |= _windows(flows["transfer_out"], "transfer_out", {"count": (2,), "sum": (2, 7, 30)}, now)
    found["repayment_days_since_ever"] = _days_since_last(repayments, now)
    found["repaid_cents"] = repayments.groupby("account_id", observed=True)["amount_cents"].sum()
    return pd.DataFrame(found)


def _instalments(dues: pd.DataFrame, past: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    dues = dues.assign(instalment=dues["instalment_id"].fillna(dues["event_id"]))
    keys = ["account_id", "instalment"]
    owed = dues.groupby(keys, observed=True, as_index=False).agg(
        due_time=("event_time", "min"), due=("amount_cents", "sum")
    )
    repaid = past[past["kind"] == "repayment"].rename(columns={"instalment_id": "instalment"})
    linked = repaid.dropna(subset=["instalment"])
    linked = linked.merge(owed[keys], on=keys).sort_values("event_time", kind="stable")
    linked = linked.merge(owed, on=keys)
    linked["so_far"] = linked.groupby(keys, observed=True)["amount_cents"].cumsum()
    paid = linked.groupby(keys, observed=True, as_index=False).agg(paid=("amount_cents", "sum"))
    reached = linked[linked["so_far"] >= linked["due"]].groupby(keys, observed=True, as_index=False)
    states = owed.merge(paid, on=keys, how="left").fillna({"paid": 0})
    states = states.merge(reached.agg(settled_time=("event_time", "min")), on=keys, how="left")
    surplus = (states["paid"] - states["due"]).clip(lower=0).groupby(states["account_id"], observed=True).sum()
    total = repaid.groupby("account_id", observed=True)["amount_cents"].sum()
    credit = total.sub(linked.groupby("account_id", observed=True)["amount_cents"].sum(), fill_value=0)
    credit = credit.add(surplus, fill_value=0)
    states = states.sort_values(["account_id", "due_time", "instalment"])
    gap = (states["due"] - states["paid"]).where((states["due_time"] < now) & (states["paid"] < states["due"]), 0)
    owed_so_far = gap.groupby(states["account_id"], observed=True).cumsum()
    past_due = owed_so_far - states["account_id"].map(credit).fillna(0)
    states["open"] = (gap > 0) & (past_due > 0)
    missed = states[states["open"]].assign(past_due=past_due).groupby("account_id", observed=True)
    status = past[(past["kind"] == "status") & past["dpd_days"].notna()].sort_values(["event_time", "event_no"])
    delivered = status.groupby("account_id", observed=True)["dpd_days"].last()
    found = {"past_due_cents": missed["past_due"].max()}
    found["dpd_days"] = delivered.combine_first((now - missed["due_time"].min()) // _DAY)
    return pd.DataFrame(found | _delays(states, now))


def _delays(states: pd.DataFrame, now: pd.Timestamp) -> dict[str, pd.Series]:
    late = (states["settled_time"] - states["due_time"]) // _DAY
    placed = states[["due_time", "settled_time"]].min(axis=1)
    rows = states.assign(late=late.where(states["settled_time"].notna()), placed=placed)
    rows = rows[(placed < now) & (placed >= now - 180 * _DAY)]
    late_ones = rows[~rows["open"] & (rows["late"] > 0)]
    met = rows[~rows["open"] & ~(rows["late"] > 0)]
    lateness = rows.groupby("account_id", observed=True)["late"]
    recent = late_ones[late_ones["placed"] >= now - 90 * _DAY]
    return {
        "late_count_90d": recent.groupby("account_id", observed=True).size(),
        "late_count_180d": late_ones.groupby("account_id", observed=True).size(),
        "met_count_180d": met.groupby("account_id", observed=True).size(),
        "lateness_mean_180d": lateness.mean(),
        "lateness_max_180d": lateness.max(),
    }


def _devices(used: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    month = used[used["event_time"] >= now - 30 * _DAY]
    week = month[month["event_time"] >= now - 7 * _DAY]
    failed = month[month["kind"] == "login_failed"]
    found = {
        "device_event_count_7d": week.groupby("account_id", observed=True).size(),
        "device_event_count_30d": month.groupby("account_id", observed=True).size(),
        "failed_login_count_30d": failed.groupby("account_id", observed=True).size(),
    }
    found |= _distinct(used, "device_id", "device_distinct", (7, 30, 90), now)
    found |= _distinct(used, "city", "city_distinct", (30,), now)
    first = used.groupby(["account_id", "device_id"], observed=True)["event_time"].min().reset_index(level=1, drop=True)
    begun = used.groupby("account_id", observed=True)["event_time"].min()
    new = first[(first >= now - 30 * _DAY) & (first > begun.reindex(first.index).to_numpy())]
    found["new_device_count_30d"] = new.groupby(level=0, observed=True).size()
    recent = used[used["event_time"] >= now - 120 * _DAY].sort_values(["account_id", "event_time", "event_no"])
    same = recent["account_id"] == recent["account_id"].shift()
    near = recent["event_time"] - recent["event_time"].shift() <= 90 * _DAY
    known = recent["device_id"].notna() & recent["device_id"].shift().notna()
    switches = recent[same & near & known & (recent["device_id"] != recent["device_id"].shift())]
    for days in (7, 30):
        inside = switches[switches["event_time"] >= now - days * _DAY]
        found[f"device_switch_count_{days}d"] = inside.groupby("account_id", observed=True).size()
    return pd.DataFrame(found)
