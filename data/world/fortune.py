"""What happens to customers as the months pass: the economy, their income, their stress, what they manage to pay.

Stress follows an AR(1) path with jumps; ability is quality less stress less the state of the economy. Arrears are a
chain over the number of unpaid instalments, in which the weak enter more and leave less. The same step serves the
world as it happens and the futures that could have happened.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.chance import Chance
from limitlens.data.world.people import People
from limitlens.data.world.scene import Scene

DUE_DAY = 18

#: With so many unpaid instalments a line has been 90 days past due.
DEFAULT_COUNT = 4

#: Log-odds of missing an instalment with 0, 1, 2 and 3 or more unpaid ones.
_MISS = np.array([-5.0, -0.95, 0.3, 1.3])


@dataclass(frozen=True)
class Fortune:
    """State of n customers at the start of a month; arrays of shape (n,).

    Parameters
    ----------
    stress : float64
    unpaid : int64
        Unpaid instalments; they are always the latest ones.
    poor_until, forgets_until, gone_from : int64
        Months: income is lost before, instalments are missed before, nothing is ever paid from then on.
    """

    stress: FloatArray
    unpaid: IntArray
    poor_until: IntArray
    forgets_until: IntArray
    gone_from: IntArray

    def some(self, chosen: IntArray) -> "Fortune":
        """The state of the customers at some places."""
        return Fortune(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})


@dataclass(frozen=True)
class Payment:
    """What becomes of the instalments of a month, arrays of shape (n,).

    ``missed``: the instalment of the month is not paid; ``cures``: all arrears are paid; ``catches_up``: only the
    oldest unpaid instalment is paid, and the new one is left open; ``arrears_day``: when, in days of the month.
    """

    missed: BoolArray
    cures: BoolArray
    catches_up: BoolArray
    arrears_day: FloatArray


def birth(chance: Chance, people: People) -> Fortune:
    """State at the start of the world: nobody is in arrears."""
    none = np.zeros(len(people.number), np.int64)
    return Fortune(0.7 * chance.normal("first stress", people.number), none, none, none, none + 10_000)


def economy(chance: Chance, months: int) -> FloatArray:
    """State of the economy by month: stress that everybody shares, AR(1)."""
    level, path = 0.0, np.zeros(months)
    for month in range(months):
        level = 0.9 * level + 0.06 * float(chance.normal("economy", month))
        path[month] = level
    return path


def loses_income(scene: Scene, fortune: Fortune) -> BoolArray:
    """Who loses income this month; the self-employed twice as often."""
    rate = scene.world.causes["income_loss"].rate * np.array([0.8, 1.6, 0.6, 1.2])[scene.people.segment]
    strikes = scene.chance.below(rate, "loses income", scene.number, scene.month.index)
    return strikes & (fortune.poor_until <= scene.month.index)


def live(scene: Scene, fortune: Fortune, lost: BoolArray) -> Fortune:
    """The state after the news of the month: who lost income is poor for three to six months."""
    spell = scene.month.index + 3 + scene.chance.pick(4, "how long poor", scene.number, scene.month.index)
    jump = np.where(lost, 3.2 * scene.world.causes["income_loss"].severity, 0.0)
    noise = 0.36 * scene.chance.normal("stress", scene.number, scene.month.index)
    return replace(
        fortune,
        stress=0.87 * fortune.stress + noise + jump,
        poor_until=np.where(lost, spell, fortune.poor_until),
    )


def ability(people: People, fortune: Fortune, economy_now: float) -> FloatArray:
    """Ability and will to pay, about standard normal."""
    able: FloatArray = 0.6 * people.quality - 0.75 * fortune.stress - economy_now
    return able


def sigmoid(values: FloatArray) -> FloatArray:
    """Logistic function."""
    shares: FloatArray = 1.0 / (1.0 + np.exp(-values))
    return shares


def pay(scene: Scene, fortune: Fortune, able: FloatArray) -> Payment:
    """Decide who pays what this month."""
    odds = _MISS[np.minimum(fortune.unpaid, 3)] - 1.15 * able
    missed = scene.chance.uniform("misses", scene.number, scene.month.index) < sigmoid(odds)
    missed |= (scene.month.index < fortune.forgets_until) | (scene.month.index >= fortune.gone_from)
    behind = (fortune.unpaid > 0) & ~missed
    whole = scene.chance.below(0.7, "pays all arrears", scene.number, scene.month.index)
    day = 2 + 22 * scene.chance.uniform("arrears day", scene.number, scene.month.index)
    return Payment(missed, behind & whole, behind & ~whole, day)


def unpaid_after(fortune: Fortune, payment: Payment, billed: BoolArray) -> IntArray:
    """Unpaid instalments at the end of the month; who catches up by one leaves the new one open."""
    grown = fortune.unpaid + (payment.missed & billed)
    after: IntArray = np.where(payment.cures, 0, grown)
    return np.where(payment.catches_up & ~billed, np.maximum(fortune.unpaid - 1, 0), after)


def defaults_in(fortune: Fortune, payment: Payment, month: int, month_days: list[int]) -> tuple[BoolArray, FloatArray]:
    """Who is 90 days past due for the first time this month, and on which day since the start.

    The oldest of three unpaid instalments fell due three months ago; it is 90 days old unless it was paid before.
    """
    due = month_days[max(month - 3, 0)] + DUE_DAY - 1
    reached = float(due + 90)
    paid = month_days[month] + payment.arrears_day
    in_time = (payment.cures | payment.catches_up) & (paid < reached)
    third = fortune.unpaid == DEFAULT_COUNT - 1
    return third & ~in_time & (month >= 3), np.full(len(third), reached)
