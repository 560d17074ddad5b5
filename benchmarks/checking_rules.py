"""What the peers of `benchmarks.checking` are asked to hold: the files, and the rules as Polars has them."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from limitlens.data.contracts import SOURCES, Dtype, Source


def delivered(folder: Path) -> Iterator[tuple[Source, list[Path]]]:
    """The sources of a delivery that have files."""
    for source in SOURCES.values():
        if paths := sorted((folder / source.name).glob("*.parquet")):
            yield source, paths


def polars_types() -> dict[Dtype, pl.DataType]:
    return {
        "string": pl.String(),
        "timestamp": pl.Datetime("us", "UTC"),
        "cents": pl.Int64(),
        "integer": pl.Int64(),
        "number": pl.Float64(),
        "boolean": pl.Boolean(),
    }


def in_order(source: Source) -> pl.Expr | None:
    """Nothing is known before it happens, but what falls due; None: the source has no two such times."""
    names = source.column_names()
    happened = next((name for name in ("event_time", "as_of") if name in names), None)
    if happened is None:
        return None
    order = pl.col(happened) <= pl.col("known_time")
    return order | (pl.col("kind") == "due") if "due" in _kinds(source) else order


def _kinds(source: Source) -> tuple[str, ...]:
    return next((column.one_of for column in source.columns if column.name == "kind"), ())
