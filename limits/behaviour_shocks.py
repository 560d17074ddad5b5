"""Shocks to behaviour, as moves of the feature table that hang together: lines used more, inflows that shrink.

What belongs together moves together, as it does for :mod:`limitlens.limits.customer_actions`; what a shock cannot know
(on how many days it would have been bought, say) stays as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.limits.groups import with_ratios

#: Inflows shrink for so many days before the decision: those that the affordability band reads.
REACH_DAYS = 90

_OF_AMOUNTS = frozenset({"sum", "mean", "max", "min", "last", "std"})


@dataclass
class _Moves:
    """A feature table and the columns of it that moved so far."""

    table: pd.DataFrame
    moved: dict[str, FloatArray] = field(default_factory=dict)

    def before(self, name: str) -> FloatArray:
        """A column without the shock."""
        return self.table[name].to_numpy(np.float64)

    def __getitem__(self, name: str) -> FloatArray:
        return self.moved[name] if name in self.moved else self.before(name)

    def with_ratios(self, features: FeatureSet) -> pd.DataFrame:
        """The table with the columns that moved, and the ratios of them."""
        moved = {
            name: column
            for name, column in self.moved.items()
            if not np.array_equal(column, self.before(name), equal_nan=True)
        }
        return with_ratios(features, self.table.assign(**moved))


def use_more(features: FeatureSet, table: pd.DataFrame, limit_cents: IntArray, share: FloatArray) -> pd.DataFrame:
    """The feature table, had each line bought for a share of what it can still draw, in one purchase just now.

    Parameters
    ----------
    features : FeatureSet
    table : DataFrame of shape (n, ...)
    limit_cents : int64 array of shape (n,)
        Limits in force.
    share : float64 array of shape (n,)
        In [0, 1].

    Returns
    -------
    DataFrame of the same shape, ratios computed afresh
        The balance, what was borrowed in every window, and count, sum, mean, largest and last purchase follow.
    """
    if "balance_cents" not in table:
        return table
    moves = _Moves(table)
    cents = np.floor(share * np.maximum(limit_cents - moves["balance_cents"], 0))
    bought = cents > 0
    moves.moved["balance_cents"] = moves["balance_cents"] + cents
    for declared in features.aggregates:
        if declared.rows == "flow" and declared.how == "sum":
            for name in declared.column_names():
                moves.moved[name] = moves[name] + cents
        if declared.rows == "consumption" and declared.kinds == ("purchase",) and not declared.only:
            _follow_purchase(declared, features, moves, (cents, bought))
    return moves.with_ratios(features)


def _follow_purchase(
    declared: Aggregate,
    features: FeatureSet,
    moves: _Moves,
    purchase: tuple[FloatArray, BoolArray],
) -> None:
    cents, bought = purchase
    changes: dict[str, Callable[[FloatArray], FloatArray]] = {
        "sum": lambda old: old + cents,
        "max": lambda old: np.where(bought, np.fmax(old, cents), old),
        "count": lambda old: old + bought,
        "last": lambda old: np.where(bought, cents, old),
        "days_since_last": lambda old: np.where(bought, 0.0, old),
        "days_since_first": lambda old: np.where(bought & np.isnan(old), 0.0, old),
    }
    for window in declared.windows:
        name = declared.column_name(window)
        if declared.how == "mean":
            count = _count_of(declared, window, features, moves)
            moves.moved[name] = _mean_with(moves.before(name), count, cents, bought)
        elif declared.how in changes and (declared.how == "max" or not declared.per):
            moves.moved[name] = changes[declared.how](moves.before(name))


def _count_of(declared: Aggregate, window: int, features: FeatureSet, moves: _Moves) -> FloatArray | None:
    """Number of rows of a window of the same rows, where the set has it."""
    for one in features.aggregates:
        same = (one.rows, one.kinds, one.only, one.per, one.how) == (declared.rows, declared.kinds, "", 0, "count")
        if same and window in one.windows:
            return moves.before(one.column_name(window))
    return None


def _mean_with(mean: FloatArray, count: FloatArray | None, cents: FloatArray, bought: BoolArray) -> FloatArray:
    """A mean after one more amount; as it was where it is not known over how many."""
    if count is None:
        return mean
    more = (np.nan_to_num(mean) * count + cents) / (count + 1)
    return np.where(bought, more, mean)


def shrink_inflows(features: FeatureSet, table: pd.DataFrame, share: FloatArray) -> pd.DataFrame:
    """The feature table, had every inflow of the last :data:`REACH_DAYS` days been smaller by a share.

    Parameters
    ----------
    features : FeatureSet
    table : DataFrame of shape (n, ...)
    share : float64 array of shape (n,)
        In [0, 1].

    Returns
    -------
    DataFrame of the same shape, ratios computed afresh
        Amounts of windows within reach shrink, sums of longer ones by what is lost within it; counts and days stay.
    """
    moves = _Moves(table)
    mine = [a for a in features.aggregates if a.rows == "payment" and a.kinds == ("transfer_in",)]
    for declared in (a for a in mine if a.column == "amount_cents" and a.how in _OF_AMOUNTS):
        lost: FloatArray = np.zeros(len(table))
        for window in sorted(declared.windows, key=lambda days: days or np.inf):
            name = declared.column_name(window)
            if 0 < window <= REACH_DAYS:
                smaller = moves[name] * (1 - share)
                kept = np.floor(smaller + 1e-9) if declared.how == "sum" else smaller
                lost, moves.moved[name] = moves[name] - kept, kept
            elif declared.how == "sum":
                moves.moved[name] = moves[name] - lost
    return moves.with_ratios(features)
