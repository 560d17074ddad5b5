"""The one door to Spark: SQL in, Arrow tables out, for events that outgrew one machine.

Needs ``pip install limitlens[spark]`` and Java 17. A session that is there already (on a cluster) is used and left
open; otherwise one is opened on this machine, and closed again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from limitlens.data.engine import Prepare, Relations, RunSql
from limitlens.data.errors import ConfigError

_LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "3g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.shuffle.partitions": "2",
    # On one machine compiling a wide query to Java takes longer than running it.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}

#: Settings of a session that the result depends on.
_REQUIRED = {"spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true"}


@contextmanager
def spark_sql() -> Iterator[Prepare]:
    """Open Spark for some queries.

    Yields
    ------
    callable
        Like :func:`limitlens.data.engine.prepared`, but what is held is a view: Spark computes it with each query.

    Raises
    ------
    ConfigError
        pyspark or Java is not installed.
    """
    session, opened = _session()
    try:
        yield lambda tables, held: _prepared(session, tables, held)
    finally:
        if opened:
            session.stop()


def _session() -> tuple[Any, bool]:
    try:
        from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 - an extra, and slow to import
        from pyspark.sql import SparkSession  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("the engine spark needs pyspark; run pip install 'limitlens[spark]'.") from error
    active = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName("limitlens")
    for name, value in {} if active else _LOCAL.items():
        builder = builder.config(name, value)
    try:
        session = active or builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise ConfigError(f"Spark does not start ({error}); it needs Java 17, see JAVA_HOME.") from error
    for name, value in _REQUIRED.items():
        session.conf.set(name, value)
    return session, active is None


@contextmanager
def _prepared(session: Any, tables: Relations, held: Mapping[str, str]) -> Iterator[RunSql]:
    def run(sql: str, more: Relations, /, *, few: bool = False) -> pa.Table:
        del few  # the plan is made once, however many rows come
        return _run(session, sql, more)

    with _named(session, {**tables, **held}):
        yield run


def _run(session: Any, sql: str, tables: Relations) -> pa.Table:
    with _named(session, tables):
        return session.sql(sql).toArrow()


@contextmanager
def _named(session: Any, tables: Relations) -> Iterator[None]:
    for name, table in tables.items():
        frame = session.sql(table) if isinstance(table, str) else session.createDataFrame(table)
        frame.createOrReplaceTempView(name)
    try:
        yield
    finally:
        for name in tables:
            session.catalog.dropTempView(name)
