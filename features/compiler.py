"""Declarations become one readable SQL query."""

from functools import cache

import sqlglot
from sqlglot import exp

from limitlens.features import rows
from limitlens.features.declarations import ZERO_WHEN_EMPTY, Aggregate, FeatureSet
from limitlens.features.rows import Clock


@cache
def compile_sql(features: FeatureSet, clock: Clock) -> str:
    """Compile a feature set to one DuckDB query over the relations spine, accounts and its event sources.

    Parameters
    ----------
    features : FeatureSet
    clock : Clock
        Literal times (one as-of for the whole spine) or the spine's own columns.

    Returns
    -------
    str
        SQL that returns ``account_id, as_of, known_by, segment``, the columns of the set in order (int64 for
        counts and cents, float64 otherwise) and its attributes; one row for each row of the spine, ordered.

    Raises
    ------
    ValueError
        The query uses a function sqlglot does not know, which it would pass on to any engine unchecked.
    """
    tables = ",\n".join(_tables(features, clock))
    query = f"WITH {tables}\nSELECT {', '.join(_outer(features))} FROM joined ORDER BY account_id, as_of, known_by"
    tree = sqlglot.parse_one(query, read="duckdb")
    unknown = sorted({node.name for node in tree.find_all(exp.Anonymous)})
    if unknown:
        raise ValueError(f"The feature SQL calls {unknown}, but only functions sqlglot can translate are allowed.")
    text: str = tree.sql(dialect="duckdb", pretty=True)
    return text


def _tables(features: FeatureSet, clock: Clock) -> list[str]:
    sources = features.sources
    found = [rows.attributes(clock, [name for name, _ in features.attributes])]
    found += [rows.seen(source, clock) for source in sources]
    if "consumption" in sources:
        found.append(rows.consumption_rows(clock, features.timezone))
    if "payment" in sources:
        found += [rows.payment_rows(clock), rows.arrears(clock)]
    if "device" in sources:
        found.append(rows.device_rows(clock, features.timezone))
    if _has(features, "balance_cents"):
        found.append(rows.balance(clock, with_payment="payment" in sources))
    found += [_aggregated(features, source, clock) for source in sources]
    return [*found, _joined(features, clock)]


def _has(features: FeatureSet, position: str) -> bool:
    return any(p.name == position for p in features.positions)


def _aggregated(features: FeatureSet, source: str, clock: Clock) -> str:
    columns = [
        f"{_aggregate(a, window, clock)} AS {a.column_name(window)}"
        for a in features.aggregates
        if a.source == source
        for window in a.windows
    ]
    listed = "".join(f",\n{column}" for column in columns)
    return f"{source}_features AS (SELECT {clock.keys}{listed} FROM {source}_rows GROUP BY {clock.keys})"


def _aggregate(declared: Aggregate, window: int, clock: Clock) -> str:
    where = f" FILTER (WHERE {_condition(declared, window, clock)})"
    column = declared.column
    latest = f"DATE_DIFF('microsecond', MAX(event_time){where}, {_constant(clock)}) / 86400000000.0"
    return {
        "count": f"COUNT(*){where}",
        "distinct": f"COUNT(DISTINCT {column}){where}",
        "sum": f"CAST(SUM({column}){where} AS BIGINT)",
        "mean": f"AVG({column}){where}",
        "max": f"CAST(MAX({column}){where} AS DOUBLE)",
        "min": f"CAST(MIN({column}){where} AS DOUBLE)",
        "last": f"CAST(MAX({column}){where} AS DOUBLE)",
        "days_since_last": latest,
    }[declared.how]


def _constant(clock: Clock) -> str:
    return clock.as_of if clock.as_of_literal else "ANY_VALUE(as_of)"


def _condition(declared: Aggregate, window: int, clock: Clock) -> str:
    parts = []
    if window:
        parts.append(f"event_time >= {clock.as_of} - INTERVAL '{window}' DAY")
    if declared.kinds:
        parts.append(f"kind IN ({', '.join(repr(kind) for kind in declared.kinds)})")
    if declared.only:
        parts.append(declared.only)
    if declared.how == "last":
        parts.append("recency = 1")
    return " AND ".join(parts) or "TRUE"


def _joined(features: FeatureSet, clock: Clock) -> str:
    literal = clock.as_of_literal is not None
    times = f"{clock.as_of} AS as_of, {clock.known_by} AS known_by" if literal else "as_of, known_by"
    joins = " ".join(f"LEFT JOIN {table} USING ({clock.keys})" for table in _joined_tables(features))
    columns = [_position(p.name) for p in features.positions]
    columns += [
        f"COALESCE({name}, 0) AS {name}" if a.how in ZERO_WHEN_EMPTY else name
        for a in features.aggregates
        for name in a.column_names()
    ]
    listed = "".join(f",\n{column}" for column in columns)
    static = "".join(f", {_static(name, kind)}" for name, kind in features.attributes)
    return f"joined AS (SELECT account_id, {times}, segment{listed}{static} FROM spine {joins})"


def _joined_tables(features: FeatureSet) -> list[str]:
    found = ["account_rows", *(f"{source}_features" for source in features.sources)]
    if "payment" in features.sources:
        found += ["computed_arrears", "delivered_arrears"]
    if _has(features, "balance_cents"):
        found += ["stated", "flows_since"]
    return found


def _position(name: str) -> str:
    return {
        "dpd_days": "COALESCE(delivered_dpd_days, computed_dpd_days, 0) AS dpd_days",
        "past_due_cents": "CAST(COALESCE(past_due_cents, 0) AS BIGINT) AS past_due_cents",
        "balance_cents": "CAST(COALESCE(stated_cents, 0) + COALESCE(flow_cents, 0) AS BIGINT) AS balance_cents",
    }[name]


def _static(name: str, kind: str) -> str:
    return f'"{name}"' if kind == "text" else f'CAST("{name}" AS DOUBLE) AS "{name}"'


def _outer(features: FeatureSet) -> list[str]:
    given = ["account_id", "as_of", "known_by", "segment"]
    measured = [name for name in features.columns if name not in {r.name for r in features.ratios}]
    ratios = [
        f"CASE WHEN {r.denominator} <> 0 THEN CAST({r.numerator} AS DOUBLE) / {r.denominator} END AS {r.name}"
        for r in features.ratios
    ]
    return [*given, *measured, *ratios, *(f'"{name}"' for name, _ in features.attributes)]
