"""Stored rows by Spark: those of the loads are found where they lie, and only those asked for come to this machine."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pyarrow as pa

from limitlens.data.engine import Prepare, RunSql
from limitlens.data.events import EventStore
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
        For :class:`limitlens.pipeline.journal.Journal`. Loads that come later are read, too.
    """
    views: dict[str, RunSql] = {}
    with ExitStack() as opened:

        def find(source: str, column: str, values: Sequence[str]) -> pa.Table:
            digest = store.digest()
            if digest not in views:
                opened.close()
                views.clear()
                views[digest] = opened.enter_context(prepare(store.spark_versions(), {}))
            asked = pa.table({column: pa.array(values, pa.string())})
            return views[digest](
                f"SELECT {source}.* FROM {source} LEFT SEMI JOIN asked USING ({column})", {"asked": asked}
            )

        yield find
