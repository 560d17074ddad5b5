"""The rules of `benchmarks.checking` in pointblank: `python -m benchmarks.checking_in_pointblank FOLDER`."""

import sys
from pathlib import Path

import pointblank as pb
import polars as pl

from benchmarks.checking_rules import delivered, in_order, polars_types
from limitlens.data.contracts import MAX_CENTS, Source


def asked(source: Source, rows: pl.DataFrame) -> pb.Validate:
    """Every rule of a source, about the rows of it."""
    there = [column for column in source.columns if column.required or column.name in rows.columns]
    types = pb.Schema(columns=[(column.name, str(polars_types()[column.dtype])) for column in there])
    asked = pb.Validate(rows).col_schema_match(types, complete=False, in_order=False)
    asked = asked.col_vals_not_null([column.name for column in there if not column.nullable])
    for column in there:
        if column.dtype in ("cents", "integer"):
            least = -MAX_CENTS if column.minimum is None else column.minimum
            most = MAX_CENTS if column.maximum is None else column.maximum
            asked = asked.col_vals_between(column.name, least, most, na_pass=True)
        if column.one_of:
            asked = asked.col_vals_in_set(column.name, column.one_of)
    if (order := in_order(source)) is not None:
        asked = asked.col_vals_expr(order)
    return asked.rows_distinct(list(source.key))


if __name__ == "__main__":
    for source, paths in delivered(Path(sys.argv[1])):
        rows = pl.read_parquet(paths)
        failed = asked(source, rows).interrogate(collect_extracts=False).n_failed()
        print(f"{source.name}: {len(rows):,} rows, {sum(failed.values()):,} broken")
