"""How well a model ranks before anybody knows who went bad: the AUC and the bad rate that its own PDs let expect.

If the PDs are true, each line is bad with its PD, and the expected AUC follows from the PDs alone (confidence-based
performance estimation). What chance does to the outcomes gives the interval. The PDs may first be brought to what
became of earlier lines (:mod:`limitlens.models.chaining`), and how little these say widens the interval.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from limitlens.data.arrays import FloatArray

#: Draws of the interval, and their seed: the same PDs give the same interval.
_DRAWS, _SEED = 400, 0

#: Lines of neighbouring PDs are drawn together, in at most so many groups.
_GROUPS = 2_000

_TINY = 1e-9


@dataclass(frozen=True)
class Recalibration:
    """Intercept and slope of outcomes on the log-odds of the PD, with the covariance of the two."""

    intercept: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def of(self, pd_: FloatArray) -> FloatArray:
        """PDs that are brought to it."""
        brought: FloatArray = expit(self.intercept + self.slope * log_odds(pd_))
        return brought


#: PDs as they are.
AS_THEY_ARE = Recalibration(0.0, 1.0, ((0.0, 0.0), (0.0, 0.0)))


@dataclass(frozen=True)
class Estimate:
    """AUC and share of bads that are expected, with intervals that hold the realised ones in 95 cases of 100.

    Parameters
    ----------
    lines : int
    auc, bad_share : float
        The AUC is not a number where the PDs expect fewer than one line of either kind.
    auc_interval, bad_interval : (float, float)
    """

    lines: int
    auc: float
    auc_interval: tuple[float, float]
    bad_share: float
    bad_interval: tuple[float, float]


def expected_auc(pd_: FloatArray, true: FloatArray | None = None) -> float:
    """The AUC of PDs: Σ p(1 − q) over pairs ranked p above q, ties half, by Σ p(1 − q) over all pairs, p and q true.

    Parameters
    ----------
    pd_ : float64 array of shape (n,)
        What ranks.
    true : float64 array of shape (n,), optional
        True PDs; default: the PDs are true.

    Examples
    --------
    >>> expected_auc(np.array([0.0, 1.0])), expected_auc(np.array([0.3, 0.3, 0.3]))
    (1.0, 0.5)
    """
    values, place, counts = np.unique(pd_, return_inverse=True, return_counts=True)
    p = pd_ if true is None else true
    bads: FloatArray = np.bincount(place, weights=p, minlength=len(values)).astype(np.float64)
    goods: FloatArray = counts.astype(np.float64) - bads
    # A pair of a line with itself is none.
    alone = float((p * (1 - p)).sum())
    pairs = float(bads.sum() * goods.sum()) - alone
    return (_ranked(bads, goods) - alone / 2) / pairs if pairs > _TINY else float("nan")


def _ranked(bads: FloatArray, goods: FloatArray) -> float:
    """Pairs of a bad line above a good one, half of those beside it; groups in the order of their PD."""
    below = np.cumsum(goods, axis=-1) - goods / 2
    return float((bads * below).sum())


def estimate(pd_: FloatArray, how: Recalibration = AS_THEY_ARE) -> Estimate:
    """Expect the AUC and the share of bads of lines whose outcomes nobody knows yet.

    Parameters
    ----------
    pd_ : float64 array of shape (n,)
    how : Recalibration

    Examples
    --------
    >>> expected = estimate(np.repeat([0.01, 0.30], 500))
    >>> round(expected.bad_share, 3), round(expected.auc, 3)
    (0.155, 0.777)
    """
    if not len(pd_):
        return Estimate(0, float("nan"), (0.0, 1.0), float("nan"), (0.0, 1.0))
    odds = np.sort(log_odds(pd_))
    moved = expit(how.intercept + how.slope * odds)
    rng = np.random.default_rng(_SEED)
    weights = rng.multivariate_normal([how.intercept, how.slope], how.covariance, _DRAWS)
    groups = np.array_split(np.arange(len(odds)), min(_GROUPS, len(odds)))
    size = np.array([len(group) for group in groups])
    middle = np.array([odds[group].mean() for group in groups])
    bads = rng.binomial(size, expit(weights[:, :1] + weights[:, 1:] * middle))
    drawn = np.array([_drawn_auc(one, size - one) for one in bads.astype(np.float64)])
    known = drawn[~np.isnan(drawn)]
    auc = expected_auc(moved)
    wide = len(known) < _DRAWS / 2 or np.isnan(auc)
    return Estimate(
        lines=len(pd_),
        auc=auc,
        auc_interval=(0.0, 1.0) if wide else _between(known),
        bad_share=float(moved.mean()),
        bad_interval=_between(bads.sum(axis=1) / len(pd_)),
    )


def _drawn_auc(bads: FloatArray, goods: FloatArray) -> float:
    pairs = float(bads.sum() * goods.sum())
    return _ranked(bads, goods) / pairs if pairs else float("nan")


def _between(values: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def log_odds(pd_: FloatArray) -> FloatArray:
    """Log-odds of PDs, of 0 and 1 nearly."""
    odds: FloatArray = logit(np.clip(pd_, _TINY, 1 - _TINY))
    return odds
