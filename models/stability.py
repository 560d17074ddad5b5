"""Whether a distribution has moved: the population stability index, with a critical value that knows how many rows.

PSI = Σ (q − p) · ln(q / p) over bins. Without any change PSI / (1/n + 1/m) is about χ² with (bins − 1) degrees of
freedom (Yurdakul & Naranjo, Statistical properties of the population stability index, 2020), so a fixed limit such as
0.1 or 0.25 cries wolf on few rows and sleeps on many.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

from limitlens.data.arrays import FloatArray


@dataclass(frozen=True)
class Stability:
    """A PSI, and the value that chance exceeds in one case of a thousand."""

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
    known = before[~np.isnan(before)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1])) if len(known) else np.empty(0)
    counts = [_counts(values, edges) for values in (before, after)]
    used = counts[0] + counts[1] > 0
    # Half a row is added to every bin, so that an empty one is not infinitely far away.
    p, q = ((count[used] + 0.5) / (count[used] + 0.5).sum() for count in counts)
    scale = 1 / max(len(before), 1) + 1 / max(len(after), 1)
    critical = float(chi2.ppf(level, max(int(used.sum()) - 1, 1))) * scale
    return Stability(float(((q - p) * np.log(q / p)).sum()), critical)


def _counts(values: FloatArray, edges: FloatArray) -> FloatArray:
    place = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))
    return np.bincount(place, minlength=len(edges) + 2).astype(np.float64)
