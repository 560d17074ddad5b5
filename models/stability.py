"""Whether a distribution has moved: the population stability index, with a critical value that knows how many rows.

PSI = Σ (q − p) · ln(q / p) over bins. Without any change PSI / (1/n + 1/m) is about χ² with (bins − 1) degrees of
freedom (Yurdakul & Naranjo, Statistical properties of the population stability index, 2020), so a fixed limit such as
0.1 or 0.25 cries wolf on few rows and sleeps on many.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, t

from limitlens.data.arrays import FloatArray


@dataclass(frozen=True)
class Stability:
    """A PSI, and the value that chance exceeds in one case of a thousand, or as often as was asked for."""

    psi: float
    critical: float

    @property
    def moved(self) -> bool:
        """Whether the distribution has moved."""
        return self.psi > self.critical


def stability(before: FloatArray, after: FloatArray, bins: int = 10, level: float = 0.999) -> Stability:
    """PSI of two samples of one column.

    Parameters
    ----------
    before, after : float64 arrays of shape (n,), (m,)
        Bins hold equal shares of ``before``; missing values have one of their own.
    bins : int
    level : float
        Of the critical value; high, because many columns are tested.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> stability(rng.normal(size=500), rng.normal(size=500)).moved
    False
    >>> stability(rng.normal(size=500), rng.normal(0.5, size=500)).moved
    True
    """
    edges = bin_edges(before, bins)
    counts = [bin_counts(values, edges) for values in (before, after)]
    return stability_of(*counts, lines=(len(before), len(after)), level=level)


def bin_edges(values: FloatArray, bins: int = 10) -> FloatArray:
    """Edges of bins that hold equal shares of some values; a value that is on several of them is one edge."""
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.empty(0)


def bin_counts(values: FloatArray, edges: FloatArray) -> FloatArray:
    """How many values each bin holds, those that are missing last; an edge belongs to the bin below it."""
    place = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
    return np.bincount(place, minlength=len(edges) + 2).astype(np.float64)


def stability_of(before: FloatArray, after: FloatArray, *, lines: tuple[int, int], level: float = 0.999) -> Stability:
    """PSI of two counts over the same bins.

    Parameters
    ----------
    before, after : float64 arrays of shape (bins,)
    lines : (int, int)
        How many lines each is of, for the critical value: rows of one line at several times are no further lines.
    level : float

    Examples
    --------
    >>> stability_of(np.array([50.0, 50.0]), np.array([50.0, 50.0]), lines=(100, 100)).psi
    0.0
    """
    used = before + after > 0
    if not (used.any() and all(lines)):
        return Stability(0.0, float("inf"))
    # Half a row is added to every bin, so that an empty one is not infinitely far away.
    p, q = ((count[used] + 0.5) / (count[used] + 0.5).sum() for count in (before, after))
    critical = float(chi2.ppf(level, max(int(used.sum()) - 1, 1))) * (1 / lines[0] + 1 / lines[1])
    return Stability(float(((q - p) * np.log(q / p)).sum()), critical)


def amounts(values: FloatArray) -> FloatArray:
    """How many values are positive, and the sum of their logs; those of parts of a book add up to those of the whole.

    Examples
    --------
    >>> amounts(np.array([np.e, 1.0, 0.0, -5.0, np.nan]))
    array([2., 1.])
    """
    positive = values[values > 0]
    return np.array([len(positive), np.log(positive).sum()])


@dataclass(frozen=True)
class Change:
    """By how much a mean of logs changed in a month, and what it is usually, give or take how much."""

    now: float
    usual: float
    spread: float

    @property
    def moved(self) -> bool:
        """Whether it changed otherwise than usual."""
        return abs(self.now - self.usual) > self.spread


def change_of(months: Sequence[FloatArray], past_months: int, level: float) -> Change | None:
    """Change of the mean log since the month before, beside its changes in earlier months (Student's t).

    Their spread has in it what chance does to a book of that size, and what the calendar does to amounts.

    Parameters
    ----------
    months : sequence of float64 arrays of shape (2,)
        Of :func:`amounts`, in order.
    past_months : int
        Changes that are the past.
    level : float
        How often it is within the spread where nothing happens.

    Returns
    -------
    Change or None
        None where fewer than three earlier changes are known, or not the last.

    Examples
    --------
    >>> calm, odd = np.array([100.0, 500.0]), np.array([100.0, 540.0])
    >>> change_of([calm, calm, calm, calm, odd], 12, 0.999).moved, change_of([calm, odd], 12, 0.999)
    (True, None)
    """
    means = np.array([total / count if count else np.nan for count, total in months[-past_months - 2 :]])
    changes = np.diff(means)
    past = changes[:-1][~np.isnan(changes[:-1])]
    if len(past) < 3 or np.isnan(changes[-1]):
        return None
    error = float(past.std(ddof=1)) * np.sqrt(1 + 1 / len(past))
    return Change(float(changes[-1]), float(past.mean()), float(t.ppf((1 + level) / 2, len(past) - 1) * error))


def usual_movement(months: Sequence[FloatArray]) -> float:
    """How far a column is from its nearest other month in a month that is unusual: the second farthest of them.

    The farthest is left out, so that one month with a fault does not hide the next one.

    Parameters
    ----------
    months : sequence of float64 arrays of shape (bins,)
        Counts over the same bins.

    Examples
    --------
    >>> calm, odd = np.array([50.0, 50.0]), np.array([10.0, 90.0])
    >>> usual_movement([calm, calm, odd, calm]), usual_movement([calm])
    (0.0, 0.0)
    """
    if len(months) < 3:
        return 0.0
    share = np.array(months) + 0.5
    share /= share.sum(axis=1, keepdims=True)
    log = np.log(share)
    psi = ((share[:, None] - share[None]) * (log[:, None] - log[None])).sum(axis=-1)
    np.fill_diagonal(psi, np.inf)
    return float(np.sort(psi.min(axis=1))[-2])
