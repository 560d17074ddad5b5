"""Versions of one row: repeats are recognised, conflicts are held back, what comes too late is stamped."""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import Source
from limitlens.data.delivery import ROW
from limitlens.data.engine import run_sql
from limitlens.data.events import quoted
from limitlens.data.rules import Rule, broken_rows

#: Position of a row's file among the files of its source.
FILE = "delivered_file"

CONFLICT = "conflicting versions"


def settle(
    source: Source, clean: pa.Table, stored: str, stored_columns: Sequence[str], decided_until: datetime | None
) -> tuple[pa.Table, pa.Table]:
    """Compare the sound rows of a source with one another and with those accepted before.

    Parameters
    ----------
    source : Source
    clean : pyarrow.Table
        ``delivered_file``, ``delivered_row``, the declared columns and the attributes.
    stored : str
        SQL of the rows accepted before, attributes included.
    stored_columns : sequence of str
        Attributes it has. One that either side leaves null is no conflict.
    decided_until : datetime or None
        Latest moment decided so far: what becomes known before it is stamped with it, so that no state on which
        a decision rests ever changes.

    Returns
    -------
    accepted : pyarrow.Table
        Ordered by account and time, with ``known_time`` (stamped), ``delivered_known_time`` and, for events,
        ``event_no`` and ``correction``; without file and row.
    conflicts : pyarrow.Table
        ``delivered_file`` and the columns of a broken row.
    """
    settled = run_sql(_settling_sql(source, clean.column_names, stored_columns), {"clean": clean, "stored": stored})
    accepted = settled.filter(pc.equal(settled["verdict"], "accepted"))
    accepted = accepted.select([column for column in clean.column_names if column not in (FILE, ROW)])
    conflicts = settled.filter(pc.equal(settled["verdict"], "conflict"))
    held = broken_rows(conflicts, [Rule(source.key[0], CONFLICT, "verdict = 'conflict'")])
    stamped = _stamped(accepted, decided_until)
    return run_sql(_ordered(source), {"accepted": stamped, "stored": stored}), held.append_column(FILE, conflicts[FILE])


def _ordered(source: Source) -> str:
    """Rows by account and time, so that a reader of some accounts skips the others; events get their number."""
    if "event_id" not in source.key:
        return f"SELECT * FROM accepted ORDER BY account_id, {', '.join(map(quoted, source.key))}"
    return """
    WITH placed AS (
        SELECT *, ROW_NUMBER() OVER (ORDER BY account_id, event_time, event_id, known_time)
            + (SELECT COALESCE(MAX(event_no), 0) FROM stored) AS place
        FROM accepted
    ),
    repeated AS (SELECT event_id, MIN(place) AS event_no FROM placed GROUP BY event_id HAVING COUNT(*) > 1),
    earlier AS (SELECT event_id, MIN(event_no) AS event_no FROM stored SEMI JOIN accepted USING (event_id) GROUP BY ALL)
    SELECT placed.* EXCLUDE (place), COALESCE(earlier.event_no, repeated.event_no, place) AS event_no,
        COALESCE(earlier.event_no, repeated.event_no, place) <> place AS correction
    FROM placed LEFT JOIN repeated USING (event_id) LEFT JOIN earlier USING (event_id) ORDER BY place
    """


def _settling_sql(source: Source, columns: Sequence[str], stored_columns: Sequence[str]) -> str:
    keys = ", ".join(map(quoted, source.key))
    contents = [column for column in columns if column not in (*source.key, FILE, ROW)]
    place = f"struct_pack(f := {FILE}, r := {ROW})"
    packed = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in (*source.key, *contents))
    same = " AND ".join(_same(column, source, stored_columns) for column in contents) or "TRUE"
    return f"""
    WITH repeated_keys AS (SELECT {keys} FROM clean GROUP BY {keys} HAVING COUNT(*) > 1),
    repeated AS (
        SELECT {keys}, MIN({place}) AS first_place, MIN(content) <> MAX(content) AS conflicting
        FROM (
            SELECT *, hash({", ".join(map(quoted, contents))}) AS content
            FROM clean SEMI JOIN repeated_keys USING ({keys})
        )
        GROUP BY {keys}
    ),
    moved AS ({_moved(source)}),
    verdicts AS (
        SELECT clean.*, CASE
                WHEN stored.known_time IS NOT NULL AND {same} THEN 'deduplicated'
                WHEN stored.known_time IS NOT NULL OR repeated.conflicting OR moved.id IS NOT NULL THEN 'conflict'
                WHEN repeated.first_place < {place} THEN 'deduplicated'
                ELSE 'accepted'
            END AS verdict
        FROM clean
        LEFT JOIN stored ON {" AND ".join(_same_key(column) for column in source.key)}
        LEFT JOIN repeated ON {" AND ".join(f"repeated.{quoted(c)} = clean.{quoted(c)}" for c in source.key)}
        LEFT JOIN moved ON moved.id = clean.{quoted(source.key[0])}
    )
    SELECT *, CASE WHEN verdict = 'conflict' THEN 0 END AS rule,
        CASE WHEN verdict = 'conflict' THEN CAST(to_json(struct_pack({packed})) AS VARCHAR) END AS row_json
    FROM verdicts ORDER BY {keys}, {FILE}, {ROW}
    """


def _moved(source: Source) -> str:
    """Ids of events that one version gives to one account and another version to another."""
    identity = quoted(source.key[0])
    return f"""SELECT {identity} AS id FROM (
            SELECT {identity}, account_id FROM clean
            UNION ALL SELECT {identity}, account_id FROM stored SEMI JOIN clean USING ({identity})
        ) GROUP BY {identity} HAVING MIN(account_id) <> MAX(account_id)"""


def _same_key(column: str) -> str:
    stored = "delivered_known_time" if column == "known_time" else column
    return f"stored.{quoted(stored)} = clean.{quoted(column)}"


def _same(column: str, source: Source, stored_columns: Sequence[str]) -> str:
    name = quoted(column)
    if column in source.column_names():
        return f"stored.{name} IS NOT DISTINCT FROM clean.{name}"
    return f"(stored.{name} = clean.{name}) IS NOT FALSE" if column in stored_columns else "TRUE"


def _stamped(accepted: pa.Table, decided_until: datetime | None) -> pa.Table:
    delivered = accepted["known_time"]
    table = accepted.append_column("delivered_known_time", delivered)
    if decided_until is None:
        return table
    latest = pa.scalar(decided_until, delivered.type)
    known = pc.if_else(pc.less(delivered, latest), latest, delivered)
    return table.set_column(table.schema.get_field_index("known_time"), "known_time", known)
