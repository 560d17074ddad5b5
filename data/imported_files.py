"""The files that a mapping reads, as DuckDB sees them: their columns, their rows, and rows that are none."""

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.delivery import ENDINGS, MAX_COLUMNS
from limitlens.data.errors import InputError
from limitlens.data.quoting import quoted, quoted_text
from limitlens.data.unfinished import held_folder

#: Where the rows of a CSV go that have more or fewer fields than its header.
REJECTS, REJECT_SCANS = "rejected_rows", "rejected_scans"

#: How a CSV may write its text.
Encoding = Literal["utf-8", "utf-16", "gb18030", "big5", "windows-1252"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

#: What is said of text that is not UTF-8.
NOT_UTF_8 = (
    'not UTF-8; save the file as UTF-8, or say encoding = "gb18030", or another one, in its table of the mapping.'
)

#: Where an empty text is null, DuckDB lets pass a row of one empty field too many, whose fields may be shifted.
_NO_TEXT = "chr(0)"

#: Words of a reader that meets the end of a line where it looks for another one.
_OTHER_END = ("new-line character", "state machine")


@dataclass(frozen=True)
class SourceFile:
    """One file.

    Parameters
    ----------
    name : str
        Relative to the folder that is imported.
    path : Path
    columns : tuple of str
    times : dict of str to bool
        Columns of a Parquet file that are times, and whether they have a zone.
    delimiter : str
        Of a CSV.
    copy : Path, optional
        The same in UTF-8, where the file is not.
    """

    name: str
    path: Path
    columns: tuple[str, ...]
    times: dict[str, bool]
    delimiter: str
    copy: Path | None = None

    @property
    def is_text(self) -> bool:
        """It is a CSV."""
        return self.path.suffix != ".parquet"

    def relation(self) -> str:
        """SQL of its rows, as they stand."""
        path = quoted_text(str(self.copy or self.path))
        if not self.is_text:
            return f"read_parquet([{path}], hive_partitioning = FALSE)"
        columns = ", ".join(f"{quoted_text(name)}: 'VARCHAR'" for name in self.columns)
        return (
            f"read_csv([{path}], auto_detect = FALSE, header = TRUE, columns = {{{columns}}}, "
            f"delim = {quoted_text(self.delimiter)}, quote = '\"', escape = '\"', nullstr = {_NO_TEXT}, "
            f"hive_partitioning = FALSE, store_rejects = TRUE, rejects_table = '{REJECTS}', "
            f"rejects_scan = '{REJECT_SCANS}')"
        )

    def torn(self) -> str:
        """SQL of whether a value in quotes takes in the rows that follow: several of its lines read as rows."""
        if not self.is_text or len(self.columns) == 1:
            return "FALSE"
        mark, marks = quoted_text(self.delimiter), len(self.columns) - 1
        lines = (
            "list_filter(string_split({0}, chr(10)), lambda line: length(line) - length(replace(line, {1}, '')) = {2})"
        )
        tests = (
            f"(contains({quoted(name)}, chr(10)) AND len({lines.format(quoted(name), mark, marks)}) > 0)"
            for name in self.columns
        )
        return f"COALESCE({' OR '.join(tests)}, FALSE)"


def find_files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Files that patterns name, sorted for each.

    Raises
    ------
    InputError
        A pattern leads out of the folder, or fits no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one with the delivered files.")
    paths = list[Path]()
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise InputError(f"{pattern}: leads out of {folder}; name files below it.")
        matching = [path for path in sorted(folder.glob(pattern)) if path.is_file() and path not in paths]
        if not matching:
            listed = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
            raise InputError(f"{folder / pattern}: no such file; {folder} holds {listed}.")
        for path in matching:
            if not path.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{path}: a link that leads out of {folder}; deliver the file itself.")
            if not path.name.endswith(ENDINGS):
                raise InputError(f"{path}: neither of {', '.join(ENDINGS)}; save it as one of them.")
        paths += matching
    return paths


@contextmanager
def room_for_copies() -> Iterator[Path]:
    """A private folder for files that are copied into UTF-8; it goes with them."""
    with TemporaryDirectory(dir=held_folder("limitlens-import-") or None) as folder:
        yield Path(folder)


def open_in(encoding: Encoding, path: Path, folder: Path, delimiter: str, room: Path) -> SourceFile:
    """:func:`open_file` of a CSV of any encoding; what is not UTF-8 is copied.

    Raises
    ------
    InputError
        As there, or the file is not of that encoding.
    """
    if encoding == "utf-8" or path.suffix == ".parquet":
        return open_file(path, folder, delimiter)
    copy = room / f"{len(list(room.iterdir()))}.csv"
    try:
        with pa.input_stream(path, compression="detect") as stream, copy.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(io.TextIOWrapper(io.BufferedReader(stream), encoding=encoding, newline=""), out)
    except UnicodeError as error:
        raise InputError(f"{path}: not {encoding}; name its encoding, one of {', '.join(ENCODINGS)}.") from error
    except OSError as error:
        raise unreadable(path, error) from error
    return replace(open_file(copy, room, delimiter), name=path.relative_to(folder).as_posix(), path=path, copy=copy)


def open_file(path: Path, folder: Path, delimiter: str) -> SourceFile:
    """Look at the columns of a file.

    Raises
    ------
    InputError
        It cannot be read, is empty, not UTF-8, or names a column twice.
    """
    name = path.relative_to(folder).as_posix()
    times = dict[str, bool]()
    try:
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
            columns = tuple(schema.names)
            stamps = [field for field in schema if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)]
            times = {field.name: bool(getattr(field.type, "tz", None)) for field in stamps}
        else:
            columns = csv_header(path, delimiter)
    except (OSError, pa.ArrowException, csv.Error) as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line 1: {NOT_UTF_8}") from error
    lowered = [column.lower() for column in columns]
    if not columns:
        raise InputError(f"{path}: empty; expected a header and rows.")
    if len(columns) > MAX_COLUMNS:
        raise InputError(f"{path}: {len(columns):,} columns, expected at most {MAX_COLUMNS:,}; drop those not needed.")
    if twice := next((column for column in columns if lowered.count(column.lower()) > 1), None):
        raise InputError(f"{path}: column {twice!r} stands there more than once; rename or drop the others.")
    return SourceFile(name, path, columns, times, delimiter)


def unreadable(path: Path, error: Exception) -> InputError:
    """What is said of a file that its reader gave up on."""
    reason = str(error).partition("\n")[0]
    if any(words in reason for words in _OTHER_END):
        return InputError(
            f"{path}: its lines end in more than one way, or in CR; end all its lines alike, in LF or CRLF."
        )
    return InputError(f"{path}: cannot be read ({reason}); deliver the whole file again.")


def csv_header(path: Path, delimiter: str) -> tuple[str, ...]:
    """Names of the columns of a CSV, ``unnamed_1`` for a first one without; no more than its first lines is read."""
    with pa.input_stream(path, compression="detect") as stream:
        lines = (line.decode("utf-8-sig") for line in io.BufferedReader(stream))
        names = next((record for record in csv.reader(lines, delimiter=delimiter) if record), ())
    return tuple(name or f"unnamed_{number}" for number, name in enumerate(names, 1))
