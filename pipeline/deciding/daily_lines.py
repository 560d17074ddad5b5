"""Lines decided daily besides new ones: those for which a condition of the policy holds, as was known at the date."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.engine import Relations, run_sql
from limitlens.features.declarations import ZERO_WHEN_EMPTY, Aggregate, FeatureSet
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.decision import holds
from limitlens.limits.policy import Condition

_MOMENTS = pa.schema([("as_of", pa.timestamp("us", tz="UTC"))])


def daily_lines(
    dates: Sequence[datetime], any_of: Sequence[Condition], features: FeatureSet, relations: Relations
) -> pd.DataFrame:
    """Accounts and the dates at which a condition holds for them.

    What was known before a date says whether a condition holds at it: no later row, and no decision.

    Parameters
    ----------
    dates : sequence of datetime
    any_of : sequence of Condition
        On columns of the set or its attributes; one whose source is absent never holds.
    features : FeatureSet
    relations : mapping of source to pyarrow.Table or SQL text

    Returns
    -------
    DataFrame with ``account_id, as_of``, no repeats
    """
    attributes = {name for name, _ in features.attributes}
    named = [condition for condition in any_of if condition.column in {*features.columns, *attributes}]
    points = [_touched(condition, dates, features, relations) for condition in named if dates]
    if not points:
        return pd.DataFrame({"account_id": pd.Series(dtype=str), "as_of": pd.Series(dtype="datetime64[us, UTC]")})
    spine = pd.concat(points).drop_duplicates(ignore_index=True).assign(known_by=lambda rows: rows["as_of"])
    columns = {condition.column for condition in named} & set(features.columns)
    table = build_table(features.only(columns), spine, relations)
    due = np.zeros(len(table), bool)
    for condition in named:
        due |= holds(condition, table[condition.column].to_numpy(np.float64))
    lines: pd.DataFrame = table.loc[due, ["account_id", "as_of"]].reset_index(drop=True)
    return lines


def _touched(
    condition: Condition, dates: Sequence[datetime], features: FeatureSet, relations: Relations
) -> pd.DataFrame:
    """Accounts and dates at which a condition may hold: those with a row in its window, or the whole book."""
    declared = features.declaration_of.get(condition.column)
    if not isinstance(declared, Aggregate):
        return book(dates, relations)[["account_id", "as_of"]]
    days = next(window for window in declared.windows if declared.column_name(window) == condition.column)
    empty = 0.0 if declared.how in ZERO_WHEN_EMPTY else np.nan
    if days == 0 or holds(condition, np.array([empty]))[0]:
        return book(dates, relations)[["account_id", "as_of"]]
    return pd.concat([_with_a_row(relations[source], dates, days) for source in sorted(declared.needs)])


def _with_a_row(rows: pa.Table | str, dates: Sequence[datetime], days: int) -> pd.DataFrame:
    """Accounts with a row of a source in the days before a date that was known then."""
    sql = f"""
    SELECT DISTINCT account_id, as_of FROM rows JOIN moments
    ON event_time >= as_of - INTERVAL {days} DAY AND event_time < as_of AND known_time < as_of
    """
    moments = pa.table([pa.array(dates, _MOMENTS.field("as_of").type)], schema=_MOMENTS)
    points: pd.DataFrame = run_sql(sql, {"rows": rows, "moments": moments}).to_pandas()
    return points
