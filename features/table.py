"""The point-in-time feature table: a spine of (account, as-of, known-by) in, one row of features each out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow
from limitlens.features.compiler import Dialect, compile_links, compile_sql
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows import Clock

_TIME = pa.timestamp("us", tz="UTC")
SPINE_SCHEMA = pa.schema([("line", pa.int64()), ("account_id", pa.string()), ("as_of", _TIME), ("known_by", _TIME)])

#: From this many accounts on, one (as_of, known_by) of a spine is worth a query of its own.
LITERAL_ROWS = 2_000

#: Events that one query reads, about: accounts are taken in parts, so that memory does not grow with the book.
PART_EVENTS = 5_000_000

_KEYS = ["account_id", "as_of", "known_by"]

#: Relations by name: an Arrow table, or SQL text of the engine.
Relations = Mapping[str, pa.Table | str]


@dataclass(frozen=True)
class Engine:
    """What runs the feature SQL.

    Parameters
    ----------
    dialect : {"duckdb", "spark"}
    run : callable
        Takes SQL and the relations it names, and returns a pyarrow.Table.
    """

    dialect: Dialect
    run: Callable[[str, Relations], pa.Table]


DUCKDB = Engine("duckdb", run_sql)


def spine_table(points: pd.DataFrame) -> pa.Table:
    """Points (``account_id, as_of, known_by``) as the queries read them: numbered from 0."""
    return to_arrow(points.assign(line=np.arange(len(points))), SPINE_SCHEMA)


def build_table(
    features: FeatureSet, spine: pd.DataFrame, events: Relations, *, engine: Engine = DUCKDB
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

    Returns
    -------
    DataFrame
        Indexed like ``spine`` and in its order: ``account_id, as_of, known_by, segment``, ``features.columns``
        and the attributes. Counts, sums and cents are int64, all else float64 or str.
    """
    built = pd.concat([part.to_pandas() for part in table_parts(features, spine, events, engine=engine)])
    aligned = spine[_KEYS].merge(built, on=_KEYS, how="left", validate="one_to_one")
    return aligned.set_index(spine.index)


def table_parts(
    features: FeatureSet, spine: pd.DataFrame, events: Relations, *, engine: Engine = DUCKDB
) -> Iterator[pa.Table]:
    """The table of :func:`build_table` in parts, ordered by moment and account; at least one, if empty."""
    lines = _lines_per_part(features, events, engine)
    if spine.empty:
        yield _part(features, spine, Clock(), events, engine)
    for points, clock in _moments(spine):
        links = _links(features, clock, events, engine)
        ordered = points.sort_values(_KEYS)
        for start in range(0, len(ordered), lines):
            yield _part(features, ordered.iloc[start : start + lines], clock, {**events, **links}, engine)


def _links(features: FeatureSet, clock: Clock, events: Relations, engine: Engine) -> dict[str, pa.Table]:
    every = {f"every_{name}": events[name] for name in features.sources}
    return {name: engine.run(sql, every) for name, sql in compile_links(features, clock, engine.dialect).items()}


def _lines_per_part(features: FeatureSet, events: Relations, engine: Engine) -> int:
    """Accounts that have about :data:`PART_EVENTS` events together."""
    counts = ", ".join(f"(SELECT COUNT(*) FROM {source}) AS {source}" for source in ("accounts", *features.sources))
    relations = {source: events[source] for source in ("accounts", *features.sources)}
    found = engine.run(f"SELECT {counts}", relations).to_pylist()[0]
    accounts = found.pop("accounts")
    return max(LITERAL_ROWS, int(PART_EVENTS * accounts / max(sum(found.values()), 1)))


def _moments(spine: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, Clock]]:
    """Split a spine into the moments many accounts share (fast, literal) and the rest (one query by column)."""
    moments = spine.groupby(["as_of", "known_by"])
    shared = spine if moments.ngroups == 1 else spine[moments["account_id"].transform("size") >= LITERAL_ROWS]
    for _, points in shared.groupby(["as_of", "known_by"]):
        first = points.iloc[0]
        yield points, Clock(first["as_of"].to_pydatetime(), first["known_by"].to_pydatetime())
    rest = spine.drop(shared.index)
    if len(rest):
        yield rest, Clock()


def _part(features: FeatureSet, points: pd.DataFrame, clock: Clock, events: Relations, engine: Engine) -> pa.Table:
    spine = spine_table(points)
    sql = compile_sql(features, clock, engine.dialect)
    built = engine.run(sql, {"spine": spine, **_relations(features, points, events, engine)})
    keys = spine.select(_KEYS)
    if clock.as_of_literal:
        keys = keys.take(pa.compute.sort_indices(keys["account_id"]))
    values = built.drop_columns(clock.key)
    return pa.table([*keys.columns, *values.columns], names=[*keys.column_names, *values.column_names])


def _relations(
    features: FeatureSet, points: pd.DataFrame, events: Relations, engine: Engine
) -> dict[str, pa.Table | str]:
    """Every relation as ``every_<source>``, and the rows of the spine's accounts, of which files skip most others."""
    names = ("accounts", *features.sources)
    every: dict[str, pa.Table | str] = {f"every_{name}": events[name] for name in names}
    every |= {name: events[name] for name in events if name.endswith("_members")}
    ends = (points["account_id"].min(), points["account_id"].max()) if len(points) else ("", "")
    between = f"account_id BETWEEN {_quoted(ends[0])} AND {_quoted(ends[1])}"
    counted = f"SELECT COUNT(DISTINCT account_id) AS n FROM every_accounts WHERE {between}"
    others = (
        engine.run(counted, {"every_accounts": events["accounts"]})["n"][0].as_py() - points["account_id"].nunique()
    )
    # A few accounts too many cost less than asking every row whether its account is wanted.
    own = between if others * 4 < len(points) else f"{between} AND account_id IN (SELECT account_id FROM spine)"
    return every | {name: f"SELECT * FROM every_{name} WHERE {own}" for name in names}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
