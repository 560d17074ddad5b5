"""The truth of the simulated world: what struck whom, what would become of each line. Nothing downstream reads it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.data.frames import to_arrow
from limitlens.data.storage import write_parquet
from limitlens.data.world.people import People
from limitlens.data.world.settings import TRAPS

#: Months ahead in which a line can default.
HORIZON_MONTHS = 6
HORIZON_DAYS = 183


@dataclass(frozen=True)
class Standing:
    """Lines at one month start: the month's index and, for n lines, ``account_id`` and ``true_pd``."""

    month: int
    rows: pd.DataFrame


def episode_rows(people: People, episodes: pd.DataFrame, start: datetime) -> pd.DataFrame:
    """Episodes as ``account_id, cause, begins, ends, strength``."""
    owner = episodes["owner"].to_numpy()
    begins = start + pd.to_timedelta(episodes["day"], unit="D")
    return pd.DataFrame(
        {
            "account_id": np.array(people.names(), object)[owner],
            "cause": episodes["cause"],
            "begins": begins.dt.floor("s").dt.as_unit("us"),
            "ends": (begins + pd.to_timedelta(episodes["days"], unit="D")).dt.floor("s").dt.as_unit("us"),
            "strength": episodes["strength"],
        }
    )


def standing(people: People, open_: BoolArray, pd_: FloatArray, month: int) -> Standing:
    """True PD of the open lines at a month start."""
    rows = pd.DataFrame({"account_id": np.array(people.names(), object)[open_], "true_pd": pd_[open_]})
    return Standing(month, rows)


def outcomes(
    standings: list[Standing], default_day: dict[str, float], month_days: list[int], start: datetime
) -> pd.DataFrame:
    """True PD and outcome of every line at every month start, whatever a lender would have done with it.

    Returns
    -------
    DataFrame with ``account_id, as_of, true_pd, bad``
        ``bad``: 90 days past due within six months after ``as_of``; lines in default before are left out.
    """
    parts = []
    for stand in standings:
        first, end = month_days[stand.month], month_days[stand.month + HORIZON_MONTHS]
        day = stand.rows["account_id"].map(default_day)
        rows = stand.rows.assign(as_of=pd.Timestamp(start) + timedelta(days=first), bad=day <= end)
        parts.append(rows[~(day <= first)])
    table = pd.concat(parts, ignore_index=True)[["account_id", "as_of", "true_pd", "bad"]]
    table = table.assign(as_of=table["as_of"].dt.as_unit("us"))
    return table.sort_values(["account_id", "as_of"], ignore_index=True)


def lines(default_day: dict[str, float], episodes: pd.DataFrame, start: datetime) -> pd.DataFrame:
    """Whether each line was good, and what innocent causes struck it.

    Returns
    -------
    DataFrame with ``account_id, good, defaulted_at, innocent``
        ``good``: not in default until six months after the last one simulated. ``innocent``: causes, with commas.
    """
    days = pd.Series(default_day, dtype=np.float64).replace(np.inf, np.nan)
    table = pd.DataFrame({"account_id": days.index, "good": days.isna().to_numpy()})
    table["defaulted_at"] = _times(days.reset_index(drop=True), start)
    innocent = episodes[episodes["cause"].isin(TRAPS)].groupby("account_id")["cause"].agg(_together)
    return table.assign(innocent=table["account_id"].map(innocent).fillna("")).sort_values("account_id")


def actions(judged: pd.DataFrame, episodes: pd.DataFrame, start: datetime) -> pd.DataFrame:
    """Adverse actions of the lender, and what would have become of the line without each.

    Parameters
    ----------
    judged : DataFrame with ``account_id, day, action, answer, default_day, default_day_without``

    Returns
    -------
    DataFrame with ``account_id, as_of, action, answer, good, innocent, bad, bad_without``
        ``bad``: in default within six months, with all that the lender did; ``bad_without``: had the lender done
        nothing from then on. ``good``: not ``bad_without``. ``innocent``: innocent causes of the 90 days before.
    """
    until = judged["day"] + HORIZON_DAYS
    table = judged[["account_id", "action", "answer"]].assign(
        as_of=_times(judged["day"], start),
        bad=judged["default_day"] <= until,
        bad_without=judged["default_day_without"] <= until,
    )
    recent = table[["account_id", "as_of"]].merge(episodes[episodes["cause"].isin(TRAPS)], on="account_id")
    recent = recent[(recent["begins"] < recent["as_of"]) & (recent["ends"] >= recent["as_of"] - timedelta(days=90))]
    innocent = recent.groupby(["account_id", "as_of"])["cause"].agg(_together).rename("innocent").reset_index()
    table = table.merge(innocent, on=["account_id", "as_of"], how="left")
    table = table.assign(good=~table["bad_without"], innocent=table["innocent"].fillna(""))
    columns = ["account_id", "as_of", "action", "answer", "good", "innocent", "bad", "bad_without"]
    return table[columns].sort_values(["account_id", "as_of"], ignore_index=True)


def _together(causes: pd.Series) -> str:
    return ",".join(sorted(set(causes)))


def _times(days: pd.Series, start: datetime) -> pd.Series:
    return (pd.Timestamp(start) + pd.to_timedelta(days, unit="D")).dt.round("s").dt.as_unit("us")


def write_truth(table: pd.DataFrame, path: Path) -> None:
    """Write one truth table."""
    write_parquet(to_arrow(table), path)
