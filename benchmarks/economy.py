"""Does the regression on macro series find what the economy of a world does: `python -m benchmarks.economy`.

Customers of the shipped world who always owe something live month by month by its own functions (income, stress, what
they manage to pay; no episode of fraud). The economy of the world is the macro series. Printed by world: the fitted
weight with its standard error and Durbin-Watson, of lines that fall 30 days behind in a month (what `limitlens stress
--economy` fits) and of lines that are 30 days behind (the stock, which grows with the age of the book); then the
truth, from living the same chance again in an economy that is worse by a constant: by how many log-odds a unit moves
the rate of those who fall behind, and the share that defaults within twelve months.
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.calendar import add_months
from limitlens.data.world.chance import Chance
from limitlens.data.world.fortune import DEFAULT_COUNT, ability, birth, economy, live, loses_income, pay, unpaid_after
from limitlens.data.world.people import draw_people
from limitlens.data.world.scene import Month, Scene
from limitlens.data.world.settings import default_world
from limitlens.data.world.simulation import START
from limitlens.models.satellite import Satellite, fit_satellite

#: How much worse the other economy is, and the months until the first state is forgotten.
WORSE, SETTLING = 0.2, 12

#: With so many unpaid instalments a line is 30 days past due at the end of the month.
BEHIND = 2

HORIZON = 12


def unpaid_by_month(seed: int, customers: int, path: FloatArray) -> IntArray:
    """Unpaid instalments of each customer at the end of each month, of shape (months, customers)."""
    world, chance = default_world(), Chance(seed)
    days = [(add_months(START, k) - START).days for k in range(len(path) + 1)]
    people = draw_people(chance, world, np.arange(customers), days)
    fortune, billed = birth(chance, people, world.state), np.ones(customers, bool)
    months = []
    for index, level in enumerate(path):
        month = Month(index, days[index], days[index + 1] - days[index], (START.month + index - 1) % 12 + 1)
        scene = Scene(chance, world, people, month)
        fortune = live(scene, fortune, loses_income(scene, fortune))
        payment = pay(scene, fortune, ability(people, fortune, float(level)))
        fortune = replace(fortune, unpaid=unpaid_after(fortune, payment, billed))
        months.append(fortune.unpaid)
    return np.array(months)


def log_odds(share: float) -> float:
    return float(np.log(share / (1 - share)))


def falling(unpaid: IntArray) -> tuple[IntArray, IntArray]:
    """Lines that fall behind in each month but the first, and lines that could."""
    could = unpaid[:-1] < BEHIND
    return (could & (unpaid[1:] >= BEHIND)).sum(axis=1), could.sum(axis=1)


def defaulting(unpaid: IntArray) -> float:
    """Share of lines not behind that reach default within the horizon, over all months after the first ones."""
    starts = range(SETTLING, len(unpaid) - HORIZON)
    reached = [(unpaid[k + 1 : k + 1 + HORIZON] >= DEFAULT_COUNT).any(axis=0)[unpaid[k] < BEHIND] for k in starts]
    return float(np.concatenate(reached).mean())


def fitted(bad: IntArray, lines: IntArray, path: FloatArray) -> Satellite:
    index = pd.DatetimeIndex([add_months(START, k) for k in range(len(path))])
    rates = pd.DataFrame({"bad": bad, "lines": lines}, index=index)
    return fit_satellite(rates.iloc[SETTLING:], pd.DataFrame({"stress": path}, index=index))


def moved_by(unpaid: IntArray, worse: IntArray) -> float:
    """Log-odds by which one unit of the economy moves the share that falls behind."""
    rates = [float(bad[SETTLING:].sum() / lines[SETTLING:].sum()) for bad, lines in map(falling, (unpaid, worse))]
    return (log_odds(rates[1]) - log_odds(rates[0])) / WORSE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--months", type=int, default=60)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    for seed in given.seeds:
        path = economy(Chance(seed), given.months)
        unpaid, worse = (unpaid_by_month(seed, given.customers, path + more) for more in (0.0, WORSE))
        bad, could = falling(unpaid)
        flow = fitted(bad, could, path[1:])
        stock = fitted((unpaid >= BEHIND).sum(axis=1), np.full(len(path), given.customers), path)
        of_default = [log_odds(defaulting(one)) for one in (unpaid, worse)]
        true = moved_by(unpaid, worse), (of_default[1] - of_default[0]) / WORSE
        print(
            f"world {seed}: "
            + ", ".join(
                f"{name} {one.weights['stress']:+.2f} ± {one.errors['stress']:.2f} (DW {one.durbin_watson:.2f})"
                for name, one in (("fitted", flow), ("stock", stock))
            )
            + f"; truth {true[0]:+.2f}, of default within {HORIZON} months {true[1]:+.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
