"""The one door to DuckDB: SQL in, Arrow tables out.

No database here reaches into the network, loads an extension or can be set otherwise by what it runs. Our own queries
read and write the files that they name; SQL of a user reads the relations that it is given, and nothing else.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from limitlens.data.damage import files_in, naming_damage
from limitlens.data.errors import ConfigError, QueryError, WorkspaceError
from limitlens.data.resources import MEMORY_LIMIT, thread_count
from limitlens.data.unfinished import held_folder

# Once: a filter that is set and taken back is no affair of one thread alone.
warnings.filterwarnings("ignore", "Arrow output on a DB-API result makes an extra copy")

#: What a query raises about a file that it cannot read; who reads files of others says it in their words.
UNREADABLE = (duckdb.IOException, duckdb.InvalidInputException, duckdb.ConversionException)

#: What a query raises about a value that it computes: too large, or no time of any calendar.
OUT_OF_RANGE = (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException)

#: How statements begin that say no more than that they are done: read as a table, that would be another query.
_MAKING = ("CREATE ", "INSERT ", "DROP ")

#: Relations by the name a query gives them: an Arrow table, or SQL text.
Relations = Mapping[str, pa.Table | str]

#: What stands for ``$name`` in a query. A value never becomes SQL text; DuckDB takes none inside a view.
Values = Mapping[str, object]


class RunSql(Protocol):
    """Runs a query over relations of its own, besides those that are there already."""

    def __call__(self, sql: str, more: Relations, /, *, few: bool = False) -> pa.Table:
        """Run it.

        ``few``: the result is small beside the query. DuckDB then plans the query once instead of twice, and copies
        what it gives once more, which pays where planning takes longer: all features of a part of the book.
        """
        ...


#: What :func:`prepared` is, for DuckDB or another engine.
Prepare = Callable[[Relations, Mapping[str, str]], AbstractContextManager[RunSql]]


#: Runs a query that is planned already, over the relations given.
RunPlanned = Callable[[Mapping[str, pa.Table]], pa.Table]


class _Run(Protocol):
    def __call__(
        self, sql: str, more: Relations, values: Values | None = None, /, *, few: bool = False
    ) -> pa.Table: ...


def run_sql(
    sql: str,
    tables: Relations | None = None,
    values: Values | None = None,
    *,
    few: bool = False,
    only: Sequence[Path] | None = None,
) -> pa.Table:
    """Run one query and return its result.

    Parameters
    ----------
    sql : str
        DuckDB SQL. Timestamps are UTC.
    tables : mapping of str to pyarrow.Table or str, optional
        Relations the query names: an Arrow table, or SQL text that becomes a view. They are gone afterwards.
    values : mapping of str to object, optional
        What stands for each ``$name`` in the query.
    few : bool
        The result has few rows: the query is planned once instead of twice.
    only : sequence of Path, optional
        The query is a user's: one that reads, and no files but these.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    QueryError
        It is a user's, and it does anything else, or is none.
    WorkspaceError
        The query needs more memory than there is, and the disk has no room to spill to.
    IntegrityError
        A Parquet file that the query names is missing or damaged.

    Examples
    --------
    >>> run_sql("SELECT 1 + 1 AS two").column("two").to_pylist()
    [2]
    >>> run_sql("SELECT $name AS name", values={"name": "' OR TRUE --"})["name"].to_pylist()
    ["' OR TRUE --"]
    """
    if only is None:
        with prepared(tables or {}) as run:
            return run(sql, {}, values, few=few)
    closed = _closed_database(tuple(map(str, only)), Path.cwd())
    with _naming_refusal(), _prepared(closed, tables or {}, {}, only) as run:
        _expect_reading(sql)
        return run(sql, {}, values, few=few)


@contextmanager
def prepared(tables: Relations, held: Mapping[str, str] | None = None) -> Iterator[_Run]:
    """Make relations ready for several queries.

    Parameters
    ----------
    tables : mapping of str to pyarrow.Table or str
        As in :func:`run_sql`.
    held : mapping of str to str, optional
        SQL over them whose results are computed once and held under these names, on disk where memory is short.

    Yields
    ------
    callable
        Takes a query, further relations, which are gone after it, and values as in :func:`run_sql`; returns a
        pyarrow.Table. A temporary table that it creates stays, on disk where memory is short, as long as the relations
        do.

    Examples
    --------
    >>> odd, highest = "SELECT 2 * range + 1 AS n FROM range(5)", "SELECT MAX(n) AS n FROM odd"
    >>> with prepared({"odd": odd}, {"most": highest}) as run:
    ...     [run(f"SELECT n - {less} AS n FROM most", {})["n"][0].as_py() for less in (0, 5)]
    [9, 4]
    """
    with _prepared(_database(), tables, held or {}) as run:
        yield run


@contextmanager
def _prepared(
    database: duckdb.DuckDBPyConnection, tables: Relations, held: Mapping[str, str], only: Sequence[Path] | None = None
) -> Iterator[_Run]:
    texts = [sql for sql in (*tables.values(), *held.values()) if isinstance(sql, str)]

    def run(sql: str, more: Relations, values: Values | None = None, /, *, few: bool = False) -> pa.Table:
        texts.extend([sql, *(text for text in more.values() if isinstance(text, str))])
        table = _run(connection, sql, more, values, few=few)
        del texts[named:]
        return table

    named = len(texts)
    read = naming_damage(
        duckdb.Error, lambda: [path for text in texts for path in files_in(text)] if only is None else only
    )
    with database.cursor() as connection, read, _naming_lack_of_room():
        _name(connection, tables)
        for name, sql in held.items():
            connection.execute(f'CREATE TEMP TABLE "{name}" AS {sql}')
        yield run


def _run(
    connection: duckdb.DuckDBPyConnection, sql: str, tables: Relations, values: Values | None, *, few: bool
) -> pa.Table:
    _name(connection, tables)
    try:
        if few:
            return _at_once(connection, sql, values)
        if sql.startswith(_MAKING):
            connection.execute(sql, dict(values or {})).fetchall()
            return pa.table({})
        relation = connection.sql(sql, params=dict(values)) if values else connection.sql(sql)
        return pa.table({}) if relation is None else relation.to_arrow_table()
    finally:
        for name, table in tables.items():
            if isinstance(table, str):
                connection.execute(f'DROP VIEW "{name}"')
            else:
                connection.unregister(name)


def _at_once(connection: duckdb.DuckDBPyConnection, sql: str, values: Values | None = None) -> pa.Table:
    return connection.execute(sql, dict(values or {})).to_arrow_table()


def planned(sql: str, schemas: Mapping[str, pa.Schema], views: Mapping[str, str]) -> RunPlanned:
    """Plan a query once, to run it over other rows each time.

    Parameters
    ----------
    sql : str
        DuckDB SQL without values.
    schemas : mapping of str to pyarrow.Schema
        Relations that it reads, and their columns.
    views : mapping of str to str
        SQL over them, by the name that the query or a later view gives it.

    Returns
    -------
    callable
        Takes a pyarrow.Table for each of the relations and returns the result; for one thread at a time. Its connection
        lives as long as it does.

    Examples
    --------
    >>> most = planned("SELECT MAX(n) AS n FROM odd", {"one": pa.schema([("n", pa.int64())])},
    ...                {"odd": "SELECT n FROM one WHERE n % 2 = 1"})
    >>> [most({"one": pa.table({"n": numbers})})["n"][0].as_py() for numbers in ([1, 2, 3], [5])]
    [3, 5]
    """
    connection, relations = _database().cursor(), {name: _Stream(schema) for name, schema in schemas.items()}
    for name, relation in relations.items():
        connection.register(name, relation)
    _name(connection, views)
    connection.execute(f"PREPARE planned AS {sql}")

    def run(tables: Mapping[str, pa.Table], /) -> pa.Table:
        for name, relation in relations.items():
            relation.table = tables[name].cast(relation.schema)
        try:
            with _naming_lack_of_room():
                return _at_once(connection, "EXECUTE planned")
        finally:
            for relation in relations.values():
                relation.table = relation.schema.empty_table()

    return run


class _Stream:
    """A relation whose rows are read anew by each run of a query.

    DuckDB 2 keeps the plan of a prepared query that reads such relations alone; one that reads a table of its own, or
    takes values, it plans again each time.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema, self.table = schema, schema.empty_table()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def _name(connection: duckdb.DuckDBPyConnection, tables: Relations) -> None:
    for name, table in tables.items():
        if isinstance(table, str):
            connection.execute(f'CREATE TEMP VIEW "{name}" AS {table}')
        else:
            connection.register(name, table)


@contextmanager
def _naming_lack_of_room() -> Iterator[None]:
    """Memory and disk that are full, in one line."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        message = str(error).splitlines()[0]
        raise WorkspaceError(
            f"no room for a query ({message}); free memory or room on the disk, and run the command again."
        ) from error


def limit_memory(limit: str) -> None:
    """Set the memory above which queries of this process spill to disk, such as ``1GB``.

    Raises
    ------
    ConfigError
        The text is not an amount of memory.
    """
    try:
        _database().execute("SET memory_limit = ?", [limit])
    except duckdb.Error as error:
        raise ConfigError(f"memory {limit!r} is not an amount such as 500MB or 2GB.") from error


def memory_limit() -> int:
    """Bytes above which queries of this process spill to disk."""
    [row] = _database().execute("SELECT parse_formatted_bytes(current_setting('memory_limit'))").fetchall()
    return int(row[0])


def _expect_reading(sql: str) -> None:
    """Refuse what is not one query, before anything of it runs."""
    statements = duckdb.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise QueryError(f"the query is {kinds}; expected one SELECT over the tables of the ledger.")


@contextmanager
def _naming_refusal() -> Iterator[None]:
    """What DuckDB refuses of a user's query, in one line."""
    try:
        yield
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        message = str(error).strip().partition("\n")[0].removesuffix(".")
        raise QueryError(
            f"the query is refused ({message}); it reads the tables of the ledger and nothing else."
        ) from error


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database a process: opening one takes 15 ms, a cursor on it 1 ms."""
    return _opened("allowed_directories", [str(Path("/"))])


@lru_cache(maxsize=2)
def _closed_database(files: tuple[str, ...], _: Path) -> duckdb.DuckDBPyConnection:
    """One that reads some files, as they are named in a folder, and no other."""
    return _opened("allowed_paths", files)


def _opened(setting: str, readable: Sequence[str]) -> duckdb.DuckDBPyConnection:
    """An empty database that nothing can be loaded into.

    Looking for common subexpressions takes over half of the planning of a wide feature query and saves nothing there.
    """
    config: dict[str, str | int | bool] = {
        "memory_limit": MEMORY_LIMIT,
        "threads": thread_count(),
        "disabled_optimizers": "common_subexpressions",
        "temp_directory": held_folder("limitlens-spill-"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allow_persistent_secrets": False,
        "python_enable_replacements": False,
    }
    database = duckdb.connect(config=config)
    database.execute("SET GLOBAL TimeZone = 'UTC'")
    database.execute("SET allowed_configs = ['memory_limit']")
    database.execute("CREATE MACRO unix_micros(moment) AS epoch_us(moment)")  # as every other engine calls it
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in readable)
    database.execute(f"SET {setting} = [{names}]")
    database.execute("SET enable_external_access = FALSE")
    database.execute("SET lock_configuration = TRUE")
    return database
