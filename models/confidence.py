"""How well a model ranks before anybody knows who went bad: the AUC and the bad rate that its own PDs let expect.

If the PDs are true, each line is bad with its PD, and the expected AUC follows from the PDs alone (confidence-based
performance estimation). What chance does to the outcomes gives the interval. Where earlier lines have matured, the PDs
are first brought to what these became, and how little they say widens the interval.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.models.validation import MIN_BADS

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


def expected_auc(pd_: FloatArray) -> float:
    """The AUC of PDs that are true: Σ p(1 − q) over pairs ranked p above q, ties half, by Σ p(1 − q) over all pairs.

    Parameters
    ----------
    pd_ : float64 array of shape (n,)

    Examples
    --------
    >>> expected_auc(np.array([0.0, 1.0])), expected_auc(np.array([0.3, 0.3, 0.3]))
    (1.0, 0.5)
    """
    values, place, counts = np.unique(pd_, return_inverse=True, return_counts=True)
    bads: FloatArray = np.bincount(place, weights=pd_, minlength=len(values)).astype(np.float64)
    goods: FloatArray = counts.astype(np.float64) - bads
    # A pair of a line with itself is none.
    alone = float((pd_ * (1 - pd_)).sum())
    pairs = float(bads.sum() * goods.sum()) - alone
    return (_ranked(bads, goods) - alone / 2) / pairs if pairs > _TINY else float("nan")


def _ranked(bads: FloatArray, goods: FloatArray) -> float:
    """Pairs of a bad line above a good one, half of those beside it; groups in the order of their PD."""
    below = np.cumsum(goods, axis=-1) - goods / 2
    return float((bads * below).sum())


def recalibrate_on(bad: BoolArray, pd_: FloatArray) -> Recalibration:
    """Bring PDs to what became of matured lines; as they are where fewer than 20 of a kind are known.

    Parameters
    ----------
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
        PDs they had.

    Examples
    --------
    >>> recalibrate_on(np.array([True, False]), np.array([0.2, 0.1])).slope
    1.0
    """
    if min(int(bad.sum()), int((~bad).sum())) < MIN_BADS:
        return AS_THEY_ARE
    odds = _log_odds(pd_)
    x = np.column_stack([np.ones(len(odds)), odds])
    # Newton's steps from the PDs as they are; a slope of 1 with a spread of 0.5 is what is believed before.
    weight, prior = np.array([0.0, 1.0]), np.diag([0.0, 4.0])
    for _ in range(50):
        p = expit(x @ weight)
        hessian = (x * (p * (1 - p))[:, None]).T @ x + prior
        step = np.linalg.solve(hessian, x.T @ (bad - p) - prior @ (weight - [0.0, 1.0]))
        weight = weight + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:
            break
    (a, b), (c, d) = np.linalg.inv(hessian)
    return Recalibration(float(weight[0]), float(weight[1]), ((float(a), float(b)), (float(c), float(d))))


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
    odds = np.sort(_log_odds(pd_))
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


def _log_odds(pd_: FloatArray) -> FloatArray:
    odds: FloatArray = logit(np.clip(pd_, _TINY, 1 - _TINY))
    return odds
