"""Tables for spreadsheets: plain columns, and no text that a spreadsheet would run as a formula."""

from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from limitlens.data.storage import write_text

#: A spreadsheet reads text that begins with one of these as a formula.
_FORMULA = r"^[=+\-@\t\r]"


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as CSV, all or nothing.

    Parameters
    ----------
    table : pyarrow.Table
        Structs become columns of their own (``state.pd_ref``), lists of text one text (``a; b``). Integers stay
        integers. Text that a spreadsheet would run gets a leading apostrophe.
    path : Path

    Raises
    ------
    WorkspaceError
        The disk is full.
    """
    plain = table.flatten()
    columns = [_harmless(column) for column in plain.columns]
    sink = BytesIO()
    csv.write_csv(pa.table(columns, names=plain.column_names), sink)
    write_text(sink.getvalue().decode(), path)


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(column.type):
        column = pc.binary_join(column, "; ")
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    return pc.replace_substring_regex(column, _FORMULA, r"'\0")
