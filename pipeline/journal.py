"""The journal of the watch: rows that came since the last load, beside those of all loads, found by line in a moment.

An SQLite file in the workspace. What a tick took in is there at once or not at all; the next load takes it over, with
the times at which it was known. The rows of the loads are a copy that can be made again: the file may be deleted when
no tick has come since the last ``check`` or ``decide``.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.check import HELD, Journaled
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, SOURCES
from limitlens.data.delivery import ROW
from limitlens.data.engine import run_sql
from limitlens.data.events import ATTRIBUTE_TYPES, EventStore, stored_schema
from limitlens.data.progress import Progress, silent
from limitlens.data.quoting import quoted
from limitlens.data.versions import FILE, FLOOR
from limitlens.limits.database import Connection, opened

#: What a row of the journal says of itself: its tick, its place in it, and before when nobody could know it.
PLACE = pa.schema([(FILE, pa.int64()), (ROW, pa.int64()), (FLOOR, pa.timestamp("us", tz="UTC"))])

#: By what rows are found besides their account and key.
_LINKED = {"device": "device_id", "payment": "counterparty"}

_OWN = """
CREATE TABLE IF NOT EXISTS loads (load TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS ticks (tick INTEGER PRIMARY KEY, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (name, sha256));
CREATE TABLE IF NOT EXISTS counts (source TEXT NOT NULL, rows_in INTEGER NOT NULL, deduplicated INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS heard (listener TEXT PRIMARY KEY, tick INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (account_id TEXT NOT NULL, known_time INTEGER NOT NULL);
"""


def _statements() -> str:
    """Tables of all sources, with the columns of the contract; attributes are added as they come."""
    statements = [_OWN, _table("held", HELD)]
    for source in SOURCES.values():
        schema = stored_schema(source.name)
        declared = pa.schema([field for field in schema if field.name in source.column_names()])
        for kind, columns in (("stored", schema), ("fresh", pa.schema([*PLACE, *declared]))):
            statements.append(_table(f"{kind}_{source.name}", columns))
    for index, (table, column) in {**_indexes("stored"), **_indexes("fresh")}.items():
        statements.append(f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({quoted(column)});")
    return "\n".join(statements)


def _indexes(kind: str) -> dict[str, tuple[str, str]]:
    """Table and column of each index on the rows of the loads (``stored``) or of the ticks (``fresh``), by its name."""
    found_by = {
        source.name: sorted({"account_id", source.key[0], *([_LINKED[source.name]] if source.name in _LINKED else [])})
        for source in SOURCES.values()
    }
    tables = [(f"{kind}_{source}", column) for source, columns in found_by.items() for column in columns]
    return {f"{table}_{column}": (table, column) for table, column in tables}


def _table(name: str, schema: pa.Schema) -> str:
    return f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(map(quoted, schema.names))});"


_STATEMENTS = _statements()

#: Finds rows of the loads by source, column and values, as :meth:`limitlens.data.events.EventStore.versions` has them.
FindStored = Callable[[str, str, Sequence[str]], pa.Table]


@dataclass(frozen=True)
class Taken:
    """What one tick took in of one source; see :class:`limitlens.data.check.Journaled`. None: no file was sound."""

    clean: pa.Table | None
    rows_in: int
    deduplicated: int


@dataclass(frozen=True)
class Journal:
    """The journal of one workspace folder.

    Parameters
    ----------
    workspace : Path
    find_stored : callable, optional
        Finds rows of the loads where they lie; default: in a copy of them that the journal keeps.
    """

    workspace: Path
    find_stored: FindStored | None = None

    @property
    def path(self) -> Path:
        """Its file."""
        return self.workspace / "journal.sqlite"

    def exists(self) -> bool:
        """Whether a watch ever wrote it."""
        return self.path.exists()

    def sync(self, store: EventStore, progress: Progress = silent) -> None:
        """Copy the loads that came since, each with all its rows or not at all; none where they are found elsewhere."""
        if self.find_stored:
            return
        rows = {
            str(mark["load"]): sum(count["accepted"] for count in mark["sources"].values()) for mark in store.loads()
        }
        with self._open() as connection:
            there = {load for (load,) in connection.execute("SELECT load FROM loads")}
            missing = [load for load in rows if load not in there]
            most_are_new = 2 * sum(rows[load] for load in missing) > sum(rows.values())
            if most_are_new:  # indexes of rows that are there are made many times as fast as those that grow row by row
                connection.executescript("".join(f"DROP INDEX IF EXISTS {name};" for name in _indexes("stored")))
            for load in missing:
                progress(f"copying load {load} for the watch")
                for source in SOURCES:
                    _add(connection, f"stored_{source}", _rows_of(store, source, load))
                connection.execute("INSERT INTO loads VALUES (?)", [load])
                connection.commit()
            if most_are_new:
                progress("making indexes of it")
                connection.executescript(_STATEMENTS)

    def last_tick(self) -> int:
        """Number of the last tick, 0 before the first."""
        with self._open() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(tick), 0) FROM ticks").fetchone()[0])

    def has_taken(self, name: str, sha256: str) -> bool:
        """Whether a tick took this file in, and could not move it away."""
        with self._open() as connection:
            same = connection.execute("SELECT 1 FROM files WHERE name = ? AND sha256 = ?", [name, sha256])
            return same.fetchone() is not None

    def take(
        self, tick: int, at: datetime, rows: Mapping[str, Taken], held: pa.Table, files: Iterable[tuple[str, str]]
    ) -> None:
        """Record all that a tick took in, at once.

        Parameters
        ----------
        tick : int
        at : datetime
        rows : mapping of source to Taken
        held : pyarrow.Table
            Rows for the quarantine; columns of :data:`limitlens.data.check.HELD`.
        files : iterable of (name, sha256)
        """
        with self._open() as connection:
            for source, taken in rows.items():
                if taken.clean is None:
                    continue
                _add(connection, f"fresh_{source}", [taken.clean])
                connection.execute("INSERT INTO counts VALUES (?, ?, ?)", [source, taken.rows_in, taken.deduplicated])
                known = "SELECT DISTINCT account_id, GREATEST(known_time, delivered_floor) AS known_time FROM clean"
                _add(connection, "waiting", [run_sql(known, {"clean": taken.clean})])
            _add(connection, "held", [held])
            connection.execute("DELETE FROM ticks")
            connection.execute("INSERT INTO ticks VALUES (?, ?)", [tick, _microseconds(at)])
            connection.executemany("INSERT OR IGNORE INTO files VALUES (?, ?)", files)

    def moved(self) -> None:
        """The files of the last tick are gone from where they came."""
        with self._open() as connection:
            connection.execute("DELETE FROM files")

    def touched(self, at: datetime) -> list[str]:
        """Accounts with a row that is known before a time and that nobody has looked at yet."""
        sql = "SELECT DISTINCT account_id FROM waiting WHERE known_time < ? ORDER BY account_id"
        with self._open() as connection:
            return [account for (account,) in connection.execute(sql, [_microseconds(at)])]

    def looked(self, at: datetime) -> None:
        """All that is known before a time was looked at."""
        with self._open() as connection:
            connection.execute("DELETE FROM waiting WHERE known_time < ?", [_microseconds(at)])

    def listen(self, listeners: Iterable[str]) -> None:
        """Those of some listeners that were never told anything begin where the others are."""
        with self._open() as connection:
            (begin,) = connection.execute("SELECT COALESCE(MAX(tick), 0) FROM heard").fetchone()
            connection.executemany("INSERT OR IGNORE INTO heard VALUES (?, ?)", [(one, begin) for one in listeners])

    def heard_until(self, listener: str) -> int:
        """Number of the last tick in the ledger that a listener was told of."""
        with self._open() as connection:
            (tick,) = connection.execute("SELECT tick FROM heard WHERE listener = ?", [listener]).fetchone()
            return int(tick)

    def heard(self, listener: str, tick: int) -> None:
        """A listener was told of all ticks of the ledger up to this one."""
        with self._open() as connection:
            connection.execute("UPDATE heard SET tick = ? WHERE listener = ?", [tick, listener])

    def rows(self, source: str, column: str, values: Sequence[str]) -> tuple[pa.Table, pa.Table]:
        """Rows with one of some values in a column: that of the account, of the key or of what links accounts.

        Returns
        -------
        (pyarrow.Table, pyarrow.Table)
            Those of the loads, as :meth:`limitlens.data.events.EventStore.versions` gives them, and those that came
            since, as :func:`limitlens.data.versions.add_clean` takes them.
        """
        with self._open() as connection:
            fresh = _read(connection, f"fresh_{source}", column, values)
            if self.find_stored:
                return self.find_stored(source, column, values), fresh
            return _read(connection, f"stored_{source}", column, values), fresh

    def journaled(self) -> dict[str, Journaled]:
        """All that came since the last load, by source; empty when nothing did."""
        with self._open() as connection:
            summed = "SELECT source, SUM(rows_in), SUM(deduplicated) FROM counts GROUP BY source"
            counts = {source: (rows, known) for source, rows, known in connection.execute(summed)}
            if not counts:
                return {}
            held = _read(connection, "held")
            by_source = {}
            for source in {ACCOUNTS.name: (0, 0), **counts}:
                rows_in, deduplicated = counts.get(source, (0, 0))
                mine = run_sql("SELECT * FROM held WHERE source = $source", {"held": held}, {"source": source})
                fresh = _read(connection, f"fresh_{source}")
                by_source[source] = Journaled(fresh, mine.cast(HELD), int(rows_in), int(deduplicated))
            return by_source

    def attributes(self) -> dict[str, str]:
        """Kinds of the attributes of the accounts that ticks took in."""
        declared = {*PLACE.names, *ACCOUNTS.column_names()}
        with self._open() as connection:
            columns = connection.execute(f"PRAGMA table_info(fresh_{ACCOUNTS.name})").fetchall()
        kinds = {arrow: kind for kind, arrow in ATTRIBUTE_TYPES.items()}
        return {row[1]: kinds[_KINDS[row[2]]] for row in columns if row[1] not in declared}

    def folded(self) -> None:
        """A load has all that came."""
        with self._open() as connection:
            for table in ("counts", "held", *(f"fresh_{source}" for source in SOURCES)):
                connection.execute(f"DELETE FROM {table}")

    def forget(self, accounts: Sequence[str]) -> None:
        """Nothing of some accounts waits any more; the copy of the loads is made again by the next watch.

        What came since the last load is a load by now.
        """
        with self._open() as connection:
            for table in ("loads", *(f"stored_{source}" for source in SOURCES)):
                connection.execute(f"DELETE FROM {table}")
            given = json.dumps(list(accounts))
            connection.execute("DELETE FROM waiting WHERE account_id IN (SELECT value FROM json_each(?))", [given])

    def _open(self) -> AbstractContextManager[Connection]:
        return opened(self.path, _STATEMENTS)


def _rows_of(store: EventStore, source: str, load: str) -> Iterator[pa.Table]:
    """Rows that one load brought of one source, piece by piece."""
    path = store.root / "events" / source / f"{load}.parquet"
    if not path.is_file():
        return
    if source in EVENT_SOURCES:
        with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
            for batch in parquet.iter_batches():
                yield pa.Table.from_batches([batch])
        return
    own = store.relation(source, [load])
    key = ("known_time", "delivered_known_time", "account_id")
    same = " AND ".join(f"own.{name} = versions.{name}" for name in key)
    relations = {"versions": store.versions(source), "own": own}
    yield run_sql(f"SELECT versions.* FROM versions SEMI JOIN own ON {same}", relations)


_KINDS = {"DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_()}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def _add(connection: Connection, table: str, pieces: Iterable[pa.Table]) -> None:
    """Insert rows; an attribute that the table does not know yet becomes a column of it, with its type."""
    for piece in pieces:
        known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for field in piece.schema:
            if field.name not in known:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(field.name)} {_NAMES[field.type]}")
        names = ", ".join(map(quoted, piece.column_names))
        places = ", ".join("?" * piece.num_columns)
        connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", _cells(piece))


def _cells(table: pa.Table) -> Iterator[tuple[object, ...]]:
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return zip(*columns, strict=True)


def _read(connection: Connection, table: str, column: str = "", values: Sequence[str] = ()) -> pa.Table:
    """Rows of a table with one of some values in a column, or all of them, with their types."""
    kind, _, source = table.partition("_")
    own = {"stored": pa.schema([]), "fresh": PLACE, "held": HELD}[kind]
    declared = {field.name: field.type for field in [*own, *(stored_schema(source) if source else ())]}
    info = [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]
    schema = pa.schema([(name, declared.get(name) or _KINDS[of]) for name, of in info])
    where = f"WHERE {quoted(column)} IN (SELECT value FROM json_each(?))" if column else ""
    sql = f"SELECT {', '.join(map(quoted, schema.names))} FROM {table} {where} ORDER BY rowid"
    rows = connection.execute(sql, [json.dumps(list(values))] if column else []).fetchall()
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.table([_typed(cells, field.type) for cells, field in zip(columns, schema, strict=True)], schema=schema)


def _typed(cells: Sequence[object], of: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(of):
        return pa.array(cells, pa.int64()).cast(of)
    if of == pa.bool_():
        return pa.array([None if cell is None else bool(cell) for cell in cells], of)
    return pa.array(cells, of)


def _microseconds(at: datetime) -> int:
    return int(pa.scalar(at, pa.timestamp("us", tz="UTC")).cast(pa.int64()).as_py())
