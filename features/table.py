"""The point-in-time feature table: a spine of (account, as-of, known-by) in, one row of features each out."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow
from limitlens.features.compiler import compile_sql
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows import Clock

SPINE_SCHEMA = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("known_by", pa.timestamp("us", tz="UTC")),
    ]
)

#: From this many accounts on, one (as_of, known_by) of a spine is worth a query of its own.
LITERAL_ROWS = 2_000


def build_table(features: FeatureSet, spine: pd.DataFrame, events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Build the features of every row of a spine.

    Parameters
    ----------
    features : FeatureSet
    spine : DataFrame with ``account_id`` (str), ``as_of`` and ``known_by`` (datetime64[us, UTC]), no repeats
        The window is counted back from ``as_of``; a row is visible when ``known_time < known_by``.
    events : mapping of source name to pyarrow.Table or SQL text
        Accepted events: ``accounts`` and every source the set reads.

    Returns
    -------
    DataFrame
        Indexed like ``spine`` and in its order: ``account_id, as_of, known_by, segment``, ``features.columns``
        and the attributes. Counts, sums and cents are int64, all else float64 or str.
    """
    parts = [_part(features, rows, clock, events) for rows, clock in _parts(spine)]
    built = pd.concat(parts, ignore_index=True) if parts else _part(features, spine, Clock(), events)
    keys = ["account_id", "as_of", "known_by"]
    aligned = spine[keys].merge(built, on=keys, how="left", validate="one_to_one")
    return aligned.set_index(spine.index)


def _parts(spine: pd.DataFrame) -> list[tuple[pd.DataFrame, Clock]]:
    """Split a spine into the times many accounts share (fast, literal) and the rest (one query by column)."""
    times = spine.groupby(["as_of", "known_by"])["account_id"].transform("size")
    shared = spine[times >= LITERAL_ROWS] if spine[["as_of", "known_by"]].drop_duplicates().shape[0] > 1 else spine
    found = [
        (rows, Clock(rows["as_of"].iloc[0].to_pydatetime(), rows["known_by"].iloc[0].to_pydatetime()))
        for _, rows in shared.groupby(["as_of", "known_by"])
    ]
    rest = spine.drop(shared.index)
    return [*found, (rest, Clock())] if len(rest) else found


def _part(
    features: FeatureSet, spine: pd.DataFrame, clock: Clock, events: Mapping[str, pa.Table | str]
) -> pd.DataFrame:
    columns = ["account_id"] if clock.as_of_literal else SPINE_SCHEMA.names
    schema = pa.schema([SPINE_SCHEMA.field(name) for name in columns])
    table = to_arrow(spine, schema)
    built: pd.DataFrame = run_sql(compile_sql(features, clock), {**events, "spine": table}).to_pandas()
    return built
