"""A mapping: a TOML file that says how delivered files of any shape become tables of the contract.

It names tables (files as they are read, or other tables with derived columns) and what is written of them;
docs/mapping.md is its reference.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import alike
from limitlens.data.imported_files import Encoding
from limitlens.data.mapping_cells import (
    ISO,
    KINDS,
    PERCENT,
    UNIX_MILLISECONDS,
    UNIX_SECONDS,
    Cell,
    Decimal,
    Kind,
    Thousands,
    Unit,
    is_time_format,
)
from limitlens.data.mapping_operations import Scope, UnfitError, Value
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader, load_toml

#: Kinds of the mapping that a declared type of the contract takes.
_TAKES: dict[str, tuple[Kind, ...]] = {
    "string": ("text", "whole"),
    "timestamp": ("time",),
    "cents": ("amount",),
    "integer": ("whole",),
    "number": ("number", "whole"),
    "boolean": ("yesno",),
}
_ATTRIBUTE: tuple[Kind, ...] = ("text", "whole", "number", "amount", "yesno")

_TOP = ("name", "currency", "unit", "zone", "notes", "max_held_back_share", "tables", "write")
_TABLE = ("read", "from", "delimiter", "encoding", "nothing", "columns", "join", "stack", "repeat", "derived")
_CELL = ("type", "header", "optional", "unit", "format", "zone", "nothing", "true", "false", "decimal", "thousands")


@dataclass(frozen=True)
class _Usual:
    """What holds for every column that does not say otherwise."""

    unit: Unit
    zone: str
    nothing: tuple[str, ...] = ()


_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

#: Names of files; ``**`` stands alone between two slashes.
_PATTERN = re.compile(r"(?!\.?$)(?:(?!\*\*)[^\0]|(?<![^/])\*\*(?=/))+")

#: Beginnings of the names of tables that an import makes.
_OURS = ("read_", "out_", "held_back", "rejected_")

#: Operations inside operations; some write what is in them more than once.
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Table:
    """Rows of files, or of another table, with the columns that a mapping may name.

    Parameters
    ----------
    name : str
    read : tuple of str
        Names or patterns of files, below the folder that is imported.
    base : str
        The other table, where no files are read.
    cells : tuple of Cell
        Columns of the files.
    delimiter, encoding : str
        Between the fields of a CSV, and how it writes its text.
    join : tuple of (str, str)
        Other tables, and the column that is equal there; it has one row for each of its values.
    stack : tuple of (str, int, int, dict of str to tuple of str), optional
        A column for the number, its first and last value, and for each new column those it is taken from, in order.
    repeat : tuple of (str, str), optional
        The column that says how often each row is repeated, and the one that then counts from 1.
    derived : dict of str to Value
    columns : dict of str to str
        Kind of every column, joined ones as ``table.column``.
    """

    name: str
    read: tuple[str, ...]
    base: str
    cells: tuple[Cell, ...]
    delimiter: str
    encoding: Encoding
    join: tuple[tuple[str, str], ...]
    stack: tuple[str, int, int, dict[str, tuple[str, ...]]] | None
    repeat: tuple[str, str] | None
    derived: dict[str, Value]
    columns: dict[str, Kind]


@dataclass(frozen=True)
class Write:
    """What becomes of the rows of a table.

    Parameters
    ----------
    source : str
        A source of the contract.
    base : str
        The table.
    when : Value, optional
        Only rows for which it holds.
    columns : dict of str to Value
    """

    source: str
    base: str
    when: Value | None
    columns: dict[str, Value]


@dataclass(frozen=True)
class Imports:
    """A mapping that was read.

    Parameters
    ----------
    name : str
        What the written files are called.
    currency : str
        Of every amount; empty: not said.
    notes : tuple of str
        What stands in for what was not delivered, in the words of its author.
    max_held_back_share : float
        How many of the rows of a table may not be readable before nothing is written.
    tables : dict of str to Table
        In the order of the file.
    writes : tuple of Write
    reader : Reader
        Says in which line something stands.
    """

    name: str
    currency: str
    notes: tuple[str, ...]
    max_held_back_share: float
    tables: dict[str, Table]
    writes: tuple[Write, ...]
    reader: Reader = field(repr=False)

    def line(self, *path: str | int) -> str:
        """File and line in which something stands, or the table around it."""
        return str(self.reader.error(path, "")).rstrip(": ")


def parse_mapping(text: str, source: str) -> Imports:
    """Read a mapping.

    Parameters
    ----------
    text : str
        TOML.
    source : str
        Name of the file, for messages.

    Raises
    ------
    ConfigError
        With the line, and how to mend it.
    """
    reader = Reader(text, source)
    body = reader.table(load_toml(text, source), (), _TOP, ("name", "tables", "write"))
    if not _NAME.fullmatch(name := reader.value(body, (), "name", str)):
        raise reader.error(("name",), f"name is {name!r}; expected small letters, digits and _, such as my_bank.")
    zone = _zone(reader, body, ())
    unit: Unit = reader.value(body, (), "unit", Unit) if "unit" in body else "whole"
    share = reader.value(body, (), "max_held_back_share", float) if "max_held_back_share" in body else 0.0
    if unit == PERCENT:
        raise reader.error(("unit",), "unit is '%'; say so of each column that is in percent.")
    if not 0 <= share < 1:
        raise reader.error(("max_held_back_share",), f"max_held_back_share is {share}; expected 0 to below 1.")
    tables = dict[str, Table]()
    for key, table in _free(reader, body, ("tables",)).items():
        tables[key] = _table(reader, ("tables", key), table, tables, _Usual(unit, zone))
    writes = [_write(reader, ("write", k), one, tables, zone) for k, one in enumerate(reader.array(body, ("write",)))]
    if not writes:
        raise reader.error(
            ("write",), "nothing is written; add a [[write]] for accounts and one for events or outcomes."
        )
    currency = reader.value(body, (), "currency", str) if "currency" in body else ""
    return Imports(name, currency, _texts(reader, body, (), "notes"), share, tables, tuple(writes), reader)


def _zone(reader: Reader, body: Mapping[str, Any], path: KeyPath) -> str:
    zone = str(reader.value(body, path, "zone", str)) if "zone" in body else "UTC"
    if zone not in available_timezones():
        raise reader.error(
            (*path, "zone"), f"zone {zone!r} is no time zone; expected one such as Asia/Shanghai or UTC."
        )
    return ZoneInfo(zone).key


def _texts(reader: Reader, body: Mapping[str, Any], path: KeyPath, key: str) -> tuple[str, ...]:
    values = [body[key]] if isinstance(body.get(key), str) else reader.array(body, (*path, key))
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise reader.error((*path, key), f"{key} holds {wrong[0]!r}; expected texts in quotes.")
    return tuple(values)


def _free(reader: Reader, body: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    """A table whose keys are names that the mapping chooses; empty where it is left out."""
    chosen = body.get(str(path[-1]), {})
    return reader.table(chosen, path, list(chosen) if isinstance(chosen, dict) else ())


def _expect_new(reader: Reader, path: KeyPath, taken: Iterable[str], name: str) -> None:
    """Refuse a name of a column that stands for two; SQL does not tell small letters from large ones."""
    if name.startswith("_") or not name:
        raise reader.error(path, f"column {name!r}: expected a name that does not begin with _.")
    if other := next((other for other in taken if other.lower() == name.lower()), None):
        likeness = "" if other == name else f" (as {other!r})"
        raise reader.error(path, f"{name!r} is a column already{likeness}; choose another name.")


def _table(reader: Reader, path: KeyPath, given: Any, earlier: Mapping[str, Table], usual: _Usual) -> Table:
    body = reader.table(given, path, _TABLE)
    name = str(path[-1])
    if not _NAME.fullmatch(name):
        raise reader.error(path, f"table {name!r}: expected small letters, digits and _.")
    if name.startswith(_OURS):
        raise reader.error(path, f"table {name!r}: a name that the import uses itself; choose another one.")
    if ("read" in body) == ("from" in body):
        raise reader.error(path, f"table {name!r}: expected either read, the files, or from, another table.")
    nothing = _texts(reader, body, path, "nothing")
    cells = _cells(reader, path, body, replace(usual, nothing=nothing)) if "read" in body else ()
    if "from" in body:
        columns = dict(_other(reader, (*path, "from"), body["from"], earlier).columns)
    else:
        columns = {cell.name: cell.kind for cell in cells}
        if not cells:
            raise reader.error(path, f"table {name!r} has no columns; add [tables.{name}.columns].")
    delimiter = reader.value(body, path, "delimiter", str) if "delimiter" in body else ","
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise reader.error((*path, "delimiter"), f"delimiter is {delimiter!r}; expected one character.")
    encoding: Encoding = reader.value(body, path, "encoding", Encoding) if "encoding" in body else "utf-8"
    join = _joins(reader, path, body, earlier, columns)
    stack = _stack(reader, path, body, columns)
    repeat = _repeat(reader, path, body, columns)
    derived = dict[str, Value]()
    for key, value in _free(reader, body, (*path, "derived")).items():
        _expect_new(reader, (*path, "derived", key), columns, key)
        derived[key] = _value(reader, (*path, "derived", key), value, Scope(columns, usual.zone))
        columns[key] = derived[key].kind
    read = _texts(reader, body, path, "read")
    if "read" in body and not (read and all(map(_PATTERN.fullmatch, read))):
        raise reader.error(
            (*path, "read"), f"read is {body['read']!r}; expected names or patterns such as loans-*.csv."
        )
    return Table(name, read, body.get("from", ""), cells, delimiter, encoding, join, stack, repeat, derived, columns)


def _other(reader: Reader, path: KeyPath, name: Any, earlier: Mapping[str, Table]) -> Table:
    if not isinstance(name, str) or name not in earlier:
        listed = ", ".join(earlier) or "none before it"
        raise reader.error(path, f"no table {name!r} stands before it; there are {listed}.")
    return earlier[name]


def _cells(reader: Reader, path: KeyPath, body: Mapping[str, Any], usual: _Usual) -> tuple[Cell, ...]:
    inside = (*path, "columns")
    listed = _free(reader, body, inside)
    for number, name in enumerate(listed):
        _expect_new(reader, (*inside, name), list(listed)[:number], name)
    return tuple(_cell(reader, (*inside, name), given, usual) for name, given in listed.items())


def _cell(reader: Reader, path: KeyPath, given: Any, usual: _Usual) -> Cell:
    name = str(path[-1])
    if "{" in name or "." in name or "}" in name or ":" in name:
        raise reader.error(
            path, f'column {name!r}: a name has no dots, colons or braces; write x = {{header = "{name}"}}.'
        )
    body = reader.table({"type": given} if isinstance(given, str) else given, path, _CELL, ("type",))
    written = str(body["type"])
    kind = written.removesuffix("?")
    if kind not in KINDS:
        raise reader.error(path, f"column {name!r} is of type {written!r}; expected one of {', '.join(KINDS)}.")
    further: dict[str, Any] = {"optional": written.endswith("?"), **asdict(usual)}
    expected = {"header": str, "optional": bool, "unit": Unit, "decimal": Decimal, "thousands": Thousands}
    further |= {key: reader.value(body, path, key, what) for key, what in expected.items() if key in body}
    if "unit" in body and kind != (takes := "number" if further["unit"] == PERCENT else "amount"):
        raise reader.error((*path, "unit"), f"unit is {body['unit']!r}, which is of a {takes}; {name!r} is {kind}.")
    if further.get("thousands") == further.get("decimal", "."):
        raise reader.error((*path, "thousands"), f"{body['thousands']!r} stands before the decimals already.")
    further["zone"] = _zone(reader, body, path) if "zone" in body else usual.zone
    further |= {key: _texts(reader, body, path, key) for key in ("nothing", "true", "false") if key in body}
    if "format" in body:
        further["formats"] = _formats(reader, path, body)
    return Cell(name, further.pop("header", name), kind, **further)


def _formats(reader: Reader, path: KeyPath, body: Mapping[str, Any]) -> tuple[str, ...]:
    formats = _texts(reader, body, path, "format")
    for form in formats:
        if form not in {ISO, UNIX_SECONDS, UNIX_MILLISECONDS} and not is_time_format(form):
            raise reader.error(
                (*path, "format"), f"format {form!r}; expected iso, unix, unix_ms or one such as %d.%m.%Y %H:%M."
            )
    return formats


def _joins(
    reader: Reader, path: KeyPath, body: Mapping[str, Any], earlier: Mapping[str, Table], columns: dict[str, Kind]
) -> tuple[tuple[str, str], ...]:
    joins = _free(reader, body, (*path, "join"))
    own = dict(columns)
    for name in joins:
        other = _other(reader, (*path, "join", name), name, earlier)
        key = reader.value(joins, (*path, "join"), name, str)
        for side, there in (("this table", own), (f"table {name!r}", other.columns)):
            if key not in there:
                raise reader.error(
                    (*path, "join", name), f"{side} has no column {key!r}; there are {', '.join(there)}."
                )
        if own[key] != other.columns[key]:
            raise reader.error(
                (*path, "join", name), f"{key!r} is {own[key]} here and {other.columns[key]} there; give both one type."
            )
        columns |= {f"{name}.{column}": kind for column, kind in other.columns.items() if column != key}
    return tuple(joins.items())


def _stack(
    reader: Reader, path: KeyPath, body: Mapping[str, Any], columns: dict[str, Kind]
) -> tuple[str, int, int, dict[str, tuple[str, ...]]] | None:
    if "stack" not in body:
        return None
    inside = (*path, "stack")
    given = reader.table(
        body["stack"], inside, ("number", "first", "last", "columns"), ("number", "first", "last", "columns")
    )
    first, last = (reader.value(given, inside, key, int) for key in ("first", "last"))
    if not 0 <= last - first < 1_000:
        raise reader.error(
            inside, f"stack counts from {first} to {last}; expected first before last, at most 1,000 apart."
        )
    stacked = dict[str, tuple[str, ...]]()
    listed = _free(reader, given, (*inside, "columns"))
    number = reader.value(given, inside, "number", str)
    _expect_new(reader, inside, (*columns, *listed), number)
    for name in listed:
        _expect_new(reader, inside, columns, name)
    for name, pattern in listed.items():
        names = tuple(str(pattern).replace("{}", str(number)) for number in range(first, last + 1))
        for one in names:
            if one not in columns:
                raise reader.error(inside, f"stack: no column {one!r}; there are {', '.join(columns)}.")
        if len(kinds := {columns[one] for one in names}) > 1:
            raise reader.error(inside, f"stack: {name} mixes {', '.join(sorted(kinds))}; give its columns one type.")
        stacked[name] = names
    for name, names in stacked.items():
        columns[name] = columns[names[0]]
    columns[number] = "whole"
    return number, first, last, stacked


def _repeat(reader: Reader, path: KeyPath, body: Mapping[str, Any], columns: dict[str, Kind]) -> tuple[str, str] | None:
    if "repeat" not in body:
        return None
    inside = (*path, "repeat")
    given = reader.table(body["repeat"], inside, ("times", "number"), ("times", "number"))
    times, number = (reader.value(given, inside, key, str) for key in ("times", "number"))
    if columns.get(times) != "whole":
        raise reader.error(inside, f"repeat: times is {times!r}; expected a column of whole numbers.")
    _expect_new(reader, inside, columns, number)
    columns[number] = "whole"
    return times, number


def _depth(body: Any) -> int:
    inside = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return isinstance(body, dict) + max(map(_depth, inside), default=0)


def _value(reader: Reader, path: KeyPath, body: Any, scope: Scope) -> Value:
    if (depth := _depth(body)) > _MAX_DEPTH:
        mend = f"expected at most {_MAX_DEPTH}; make columns under derived of some."
        raise reader.error(path, f"{path[-1]}: {depth} operations inside one another, {mend}")
    try:
        return scope.value(body)
    except UnfitError as unfit:
        raise reader.error((*path, *unfit.path), f"{path[-1]}: {unfit.message}") from None


def _write(reader: Reader, path: KeyPath, given: Any, tables: Mapping[str, Table], zone: str) -> Write:
    keys = ("source", "from", "when", "columns")
    body = reader.table(given, path, keys, ("source", "from", "columns"))
    if reader.value(body, path, "source", str) not in SOURCES:
        raise reader.error((*path, "source"), f"source is {body['source']!r}; expected one of {', '.join(SOURCES)}.")
    source = SOURCES[body["source"]]
    scope = Scope(_other(reader, (*path, "from"), body["from"], tables).columns, zone)
    when = _value(reader, (*path, "when"), body["when"], scope) if "when" in body else None
    if when and when.kind != "yesno":
        raise reader.error((*path, "when"), f'when is {when.kind}; expected yes or no, such as {{given = "column"}}.')
    columns = dict[str, Value]()
    declared = {column.name: column for column in source.columns}
    for name, value in _free(reader, body, (*path, "columns")).items():
        where = (*path, "columns", name)
        if name not in declared and not source.open_columns:
            raise reader.error(where, f"{source.name} has no column {name!r}; it has {', '.join(declared)}.")
        columns[name] = _value(reader, where, value, scope)
        takes = _TAKES[declared[name].dtype] if name in declared else _ATTRIBUTE
        if columns[name].kind not in takes and not (columns[name].sql == "0" and "amount" in takes):
            raise reader.error(
                where, f"{name} of {source.name} is {columns[name].kind}; expected {' or '.join(takes)}."
            )
    further = [name for name in columns if name not in declared]
    for column in source.columns:
        if column.name not in columns and (likely := alike(column.name, further)):
            mend = f"reads like {column.name}, which is not there; call it so, or by a name that is less like it."
            raise reader.error((*path, "columns", likely), f"{likely} of {source.name} {mend}")
        if column.required and not column.nullable and column.name not in columns:
            raise reader.error((*path, "columns"), f"{source.name} needs {column.name} ({column.meaning}); add it.")
    return Write(source.name, body["from"], when, columns)
