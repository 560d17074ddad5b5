"""Versions of one row: repeats are recognised, conflicts are held back, what comes too late is stamped.

The sound rows of a source wait in the table ``clean`` of a DuckDB connection, which spills to disk where memory is
short; beside it is ``stored``, the rows accepted before. What is accepted leaves it piece by piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from limitlens.data.contracts import Source
from limitlens.data.delivery import ROW
from limitlens.data.engine import RunSql
from limitlens.data.quoting import quoted
from limitlens.data.rules import JSON, RULE, Rule, broken_rows

#: Position of a row's file among the files of its source.
FILE = "delivered_file"

#: Nobody could know a row before this time, whatever it says; null: any time.
FLOOR = "delivered_floor"

CONFLICT = "conflicting versions"

#: Rows of a piece of accepted rows.
PIECE_ROWS = 1 << 20


def placed_in(rows: pa.Table, file: int, floor: datetime | None) -> pa.Table:
    """Sound rows with the position of their file, and the time before which nobody could know them."""
    floors = pa.repeat(pa.scalar(floor, pa.timestamp("us", tz="UTC")), len(rows))
    return rows.append_column(FILE, pa.repeat(file, len(rows))).append_column(FLOOR, floors)


def add_clean(run: RunSql, rows: pa.Table) -> None:
    """Put the sound rows of the next file into ``clean``.

    Parameters
    ----------
    run : callable
        As :func:`limitlens.data.engine.prepared` yields it.
    rows : pyarrow.Table
        ``delivered_file``, ``delivered_row``, ``delivered_floor``, the declared columns and the attributes. An
        attribute that one file lacks is null there.
    """
    run("CREATE TEMP TABLE IF NOT EXISTS clean AS SELECT * FROM fresh LIMIT 0", {"fresh": rows})
    if set(rows.column_names) <= {*_clean_columns(run), FLOOR}:
        run("INSERT INTO clean BY NAME SELECT * FROM fresh", {"fresh": rows})
    else:
        widened = "SELECT * FROM clean UNION ALL BY NAME SELECT * FROM fresh"
        run(f"CREATE OR REPLACE TEMP TABLE clean AS {widened}", {"fresh": rows})


@dataclass(frozen=True)
class Resolved:
    """What became of the sound rows of a source.

    Parameters
    ----------
    accepted, deduplicated, stamped : int
        Rows; what is stamped is among the accepted.
    conflicts : pyarrow.Table
        ``delivered_file`` and the columns of a broken row.
    columns : tuple of str
        Those of ``clean``.
    run : callable
        Where the accepted rows are.
    events : bool
        They carry ``event_no`` and ``correction``.
    """

    accepted: int
    deduplicated: int
    stamped: int
    conflicts: pa.Table
    columns: tuple[str, ...]
    run: RunSql
    events: bool

    def pieces(self) -> Iterator[pa.Table]:
        """Accepted rows in order of account and time, so that a reader of some accounts skips the others.

        Yields
        ------
        pyarrow.Table of at most :data:`PIECE_ROWS` rows
            The columns of ``clean`` without file, row and floor, ``known_time`` stamped; ``delivered_known_time`` and,
            for events, ``event_no`` and ``correction``.
        """
        number, joined = (_NUMBER, f"LEFT JOIN numbers USING ({_POSITION})") if self.events else ("", "")
        for start in range(0, self.accepted, PIECE_ROWS):
            rows = (
                f"SELECT *, rowid AS {_POSITION} FROM placed WHERE rowid BETWEEN {start} AND {start + PIECE_ROWS - 1}"
            )
            sql = f"SELECT rows.* EXCLUDE ({_POSITION}){number} FROM ({rows}) AS rows {joined} ORDER BY {_POSITION}"
            yield self.run(sql, {})

    def accepted_where(self, condition: str) -> int:
        """Number of the accepted rows for which an SQL condition holds."""
        return _count(self.run, f"placed WHERE {condition}")

    def known_until(self) -> datetime | None:
        """Latest known time of an accepted row, as delivered; None: there is no row."""
        row = self.run("SELECT MAX(delivered_known_time) AS t FROM placed", {}, few=True)
        latest: datetime | None = row["t"][0].as_py()
        return latest

    def accounts(self) -> pa.Table:
        """Ids of the accounts in the store or among the accepted rows: one column, ``account_id``."""
        return self.run("SELECT account_id FROM stored UNION SELECT account_id FROM placed", {})


#: Place among the accepted rows, from 0.
_POSITION = "delivered_position"

#: A number by position after those of the store, or that of the event this is another version of.
_FIRST = "(SELECT first_no FROM beginning)"
_NUMBER = f""",
    COALESCE(numbers.event_no, {_FIRST} + {_POSITION}) AS event_no,
    COALESCE(numbers.event_no <> {_FIRST} + {_POSITION}, FALSE) AS correction"""


#: SQL of the places, among the accepted rows, of later versions of an event.
CHANGED = f"SELECT {_POSITION} AS place FROM numbers WHERE event_no <> {_FIRST} + {_POSITION}"


def resolve(
    run: RunSql, source: Source, stored_columns: Sequence[str], *, withdrawn: bool = False, restating: bool = False
) -> Resolved:
    """Compare the sound rows of a source with one another and with those accepted before.

    A row that says it was known before its floor is stamped with that, so that no state on which a decision rests ever
    changes.

    Parameters
    ----------
    run : callable
        Knows ``clean`` and ``stored``, the rows accepted before, attributes included.
    source : Source
    stored_columns : sequence of str
        Attributes they have. One that either side leaves null is no conflict.
    withdrawn : bool
        Rows were withdrawn, each by a further one with its key. What is delivered again is accepted, and is known
        after the withdrawal.
    restating : bool
        The rows are a withdrawal, and are compared with nothing.

    Returns
    -------
    Resolved
    """
    columns, events = _clean_columns(run), "event_id" in source.key
    run(f"CREATE TEMP TABLE several AS {_several(source)}", {})
    run(f"CREATE TEMP TABLE withdrawn AS {_withdrawn(source, withdrawn and not restating)}", {})
    others = "LIMIT 0" if restating else ""
    run(f"CREATE TEMP TABLE others AS {_others(source, columns, stored_columns, withdrawn=withdrawn)} {others}", {})
    conflicts = run(_conflicting(source, columns), {}, few=True)
    run(f"CREATE TEMP TABLE placed AS {_placed(source)}", {})
    run("DROP TABLE clean", {})
    if events:
        run("CREATE TEMP TABLE beginning AS SELECT COALESCE(MAX(event_no), 0) + 1 AS first_no FROM stored", {})
        run(f"CREATE TEMP TABLE numbers AS {_NUMBERS}", {})
    held = broken_rows(conflicts, [Rule(source.key[0], CONFLICT, "")])
    return Resolved(
        accepted=_count(run, "placed"),
        deduplicated=_count(run, "others WHERE verdict = 'deduplicated'"),
        stamped=_count(run, "placed WHERE known_time <> delivered_known_time"),
        conflicts=held.append_column(FILE, conflicts[FILE]),
        columns=columns,
        run=run,
        events=events,
    )


def _clean_columns(run: RunSql) -> tuple[str, ...]:
    return tuple(name for name in run("SELECT * FROM clean LIMIT 0", {}, few=True).column_names if name != FLOOR)


def _count(run: RunSql, what: str) -> int:
    count: int = run(f"SELECT COUNT(*) AS n FROM {what}", {}, few=True)["n"][0].as_py()
    return count


def _several(source: Source) -> str:
    """Ids of which there is more than one row; all others are simply accepted."""
    identity = quoted(source.key[0])
    return f"""SELECT {identity} FROM clean GROUP BY ALL HAVING COUNT(*) > 1
        UNION SELECT {identity} FROM stored SEMI JOIN clean USING ({identity})"""


def _withdrawn(source: Source, some: bool) -> str:
    """Keys whose rows were withdrawn, and the moment that was known: each is stored an even number of times."""
    keys = ", ".join(f"stored.{_stored_name(column)} AS {quoted(column)}" for column in source.key)
    return f"""SELECT {keys}, MAX(stored.known_time) AS withdrawn_at
        FROM stored SEMI JOIN several USING ({quoted(source.key[0])}) WHERE {some}
        GROUP BY {_stored_key(source)} HAVING COUNT(*) % 2 = 0"""


def _others(source: Source, columns: Sequence[str], stored_columns: Sequence[str], *, withdrawn: bool) -> str:
    """Rows that are not accepted, by file and row, and why; of a key that is stored more than once the last counts."""
    identity, keys = quoted(source.key[0]), ", ".join(map(quoted, source.key))
    contents = [column for column in columns if column not in (*source.key, FILE, ROW)]
    place = f"struct_pack(f := {FILE}, r := {ROW})"
    same = " AND ".join(_same(column, source, stored_columns) for column in contents) or "TRUE"
    standing = f"""
        ANTI JOIN withdrawn ON {" AND ".join(f"withdrawn.{quoted(c)} = stored.{_stored_name(c)}" for c in source.key)}
        QUALIFY ROW_NUMBER() OVER (PARTITION BY {_stored_key(source)} ORDER BY stored.known_time DESC) = 1"""
    return f"""
    WITH judged AS MATERIALIZED (SELECT * FROM clean SEMI JOIN several USING ({identity})),
    known AS MATERIALIZED (SELECT * FROM stored SEMI JOIN several USING ({identity}){standing if withdrawn else ""}),
    repeated AS (
        SELECT {keys}, MIN({place}) AS first_place, MIN(content) <> MAX(content) AS conflicting
        FROM (SELECT {keys}, {FILE}, {ROW}, hash({", ".join(map(quoted, contents))}) AS content FROM judged)
        GROUP BY {keys}
    ),
    moved AS (  -- one version gives the event to one account, another to another
        SELECT {identity} AS id
        FROM (SELECT {identity}, account_id FROM judged UNION ALL SELECT {identity}, account_id FROM known)
        GROUP BY {identity} HAVING MIN(account_id) <> MAX(account_id)
    ),
    verdicts AS (
        SELECT judged.{FILE}, judged.{ROW}, CASE
                WHEN known.known_time IS NOT NULL AND {same} THEN 'deduplicated'
                WHEN known.known_time IS NOT NULL OR repeated.conflicting OR moved.id IS NOT NULL THEN 'conflict'
                WHEN repeated.first_place < {place} THEN 'deduplicated'
                ELSE 'accepted'
            END AS verdict
        FROM judged
        LEFT JOIN known ON {" AND ".join(_same_key(column) for column in source.key)}
        LEFT JOIN repeated ON {" AND ".join(f"repeated.{quoted(c)} = judged.{quoted(c)}" for c in source.key)}
        LEFT JOIN moved ON moved.id = judged.{identity}
    )
    SELECT * FROM verdicts WHERE verdict <> 'accepted'
    """


def _same_key(column: str) -> str:
    return f"known.{_stored_name(column)} = judged.{quoted(column)}"


def _stored_key(source: Source) -> str:
    return ", ".join(f"stored.{_stored_name(column)}" for column in source.key)


def _stored_name(column: str) -> str:
    return quoted("delivered_known_time" if column == "known_time" else column)


def _same(column: str, source: Source, stored_columns: Sequence[str]) -> str:
    name = quoted(column)
    if column in source.column_names():
        return f"known.{name} IS NOT DISTINCT FROM judged.{name}"
    return f"(known.{name} = judged.{name}) IS NOT FALSE" if column in stored_columns else "TRUE"


def _conflicting(source: Source, columns: Sequence[str]) -> str:
    """Rows in conflict as the quarantine wants them: the number of their rule, and their own JSON."""
    packed = ", ".join(f"{quoted(column)} := {quoted(column)}" for column in columns if column not in (FILE, ROW))
    return f"""
    SELECT *, 0 AS {RULE}, CAST(to_json(struct_pack({packed})) AS VARCHAR) AS {JSON}
    FROM clean SEMI JOIN (SELECT * FROM others WHERE verdict = 'conflict') USING ({FILE}, {ROW})
    ORDER BY {", ".join(map(quoted, source.key))}, {FILE}, {ROW}
    """


def _placed(source: Source) -> str:
    """Accepted rows in the order in which they are stored, stamped."""
    order = ["account_id", *(("event_time",) if "event_id" in source.key else ()), *source.key, "delivered_known_time"]
    return f"""
    SELECT * EXCLUDE ({FILE}, {ROW}, {FLOOR}, withdrawn_at) REPLACE (
            GREATEST(known_time, {FLOOR}, withdrawn_at + INTERVAL 1 MICROSECOND) AS known_time
        ), known_time AS delivered_known_time
    FROM (SELECT * FROM clean ANTI JOIN others USING ({FILE}, {ROW}))
        LEFT JOIN withdrawn USING ({", ".join(map(quoted, source.key))})
    ORDER BY {", ".join(dict.fromkeys(order))}
    """


#: Numbers of the events with several versions: that in the store, or else that of the first of them.
_NUMBERS = f"""
WITH versions AS (
    SELECT rowid AS {_POSITION}, event_id FROM placed WHERE event_id IN (SELECT event_id FROM several)
),
earlier AS (SELECT event_id, MIN(event_no) AS event_no FROM stored SEMI JOIN versions USING (event_id) GROUP BY ALL)
SELECT {_POSITION},
    COALESCE(earlier.event_no, {_FIRST} + MIN({_POSITION}) OVER (PARTITION BY event_id)) AS event_no
FROM versions LEFT JOIN earlier USING (event_id)
"""
