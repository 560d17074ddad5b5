"""Durable files: a table is either wholly there or not there at all.

Write to a temporary name, fsync, rename, fsync the folder. Pages carry checksums, so a flipped bit is an
error and not a number.
"""

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: Rows to a Parquet row group; fixed, so that the bytes of a table do not depend on how it was produced.
ROW_GROUP_ROWS = 1 << 17


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table so that a reader sees the old file, the new file, or none, but never half of one.

    Parameters
    ----------
    table : pyarrow.Table
    path : Path
        Final name; its folder is created. Equal tables give equal bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(
            table.combine_chunks(),
            temporary,
            compression="zstd",
            row_group_size=ROW_GROUP_ROWS,
            write_page_checksum=True,
            store_schema=True,
        )
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text with the same all-or-nothing promise as :func:`write_parquet`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Read one Parquet file and verify its page checksums."""
    return pq.read_table(path, page_checksum_verification=True)


def file_sha256(path: Path) -> str:
    """Sha256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
