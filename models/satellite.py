"""A satellite model: how a book's monthly rate of arrears follows macro series, by least squares on its log-odds.

``logit(rate) = a + Σ b·x`` over months, ordinary least squares (Wilson 1997; Boss 2002 for stress tests of banks). The
rate of a month is (bad + ½) / (lines + 1), so that a month without any has log-odds (Haldane 1956). A shock moves every
PD by the log-odds that the series move the rate by. With few months nothing can be said, and it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.errors import InputError

#: Fewer months, or fewer of them for each coefficient, the intercept among them, say nothing.
LEAST_MONTHS, LEAST_PER_COEFFICIENT = 24, 10


@dataclass(frozen=True)
class Satellite:
    """A fitted regression.

    Parameters
    ----------
    intercept : float
    weights, errors : mapping of str to float
        Log-odds for one unit of each series, and their standard errors.
    latest : mapping of str to float
        Each series in the last month of the fit.
    months : int
    r_squared : float
    durbin_watson : float
        Near 2 where residuals do not follow each other; far below it the errors are too small.
    """

    intercept: float
    weights: Mapping[str, float]
    errors: Mapping[str, float]
    latest: Mapping[str, float]
    months: int
    r_squared: float
    durbin_watson: float

    def shift(self, path: Mapping[str, Sequence[float]]) -> float:
        """Log-odds by which a path moves the rate, on the mean of its months, from where the series stand now.

        Raises
        ------
        InputError
            The path names other series than the fit.
        """
        if set(path) != set(self.weights):
            raise InputError(f"the path names {sorted(path)}, the series are {sorted(self.weights)}; name all of them.")
        means = {name: float(np.mean(values)) for name, values in path.items()}
        return float(sum(self.weights[name] * (means[name] - self.latest[name]) for name in path))


def fit_satellite(rates: pd.DataFrame, series: pd.DataFrame) -> Satellite:
    """Fit the regression on the months that both have.

    Parameters
    ----------
    rates : DataFrame indexed by month start, with ``bad`` and ``lines``
    series : DataFrame indexed by month start, a column each series

    Raises
    ------
    InputError
        There are too few months, or the series do not tell their weights apart.

    Examples
    --------
    >>> months = pd.date_range("2024-01-01", periods=24, freq="MS", tz="UTC")
    >>> x = np.sin(np.arange(24.0))
    >>> bad = np.rint(1e6 / (1 + np.exp(3 - 0.5 * x)))
    >>> rates = pd.DataFrame({"bad": bad, "lines": 10**6}, index=months)
    >>> fitted = fit_satellite(rates, pd.DataFrame({"stress": x}, index=months))
    >>> round(fitted.weights["stress"], 3), round(fitted.intercept, 3)
    (0.5, -3.0)
    """
    names = list(series.columns)
    both = rates.join(series, how="inner").dropna()
    needed = max(LEAST_MONTHS, LEAST_PER_COEFFICIENT * (1 + len(names)))
    if len(both) < needed:
        raise InputError(
            f"the book and the series share {len(both)} months, and {len(names)} series with an intercept need "
            f"{needed}; deliver a longer past or name fewer series."
        )
    inputs = np.column_stack([np.ones(len(both)), both[names].to_numpy(np.float64)])
    bad, lines = (both[name].to_numpy(np.float64) for name in ("bad", "lines"))
    target = np.log((bad + 0.5) / (lines - bad + 0.5))
    if np.linalg.matrix_rank(inputs) < inputs.shape[1]:
        raise InputError(f"the series {names} stand still or follow each other; their weights cannot be told apart.")
    weights, errors, residual = _least_squares(inputs, target)
    around = target - target.mean()
    return Satellite(
        intercept=float(weights[0]),
        weights=dict(zip(names, map(float, weights[1:]), strict=True)),
        errors=dict(zip(names, map(float, errors[1:]), strict=True)),
        latest={name: float(both[name].iloc[-1]) for name in names},
        months=len(both),
        r_squared=float(1 - residual @ residual / max(around @ around, 1e-300)),
        durbin_watson=float(np.square(np.diff(residual)).sum() / max(residual @ residual, 1e-300)),
    )


def _least_squares(inputs: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weights, their standard errors, and what is left of each month."""
    weights, *_ = np.linalg.lstsq(inputs, target, rcond=None)
    residual = target - inputs @ weights
    variance = float(residual @ residual) / (len(target) - inputs.shape[1])
    errors = np.sqrt(variance * np.diag(np.linalg.inv(inputs.T @ inputs)))
    return np.asarray(weights, np.float64), np.asarray(errors, np.float64), residual
