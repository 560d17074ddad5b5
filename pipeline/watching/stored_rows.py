"""Stored rows by Spark: those of the loads are found where they lie, and only those asked for come to this machine."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.engine import Prepare, RunSql
from limitlens.data.events import EventStore
from limitlens.data.spark import spark_text
from limitlens.pipeline.journal import FindStored


@contextmanager
def found_by_spark(store: EventStore, prepare: Prepare) -> Iterator[FindStored]:
    """Let Spark find the stored rows of a watch.

    Parameters
    ----------
    store : EventStore
        Its files are where the driver and all executors see them.
    prepare : callable
        As :func:`limitlens.data.spark.spark_sql` yields it.

    Yields
    ------
    callable
        For :class:`limitlens.pipeline.journal.Journal`. Loads that come later are read, too. What was found is kept
        until something else is asked of the same column: a tick asks first of all touched lines, then of some.
    """
    views: dict[str, RunSql] = {}
    kept: dict[tuple[str, str], tuple[frozenset[str], pa.Table]] = {}
    with ExitStack() as opened:

        def find(source: str, column: str, values: Sequence[str]) -> pa.Table:
            digest, asked = store.digest(), frozenset(values)
            if digest not in views:
                opened.close()
                views.clear()
                kept.clear()
                views[digest] = opened.enter_context(prepare(store.spark_versions(), {}))
            there, rows = kept.get((source, column), (frozenset(), None))
            if rows is not None and asked <= there:
                return rows.filter(pc.is_in(rows[column], pa.array(asked, pa.string())))
            kept[source, column] = asked, _rows_with(views[digest], source, column, asked)
            return kept[source, column][1]

        yield find


def _rows_with(run: RunSql, source: str, column: str, values: Collection[str]) -> pa.Table:
    texts = ", ".join(spark_text(value) for value in sorted(values)) or "NULL"
    rows = run(f"SELECT * FROM {source} WHERE {column} IN ({texts})", {})
    return rows.cast(pa.schema([field.with_nullable(True) for field in rows.schema]))
