"""Rates with their intervals, and how many cases a rate needs."""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

#: Of all intervals so many hold the true rate.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Rate:
    """A share of some cases.

    Examples
    --------
    >>> rate = Rate(8, 20)
    >>> rate.share, [round(end, 3) for end in rate.interval]
    (0.4, [0.191, 0.639])
    >>> Rate(0, 0).share, Rate(0, 0).interval
    (nan, (0.0, 1.0))
    """

    count: int
    of: int

    @property
    def share(self) -> float:
        """The share; not a number of no cases."""
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval of a binomial share (Clopper and Pearson 1934)."""
        if not self.of:
            return 0.0, 1.0
        outside, others = (1 - CONFIDENCE) / 2, self.of - self.count
        low = betaincinv(self.count, others + 1, outside) if self.count else 0.0
        high = betaincinv(self.count + 1, others, 1 - outside) if others else 1.0
        return float(low), float(high)


def difference(one: Rate, other: Rate) -> tuple[float, float, float]:
    """How much larger one rate is than another, and the interval of that (Newcombe 1998, method 10).

    Examples
    --------
    >>> [round(x, 3) for x in difference(Rate(56, 70), Rate(48, 80))]
    [0.2, 0.052, 0.334]
    """
    if not (one.of and other.of):
        return float("nan"), -1.0, 1.0
    (low1, high1), (low2, high2) = (_wilson(rate) for rate in (one, other))
    gap, p1, p2 = one.share - other.share, one.share, other.share
    below, above = np.hypot(p1 - low1, high2 - p2), np.hypot(high1 - p1, p2 - low2)
    return gap, float(gap - below), float(gap + above)


def _wilson(rate: Rate) -> tuple[float, float]:
    from scipy.stats import binomtest  # noqa: PLC0415 - a second to import; most reports compare no two rates

    bounds = binomtest(rate.count, rate.of).proportion_ci(CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)


def cases_needed(rate: Rate, half_width: float) -> int:
    """How many cases make the interval of a rate reach no further than ``half_width`` to either side, about.

    Parameters
    ----------
    rate : Rate
        What is known so far; the value in its interval that needs most is taken.
    half_width : float

    Examples
    --------
    >>> cases_needed(Rate(0, 0), 0.05), cases_needed(Rate(20, 100), 0.05)
    (385, 318)
    """
    low, high = rate.interval
    share = min(max(0.5, low), high)
    z = ndtri(0.5 + CONFIDENCE / 2)
    return int(np.ceil(z**2 * share * (1 - share) / half_width**2))
