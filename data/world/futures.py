"""The true probability of default: how many of a customer's possible futures end 90 days past due."""

from dataclasses import replace

import numpy as np

from limitlens.data.arrays import FloatArray
from limitlens.data.world.causes import consequences, episodes
from limitlens.data.world.chance import Chance
from limitlens.data.world.fortune import (
    DEFAULT_COUNT,
    Fortune,
    ability,
    defaults_in,
    live,
    loses_income,
    pay,
    unpaid_after,
)
from limitlens.data.world.scene import Scene
from limitlens.data.world.settings import TRAPS

#: Causes that lead to no default, or are drawn apart.
_HARMLESS = TRAPS - {"forgotten_instalment"} | {"income_loss", "cash_out"}


def default_probability(
    scenes: list[Scene],
    fortune: Fortune,
    *,
    month_days: list[int],
    economy: FloatArray,
    futures: int,
) -> FloatArray:
    """Share of futures in which a line reaches 90 days past due within the months of given scenes.

    Parameters
    ----------
    scenes : list of Scene
        The months of the horizon, one after the other, of customers who owe something: each gets an instalment a month.
    fortune : Fortune
        State at the start of the first month; arrays of shape (n,).
    economy : float64 array
        The economy by month, taken as it came; what is drawn anew is the customer's own luck.
    futures : int
        Monte Carlo sample; the standard error of a PD p is sqrt(p (1 - p) / futures).

    Returns
    -------
    float64 array of shape (n,)
    """
    calm, bad = np.zeros(len(fortune.unpaid)), np.zeros(len(fortune.unpaid))
    billed = np.ones(len(fortune.unpaid), bool)
    for future in range(1, futures + 1):
        state, reached = fortune, fortune.unpaid >= DEFAULT_COUNT
        for scene in (replace(s, chance=Chance(s.chance.seed, future)) for s in scenes):
            lost = loses_income(scene, state)
            state = live(scene, state, lost)
            able = ability(scene.people, state, float(economy[scene.month.index]))
            struck = episodes(scene, able, state, lost=lost, wait_days=calm, without=_HARMLESS)
            state = consequences(scene, state, struck)
            payment = pay(scene, state, able)
            reached |= defaults_in(scene.people, state, payment, scene.month.index, month_days)[0]
            state = replace(state, unpaid=unpaid_after(state, payment, billed))
        bad += reached
    return bad / futures
