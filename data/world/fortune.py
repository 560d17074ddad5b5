"""What happens to customers as the months pass: the economy, their income, their stress, what they manage to pay.

Stress follows an AR(1) path with jumps; ability is lasting means and their drift, less stress, less the state of the
economy. Who does not pay is short of ability or of will, and lost income takes of both. Arrears are a chain over the
number of unpaid instalments, in which the weak enter more and leave less. The same step serves the world as it happens
and the futures that could have happened.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.chance import Chance
from limitlens.data.world.mechanisms import State
from limitlens.data.world.people import People
from limitlens.data.world.scene import Scene

#: What stress takes of the ability to pay.
STRESS_WEIGHT = 0.75

#: With so many unpaid instalments a line has been 90 days past due.
DEFAULT_COUNT = 4


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
    slips_in : int64
        Month whose instalment is forgotten until somebody reminds of it.
    drift, will : float64
        Of ability, from its lasting means; and the will to pay.
    """

    stress: FloatArray
    unpaid: IntArray
    poor_until: IntArray
    forgets_until: IntArray
    gone_from: IntArray
    slips_in: IntArray
    drift: FloatArray
    will: FloatArray

    def some(self, chosen: IntArray) -> "Fortune":
        """The state of the customers at some places."""
        return Fortune(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})


@dataclass(frozen=True)
class Payment:
    """What becomes of the instalments of a month, arrays of shape (n,).

    ``missed``: the instalment of the month is not paid; ``cures``: all arrears are paid; ``catches_up``: only the
    oldest unpaid instalment is paid, and the new one is left open; ``arrears_day``: when, in days of the month;
    ``reminded``: the instalment of the month is paid late, after a reminder.
    """

    missed: BoolArray
    cures: BoolArray
    catches_up: BoolArray
    arrears_day: FloatArray
    reminded: BoolArray


def birth(chance: Chance, people: People, state: State) -> Fortune:
    """State at the start of the world: nobody is in arrears."""
    number = people.number
    none = np.zeros(len(number), np.int64)
    return Fortune(
        stress=0.7 * chance.normal("first stress", number),
        unpaid=none,
        poor_until=none,
        forgets_until=none,
        gone_from=none + 10_000,
        slips_in=none - 1,
        drift=_settled(state.ability_spread, state.ability_persistence) * chance.normal("first drift", number),
        will=will_spread(state) * chance.normal("first will", number),
    )


def will_spread(state: State) -> float:
    """Standard deviation of will among customers who lost no income."""
    return _settled(state.will_spread, state.will_persistence)


def _settled(spread: float, persistence: float) -> float:
    """Standard deviation of an AR(1) path that has gone on for long."""
    return spread / float(np.sqrt(1 - persistence**2))


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
    state = scene.world.state
    return replace(
        fortune,
        stress=0.87 * fortune.stress + noise + jump,
        poor_until=np.where(lost, spell, fortune.poor_until),
        drift=_drifted(scene, "drift", fortune.drift, state.ability_spread, kept=state.ability_persistence)
        - state.ability_scar * lost,
        will=_drifted(scene, "will", fortune.will, state.will_spread, kept=state.will_persistence)
        - state.will_scar * lost,
    )


def _drifted(scene: Scene, purpose: str, before: FloatArray, spread: float, *, kept: float) -> FloatArray:
    """One step of an AR(1) path; one without a spread stands still."""
    if not spread:
        return before
    return kept * before + spread * scene.chance.normal(purpose, scene.number, scene.month.index)


def ability(people: People, fortune: Fortune, economy_now: float) -> FloatArray:
    """Ability to pay, about standard normal."""
    able: FloatArray = people.means + fortune.drift - STRESS_WEIGHT * fortune.stress - economy_now
    return able


def sigmoid(values: FloatArray) -> FloatArray:
    """Logistic function."""
    shares: FloatArray = 1.0 / (1.0 + np.exp(-values))
    return shares


def pay(scene: Scene, fortune: Fortune, able: FloatArray) -> Payment:
    """Decide who pays what this month."""
    state, month = scene.world.state, scene.month.index
    odds = np.array(state.miss_log_odds)[np.minimum(fortune.unpaid, 3)] - 1.15 * able - state.will_weight * fortune.will
    missed = scene.chance.uniform("misses", scene.number, month) < sigmoid(odds)
    refuses = (month < fortune.forgets_until) | (month >= fortune.gone_from)
    missed |= refuses | (fortune.slips_in == month)
    reminded = _pays_when_reminded(scene, fortune) & missed & ~refuses
    missed &= ~reminded
    behind = (fortune.unpaid > 0) & ~missed
    whole = scene.chance.below(0.7, "pays all arrears", scene.number, scene.month.index)
    day = 2 + 22 * scene.chance.uniform("arrears day", scene.number, scene.month.index)
    return Payment(missed, behind & whole, behind & ~whole, day, reminded)


def _pays_when_reminded(scene: Scene, fortune: Fortune) -> BoolArray:
    """Who would pay an instalment after a reminder; those with older ones open are past being reminded."""
    reminder = scene.world.reminder
    if reminder is None:
        return np.zeros(len(fortune.unpaid), bool)
    share = np.where(fortune.slips_in == scene.month.index, reminder.heeded, reminder.roused)
    share = np.where(fortune.unpaid == 0, share, 0.0)
    return scene.chance.below(share, "heeds the reminder", scene.number, scene.month.index)


def unpaid_after(fortune: Fortune, payment: Payment, billed: BoolArray) -> IntArray:
    """Unpaid instalments at the end of the month; who catches up by one leaves the new one open."""
    grown = fortune.unpaid + (payment.missed & billed)
    after: IntArray = np.where(payment.cures, 0, grown)
    return np.where(payment.catches_up & ~billed, np.maximum(fortune.unpaid - 1, 0), after)


def defaults_in(
    people: People, fortune: Fortune, payment: Payment, month: int, month_days: list[int]
) -> tuple[BoolArray, FloatArray]:
    """Who is 90 days past due for the first time this month, and on which day since the start.

    The oldest of three unpaid instalments fell due three months ago; it is 90 days old unless it was paid before.
    """
    reached: FloatArray = month_days[max(month - 3, 0)] + people.due_day.astype(np.float64) + 89
    paid = month_days[month] + payment.arrears_day
    in_time = (payment.cures | payment.catches_up) & (paid < reached)
    third: BoolArray = fortune.unpaid == DEFAULT_COUNT - 1
    return third & ~in_time & (month >= 3), reached
