"""Durable files: a table is either wholly there or not there at all.

Write to a temporary name, fsync, rename, fsync the folder. Pages carry checksums, so a flipped bit is an
error and not a number. What a run that was killed had not finished writing goes with the next one.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.damage import naming_damage
from limitlens.data.disk import make_folder, room_for
from limitlens.data.unfinished import ENDING, held, remove_left

#: Rows to a Parquet row group; fixed, so that the bytes of a table do not depend on how it was produced.
ROW_GROUP_ROWS = 1 << 17


def write_parquet(table: pa.Table, path: Path, group_rows: int = ROW_GROUP_ROWS) -> None:
    """Write a table so that a reader sees the old file, the new file, or none, but never half of one.

    Parameters
    ----------
    table : pyarrow.Table
    path : Path
        Final name; its folder is created. Equal tables give equal bytes.
    group_rows : int
        Rows to a row group: so many are read for one of them.

    Raises
    ------
    WorkspaceError
        The disk is full.
    """
    with _published(path, lambda: table.nbytes) as temporary:
        pq.write_table(
            table.combine_chunks(),
            temporary,
            compression="zstd",
            row_group_size=group_rows,
            write_page_checksum=True,
            store_schema=True,
        )


@contextmanager
def parquet_stream(
    schema: pa.Schema, path: Path, group_rows: int = ROW_GROUP_ROWS
) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table piece by piece, with the promise of :func:`write_parquet`; the pieces leave no trace in the bytes.

    Parameters
    ----------
    schema : pyarrow.Schema
    path : Path
    group_rows : int
        Rows to a row group; so many wait in memory.

    Yields
    ------
    callable
        Takes the next piece, a table of the schema.
    """
    waiting: list[pa.Table] = []
    with (
        _published(path, lambda: sum(piece.nbytes for piece in waiting)) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):

        def write(piece: pa.Table) -> None:
            waiting.append(piece)
            if sum(map(len, waiting)) >= group_rows:
                joined = pa.concat_tables(waiting)
                whole = len(joined) - len(joined) % group_rows
                for start in range(0, whole, group_rows):
                    writer.write_table(joined.slice(start, group_rows).combine_chunks(), group_rows)
                waiting[:] = [joined.take(np.arange(whole, len(joined)))]  # a slice would keep all of it in memory

        yield write
        if rest := pa.concat_tables([schema.empty_table(), *waiting]):
            writer.write_table(rest.combine_chunks(), group_rows)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text with the same all-or-nothing promise as :func:`write_parquet`."""
    write_bytes(text.encode(), path)


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file as it is, with the same all-or-nothing promise as :func:`write_parquet`."""
    with _published(path, lambda: len(content)) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _published(path: Path, needed_bytes: Callable[[], int]) -> Iterator[Path]:
    """A temporary file to fill, which then gets its final name, or goes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{ENDING}")
    with room_for(path, needed_bytes):
        make_folder(path.parent)
        for rest in path.parent.glob(f".*{ENDING}"):
            remove_left(rest)
        with held(temporary):
            yield temporary
            publish(temporary, path)


def publish(temporary: Path, path: Path) -> None:
    """Make a finished temporary file visible under its final name, durably."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_parquet(path: Path) -> pa.Table:
    """Read one recorded Parquet file and verify its page checksums.

    Raises
    ------
    IntegrityError
        It is missing or damaged.
    """
    with naming_damage((OSError, pa.ArrowException), lambda: [path]):
        return pq.read_table(path, page_checksum_verification=True)


def is_parquet(path: Path) -> bool:
    """Whether a file is there and its end, which says what is in it, can be read."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def table_sha256(table: pa.Table) -> str:
    """Sha256 of the rows of a table as Parquet has them, in hexadecimal; equal tables have equal ones."""
    written = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), written, compression="none", row_group_size=ROW_GROUP_ROWS)
    return hashlib.sha256(written.getvalue()).hexdigest()


def file_sha256(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
