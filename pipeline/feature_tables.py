"""Feature tables of the whole book, one file an as-of time, brought up to date when further loads have come in.

::

    <root>/features/<feature set>/<as-of>.parquet   one row a line of the book, ordered by account
    <root>/features/<feature set>/<as-of>.json      written last: the loads it has read

A row of the book depends on what was known before the as-of time about its account, and about accounts that share a
device or a payee with it. So after a further load only those accounts are computed again whose rows of that time are
new, or who share something with them; the file is byte for byte the one a full build writes.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import format_time
from limitlens.data.engine import Relations, run_sql
from limitlens.data.events import EventStore
from limitlens.data.storage import parquet_stream, write_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import LINKS
from limitlens.features.spine import book
from limitlens.features.table import DUCKDB, Engine, table_parts
from limitlens.pipeline.workspace import Workspace

_KEYS = ["account_id", "as_of", "known_by"]


#: Rows to a row group of these wide files, of which several are written at once.
GROUP_ROWS = 1 << 14

#: As-of times that are built together; events are read once for all of them.
TOGETHER = 12


def feature_tables(
    workspace: Workspace,
    features: FeatureSet,
    as_ofs: Sequence[datetime],
    *,
    relations: Relations | None = None,
    engine: Engine = DUCKDB,
    progress: Callable[[str], None],
) -> list[Path]:
    """Build the tables of the book at some as-of times, or what is out of date of them.

    Parameters
    ----------
    workspace : Workspace
    features : FeatureSet
    as_ofs : sequence of datetime
        Also the times before which rows are known.
    relations : mapping, optional
        Relations in the SQL of the engine; default: those of DuckDB.
    engine : Engine
    progress : callable
        Told how many lines are computed.

    Returns
    -------
    list of Path
        A Parquet file each: ``account_id, as_of, known_by, segment``, the columns of the set and its attributes.
    """
    folder = workspace.root / "features" / features.digest[:16]
    paths = {as_of: folder / f"{as_of:%Y%m%dT%H%M%S}.parquet" for as_of in as_ofs}
    loads = [load["load"] for load in workspace.events.loads()]
    read = {as_of: _loads_read(path) for as_of, path in paths.items()}
    source = relations or workspace.relations(features)

    def fresh(points: pd.DataFrame, lines: int) -> Iterator[pa.Table]:
        times = [format_time(time.to_pydatetime()) for time in sorted(points["as_of"].unique())]
        if times:
            named = " to ".join(dict.fromkeys((times[0], times[-1])))
            progress(f"features of {named}: {len(points):,} of {lines:,} lines")
        yield from table_parts(features, points, source, engine=engine)

    def write(parts: Iterator[pa.Table], written: Sequence[datetime]) -> None:
        write_tables(parts, {as_of: paths[as_of] for as_of in written})
        for as_of in written:
            write_text(json.dumps({"loads": loads}) + "\n", _mark(paths[as_of]))

    new = [as_of for as_of in as_ofs if not read[as_of] or read[as_of] != loads[: len(read[as_of])]]
    for start in range(0, len(new), TOGETHER):
        together = new[start : start + TOGETHER]
        points = book(together, workspace.relations(features))[_KEYS]
        write(fresh(points, len(points)), together)
    for as_of in as_ofs:
        if as_of not in new and read[as_of] != loads:
            lines = book([as_of], workspace.relations(features))[_KEYS]
            stale = _changed(workspace.events, loads[len(read[as_of]) :], as_of, features)
            old = pq.ParquetFile(paths[as_of])
            known = lines["account_id"].isin(old.read(["account_id"])["account_id"].to_pandas())
            kept = known & ~lines["account_id"].isin(stale)
            missing = iter(()) if kept.all() else fresh(lines[~kept], len(lines))
            write(_merged(old, lines["account_id"][kept], missing), [as_of])
    return list(paths.values())


def _mark(path: Path) -> Path:
    return path.with_suffix(".json")


def _loads_read(path: Path) -> list[str]:
    mark = _mark(path)
    found: list[str] = json.loads(mark.read_text(encoding="utf-8"))["loads"] if mark.exists() and path.exists() else []
    return found


def write_tables(parts: Iterable[pa.Table], paths: Mapping[datetime, Path]) -> None:
    """Write parts of feature tables to a file for each as-of time; every file is there, if without a row.

    A part is written while the next is computed.

    Parameters
    ----------
    parts : iterable of pyarrow.Table
        With ``as_of``; at least one. What is of one as-of time is in order.
    paths : mapping of datetime to Path
    """
    writes: dict[datetime, Callable[[pa.Table], None]] = {}

    def write(part: pa.Table) -> None:
        for as_of in part["as_of"].unique():
            writes[as_of.as_py()](part.filter(pc.equal(part["as_of"], as_of)).cast(schema))

    with ExitStack() as files, ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for part in parts:
            if not writes:
                schema = part.schema
                for as_of, path in paths.items():
                    writes[as_of] = files.enter_context(parquet_stream(schema, path, GROUP_ROWS))
            if writing:
                writing.result()
            writing = writer.submit(write, part)
        if writing:
            writing.result()


def _merged(old: pq.ParquetFile, kept: pd.Series, computed: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """What is kept of an old table with what is computed, both ordered by account, one row group after the other."""
    accounts, waiting = pa.array(kept, pa.string()), next(computed, None)
    for group in range(old.num_row_groups):
        rows = old.read_row_group(group)
        last, found = rows["account_id"][-1], [rows.filter(pc.is_in(rows["account_id"], accounts))]
        while waiting is not None:
            due = pc.sum(pc.less_equal(waiting["account_id"], last)).as_py() or 0
            found.append(waiting.slice(0, due).cast(rows.schema))
            if due < len(waiting):
                waiting = waiting.slice(due)
                break
            waiting = next(computed, None)
        yield pa.concat_tables(found).sort_by("account_id")
    if waiting is not None:
        yield waiting
    yield from computed


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
