"""The point-in-time feature table: a spine of (account, as-of, known-by) in, one row of features each out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.engine import Prepare, Relations, RunPlanned, RunSql, planned, prepared
from limitlens.data.frames import to_arrow
from limitlens.data.quoting import between
from limitlens.features.compiler import Dialect, compile_links, compile_sql, compile_successions, compile_versions
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows import Clock

_TIME = pa.timestamp("us", tz="UTC")
_NUMBERS = pa.schema([("account_id", pa.string()), ("account_no", pa.int32())])
_SPINE = pa.schema([("line", pa.int64()), ("account_no", pa.int32()), ("as_of", _TIME), ("known_by", _TIME)])

#: From this many accounts on, one (as_of, known_by) of a spine is worth a query of its own.
LITERAL_ROWS = 2_000

#: Events of the accounts that are taken together, about, and accounts, at most: memory does not grow with the book.
PART_EVENTS, PART_LINES = 4_500_000, 50_000

_KEY_SCHEMA = pa.schema([("account_id", pa.string()), ("as_of", _TIME), ("known_by", _TIME)])
_KEYS = _KEY_SCHEMA.names


@dataclass(frozen=True)
class Engine:
    """What runs the feature SQL.

    Parameters
    ----------
    dialect : {"duckdb", "spark"}
    prepare : callable
        Makes relations ready for several queries, as :func:`limitlens.data.engine.prepared`.
    """

    dialect: Dialect
    prepare: Prepare


DUCKDB = Engine("duckdb", prepared)

#: What is computed over the events of all accounts, by digest of the feature set and moment (None: whatever the
#: moment): the parts of a book ask for it again and again.
Shared = dict[tuple[str, Clock | None], Mapping[str, pa.Table]]


def build_table(
    features: FeatureSet,
    spine: pd.DataFrame,
    events: Relations,
    *,
    engine: Engine = DUCKDB,
    shared: Shared | None = None,
) -> pd.DataFrame:
    """Build the features of every row of a spine.

    Parameters
    ----------
    features : FeatureSet
    spine : DataFrame with ``account_id`` (str), ``as_of`` and ``known_by`` (datetime64[us, UTC]), no repeats
        The window is counted back from ``as_of``; a row is visible when ``known_time < known_by``.
    events : mapping of source name to pyarrow.Table or SQL text
        Accepted events of all accounts: ``accounts`` and every source the set reads.
    engine : Engine
        Default: DuckDB.
    shared : dict, optional
        Kept for the next part of the same book, whose events must be the same; empty at first.

    Returns
    -------
    DataFrame
        Indexed like ``spine`` and in its order: ``account_id, as_of, known_by, segment``, ``features.columns``
        and the attributes. Counts, sums and cents are int64, all else float64 or str.
    """
    parts = table_parts(features, spine, events, engine=engine, shared=shared)
    built = pd.concat([part.to_pandas() for part in parts])
    return _aligned(built, spine)


def build_few(features: FeatureSet, spine: pd.DataFrame, events: Mapping[str, pa.Table]) -> pd.DataFrame:
    """Build the features of few rows, over and over: DuckDB plans their query once a process.

    Parameters
    ----------
    features : FeatureSet
    spine : DataFrame
        As :func:`build_table` takes it.
    events : mapping of source name to pyarrow.Table
        Of these accounts, and of others what links them.

    Returns
    -------
    DataFrame
        As :func:`build_table` gives it, to the last bit.
    """
    points, accounts = _numbered(spine)
    relations = {f"every_{name}": events[name] for name in ("accounts", *features.sources)}
    run = _planned(features, tuple((name, table.schema) for name, table in relations.items()))
    values = run({**relations, "numbers": account_numbers(accounts), "spine": point_spine(points)})
    return _aligned(_with_keys(points, values.drop_columns(Clock().key)).to_pandas(), spine)


@lru_cache(maxsize=8)
def _planned(features: FeatureSet, schemas: tuple[tuple[str, pa.Schema], ...]) -> RunPlanned:
    """The query of a feature set over events of these columns; an attribute that is new makes another one."""
    own = {name: f"SELECT * FROM every_{name}" for name in ("accounts", *features.sources)}
    of_all, others = compile_successions(features)
    views = {**own, **of_all, **others, **compile_versions(features)}
    relations = {**dict(schemas), "numbers": _NUMBERS, "spine": _SPINE}
    return planned(compile_sql(features, Clock()), relations, views)


def _aligned(built: pd.DataFrame, spine: pd.DataFrame) -> pd.DataFrame:
    aligned: pd.DataFrame = spine[_KEYS].merge(built, on=_KEYS, how="left", validate="one_to_one")
    return aligned.set_index(spine.index)


def _numbered(spine: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    """The points of a spine by account and time, with ``account_no``; and the accounts."""
    points = spine[_KEYS].sort_values(_KEYS, ignore_index=True)
    points["account_no"], accounts = pd.factorize(points["account_id"])
    return points, accounts


def table_parts(
    features: FeatureSet,
    spine: pd.DataFrame,
    events: Relations,
    *,
    engine: Engine = DUCKDB,
    shared: Shared | None = None,
) -> Iterator[pa.Table]:
    """The table of :func:`build_table` in parts; at least one, if empty.

    Accounts are taken in ranges, in order. Their events are read once, then asked about at every moment that many of
    them share (a part each, ordered by account), and about all other moments together.
    """
    relations = {f"every_{name}": events[name] for name in ("accounts", *features.sources)}
    numbered, accounts = _numbered(spine)
    moments = list(_moments(numbered))
    around = _near(relations, account_numbers(accounts))
    shared = {} if shared is None else shared
    with engine.prepare({**relations, **around}, {}) as run:
        linked, others = compile_successions(features, engine.dialect)
        of_all = _once(shared, (features.digest, None), partial(_computed, linked, run, {}))
        successions = {**of_all, **_computed(others, run, {})}
        links = {
            clock: _once(
                shared,
                (features.digest, clock),
                partial(_computed, compile_links(features, clock, engine.dialect), run, of_all),
            )
            for clock, _ in moments
        }
        size = _accounts_per_part(features, run)
    versions = compile_versions(features, engine.dialect)
    viewed, held = ({}, versions) if len(moments) > 1 else (versions, {})  # materialising what is read once is slower
    for start in range(0, max(len(accounts), 1), size):
        numbers = account_numbers(accounts[start : start + size], start)
        own = {**_near(relations, numbers), **successions, "numbers": numbers}
        with engine.prepare({**relations, **own, **viewed}, held) as run:
            for clock, points in moments:
                first, last = np.searchsorted(points["account_no"], [start, start + size])
                if first < last or spine.empty:
                    asked = points.iloc[first:last]
                    yield _part(asked, clock, compile_sql(features, clock, engine.dialect), links[clock], run)


def _near(relations: Relations, numbers: pa.Table) -> dict[str, str]:
    """Rows of the accounts between the first and the last: files skip most others before any is looked up."""
    first, last = (numbers["account_id"][end].as_py() for end in (0, -1)) if len(numbers) else ("", "")
    return {name.removeprefix("every_"): between(name, first, last) for name in relations}


def account_numbers(accounts: Iterable[str], start: int = 0) -> pa.Table:
    """Accounts as queries number them: ``account_id``, ``account_no`` (int32)."""
    names = pa.array(accounts, pa.string())
    return pa.table([names, np.arange(start, start + len(names))], schema=_NUMBERS)


def point_spine(points: pd.DataFrame) -> pa.Table:
    """Points (``account_no, as_of, known_by``) as the queries read them: numbered from 0."""
    return to_arrow(points.assign(line=np.arange(len(points))), _SPINE)


def _moments(spine: pd.DataFrame) -> Iterator[tuple[Clock, pd.DataFrame]]:
    """Split a spine into the moments many accounts share (fast, literal) and the rest (one query by column)."""
    moments = spine.groupby(["as_of", "known_by"])
    shared = spine if moments.ngroups == 1 else spine[moments["account_id"].transform("size") >= LITERAL_ROWS]
    for _, points in shared.groupby(["as_of", "known_by"]):
        first = points.iloc[0]
        yield Clock(first["as_of"].to_pydatetime(), first["known_by"].to_pydatetime()), points
    rest = spine.drop(shared.index)
    if len(rest) or spine.empty:
        yield Clock(), rest


def _once(
    shared: Shared, key: tuple[str, Clock | None], compute: Callable[[], Mapping[str, pa.Table]]
) -> Mapping[str, pa.Table]:
    if key not in shared:
        shared[key] = compute()
    return shared[key]


def _computed(queries: Mapping[str, str], run: RunSql, given: Relations) -> dict[str, pa.Table]:
    return {name: run(sql, given) for name, sql in queries.items()}


def _accounts_per_part(features: FeatureSet, run: RunSql) -> int:
    """Accounts that have about :data:`PART_EVENTS` events together, and are not too many."""
    names = ("accounts", *features.sources)
    counts = ", ".join(f"(SELECT COUNT(*) FROM every_{name}) AS {name}" for name in names)
    row_counts = run(f"SELECT {counts}", {}).to_pylist()[0]
    accounts = row_counts.pop("accounts")
    return max(LITERAL_ROWS, min(PART_LINES, int(PART_EVENTS * accounts / max(sum(row_counts.values()), 1))))


def _part(points: pd.DataFrame, clock: Clock, sql: str, links: Relations, run: RunSql) -> pa.Table:
    """Features of some points, which are ordered by account."""
    # At most PART_LINES rows: to copy them takes less time than to plan hundreds of columns once more.
    values = run(sql, {"spine": point_spine(points), **links}, few=True).drop_columns(clock.key)
    return _with_keys(points, values)


def _with_keys(points: pd.DataFrame, values: pa.Table) -> pa.Table:
    keys = to_arrow(points, _KEY_SCHEMA)
    return pa.table([*keys.columns, *values.columns], names=[*_KEYS, *values.column_names])
