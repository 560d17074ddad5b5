"""Declarations become one readable SQL query, for DuckDB or for Spark."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Literal

from limitlens.features.declarations import OF_KEYS, ZERO_WHEN_EMPTY, Aggregate, FeatureSet
from limitlens.features.keys import key_features
from limitlens.features.periods import day_table, days_name, period_features
from limitlens.features.rows import Clock, Scope, tables_for
from limitlens.features.rows.instalments import DPD_DAYS
from limitlens.features.rows.network import LINKS, members_of_all
from limitlens.features.rows.seen import account_versions, accounts, successions, versions
from limitlens.features.tiles import latest_features, window_features

Dialect = Literal["duckdb", "spark"]

_ARREARS = ("dpd_days", "past_due_cents")
_BALANCE = ("balance_cents", "balance_mean_90d_cents")

#: Times that stand in a compiled query until it is asked for at others: parsing takes longer than many a query runs.
_SOME_TIME = Clock(datetime(1111, 11, 11, tzinfo=UTC), datetime(1222, 12, 12, tzinfo=UTC))


def compile_sql(features: FeatureSet, clock: Clock, dialect: Dialect = "duckdb") -> str:
    """Compile a feature set to one query over the spine and what :func:`compile_versions` gives.

    Features of the network read what :func:`compile_links` gives or, with the spine's own times, ``every_payment`` or
    ``every_device``, the events of all accounts, and what :func:`compile_successions` gives.

    Parameters
    ----------
    features : FeatureSet
    clock : Clock
        Literal times (one as-of for the whole spine) or the spine's own columns.
    dialect : {"duckdb", "spark"}
        Engine that runs it.

    Returns
    -------
    str
        SQL that returns the key of the clock, ``segment``, the columns of the set in order (int64 for counts and
        cents, float64 otherwise) and its attributes; one row for each row of the spine, ordered by the key.

    Raises
    ------
    ValueError
        For Spark: the query uses a function sqlglot does not know, which it would pass on unchecked.
    """
    if clock.as_of_literal is None:
        return _compiled(features, clock, dialect)
    return _at(clock, _compiled(features, _SOME_TIME, dialect))


@cache
def _compiled(features: FeatureSet, clock: Clock, dialect: Dialect) -> str:
    tables = ",\n".join(_tables(features, clock))
    query = f"WITH {tables}\nSELECT {', '.join(_outer(features, clock))} FROM joined ORDER BY {clock.key}"
    return _spoken(query, dialect)


def _at(clock: Clock, query: str) -> str:
    """A query of :data:`_SOME_TIME` at the times of another clock."""
    for some, wanted in zip(_SOME_TIME.texts, clock.texts, strict=True):
        query = query.replace(some, wanted)
    return query


@cache
def compile_successions(
    features: FeatureSet, dialect: Dialect = "duckdb"
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Queries that come first: which versions were superseded, and when.

    Returns
    -------
    (mapping of str to str, mapping of str to str)
        SQL by the relation it gives: over the events of all accounts, ``every_<source>``, where they link accounts; and
        over those of some accounts, ``<source>``.
    """
    linked = {LINKS[a.rows].source for a in features.aggregates if a.rows in LINKS}
    queries = {
        source: _spoken(successions(f"every_{source}" if source in linked else source), dialect)
        for source in features.sources
    }
    of_all = {f"{source}_successions": sql for source, sql in queries.items() if source in linked}
    others = {f"{source}_successions": sql for source, sql in queries.items() if source not in linked}
    return of_all, others


@cache
def compile_versions(features: FeatureSet, dialect: Dialect = "duckdb") -> Mapping[str, str]:
    """Queries that come before, once for every moment: the rows of some accounts with the times of their versions.

    They read ``accounts``, the event sources of the set, what :func:`compile_successions` gives and
    ``numbers (account_id, account_no)``, the accounts.

    Returns
    -------
    mapping of str to str
        SQL by the relation it gives; only columns that :func:`compile_sql` names.
    """
    named = set(re.findall(r"\w+", _compiled(features, _SOME_TIME, "duckdb")))
    queries = {f"{source}_versions": versions(source, named) for source in features.sources}
    queries["accounts_versions"] = account_versions(tuple(name for name, _ in features.attributes))
    return {name: _spoken(query, dialect) for name, query in queries.items()}


def compile_links(features: FeatureSet, clock: Clock, dialect: Dialect = "duckdb") -> Mapping[str, str]:
    """Queries over all accounts that come before that of a literal clock: SQL by the relation it gives.

    They read ``every_payment`` or ``every_device`` and what :func:`compile_successions` gives.

    Returns
    -------
    mapping of str to str
        Empty for a clock that reads the spine's columns: its one query looks at the accounts in question itself.
    """
    if clock.as_of_literal is None:
        return {}
    return {name: _at(clock, query) for name, query in _links(features, dialect).items()}


@cache
def _links(features: FeatureSet, dialect: Dialect) -> Mapping[str, str]:
    queries = members_of_all(dict.fromkeys(a.rows for a in features.aggregates), _SOME_TIME)
    return {name: _spoken(query, dialect) for name, query in queries.items()}


def _spoken(query: str, dialect: Dialect) -> str:
    """A query as the engine runs it; for DuckDB nothing is parsed, which takes longer than many a query runs."""
    return query if dialect == "duckdb" else translated(query, dialect)


def translated(query: str, dialect: Dialect) -> str:
    """A query in the SQL of an engine, checked and laid out.

    Parameters
    ----------
    query : str
        In the SQL of DuckDB, with functions that sqlglot can translate.
    dialect : {"duckdb", "spark"}

    Raises
    ------
    ValueError
        It uses a function sqlglot does not know, which it would pass on to any engine unchecked.
    """
    import sqlglot  # noqa: PLC0415 - slow to import; what DuckDB runs needs it only to be read by people
    from sqlglot import exp  # noqa: PLC0415

    tree = sqlglot.parse_one(query, read="duckdb")
    unknown = sorted({node.name for node in tree.find_all(exp.Anonymous)})
    if unknown:
        raise ValueError(f"The feature SQL calls {unknown}, but only functions sqlglot can translate are allowed.")
    if dialect != "duckdb":
        for table in tree.find_all(exp.CTE):
            table.set("materialized", None)
    text: str = tree.sql(dialect=dialect, pretty=True, max_text_width=120)
    return text


def _tables(features: FeatureSet, clock: Clock) -> list[str]:
    scope = Scope(clock, features.timezone)
    measured = _measured(features, clock)
    names = {a.rows for a in features.aggregates}
    names |= {"arrears"} if _has(features, _ARREARS) else set()
    names |= {"balance"} if _has(features, _BALANCE) else set()
    tables = [accounts(scope), *tables_for(names, scope)]
    periodic = sorted((a for a in features.aggregates if a.per), key=days_name)
    tables += [day_table(list(together), clock) for _, together in groupby(periodic, key=days_name)]
    return [*tables, *measured.values(), _joined(features, clock, list(measured))]


def _has(features: FeatureSet, names: tuple[str, ...]) -> bool:
    return any(p.name in names for p in features.positions)


def _measured(features: FeatureSet, clock: Clock) -> dict[str, str]:
    """SQL of every group of aggregates that is measured together, by the name of its result."""
    plain = [a for a in features.aggregates if not a.per and a.how not in {*OF_KEYS, "last"}]
    keyed = [a for a in features.aggregates if a.how in OF_KEYS]
    queries = {a.name: latest_features(a, clock) for a in features.aggregates if a.how == "last"}
    queries |= {a.name: period_features(a, clock) for a in features.aggregates if a.per}
    for rows, together in groupby(sorted(plain, key=_rows), key=_rows):
        queries[rows] = window_features(list(together), clock)
    for values, together in groupby(sorted(keyed, key=_values), key=_values):
        name = "_".join(["values_of", *values])
        queries[name] = key_features(name, list(together), clock)
    return queries


def _rows(declared: Aggregate) -> str:
    return declared.rows


def _values(declared: Aggregate) -> tuple[str, ...]:
    return (declared.rows, *declared.kinds, *filter(None, [declared.only]), declared.column)


def _joined(features: FeatureSet, clock: Clock, measured: list[str]) -> str:
    tables = ["account_rows", *(f"{name}_features" for name in measured)]
    tables += ["computed_arrears", "delivered_arrears"] if _has(features, _ARREARS) else []
    tables += ["stated", "flows"] if _has(features, _BALANCE) else []
    joins = " ".join(f"LEFT JOIN {table} USING ({clock.key})" for table in tables)
    columns = [_position(p.name) for p in features.positions]
    columns += [
        f"COALESCE({name}, 0) AS {name}" if a.how in ZERO_WHEN_EMPTY else name
        for a in features.aggregates
        for name in a.column_names()
    ]
    listed = "".join(f",\n{column}" for column in columns)
    static = "".join(f", {_static(name, kind)}" for name, kind in features.attributes)
    return f"joined AS (SELECT {clock.key}, segment{listed}{static} FROM spine {joins})"


def _position(name: str) -> str:
    balance = "COALESCE(stated_cents, 0) + COALESCE(flow_cents, 0)"
    return {
        "dpd_days": f"{DPD_DAYS} AS dpd_days",
        "past_due_cents": "CAST(COALESCE(past_due_cents, 0) AS BIGINT) AS past_due_cents",
        "balance_cents": f"CAST({balance} AS BIGINT) AS balance_cents",
        "balance_mean_90d_cents": f"CAST({balance} AS DOUBLE)"
        " - CAST(COALESCE(flow_cent_hours, 0) AS DOUBLE) / 2160 AS balance_mean_90d_cents",
    }[name]


def _static(name: str, kind: str) -> str:
    return f'"{name}"' if kind == "text" else f'CAST("{name}" AS DOUBLE) AS "{name}"'


def _outer(features: FeatureSet, clock: Clock) -> list[str]:
    measured = [name for name in features.columns if name not in {r.name for r in features.ratios}]
    ratios = [
        f"CASE WHEN {r.denominator} <> 0 THEN CAST({r.numerator} AS DOUBLE) / {r.denominator} END AS {r.name}"
        for r in features.ratios
    ]
    return [clock.key, "segment", *measured, *ratios, *(f'"{name}"' for name, _ in features.attributes)]
