"""The rules of `benchmarks.checking` in pandera: `python -m benchmarks.checking_in_pandera FOLDER`."""

import sys
from pathlib import Path

import pandera.polars as pa
import polars as pl
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from benchmarks.checking_rules import delivered, in_order, polars_types
from limitlens.data.contracts import MAX_CENTS, Column, Source


def _column(column: Column) -> pa.Column:
    checks = []
    if column.dtype in ("cents", "integer"):
        least = -MAX_CENTS if column.minimum is None else column.minimum
        most = MAX_CENTS if column.maximum is None else column.maximum
        checks.append(pa.Check.in_range(least, most))
    if column.one_of:
        checks.append(pa.Check.isin(column.one_of))
    return pa.Column(polars_types()[column.dtype], checks, nullable=column.nullable, required=column.required)


def schema(source: Source) -> pa.DataFrameSchema:
    columns = {column.name: _column(column) for column in source.columns}
    order = in_order(source)
    checks = [] if order is None else [pa.Check(lambda data: data.lazyframe.select(order))]
    return pa.DataFrameSchema(columns, checks, unique=list(source.key))


def broken(source: Source, rows: pl.DataFrame) -> int:
    """Values, or rows, that break a rule."""
    try:
        with config_context(validation_depth=ValidationDepth.SCHEMA_AND_DATA):
            schema(source).validate(rows, lazy=True)
    except SchemaErrors as errors:
        return len(errors.failure_cases)
    return 0


if __name__ == "__main__":
    for source, paths in delivered(Path(sys.argv[1])):
        rows = pl.read_parquet(paths)
        print(f"{source.name}: {len(rows):,} rows, {broken(source, rows):,} broken")
