"""Units: a column of cents that is written like another unit is refused before its whole numbers pass for cents."""

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Source
from limitlens.data.delivery import DeliveredFile
from limitlens.data.errors import InputError

#: A column of cents with this share of fractions, or more, is in another unit: fewer are faults of their rows.
FRACTIONS_SHARE = 0.1

#: Unless most of its values are fractions, so many are needed to say so.
FRACTIONS_ROWS = 10

_TWO_DECIMALS = r"^\s*[+-]?[0-9]+[.][0-9]{2}\s*$"


def expect_cents(delivered: DeliveredFile, source: Source, typed: pa.Table) -> None:
    """Refuse a file whose cents look like whole units of currency.

    Parameters
    ----------
    delivered : DeliveredFile
    source : Source
    typed : pyarrow.Table
        Its columns of cents as double, null where they are no number.

    Raises
    ------
    InputError
        A tenth of a column (and ten values, or most of them) are fractions, or most values of a CSV column are
        written with two decimals.
    """
    for column in source.columns:
        if column.dtype == "cents":
            values = typed[column.name]
            known = len(values) - values.null_count
            fractions = _count(pc.and_(pc.is_finite(values), pc.not_equal(values, pc.trunc(values))))
            decimals = _two_decimals(delivered, column.name)
            enough = fractions >= FRACTIONS_ROWS and fractions >= FRACTIONS_SHARE * known
            if enough or 2 * max(fractions, decimals) > known:
                written = f"{fractions:,} are no whole number" if fractions else "most are written with two decimals"
                raise InputError(
                    f"{delivered.name}: column '{column.name}' looks like another unit than cents: of {known:,} values "
                    f"{written}; write whole cents."
                )


def _two_decimals(delivered: DeliveredFile, column: str) -> int:
    return _count(pc.match_substring_regex(delivered.table[column], _TWO_DECIMALS)) if delivered.is_text else 0


def _count(matches: pa.ChunkedArray) -> int:
    return int(pc.sum(matches, min_count=0).as_py())
