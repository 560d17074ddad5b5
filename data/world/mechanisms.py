"""Mechanisms of a world: how causes show, what lines and customers are like, how customers answer; read from TOML."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Manner:
    """How a cause shows: how many draws and purchases, over how many days, and what comes with them.

    Parameters
    ----------
    draws, purchases : (int, int)
        Fewest and most.
    days : float
    quiet_days : float
        At most so long nothing is spent after the first sign-in.
    password, fails, passed_on, night, away, atm : float
        Probabilities of a password change, of a failed first sign-in, of passing the draws on at once, of acting at
        night, of being in another city, of drawing at a machine.
    device : str
        A ``new`` phone of the customer's own, a ``strange`` one, or the ``usual`` one.
    to : str
        To whom draws are passed on: a ``person``, a ``payee`` of many, a ``platform``, the ``mule`` of a ring.
    """

    draws: tuple[int, int]
    purchases: tuple[int, int]
    days: float
    quiet_days: float = 0.0
    password: float = 0.0
    fails: float = 0.04
    passed_on: float = 0.0
    night: float = 0.1
    away: float = 0.0
    atm: float = 0.3
    device: Literal["usual", "new", "strange"] = "usual"
    to: Literal["person", "payee", "platform", "mule"] = "person"


@dataclass(frozen=True)
class Portfolio:
    """What the lines are like, and what the lender sees of them.

    Parameters
    ----------
    due_days : tuple of int
        Days of the month on which instalments fall due; each line has one of them.
    two_day_cases : int
        The first so many lines open on one day of the last month, and are drawn in cash.
    city_income_spread : float
        Standard deviation of the log of the incomes of the cities.
    opaque_ids : bool
        Ids of events, devices and counterparties are hashes, and tell nothing of where they come from.
    """

    due_days: tuple[int, ...] = (18,)
    two_day_cases: int = 6
    city_income_spread: float = 0.0
    opaque_ids: bool = False


@dataclass(frozen=True)
class State:
    """The latent state that makes a customer pay or not: ability, which moves spending too, and will.

    Parameters
    ----------
    miss_log_odds : tuple of 4 floats
        Log-odds of missing an instalment with 0, 1, 2 and 3 or more unpaid ones, at average ability and will.
    quality_weight, income_weight : float
        What lasting quality, and the log of income against the segment's, add to ability.
    ability_spread, ability_persistence, ability_scar : float
        Ability drifts by so much a month, keeps so much of its drift, and loses so much when income is lost.
    will_spread, will_persistence, will_scar : float
        The same for will. Without a spread there is no will, and who takes the money of a new line is left to chance.
    will_weight : float
        What will adds to the log-odds of paying.
    income_shows : float
        By how much the log of income moves with the drift of ability.
    """

    miss_log_odds: tuple[float, float, float, float] = (-5.0, -0.95, 0.3, 1.3)
    quality_weight: float = 0.6
    income_weight: float = 0.0
    ability_spread: float = 0.0
    ability_persistence: float = 0.0
    ability_scar: float = 0.0
    will_spread: float = 0.0
    will_persistence: float = 0.0
    will_scar: float = 0.0
    will_weight: float = 0.0
    income_shows: float = 0.0


@dataclass(frozen=True)
class Reminder:
    """The lender reminds of an instalment so many days after it was missed, if nothing else is overdue.

    ``heeded``: share of those who had forgotten it that pay then; ``roused``: share of the others that does.
    """

    after_days: float
    heeded: float
    roused: float


@dataclass(frozen=True)
class Answer:
    """How customers answer an adverse action: shares of those it strikes; the rest goes on as before.

    Parameters
    ----------
    leaves : float
        Repay everything and go to another lender; up to twice as many of the able.
    in_need : float
        Needed the line and get into trouble, by ``stress``; of those in debt, up to twice as many of the weak.
    pays : float
        Pay at once what is due.
    draws_less : float
        Use the line ``appetite`` times as much from then on.
    """

    leaves: float
    in_need: float
    pays: float
    draws_less: float
    stress: float = 1.5
    appetite: float = 0.5
