"""The one door to DuckDB: SQL in, Arrow tables out."""

from collections.abc import Mapping

import duckdb
import pyarrow as pa


def run_sql(sql: str, tables: Mapping[str, pa.Table | str] | None = None, *, memory_limit: str = "4GB") -> pa.Table:
    """Run one query and return its result.

    Parameters
    ----------
    sql : str
        DuckDB SQL. Timestamps are UTC.
    tables : mapping of str to pyarrow.Table or str, optional
        Relations the query names: an Arrow table, or SQL text that becomes a view.
    memory_limit : str
        DuckDB spills to disk above it.

    Returns
    -------
    pyarrow.Table

    Examples
    --------
    >>> run_sql("SELECT 1 + 1 AS two").column("two").to_pylist()
    [2]
    """
    with duckdb.connect(config={"memory_limit": memory_limit}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in (tables or {}).items():
            if isinstance(table, str):
                connection.execute(f'CREATE TEMP VIEW "{name}" AS {table}')
            else:
                connection.register(name, table)
        return connection.sql(sql).to_arrow_table()
