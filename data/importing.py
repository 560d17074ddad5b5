"""Import: a mapping turns delivered files into tables of the contract, and accounts for every row of them.

DuckDB reads, joins and orders what it cannot keep in memory on disk; the same files give the same bytes.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import ENDINGS, RAGGED
from limitlens.data.engine import OUT_OF_RANGE, UNREADABLE, RunSql, prepared
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.events import ARROW_TYPES
from limitlens.data.import_report import ImportReport, RowsAlone, TableRows, WrittenRows
from limitlens.data.imported_files import (
    NOT_UTF_8,
    REJECT_SCANS,
    REJECTS,
    SourceFile,
    find_files,
    open_in,
    room_for_copies,
    unreadable,
)
from limitlens.data.mapping import Imports, Table, Write
from limitlens.data.mapping_cells import Cell, Kind
from limitlens.data.progress import Progress, silent
from limitlens.data.quoting import quoted, quoted_text
from limitlens.data.storage import ROW_GROUP_ROWS, parquet_stream
from limitlens.data.toml_lines import KeyPath

#: A row that is repeated more often than this is held back.
MAX_REPEATS = 1_200

#: What a row is whose cell in quotes holds several rows; it refuses the file.
TORN = "a quote takes in the rows after it"

#: Where the rows go that were held back, beside the sources.
HELD_BACK = "held_back"

_HELD_COLUMNS = ("table", "file", "row", "column", "value", "reason")
_HELD_SCHEMA = pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in _HELD_COLUMNS])
_STORED: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "whole": pa.int64(),
    "amount": pa.int64(),
    "number": pa.float64(),
    "yesno": pa.bool_(),
}
_IN_SQL: dict[pa.DataType, str] = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    ARROW_TYPES["timestamp"]: "TIMESTAMPTZ",
}


def import_files(mapping: Imports, src: Path, out: Path, progress: Progress = silent) -> ImportReport:
    """Write files of any shape as tables of the contract.

    Parameters
    ----------
    mapping : Imports
    src : Path
        Folder of the files.
    out : Path
        Folder for one folder a source; rows that were held back go into ``held_back`` beside them.
    progress : callable

    Returns
    -------
    ImportReport

    Raises
    ------
    InputError
        A file is missing, damaged or lacks a column, or more of its rows do not read as declared than the mapping
        allows; then nothing is written.
    ConfigError
        A table that is joined has two rows for one key.
    """
    with prepared({}) as run, room_for_copies() as room:
        run(f"CREATE TEMP TABLE {HELD_BACK} ({', '.join(_held_columns())})", {})
        read, alone, opened = list[TableRows](), list[RowsAlone](), list[tuple[SourceFile, Table]]()
        for table in mapping.tables.values():
            progress(f"table {table.name} …")
            if table.read:
                files = [
                    open_in(table.encoding, path, src, table.delimiter, room) for path in find_files(src, table.read)
                ]
                read.append(_read_table(run, mapping, table, files))
                opened += [(file, table) for file in files]
            with _naming_a_value_out_of_range(mapping.line("tables", table.name)):
                read += _shape(run, mapping, table, alone)
        with _naming_a_value_out_of_range(mapping.line("write")):
            written = [counts for source in SOURCES for counts in _collect(run, mapping, source)]
        rows = dict[str, int]()
        for source in dict.fromkeys(one.source for one in written):
            rows[source] = _store(
                run, f"out_{source}", out / source / f"{mapping.name}.parquet", _schema(mapping, source)
            )
        held = any(one.held_back for one in read) or any(one.held_back for one in written)
        if held:
            _store(run, HELD_BACK, out / HELD_BACK / f"{mapping.name}.parquet", _HELD_SCHEMA)
    beside = _remove_earlier(out, mapping.name, {*rows, HELD_BACK} if held else rows.keys())
    return ImportReport(
        mapping.name, rows, mapping.notes, tuple(read), tuple(alone), tuple(written), _unused(opened), beside
    )


def _remove_earlier(out: Path, name: str, written: Collection[str]) -> tuple[str, ...]:
    """Remove what an earlier import of a name wrote and this one did not; files of other names are left, and told."""
    others = list[str]()
    for folder in (*SOURCES, HELD_BACK):
        for path in sorted((out / folder).glob("*")):
            if path.name == f"{name}.parquet":
                if folder not in written:
                    path.unlink()
            elif path.name.endswith(ENDINGS) and folder != HELD_BACK:
                others.append(path.relative_to(out).as_posix())
    return tuple(others)


@contextmanager
def _naming_a_value_out_of_range(where: str) -> Iterator[None]:
    try:
        yield
    except OUT_OF_RANGE as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{where}: a value is out of range ({reason}); leave such rows out, or mend them.") from error


def _unused(opened: list[tuple[SourceFile, Table]]) -> dict[str, tuple[str, ...]]:
    """Columns of each file that no table names."""
    named = dict[str, set[str]]()
    for file, table in opened:
        named.setdefault(file.name, set()).update(cell.header for cell in table.cells)
    left = {file.name: tuple(name for name in file.columns if name not in named[file.name]) for file, _ in opened}
    return {name: columns for name, columns in left.items() if columns}


def _held_columns() -> Iterator[str]:
    return (f"{quoted(field.name)} {_IN_SQL[field.type]}" for field in _HELD_SCHEMA)


def _read_table(run: RunSql, mapping: Imports, table: Table, files: list[SourceFile]) -> TableRows:
    """Read the files of a table into ``read_<table>``; rows that do not read as declared are held back."""
    cells = table.cells
    for number, file in enumerate(files):
        for cell in cells:
            if cell.header not in file.columns:
                where = mapping.line("tables", table.name, "columns", cell.name)
                raise InputError(
                    f"{file.path}: no column {cell.header}, got {', '.join(file.columns)}; deliver it, or mend {where}."
                )
        into = "INSERT INTO {}" if number else "CREATE TEMP TABLE {} AS"
        try:
            run(f"{into.format(quoted(f'read_{table.name}'))} {_typed(file, cells)}", {})
        except UNREADABLE as error:
            raise unreadable(file.path, error) from error
        _hold_ragged(run, table, file)
    return _hold_unreadable(run, mapping, table, len(files))


def _typed(file: SourceFile, cells: tuple[Cell, ...]) -> str:
    """SQL of the rows of a file, typed, with the first column of each that does not read as declared."""
    texts = {cell.name: cell.text(is_time=cell.header in file.times) for cell in cells}
    raw = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in texts.items())
    values, faults = list[str](), list[str]()
    for cell in cells:
        name, is_time = quoted(cell.name), cell.header in file.times and cell.kind == "time"
        zoned = file.times.get(cell.header, False)
        value = cell.value(f"r.{name}", is_time=is_time, zoned=zoned)
        values.append(f"{value} AS {name}")
        wrong = f"v.{name} IS NULL" + (f" AND r.{name} IS NOT NULL" if cell.optional else "")
        got = f"{{'c': {quoted_text(cell.name)}, 't': CAST(r.{name} AS VARCHAR)}}"
        faults.append(f"WHEN {wrong} THEN {got}")
    numbered = f"SELECT {raw}, ROW_NUMBER() OVER () AS _row, {file.torn()} AS _torn FROM {file.relation()}"
    fault = f"CASE WHEN r._torn THEN {{'c': '', 't': NULL}} {' '.join(faults)} END"
    typed = ", ".join(f"v.{quoted(cell.name)}" for cell in cells)
    return (
        f"SELECT {typed}, {quoted_text(file.name)} AS _file, r._row, {fault} AS _fault "
        f"FROM ({numbered}) AS r, LATERAL (SELECT {', '.join(values)}) AS v"
    )


def _hold_ragged(run: RunSql, table: Table, file: SourceFile) -> None:
    if not file.is_text:
        return
    rejected = run(
        f"SELECT line, ANY_VALUE(error_type) AS kind, ANY_VALUE(csv_line) AS csv_line FROM {REJECTS} "
        "GROUP BY line ORDER BY line",
        {},
    )
    run(f"DROP TABLE {REJECTS}", {})
    run(f"DROP TABLE {REJECT_SCANS}", {})
    for row in rejected.to_pylist():
        if str(row["kind"]) in {"INVALID ENCODING", "INVALID UNICODE"}:
            raise InputError(f"{file.path}, line {row['line']}: {NOT_UTF_8}")
        if str(row["kind"]) not in {"MISSING COLUMNS", "TOO MANY COLUMNS"}:
            reason = "a quote that is not closed" if "QUOTE" in str(row["kind"]) else str(row["kind"]).lower()
            raise InputError(f"{file.path}, line {row['line']}: cannot be read ({reason}); mend the line.")
    if len(rejected):
        values = (
            f"{quoted_text(table.name)}, {quoted_text(file.name)}, CAST(line AS BIGINT), NULL, csv_line, '{RAGGED}'"
        )
        run(f"INSERT INTO {HELD_BACK} SELECT {values} FROM rejected", {"rejected": rejected})


def _hold_unreadable(run: RunSql, mapping: Imports, table: Table, files: int) -> TableRows:
    relation = quoted(f"read_{table.name}")
    expected = " ".join(f"WHEN {quoted_text(c.name)} THEN {quoted_text(c.expected())}" for c in table.cells)
    headers = " ".join(f"WHEN {quoted_text(c.name)} THEN {quoted_text(c.header)}" for c in table.cells)
    run(
        f"INSERT INTO {HELD_BACK} SELECT {quoted_text(table.name)}, _file, _row, CASE _fault.c {headers} END, "
        f"_fault.t, CASE WHEN _fault.c = '' THEN '{TORN}' ELSE 'expected ' || CASE _fault.c {expected} END END "
        f"FROM {relation} WHERE _fault IS NOT NULL ORDER BY _file, _row",
        {},
    )
    [rows] = run(f"SELECT COUNT(*) AS n FROM {relation}", {}).to_pylist()
    here = f'FROM {HELD_BACK} WHERE "table" = {quoted_text(table.name)}'
    ragged = f"COUNT(*) FILTER (WHERE reason = '{RAGGED}') AS ragged"
    [held] = run(f"SELECT COUNT(*) AS n, {ragged} {here}", {}).to_pylist()
    total = int(rows["n"]) + int(held["ragged"])
    torn = run(f"SELECT * {here} AND reason = '{TORN}' ORDER BY file, row LIMIT 1", {}).to_pylist()
    if torn or held["n"] > mapping.max_held_back_share * total:
        [first] = torn or run(f"SELECT * {here} ORDER BY file, row LIMIT 1", {}).to_pylist()
        raise InputError(_refusal(mapping, table, first, int(held["n"]), total))
    return TableRows(table.name, files, total, int(held["n"]))


def _refusal(mapping: Imports, table: Table, first: dict[str, Any], held: int, total: int) -> str:
    names = {cell.header: cell.name for cell in table.cells}
    where = mapping.line("tables", table.name, *(("columns", names[first["column"]]) if first["column"] else ()))
    allowed = f"{held:,} of {total:,} rows cannot be read, first" if held > 1 else "this row cannot be read"
    place = f"line {first['row']}" if first["reason"] == RAGGED else f"row {first['row']}"
    if not first["column"]:
        return f"{first['file']}: {place}: {first['reason']} ({allowed}; {where}); mend the file."
    got = "an empty cell" if first["value"] is None else repr(first["value"])
    return (
        f"{first['file']}: {place}, column {first['column']}: got {got}, {first['reason']} ({allowed}; {where}); "
        "mend the cell, or the type, unit, format or nothing of the column, or raise max_held_back_share."
    )


def _shape(run: RunSql, mapping: Imports, table: Table, alone: list[RowsAlone]) -> list[TableRows]:
    """The table as others name it: joined, stacked, repeated, with derived columns; rows that cannot be repeated.

    Joins that some rows have no partner in are added to ``alone``.
    """
    held = list[TableRows]()
    if table.read:
        sql = f"SELECT * EXCLUDE (_fault) FROM {quoted(f'read_{table.name}')} WHERE _fault IS NULL"
    else:
        sql = f"SELECT * FROM {quoted(table.base)}"
    for join in table.join:
        alone += _alone(run, table, sql, join)
        sql = _joined(run, mapping, table, sql, join)
    if table.stack:
        sql = _stacked(table.stack, sql)
    if table.repeat:
        held, sql = _repeated(run, mapping, table, sql, table.repeat)
    for name, value in table.derived.items():
        sql = f"SELECT *, {value.sql} AS {quoted(name)} FROM ({sql})"
    kind = "TABLE" if table.join or table.stack or table.repeat or table.derived else "VIEW"
    run(f"CREATE TEMP {kind} {quoted(table.name)} AS {sql}", {})
    return held


def _repeated(
    run: RunSql, mapping: Imports, table: Table, sql: str, repeat: tuple[str, str]
) -> tuple[list[TableRows], str]:
    times, number = map(quoted, repeat)
    wrong = f"{times} IS NULL OR {times} NOT BETWEEN 1 AND {MAX_REPEATS}"
    run(
        f"INSERT INTO {HELD_BACK} SELECT {quoted_text(table.name)}, _file, _row, {quoted_text(repeat[0])}, "
        f"CAST({times} AS VARCHAR), 'expected 1 to {MAX_REPEATS:,} repeats' FROM ({sql}) WHERE {wrong}",
        {},
    )
    counts = f"SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE {wrong}) AS held FROM ({sql})"
    [row] = run(counts, {}).to_pylist()
    total, held = int(row["n"]), int(row["held"])
    if held > mapping.max_held_back_share * total:
        _refuse_held(run, mapping, table.name, ("tables", table.name, "repeat"), (held, total))
    counted = f"CAST(UNNEST(generate_series(1, {times})) AS BIGINT) AS {number}"
    rows = [TableRows(table.name, 0, total, held)] if held else []
    return rows, f"SELECT *, {counted} FROM ({sql}) WHERE NOT ({wrong})"


def _refuse_held(run: RunSql, mapping: Imports, name: str, path: KeyPath, rows: tuple[int, int]) -> None:
    """Refuse rows of which something was derived that cannot be, and name the first."""
    [first] = run(
        f'SELECT * FROM {HELD_BACK} WHERE "table" = {quoted_text(name)} ORDER BY file, row LIMIT 1', {}
    ).to_pylist()
    held, total = rows
    raise InputError(
        f"{first['file']}: row {first['row']}: {first['column']} of {name}: {first['reason']} "
        f"({held:,} of {total:,} rows; {mapping.line(*path, first['column'])}); "
        "mend the mapping, leave such rows out by when, or raise max_held_back_share."
    )


def _alone(run: RunSql, table: Table, sql: str, join: tuple[str, str]) -> Iterator[RowsAlone]:
    """How many rows have a key that the other table lacks."""
    other, key = join
    keys = f"SELECT DISTINCT {quoted(key)} AS known FROM {quoted(other)}"
    counts = f"SELECT COUNT(*) AS every, COUNT(*) FILTER (WHERE known IS NULL) AS n FROM ({sql}) LEFT JOIN ({keys})"
    [row] = run(f"{counts} ON known = {quoted(key)}", {}).to_pylist()
    if row["n"]:
        yield RowsAlone(table.name, other, int(row["every"]), int(row["n"]))


def _joined(run: RunSql, mapping: Imports, table: Table, sql: str, join: tuple[str, str]) -> str:
    name, key = join
    other = mapping.tables[name]
    columns = [column for column in other.columns if column != key]
    rows = f"SELECT DISTINCT {', '.join(map(quoted, [key, *columns]))} FROM {quoted(name)}"
    twice = run(f"SELECT {quoted(key)} AS key FROM ({rows}) GROUP BY 1 HAVING COUNT(*) > 1 ORDER BY 1 LIMIT 1", {})
    if len(twice):
        where = mapping.line("tables", table.name, "join", name)
        raise InputError(
            f"{', '.join(other.read) or name}: {key} {twice['key'][0].as_py()} has two different rows, expected one "
            f"to join ({where}); remove the wrong one."
        )
    taken = ", ".join(f"o.{quoted(column)} AS {quoted(f'{name}.{column}')}" for column in columns)
    return f"SELECT b.*, {taken} FROM ({sql}) AS b LEFT JOIN ({rows}) AS o ON b.{quoted(key)} = o.{quoted(key)}"


def _stacked(stack: tuple[str, int, int, dict[str, tuple[str, ...]]], sql: str) -> str:
    number, first, last, columns = stack
    numbers = f"[{', '.join(map(str, range(first, last + 1)))}]"
    lists = ", ".join(f"UNNEST([{', '.join(map(quoted, names))}]) AS {quoted(name)}" for name, names in columns.items())
    return f"SELECT *, CAST(UNNEST({numbers}) AS BIGINT) AS {quoted(number)}, {lists} FROM ({sql})"


def _schema(mapping: Imports, source: str) -> pa.Schema:
    """Columns of a written source: the required ones, then the others in the order of the mapping."""
    contract = {column.name: column for column in SOURCES[source].columns}
    fields = {name: ARROW_TYPES[column.dtype] for name, column in contract.items() if column.required}
    for write in mapping.writes:
        if write.source == source:
            for name, value in write.columns.items():
                stored = ARROW_TYPES[contract[name].dtype] if name in contract else _STORED[value.kind]
                if fields.setdefault(name, stored) != stored:
                    raise ConfigError(f"{mapping.reader.source}: {source}.{name} is of two types; give it one.")
    return pa.schema(list(fields.items()))


def _collect(run: RunSql, mapping: Imports, source: str) -> Iterator[WrittenRows]:
    """Make ``out_<source>`` of all that is written to a source, in order of its key."""
    writes = [write for write in mapping.writes if write.source == source]
    if not writes:
        return
    schema = _schema(mapping, source)
    needed = [c.name for c in SOURCES[source].columns if c.required and not c.nullable]
    selects = list[str]()
    for write in writes:
        values = ", ".join(f"{_column(write, field)} AS {quoted(field.name)}" for field in schema)
        kept = f"COALESCE({write.when.sql}, FALSE)" if write.when else "TRUE"
        rows = f"SELECT {values}, {kept} AS _kept, _file, _row FROM {quoted(write.base)}"
        empty = " ".join(f"WHEN {quoted(name)} IS NULL THEN {quoted_text(name)}" for name in needed)
        judged = f"SELECT *, CASE WHEN _kept THEN CASE {empty} END END AS _empty FROM ({rows})"
        run(
            f"INSERT INTO {HELD_BACK} SELECT {quoted_text(source)}, _file, _row, _empty, NULL, 'no value' "
            f"FROM ({judged}) WHERE _empty IS NOT NULL ORDER BY _file, _row",
            {},
        )
        counted = "COUNT(*) AS every, COUNT(*) FILTER (WHERE NOT _kept) AS left_out, COUNT(_empty) AS held"
        [counts] = run(f"SELECT {counted} FROM ({judged})", {}).to_pylist()
        total, left, held = int(counts["every"]), int(counts["left_out"]), int(counts["held"])
        if held > mapping.max_held_back_share * total:
            path = ("write", mapping.writes.index(write), "columns")
            _refuse_held(run, mapping, source, path, (held, total))
        yield WrittenRows(source, write.base, total, total - left - held, left, held)
        selects.append(f"SELECT {', '.join(map(quoted, schema.names))} FROM ({judged}) WHERE _kept AND _empty IS NULL")
    key = SOURCES[source].key
    order = ", ".join(map(quoted, [*key, *(name for name in schema.names if name not in key)]))
    run(f"CREATE TEMP TABLE {quoted(f'out_{source}')} AS {' UNION ALL '.join(selects)} ORDER BY {order}", {})


def _column(write: Write, field: pa.Field) -> str:
    value = write.columns.get(field.name)
    return f"CAST({value.sql if value else 'NULL'} AS {_IN_SQL[field.type]})"


def _store(run: RunSql, relation: str, path: Path, schema: pa.Schema) -> int:
    """Write a relation of DuckDB as Parquet, piece by piece."""
    [counted] = run(f"SELECT COUNT(*) AS n FROM {quoted(relation)}", {}).to_pylist()
    rows = int(counted["n"])
    with parquet_stream(schema, path) as write:
        for piece in _pieces(run, relation, rows):
            write(piece.cast(schema))
    return rows


def _pieces(run: RunSql, relation: str, rows: int) -> Iterable[pa.Table]:
    for start in range(0, rows, ROW_GROUP_ROWS):
        where = f"rowid >= {start} AND rowid < {start + ROW_GROUP_ROWS} ORDER BY rowid"
        yield run(f"SELECT * FROM {quoted(relation)} WHERE {where}", {})
