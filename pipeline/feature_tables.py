"""Feature tables of the whole book, one file an as-of time, brought up to date when further loads have come in.

::

    <root>/features/<feature set>/<as-of>.parquet   one row a line of the book, ordered by account
    <root>/features/<feature set>/<as-of>.json      written last: the loads it has read

A row of the book depends on what was known before the as-of time about its account, and about accounts that share a
device or a payee with it. So after a further load only those accounts are computed again whose rows of that time are
new, or who share something with them; the file is byte for byte the one a full build writes.
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import format_time
from limitlens.data.engine import run_sql
from limitlens.data.events import EventStore
from limitlens.data.storage import parquet_stream, write_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import LINKS
from limitlens.features.spine import book
from limitlens.features.table import DUCKDB, Engine, Relations, table_parts
from limitlens.pipeline.workspace import Workspace


def feature_table(
    workspace: Workspace,
    features: FeatureSet,
    as_of: datetime,
    *,
    relations: Relations | None = None,
    engine: Engine = DUCKDB,
    progress: Callable[[str], None],
) -> Path:
    """Build the table of the book at one as-of time, or what is out of date of it.

    Parameters
    ----------
    workspace : Workspace
    features : FeatureSet
    as_of : datetime
        Also the time before which rows are known.
    relations : mapping, optional
        Relations in the SQL of the engine; default: those of DuckDB.
    engine : Engine
    progress : callable
        Told how many lines are computed.

    Returns
    -------
    Path
        Parquet file: ``account_id, as_of, known_by, segment``, the columns of the set and its attributes.
    """
    path = workspace.root / "features" / features.digest[:16] / f"{as_of:%Y%m%dT%H%M%S}.parquet"
    mark = path.with_suffix(".json")
    loads = [load["load"] for load in workspace.events.loads()]
    read = json.loads(mark.read_text(encoding="utf-8"))["loads"] if mark.exists() and path.exists() else []
    if read == loads:
        return path
    lines = book([as_of], workspace.relations(features))[["account_id", "as_of", "known_by"]]
    old = pq.ParquetFile(path) if read and read == loads[: len(read)] else None
    stale = _changed(workspace.events, loads[len(read) :], as_of, features) if old else lines["account_id"]
    name = format_time(as_of)
    source = relations or workspace.relations(features)

    def fresh(points: pd.DataFrame) -> Iterator[pa.Table]:
        if len(points):
            progress(f"features of {name}: {len(points):,} of {len(lines):,} lines")
            yield from table_parts(features, points, source, engine=engine)

    pieces = _mended(old, lines, stale, fresh) if old else fresh(lines)
    _write(pieces, features, source, engine, path)
    write_text(json.dumps({"loads": loads}) + "\n", mark)
    return path


def _write(pieces: Iterator[pa.Table], features: FeatureSet, relations: Relations, engine: Engine, path: Path) -> None:
    first = next(pieces, None)
    if first is None:
        nobody = pd.DataFrame({"account_id": pd.Series([], dtype=str), "as_of": [], "known_by": []})
        first = next(table_parts(features, nobody, relations, engine=engine))
    with parquet_stream(first.schema, path) as write:
        write(first)
        for piece in pieces:
            write(piece.cast(first.schema))


def _mended(
    old: pq.ParquetFile, lines: pd.DataFrame, stale: pd.Series, fresh: Callable[[pd.DataFrame], Iterator[pa.Table]]
) -> Iterator[pa.Table]:
    """The old table with the rows of stale, new and gone lines put right, one row group after the other."""
    waiting = lines.sort_values("account_id")
    for group in range(old.num_row_groups):
        kept = old.read_row_group(group)
        within = waiting["account_id"] <= kept["account_id"][-1].as_py()
        there, waiting = waiting[within], waiting[~within]
        kept = kept.filter(pc.is_in(kept["account_id"], pa.array(there["account_id"], pa.string())))
        kept = kept.filter(pc.invert(pc.is_in(kept["account_id"], pa.array(stale, pa.string()))))
        missing = there[~there["account_id"].isin(kept["account_id"].to_pylist())]
        yield pa.concat_tables([kept, *(piece.cast(kept.schema) for piece in fresh(missing))]).sort_by("account_id")
    yield from fresh(waiting)


def _changed(store: EventStore, loads: list[str], known_by: datetime, features: FeatureSet) -> pd.Series:
    """Accounts of which the loads brought rows known before a time, and those that share something with such rows."""
    known = f"known_time < CAST('{known_by.isoformat()}' AS TIMESTAMPTZ)"
    tables: dict[str, pa.Table | str] = {"new_accounts": store.relation("accounts", loads)}
    parts = [f"SELECT account_id FROM new_accounts WHERE {known}"]
    for source in features.sources:
        tables |= {f"new_{source}": store.relation(source, loads), source: store.relation(source)}
        parts.append(f"SELECT account_id FROM new_{source} WHERE {known}")
    for name in {a.rows for a in features.aggregates} & set(LINKS):
        source, column = LINKS[name].source, LINKS[name].column
        touched = f"SELECT event_no FROM new_{source} WHERE {known}"
        shared = f"SELECT {column} FROM {source} WHERE event_no IN ({touched}) AND NOT {column} IS NULL"
        parts.append(f"SELECT account_id FROM {source} WHERE {column} IN ({shared})")
    found: pd.Series = run_sql(" UNION ".join(parts), tables).to_pandas()["account_id"]
    return found
