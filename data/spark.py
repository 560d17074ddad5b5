"""The one door to Spark: SQL in, Arrow tables out, for events that outgrew one machine; files of a stream; and tasks.

Needs ``pip install limitlens[spark]`` and Java 17. A session that is there already (on a cluster) is used and left
open; otherwise one is opened on the cluster that ``spark-submit`` or ``PYSPARK_SUBMIT_ARGS`` names, or else on this
machine, and closed again.
"""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from limitlens.data import errors
from limitlens.data.engine import Prepare, Relations, RunSql
from limitlens.data.errors import ConfigError, LimitlensError, WorkspaceError
from limitlens.data.resources import THREADS

_Given = TypeVar("_Given")

_LOCAL = {
    # A task that failed is tried once more.
    "spark.master": "local[*, 2]",
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


#: Column of the queries of :meth:`SparkTasks.run`: which task a row goes to, from 0.
PART = "part"

#: What Spark's writers leave in a folder when all tasks of a job have ended.
_FINISHED = "_SUCCESS"


@dataclass(frozen=True)
class SparkTasks:
    """Work of ours on the executors: each task takes the rows of one part, and its result lies in a folder.

    The executors need limitlens and what it needs, in the versions of the driver.
    """

    session: Any

    def slots(self) -> int:
        """Tasks that run at once."""
        return int(self.session.sparkContext.defaultParallelism)

    def run(
        self,
        task: Callable[[_Given, pa.Table], pa.Table],
        given: _Given,
        queries: Sequence[str],
        relations: Relations,
        *,
        schema: pa.Schema,
        parts: int,
        folder: str,
    ) -> None:
        """Let each task have the rows of its part, and write what it returns.

        The result is there as a whole or not at all. A task that failed, or whose executor was lost, is run again by
        Spark, and of several attempts the files of one count.

        Parameters
        ----------
        task : callable
            A function that executors can import; takes what is given and the rows, and returns a table of the schema.
        given : object
            Plain values, the same for every task.
        queries : sequence of str
            SELECTs with :data:`PART`; a column that one of them lacks is null in its rows.
        relations : mapping of str to pyarrow.Table or SQL text
            What the queries name.
        schema : pyarrow.Schema
        parts : int
        folder : str
            As Spark names it, such as ``s3a://lender/staging``; what is in it goes.

        Raises
        ------
        LimitlensError
            A task raised it.
        WorkspaceError
            The job failed for another reason.
        """
        from pyspark.sql.pandas.types import from_arrow_schema  # noqa: PLC0415 - an extra, and slow to import

        shared = self.session.sparkContext.broadcast(given)

        def of_part(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            from pyspark import TaskContext  # noqa: PLC0415 - where the task runs

            rows = list(batches)
            if rows:
                os.environ.setdefault(THREADS, str(TaskContext.get().cpus()))
                yield from task(shared.value, pa.Table.from_batches(rows)).combine_chunks().to_batches()

        with _named(self.session, relations), _naming_errors():
            frames = [self.session.sql(query) for query in queries]
            rows = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
            result = rows.repartitionById(parts, PART).mapInArrow(of_part, from_arrow_schema(schema))
            result.write.mode("overwrite").parquet(folder)
        shared.destroy()

    def finished(self, folder: str) -> bool:
        """Whether a result is there."""
        return self.size(f"{folder}/{_FINISHED}") is not None

    def rows(self, folder: str, first: int, end: int) -> pa.Table:
        """Rows of a result whose :data:`PART` lies in ``[first, end)``, in any order."""
        with _naming_errors():
            rows = self.session.read.parquet(folder)
            return rows.where(f"{PART} >= {first} AND {PART} < {end}").toArrow()

    def folders(self, folder: str) -> list[str]:
        """Names of what is in a folder, which need not be there."""
        with self._files(folder) as (files, path):
            return [one.getPath().getName() for one in files.listStatus(path)] if files.exists(path) else []

    def size(self, file: str) -> int | None:
        """Bytes of a file, if it is there."""
        with self._files(file) as (files, path):
            return int(files.getFileStatus(path).getLen()) if files.exists(path) else None

    def remove(self, folder: str) -> None:
        """Remove a folder, if it is there."""
        with self._files(folder) as (files, path):
            files.delete(path, True)

    @contextmanager
    def _files(self, address: str) -> Iterator[tuple[Any, Any]]:
        """The file system of an address as Spark reaches it, and the address in its terms."""
        with _naming_errors():
            path = self.session._jvm.org.apache.hadoop.fs.Path(address)
            yield path.getFileSystem(self.session._jsc.hadoopConfiguration()), path


@contextmanager
def spark_tasks() -> Iterator[SparkTasks]:
    """Open Spark for tasks.

    Raises
    ------
    ConfigError
        pyspark or Java is not installed.
    """
    with _open_session() as session:
        yield SparkTasks(session)


@contextmanager
def _naming_errors() -> Iterator[None]:
    """What Spark raises, in one line: an error of ours as itself."""
    from py4j.protocol import Py4JJavaError  # noqa: PLC0415 - an extra, and slow to import
    from pyspark.errors import PySparkException  # noqa: PLC0415

    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        cause = _cause(str(error))
        name, _, message = cause.removeprefix(f"{errors.__name__}.").partition(": ")
        ours = getattr(errors, name, None)
        if isinstance(ours, type) and issubclass(ours, LimitlensError):
            raise ours(f"{message}.") from error
        raise WorkspaceError(f"Spark failed ({cause}); mend that and run the command again.") from error


#: How a traceback ends.
_RAISED = re.compile(r"[\w.]*(Error|Exception)\b(: |$)")


def _cause(text: str) -> str:
    """What Spark says of an error, in one line: that of ours which it wraps, if it is one, or of Python."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("limitlens.")]
    of_python = [line for line in lines if _RAISED.match(line)]
    return (ours or of_python or lines)[0].rstrip(".")


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
    # Nothing of ours goes through pandas in Spark.
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
    active = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName("limitlens")
    elsewhere = "PYSPARK_GATEWAY_PORT" in os.environ or "--master" in os.environ.get("PYSPARK_SUBMIT_ARGS", "")
    if not (active or elsewhere):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        for name, value in _LOCAL.items():
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
