"""Aggregates over the values of a column: how many there are, how evenly they are used, how their use has shifted."""

from collections.abc import Sequence

from limitlens.features.declarations import SHIFT_DAYS, Aggregate
from limitlens.features.rows.clock import Clock
from limitlens.features.tiles import conditions


def key_features(name: str, declared: Sequence[Aggregate], clock: Clock) -> str:
    """SQL of ``<name>_keys`` and ``<name>_features`` for aggregates over one column under one condition.

    Parameters
    ----------
    name : str
    declared : sequence of Aggregate
        With the same ``rows``, ``column``, ``kinds`` and ``only``.
    clock : Clock
    """
    first = declared[0]
    chosen = [f"NOT {first.column} IS NULL", *conditions(first)]
    windows = {window for a in declared for window in a.windows}
    windows |= {SHIFT_DAYS} if any(a.how == "shift" for a in declared) else set()
    if 0 not in windows:
        chosen.append(f"event_time >= {clock.since(max(windows))}")
    counts = [f"{_count(window, clock)} AS {_name(window)}" for window in sorted(windows)]
    columns = [f"{_feature(a, window)} AS {a.column_name(window)}" for a in declared for window in a.windows]
    return f"""{name}_keys AS (
        SELECT {clock.key}, {first.column}, {", ".join(counts)}
        FROM {first.rows}_rows WHERE {" AND ".join(chosen)} GROUP BY {clock.key}, {first.column}
    ),
    {name}_features AS (SELECT {clock.key}, {", ".join(columns)} FROM {name}_keys GROUP BY {clock.key})"""


def _name(window: int) -> str:
    return f"count_{window}d" if window else "count_ever"


def _count(window: int, clock: Clock) -> str:
    return f"COUNT(*) FILTER (WHERE event_time >= {clock.since(window)})" if window else "COUNT(*)"


def _feature(declared: Aggregate, window: int) -> str:
    n = _name(window)
    if declared.how == "distinct":
        return f"COUNT(*) FILTER (WHERE {n} > 0)"
    if declared.how == "entropy":
        # n·ln n in billionths, so that the sum does not depend on its order
        part = f"CASE WHEN {n} > 0 THEN CAST(ROUND({n} * LN({n}) * 1000000000) AS BIGINT) END"
        whole = f"CASE WHEN SUM({n}) > 0 THEN LN(SUM({n})) END"
        return f"ROUND({whole} - CAST(SUM({part}) AS DOUBLE) / 1000000000 / NULLIF(SUM({n}), 0), 9)"
    both = _name(SHIFT_DAYS)
    norm = f"SQRT(CAST(SUM({n} * {n}) AS DOUBLE) * CAST(SUM({both} * {both}) AS DOUBLE))"
    return f"ROUND(1 - CAST(SUM({n} * {both}) AS DOUBLE) / NULLIF({norm}, 0), 9)"
