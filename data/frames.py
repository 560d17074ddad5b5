"""Frames and Arrow: tables with times that keep their zone, and text looked up without a loop in Python."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

_UTC = pa.timestamp("us", tz="UTC")


def to_arrow(frame: pd.DataFrame, schema: pa.Schema | None = None) -> pa.Table:
    """Turn a frame into an Arrow table without pandas metadata.

    Parameters
    ----------
    frame : DataFrame
        Zoned times must be UTC. pyarrow 25 reads them in a way pandas 3.1 deprecates, so they travel without zone.
    schema : pyarrow.Schema, optional
        Columns and types of the table; default: all columns, as they are.

    Examples
    --------
    >>> frame = pd.DataFrame({"as_of": pd.to_datetime(["2026-03-01"], utc=True)})
    >>> str(to_arrow(frame).schema.field("as_of").type)
    'timestamp[us, tz=UTC]'
    """
    chosen = frame[schema.names] if schema is not None else frame
    zoned = chosen.select_dtypes("datetimetz").columns
    naive = chosen.assign(**{name: chosen[name].dt.tz_convert(None) for name in zoned})
    table = pa.Table.from_pandas(naive, schema=schema, preserve_index=False).replace_schema_metadata(None)
    if schema is not None:
        return table
    return table.cast(pa.schema([field.with_type(_UTC) if field.name in zoned else field for field in table.schema]))


def is_among(values: pd.Series, wanted: pd.Series | pd.Index) -> pd.Series:
    """Whether each text is one of some others; ``Series.isin`` walks through text value by value.

    Parameters
    ----------
    values, wanted : Series of str

    Returns
    -------
    Series of bool, indexed like ``values``

    Examples
    --------
    >>> is_among(pd.Series(["A1", "A2"]), pd.Series(["A2"])).tolist()
    [False, True]
    """
    among = pc.is_in(pa.array(values, pa.string()), pa.array(wanted, pa.string()))
    return pd.Series(among.to_numpy(zero_copy_only=False), index=values.index, dtype=bool)
