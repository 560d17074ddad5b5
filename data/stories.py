"""Planted stories: customers whose truth is known, above all the two-day case.

A line is opened, drawn in cash within two days, the money is passed on to an investment platform, and the customer
signs in from a new phone in another city. Most of them never pay anything back.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.world import CITIES, Bools, Customers

CASH_OUT = "cash_out_for_investment"
HOLIDAY = "holiday_spending"

#: Lines of the two-day case that open on one day of the last month, whatever the seed.
_FIXED_COUNT = 6
_FIXED_DAY = 11 + 10 / 24


def with_fixed_openings(customers: Customers, last_month_day: int) -> Customers:
    """Let the last few customers open a good-looking line on the story's day of the last month."""
    opened, limit, quality = customers.opened_day.copy(), customers.limit_cents.copy(), customers.quality.copy()
    opened[-_FIXED_COUNT:] = last_month_day + _FIXED_DAY
    limit[-_FIXED_COUNT:] = np.arange(2, 2 + _FIXED_COUNT) * 500_000
    quality[-_FIXED_COUNT:] = 1.0
    return replace(customers, opened_day=opened, limit_cents=limit, quality=quality)


def choose_stories(rng: np.random.Generator, customers: Customers, last_month_day: int) -> pd.DataFrame:
    """Choose who lives which story.

    Returns
    -------
    DataFrame with ``account`` (int), ``story`` (str), ``day`` (days since the start), one story an account
    """
    opened = customers.opened_day
    chosen = (opened >= 0) & (rng.random(len(opened)) < 0.012)
    chosen[-_FIXED_COUNT:] = True
    cash_out = pd.DataFrame({"account": np.flatnonzero(chosen), "story": CASH_OUT, "day": opened[chosen]})
    days = rng.uniform(0, last_month_day + 20, len(opened))
    celebrating = (rng.random(len(opened)) < 0.04) & (days > opened + 20)
    holiday = pd.DataFrame({"account": np.flatnonzero(celebrating), "story": HOLIDAY, "day": days[celebrating]})
    return pd.concat([cash_out, holiday], ignore_index=True).drop_duplicates("account", ignore_index=True)


def never_pays(rng: np.random.Generator, stories: pd.DataFrame, count: int) -> Bools:
    """Who takes the money and is not seen again: most, not all, of the cash-outs."""
    lost = np.zeros(count, bool)
    accounts = stories.loc[stories["story"] == CASH_OUT, "account"].to_numpy()
    lost[accounts[rng.random(len(accounts)) < 0.85]] = True
    return lost


def cash_out_events(
    rng: np.random.Generator, customers: Customers, told: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Draws, transfers out and sign-ins of the cash-outs: six to nine draws, most of the limit, within 36 hours.

    Parameters
    ----------
    told : DataFrame with ``account`` and ``day``
        Cash-outs of one month; ``day`` is that of the opening.

    Returns
    -------
    draws, transfers, sign_ins : DataFrame
        With ``account`` and ``day`` since the start, and what each source needs.
    """
    counts = rng.integers(6, 10, len(told))
    account = np.repeat(told["account"].to_numpy(), counts)
    opening = np.repeat(told["day"].to_numpy(), counts)
    share = rng.uniform(0.6, 1.4, len(account))
    share /= pd.Series(share).groupby(account).transform("sum").to_numpy()
    total = np.repeat(rng.uniform(0.84, 0.97, len(told)), counts) * customers.limit_cents[account]
    amount = (np.floor(total * share / 100) * 100).astype(np.int64)
    day = opening + rng.uniform(0.1, 1.5, len(account))
    draws = pd.DataFrame({"account": account, "day": day, "amount_cents": amount})
    draws = draws.assign(kind="draw", category="cash", channel="app")
    passed_on = (np.floor(amount * 0.9 / 100) * 100).astype(np.int64)
    transfers = pd.DataFrame({"account": account, "day": day + rng.uniform(0.005, 0.04, len(account))})
    transfers = transfers.assign(kind="transfer_out", amount_cents=passed_on)
    away = (customers.city[account] + rng.integers(1, len(CITIES), len(account))[0] if len(account) else account) % 30
    sign_ins = pd.DataFrame({"account": account, "day": day - 0.004, "kind": "login", "device": 90, "city": away})
    at_opening = pd.DataFrame({"account": told["account"], "day": told["day"] + 0.01, "kind": "login", "device": 0})
    at_opening = at_opening.assign(city=customers.city[told["account"]])
    return draws, transfers, pd.concat([at_opening, sign_ins], ignore_index=True)


def holiday_events(rng: np.random.Generator, customers: Customers, told: pd.DataFrame) -> pd.DataFrame:
    """Purchases of a celebrating week: many, innocent, and repaid like any other."""
    counts = rng.integers(6, 14, len(told))
    account = np.repeat(told["account"].to_numpy(), counts)
    day = np.repeat(told["day"].to_numpy(), counts) + rng.uniform(0, 7, len(account))
    amount = np.floor(customers.limit_cents[account] * rng.uniform(0.01, 0.05, len(account)) / 100) * 100
    rows = pd.DataFrame({"account": account, "day": day, "amount_cents": amount.astype(np.int64)})
    return rows.assign(kind="purchase", category="travel", channel="online")
