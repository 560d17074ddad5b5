"""Shards: a delivery split by account, so that several workspaces decide what one would.

A line goes to one shard, with all its rows. Where a feature counts who else uses a device or a payee, every shard has
all rows of that source; the accounts of the others then stand there with limit 0, which is in no book: their rows are
known, and they are never decided.
"""

from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from limitlens.data.arrays import IntArray
from limitlens.data.contracts import ACCOUNTS, SOURCES, Source
from limitlens.data.delivery import ENDINGS, ROW, DeliveredFile, read_delivered
from limitlens.data.errors import InputError
from limitlens.data.storage import write_bytes, write_parquet


def shards_of(accounts: pa.ChunkedArray, shards: int) -> IntArray:
    """Shard of each account: crc32 of its id, modulo their number; 0 for a row without one.

    Examples
    --------
    >>> shards_of(pa.chunked_array([["A1", "A2", "A3", None]]), 3).tolist()
    [2, 0, 1, 0]
    """
    encoded = accounts.cast(pa.string()).combine_chunks().dictionary_encode()
    numbers = np.array([crc32(account.encode()) % shards for account in encoded.dictionary.to_pylist()] or [0])
    numbered: IntArray = np.where(encoded.is_null(), 0, numbers[pc.fill_null(encoded.indices, 0)])
    return numbered


def in_shard(rows: pa.Table, source: Source, shard: int, shards: int, linked: Collection[str]) -> pa.Table:
    """Rows of one source that go to one shard.

    Parameters
    ----------
    rows : pyarrow.Table
        As delivered.
    source : Source
    shard, shards : int
        Which of how many, from 0.
    linked : collection of str
        Sources by which features link accounts; empty: every shard has its own rows and no others.
    """
    own = shards_of(rows["account_id"], shards) == shard
    if source.name in linked:
        return rows
    if source is not ACCOUNTS or not linked:
        return rows.filter(pa.array(own))
    limits = rows["limit_cents"]
    place, kind = rows.column_names.index("limit_cents"), pa.int64() if pa.types.is_null(limits.type) else limits.type
    stubs = pc.if_else(pa.array(own), limits.cast(kind), pa.scalar(0).cast(kind))
    return rows.set_column(place, "limit_cents", stubs)


def split_delivery(folder: Path, out: Path, shards: int, linked: Collection[str]) -> list[int]:
    """Split the files of a delivery, or of the inbox of a watch, into one for each shard: ``OUT/SHARD/SOURCE/FILE``.

    Parameters
    ----------
    folder : Path
        One folder a source.
    out : Path
    shards : int
    linked : collection of str
        As in :func:`in_shard`.

    Returns
    -------
    list of int
        Rows of each shard.

    Raises
    ------
    InputError
        A file cannot be read, or a row of it has no place in a table.
    """
    counts = [0] * shards
    for source in SOURCES.values():
        for path in sorted((folder / source.name).glob("[!.]*")):
            if not path.name.endswith(ENDINGS):
                continue
            delivered = read_delivered(path, f"{source.name}/{path.name}", source)
            if delivered.ragged:
                row = delivered.ragged[0][0]
                raise InputError(f"{delivered.name}, row {row}: wrong number of fields; mend it before it is split.")
            for shard in range(shards):
                rows = in_shard(delivered.table.drop_columns(ROW), source, shard, shards, linked)
                counts[shard] += len(rows)
                if len(rows):
                    _write(rows, delivered, out / f"{shard}" / source.name / path.name)
    return counts


def _write(rows: pa.Table, delivered: DeliveredFile, path: Path) -> None:
    """A file of the kind it came as, renamed to its place once it is whole."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    if delivered.is_text:
        sink = BytesIO()
        pacsv.write_csv(rows, sink)
        write_bytes(sink.getvalue(), plain)
    else:
        write_parquet(rows, plain)
