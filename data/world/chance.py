"""Chance: random numbers that belong to what they are for, not to the order in which they are drawn.

Each number is a hash of the seed, its purpose and its keys (customer, month, count), so that it does not depend on
how many customers there are, on chunks, or on which other causes are at work: the common random numbers of variance
reduction. The hash is the finaliser of SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), chained over the keys.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from limitlens.data.arrays import BoolArray, FloatArray, IntArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

#: No month of a customer has more events of one kind.
_MOST = 60


@dataclass(frozen=True)
class Chance:
    """All random numbers of one world.

    Parameters
    ----------
    seed : int
    future : int
        Worlds of one seed and several futures are equal in nothing; used to ask what else could have happened.

    Examples
    --------
    >>> one, many = Chance(7).uniform("rain", 3), Chance(7).uniform("rain", np.arange(5))
    >>> bool(one == many[3])
    True
    """

    seed: int
    future: int = 0

    def uniform(self, purpose: str, *keys: Any) -> FloatArray:
        """Numbers in (0, 1), one for each combination of the keys (integers or int arrays, broadcast)."""
        drawn: FloatArray = ((self.bits(purpose, *keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        return drawn

    def bits(self, purpose: str, *keys: Any) -> npt.NDArray[np.uint64]:
        """Numbers of 64 random bits, one for each combination of the keys."""
        start = hashlib.sha256(f"{self.seed}:{self.future}:{purpose}".encode()).digest()[:8]
        with np.errstate(over="ignore"):
            state = np.asarray(int.from_bytes(start, "little"), np.uint64)
            for key in keys:
                state = _mixed(state + (np.asarray(key).astype(np.uint64) + np.uint64(1)) * _STEP)
        return state

    def normal(self, purpose: str, *keys: Any) -> FloatArray:
        """Standard normal numbers."""
        drawn: FloatArray = ndtri(self.uniform(purpose, *keys))
        return drawn

    def below(self, share: Any, purpose: str, *keys: Any) -> BoolArray:
        """True with probability ``share``."""
        return np.asarray(self.uniform(purpose, *keys) < share)

    def pick(self, count: int, purpose: str, *keys: Any) -> IntArray:
        """Whole numbers from 0 up to ``count``, each equally likely."""
        return (self.uniform(purpose, *keys) * count).astype(np.int64)

    def poisson(self, mean: FloatArray, purpose: str, *keys: Any) -> IntArray:
        """Poisson counts of given means, by inversion; at most 60."""
        drawn = self.uniform(purpose, *keys)
        mass = np.exp(-mean)
        reached, count = mass.copy(), np.zeros(len(mean), np.int64)
        for k in range(1, _MOST + 1):
            open_ = drawn > reached
            if not open_.any():
                break
            count += open_
            mass = mass * mean / k
            reached = reached + mass
        return count


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
