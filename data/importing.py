"""What every adapter shares: strict reading of a delivered CSV, writing the tables of the contract, the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.contracts import SOURCES, Dtype
from limitlens.data.delivery import whole_text
from limitlens.data.errors import InputError
from limitlens.data.events import ARROW_TYPES
from limitlens.data.frames import to_arrow
from limitlens.data.storage import write_parquet


@dataclass(frozen=True)
class ImportReport:
    """What an adapter wrote.

    Parameters
    ----------
    data_set : str
        Name of the data set.
    rows : dict of str to int
        Rows written to each table.
    notes : tuple of str
        Assumptions that stand in for what the set does not deliver.
    """

    data_set: str
    rows: dict[str, int]
    notes: tuple[str, ...]


def read_delivery(path: Path, columns: Mapping[str, Dtype], *, nullable: Sequence[str] = ()) -> pd.DataFrame:
    """Read the named columns of a CSV file; no cell is guessed, widened or skipped.

    Parameters
    ----------
    path : Path
        UTF-8 CSV with a header, gzipped when the name ends in ``.gz``.
    columns : mapping of str to {"string", "timestamp", "cents", "integer"}
        Columns to read. ``cents`` reads an amount in currency units and multiplies it by 100; ``timestamp``
        reads ISO 8601, UTC when no zone is given.
    nullable : sequence of str
        Columns whose cells may be empty.

    Returns
    -------
    DataFrame
        Exactly ``columns``, in order: str, datetime64[us, UTC] or int64.

    Raises
    ------
    InputError
        The file is missing or damaged, lacks a column, or has a cell that does not read as declared.
    """
    text = _read_text(path)
    missing = [name for name in columns if name not in text]
    if missing:
        raise InputError(f"{path}: no column {missing[0]}, got {', '.join(map(str, text))}; deliver the original file.")
    return pd.DataFrame({name: _column(text[name], dtype, path, name in nullable) for name, dtype in columns.items()})


def write_tables(data_set: str, tables: Mapping[str, pd.DataFrame], out: Path, notes: tuple[str, ...]) -> ImportReport:
    """Write each table to ``out/<source>/<data_set>.parquet``, in order of its key, so that its bytes repeat.

    Parameters
    ----------
    data_set : str
    tables : mapping of source name to DataFrame
        Columns of the contract that are absent and optional stay absent; nullable ones are filled with nulls.
    out : Path
    notes : tuple of str

    Returns
    -------
    ImportReport
    """
    for source, frame in tables.items():
        write_parquet(_to_arrow(source, frame), out / source / f"{data_set}.parquet")
    return ImportReport(data_set, {source: len(frame) for source, frame in tables.items()}, notes)


def _read_text(path: Path) -> pd.DataFrame:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: not a regular file; name the file of the data set.")
    try:
        data = BytesIO(whole_text(path, str(path)))
        return pd.read_csv(data, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; download the data set as docs/real-data.md says.") from None
    except (OSError, ValueError) as damage:
        raise InputError(f"{path}: not a readable CSV ({str(damage).strip()}); deliver it again.") from damage


def _column(text: pd.Series, dtype: Dtype, path: Path, nullable: bool) -> pd.Series:
    values = _READERS[dtype](text)
    wrong = values.isna() & (text.notna() | (not nullable))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        got = "an empty cell" if pd.isna(text.iloc[row]) else repr(text.iloc[row])
        raise InputError(f"{path}: row {row + 1}, column {text.name}: got {got}, expected {dtype}; mend the cell.")
    return values.astype("int64") if dtype in {"cents", "integer"} else values


def _whole(numbers: pd.Series) -> pd.Series:
    return numbers.where(numbers % 1 == 0)


_READERS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "string": lambda text: text,
    "timestamp": lambda text: pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce").dt.as_unit("us"),
    "cents": lambda text: _whole((pd.to_numeric(text, errors="coerce") * 100).round(6)),
    "integer": lambda text: _whole(pd.to_numeric(text, errors="coerce")),
}


def _to_arrow(source: str, frame: pd.DataFrame) -> pa.Table:
    contract = SOURCES[source]
    required = [column.name for column in contract.columns if column.required]
    complete = frame.reindex(columns=[*required, *frame.columns.difference(required, sort=False)])
    ordered = complete.sort_values(list(contract.key), ignore_index=True)
    declared = {column.name: ARROW_TYPES[column.dtype] for column in contract.columns}
    fields = [pa.field(name, declared.get(name) or _attribute_type(ordered[name])) for name in ordered.columns]
    return to_arrow(ordered, pa.schema(fields))


def _attribute_type(values: pd.Series) -> pa.DataType:
    inferred = pa.Array.from_pandas(values).type
    return pa.string() if pa.types.is_large_string(inferred) else inferred
