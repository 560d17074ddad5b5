"""The rules a row must keep, compiled from the contract to one SQL pass over a file: the first broken one counts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import ACCOUNTS, MAX_CENTS, OUTCOMES, SHARED_RISK, Column, Dtype, Source
from limitlens.data.delivery import ROW, DeliveredFile
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError
from limitlens.data.events import QUARANTINE, stored_schema
from limitlens.data.nothing import names_nothing, said_nothing
from limitlens.data.pseudonyms import ALIKE_LENGTH, KINDS, LOOK_ALIKE, SHAPE, IdKey, id_columns
from limitlens.data.quoting import quoted
from limitlens.data.units import expect_cents

#: Rule of a row that waits for its time; it is no loss.
EARLY = "known after the load"

#: Times outside it are taken for mistakes of a unit or a placeholder.
FIRST_YEAR, LAST_YEAR = 1900, 2199

#: The first days of two calendars stand for no time; seconds read as milliseconds end in the month after the second.
_NO_TIMES = (("1900-01-01", "1900-01-03"), ("1969-12-31", "1970-02-01"))

#: Ids by which customers are tied together.
_SHARED = frozenset({"device_id", "counterparty"})

_INVISIBLE = (
    r"[\x00-\x1f\x7f-\x9f\x{ad}\x{61c}\x{180e}\x{200b}-\x{200f}\x{2028}-\x{202e}"
    r"\x{2060}-\x{206f}\x{feff}\x{fff9}-\x{fffb}]"
)
#: Letters and digits in full width, and spaces that are none: other bytes for what is read alike (from Unicode TR 15).
_FULL_WIDTH = r"[\x{a0}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}\x{ff10}-\x{ff19}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}]"

_ISO_TIME = r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?"

_NOT_CAST: dict[Dtype, str] = {
    "timestamp": f"not an ISO 8601 time from {FIRST_YEAR} to {LAST_YEAR}",
    "cents": "not a number",
    "integer": "not a number",
    "number": "not a number",
    "boolean": "not true or false",
}

_BOOLEANS = {"true": 1, "false": 0}

#: A row held back, before its source, file and load are known; the rest of the quarantine's columns.
BROKEN = pa.schema([field for field in QUARANTINE if field.name not in ("load", "source", "file")])

#: Columns of our own beside those of a row: the number of the rule it broke, its JSON, the row as delivered.
RULE, JSON, RAW = "delivered_rule", "delivered_json", "delivered_raw"

#: The accounts known so far, to which events must belong.
LINES = pa.schema([("account_id", pa.string())])


@dataclass(frozen=True)
class Rule:
    """One thing that holds a row back.

    Parameters
    ----------
    column : str
        The column it is about.
    text : str
        What is wrong with the row, as the quarantine says it.
    broken : str
        SQL condition over the typed columns and :data:`RAW`, the row as delivered.
    """

    column: str
    text: str
    broken: str


#: An account as the workspace calls it, and what it is read as; the same of the accounts that are known, in ``known``.
KNOWN_AS, READ_AS = "delivered_known_as", "delivered_read_as"

UNKNOWN_ACCOUNT = Rule(
    "account_id", "unknown account", f"NOT EXISTS (SELECT 1 FROM known WHERE known.{KNOWN_AS} = judged.{KNOWN_AS})"
)
#: Two customers would pass for one wherever a person reads.
LOOKS_KNOWN = Rule(
    "account_id",
    "looks like an account that is known",
    f"EXISTS (SELECT 1 FROM known WHERE known.{READ_AS} = judged.{READ_AS} AND known.{KNOWN_AS} <> judged.{KNOWN_AS}) "
    f"AND {UNKNOWN_ACCOUNT.broken}",
)
#: It would not be the segment that the policy names.
PADDED_SEGMENT = Rule("segment", "space before or after", r"regexp_matches(segment, '^[\s\p{Z}]|[\s\p{Z}]$')")
_FUTURE = Rule("event_time", "event in the future", "event_time > known_time")

#: So far the clock of who delivers may be ahead of ours.
CLOCK_SKEW = timedelta(hours=1)

#: Rules beyond the declarations of the columns.
ROW_RULES: dict[str, tuple[Rule, ...]] = {
    ACCOUNTS.name: (PADDED_SEGMENT, LOOKS_KNOWN),
    "consumption": (
        Rule("amount_cents", "negative amount", "amount_cents < 0 AND kind <> 'statement_balance'"),
        _FUTURE,
    ),
    "payment": (
        Rule("event_time", "event in the future", f"{_FUTURE.broken} AND kind <> 'due'"),
        Rule("dpd_days", "null in a status", "dpd_days IS NULL AND kind = 'status'"),
    ),
    "device": (
        Rule("latitude_udeg", "no place: latitude and longitude are 0", "latitude_udeg = 0 AND longitude_udeg = 0"),
        _FUTURE,
    ),
    SHARED_RISK.name: (_FUTURE,),
    OUTCOMES.name: (Rule("known_time", "outcome known before as_of", "known_time < as_of"),),
}


def source_rules(source: Source) -> list[Rule]:
    """Every rule for a row of a source, in the order in which they are tried."""
    rules = [rule for column in source.columns for rule in column_rules(column)]
    linked = (UNKNOWN_ACCOUNT,) if source.name != ACCOUNTS.name else ()
    return [*rules, *ROW_RULES.get(source.name, ()), *linked]


def known_after(loaded_at: datetime) -> Rule:
    """Nobody can know today what becomes known tomorrow: the row comes too early, or its time is wrong."""
    return Rule("known_time", EARLY, f"known_time > TIMESTAMPTZ '{(loaded_at + CLOCK_SKEW).isoformat()}'")


def column_rules(column: Column) -> Iterator[Rule]:
    """The rules one declaration stands for.

    Examples
    --------
    >>> [rule.text for rule in column_rules(Column("dpd_days", "integer", "", nullable=True, minimum=0))]
    ['not a number', 'not a finite number', 'above 10000000000000 either way', 'not a whole number', 'below 0']
    """
    value, raw = quoted(column.name), f"{RAW}.{quoted(column.name)}"
    if not column.nullable:
        yield Rule(column.name, "null", f"{value if column.dtype == 'string' else raw} IS NULL")
    if column.dtype in _NOT_CAST:
        yield Rule(column.name, _NOT_CAST[column.dtype], f"{value} IS NULL AND {raw} IS NOT NULL")
    if column.dtype == "timestamp":
        spans = (f"{value} >= TIMESTAMPTZ '{first}' AND {value} < TIMESTAMPTZ '{end}'" for first, end in _NO_TIMES)
        yield Rule(column.name, "a placeholder: 1900-01-01 or January 1970", " OR ".join(spans))
    if column.dtype in ("cents", "integer", "number"):
        yield Rule(column.name, "not a finite number", f"NOT isfinite({value})")
    if column.dtype in ("cents", "integer"):
        yield Rule(column.name, f"above {MAX_CENTS} either way", f"abs({value}) > {MAX_CENTS}")
        yield Rule(column.name, "not a whole number", f"{value} <> trunc({value})")
    if _names_something(column):
        yield Rule(column.name, "control or invisible character", f"regexp_matches({value}, '{_INVISIBLE}')")
    if (_names_something(column) and not column.one_of) or column.name in _SHARED:
        yield Rule(column.name, "a word for nothing", names_nothing(value, shared=column.name in _SHARED))
    if column.name.endswith("_id"):
        yield from _id_rules(column.name)
    if column.minimum is not None:
        yield Rule(column.name, f"below {column.minimum}", f"{value} < {column.minimum}")
    if column.maximum is not None:
        yield Rule(column.name, f"above {column.maximum}", f"{value} > {column.maximum}")
    if column.one_of:
        allowed = ", ".join(f"'{word}'" for word in column.one_of)
        yield Rule(column.name, f"not one of {', '.join(column.one_of)}", f"{value} NOT IN ({allowed})")


def _id_rules(name: str) -> Iterator[Rule]:
    """What makes an id another one than it is read as; only ids with more bytes than letters are looked at in full."""
    value = quoted(name)
    beyond_ascii = f"strlen({value}) <> length({value}) AND "
    ends = rf"{beyond_ascii}regexp_matches({value}, '^\p{{Z}}|\p{{Z}}$')"
    yield Rule(name, "space before or after", f"starts_with({value}, ' ') OR ends_with({value}, ' ') OR ({ends})")
    yield Rule(name, "full-width character", f"{beyond_ascii}regexp_matches({value}, '{_FULL_WIDTH}')")
    mixed = " AND ".join(f"regexp_matches({value}, '{letters}')" for letters in ("[A-Za-z]", f"[{LOOK_ALIKE[0]}]"))
    yield Rule(name, "letters of two alphabets that look alike", f"{beyond_ascii}{mixed}")


def _names_something(column: Column) -> bool:
    """Ids and kinds, which are joined and compared; descriptions may hold any text."""
    return column.dtype == "string" and (not column.nullable or column.name.endswith("_id"))


def cast_sql(column: Column, is_text: bool) -> str:
    """SQL that reads a delivered value as its declared type, null where it is not of it; numbers as DOUBLE."""
    value = quoted(column.name)
    if column.dtype == "string":
        text = f"CAST({value} AS VARCHAR)"
        names = _names_something(column) or column.name in _SHARED
        return f"NULLIF({text}, '')" if names else f"CASE WHEN NOT {said_nothing(text)} THEN {text} END"
    if column.dtype == "boolean":
        word = f"lower(CAST({value} AS VARCHAR))"
        meant = {of: f"({word} = '{of}' OR TRY_CAST({word} AS DOUBLE) = {number})" for of, number in _BOOLEANS.items()}
        return f"CASE {' '.join(f'WHEN {condition} THEN {of}' for of, condition in meant.items())} END"
    if column.dtype == "timestamp":
        time = f"TRY_CAST({value} AS TIMESTAMPTZ)"
        bounds = f"{time} >= TIMESTAMPTZ '{FIRST_YEAR}-01-01' AND {time} < TIMESTAMPTZ '{LAST_YEAR + 1}-01-01'"
        iso = f"regexp_full_match({value}, '{_ISO_TIME}') AND " if is_text else ""
        return f"CASE WHEN {iso}{bounds} THEN {time} END"
    return f"TRY_CAST({value} AS DOUBLE)"


def _judging_sql(
    source: Source, rules: Sequence[Rule], attributes: Sequence[str], is_text: bool, pseudonyms: Mapping[str, str]
) -> str:
    """``pseudonyms``: columns of ``delivered`` that take the place of others in the result, by their names."""
    casts = {column.name: cast_sql(column, is_text) for column in source.columns}
    stored = {name: quoted(pseudonyms.get(name, name)) for name in (*casts, *attributes)}
    raw = ", ".join(f"{quoted(name)} := {column}" for name, column in stored.items())
    columns = [
        *(f"{sql} AS {quoted(name)}" for name, sql in casts.items()),
        *map(quoted, (*attributes, *pseudonyms.values())),
        *_accounts_as(pseudonyms, casts),
    ]
    cases = "\n".join(f"WHEN {rule.broken} THEN {number}" for number, rule in enumerate(rules))
    replaced = ", ".join(f"{quoted(column)} AS {quoted(name)}" for name, column in pseudonyms.items())
    ours = ", ".join([RAW, *pseudonyms.values(), *([KNOWN_AS, READ_AS] if "account_id" in casts else [])])
    return f"""
    WITH known AS (SELECT account_id AS {KNOWN_AS}, {_read_as("account_id", bool(pseudonyms))} AS {READ_AS} FROM lines),
    judged AS (SELECT {ROW}, {", ".join(columns)}, struct_pack({raw}) AS {RAW} FROM delivered),
    ruled AS (SELECT *, CASE {cases} END AS {RULE} FROM judged)
    SELECT * EXCLUDE ({ours}){f" REPLACE ({replaced})" if replaced else ""},
        CASE WHEN {RULE} IS NOT NULL THEN CAST(to_json({RAW}) AS VARCHAR) END AS {JSON}
    FROM ruled
    """


def _accounts_as(pseudonyms: Mapping[str, str], casts: Mapping[str, str]) -> list[str]:
    """How the account of a row is known, and read, where the source has one."""
    if "account_id" not in casts:
        return []
    known_as = pseudonyms.get("account_id", casts["account_id"])
    return [f"{known_as} AS {KNOWN_AS}", f"{_read_as(known_as, bool(pseudonyms))} AS {READ_AS}"]


def _read_as(account: str, keyed: bool) -> str:
    """What an account is read as: its id in Latin letters, or the part of its pseudonym that stands for that."""
    return (
        f"left({account}, {ALIKE_LENGTH})" if keyed else f"translate({account}, '{LOOK_ALIKE[0]}', '{LOOK_ALIKE[1]}')"
    )


def ruled_rows(
    source: Source,
    rules: Sequence[Rule],
    table: pa.Table,
    lines: pa.Table,
    *,
    is_text: bool,
    attributes: Sequence[str] = (),
    key: IdKey | None = None,
) -> pa.Table:
    """Read the rows of a file in their types, each with the first rule it breaks.

    Parameters
    ----------
    source : Source
    rules : sequence of Rule
    table : pyarrow.Table
        ``delivered_row``, the declared columns as delivered, the attributes.
    lines : pyarrow.Table
        Columns of :data:`LINES`.
    is_text : bool
        The file is a CSV.
    attributes : sequence of str
    key : IdKey, optional
        The rules judge ids as they were delivered, the result has their pseudonyms; default: the ids.

    Returns
    -------
    pyarrow.Table
        Numbers as DOUBLE; :data:`RULE`, the place of the broken rule or null, and :data:`JSON`.
    """
    pseudonyms = {name: f"delivered_{name}" for name in id_columns(source)} if key else {}
    if key:
        for name, column in pseudonyms.items():
            table = table.append_column(column, key.pseudonyms(KINDS[name], table[name]))
    sql = _judging_sql(source, rules, attributes, is_text, pseudonyms)
    return run_sql(sql, {"delivered": table, "lines": lines})


def judge(
    source: Source,
    delivered: DeliveredFile,
    attributes: Mapping[str, pa.ChunkedArray],
    lines: pa.Table,
    loaded_at: datetime | None,
    *,
    key: IdKey | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Part the rows of one file into those that keep every rule and those that break one.

    Parameters
    ----------
    source : Source
    delivered : DeliveredFile
    attributes : mapping of str to pyarrow.ChunkedArray
        Its attributes, typed.
    lines : pyarrow.Table
        Columns of :data:`LINES`.
    loaded_at : datetime or None
        What is known later is held back; None: nothing is.
    key : IdKey, optional
        Of the pseudonyms that take the place of the ids once these are judged; default: the ids stay.

    Returns
    -------
    clean : pyarrow.Table
        ``delivered_row``, the declared columns in their types, the attributes.
    broken : pyarrow.Table
        Columns of :data:`BROKEN`.

    Raises
    ------
    InputError
        No value of a column is of its type, or its cents look like another unit.
    """
    table = delivered.table.select([ROW, *source.column_names()])
    for name, values in attributes.items():
        table = table.append_column(name, values)
    late = [known_after(loaded_at)] if loaded_at else []
    own = [rule for rule in source_rules(source) if rule is not UNKNOWN_ACCOUNT]
    linked = [UNKNOWN_ACCOUNT] if source is not ACCOUNTS else []  # an account may wait for its time, too
    rules = own + late + (_pseudonym_rules(source) if key else []) + linked + _attribute_rules(attributes)
    ruled = ruled_rows(source, rules, table, lines, is_text=delivered.is_text, attributes=list(attributes), key=key)
    for column in source.columns:
        if column.dtype in _NOT_CAST and table[column.name].null_count < len(ruled) == ruled[column.name].null_count:
            raise InputError(
                f"{delivered.name}: column '{column.name}' holds no {column.dtype} at all; write it as {column.dtype}."
            )
    expect_cents(delivered, source, ruled)
    sound = pc.is_null(ruled[RULE])
    declared = [field for field in stored_schema(source.name) if field.name in table.column_names]
    schema = pa.schema([(ROW, pa.int64()), *declared, *((name, values.type) for name, values in attributes.items())])
    return ruled.filter(sound).select(schema.names).cast(schema), broken_rows(ruled.filter(pc.invert(sound)), rules)


def _attribute_rules(attributes: Mapping[str, pa.ChunkedArray]) -> list[Rule]:
    numbers = [name for name, values in attributes.items() if values.type == pa.float64()]
    return [Rule(name, "not a finite number", f"NOT isfinite({quoted(name)})") for name in numbers]


def _pseudonym_rules(source: Source) -> list[Rule]:
    """A pseudonym is not hashed again: it comes from an export, and what it stood for may have been no sound id."""
    return [
        Rule(name, "a pseudonym in the place of the id", f"regexp_full_match({quoted(name)}, '{SHAPE}')")
        for name in id_columns(source)
    ]


def broken_rows(ruled: pa.Table, rules: Sequence[Rule]) -> pa.Table:
    """Rows for the quarantine, from rows that carry :data:`RULE`, the place of the broken one, and :data:`JSON`.

    Returns
    -------
    pyarrow.Table
        Columns of :data:`BROKEN`.
    """
    return pa.table(
        {
            "row": ruled[ROW],
            "column": pa.array([rule.column for rule in rules]).take(ruled[RULE]),
            "rule": pa.array([rule.text for rule in rules]).take(ruled[RULE]),
            "account_id": ruled["account_id"],
            "event_id": ruled["event_id"] if "event_id" in ruled.column_names else pa.nulls(len(ruled), pa.string()),
            "known_time": ruled["known_time"],
            "row_json": ruled[JSON],
        },
        schema=BROKEN,
    )
