"""The simulated portfolio: event tables of a world whose truth is known, deterministic for a seed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data import world
from limitlens.data.calendar import DAY, add_months
from limitlens.data.contracts import SOURCES
from limitlens.data.events import ARROW_TYPES
from limitlens.data.feed import Swing, delivered, swing
from limitlens.data.storage import write_parquet
from limitlens.data.stories import (
    CASH_OUT,
    HOLIDAY,
    cash_out_events,
    choose_stories,
    holiday_events,
    never_pays,
    with_fixed_openings,
)
from limitlens.data.world import Customers

START = datetime(2025, 1, 1, tzinfo=UTC)

_DAY_US = 86_400_000_000
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class SimulationReport:
    """Rows written, by table, and accounts, by story."""

    rows: dict[str, int]
    stories: dict[str, int]


@dataclass(frozen=True)
class _World:
    """What stays fixed while the months pass: people, their paths, their stories, the calendar."""

    customers: Customers
    ability: world.Floats
    lost_income: world.Bools
    delinquent: world.Bools
    stories: pd.DataFrame
    month_days: list[int]
    start: datetime

    @property
    def end_day(self) -> int:
        return self.month_days[-1]


def simulate(
    out: Path,
    *,
    accounts: int = 6_000,
    months: int = 18,
    seed: int = 7,
    start: datetime = START,
    progress: Callable[[str], None],
) -> SimulationReport:
    """Write a portfolio as event tables, and its truth beside them under ``truth``.

    Parameters
    ----------
    out : Path
        Folder; gets ``accounts``, ``consumption``, ``payment``, ``device`` and ``truth``.
    accounts, months, seed : int
        Equal values give equal files, byte for byte.
    start : datetime
        First of a month.
    progress : callable
        Told after each month.
    """
    people = _people(np.random.default_rng([seed, 0]), accounts, months, start)
    counts = {"accounts": _write(out / "accounts" / "accounts.parquet", _accounts(people), "accounts")}
    counts |= {"consumption": 0, "payment": 0, "device": 0}
    balance, phone = np.zeros(accounts, np.int64), np.zeros(accounts, np.int64)
    unpaid = pd.DataFrame({"account": [], "instalment_id": [], "amount_cents": []}).astype({"account": int})
    marks = np.random.default_rng([seed, 1]).random(accounts)
    for month in range(months):
        rng = np.random.default_rng([seed, 2, month])
        bills, paid, unpaid = _billing(rng, people, month, balance, unpaid)
        bought = _consumption(rng, people, month, balance)
        moved = _transfers(rng, people, month)
        seen, phone = _devices(rng, people, month, phone)
        balance = _owed(balance, bought, paid)
        payment = pd.concat([bills, paid, moved], ignore_index=True)
        for source, rows in {"consumption": bought, "payment": payment, "device": seen}.items():
            table = _delivered(rng, people, source, month=month, rows=rows, marks=marks)
            counts[source] += _write(out / source / f"{source}-{month + 1:02d}.parquet", table, source)
        progress(f"month {month + 1} of {months}: {sum(counts.values()):,} rows so far")
    _write_truth(out / "truth", people)
    return SimulationReport(counts, dict(sorted(Counter(people.stories["story"]).items())))


def _people(rng: np.random.Generator, count: int, months: int, start: datetime) -> _World:
    month_days = [(add_months(start, k) - start).days for k in range(months + 1)]
    customers = with_fixed_openings(world.draw_customers(rng, count, month_days[-1]), month_days[-2])
    lost = world.income_shocks(rng, customers, months)
    ability = world.strength(customers, world.stress_paths(rng, customers, months, lost))
    stories = choose_stories(rng, customers, month_days[-2])
    delinquent = world.delinquent_months(rng, ability) | never_pays(rng, stories, count)[:, None]
    lasting = lost | np.roll(lost, 1, axis=1) | np.roll(lost, 2, axis=1)
    return _World(customers, ability, lasting, delinquent, stories, month_days, start)


def _billing(
    rng: np.random.Generator, people: _World, month: int, balance: world.Ints, unpaid: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Instalments of the month, what is repaid, and what stays unpaid; who pays again also pays the arrears."""
    first, days = people.month_days[month], people.month_days[month + 1] - people.month_days[month]
    owed = np.flatnonzero((balance > 0) & (people.customers.opened_day < first))
    amount = np.maximum((balance[owed] * world.DUE_SHARE).astype(np.int64), np.minimum(balance[owed], 10_000))
    due_day = float(first + world.DUE_DAY - 1)
    bills = pd.DataFrame({"account": owed, "kind": "due", "day": due_day, "amount_cents": amount})
    bills["instalment_id"] = [f"{account:06d}-{month + 1:02d}" for account in owed]
    bills["known_day"] = first + 1 / 24
    delinquent = people.delinquent[:, month]
    now = bills[~delinquent[owed]]
    on_time = now.assign(
        kind="repayment", day=due_day + world.repayment_days(rng, people.ability[now["account"], month])
    )
    halves = rng.random(len(on_time)) < 0.03
    rest = on_time[halves].assign(day=on_time["day"][halves] + rng.uniform(2, 9, int(halves.sum())))
    half = on_time["amount_cents"] // 2
    rest["amount_cents"] = half[halves]
    on_time["amount_cents"] -= np.where(halves, half, 0)
    cured = unpaid[~delinquent[unpaid["account"]]]
    arrears = cured.assign(kind="repayment", day=first + rng.uniform(2, days - 3, len(cured)))
    paid = pd.concat([on_time, rest, arrears], ignore_index=True).drop(columns="known_day")
    paid["instalment_id"] = paid["instalment_id"].where(rng.random(len(paid)) > 0.06, None)
    still = pd.concat([unpaid[delinquent[unpaid["account"]]], bills[delinquent[owed]]], ignore_index=True)
    return bills, paid, still[["account", "instalment_id", "amount_cents"]]


def _consumption(rng: np.random.Generator, people: _World, month: int, balance: world.Ints) -> pd.DataFrame:
    first, calendar_month = people.month_days[month], (people.start.month + month - 1) % 12 + 1
    bought, drawn = world.spending(rng, people.customers, people.ability[:, month], balance, calendar_month)
    rows = [
        bought.assign(kind="purchase", day=bought["day"] + first),
        drawn.assign(kind="draw", day=drawn["day"] + first),
    ]
    back = rows[0][rng.random(len(rows[0])) < 0.02]
    rows.append(back.assign(kind="refund", day=back["day"] + rng.uniform(1, 9, len(back))))
    charged = np.flatnonzero(balance > 0)
    fee = pd.DataFrame({"account": charged, "day": first + 0.1, "amount_cents": balance[charged] // 80})
    rows.append(fee[fee["amount_cents"] > 0].assign(kind="fee", category="interest", channel="system"))
    told = _told(people, month)
    cash_outs = told[told["story"] == CASH_OUT]
    plain = pd.concat(rows, ignore_index=True)
    plain = plain[~plain["account"].isin(cash_outs["account"])]
    draws, _, _ = cash_out_events(np.random.default_rng([month, 11]), people.customers, cash_outs)
    feasts = holiday_events(rng, people.customers, told[told["story"] == HOLIDAY])
    return _living(people, pd.concat([plain, draws, feasts], ignore_index=True))


def _transfers(rng: np.random.Generator, people: _World, month: int) -> pd.DataFrame:
    rows = world.transfers(rng, people.customers, people.lost_income[:, month], people.ability[:, month])
    cash_outs = _told(people, month).query("story == @CASH_OUT")
    _, passed_on, _ = cash_out_events(np.random.default_rng([month, 11]), people.customers, cash_outs)
    return _living(
        people, pd.concat([rows.assign(day=rows["day"] + people.month_days[month]), passed_on], ignore_index=True)
    )


def _devices(
    rng: np.random.Generator, people: _World, month: int, phone: world.Ints
) -> tuple[pd.DataFrame, world.Ints]:
    rows, phone = world.sign_ins(rng, people.customers, phone)
    cash_outs = _told(people, month).query("story == @CASH_OUT")
    rows = rows[~rows["account"].isin(cash_outs["account"])]
    _, _, strange = cash_out_events(np.random.default_rng([month, 11]), people.customers, cash_outs)
    rows = pd.concat([rows.assign(day=rows["day"] + people.month_days[month]), strange], ignore_index=True)
    return _living(people, rows), phone


def _told(people: _World, month: int) -> pd.DataFrame:
    """Stories that begin in a month."""
    first, end = people.month_days[month], people.month_days[month + 1]
    return people.stories[(people.stories["day"] >= first) & (people.stories["day"] < end)]


def _living(people: _World, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows after the opening of their line and before the end of the simulation."""
    opened = people.customers.opened_day[rows["account"]]
    return rows[(rows["day"] > opened) & (rows["day"] < people.end_day)].reset_index(drop=True)


def _owed(balance: world.Ints, bought: pd.DataFrame, paid: pd.DataFrame) -> world.Ints:
    flow = bought["amount_cents"].where(bought["kind"] != "refund", -bought["amount_cents"])
    spent = np.bincount(bought["account"], flow, len(balance)) - np.bincount(
        paid["account"], paid["amount_cents"], len(balance)
    )
    return np.maximum(balance + spent.astype(np.int64), 0)


def _delivered(
    rng: np.random.Generator, people: _World, source: str, *, month: int, rows: pd.DataFrame, marks: world.Floats
) -> pd.DataFrame:
    """Rows as the lender receives them: ids, two clocks, corrections, and the swings of the feed."""
    rows = rows[rows["day"] < people.end_day + 31].sort_values(["day", "account"], kind="stable", ignore_index=True)
    rows = rows[(rows["day"] < people.end_day) | (rows["kind"] == "due")].reset_index(drop=True)
    rows["event_id"] = [f"{source[0]}{month + 1:02d}-{k:07d}" for k in range(len(rows))]
    origin = int(people.start.timestamp()) * 1_000_000
    rows["event_us"] = origin + (rows["day"] * 86_400).astype(np.int64) * 1_000_000
    if source == "payment":
        planned = rows["known_day"].notna()
        received = delivered(rng, rows[~planned])
        promised = rows[planned].assign(retracted=False)
        promised["known_us"] = origin + (promised["known_day"] * 86_400).astype(np.int64) * 1_000_000
        rows = pd.concat([received, promised], ignore_index=True)
    else:
        rows = delivered(rng, rows)
    if source != "device":
        for fault in _swings(people, origin):
            rows = swing(rows, fault, marks)
    return rows[rows["known_us"] < origin + people.end_day * _DAY_US]


def _swings(people: _World, origin: int) -> list[Swing]:
    """A large swing before the last month, a small one before every fifth month."""
    starts = people.month_days[1:-1]
    return [
        Swing(origin + day * _DAY_US, *((0.06, 0.02) if day == starts[-1] else (0.01, 0.005)))
        for k, day in enumerate(starts)
        if day == starts[-1] or k % 5 == 4
    ]


def _accounts(people: _World) -> pd.DataFrame:
    customers = people.customers
    opened = pd.Series([people.start + DAY * float(day) for day in customers.opened_day]).dt.floor("s").dt.as_unit("us")
    jobs = np.array(["employee", "self-employed", "in education", "shop owner"], object)
    return pd.DataFrame(
        {
            "account_id": _names(np.arange(len(opened))),
            "opened_at": opened,
            "known_time": opened - pd.Timedelta(minutes=7),
            "limit_cents": customers.limit_cents,
            "segment": np.array(world.SEGMENTS, object)[customers.segment],
            "home_city": np.array(world.CITIES, object)[customers.city],
            "employment": jobs[customers.segment],
            "age": customers.age.astype(np.float64),
            "sex": np.array(["female", "male"], object)[customers.sex],
        }
    )


def _names(accounts: world.Ints) -> list[str]:
    return [f"A{account + 1:06d}" for account in accounts]


def _write(path: Path, rows: pd.DataFrame, source: str) -> int:
    """Write one file in the columns and types of the contract; attributes keep their own."""
    if source != "accounts":
        rows = rows.assign(account_id=_names(rows["account"].to_numpy()))
        for name in ("event", "known"):
            rows[f"{name}_time"] = pd.to_datetime(rows[f"{name}_us"], unit="us", utc=True)
        if source == "device":
            rows["device_id"] = [f"phone-{a}-{d}" for a, d in zip(rows["account_id"], rows["device"], strict=True)]
            rows["city"] = np.array(world.CITIES, object)[rows["city"].to_numpy(np.int64)]
        rows = rows.reindex(columns=SOURCES[source].column_names()).sort_values(["known_time", "event_id"])
    declared = {column.name: ARROW_TYPES[column.dtype] for column in SOURCES[source].columns}
    arrays = {name: _array(rows[name], declared.get(name)) for name in rows.columns}
    write_parquet(pa.table(arrays), path)
    return len(rows)


def _array(values: pd.Series, declared: pa.DataType | None) -> pa.Array:
    if declared == _TIME:
        return pa.array(values.dt.tz_convert(None).to_numpy(), pa.timestamp("us")).cast(_TIME)
    return pa.array(values, declared or (pa.string() if values.dtype == object else None), from_pandas=True)


def _write_truth(folder: Path, people: _World) -> None:
    """What really happened; nothing outside the simulation reads it."""
    stories = people.stories.assign(account_id=_names(people.stories["account"].to_numpy()))
    write_parquet(
        pa.Table.from_pandas(stories[["account_id", "story", "day"]], preserve_index=False), folder / "stories.parquet"
    )
    lost = pd.DataFrame({"account_id": _names(np.arange(len(people.ability))), "quality": people.customers.quality})
    write_parquet(pa.Table.from_pandas(lost, preserve_index=False), folder / "accounts.parquet")
