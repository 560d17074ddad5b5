"""False positives beside true positives at equal PD: what tells good flagged lines from bad ones.

Everything a PD is made of tells good from bad, so two means of SHAP values restate the PD. Here good and bad lines are
compared inside bands of almost equal PD only, and what is left of its log-odds inside a band is held fixed by
regression: what differs then, the model does not know or weighs wrongly.

Outcomes are known only where nothing was cut yet, so the contrast is drawn on the validation rows: lines as the
lender left them, decided on paper with out-of-sample PDs.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit, ndtr, ndtri

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.protected import is_place, is_protected

#: Flagged lines in a band of PD, about.
_BAND = 20

#: Fewer good or bad lines than this are not compared.
FEWEST = 10

#: Where nothing differs, something is told in so many books (Benjamini & Hochberg 1995).
_FALSE = 0.01

#: A difference is stable when so many bootstrap draws have its sign.
_STABLE = 0.95
_DRAWS = 500

#: Of a difference of the smallest size that could have been found.
_POWER = 0.8

#: Above this p-value of the normal distribution a feature is not worth permutations: it cannot be told.
_HOPELESS = 0.05

#: Numbers held at once by a resampling.
_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Contrast:
    """Good and bad flagged lines, compared at equal PD.

    Parameters
    ----------
    good, bad, bands : int
        Lines in the bands of PD that have both, and these bands.
    smallest : float or None
        The difference, in standard deviations inside a band, that is found four times in five; None: nothing was
        compared.
    features : list of dict
        One a feature, the likeliest difference first: ``feature, reason, push, push_low, push_high, value, value_low,
        value_high`` (good less bad: SHAP in log-odds, and value in its unit, None where it has none; the ends are those
        of a 95% interval), ``p``, ``adjusted_p`` (for as many features as were asked), ``stable``, ``told``.
    not_told : list of dict
        The same of features that say where or who somebody is: nobody's reason.
    """

    good: int
    bad: int
    bands: int
    smallest: float | None
    features: list[dict[str, Any]]
    not_told: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def contrast(
    shap: pd.DataFrame, values: pd.DataFrame, bad: BoolArray, pd_: FloatArray, reason_of: dict[str, str]
) -> Contrast:
    """Compare good and bad flagged lines at equal PD, feature by feature.

    A difference is the coefficient of good in a regression of the feature on the bands, the log-odds and good.
    The p-value is that of the larger of the two differences, contribution and value, each in its standard error, among
    permutations of the outcomes inside the bands; the intervals are of a bootstrap of the lines inside the bands.

    Parameters
    ----------
    shap : DataFrame of shape (n, columns)
        SHAP values of the flagged lines, in log-odds.
    values : DataFrame of shape (n, columns)
        What they were computed of; a missing value counts as the mean of its band, a column without any value (a code)
        has no difference of its own.
    bad : bool array of shape (n,)
        Matured outcomes; each account once.
    pd_ : float64 array of shape (n,)
        Out-of-sample.
    reason_of : mapping of column to reason code

    References
    ----------
    Benjamini, Y., Hochberg, Y. (1995). Controlling the false discovery rate. *JRSS B* 57, 289-300.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> bad, pd_ = rng.random(400) < 0.5, rng.random(400)
    >>> shap = pd.DataFrame({"login_count_2d": rng.normal(size=400) + bad, "dpd_days": rng.normal(size=400)})
    >>> [one["feature"] for one in contrast(shap, shap, bad, pd_, {}).features if one["told"]]
    ['login_count_2d']
    """
    order = np.argsort(pd_, kind="stable")
    good = ~bad[order]
    sizes = np.array([len(part) for part in np.array_split(order, max(1, len(order) // _BAND))])
    band = np.repeat(np.arange(len(sizes)), sizes)
    goods = np.bincount(band, good, len(sizes))
    both = (goods > 0) & (goods < sizes)
    inside = both[band]
    counts = int(good[inside].sum()), int((~good[inside]).sum()), int(both.sum())
    if min(counts[:2]) < FEWEST:
        return Contrast(*counts, None, [], [])
    rows = order[inside]
    bands = _Bands(good[inside].astype(np.float64), sizes[both], logit(pd_[rows]))
    columns = np.hstack([frame.to_numpy(np.float64)[rows] for frame in (shap, values)])
    table = _compared(bands, bands.at_equal_pd(columns), list(map(str, shap.columns)))
    table.insert(1, "reason", [reason_of.get(name, "") for name in table["feature"]])
    table.loc[values.isna().all().to_numpy(), ["value", "value_low", "value_high"]] = np.nan
    smallest = (ndtri(1 - _FALSE / 2 / len(table)) + ndtri(_POWER)) / np.sqrt(bands.weight)
    table = table.sort_values(["p", "z"], ascending=[True, False], kind="stable").drop(columns="z")
    personal = [name not in reason_of and (is_place(name) or is_protected(name)) for name in table["feature"]]
    apart = np.array(personal, bool)
    return Contrast(*counts, float(smallest), _records(table[~apart]), _records(table[apart]))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


@dataclass(frozen=True)
class _Bands:
    """Whether each line is good (1.0 or 0.0), band after band; how many lines a band has; log-odds of each line."""

    good: FloatArray
    sizes: IntArray
    log_odds: FloatArray

    @property
    def starts(self) -> IntArray:
        return np.cumsum(self.sizes) - self.sizes

    @property
    def goods(self) -> FloatArray:
        return np.asarray(np.add.reduceat(self.good, self.starts), np.float64)

    @cached_property
    def weight(self) -> float:
        """Sum of squares of good at equal PD: the inverse of the variance of a difference of columns of variance 1."""
        return float(self.good @ self.at_equal_pd(self.good[:, None])[:, 0])

    def centred(self, columns: FloatArray) -> FloatArray:
        """Columns less their means in each band; 0 where missing."""
        known = ~np.isnan(columns)
        sums = np.add.reduceat(np.where(known, columns, 0.0), self.starts, axis=0)
        means = sums / np.maximum(np.add.reduceat(known, self.starts, axis=0, dtype=np.int64), 1)
        return np.where(known, columns - np.repeat(means, self.sizes, axis=0), 0.0)

    def at_equal_pd(self, columns: FloatArray) -> FloatArray:
        """Columns less their means in each band, and less what the log-odds inside the bands say of them."""
        centred, risk = self.centred(columns), self.centred(self.log_odds[:, None])[:, 0]
        slopes = risk @ centred / max(float(risk @ risk), 1e-12)
        return centred - risk[:, None] * slopes

    def spread(self, residual: FloatArray) -> FloatArray:
        """Standard deviation of the sum over the good lines when outcomes are permuted inside the bands."""
        squares = np.add.reduceat(residual**2, self.starts, axis=0)
        per_square = self.goods * (self.sizes - self.goods) / (self.sizes * np.maximum(self.sizes - 1, 1))
        return np.asarray(np.sqrt(per_square @ squares), np.float64)


def _compared(bands: _Bands, residual: FloatArray, names: list[str]) -> pd.DataFrame:
    """Differences, intervals and p-values of each feature; ``residual`` has the SHAP values, then the values."""
    from scipy.stats import false_discovery_control  # noqa: PLC0415 - a second to import; a report reads only words

    rng = np.random.default_rng(1)
    sums, spread = bands.good @ residual, bands.spread(residual)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    z = np.abs(sums * scale).reshape(2, -1)
    difference, largest = sums / bands.weight, z.max(axis=0)
    p = _p_values(bands, residual * scale, largest, rng)
    drawn = _bootstrap(bands, residual, rng)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    same = ((np.sign(drawn) == np.sign(difference)) & (difference != 0)).mean(axis=0).reshape(2, -1)
    adjusted, stable = false_discovery_control(p), same[z.argmax(axis=0), np.arange(len(names))] >= _STABLE
    ends = {
        f"{kind}{end}": values[half]
        for kind, half in (("push", slice(0, len(names))), ("value", slice(len(names), None)))
        for end, values in (("", difference), ("_low", low), ("_high", high))
    }
    columns = {"feature": names, **ends, "p": p, "adjusted_p": adjusted, "stable": stable, "z": largest}
    return pd.DataFrame(columns).assign(told=(adjusted <= _FALSE) & stable)


def _p_values(bands: _Bands, scaled: FloatArray, largest: FloatArray, rng: np.random.Generator) -> FloatArray:
    """How often permuted outcomes differ as much; so many draws that one feature among all could be told."""
    p: FloatArray = np.minimum(1.0, 4 * ndtr(-largest))
    hopeful = np.flatnonzero(p < _HOPELESS)
    if not len(hopeful):
        return p
    mine = scaled[:, np.concatenate([hopeful, hopeful + len(p)])]
    draws, reached = int(len(p) / _FALSE), np.zeros(len(hopeful))
    step = max(1, _AT_ONCE // len(bands.good))
    for start in range(0, draws, step):
        permuted = _permuted(bands, min(step, draws - start), rng) @ mine
        most = np.abs(permuted).reshape(len(permuted), 2, -1).max(axis=1)
        reached += (most >= largest[hopeful] - 1e-9).sum(axis=0)
    p[hopeful] = (1 + reached) / (1 + draws)
    return p


def _permuted(bands: _Bands, draws: int, rng: np.random.Generator) -> FloatArray:
    """Outcomes permuted inside the bands, a row a draw."""
    outcomes = np.empty((draws, len(bands.good)))
    for size in np.unique(bands.sizes):
        places = (bands.starts[bands.sizes == size, None] + np.arange(size)).ravel()
        drawn = np.tile(bands.good[places], draws).reshape(-1, size)
        outcomes[:, places] = rng.permuted(drawn, axis=1).reshape(draws, -1)
    return outcomes


def _bootstrap(bands: _Bands, residual: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Differences of lines drawn again inside each band, a row a draw."""
    rows, starts, sizes = len(bands.good), np.repeat(bands.starts, bands.sizes), np.repeat(bands.sizes, bands.sizes)
    apart = float((bands.goods * (bands.sizes - bands.goods) / bands.sizes).sum())
    narrower, differences, step = bands.weight / apart, [], max(1, _AT_ONCE // rows)
    for start in range(0, _DRAWS, step):
        draws = min(step, _DRAWS - start)
        drawn = starts + (rng.random((draws, rows)) * sizes).astype(np.int64)
        drawn += rows * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * rows).reshape(draws, rows)
        goods = np.add.reduceat(times * bands.good, bands.starts, axis=1)
        weight = (goods * (bands.sizes - goods) / bands.sizes).sum(axis=1, keepdims=True)
        share = np.repeat(goods / bands.sizes, bands.sizes, axis=1)
        differences.append(times * (bands.good - share) @ residual / np.maximum(weight * narrower, 1e-12))
    return np.vstack(differences)
