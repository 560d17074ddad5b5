"""The simulated world: who the customers are, and what they do in a month.

Behaviour follows from latent quality, income and stress, never from a label; default is what happens when a
customer stops paying. Every function is pure in its random generator and arrays.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SEGMENTS = ("salaried", "self_employed", "student", "merchant")
CITIES = tuple(f"city-{k:02d}" for k in range(1, 31))
CATEGORIES = ("groceries", "fuel", "restaurants", "clothing", "electronics", "travel", "health", "utilities")
CHANNELS = ("pos", "online", "app")

_SEGMENT_SHARES = (0.55, 0.20, 0.15, 0.10)
_MEDIAN_INCOME_CENTS = np.array([800_000, 900_000, 250_000, 1_200_000], np.float64)
_INCOME_SPREAD = np.array([0.35, 0.6, 0.3, 0.6])
_PAY_DAYS = np.array([25, 10, 5, 15])

#: Share of the statement balance that falls due each month.
DUE_SHARE = 0.20
DUE_DAY = 18


@dataclass(frozen=True)
class Customers:
    """Static facts of n customers, each with one line; times in days since the start of the simulation."""

    segment: Ints
    income_cents: Floats
    quality: Floats
    limit_cents: Ints
    opened_day: Floats
    city: Ints
    age: Ints
    sex: Ints


def draw_customers(rng: np.random.Generator, count: int, days: int) -> Customers:
    """Draw customers: six in ten are there at the start, the others open through the simulated days."""
    segment = rng.choice(len(SEGMENTS), count, p=_SEGMENT_SHARES)
    income = _MEDIAN_INCOME_CENTS[segment] * np.exp(_INCOME_SPREAD[segment] * rng.standard_normal(count))
    quality = rng.standard_normal(count)
    seen_quality = 0.6 * quality + 0.8 * rng.standard_normal(count)
    limit = np.clip(income * (1.5 + 0.5 * seen_quality), 50_000, 20_000_000)
    stock = rng.random(count) < 0.6
    opened = np.where(stock, -rng.uniform(5, 730, count), rng.uniform(0, days - 4, count))
    return Customers(
        segment=segment,
        income_cents=income,
        quality=quality,
        limit_cents=(np.ceil(limit / 10_000) * 10_000).astype(np.int64),
        opened_day=opened,
        city=rng.integers(0, len(CITIES), count),
        age=np.clip(rng.normal(np.array([38, 42, 22, 45])[segment], 8), 18, 75).astype(np.int64),
        sex=rng.integers(0, 2, count),
    )


def stress_paths(rng: np.random.Generator, customers: Customers, months: int, shocks: Bools) -> Floats:
    """Financial stress of each customer by month, shape (n, months): AR(1) with jumps when income is lost."""
    count = len(customers.quality)
    stress = np.zeros((count, months))
    level = 0.7 * rng.standard_normal(count)
    for month in range(months):
        level = 0.85 * level + 0.38 * rng.standard_normal(count) + 2.2 * shocks[:, month]
        stress[:, month] = level
    return stress


def income_shocks(rng: np.random.Generator, customers: Customers, months: int) -> Bools:
    """Months in which a customer loses income, shape (n, months)."""
    return rng.random((len(customers.quality), months)) < 0.009


def strength(customers: Customers, stress: Floats) -> Floats:
    """Ability and will to pay in a month, about standard normal: quality less stress."""
    ability: Floats = 0.65 * customers.quality[:, None] - 0.75 * stress
    return ability


def sigmoid(values: Floats) -> Floats:
    """Logistic function."""
    shares: Floats = 1.0 / (1.0 + np.exp(-values))
    return shares


def delinquent_months(rng: np.random.Generator, ability: Floats) -> Bools:
    """Months in which a customer pays nothing, shape (n, months): weak customers enter more and leave less."""
    delinquent = np.zeros(ability.shape, bool)
    state = np.zeros(len(ability), bool)
    for month in range(ability.shape[1]):
        now = ability[:, month]
        enter, stay = sigmoid(-5.1 - 1.35 * now), sigmoid(0.95 - 0.7 * now)
        state = rng.random(len(now)) < np.where(state, stay, enter)
        delinquent[:, month] = state
    return delinquent


def spending(
    rng: np.random.Generator, customers: Customers, ability: Floats, balance: Ints, month_of_year: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Purchases and draws of one month as (account, day, amount_cents, category, channel).

    Parameters
    ----------
    ability : float64 array of shape (n,)
    balance : int64 array of shape (n,)
        Owed at the start of the month, in cents; what is left of the limit bounds the spending.
    month_of_year : int
        1 to 12; more is bought in November and December.
    """
    season = 1.3 if month_of_year in (11, 12) else 1.0
    headroom = np.clip(customers.limit_cents - balance, 0, None)
    purchases = rng.poisson(season * np.array([4.0, 4.5, 3.5, 5.0])[customers.segment])
    draws = rng.poisson(np.clip(0.35 + 0.45 * sigmoid(-1.2 * ability) + 0.2 * (customers.segment == 3), 0, 4))
    bought = _rows(rng, purchases, 0.028 * customers.limit_cents, 0.8)
    drawn = _rows(rng, draws, 0.075 * customers.limit_cents * (1 + 0.35 * sigmoid(-ability)), 0.6)
    taken = sum(np.bincount(rows["account"], rows["amount"], len(balance)) for rows in (bought, drawn))
    scale = np.minimum(1.0, headroom / np.maximum(taken, 1))
    for rows in (bought, drawn):
        rows["amount_cents"] = np.floor(rows["amount"] * scale[rows["account"]] / 100).astype(np.int64) * 100
    bought["category"] = np.array(CATEGORIES, object)[rng.integers(0, len(CATEGORIES), len(bought))]
    bought["channel"] = np.array(CHANNELS, object)[rng.integers(0, len(CHANNELS), len(bought))]
    drawn["category"], drawn["channel"] = "cash", np.where(rng.random(len(drawn)) < 0.6, "atm", "app")
    return _spent(bought), _spent(drawn)


def _spent(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that the headroom left something of."""
    return rows[rows["amount_cents"] > 0].drop(columns="amount")


def transfers(rng: np.random.Generator, customers: Customers, lost: Bools, ability: Floats) -> pd.DataFrame:
    """Salary on the pay day and money sent away, as (account, day, kind, amount_cents); lost income is a third."""
    count = len(ability)
    late = rng.random(count) < 0.02
    salary = customers.income_cents * np.where(lost, 0.35, 1.0) * np.exp(0.08 * rng.standard_normal(count))
    regular = rng.random(count) < np.array([0.98, 0.85, 0.9, 0.85])[customers.segment]
    day = _PAY_DAYS[customers.segment] - 1 + rng.uniform(0, 0.9, count) + np.where(late, 3.0, 0.0)
    inflow = pd.DataFrame({"account": np.arange(count), "day": day, "kind": "transfer_in", "amount": salary})[regular]
    sent = rng.poisson(0.7 + 0.3 * sigmoid(-ability))
    outflow = _rows(rng, sent, 0.12 * customers.income_cents, 0.7).assign(kind="transfer_out")
    rows = pd.concat([inflow, outflow], ignore_index=True)
    rows["amount_cents"] = (np.floor(rows["amount"] / 100) * 100).astype(np.int64)
    return rows.drop(columns="amount")


def repayment_days(rng: np.random.Generator, ability: Floats) -> Floats:
    """Days after the due date at which a paying customer pays; negative is early."""
    late = rng.random(len(ability)) < sigmoid(-2.3 - 0.85 * ability)
    days: Floats = np.where(late, 1 + rng.exponential(5.0, len(ability)), -rng.uniform(0.1, 9, len(ability)))
    return np.minimum(days, 27.0)


def sign_ins(rng: np.random.Generator, customers: Customers, phone: Ints) -> tuple[pd.DataFrame, Ints]:
    """Sign-ins of one month as (account, day, kind, device, city), and the phone each customer has afterwards.

    Some change their phone, some travel, a few do both at once: innocent all of them.
    """
    count = len(phone)
    changed, travels = rng.random(count) < 0.025, rng.random(count) < 0.05
    changed |= travels & (rng.random(count) < 0.08)
    rows = _rows(rng, rng.poisson(3.5, count), np.ones(count), 0.1).drop(columns="amount").assign(kind="login")
    switch_day, trip_day = rng.uniform(0, 27, count), rng.uniform(0, 24, count)
    switch_day = np.where(changed & travels, trip_day + 0.5, switch_day)
    account, day = rows["account"].to_numpy(), rows["day"].to_numpy()
    rows["device"] = phone[account] + (changed[account] & (day >= switch_day[account]))
    away = travels[account] & (day >= trip_day[account]) & (day < trip_day[account] + 4)
    trip = rng.integers(1, len(CITIES), count)
    rows["city"] = (customers.city[account] + np.where(away, trip[account], 0)) % len(CITIES)
    chosen = np.flatnonzero(changed)
    city = (customers.city + np.where(travels & changed, trip, 0)) % len(CITIES)
    switches = pd.DataFrame({"account": chosen, "day": switch_day[chosen], "kind": "device_change"})
    switches = switches.assign(device=phone[chosen] + 1, city=city[chosen])
    return pd.concat([rows, switches], ignore_index=True), phone + changed


def _rows(rng: np.random.Generator, counts: Ints, scale: npt.NDArray[np.floating], spread: float) -> pd.DataFrame:
    """``counts[i]`` rows of account i at random days of a 28-day month, amounts log-normal around ``scale[i]``."""
    account = np.repeat(np.arange(len(counts)), counts)
    amount = scale[account] * np.exp(spread * rng.standard_normal(len(account)) - spread**2 / 2)
    return pd.DataFrame({"account": account, "day": rng.uniform(0, 28, len(account)), "amount": amount})
