"""Stream: files that Structured Streaming hands over become files of the inbox, and count there as all others do.

A file is judged by the contract as a whole and by row, whoever brought it, so what Spark hands over are files as they
are. A batch that comes again, since the watch was killed, brings files that were taken already.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import ENDINGS
from limitlens.data.spark import streamed_files
from limitlens.data.storage import write_bytes
from limitlens.pipeline.watching.inbox import MOST_FILES, REFUSED, TAKEN

#: Where Spark notes in the inbox which files it handed over.
CHECKPOINT = "checkpoint"


def streaming(folder: str, inbox: Path, every: float | None) -> AbstractContextManager[Callable[[], None]]:
    """Bring the files of a folder into the inbox while the block runs; see :func:`limitlens.data.spark.streamed_files`.

    Parameters
    ----------
    folder : str
        As Spark names it; one folder a source in it.
    inbox : Path
    every : float or None
        Seconds from one look to the next; None: only what is there, before the block begins.
    """
    sources = f"{folder.rstrip('/')}/{{{','.join(SOURCES)}}}"
    return streamed_files(sources, inbox / CHECKPOINT, lambda files: land(files, inbox), most=MOST_FILES, every=every)


def land(files: pa.Table, inbox: Path) -> None:
    """Put the files of a micro-batch into the inbox, accounts first; none that was taken already.

    Parameters
    ----------
    files : pyarrow.Table
        ``path``, ``content``.
    inbox : Path
    """
    by_source: dict[str, list[tuple[str, bytes]]] = {source: [] for source in SOURCES}
    for path, content in zip(files["path"].to_pylist(), files["content"].to_pylist(), strict=True):
        parts = path.split("/")
        place = max(number for number, part in enumerate(parts[:-1]) if part in SOURCES)
        by_source[parts[place]].append(("-".join(parts[place + 1 :]), content))
    for source, came in by_source.items():
        for name, content in came:
            put_away = [inbox / kind / source / name for kind in (TAKEN, REFUSED)]
            if name.endswith(ENDINGS) and not any(one.is_file() and one.read_bytes() == content for one in put_away):
                write_bytes(content, inbox / source / name)
