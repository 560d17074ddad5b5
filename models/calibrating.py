"""Calibrating: three maps are fitted, the one that predicts best on later rows is kept; on few bads the level alone."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.models.calibration import Calibration, Method, calibration_inputs
from limitlens.models.validation import MIN_BADS

#: In the order of preference: a later one must predict better by more than one standard error.
METHODS: tuple[Method, ...] = ("platt", "beta", "isotonic")

#: A method is chosen only from at least so many bad rows; with fewer it is Platt, below
#: :data:`~limitlens.models.validation.MIN_BADS` the level alone.
_CHOSEN_FROM = 100


def fit_calibration(method: Method, scores: FloatArray, bad: BoolArray) -> Calibration:
    """Fit one map; a simpler one where this one would fall.

    Parameters
    ----------
    method : {"level", "platt", "beta", "isotonic"}
    scores : float64 array of shape (n,)
        Log-odds of rows the model has not seen.
    bad : bool array of shape (n,)
        Both classes must occur.

    Examples
    --------
    >>> scores, bad = np.array([-2.0, -1.0, 1.0, 2.0]), np.array([True, False, True, False])
    >>> fit_calibration("platt", scores, bad)
    Calibration(method='level', values=((0.0, 1.0),))
    """
    if method == "level":
        return Calibration("level", ((_level(scores, bad), 1.0),))
    intercept, *weights = _logistic(calibration_inputs("platt" if method == "isotonic" else method, scores), bad)
    if method == "beta" and min(weights) < 0:
        return fit_calibration("platt", scores, bad)
    if max(weights) <= 0:
        return fit_calibration("level", scores, bad)
    if method == "isotonic":
        at, levels = _centred_isotonic(scores, bad)
        return Calibration("isotonic", (at, levels, (weights[0],)))
    return Calibration(method, ((intercept, *weights),))


def _level(scores: FloatArray, bad: BoolArray) -> float:
    """By how much all log-odds have to move for as many bads as there are; half a case of each is added."""
    wanted = (bad.sum() + 0.5) / (len(bad) + 1)
    shift = brentq(lambda by: float(expit(scores + by).mean()) - wanted, -1e3, 1e3, xtol=1e-12)
    return round(float(shift), 9)


def _logistic(inputs: FloatArray, bad: BoolArray) -> tuple[float, ...]:
    """Intercept and weights, by Platt's targets: (bads + 1) / (bads + 2) for a bad row, 1 / (goods + 2) for a good one.

    They keep the weights finite where the scores part the classes without an error.
    """
    bads = int(bad.sum())
    target = np.where(bad, (bads + 1) / (bads + 2), 1 / (len(bad) - bads + 2))
    both, weight = np.repeat([True, False], len(bad)), np.concatenate([target, 1 - target])
    fit = LogisticRegression(C=np.inf, max_iter=1_000).fit(np.tile(inputs, (2, 1)), both, sample_weight=weight)
    return float(fit.intercept_[0]), *map(float, fit.coef_[0])


def _centred_isotonic(scores: FloatArray, bad: BoolArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scores and log-odds, one point in the middle of each step of isotonic regression: no two scores share a PD.

    A step without bads (or goods) is no proof of impossibility: half a case of each is added to the whole.

    References
    ----------
    Oron, A. P., Flournoy, N. (2017). Centered isotonic regression. *Statistics in Biopharmaceutical Research* 9(3).
    """
    order = np.argsort(scores, kind="stable")
    steps = IsotonicRegression().fit(scores, bad).predict(scores[order])
    starts = np.flatnonzero(np.diff(steps, prepend=np.nan) != 0)
    rows = np.diff(starts, append=len(order))
    at = np.add.reduceat(scores[order], starts) / rows
    edge = 0.5 / (len(bad) + 1)
    return tuple(at.tolist()), tuple(logit(np.clip(steps[starts], edge, 1 - edge)).tolist())


def choose_calibration(scores: FloatArray, bad: BoolArray, later: BoolArray) -> Calibration:
    """Fit each map on the earlier rows, keep the method that predicts the later ones best, and fit it on all.

    Parameters
    ----------
    scores, bad : arrays of shape (n,)
        As in :func:`fit_calibration`.
    later : bool array of shape (n,)
        Rows that judge.
    """
    if min(bad.sum(), (~bad).sum()) < MIN_BADS:
        return fit_calibration("level", scores, bad)
    best: Method = "platt"
    if min(bad[later].sum(), bad[~later].sum()) >= _CHOSEN_FROM:
        losses = {
            m: _log_loss(fit_calibration(m, scores[~later], bad[~later]), scores[later], bad[later]) for m in METHODS
        }
        for method in METHODS[1:]:
            gain = losses[best] - losses[method]
            if gain.mean() > gain.std() / np.sqrt(len(gain)):
                best = method
    return fit_calibration(best, scores, bad)


def _log_loss(calibration: Calibration, scores: FloatArray, bad: BoolArray) -> FloatArray:
    log_odds = calibration.log_odds(scores)
    losses: FloatArray = -log_expit(np.where(bad, log_odds, -log_odds))
    return losses
