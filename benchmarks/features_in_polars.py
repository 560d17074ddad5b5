"""The sixty features of `benchmarks.features` in lazy Polars: files are scanned, every window is a filter."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import polars as pl

_KEYS = ["account_id", "instalment"]
_AMOUNT = pl.col("amount_cents")


def in_polars(files: Mapping[str, Sequence[str]], as_of: datetime) -> pl.DataFrame:
    """Features of every account with an event."""
    past = pl.col("event_time") < as_of
    paid = _visible(files["payment"], as_of)
    parts = [
        _spending(_visible(files["consumption"], as_of).filter(past), as_of),
        _payment(paid.filter(past), as_of),
        _delays(paid, as_of),
        _devices(_visible(files["device"], as_of).filter(past), as_of),
    ]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined.join(part, on="account_id", how="full", coalesce=True)
    zeros = pl.col(r"^.*(_count|_sum|_distinct)_\d+d$", "past_due_cents", "dpd_days", "spent_cents", "repaid_cents")
    balance = (pl.col("spent_cents") - pl.col("repaid_cents")).alias("balance_cents")
    delivered = pl.coalesce("delivered_dpd_days", "dpd_days").alias("dpd_days")
    joined = joined.with_columns(delivered)
    return joined.with_columns(zeros.fill_null(0)).with_columns(balance).collect(engine="streaming")


def _visible(paths: Sequence[str], as_of: datetime) -> pl.LazyFrame:
    rows = pl.scan_parquet(list(paths))
    fixed = rows.filter("correction").select("event_no").unique()
    known = rows.filter(pl.col("known_time") < as_of)
    latest = known.join(fixed, on="event_no", how="semi").sort("known_time", "delivered_known_time")
    latest = latest.unique("event_no", keep="last", maintain_order=True)
    return pl.concat([known.join(fixed, on="event_no", how="anti"), latest]).filter(
        ~pl.col("retracted").fill_null(False)
    )


def _since(as_of: datetime, days: int) -> pl.Expr:
    return pl.col("event_time") >= as_of - timedelta(days=days)


def _count(stem: str, rows: pl.Expr, as_of: datetime, *windows: int) -> list[pl.Expr]:
    return [(rows & _since(as_of, days)).sum().cast(pl.Int64).alias(f"{stem}_count_{days}d") for days in windows]


def _sum(stem: str, rows: pl.Expr, as_of: datetime, *windows: int) -> list[pl.Expr]:
    return [_AMOUNT.filter(rows & _since(as_of, days)).sum().alias(f"{stem}_sum_{days}d") for days in windows]


def _days_since(time: pl.Expr, as_of: datetime) -> pl.Expr:
    return (pl.lit(as_of) - time).dt.total_microseconds() / 86_400e6


def _spending(spent: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    kind = pl.col("kind")
    draw, purchase = kind == "draw", kind == "purchase"
    night = draw & (pl.col("event_time").dt.hour() < 6)
    draw_amounts = [(_AMOUNT.filter(draw & _since(as_of, days)), days) for days in (30, 90)]
    category = pl.col("category")
    plain = spent.group_by("account_id").agg(
        *_count("draw", draw, as_of, 1, 2, 7, 30, 90),
        *_sum("draw", draw, as_of, 2, 7, 30, 90),
        *(amounts.mean().alias(f"draw_mean_{days}d") for amounts, days in draw_amounts),
        *(amounts.max().alias(f"draw_max_{days}d") for amounts, days in draw_amounts),
        _days_since(pl.col("event_time").filter(draw).max(), as_of).alias("draw_days_since_ever"),
        *_count("night_draw", night, as_of, 30),
        *_count("purchase", purchase, as_of, 7, 30, 90),
        *_sum("purchase", purchase, as_of, 7, 30, 90, 180),
        _AMOUNT.filter(purchase & _since(as_of, 30)).max().alias("purchase_max_30d"),
        *_sum("refund", kind == "refund", as_of, 90),
        *_sum("fee", kind == "fee", as_of, 90),
        pl.when(kind == "refund").then(-_AMOUNT).otherwise(_AMOUNT).sum().alias("spent_cents"),
    )
    breadth = spent.filter(purchase & category.is_not_null() & _since(as_of, 90))
    return plain.join(_distinct(breadth, "category", as_of, 30, 90), on="account_id", how="left")


def _distinct(rows: pl.LazyFrame, column: str, as_of: datetime, *windows: int) -> pl.LazyFrame:
    last = rows.group_by("account_id", column).agg(pl.col("event_time").max())
    stem = column.removesuffix("_id")
    counts = [_since(as_of, days).sum().cast(pl.Int64).alias(f"{stem}_distinct_{days}d") for days in windows]
    return last.group_by("account_id").agg(counts)


def _payment(past: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    kind = pl.col("kind")
    repayment, sent, came = kind == "repayment", kind == "transfer_out", kind == "transfer_in"
    stated = (kind == "status") & pl.col("dpd_days").is_not_null()
    latest = pl.struct("event_time", "event_no").filter(stated)
    return past.group_by("account_id").agg(
        *_count("due", kind == "due", as_of, 90),
        *_sum("due", kind == "due", as_of, 90),
        *_count("repayment", repayment, as_of, 30, 90),
        *_sum("repayment", repayment, as_of, 30, 90, 180),
        _days_since(pl.col("event_time").filter(repayment).max(), as_of).alias("repayment_days_since_ever"),
        _AMOUNT.filter(repayment).sum().alias("repaid_cents"),
        *_count("transfer_in", came, as_of, 30),
        *_sum("transfer_in", came, as_of, 30, 90),
        *_count("transfer_out", sent, as_of, 2),
        *_sum("transfer_out", sent, as_of, 2, 7, 30),
        pl.col("dpd_days").filter(stated).get(latest.arg_max(), null_on_oob=True).alias("delivered_dpd_days"),
    )


def _delays(paid: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    due = paid.filter(pl.col("kind") == "due").with_columns(instalment=pl.coalesce("instalment_id", "event_id"))
    owed = due.group_by(_KEYS).agg(due_time=pl.col("event_time").min(), due=_AMOUNT.sum())
    repaid = paid.filter((pl.col("kind") == "repayment") & (pl.col("event_time") < as_of))
    repaid = repaid.rename({"instalment_id": "instalment"})
    so_far = _AMOUNT.cum_sum().over(_KEYS, order_by=("event_time", "event_no"))
    linked = repaid.join(owed, on=_KEYS).with_columns(so_far=so_far)
    reached = pl.col("event_time").filter(pl.col("so_far") >= pl.col("due")).min()
    sums = linked.group_by(_KEYS).agg(paid=_AMOUNT.sum(), settled_time=reached)
    states = owed.join(sums, on=_KEYS, how="left").with_columns(pl.col("paid").fill_null(0))
    covered = pl.min_horizontal("due", "paid").sum()
    total = repaid.group_by("account_id").agg(total=_AMOUNT.sum())
    used = states.group_by("account_id").agg(covered=covered)
    credit = total.join(used, on="account_id", how="left")
    credit = credit.select("account_id", credit=pl.col("total") - pl.col("covered").fill_null(0))
    open_ones = states.filter((pl.col("due_time") < as_of) & (pl.col("paid") < pl.col("due")))
    open_ones = open_ones.join(credit, on="account_id", how="left")
    owed_so_far = (pl.col("due") - pl.col("paid")).cum_sum().over("account_id", order_by=("due_time", "instalment"))
    missed = open_ones.with_columns(past_due=owed_so_far - pl.col("credit").fill_null(0)).filter(pl.col("past_due") > 0)
    arrears = missed.group_by("account_id").agg(
        past_due_cents=pl.col("past_due").max(),
        dpd_days=_days_since(pl.col("due_time").min(), as_of).floor(),
    )
    late = ((pl.col("settled_time") - pl.col("due_time")).dt.total_microseconds() / 86_400e6).floor()
    placed = states.join(missed.select(*_KEYS, open=pl.lit(True)), on=_KEYS, how="left").with_columns(
        late=late, event_time=pl.min_horizontal("due_time", "settled_time"), open=pl.col("open").fill_null(False)
    )
    placed = placed.filter((pl.col("event_time") < as_of) & _since(as_of, 180))
    is_late = ~pl.col("open") & (pl.col("late") > 0).fill_null(False)
    met = ~pl.col("open") & (pl.col("late") <= 0).fill_null(True)
    delays = placed.group_by("account_id").agg(
        *_count("late", is_late, as_of, 90, 180),
        *_count("met", met, as_of, 180),
        lateness_mean_180d=pl.col("late").mean(),
        lateness_max_180d=pl.col("late").max(),
    )
    return delays.join(arrears, on="account_id", how="full", coalesce=True)


def _devices(used: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    failed = pl.col("kind") == "login_failed"
    plain = used.group_by("account_id").agg(
        *_count("device_event", pl.lit(True), as_of, 7, 30),
        *_count("failed_login", failed, as_of, 30),
        begun=pl.col("event_time").min(),
    )
    spans = used.filter(pl.col("device_id").is_not_null()).group_by("account_id", "device_id")
    first = spans.agg(first=pl.col("event_time").min()).join(plain, on="account_id")
    new = (pl.col("first") >= as_of - timedelta(days=30)) & (pl.col("first") > pl.col("begun"))
    new_ones = first.group_by("account_id").agg(new.sum().cast(pl.Int64).alias("new_device_count_30d"))
    recent = used.filter(_since(as_of, 120))
    before = pl.col("device_id", "event_time").shift().over("account_id", order_by=("event_time", "event_no"))
    before = before.name.prefix("before_")
    near = pl.col("event_time") - pl.col("before_event_time") <= timedelta(days=90)
    switches = recent.with_columns(before).filter(near & (pl.col("device_id") != pl.col("before_device_id")))
    counts = switches.group_by("account_id").agg(_count("device_switch", pl.lit(True), as_of, 7, 30))
    cities = used.filter(pl.col("city").is_not_null() & _since(as_of, 30))
    parts = [
        _distinct(used.filter(pl.col("device_id").is_not_null()), "device_id", as_of, 7, 30, 90),
        *(new_ones, counts, _distinct(cities, "city", as_of, 30)),
    ]
    joined = plain.drop("begun")
    for part in parts:
        joined = joined.join(part, on="account_id", how="left")
    return joined
