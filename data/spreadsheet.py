"""Tables for spreadsheets: plain columns, and no text that a spreadsheet would run as a formula."""

from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from limitlens.data.storage import write_text

#: A spreadsheet reads text that begins with one of these as a formula, some of them after space, in full width, too.
_FORMULA = r"^([\t\r\n]|[\s\p{Z}]*[=+\-@＝＋－＠])"

#: A number is none, with a sign too.
_NUMBER = r"^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$"


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as CSV, all or nothing.

    Parameters
    ----------
    table : pyarrow.Table
        Structs become columns of their own (``state.pd_ref``), lists one text (``a; b``). Integers stay
        integers. Text and names that a spreadsheet would run get a leading apostrophe.
    path : Path

    Raises
    ------
    WorkspaceError
        The disk is full.
    """
    write_text(csv_text(table), path)


def csv_text(table: pa.Table) -> str:
    """What :func:`write_csv` writes."""
    plain = table.flatten()
    columns = [_harmless(column) for column in plain.columns]
    sink = BytesIO()
    names = _harmless(pa.chunked_array([plain.column_names], pa.string())).to_pylist()
    csv.write_csv(pa.table(columns, names=names), sink)
    return sink.getvalue().decode()


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "; ")
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    quoted = pc.replace_substring_regex(column, _FORMULA, r"'\0")
    return pc.if_else(pc.match_substring_regex(column, _NUMBER), column, quoted)
