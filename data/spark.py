"""The one door to Spark: SQL in, Arrow tables out, for events that outgrew one machine; and files of a stream.

Needs ``pip install limitlens[spark]`` and Java 17. A session that is there already (on a cluster) is used and left
open; otherwise one is opened on the cluster that ``spark-submit`` or ``PYSPARK_SUBMIT_ARGS`` names, or else on this
machine, and closed again.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from limitlens.data.engine import Prepare, Relations, RunSql
from limitlens.data.errors import ConfigError, WorkspaceError

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
    with _open_session() as session:
        yield lambda tables, held: _prepared(session, tables, held)


def spark_text(value: str) -> str:
    """A text as Spark SQL has it, whatever is in it; Parquet files skip what a comparison with it leaves out.

    Examples
    --------
    >>> spark_text("it's")
    "CAST(X'69742773' AS STRING)"
    """
    return f"CAST(X'{value.encode().hex()}' AS STRING)"


#: What Structured Streaming reads of a file that it takes as it is; it wants the schema to be named.
_FILE = "path STRING NOT NULL, modificationTime TIMESTAMP NOT NULL, length BIGINT NOT NULL, content BINARY"

#: Spark passes over a file that is older than the newest by more than this; nothing that comes late may be lost.
_OLDEST = "36500d"


@contextmanager
def streamed_files(
    folders: str, checkpoint: Path, land: Callable[[pa.Table], None], *, most: int, every: float | None
) -> Iterator[Callable[[], None]]:
    """Hand over the files that come into some folders, by Structured Streaming, while the block runs.

    Parameters
    ----------
    folders : str
        As Spark names them, such as ``s3a://lender/new/{consumption,payment}``; one that is not there yet may come.
    checkpoint : Path
        Folder in which Spark notes which files it handed over.
    land : callable
        Takes the files of a micro-batch: ``path``, ``content``. A batch during which the process was killed comes
        again.
    most : int
        Files of a micro-batch.
    every : float or None
        Seconds from one look to the next; None: only what is there, before the block begins.

    Yields
    ------
    callable
        Fails if the stream did.

    Raises
    ------
    ConfigError
        pyspark or Java is not installed.
    WorkspaceError
        Spark cannot read the folders or the checkpoint, or ``land`` failed.
    """
    with _open_session() as session:
        from pyspark.errors import StreamingQueryException  # noqa: PLC0415 - an extra, and slow to import

        files = session.readStream.format("binaryFile").schema(_FILE).option("recursiveFileLookup", True)
        files = files.option("maxFilesPerTrigger", most).option("maxFileAge", _OLDEST).load(folders)
        sink = files.writeStream.option("checkpointLocation", checkpoint.resolve().as_uri())
        sink = sink.foreachBatch(lambda batch, _: land(batch.select("path", "content").toArrow()))
        query = (sink.trigger(processingTime=f"{every} seconds") if every else sink.trigger(availableNow=True)).start()

        def check() -> None:
            if error := query.exception():
                raise WorkspaceError(f"the stream from {folders} ended: {_cause(str(error))}.")

        try:
            if not every:
                with suppress(StreamingQueryException):
                    query.awaitTermination()
            check()
            yield check
            check()
        finally:
            query.stop()


def _cause(text: str) -> str:
    """What Spark says of an error, in one line: that of ours which it wraps, if it is one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("limitlens.")]
    return (ours or lines)[0].rstrip(".")


@contextmanager
def _open_session() -> Iterator[Any]:
    session, opened = _session()
    try:
        yield session
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
    elsewhere = "PYSPARK_GATEWAY_PORT" in os.environ or "--master" in os.environ.get("PYSPARK_SUBMIT_ARGS", "")
    for name, value in () if active or elsewhere else _LOCAL.items():
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
