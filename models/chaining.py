"""PDs brought to what became of lines a month at a time, so that no label has to mature before it says something.

A line is bad within h months if it defaults in the first of them, or if it does not and is bad within h - 1 months by
the PD that it then has. So what lines of a PD become in one month, chained over the horizon, says what they become in
all of it: roll rates (Cyert, Davidson & Thompson, Estimation of the allowance for doubtful accounts by Markov chains,
1962), fitted as temporal differences (Sutton, Learning to predict by the methods of temporal differences, 1988). Every
month of every line counts, until the last one, and where a line went says more than whether it went bad. It is right as
far as the PD sums up what is known of a line.
"""

import numpy as np
import pandas as pd
from scipy.special import expit

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.models.confidence import AS_THEY_ARE, Recalibration, log_odds
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.validation import MIN_BADS

#: Accounts are dealt into so many blocks, each left out once, to see how sure it is (delete-a-group jackknife).
_BLOCKS = 20

#: Places of a line: the log-odds of its PD in tenths; that it went bad; that it did not, where no more is asked.
_TENTHS = 10
_BAD, _GOOD = 1_000, -1_000


def moves(account_id: pd.Series, before: FloatArray, bad: BoolArray, after: FloatArray | None = None) -> pd.DataFrame:
    """Count lines by the PD they had and what they became.

    Parameters
    ----------
    account_id : Series of str of length n
    before : float64 array of shape (n,)
        PD.
    bad : bool array of shape (n,)
        Whether the line went bad in the step.
    after : float64 array of shape (n,), optional
        PD at its end, of any value for bad lines; none: a step is the whole horizon.

    Returns
    -------
    DataFrame with ``before, after, block, lines``
        Counts of several steps are put one below the other.
    """
    stayed = np.full(len(bad), _GOOD) if after is None else _place(after)
    rows = pd.DataFrame(
        {
            "before": _place(before),
            "after": np.where(bad, _BAD, stayed),
            "block": fold_of(account_numbers(account_id), _BLOCKS, 0),
        }
    )
    return rows.groupby(["before", "after", "block"]).size().rename("lines").reset_index()


def _place(pd_: FloatArray) -> IntArray:
    places: IntArray = np.round(log_odds(np.nan_to_num(pd_, nan=0.5)) * _TENTHS).astype(np.int64)
    return places


def chained(counts: pd.DataFrame, steps: int) -> Recalibration:
    """Bring PDs to what lines became, chained over a number of steps.

    Parameters
    ----------
    counts : DataFrame
        Of :func:`moves`.
    steps : int
        Steps of the horizon.

    Returns
    -------
    Recalibration
        PDs as they are where fewer than 20 lines of a kind are known.

    Examples
    --------
    >>> ids = pd.Series([f"A{n}" for n in range(1000)])
    >>> was, bad = np.full(1000, 0.1), np.arange(1000) < 100
    >>> how = chained(moves(ids, was, bad, was), 2)  # a tenth in each of two months
    >>> how.of(np.array([0.1])).round(2)
    array([0.19])
    """
    pairs, at = np.unique(counts[["before", "after"]].to_numpy(), axis=0, return_inverse=True)
    before, after = pairs[:, 0], pairs[:, 1]
    by_block = np.zeros((_BLOCKS, len(pairs)))
    np.add.at(by_block, (counts["block"].to_numpy(), at.reshape(-1)), counts["lines"].to_numpy())
    lines = by_block.sum(axis=0)
    bads = lines[after == _BAD].sum()
    if min(bads, lines.sum() - bads) < MIN_BADS:
        return AS_THEY_ARE
    without = np.array([_chain(before, after, lines - block, steps) for block in by_block])
    spread = without - without.mean(axis=0)
    (a, b), (c, d) = (_BLOCKS - 1) / _BLOCKS * spread.T @ spread
    intercept, slope = _chain(before, after, lines, steps)
    return Recalibration(float(intercept), float(slope), ((float(a), float(b)), (float(c), float(d))))


def _chain(before: IntArray, after: IntArray, lines: FloatArray, steps: int) -> FloatArray:
    """Intercept and slope in log-odds of what lines become over some steps."""
    places, at = np.unique(before, return_inverse=True)
    odds, stays = places / _TENTHS, (after != _BAD) & (after != _GOOD)
    total: FloatArray = np.bincount(at, lines).astype(np.float64)
    weights, later = np.array([0.0, 1.0]), np.where(after == _BAD, 1.0, 0.0)
    for _ in range(steps):
        weights = _fitted(odds, total, np.bincount(at, lines * later).astype(np.float64))
        later[stays] = expit(weights[0] + weights[1] * after[stays] / _TENTHS)
    return weights


def _fitted(odds: FloatArray, lines: FloatArray, bads: FloatArray) -> FloatArray:
    """Logistic regression of bads on log-odds; a slope of 1 with a spread of 0.5 is what is believed before."""
    x, prior, believed = np.column_stack([np.ones(len(odds)), odds]), np.diag([0.0, 4.0]), np.array([0.0, 1.0])

    def loss(weights: FloatArray) -> float:
        return float(lines @ np.logaddexp(0, x @ weights) - bads @ x @ weights + 2 * (weights[1] - 1) ** 2)

    weights = believed
    for _ in range(100):
        p = expit(x @ weights)
        gradient = x.T @ (lines * p - bads) + prior @ (weights - believed)
        step = np.linalg.solve((x * (lines * p * (1 - p))[:, None]).T @ x + prior, gradient)
        while loss(weights - step) > loss(weights) and np.abs(step).max() > 1e-9:
            step = step / 2  # Newton's step goes too far where hardly any line is of the other kind
        weights = weights - step
        if np.abs(step).max() <= 1e-9:
            break
    return weights
