"""Columns of the line itself: its limit, its age, and what was done with it by limit or by age.

They depend on the state of the line as well as on events, so they are computed where the state is known: inside
the decision, and from the delivered limit when a model is trained. The feature table never holds them.
"""

import numpy as np
import pandas as pd

from limitlens.data.arrays import IntArray
from limitlens.features.declarations import FeatureSet

#: What stands for the limit of a line that has none, such as a loan: a column of int64 has no null.
NO_LIMIT = -1

#: Columns every line has, before the declared shares.
LINE_FACTS = ("limit_cents", "line_age_days")

#: Whether a data incident keeps the line as it is: true only where a decision was held.
DATA_HOLD = "data_hold"

#: What they say.
LINE_MEANING = {"limit_cents": "the limit in force", "line_age_days": "days since the line was opened"}


def line_column_names(features: FeatureSet) -> tuple[str, ...]:
    """Names of the columns :func:`line_columns` returns."""
    return (*LINE_FACTS, *(share.name for share in features.shares))


def taken_names(features: FeatureSet) -> frozenset[str]:
    """Names that no attribute of the accounts may have beside the features, in small letters."""
    return frozenset(name.lower() for name in (*features.columns, *line_column_names(features), DATA_HOLD))


def limit_and_age(lines: pd.DataFrame) -> tuple[IntArray, IntArray]:
    """What every model and rule reads of a line itself: its limit in cents and its age in days.

    Parameters
    ----------
    lines : DataFrame of n rows with ``limit_cents`` and ``line_age_days``
    """
    return lines["limit_cents"].to_numpy(np.int64), lines["line_age_days"].to_numpy(np.int64)


def line_columns(
    features: FeatureSet,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> pd.DataFrame:
    """Compute the columns of the line.

    Parameters
    ----------
    features : FeatureSet
    table : DataFrame of shape (n, ...)
        Feature table of the set.
    limit_cents, line_age_days : int64 arrays of shape (n,)
        Limit in force, or :data:`NO_LIMIT`, and whole days since opening.

    Returns
    -------
    DataFrame of float64, shape (n, 2 + number of shares), indexed like ``table``
        A limit is null where there is none, a share of it also where it is zero;
        the first day on book counts as a whole one.

    Examples
    --------
    >>> from limitlens.features.catalogue import CATALOGUE
    >>> table = pd.DataFrame({share.column: [2_500] for share in CATALOGUE.shares})
    >>> lines = line_columns(CATALOGUE, table, np.array([10_000]), np.array([3]))
    >>> lines[["limit_cents", "line_age_days", "utilisation"]].values.tolist()
    [[10000.0, 3.0, 0.25]]
    """
    known = np.where(limit_cents == NO_LIMIT, np.nan, limit_cents.astype(np.float64))
    limit = np.where(known > 0, known, np.nan)
    columns = {"limit_cents": known, "line_age_days": line_age_days.astype(np.float64)}
    days = np.maximum(line_age_days.astype(np.float64), 1.0)
    for share in features.shares:
        columns[share.name] = table[share.column].to_numpy(np.float64) / (limit if share.by == "limit" else days)
    return pd.DataFrame(columns, index=table.index)
