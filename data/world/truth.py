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

#: Months ahead in which a line can default.
HORIZON_MONTHS = 6


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
    found = []
    for stand in standings:
        first, end = month_days[stand.month], month_days[stand.month + HORIZON_MONTHS]
        day = stand.rows["account_id"].map(default_day)
        rows = stand.rows.assign(as_of=pd.Timestamp(start) + timedelta(days=first), bad=day <= end)
        found.append(rows[~(day <= first)])
    table = pd.concat(found, ignore_index=True)[["account_id", "as_of", "true_pd", "bad"]]
    table = table.assign(as_of=table["as_of"].dt.as_unit("us"))
    return table.sort_values(["account_id", "as_of"], ignore_index=True)


def write_truth(table: pd.DataFrame, path: Path) -> None:
    """Write one truth table."""
    write_parquet(to_arrow(table), path)
