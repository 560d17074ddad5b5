"""Who the customers are: what stays with them as the months pass."""

from dataclasses import dataclass, fields

import numpy as np

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.chance import Chance
from limitlens.data.world.settings import WorldSettings

SEGMENTS = ("salaried", "self_employed", "student", "merchant")
JOBS = ("employee", "self-employed", "in education", "shop owner")
CITIES = tuple(f"city-{k:02d}" for k in range(1, 31))

#: Where the cities lie: (latitude, longitude) in millionths of a degree, five rows of six, some 400 km apart.
PLACES = tuple((24_000_000 + 3_500_000 * (k // 6), 101_000_000 + 4_000_000 * (k % 6)) for k in range(len(CITIES)))
CATEGORIES = ("groceries", "fuel", "restaurants", "clothing", "electronics", "travel", "health", "utilities", "stock")

_SEGMENT_BOUNDS = np.array([0.55, 0.75, 0.90])
_MEDIAN_INCOME_CENTS = np.array([800_000, 900_000, 250_000, 1_200_000], np.float64)
_INCOME_SPREAD = np.array([0.35, 0.6, 0.3, 0.6])
_AGE = np.array([38, 42, 22, 45])
_CITY_CROWDING = 1.6

#: Salaried customers share this many employers.
EMPLOYERS = 300

#: The two-day case, whatever the seed: the first lines open on this day of the last month, and are drawn in cash.
_FIXED_DAY = 11 + 10 / 24

#: So many neighbouring accounts can be one family.
_FAMILY = 3

#: A ring lives among this many neighbouring accounts, and takes in one in thirty of them.
RING_SPAN = 400
_RING_SHARE = 1 / 30

#: The lines of a ring open within so many days.
RING_DAYS = 25


@dataclass(frozen=True)
class People:
    """Facts of n customers with one line each; arrays of shape (n,), times in days since the start.

    ``employer``, ``ring`` and ``family`` are -1 where there is none. ``means`` is the lasting part of the ability to
    pay. ``due_share`` is the part of the balance that falls due each month, on ``due_day``: 1 for lines paid in full,
    less for lines paid in instalments.
    """

    number: IntArray
    segment: IntArray
    income_cents: FloatArray
    quality: FloatArray
    means: FloatArray
    activity: FloatArray
    limit_cents: IntArray
    due_share: FloatArray
    due_day: IntArray
    opened_day: FloatArray
    city: IntArray
    favourite: IntArray
    employer: IntArray
    ring: IntArray
    family: IntArray
    fixed: BoolArray
    age: IntArray
    sex: IntArray

    def some(self, chosen: IntArray) -> "People":
        """The customers at some places."""
        return People(**{fact.name: getattr(self, fact.name)[chosen] for fact in fields(self)})

    def names(self) -> list[str]:
        """Account ids."""
        return [f"A{number + 1:06d}" for number in self.number]


def draw_people(chance: Chance, world: WorldSettings, number: IntArray, month_days: list[int]) -> People:
    """Customers by their numbers; the same number is the same person in a portfolio of any size.

    Parameters
    ----------
    number : int64 array of shape (n,)
    month_days : list of int
        Day on which each month begins, and the day on which the last one ends.
    """
    portfolio, state = world.portfolio, world.state
    segment = np.searchsorted(_SEGMENT_BOUNDS, chance.uniform("segment", number))
    fixed = number < portfolio.two_day_cases
    ring = np.where(fixed, -1, _rings(chance, world, number))
    family = np.where(fixed | (ring >= 0), -1, _families(chance, world, number))
    city = _city(chance, "city", np.where(family >= 0, _FAMILY * family, number))
    fortune = _INCOME_SPREAD[segment] * chance.normal("income", number)
    fortune = fortune + portfolio.city_income_spread * chance.normal("city income", city)
    income = _MEDIAN_INCOME_CENTS[segment] * np.exp(fortune)
    quality = chance.normal("quality", number)
    quality = np.where(fixed, 1.0, np.where(ring >= 0, 0.8, quality))
    seen_quality = 0.6 * quality + 0.8 * chance.normal("seen quality", number)
    limit = np.ceil(np.clip(income * (1.5 + 0.5 * seen_quality), 50_000, 20_000_000) / 10_000) * 10_000
    full = chance.below(0.25 + 0.12 * quality, "pays in full", number)
    return People(
        number=number,
        segment=segment,
        income_cents=income,
        quality=quality,
        means=state.quality_weight * quality + state.income_weight * fortune,
        activity=np.where(chance.below(0.12, "dormant", number), 0.08, np.exp(0.5 * chance.normal("active", number))),
        limit_cents=np.where(fixed, (number + 2) * 500_000, limit).astype(np.int64),
        due_share=np.where(full, 1.0, np.where(chance.below(0.5, "long plan", number), 0.12, 0.25)),
        due_day=np.array(portfolio.due_days)[chance.pick(len(portfolio.due_days), "due day", number)],
        opened_day=_openings(chance, number, ring, fixed, month_days),
        city=city,
        favourite=chance.pick(len(CATEGORIES) - 1, "favourite", number),
        employer=np.where(segment == 0, chance.pick(EMPLOYERS, "employer", number), -1),
        ring=ring,
        family=family,
        fixed=fixed,
        age=np.clip(_AGE[segment] + 8 * chance.normal("age", number), 18, 75).astype(np.int64),
        sex=chance.pick(2, "sex", number),
    )


def elsewhere(chance: Chance, city: IntArray, purpose: str, *keys: object) -> IntArray:
    """Another city than the given one."""
    away = _city(chance, purpose, *keys)
    moved: IntArray = np.where(away == city, (city + 1) % len(CITIES), away)
    return moved


def _city(chance: Chance, purpose: str, *keys: object) -> IntArray:
    return (chance.uniform(purpose, *keys) ** _CITY_CROWDING * len(CITIES)).astype(np.int64)


def _rings(chance: Chance, world: WorldSettings, number: IntArray) -> IntArray:
    """Ring of each account, -1 for none: some neighbourhoods have one."""
    group = number // RING_SPAN
    active = chance.below(min(1.0, world.causes["ring_fraud"].rate / _RING_SHARE), "ring", group)
    member = active & chance.below(_RING_SHARE, "ring member", number)
    return np.where(member, group, -1)


def _families(chance: Chance, world: WorldSettings, number: IntArray) -> IntArray:
    """Family of each account, -1 for none: neighbours who share a phone."""
    group = number // _FAMILY
    return np.where(chance.below(world.causes["family_phone"].rate, "family", group), group, -1)


def _openings(chance: Chance, number: IntArray, ring: IntArray, fixed: BoolArray, month_days: list[int]) -> FloatArray:
    """Six in ten are there at the start; the others open every month; rings open within weeks."""
    stock: BoolArray = chance.below(0.6, "stock", number)
    old = -5 - 725 * chance.uniform("age of the line", number)
    new = chance.uniform("opening", number) * (month_days[-1] - 4)
    ring_opens = chance.uniform("ring opens", ring + 1) * month_days[-1] * 0.7
    opened = np.where(ring >= 0, ring_opens + RING_DAYS * chance.uniform("joins", number), np.where(stock, old, new))
    return np.where(fixed, month_days[-2] + _FIXED_DAY, opened)
