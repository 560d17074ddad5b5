"""Faults of the feed, as operators on any event table: what arrives instead of the truth, and when it is repaired.

A fault touches rows of one source: a share of its accounts or of its rows, in one batch or always. Which ones is an
md5 of their id, so the answer does not depend on files, order or chunks. A repair is what the contract calls a
correction: a row with the same ``event_id`` and a later ``known_time``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import FEEDS, MAX_CENTS, SOURCES, Dtype
from limitlens.data.engine import prepared
from limitlens.data.errors import ConfigError
from limitlens.data.events import ARROW_TYPES, UTC_TIME
from limitlens.data.fault_operators import FAULTS, FRESH_ID, OPERATORS, SENTINELS
from limitlens.data.quoting import quoted

#: What the truth says about a touched row: whose it is, its ``known_time`` without the fault, and when the truth is
#: known after all (null: never, or nothing was wrong with the row).
TOUCHED = pa.schema(
    [
        ("source", pa.string()),
        ("fault", pa.string()),
        ("account_id", pa.string()),
        ("event_id", pa.string()),
        ("known_time", UTC_TIME),
        ("repaired_at", UTC_TIME),
    ]
)

#: Rows are found by these, so no fault empties or renames them.
_IDENTITY = ("event_id", "account_id", "known_time")

_HOUR_DAYS, _DAY_US = 1 / 24, 86_400_000_000


@dataclass(frozen=True)
class Fault:
    """One fault of one source: which operator, whom it hits, when, and what becomes of it.

    Parameters
    ----------
    name : str
        Operator, one of :data:`FAULTS`.
    source : str
        ``consumption``, ``payment`` or ``device``; rows of ``accounts`` have no event id to repair them by.
    share : float
        Share of the accounts, or of the events, that are hit.
    by : "account" or "row"
        What the share counts. All versions of an event share its fate.
    kinds : tuple of str
        Only rows of these kinds; empty: all.
    only : tuple of (column, value)
        Only rows in which every named column has its value: one partner, one city.
    start, end : datetime, optional
        The batch: rows known in ``[start, end)``.
    column : str, optional
        Column that ``nulls``, ``sentinel`` and ``category_recoded`` hit, where the usual one is not meant.
    recall : float
        Share of the touched events that are repaired.
    repair_days : float
        Days from the end of the batch (without one: from the row's own known time) to the repair; at least one hour.
    seed : int

    Raises
    ------
    ConfigError
        A word that is not known, a number or a time out of bounds.
    """

    name: str
    source: str
    share: float = 1.0
    by: Literal["account", "row"] = "account"
    kinds: tuple[str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    column: str | None = None
    recall: float = 1.0
    repair_days: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        _expect_known("fault", self.name, FAULTS)
        _expect_known("source", self.source, FEEDS)
        _expect_known("by", self.by, ("account", "row"))
        known = next(column.one_of for column in SOURCES[self.source].columns if column.name == "kind")
        for kind in self.kinds if known else ():
            _expect_known(f"kind of {self.source}", kind, known)
        for name, share in (("share", self.share), ("recall", self.recall)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}, expected 0 to 1; 0.1 is a tenth.")
        if not _HOUR_DAYS <= self.repair_days <= 36_500:
            raise ConfigError(f"repair_days is {self.repair_days}, expected an hour (0.042) to 36,500; give days.")
        for name, time in (("start", self.start), ("end", self.end)):
            if time and time.tzinfo is None:
                raise ConfigError(f"{name} is {time} without a zone, expected one; add tzinfo=UTC.")
        if self.start and self.end and self.end <= self.start:
            raise ConfigError(f"the batch ends {self.end}, expected after {self.start}, when it starts; swap them.")
        if self.column and not OPERATORS[self.name].column:
            raise ConfigError(f"{self.name} got column {self.column!r}, expected none; it has no choice of columns.")
        if self.column in _IDENTITY:
            raise ConfigError(f"{self.name} got column {self.column!r}, by which rows are found; choose another.")

    @property
    def hits_column(self) -> str | None:
        """The column an operator with a choice hits."""
        return self.column or OPERATORS[self.name].column.get(self.source)


@dataclass(frozen=True)
class Corrupted:
    """Rows as they arrive, repairs among them, and which rows were touched (schema :data:`TOUCHED`)."""

    table: pa.Table
    touched: pa.Table


def apply_fault(fault: Fault, table: pa.Table) -> Corrupted:
    """Let one fault strike the rows of its source.

    Parameters
    ----------
    fault : Fault
    table : pyarrow.Table
        Event rows in the columns and types of the contract; any accounts, all versions of an event together. A row
        without ids or ``known_time``, and one in which the fault would change nothing, is left as it is.

    Returns
    -------
    Corrupted
        ``table`` has the columns and types it had (and ``retracted``, where a copy is withdrawn), ordered by account,
        event time, event id, known time and the rest.

    Raises
    ------
    ConfigError
        The table lacks a column the fault needs, or has it in a type for which the fault has no value.

    Examples
    --------
    >>> row = {"event_id": ["e1"], "account_id": ["a"], "kind": ["draw"], "amount_cents": [500]}
    >>> times = {name: pa.array([0]).cast(UTC_TIME) for name in ("event_time", "known_time")}
    >>> apply_fault(Fault("unit_x100", "consumption"), pa.table(row | times)).table["amount_cents"].to_pylist()
    [50000, 500]
    """
    operator = OPERATORS[fault.name]
    if operator.repair == "retract" and "retracted" not in table.column_names:
        table = table.append_column("retracted", pa.nulls(len(table), pa.bool_()))
    _expect_columns(fault, table)
    if not _can_strike(fault, table):
        return Corrupted(_ordered(table), TOUCHED.empty_table())
    numbered = table.append_column("place", pa.array(np.arange(len(table))))
    with prepared({"events": numbered}) as run:
        versions = run(_versions(fault, table.schema), {})
        if not len(versions):
            return Corrupted(_ordered(table), TOUCHED.empty_table())
        arrived = run(" UNION ALL ".join(_arriving(fault, table.schema)), {"versions": versions})
        touched = run(_truth(fault), {"versions": versions.filter(pc.field("hit"))})
    spared = np.ones(len(table), bool)
    spared[versions["place"].to_numpy()] = False
    delivered = pa.concat_tables([table.filter(pa.array(spared)), arrived.cast(table.schema)])
    return Corrupted(_ordered(delivered), touched.cast(TOUCHED))


def _ordered(table: pa.Table) -> pa.Table:
    first = ["account_id", "event_time", "event_id", "known_time"]
    order = [*first, *(name for name in table.column_names if name not in first)]
    return table.sort_by([(name, "ascending") for name in order])


def _can_strike(fault: Fault, table: pa.Table) -> bool:
    """Whether a fault has a share and its batch can hold any row; no query is made otherwise."""
    if not fault.share:
        return False
    known = pc.min_max(table["known_time"])
    if not known["min"].is_valid:
        return False
    starts = fault.start is None or known["max"].as_py() >= fault.start
    return bool(starts and (fault.end is None or known["min"].as_py() < fault.end))


def apply_faults(faults: Sequence[Fault], source: str, table: pa.Table) -> Corrupted:
    """Let every fault of one source strike its rows, one after the other.

    Parameters
    ----------
    faults : sequence of Fault
        Those of other sources are passed over.
    source : str
    table : pyarrow.Table
        As for :func:`apply_fault`.

    Returns
    -------
    Corrupted
        ``touched`` is ordered by account, event id, known time and fault.
    """
    touched = TOUCHED.empty_table()
    for fault in faults:
        if fault.source == source:
            corrupted = apply_fault(fault, table)
            table, touched = corrupted.table, pa.concat_tables([touched, corrupted.touched])
    order = ("account_id", "event_id", "known_time", "fault", "repaired_at")
    return Corrupted(table, touched.sort_by([(name, "ascending") for name in order]))


def _expect_known(what: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        likely = get_close_matches(got, known, 1)
        mend = f"did you mean {likely[0]!r}?" if likely else "choose one of them."
        raise ConfigError(f"unknown {what} {got!r}, expected {', '.join(known)}; {mend}")


def _expect_columns(fault: Fault, table: pa.Table) -> None:
    operator, hit = OPERATORS[fault.name], fault.hits_column or ""
    changed = [*(operator.arrives or {}), *(operator.again or {}), *(name for name, _ in fault.only)]
    for name in ["event_time", *_IDENTITY, *(["kind"] if fault.kinds else []), *changed]:
        column, names = name.replace("{column}", hit), table.column_names
        if column not in names:
            likely = get_close_matches(column, names, 1)
            mend = f"did you mean {likely[0]!r}?" if likely else "choose another source or column."
            raise ConfigError(f"{fault.name} needs column {column!r}, {fault.source} has {', '.join(names)}; {mend}")
    meant: Mapping[str, tuple[Dtype, ...]] = {"sentinel": (*SENTINELS,), "category_recoded": ("string",)}
    types = tuple(dict.fromkeys(ARROW_TYPES[dtype] for dtype in meant.get(fault.name, ())))
    if types and (got := table.schema.field(hit).type) not in types:
        raise ConfigError(f"{fault.name} got {hit!r} of {got}, expected {' or '.join(map(str, types))}; name another.")


def _versions(fault: Fault, schema: pa.Schema) -> str:
    """SQL of all versions of the touched events, with what decides their fate.

    ``hit``; ``recalled``; ``repair_time`` of the event; ``next_time`` of the next version; ``corrected_time`` of the
    next one that is not hit, and ``rank`` among those hit before it, counted from the last.
    """
    whole, later = (
        f"OVER (PARTITION BY account_id, event_id {order})"
        for order in ("", "ORDER BY known_time GROUPS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING")
    )
    chosen = _chance(fault, "hit", "account_id" if fault.by == "account" else "event_id")
    repaired = f"{_moment(fault.end) if fault.end else 'known_time'} + {_wait(fault)}"
    return f"""
    WITH marked AS (
        SELECT *, ({" AND ".join(_scope(fault, schema))} AND {chosen} < {fault.share}) IS TRUE AS hit FROM events
    ),
    timed AS (
        SELECT *, MAX({repaired}) FILTER (hit) {whole} AS repair_time, MIN(known_time) {later} AS next_time,
            MIN(known_time) FILTER (NOT hit) {later} AS corrected_time
        FROM marked SEMI JOIN (SELECT account_id, event_id FROM marked WHERE hit) USING (account_id, event_id)
    )
    SELECT *, {_chance(fault, "recall", "event_id")} < {fault.recall} AS recalled, DENSE_RANK() OVER (
            PARTITION BY account_id, event_id, corrected_time ORDER BY known_time DESC
        ) AS rank
    FROM timed
    """


def _scope(fault: Fault, schema: pa.Schema) -> Iterator[str]:
    """Conditions on a row that the fault can strike."""
    yield from (f"{name} IS NOT NULL" for name in _IDENTITY)
    yield from (f"CAST({quoted(name)} AS VARCHAR) = {_text(value)}" for name, value in fault.only)
    if fault.kinds:
        yield f"kind IN ({', '.join(map(_text, fault.kinds))})"
    if fault.start:
        yield f"known_time >= {_moment(fault.start)}"
    if fault.end:
        yield f"known_time < {_moment(fault.end)}"
    operator = OPERATORS[fault.name]
    for column, value in _changed(fault, schema, operator.arrives or {}).items() if operator.repair else ():
        # What the contract refuses anyhow is left alone, or a hundredfold of it might not fit.
        yield f"{value} IS DISTINCT FROM {quoted(column)}"
        if column == "amount_cents":
            yield f"amount_cents BETWEEN -{MAX_CENTS} AND {MAX_CENTS}"


def _arriving(fault: Fault, schema: pa.Schema) -> Iterator[str]:
    """SELECTs of what arrives of the touched events: spared versions, rows with the fault, second rows, repairs."""
    operator = OPERATORS[fault.name]
    yield f"SELECT {_columns(schema, {})} FROM versions WHERE NOT hit"
    for wrong in (operator.arrives, operator.again):
        if wrong is not None:
            yield f"SELECT {_columns(schema, _changed(fault, schema, wrong))} FROM versions WHERE hit"
    if operator.repair:
        withdrawn = {"event_id": FRESH_ID, "retracted": "TRUE"} if operator.repair == "retract" else {}
        right = _columns(schema, _changed(fault, schema, withdrawn | {"known_time": "repair_time"}))
        # The truth at the repair is the latest version known by then. One known just then is the repair itself.
        rows = "hit" if operator.repair == "retract" else "known_time <= repair_time"
        ties = ", ".join(quoted(name) for name in schema.names)
        latest = f"ROW_NUMBER() OVER (PARTITION BY account_id, event_id ORDER BY known_time DESC, {ties}) = 1"
        yield f"""(SELECT {right} FROM (SELECT * FROM versions WHERE recalled AND {rows} QUALIFY {latest})
            WHERE known_time < repair_time)"""


def _truth(fault: Fault) -> str:
    operator = OPERATORS[fault.name]
    late = _changed(fault, TOUCHED, operator.arrives or {}).get("known_time", "NULL")
    repaired = "CASE WHEN recalled THEN repair_time END" if operator.repair else late
    return f"""
    SELECT {_text(fault.source)} AS source, {_text(fault.name)} AS fault, account_id, event_id, known_time,
        {repaired} AS repaired_at
    FROM versions ORDER BY account_id, event_id, known_time, place
    """


def _sentinel(stored: pa.DataType) -> str:
    return next((text for dtype, text in SENTINELS.items() if ARROW_TYPES[dtype] == stored), "")


def _changed(fault: Fault, schema: pa.Schema, sql: Mapping[str, str]) -> dict[str, str]:
    """The SQL of an operator, filled in from the fault."""
    hit = fault.hits_column or ""
    words = {
        "luck": _chance(fault, "luck", "event_id"),
        "wait": _wait(fault),
        "wait_us": str(round(fault.repair_days * _DAY_US)),
        "seed": str(fault.seed),
        "sentinel": _sentinel(schema.field(hit).type) if hit in schema.names else "",
    }
    return {name.format(column=hit): value.format(column=quoted(hit), **words) for name, value in sql.items()}


def _columns(schema: pa.Schema, changed: Mapping[str, str]) -> str:
    return ", ".join(f"{changed.get(name, quoted(name))} AS {quoted(name)}" for name in schema.names)


def _chance(fault: Fault, what: str, key: str) -> str:
    """SQL of a number in [0, 1) that belongs to a key, a fault and a purpose."""
    return f"MD5_NUMBER_LOWER({key} || ':{fault.name}:{fault.seed}:{what}') / 18446744073709551616.0"


def _wait(fault: Fault) -> str:
    return f"TO_MICROSECONDS({round(fault.repair_days * _DAY_US)})"


def _moment(time: datetime) -> str:
    return f"CAST('{time.isoformat()}' AS TIMESTAMPTZ)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
