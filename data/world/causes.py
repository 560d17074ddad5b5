"""Planted causes: when they strike, and what they lead to.

An episode is one strike of one cause on one line. Some causes are innocent and look like others: a new phone on a trip
like a takeover, a holiday like a burst, a late salary like lost income, a first need like a cash-out, a phone shared in
a family like a ring.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import ndtri

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.fortune import Fortune, sigmoid, will_spread
from limitlens.data.world.people import RING_DAYS
from limitlens.data.world.scene import Scene
from limitlens.data.world.settings import CAUSES, NEVER

#: How long an episode lasts; a month where it is not named.
_DAYS = {
    "burst_borrowing": 4.0,
    "cash_out": 1.4,
    "takeover": 5.0,
    "ring_fraud": 0.8,
    "innocent_device": 7.0,
    "holiday": 7.0,
    "first_need": 2.0,
    "travel": 4.0,
    "festival": 3.0,
    "family_phone": 36_500.0,
}

#: Months with a festival: the turn of the year and the autumn.
_FESTIVE = frozenset({1, 2, 10})

#: Causes of the first days of a line.
FIRST_DAYS = ("cash_out", "first_need")

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
        return struck & (scene.people.opened_day < scene.month.first - 5) & ~scene.people.fixed

    strikes: dict[str, Callable[[], BoolArray]] = {
        "burst_borrowing": lambda: by_chance("burst_borrowing", 2 * sigmoid(-0.9 * able)),
        "cash_out": lambda: _cash_outs(scene, fortune),
        "income_loss": lambda: lost,
        "missed_payments": lambda: by_chance("missed_payments") & (fortune.unpaid == 0),
        "takeover": lambda: by_chance("takeover"),
        "ring_fraud": lambda: _bust_out(scene),
        "innocent_device": lambda: by_chance("innocent_device"),
        "holiday": lambda: by_chance("holiday"),
        "salary_delay": lambda: wait_days > 0,
        "first_need": lambda: _first_needs(scene, fortune, able),
        "travel": lambda: by_chance("travel"),
        "festival": lambda: by_chance("festival", float(scene.month.of_year in _FESTIVE)),
        "forgotten_instalment": lambda: by_chance("forgotten_instalment") & (fortune.unpaid == 0),
        "family_phone": lambda: (
            (scene.people.family >= 0) & scene.month.holds(np.maximum(scene.people.opened_day, 0.0))
        ),
    }
    living, calm = fortune.gone_from > scene.month.index, np.zeros(0, np.int64)
    parts = [
        _begin(scene, cause, np.flatnonzero(strikes[cause]() & living), wait_days)
        for cause in strikes
        if cause not in without and scene.world.causes[cause] != NEVER
    ]
    return pd.concat(parts, ignore_index=True)[_COLUMNS] if parts else _begin(scene, CAUSES[0], calm, wait_days)


def _cash_outs(scene: Scene, fortune: Fortune) -> BoolArray:
    """Who takes the money of a new line and goes: those of least will, or anybody where the world knows no will."""
    rate, spread = scene.world.causes["cash_out"].rate, will_spread(scene.world.state)
    chosen = fortune.will < spread * ndtri(rate) if spread else scene.chance.below(rate, "cash_out", scene.number)
    chosen &= scene.people.ring < 0
    return scene.month.holds(scene.people.opened_day) & (chosen | scene.people.fixed)


def _first_needs(scene: Scene, fortune: Fortune, able: FloatArray) -> BoolArray:
    """Who takes a line for rent, school fees, a deposit or stock, and empties it for that; the able half plan so."""
    needs = scene.chance.below(2 * scene.world.causes["first_need"].rate * (able > 0), "first_need", scene.number)
    needs &= (scene.people.ring < 0) & ~_cash_outs(scene, fortune)
    return scene.month.holds(scene.people.opened_day) & needs


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
    if cause in FIRST_DAYS:
        day = scene.people.opened_day[owner]
    elif cause == "ring_fraud":
        day = _ring_day(scene)[owner]
    elif cause == "salary_delay":
        day, days, strength = np.full(len(owner), float(scene.month.first)), wait_days[owner], wait_days[owner]
    elif cause == "family_phone":
        day, strength = np.maximum(scene.people.opened_day[owner], 0.0), np.full(len(owner), severity)
    elif cause in {"income_loss", "missed_payments", "forgotten_instalment"}:
        day, strength = np.full(len(owner), float(scene.month.first)), np.full(len(owner), severity)
    return pd.DataFrame({"owner": owner, "cause": cause, "day": day, "days": days, "strength": strength})


def consequences(scene: Scene, fortune: Fortune, episode_table: pd.DataFrame) -> Fortune:
    """What the episodes lead to: instalments missed, debts that weigh, money never seen again."""
    number, m, count = scene.number, scene.month.index, len(scene.number)
    forgets = _of_cause(episode_table, "missed_payments", "strength", count)
    slips = _of_cause(episode_table, "forgotten_instalment", "strength", count)
    burst = _of_cause(episode_table, "burst_borrowing", "strength", count)
    cashed, taken, ring = (_of_cause(episode_table, c, "day", count) for c in ("cash_out", "takeover", "ring_fraud"))
    planned = will_spread(scene.world.state) > 0
    vanishes = ~np.isnan(cashed) & (planned | scene.chance.below(0.85, "vanishes", number) | scene.people.fixed)
    vanishes |= ~np.isnan(ring) | (~np.isnan(taken) & scene.chance.below(0.6, "loss is disputed", number, m))
    day = np.fmin(np.fmin(cashed, taken), ring)
    since = np.where(day < scene.month.first + scene.people.due_day - 1, m, m + 1)
    again = scene.chance.below(np.nan_to_num(forgets), "forgets again", number, m)
    return replace(
        fortune,
        stress=fortune.stress + np.where(np.isnan(burst), 0.0, 0.9),
        slips_in=np.where(np.isnan(slips), fortune.slips_in, m),
        forgets_until=np.where(np.isnan(forgets), fortune.forgets_until, m + 1 + again),
        gone_from=np.where(vanishes, np.minimum(since, fortune.gone_from), fortune.gone_from),
    )


def _of_cause(episode_table: pd.DataFrame, cause: str, column: str, count: int) -> FloatArray:
    """One column of the episodes of a cause by customer, NaN where it does not strike."""
    rows, values = episode_table[episode_table["cause"] == cause], np.full(count, np.nan)
    values[rows["owner"]] = rows[column]
    return values
