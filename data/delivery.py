"""Delivered files: found in their folders and read as they stand, or refused as a whole with the reason."""

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from limitlens.data.contracts import EVENT_SOURCES, OUTCOMES, SOURCES, Dtype, Source
from limitlens.data.errors import InputError

#: Endings of the files that are read.
ENDINGS = (".parquet", ".csv", ".csv.gz")

#: A file with more columns than this is refused.
MAX_COLUMNS = 1_000

#: What holds back a CSV row that has more or fewer fields than the header.
RAGGED = "wrong number of fields"

#: Position of a row in its file, from 1, the header and blank lines not counted.
ROW = "delivered_row"

#: What the simulated portfolio and an import keep beside the sources; never read, not worth a warning.
SILENT_FOLDERS = frozenset({"truth", "held_back"})

_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)

#: Types of a Parquet column in which a declared type may come; what a CSV may hold, Parquet may hold too.
_ACCEPTED: dict[Dtype, tuple[Callable[[pa.DataType], bool], ...]] = {
    "string": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer),
    "timestamp": (pa.types.is_timestamp, pa.types.is_date),
    "cents": _NUMBERS,
    "integer": _NUMBERS,
    "number": _NUMBERS,
    "boolean": (pa.types.is_boolean, *_NUMBERS),
}


@dataclass(frozen=True)
class Delivery:
    """What an input folder holds.

    Parameters
    ----------
    root : Path
        The input folder.
    files : dict of str to list of Path
        Files of each source that has any, by name.
    ignored : tuple of str
        Entries that belong to no source, or that are no Parquet or CSV file.
    """

    root: Path
    files: dict[str, list[Path]]
    ignored: tuple[str, ...]

    def name(self, path: Path) -> str:
        """How a file is called in messages and in the quarantine."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class DeliveredFile:
    """One file as delivered.

    Parameters
    ----------
    name : str
        Relative to the input folder.
    table : pyarrow.Table
        ``delivered_row`` (int64), every declared column, and the further ones of an open source. All text in a CSV.
    is_text : bool
        The file is a CSV.
    ragged : list of (int, str)
        Position and text of the CSV rows with another number of fields than the header.
    unused : tuple of str
        Columns the contract does not know.
    """

    name: str
    table: pa.Table
    is_text: bool
    ragged: list[tuple[int, str]] = field(default_factory=list)
    unused: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows delivered, ragged ones included."""
        return int(self.table.num_rows) + len(self.ragged)


def find_delivery(root: Path) -> Delivery:
    """List what an input folder holds, without opening a file.

    Raises
    ------
    InputError
        No such folder, no accounts, neither events nor outcomes, or a link that leads out of the folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected one folder a source in it: {', '.join(SOURCES)}.")
    files = {name: paths for name in SOURCES if (paths := _files_of(root, name))}
    for source in SOURCES.values():
        if source.required and source.name not in files:
            raise InputError(f"{root / source.name}: no file found; put the {source.name} there as Parquet or CSV.")
    if not any(name in files for name in (*EVENT_SOURCES, OUTCOMES.name)):
        raise InputError(
            f"{root}: no events and no outcomes; expected files in at least one of "
            f"{', '.join((*EVENT_SOURCES, OUTCOMES.name))}."
        )
    return Delivery(root, files, tuple(_ignored(root, files)))


def _files_of(root: Path, source: str) -> list[Path]:
    folder = root / source
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in entries:
        if not path.resolve().is_relative_to(root.resolve()):
            raise InputError(f"{path}: a link that leads out of {root}; deliver the file itself.")
    return [path for path in entries if path.name.endswith(ENDINGS) and path.is_file()]


def _ignored(root: Path, files: dict[str, list[Path]]) -> Iterable[str]:
    for entry in sorted(root.iterdir()):
        if entry.name in SOURCES and entry.is_dir():
            taken = files.get(entry.name, [])
            yield from (f"{entry.name}/{path.name}" for path in sorted(entry.iterdir()) if path not in taken)
        elif entry.name not in SILENT_FOLDERS:
            yield entry.name


def read_delivered(path: Path, name: str, source: Source) -> DeliveredFile:
    """Read one file of a source.

    Parameters
    ----------
    path : Path
    name : str
        How messages call the file.
    source : Source

    Raises
    ------
    InputError
        The file cannot be read, is not UTF-8, lacks a required column, or has a column of the wrong type.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{name}: not a regular file; save the rows as a file and name that.")
    try:
        return _read_parquet(path, name, source) if path.suffix == ".parquet" else _read_csv(path, name, source)
    except (pa.ArrowException, OSError, csv.Error) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{name}: cannot be read ({reason}); deliver the whole file again.") from error


def _read_parquet(path: Path, name: str, source: Source) -> DeliveredFile:
    with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
        taken, unused = _columns(parquet.schema_arrow.names, name, source)
        table = parquet.read(columns=taken) if taken else pa.table({})
    table = pa.table({column: _plain(table[column]) for column in taken})
    for column in source.columns:
        if column.name in taken:
            _expect_type(table[column.name], column.name, column.dtype, name)
    table.validate(full=True)
    return DeliveredFile(name, _complete(table, source, []), is_text=False, unused=unused)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _expect_type(column: pa.ChunkedArray, title: str, dtype: Dtype, name: str) -> None:
    if not pa.types.is_null(column.type) and not any(test(column.type) for test in _ACCEPTED[dtype]):
        raise InputError(f"{name}: column '{title}' is {column.type}, expected {dtype}; write it as {dtype}.")


def _read_csv(path: Path, name: str, source: Source) -> DeliveredFile:
    data = whole_text(path, name)
    if not data or data.isspace():
        return DeliveredFile(name, _complete(pa.table({}), source, []), is_text=True)
    taken, unused = _columns(_header(data), name, source)
    ragged: list[tuple[int, str]] = []

    def hold_back(row: pacsv.InvalidRow) -> str:
        ragged.append((row.number - 1, row.text))
        return "skip"

    table = pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=hold_back),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(taken, pa.string()),
            include_columns=taken,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )
    return DeliveredFile(name, _complete(table, source, [row for row, _ in ragged]), True, ragged, unused)


def _header(data: bytes) -> list[str]:
    return next(record for record in _records(data) if record)


def _records(data: bytes, *, strict: bool = False) -> Any:
    return csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=strict)


def whole_text(path: Path, name: str) -> bytes:
    """Bytes of a CSV file, unpacked, of which no quote takes in the rows that follow it.

    Parameters
    ----------
    path : Path
    name : str
        How messages call the file.

    Raises
    ------
    InputError
        The file is not UTF-8, or a quote is never closed or closed rows later.
    OSError
        The file cannot be read.
    """
    with pa.input_stream(path, compression="detect") as stream:
        data: bytes = stream.read()
    if _undecodable(data):
        line = _first_line(data, _undecodable)
        raise InputError(f"{name}, line {line}: not UTF-8; save the file as UTF-8.")
    if b'"' in data:
        _expect_closed_quotes(data, name)
    return data


def _expect_closed_quotes(data: bytes, name: str) -> None:
    """Read the records as the standard has them: a quote that is closed ends its value."""
    records, fields, first = _records(data, strict=True), 0, 1
    lines: list[bytes] = []
    try:
        for record in records:
            fields, last = fields or len(record), records.line_num
            if last > first:
                lines = lines or data.splitlines()
                if _read_as_rows(lines[first - 1 : last], fields):
                    raise InputError(
                        f"{name}: lines {first} to {last} are one value in quotes, but each reads as a row; "
                        f"close or double the quote in line {first}."
                    )
            first = last + 1
    except csv.Error as error:
        raise InputError(
            f"{name}: a quote is opened and never closed, first seen in line {first}; close or double it."
        ) from error


def _read_as_rows(lines: Sequence[bytes], fields: int) -> bool:
    """Whether lines that are one record would each be one; a value may have a line that looks so by its commas."""
    return fields > 1 and sum(line.count(b",") + 1 == fields for line in lines) > 1


def _undecodable(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


def _first_line(data: bytes, broken: Callable[[bytes], bool]) -> int:
    return next((number for number, line in enumerate(data.split(b"\n"), 1) if broken(line)), 0)


def _columns(header: Sequence[str], name: str, source: Source) -> tuple[list[str], tuple[str, ...]]:
    """Split the columns of a file into those to read and those the contract has no use for."""
    if len(header) > MAX_COLUMNS:
        raise InputError(f"{name}: {len(header):,} columns, expected at most {MAX_COLUMNS:,}; drop those not needed.")
    lowered = [column.lower() for column in header]
    if repeated := next((column for column in header if lowered.count(column.lower()) > 1), None):
        raise InputError(f"{name}: column '{repeated}' stands there more than once; rename or drop the others.")
    further = [column for column in header if column not in source.column_names()]
    for column in source.columns:
        if column.required and column.name not in header:
            raise InputError(f"{name}: expected column '{column.name}', {_likely(column.name, further)}.")
        # Where further columns are attributes, a misspelt one would become a feature.
        if source.open_columns and column.name not in header and (likely := alike(column.name, further)):
            raise InputError(
                f"{name}: column '{likely}' reads like '{column.name}'; rename it, to another name if it is not."
            )
    kept = [column for column in further if source.open_columns and not column.startswith("__index_level_")]
    unused = tuple(column for column in further if column not in kept)
    return [column for column in header if column not in unused], unused


def _likely(wanted: str, further: Sequence[str]) -> str:
    if likely := alike(wanted, further):
        return f"found '{likely}': rename it"
    listed = ", ".join(f"'{column}'" for column in further[:8]) or "no other"
    return f"found {listed} instead: add or rename the column"


def alike(wanted: str, further: Sequence[str]) -> str | None:
    """The column that reads most like a wanted one, if any does; having the unit in common is not enough.

    Examples
    --------
    >>> alike("limit_cents", ["income_cents"]), alike("limit_cents", ["income_cents", "Limit", "age"])
    (None, 'Limit')
    """
    lowered = {column.strip().lower(): column for column in further}
    close = difflib.get_close_matches(wanted, lowered, n=len(lowered) or 1)
    return next((lowered[match] for match in close if _share_a_word(wanted, match)), None)


def _share_a_word(wanted: str, other: str) -> bool:
    unit = "_cents"
    if not (wanted.endswith(unit) and other.endswith(unit)):
        return True
    words = other.removesuffix(unit).split("_")
    return any(difflib.get_close_matches(word, words, n=1) for word in wanted.removesuffix(unit).split("_"))


def _complete(table: pa.Table, source: Source, skipped: Sequence[int]) -> pa.Table:
    """Add the columns that were not delivered, and the position of each row."""
    for column in source.column_names():
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(table.num_rows, pa.string()))
    gone = np.array(skipped, np.int64) - 1
    positions = np.delete(np.arange(1, table.num_rows + len(gone) + 1), gone)
    return table.append_column(ROW, pa.array(positions, pa.int64()))
