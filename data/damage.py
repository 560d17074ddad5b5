"""Damage: a file of the workspace that cannot be read becomes one line with its name.

Readers of recorded files fail in many ways, and most do not say which file it was. The doors to them (DuckDB, SQLite,
Parquet, JSON) ask here.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.errors import IntegrityError

_Found = TypeVar("_Found")

_MISSING = "it is missing"

#: A file as SQL names it.
_NAMED = re.compile(r"'((?:[^']|'')*\.parquet)'")


def parquet_sql(paths: Iterable[Path], *, by_name: bool = False) -> str:
    """What SQL reads recorded files with; no folder such as ``a=b`` becomes a column.

    Parameters
    ----------
    paths : iterable of Path
        They are there: DuckDB would take the name of one that is not for a pattern, and read what fits it.
    by_name : bool
        Columns that some of the files lack are null there.

    Raises
    ------
    IntegrityError
        A file is missing.
    """
    files = list(paths)
    for path in files:
        if not path.is_file():
            raise damaged(path, _MISSING)
    options = ", union_by_name = TRUE" if by_name else ""
    return f"read_parquet([{', '.join(map(_text, files))}], hive_partitioning = FALSE{options})"


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def files_in(sql: str) -> list[Path]:
    """Every Parquet file that SQL names, as :func:`parquet_sql` writes them.

    Examples
    --------
    >>> [str(path) for path in files_in("SELECT 'x' FROM read_parquet(['a.parquet', 'it''s.parquet'])")]
    ['a.parquet', "it's.parquet"]
    """
    return [Path(name.replace("''", "'")) for name in _NAMED.findall(sql)]


@contextmanager
def naming_damage(
    error: type[Exception] | tuple[type[Exception], ...], paths: Callable[[], Iterable[Path]]
) -> Iterator[None]:
    """In this block, an error that a damaged Parquet file explains is told with the name of that file.

    Parameters
    ----------
    error : exception type, or several
        What the reader raises.
    paths : callable
        Gives the files that were read; they are looked at only then.

    Raises
    ------
    IntegrityError
        One of them is missing or cannot be read.
    """
    try:
        yield
    except error as raised:
        for path in dict.fromkeys(paths()):
            if cause := _damage(path):
                raise damaged(path, cause) from raised
        raise


def damaged(path: Path, cause: object) -> IntegrityError:
    """The error for a recorded file that cannot be read.

    Parameters
    ----------
    path : Path
    cause : object
        What its reader said about it.
    """
    return IntegrityError(
        f"{path}: not the file that was written ({str(cause).strip().partition(chr(10))[0]}); restore it from a backup."
    )


def _damage(path: Path) -> str | None:
    """What keeps a Parquet file from being read to its end, if anything does."""
    if not path.is_file():
        return _MISSING
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for _ in file.iter_batches():
                pass
    except (OSError, pa.ArrowException) as error:
        return str(error)
    return None


def read_json(path: Path, shaped: Callable[[Any], _Found]) -> _Found:
    """Read a JSON file of the workspace.

    Parameters
    ----------
    path : Path
    shaped : callable
        Takes what it holds and returns what is needed of it; a value of another shape makes it fail.

    Raises
    ------
    IntegrityError
        It is missing, no JSON, or of another shape.
    """
    try:
        return shaped(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise damaged(path, error.strerror) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
