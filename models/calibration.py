"""Calibration: from the score of a model to a probability of default that is true on average.

Three maps are fitted, the one that predicts best on later rows is kept: Platt (Platt 1999), beta (Kull, Silva Filho &
Flach 2017) and isotonic (Zadrozny & Elkan 2002). Whether a PD is true is tested by the Jeffreys test (ECB,
Instructions for reporting the validation results of internal models, 2019, section 2.5.3.1).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, log_expit, logit
from scipy.stats import beta as beta_distribution
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

Method = Literal["platt", "beta", "isotonic"]

#: In the order of preference: a later one must predict better by more than one standard error.
METHODS: tuple[Method, ...] = ("platt", "beta", "isotonic")

#: A method is chosen only from at least so many bad rows; with fewer it is Platt.
_MIN_BADS = 100


@dataclass(frozen=True)
class Calibration:
    """A fitted map from score (log-odds) to PD, increasing.

    Parameters
    ----------
    method : {"platt", "beta", "isotonic"}
    values : tuple of tuple of float
        Platt: ``((intercept, slope),)``. Beta: ``((intercept, of ln p, of -ln(1 - p)),)``, p the uncalibrated PD.
        Isotonic: scores and the log-odds of the PD at them, straight lines between.
    """

    method: Method
    values: tuple[tuple[float, ...], ...]

    def log_odds(self, scores: FloatArray) -> FloatArray:
        """Log-odds of the PD of each score.

        Examples
        --------
        >>> Calibration("platt", ((-1.0, 2.0),)).log_odds(np.array([0.5]))
        array([0.])
        """
        if self.method == "isotonic":
            at, levels = self.values
            return np.asarray(np.interp(scores, np.array(at), np.array(levels)), np.float64)
        inputs = _inputs(self.method, scores)
        found = np.full(len(scores), self.values[0][0])
        for k, weight in enumerate(self.values[0][1:]):  # a matrix product would round differently in batches
            found += weight * inputs[:, k]
        return found

    def shifted(self, by: float) -> "Calibration":
        """The map whose log-odds are higher by so much.

        Examples
        --------
        >>> Calibration("platt", ((-1.0, 2.0),)).shifted(0.5)
        Calibration(method='platt', values=((-0.5, 2.0),))
        """
        if self.method == "isotonic":
            at, levels = self.values
            return Calibration("isotonic", (at, tuple(level + by for level in levels)))
        return Calibration(self.method, ((self.values[0][0] + by, *self.values[0][1:]),))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"method": self.method, "values": [list(row) for row in self.values]}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> "Calibration":
        """The calibration :meth:`to_dict` wrote."""
        return cls(body["method"], tuple(tuple(row) for row in body["values"]))


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
    inputs = _inputs(method, scores)
    fit = LogisticRegression(C=np.inf, max_iter=1_000).fit(inputs, bad)
    if (fit.coef_[0] < 0).any() and method == "beta":
        return fit_calibration("platt", scores, bad)
    return Calibration(method, ((float(fit.intercept_[0]), *map(float, fit.coef_[0])),))


def _inputs(method: Method, scores: FloatArray) -> FloatArray:
    if method == "platt":
        return scores.reshape(-1, 1)
    return np.column_stack([log_expit(scores), -log_expit(-scores)])


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


def calibration_line(bad: BoolArray, pd_: FloatArray) -> tuple[float, float]:
    """Intercept and slope of outcomes on the log-odds of the PD: (0, 1) when the PDs are true (Cox 1958)."""
    fit = LogisticRegression(C=np.inf).fit(logit(pd_).reshape(-1, 1), bad)
    return float(fit.intercept_[0]), float(fit.coef_[0, 0])


def jeffreys_test(bads: int, rows: int, expected_share: float) -> float:
    """Probability that the true share of bads is at most the expected one: below 0.05 the PD is too low.

    Parameters
    ----------
    bads, rows : int
        Observed.
    expected_share : float
        Mean PD.

    Examples
    --------
    >>> round(jeffreys_test(10, 100, 0.05), 3)
    0.018
    """
    return float(beta_distribution.cdf(expected_share, bads + 0.5, rows - bads + 0.5))


def calibration_by(group: pd.Series, bad: BoolArray, pd_: FloatArray) -> pd.DataFrame:
    """Observed beside expected bads in each group, with the Jeffreys test.

    Returns
    -------
    DataFrame with ``group, rows, bads, observed_share, expected_share, ratio, riskiest_ratio, jeffreys``
        ``ratio``: observed by expected; ``riskiest_ratio``: the same among the riskiest 5% of the group.
    """
    rows = []
    for name, at in group.reset_index(drop=True).groupby(group.to_numpy()).groups.items():
        bads, expected = int(bad[at].sum()), float(pd_[at].mean())
        riskiest = at[np.argsort(-pd_[at], kind="stable")[: max(1, round(len(at) * 0.05))]]
        observed = bads / len(at)
        rows.append(
            {
                "group": str(name),
                "rows": len(at),
                "bads": bads,
                "observed_share": observed,
                "expected_share": expected,
                "ratio": observed / expected,
                "riskiest_ratio": float(bad[riskiest].sum() / pd_[riskiest].sum()),
                "jeffreys": jeffreys_test(bads, len(at), expected),
            }
        )
    return pd.DataFrame(rows)


def to_pd(log_odds: FloatArray) -> FloatArray:
    """Probability of each log-odds, strictly between 0 and 1."""
    found: FloatArray = np.clip(expit(log_odds), 1e-9, 1 - 1e-9)
    return found
