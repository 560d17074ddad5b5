"""The one door to DuckDB: SQL in, Arrow tables out."""

from collections.abc import Mapping
from functools import cache

import duckdb
import pyarrow as pa

from limitlens.data.errors import ConfigError, WorkspaceError

#: DuckDB spills to disk above it, unless :func:`limit_memory` says otherwise.
MEMORY_LIMIT = "4GB"


def run_sql(sql: str, tables: Mapping[str, pa.Table | str] | None = None) -> pa.Table:
    """Run one query and return its result.

    Parameters
    ----------
    sql : str
        DuckDB SQL. Timestamps are UTC.
    tables : mapping of str to pyarrow.Table or str, optional
        Relations the query names: an Arrow table, or SQL text that becomes a view. They are gone afterwards.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    WorkspaceError
        The query needs more memory than there is, and the disk has no room to spill to.

    Examples
    --------
    >>> run_sql("SELECT 1 + 1 AS two").column("two").to_pylist()
    [2]
    """
    with _database().cursor() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in (tables or {}).items():
            if isinstance(table, str):
                connection.execute(f'CREATE TEMP VIEW "{name}" AS {table}')
            else:
                connection.register(name, table)
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            told = str(error).splitlines()[0]
            raise WorkspaceError(
                f"no room for a query ({told}); free memory or room on the disk, and run the command again."
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


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One empty database a process: opening one takes 15 ms, a cursor on it 1 ms.

    Looking for common subexpressions takes over half of the planning of a wide feature query and saves nothing there.
    """
    config = {"memory_limit": MEMORY_LIMIT, "disabled_optimizers": "common_subexpressions"}
    return duckdb.connect(config=config)
