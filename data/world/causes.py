"""Planted causes: when they strike, and what they lead to.

An episode is one strike of one cause on one line. Three causes are innocent and look like others: a new phone on a
trip like a takeover, a holiday like a burst, a late salary like lost income.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.fortune import DUE_DAY, Fortune, sigmoid
from limitlens.data.world.people import FIXED, RING_DAYS
from limitlens.data.world.scene import Scene
from limitlens.data.world.settings import CAUSES

#: How long an episode lasts; a month where it is not named.
_DAYS = {
    "burst_borrowing": 4.0,
    "cash_out": 1.4,
    "takeover": 5.0,
    "ring_fraud": 0.8,
    "innocent_device": 7.0,
    "holiday": 7.0,
}

_COLUMNS = ["owner", "cause", "day", "days", "strength"]


def episodes(
    scene: Scene,
    able: FloatArray,
    fortune: Fortune,
    *,
    lost: BoolArray,
    wait_days: FloatArray,
    without: Collection[str],
) -> pd.DataFrame:
    """Episodes that begin in a month.

    Parameters
    ----------
    able, wait_days : float64 arrays of shape (n,)
        Ability to pay; days the salary is late.
    lost : bool array of shape (n,)
        Who loses income this month.
    without : collection of str
        Causes that do not strike at all.

    Returns
    -------
    DataFrame with ``owner`` (index into ``people``), ``cause``, ``day`` (since the start), ``days``, ``strength``
        ``strength`` is the severity as it struck, in the unit of ``conf/world.toml``.
    """

    def by_chance(cause: str, tilt: FloatArray | float = 1.0) -> BoolArray:
        struck = scene.chance.below(scene.world.causes[cause].rate * tilt, cause, scene.number, scene.month.index)
        return struck & (scene.people.opened_day < scene.month.first - 5) & (scene.number >= FIXED)

    strikes: dict[str, Callable[[], BoolArray]] = {
        "burst_borrowing": lambda: by_chance("burst_borrowing", 2 * sigmoid(-0.9 * able)),
        "cash_out": lambda: _cash_outs(scene),
        "income_loss": lambda: lost,
        "missed_payments": lambda: by_chance("missed_payments") & (fortune.unpaid == 0),
        "takeover": lambda: by_chance("takeover"),
        "ring_fraud": lambda: _bust_out(scene),
        "innocent_device": lambda: by_chance("innocent_device"),
        "holiday": lambda: by_chance("holiday"),
        "salary_delay": lambda: wait_days > 0,
    }
    living, calm = fortune.gone_from > scene.month.index, np.zeros(0, np.int64)
    parts = [
        _begin(scene, cause, np.flatnonzero(strikes[cause]() & living), wait_days)
        for cause in strikes
        if cause not in without
    ]
    return pd.concat(parts, ignore_index=True)[_COLUMNS] if parts else _begin(scene, CAUSES[0], calm, wait_days)


def _cash_outs(scene: Scene) -> BoolArray:
    chosen = scene.chance.below(scene.world.causes["cash_out"].rate, "cash_out", scene.number)
    chosen &= scene.people.ring < 0
    return scene.month.holds(scene.people.opened_day) & (chosen | (scene.number < FIXED))


def _bust_out(scene: Scene) -> BoolArray:
    day = _ring_day(scene)
    return (scene.people.ring >= 0) & scene.month.holds(day) & (scene.people.opened_day < day)


def _ring_day(scene: Scene) -> FloatArray:
    """The day a ring empties its lines: two to four months after its last member opened one."""
    wait = RING_DAYS + 60 + 60 * scene.chance.uniform("ring waits", scene.people.ring + 1)
    first_opening = scene.people.opened_day - RING_DAYS * scene.chance.uniform("joins", scene.number)
    return np.where(scene.people.ring >= 0, first_opening + wait, -1.0)


def _begin(scene: Scene, cause: str, owner: IntArray, wait_days: FloatArray) -> pd.DataFrame:
    number, severity = scene.number[owner], scene.world.causes[cause].severity
    day = scene.month.first + 25 * scene.chance.uniform(f"{cause} day", number, scene.month.index)
    days = np.full(len(owner), _DAYS.get(cause, 30.0))
    luck = scene.chance.uniform(f"{cause} strength", number, scene.month.index)
    strength = np.minimum(severity * (0.6 + 0.8 * luck), 0.97)
    if cause == "cash_out":
        day = scene.people.opened_day[owner]
    elif cause == "ring_fraud":
        day = _ring_day(scene)[owner]
    elif cause == "salary_delay":
        day, days, strength = np.full(len(owner), float(scene.month.first)), wait_days[owner], wait_days[owner]
    elif cause in {"income_loss", "missed_payments"}:
        day, strength = np.full(len(owner), float(scene.month.first)), np.full(len(owner), severity)
    return pd.DataFrame({"owner": owner, "cause": cause, "day": day, "days": days, "strength": strength})


def consequences(scene: Scene, fortune: Fortune, found: pd.DataFrame) -> Fortune:
    """What the episodes lead to: instalments missed, debts that weigh, money never seen again."""
    number, m, count = scene.number, scene.month.index, len(scene.number)
    forgets = _of_cause(found, "missed_payments", "strength", count)
    burst = _of_cause(found, "burst_borrowing", "strength", count)
    cashed, taken, ring = (_of_cause(found, c, "day", count) for c in ("cash_out", "takeover", "ring_fraud"))
    vanishes = ~np.isnan(cashed) & (scene.chance.below(0.85, "vanishes", number) | (number < FIXED))
    vanishes |= ~np.isnan(ring) | (~np.isnan(taken) & scene.chance.below(0.6, "loss is disputed", number, m))
    day = np.fmin(np.fmin(cashed, taken), ring)
    since = np.where(day < scene.month.first + DUE_DAY - 1, m, m + 1)
    again = scene.chance.below(np.nan_to_num(forgets), "forgets again", number, m)
    return replace(
        fortune,
        stress=fortune.stress + np.where(np.isnan(burst), 0.0, 0.9),
        forgets_until=np.where(np.isnan(forgets), fortune.forgets_until, m + 1 + again),
        gone_from=np.where(vanishes, np.minimum(since, fortune.gone_from), fortune.gone_from),
    )


def _of_cause(found: pd.DataFrame, cause: str, column: str, count: int) -> FloatArray:
    """One column of the episodes of a cause by customer, NaN where it does not strike."""
    rows, values = found[found["cause"] == cause], np.full(count, np.nan)
    values[rows["owner"]] = rows[column]
    return values
