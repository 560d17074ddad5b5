"""Attributes of the accounts: columns beyond the contract, each a number, a text or a boolean for good."""

from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Source
from limitlens.data.delivery import ROW, DeliveredFile
from limitlens.data.errors import InputError
from limitlens.data.events import ATTRIBUTE_TYPES
from limitlens.data.nothing import WORDS

#: Names that columns of our own carry beside the attributes, here and in later tables, and that of DuckDB's own.
RESERVED = frozenset(
    {"as_of", "known_by", "version", "line", "account_no", "bad", "label_end", "indeterminate", "split", "pd", "rowid"}
)

#: How further names of our own begin.
RESERVED_START = "delivered_"


def typed_attributes(
    delivered: DeliveredFile, source: Source, known: Mapping[str, str], taken: Collection[str] = ()
) -> dict[str, pa.ChunkedArray]:
    """Give every attribute of a file its type.

    Parameters
    ----------
    delivered : DeliveredFile
    source : Source
    known : mapping of str to str
        Kinds of the attributes accepted before: ``number``, ``text`` or ``boolean``.
    taken : collection of str
        Further names that no attribute may have, in small letters.

    Returns
    -------
    dict of str to pyarrow.ChunkedArray
        float64, string or bool; NaN, empty text and words for nothing are null. A column of nulls that was never seen
        before is left out.

    Raises
    ------
    InputError
        An attribute changes its type, is neither number, text nor boolean, or has a name that cannot be kept.
    """
    columns = [c for c in delivered.table.column_names if c not in source.column_names() and c != ROW]
    typed = {}
    for column in columns:
        _expect_name(column, known, taken, delivered.name)
        values = _without_words(delivered.table[column])
        kind = known.get(column) or _kind(values, delivered.is_text)
        if kind is None and values.null_count < len(values):
            raise InputError(f"{delivered.name}: column '{column}' is {values.type}, expected number, text or boolean.")
        if kind is not None:
            typed[column] = _cast(values, kind, column, delivered)
    return typed


def misfits(delivered: DeliveredFile, source: Source, known: Mapping[str, str]) -> dict[str, pa.ChunkedArray]:
    """Rows of a CSV whose value of an attribute is of another kind than before, each judged by itself.

    Parameters
    ----------
    delivered : DeliveredFile
    source : Source
    known : mapping of str to str
        Kinds of the attributes accepted before.

    Returns
    -------
    dict of str to pyarrow.ChunkedArray
        True where a value does not fit, by attribute; those that all fit are left out.
    """
    odd = {}
    for column in sorted(set(known) & set(delivered.table.column_names) - set(source.column_names())):
        values, arrow = _without_words(delivered.table[column]), ATTRIBUTE_TYPES[known[column]]
        wrong = [one for one in pc.unique(values).drop_null() if not _casts(pa.chunked_array([[one]]), arrow)]
        if wrong:
            odd[column] = pc.is_in(values, pa.array(wrong, pa.string()))
    return odd


def kind_of(values: pa.ChunkedArray) -> str:
    """The kind of an attribute that has its type."""
    return next(kind for kind, arrow in ATTRIBUTE_TYPES.items() if arrow == values.type)


def _expect_name(column: str, known: Mapping[str, str], taken: Collection[str], name: str) -> None:
    small = column.lower()
    ours = small in RESERVED or small in taken or small.startswith(RESERVED_START)
    if ours or not column.strip() or any(c == '"' or not c.isprintable() for c in column):
        raise InputError(f"{name}: column {column!r} has a name of limitlens's own or an unprintable one; rename it.")
    earlier = next((k for k in known if k.lower() == small and k != column), None)
    if earlier is not None:
        raise InputError(f"{name}: column '{column}' was '{earlier}' before; rename it.")


def _without_words(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values; a word for nothing is null."""
    if not any(test(values.type) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return values
    texts = values.cast(pa.string())
    return pc.if_else(pc.is_in(texts, pa.array(WORDS)), pa.scalar(None, pa.string()), texts)


def _kind(values: pa.ChunkedArray, is_text: bool) -> str | None:
    if values.null_count == len(values):
        return None
    if is_text:
        return "number" if _casts(values, pa.float64()) else "boolean" if _casts(values, pa.bool_()) else "text"
    return _kind_of_type(values.type)


def _kind_of_type(arrow: pa.DataType) -> str | None:
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow):
        return "number"
    if pa.types.is_boolean(arrow):
        return "boolean"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_temporal)
    return "text" if any(test(arrow) for test in texts) else None


def _casts(values: pa.ChunkedArray, arrow: pa.DataType) -> bool:
    try:
        values.cast(arrow, safe=False)
    except pa.ArrowInvalid:
        return False
    return True


def _from_0_and_1(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Booleans of numbers that are all 0 or 1; other values as they are."""
    if pa.types.is_boolean(values.type) or not _casts(values, pa.float64()):
        return values
    numbers = values.cast(pa.float64(), safe=False)
    ones = pc.equal(numbers, 1)
    return ones if pc.all(pc.or_(ones, pc.equal(numbers, 0)), min_count=0).as_py() else values


def _cast(values: pa.ChunkedArray, kind: str, column: str, delivered: DeliveredFile) -> pa.ChunkedArray:
    values = _from_0_and_1(values) if kind == "boolean" else values
    same = delivered.is_text or pa.types.is_null(values.type) or _kind_of_type(values.type) == kind
    if not same or not _casts(values, ATTRIBUTE_TYPES[kind]):
        got = "text" if delivered.is_text else str(values.type)
        raise InputError(
            f"{delivered.name}: column '{column}' is {got}, expected {kind} as before; write it as {kind}."
        )
    typed = values.cast(ATTRIBUTE_TYPES[kind], safe=False)
    nothing = {"number": pc.is_nan, "text": lambda texts: pc.equal(texts, "")}.get(kind)
    return typed if nothing is None else pc.if_else(nothing(typed), pa.scalar(None, typed.type), typed)
