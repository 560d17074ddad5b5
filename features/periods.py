"""Aggregates over days, weeks or months: the rows of a period count together, an empty period is a zero.

Rows are counted by day first; weeks and months are made of days. All are counted back from the as-of time.
"""

from collections.abc import Sequence

from limitlens.features.declarations import Aggregate
from limitlens.features.rows.clock import Clock, microseconds_between
from limitlens.features.tiles import conditions, std


def day_table(declared: Sequence[Aggregate], clock: Clock) -> str:
    """SQL of ``<name>_days`` for the aggregates over periods of one set of rows under one condition.

    Parameters
    ----------
    declared : sequence of Aggregate
        With ``per`` and the same ``rows``, ``kinds`` and ``only``.
    clock : Clock
    """
    first = declared[0]
    longest = max(window for a in declared for window in a.windows)
    chosen = [f"event_time >= {clock.since(longest)}", *conditions(first)]
    age = microseconds_between("event_time", clock.as_of)
    day = f"CAST(FLOOR(CAST({age} - 1 AS DOUBLE) / 86400000000) AS BIGINT)"
    amounts = dict.fromkeys(f"CAST({_amount(a)} AS BIGINT) AS {_amount_name(a)}" for a in declared)
    return f"""{days_name(first)} AS (
        SELECT {clock.key}, {day} AS day, {", ".join(amounts)}
        FROM {first.rows}_rows WHERE {" AND ".join(chosen)} GROUP BY {clock.key}, {day}
    )"""


def days_name(declared: Aggregate) -> str:
    """Name of the table of days an aggregate is made from."""
    return "_".join([declared.rows, *declared.kinds, *filter(None, [declared.only]), "days"])


def period_features(declared: Aggregate, clock: Clock) -> str:
    """SQL of ``<name>_periods`` and ``<name>_features`` for one aggregate over periods."""
    name, amount = declared.name, _amount_name(declared)
    columns = [f"{_feature(declared, window)} AS {declared.column_name(window)}" for window in declared.windows]
    period = f"CAST(FLOOR(CAST(day AS DOUBLE) / {declared.per}) AS BIGINT)"
    return f"""{name}_periods AS (
        SELECT {clock.key}, {period} AS period, CAST(SUM({amount}) AS BIGINT) AS amount
        FROM {days_name(declared)} GROUP BY {clock.key}, {period}
    ),
    {name}_features AS (SELECT {clock.key}, {", ".join(columns)} FROM {name}_periods GROUP BY {clock.key})"""


def _amount(declared: Aggregate) -> str:
    return f"SUM({declared.column})" if declared.column else "COUNT(*)"


def _amount_name(declared: Aggregate) -> str:
    return f"{declared.column}_sum" if declared.column else "row_count"


def _feature(declared: Aggregate, window: int) -> str:
    periods = window // declared.per
    where = f"FILTER (WHERE period < {periods})"
    squares = f"SUM(CAST(amount AS DECIMAL(19, 0)) * CAST(amount AS DECIMAL(19, 0))) {where}"
    return {
        "count": f"COUNT(*) {where}",
        "max": f"CAST(CASE WHEN COUNT(*) {where} < {periods} AND MAX(amount) {where} < 0 THEN 0"
        f" ELSE MAX(amount) {where} END AS DOUBLE)",
        "std": std(f"SUM(amount) {where}", str(periods), squares),
    }[declared.how]
