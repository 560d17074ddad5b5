"""The scene of one month: who lives it, in which world, by which chance."""

from dataclasses import dataclass

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.chance import Chance
from limitlens.data.world.people import People
from limitlens.data.world.settings import WorldSettings


@dataclass(frozen=True)
class Month:
    """One month: its index, its first day since the start, its length, and the month of the year (1 to 12)."""

    index: int
    first: int
    days: int
    of_year: int

    def holds(self, day: FloatArray) -> BoolArray:
        """Which days, counted since the start, lie in the month."""
        return (day >= self.first) & (day < self.first + self.days)


@dataclass(frozen=True)
class Scene:
    """Everything outside the customers' own state that one month needs."""

    chance: Chance
    world: WorldSettings
    people: People
    month: Month

    @property
    def number(self) -> IntArray:
        """Numbers of the customers: the first key of every random number of theirs."""
        return self.people.number
