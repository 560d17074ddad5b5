"""Seals: the tables that a task made of its part, as rows that may come back in any order, and a digest over them."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.errors import IntegrityError
from limitlens.data.spark import PART
from limitlens.data.storage import table_sha256
from limitlens.limits.ledger_tables import TIME

#: Schemas of the tables of a date, by name, in their order; each has ``account_id, as_of``.
Kinds = Mapping[str, pa.Schema]

#: What a task made of its part: by date a table of each kind; dates without a row have none.
Result = Mapping[datetime, tuple[pa.Table, ...]]


def row_schema(kinds: Kinds) -> pa.Schema:
    """Columns of a result: the part, and a row of a table of a date, or the seal over all of them."""
    structs = [(name, pa.struct(list(schema))) for name, schema in kinds.items()]
    return pa.schema([(PART, pa.int32()), ("date", TIME), *structs, ("sha256", pa.string())])


def sealed(kinds: Kinds, part: int, result: Result) -> pa.Table:
    """The rows of a part, and a seal over them."""
    schema = row_schema(kinds)
    pieces = [schema.empty_table()]
    for date, tables in result.items():
        pieces += [_rows(schema, part, date, *named) for named in zip(kinds, tables, strict=True)]
    seal = pa.table({PART: pa.array([part], pa.int32()), "sha256": [_digest(result)]})
    return pa.concat_tables([*pieces, _filled(schema, seal)])


def _rows(schema: pa.Schema, part: int, date: datetime, name: str, table: pa.Table) -> pa.Table:
    numbers, dates = (pa.repeat(pa.scalar(*one), len(table)) for one in ((part, pa.int32()), (date, TIME)))
    columns = [column.combine_chunks() for column in table.combine_chunks().columns]
    structs = pa.StructArray.from_arrays(columns, fields=list(schema.field(name).type))
    return _filled(schema, pa.table({PART: numbers, "date": dates, name: structs}))


def _filled(schema: pa.Schema, rows: pa.Table) -> pa.Table:
    """Rows with nulls in the columns that they lack."""
    nulls = {field.name: pa.nulls(len(rows), field.type) for field in schema}
    return pa.table([rows[name] if name in rows.column_names else nulls[name] for name in schema.names], schema=schema)


def _digest(result: Result) -> str:
    """Sha256 over the tables of each date."""
    digests = [[date.isoformat(), *map(table_sha256, tables)] for date, tables in sorted(result.items())]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def opened(kinds: Kinds, rows: pa.Table, name: str) -> Result:
    """What :func:`sealed` was made of, from its rows in any order.

    Returns
    -------
    mapping of datetime to tuple of pyarrow.Table
        In the schemas of the kinds, by account and time.

    Raises
    ------
    IntegrityError
        The seal is missing or does not fit; the message begins with the name.
    """
    dates = sorted(pc.unique(rows["date"].drop_null()).to_pylist())
    result = {date: tuple(_table(rows, date, *kind) for kind in kinds.items()) for date in dates}
    if rows["sha256"].drop_null().to_pylist() != [_digest(result)]:
        raise IntegrityError(
            f"{name}: not the rows that its task sealed, or by another version of limitlens or pyarrow; remove the "
            "folder and run the command again."
        )
    return result


def _table(rows: pa.Table, date: datetime, name: str, schema: pa.Schema) -> pa.Table:
    """Rows of a date, by account and time."""
    mine = rows.filter(pc.and_(pc.equal(rows["date"], pa.scalar(date, TIME)), pc.is_valid(rows[name])))
    table = pa.Table.from_struct_array(mine[name].combine_chunks())
    return table.cast(schema).sort_by([("account_id", "ascending"), ("as_of", "ascending")])
