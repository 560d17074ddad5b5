"""Calibration: from the score of a model to a probability of default that is true on average.

Platt (Platt 1999), beta (Kull, Silva Filho & Flach 2017) or centred isotonic (Oron & Flournoy 2017), or the level
alone; how one is fitted and chosen stands in :mod:`limitlens.models.calibrating`. Each is strictly increasing: two
lines have the same PD only if they have the same score, and a higher score never means a lower PD.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from limitlens.data.arrays import FloatArray

Method = Literal["level", "platt", "beta", "isotonic"]


@dataclass(frozen=True)
class Calibration:
    """A fitted map from score (log-odds) to PD, strictly increasing.

    Parameters
    ----------
    method : {"level", "platt", "beta", "isotonic"}
    values : tuple of tuple of float
        Level and Platt: ``((intercept, slope),)``, of the level with slope 1. Beta: ``((intercept, of ln p,
        of -ln(1 - p)),)``, p the uncalibrated PD. Isotonic: scores, the log-odds of the PD at them with straight lines
        between, and ``(slope,)`` of the lines before the first and after the last.

    Raises
    ------
    ValueError
        The map would fall somewhere, or stand still.
    """

    method: Method
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if self.method == "isotonic":
            at, levels, slopes = self.values
            rising = (*np.diff(at), *np.diff(levels), *slopes)
        else:
            weights = self.values[0][1:]
            rising = (max(weights), *(weight for weight in weights if weight < 0))
        if not all(step > 0 for step in rising):
            raise ValueError(f"Got a calibration that does not rise everywhere: {self.method}, {self.values}.")

    def log_odds(self, scores: FloatArray) -> FloatArray:
        """Log-odds of the PD of each score.

        Examples
        --------
        >>> Calibration("platt", ((-1.0, 2.0),)).log_odds(np.array([0.5]))
        array([0.])
        """
        if self.method == "isotonic":
            at, levels, (slope,) = self.values
            beyond = scores - np.clip(scores, at[0], at[-1])
            return np.asarray(np.interp(scores, np.array(at), np.array(levels)) + slope * beyond, np.float64)
        inputs = calibration_inputs(self.method, scores)
        log_odds = np.full(len(scores), self.values[0][0])
        for k, weight in enumerate(self.values[0][1:]):  # a matrix product would round differently in batches
            log_odds += weight * inputs[:, k]
        return log_odds

    def shifted(self, by: float) -> "Calibration":
        """The map whose log-odds are higher by so much.

        Examples
        --------
        >>> Calibration("platt", ((-1.0, 2.0),)).shifted(0.5)
        Calibration(method='platt', values=((-0.5, 2.0),))
        """
        if self.method == "isotonic":
            at, levels, slopes = self.values
            return Calibration("isotonic", (at, tuple(level + by for level in levels), slopes))
        return Calibration(self.method, ((self.values[0][0] + by, *self.values[0][1:]),))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"method": self.method, "values": [list(row) for row in self.values]}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> "Calibration":
        """The calibration :meth:`to_dict` wrote."""
        return cls(body["method"], tuple(tuple(row) for row in body["values"]))


def calibration_inputs(method: Method, scores: FloatArray) -> FloatArray:
    """What the map of a level or Platt (one column) or beta (two) is linear in, for scores of shape (n,)."""
    if method in {"level", "platt"}:
        return scores.reshape(-1, 1)
    from scipy.special import log_expit  # noqa: PLC0415 - slow to import; many a command predicts nothing

    return np.column_stack([log_expit(scores), -log_expit(-scores)])


def to_pd(log_odds: FloatArray) -> FloatArray:
    """Probability of each log-odds, strictly between 0 and 1."""
    from scipy.special import expit  # noqa: PLC0415

    pd_: FloatArray = np.clip(expit(log_odds), 1e-9, 1 - 1e-9)
    return pd_
