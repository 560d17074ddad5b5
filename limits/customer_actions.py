"""Customer actions: what a customer could have done differently, as moves of the feature table that hang together.

An action is named by the reason code it answers and is taken with a strength in [0, 1]: 0 leaves the behaviour as it
was, 1 removes it. What belongs together moves together: draws that were not made are missing in every window that would
hold them, and were never owed; money paid back is in the repayments and no longer in the balance. What an action cannot
know (the mean balance of the quarter, say) stays as it was.

Only what customers do themselves is an action of theirs. The age of the line, its segment and attributes, devices and
places, incoming payments and what other accounts do are not.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.limits.groups import with_ratios

#: Draws, purchases and transfers are left out of so many days before the decision.
REACH_DAYS = 30

_LATE = "late_payments"
_THINNED = frozenset({"count", "sum"})

_Columns = dict[str, FloatArray]


def take_actions(features: FeatureSet, table: pd.DataFrame, fractions: Mapping[str, FloatArray]) -> pd.DataFrame:
    """The feature table, had customers taken some actions.

    Parameters
    ----------
    features : FeatureSet
    table : DataFrame of shape (n, ...)
        Feature table of the set.
    fractions : mapping of str to float64 array of shape (n,)
        How far each of :data:`CUSTOMER_ACTIONS` is taken, in [0, 1]; one of :data:`WHOLE` counts as 1 from anything on.

    Returns
    -------
    DataFrame of the same shape, ratios computed afresh
        Counts stay whole and are never below 0, a longer window never holds less than a shorter one.
    """
    columns = {name: table[name].to_numpy(np.float64) for name in features.columns}
    for code, take in CUSTOMER_ACTIONS.items():
        if code in fractions:
            take(features, columns, fractions[code])
    moved = {name: column for name, column in columns.items() if not _same(column, table[name])}
    return with_ratios(features, table.assign(**moved))


def all_paid(features: FeatureSet, table: pd.DataFrame) -> pd.DataFrame:
    """The same lines, had they paid whatever is overdue just now: nothing is past due or missed any more.

    Parameters
    ----------
    features : FeatureSet
    table : DataFrame of shape (n, ...)
        Feature table of the set.

    Returns
    -------
    DataFrame of the same shape, ratios computed afresh; what was paid late stays late
    """
    columns = {name: table[name].to_numpy(np.float64) for name in features.columns}
    _pay_what_is_overdue(features, columns, np.ones(len(table)))
    moved = {name: column for name, column in columns.items() if not _same(column, table[name])}
    return with_ratios(features, table.assign(**moved))


def _same(column: FloatArray, before: pd.Series) -> bool:
    return bool(np.array_equal(column, before.to_numpy(np.float64), equal_nan=True))


def _fewer_draws(features: FeatureSet, columns: _Columns, fraction: FloatArray) -> None:
    """Cash not drawn is not owed, and what was passed on of it was not there to pass on."""
    drawn = _leave_out(features, columns, fraction, "consumption", ("draw",))
    _leave_out(features, columns, fraction, "passed_on", ())
    _owe_less(features, columns, drawn)


def _fewer_purchases(features: FeatureSet, columns: _Columns, fraction: FloatArray) -> None:
    _owe_less(features, columns, _leave_out(features, columns, fraction, "consumption", ("purchase",)))


def _fewer_transfers(features: FeatureSet, columns: _Columns, fraction: FloatArray) -> None:
    _leave_out(features, columns, fraction, "payment", ("transfer_out",))
    _leave_out(features, columns, fraction, "passed_on", ())


def _use_less(features: FeatureSet, columns: _Columns, fraction: FloatArray) -> None:
    """Pay back part of the balance; who is overdue pays that first, by the action on late payments."""
    if "balance_cents" in columns:
        behind = columns.get("past_due_cents", np.zeros(len(fraction))) > 0
        _repay(features, columns, np.where(behind, 0.0, np.floor(fraction * np.maximum(columns["balance_cents"], 0))))


def _pay_what_is_overdue(features: FeatureSet, columns: _Columns, fraction: FloatArray) -> None:
    """All of it, just now: part of it would leave the debt as old as it is. What was paid late before stays late."""
    pays = fraction > 0
    if "past_due_cents" in columns:
        _repay(features, columns, np.where(pays, columns["past_due_cents"], 0.0))
    if "dpd_days" in columns:
        columns["dpd_days"] = np.where(pays, 0.0, columns["dpd_days"])
    for declared in features.aggregates:
        if (declared.rows, declared.kinds, declared.how) == ("instalment", ("missed",), "count"):
            for name in declared.column_names():
                columns[name] = np.where(pays, 0.0, columns[name])


#: Reason code → the action that answers it, in the order they are tried.
CUSTOMER_ACTIONS: dict[str, Callable[[FeatureSet, _Columns, FloatArray], None]] = {
    _LATE: _pay_what_is_overdue,
    "frequent_draws": _fewer_draws,
    "transfers_out": _fewer_transfers,
    "high_spending": _fewer_purchases,
    "high_utilisation": _use_less,
}


#: Actions that are taken wholly or not at all.
WHOLE = frozenset({_LATE})


def _leave_out(
    features: FeatureSet, columns: _Columns, fraction: FloatArray, rows: str, kinds: tuple[str, ...]
) -> dict[int, FloatArray]:
    """Leave a fraction of some rows out of the last days; return the cents left out, by window."""
    mine = [a for a in features.aggregates if a.rows == rows and a.kinds == kinds]
    before = {name: columns[name] for a in mine for name in a.column_names()}
    cents: dict[int, FloatArray] = {}
    for declared in (a for a in mine if a.how in _THINNED):
        out = np.zeros(len(fraction))
        for window in _by_length(declared):
            name = declared.column_name(window)
            if 0 < window <= REACH_DAYS:
                out = np.floor(fraction * before[name] + 1e-9)
            columns[name] = before[name] - out
            if (declared.how, declared.column, declared.only, declared.per) == ("sum", "amount_cents", "", 0):
                cents[window] = out
    for declared in (a for a in mine if a.how not in _THINNED):
        _follow(declared, mine, before, columns)
    return cents


def _inside(by_window: Mapping[int, FloatArray], window: int) -> FloatArray | float:
    """What is known to lie inside a window: the value of the longest one that is not longer."""
    known = [length for length in by_window if (length or np.inf) <= (window or np.inf)]
    return by_window[max(known, key=lambda length: length or np.inf)] if known else 0.0


def _by_length(declared: Aggregate) -> list[int]:
    """Windows from the shortest to the whole history."""
    return sorted(declared.windows, key=lambda window: window or np.inf)


def _follow(declared: Aggregate, mine: list[Aggregate], before: _Columns, columns: _Columns) -> None:
    """What is left of a mean, a maximum, or anything else over rows of which some are gone."""
    of = {a.how: a for a in mine if a.how in _THINNED and a.only == declared.only and not a.per}
    for window in declared.windows:
        name = declared.column_name(window)
        count, total = (of[how].column_name(window) if how in of else "" for how in ("count", "sum"))
        value = columns[name].copy()
        if declared.how == "mean" and count in columns and total in columns:
            share = _divided(columns[total], before[total]) / _divided(columns[count], before[count])
            value = np.where(np.isnan(share), value, value * share)
        limit = {"max": total, "distinct": count}.get(declared.how, "")
        if limit in columns:
            value = np.minimum(value, columns[limit])
        gone = columns[count] == 0 if count in columns and declared.how != "distinct" else False
        columns[name] = np.where(gone, np.nan, value)


def _divided(part: FloatArray, whole: FloatArray) -> FloatArray:
    """Share that is left; unknown where nothing is."""
    share_left: FloatArray = np.divide(part, whole, out=np.full(len(part), np.nan), where=(whole > 0) & (part > 0))
    return share_left


def _owe_less(features: FeatureSet, columns: _Columns, cents: Mapping[int, FloatArray]) -> None:
    """Take what was never borrowed off the balance and its changes."""
    reached = {window: out for window, out in cents.items() if 0 < window <= REACH_DAYS}
    if "balance_cents" not in columns or not reached:
        return
    owed = np.maximum(columns["balance_cents"], 0)
    columns["balance_cents"] = columns["balance_cents"] - np.minimum(reached[max(reached)], owed)
    for declared in features.aggregates:
        if declared.rows == "flow" and declared.how == "sum":
            for window in declared.windows:
                name = declared.column_name(window)
                columns[name] = columns[name] - np.minimum(_inside(reached, window), owed)


def _repay(features: FeatureSet, columns: _Columns, cents: FloatArray) -> None:
    """Pay back now: first what is overdue."""
    paid = cents > 0
    if "balance_cents" in columns:
        columns["balance_cents"] = columns["balance_cents"] - cents
    if "past_due_cents" in columns:
        columns["past_due_cents"] = np.maximum(columns["past_due_cents"] - cents, 0)
        if "dpd_days" in columns:
            columns["dpd_days"] = np.where(columns["past_due_cents"] == 0, 0.0, columns["dpd_days"])
    changes: dict[str, Callable[[FloatArray], FloatArray]] = {
        "count": lambda value: value + paid,
        "sum": lambda value: value + cents,
        "max": lambda value: np.where(paid, np.fmax(value, cents), value),
        "last": lambda value: np.where(paid, cents, value),
        "days_since_last": lambda value: np.where(paid, 0.0, value),
    }
    for declared in features.aggregates:
        if declared.rows == "payment" and declared.kinds == ("repayment",) and declared.how in changes:
            for name in declared.column_names():
                columns[name] = changes[declared.how](columns[name])
        if declared.rows == "flow" and declared.how == "sum":
            for name in declared.column_names():
                columns[name] = columns[name] - cents
