"""Calibrating: three maps are fitted, the one that predicts best on later rows is kept."""

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from limitlens.models.calibration import Calibration, Method, calibration_inputs

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

#: In the order of preference: a later one must predict better by more than one standard error.
METHODS: tuple[Method, ...] = ("platt", "beta", "isotonic")

#: A method is chosen only from at least so many bad rows; with fewer it is Platt.
_MIN_BADS = 100


def fit_calibration(method: Method, scores: FloatArray, bad: BoolArray) -> Calibration:
    """Fit one map.

    Parameters
    ----------
    method : {"platt", "beta", "isotonic"}
    scores : float64 array of shape (n,)
        Log-odds of rows the model has not seen.
    bad : bool array of shape (n,)
        Both classes must occur.
    """
    if method == "isotonic":
        fitted = IsotonicRegression(out_of_bounds="clip").fit(scores, bad)
        # A step without bads (or goods) is no proof of impossibility: half a case of each is added to the whole.
        edge = 0.5 / (len(bad) + 1)
        levels = np.clip(fitted.y_thresholds_, edge, 1 - edge)
        return Calibration("isotonic", (tuple(fitted.X_thresholds_.tolist()), tuple(logit(levels).tolist())))
    inputs = calibration_inputs(method, scores)
    fit = LogisticRegression(C=np.inf, max_iter=1_000).fit(inputs, bad)
    if (fit.coef_[0] < 0).any() and method == "beta":
        return fit_calibration("platt", scores, bad)
    return Calibration(method, ((float(fit.intercept_[0]), *map(float, fit.coef_[0])),))


def choose_calibration(scores: FloatArray, bad: BoolArray, later: BoolArray) -> Calibration:
    """Fit each map on the earlier rows, keep the method that predicts the later ones best, and fit it on all.

    Parameters
    ----------
    scores, bad : arrays of shape (n,)
        As in :func:`fit_calibration`.
    later : bool array of shape (n,)
        Rows that judge.
    """
    best: Method = "platt"
    if min(bad[later].sum(), bad[~later].sum()) >= _MIN_BADS:
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
