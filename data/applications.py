"""Applications for a line: a file read like any other delivery, but refused at its first wrong cell.

A quarantine would leave an applicant without an answer, so there is none.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Column, Source
from limitlens.data.delivery import RAGGED, ROW, DeliveredFile, read_delivered
from limitlens.data.errors import InputError
from limitlens.data.rules import LINES, PADDED_SEGMENT, RULE, Rule, column_rules, ruled_rows
from limitlens.data.units import expect_cents

_SEGMENT = Column("segment", "string", "customer segment")
_REQUEST = Column("requested_limit_cents", "cents", "limit asked for", required=False, nullable=True, minimum=1)


def read_applications(path: Path, numbers: Collection[str], segments: Collection[str]) -> tuple[pa.Table, pa.Table]:
    """Read applications.

    Parameters
    ----------
    path : Path
        CSV, gzipped CSV or Parquet.
    numbers : collection of str
        Columns that must be there and hold numbers, or nothing.
    segments : collection of str
        Segments that the policy names. Another one is sound, unless it differs in upper and lower case only.

    Returns
    -------
    delivered : pyarrow.Table
        Every column as it stands in the file, all text in a CSV; ``requested_limit_cents`` is there in any case.
    typed : pyarrow.Table
        ``segment`` (string), ``requested_limit_cents`` and ``numbers`` (double), in the same order.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or has a row that breaks a rule; the first is named.
    """
    further = sorted(set(numbers) - {_SEGMENT.name, _REQUEST.name})
    attributes = [Column(name, "number", "attribute that the policy reads", nullable=True) for name in further]
    columns = (_SEGMENT, _REQUEST, *attributes)
    source = Source("applications", "Who asks for a line.", columns, key=(), open_columns=True)
    file = read_delivered(path, str(path), source)
    rules = [*(rule for column in columns for rule in column_rules(column)), PADDED_SEGMENT, _misspelt(segments)]
    table = file.table.select([ROW, *source.column_names()])
    ruled = ruled_rows(source, rules, table, LINES.empty_table(), is_text=file.is_text)
    _expect_sound(file, ruled, rules)
    expect_cents(file, source, ruled)
    return file.table.drop_columns([ROW]), ruled.select(source.column_names())


def _misspelt(segments: Collection[str]) -> Rule:
    named = ", ".join("'" + name.replace("'", "''") + "'" for name in segments) or "NULL"
    small = ", ".join("'" + name.lower().replace("'", "''") + "'" for name in segments) or "NULL"
    broken = f"lower(segment) IN ({small}) AND segment NOT IN ({named})"
    return Rule("segment", "not as the policy writes it", broken)


def _expect_sound(file: DeliveredFile, ruled: pa.Table, rules: Sequence[Rule]) -> None:
    broken = ruled.filter(pc.is_valid(ruled[RULE])).sort_by(ROW).select([ROW, RULE]).to_pylist()
    if not broken and not file.ragged:
        return
    more = (
        f"; {len(broken) + len(file.ragged) - 1:,} further rows are wrong" if len(broken) + len(file.ragged) > 1 else ""
    )
    if file.ragged and (not broken or file.ragged[0][0] < broken[0][ROW]):
        raise InputError(f"{file.name}, row {file.ragged[0][0]}: {RAGGED}; mend the row{more}.")
    row, rule = broken[0][ROW], rules[broken[0][RULE]]
    got = file.table.filter(pc.equal(file.table[ROW], row))[rule.column][0].as_py()
    raise InputError(f"{file.name}, row {row}, column '{rule.column}': {rule.text}, got {got!r}; mend the cell{more}.")
