"""How events reach the lender: late, corrected, withdrawn; some feeds swing for a while.

The truth happened at ``event_time``; the lender learns each version at its ``known_time``.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

_MINUTE, _DAY = 60_000_000, 86_400_000_000


@dataclass(frozen=True)
class Swing:
    """A fault of the feed before a month start, repaired days after it.

    Parameters
    ----------
    month_start_us : int
        Microseconds since 1970.
    late_share, inflated_share : float
        Share of accounts whose repayments arrive late, and whose draws arrive a hundredfold.
    """

    month_start_us: int
    late_share: float
    inflated_share: float


def delivered(rng: np.random.Generator, rows: pd.DataFrame) -> pd.DataFrame:
    """Give every row its known time, and some of them a correction or a withdrawal.

    Parameters
    ----------
    rows : DataFrame with ``event_id``, ``event_us`` (and ``amount_cents`` where the source has amounts)

    Returns
    -------
    DataFrame with ``known_us`` and ``retracted``; a corrected event has two rows
    """
    count = len(rows)
    lag = rng.integers(1, 120, count) * _MINUTE
    kind = rng.random(count)
    lag = np.where(kind < 0.08, rng.integers(6, 30, count) * 60 * _MINUTE, lag)
    lag = np.where(kind < 0.015, rng.integers(3, 20, count) * _DAY, lag)
    first = rows.assign(known_us=(rows["event_us"] + lag).astype(np.int64), retracted=False)
    fate = rng.random(count)
    corrected, withdrawn = fate < 0.007, fate > 0.999
    later = first["known_us"] + rng.integers(1, 30, count) * _DAY
    second = first.assign(known_us=later, retracted=withdrawn)[corrected | withdrawn]
    if "amount_cents" in rows:
        wrong = (first["amount_cents"] * rng.uniform(0.5, 1.5, count)).round().astype(np.int64)
        first["amount_cents"] = np.where(corrected, wrong, first["amount_cents"])
    return pd.concat([first, second], ignore_index=True)


def swing(rows: pd.DataFrame, fault: Swing, draw: np.ndarray) -> pd.DataFrame:
    """Let one feed swing before a month start.

    Repayments of the fourteen days before it become known six to nine days after it; draws of the ten days before
    it arrive a hundredfold and are corrected six days after it.

    Parameters
    ----------
    rows : DataFrame with ``account, kind, event_us, known_us, amount_cents``
    draw : float64 array
        One uniform number for each account: the same accounts are hit whatever the source.
    """
    age = (fault.month_start_us - rows["event_us"]) / _DAY
    mark = draw[rows["account"].to_numpy()]
    late = (rows["kind"] == "repayment") & (age > 0) & (age <= 14) & (mark < fault.late_share)
    repair_us = fault.month_start_us + 6 * _DAY
    inflated = (rows["kind"] == "draw") & (age > 0) & (age <= 10) & (mark > 1 - fault.inflated_share)
    inflated &= rows["known_us"] < repair_us
    repaired = rows[inflated & ~rows["retracted"]].drop_duplicates("event_id", keep="last").assign(known_us=repair_us)
    held = np.maximum(rows["known_us"], fault.month_start_us + (9 - age.clip(0, 3)) * _DAY)
    known = np.where(late, held, rows["known_us"]).astype(np.int64)
    rows = rows.assign(known_us=known, amount_cents=rows["amount_cents"] * np.where(inflated, 100, 1))
    swung: pd.DataFrame = pd.concat([rows, repaired], ignore_index=True)
    return swung
