"""Profiles of one load: what each slice of a source looked like on each day, in whole numbers that add up.

Every figure but ``accounts`` is additive over days and loads. Logarithms, hours and angles are summed in millionths, so
that no sum depends on the order of rows or threads.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from limitlens.data.contracts import Source
from limitlens.data.engine import Relations, RunSql
from limitlens.data.profile_columns import COMMON, FRESH, FRESH_DAYS, KEYS, NONE, NULLS, PROFILE
from limitlens.data.quality_settings import Slices
from limitlens.data.quoting import quoted
from limitlens.data.rules import EARLY
from limitlens.data.versions import CHANGED


def line_slices(run: RunSql, slices: Slices) -> pa.Table:
    """The slices each line belongs to, by its latest version.

    Parameters
    ----------
    run : callable
        Knows the accounts as :func:`limitlens.data.versions.resolve` leaves them.
    slices : Slices

    Returns
    -------
    pyarrow.Table
        ``account_id`` and a text column for each slice column that was delivered.
    """
    versions = "SELECT * FROM stored UNION ALL BY NAME SELECT * FROM placed"
    columns = run(f"SELECT * FROM ({versions}) LIMIT 0", {}, few=True).column_names
    there = [name for name in slices.accounts if name in columns]
    latest = "".join(f", CAST(ARG_MAX({quoted(n)}, known_time) AS VARCHAR) AS {quoted(n)}" for n in there)
    return run(f"SELECT account_id{latest} FROM ({versions}) GROUP BY account_id", {})


@dataclass(frozen=True)
class _Scan:
    """What the queries of one source share."""

    source: Source
    columns: Sequence[str]
    own: Sequence[str]
    of_line: Sequence[str]

    def has(self, column: str) -> bool:
        return column in self.columns

    @property
    def slices(self) -> list[str]:
        return [*self.own, *self.of_line]

    def sliced(self, row: str) -> str:
        """SQL of the slices of a row, never null; each begins with a comma."""
        named = [(f"{row}.{quoted(name)}", name) for name in self.own]
        named += [(f"line_slices.{quoted(name)}", name) for name in self.of_line]
        return "".join(f", COALESCE({sql}, '{NONE}') AS {_sliced(name)}" for sql, name in named)

    def keys(self) -> str:
        """Names of the slices; each begins with a comma."""
        return "".join(f", {_sliced(name)}" for name in self.slices)

    def by_event(self) -> str:
        """SQL of 1 for a group of slices of the event, 0 for one of slices of the line."""
        return f"GROUPING({_sliced(self.of_line[0])})" if self.of_line else "1"

    def groupings(self) -> str:
        """Slices of the event, and slices of the line, apart: together they would be almost as many as the rows."""
        own, of_line = (", ".join(["kind", "day", *map(_sliced, names)]) for names in (self.own, self.of_line))
        return f"GROUPING SETS (({own}), ({of_line}))" if self.of_line else f"GROUPING SETS (({own}))"


def profile_load(run: RunSql, source: Source, slices: Slices, lines: pa.Table, held: pa.Table) -> pa.Table:
    """Profile the rows that one load brings of one source of events.

    Parameters
    ----------
    run : callable
        Knows ``placed``, ``stored`` and the numbers of events, as :func:`limitlens.data.versions.resolve` leaves them.
    source : Source
    slices : Slices
    lines : pyarrow.Table
        As :func:`line_slices` gives them.
    held : pyarrow.Table
        The rows held back, with the columns of the quarantine.

    Returns
    -------
    pyarrow.Table
        Schema :data:`PROFILE`, ordered by :data:`KEYS`. A slice has rows of its own for each kind; the source as a
        whole has empty ``slice_column`` and ``slice_value``. ``accounts``, of the whole only, is right to a few percent
        (HyperLogLog).
    """
    columns = run("SELECT * FROM placed LIMIT 0", {}, few=True).column_names
    of_line = [n for n in lines.column_names if n != "account_id" and not any(c.name == n for c in source.columns)]
    own = [name for name in slices.of(source.name) if name in columns]
    tables = {"line_slices": lines, "held": held}
    scan = _coarse(run, _Scan(source, columns, own, of_line), tables, slices.max_values)
    made = dict(_tables(scan))
    for name, sql in made.items():
        run(f"CREATE TEMP TABLE {name} AS {sql}", tables)
    profile = run(_profile(scan), {}, few=True)
    for name in made:
        run(f"DROP TABLE {name}", {})
    return profile.cast(PROFILE)


def _slice(name: str) -> str:
    return f"slice {name}"


def _sliced(name: str) -> str:
    return quoted(_slice(name))


def _coarse(run: RunSql, scan: _Scan, tables: Relations, most: int) -> _Scan:
    """Leave out the slices of too many values first: rows grouped by those would be almost as many as before."""
    counted = run(_counted(scan), tables, few=True).to_pylist()[0]
    own, of_line = ([n for n in names if counted[_slice(n)] <= most] for names in (scan.own, scan.of_line))
    return replace(scan, own=own, of_line=of_line)


def _counted(scan: _Scan) -> str:
    """Number of values of each slice, of accepted rows and of those held back."""
    of_event = [f"SELECT {quoted(name)} AS value FROM placed" for name in scan.own]
    of_line = [
        f"SELECT {quoted(name)} AS value FROM lines LEFT JOIN line_slices USING (account_id)" for name in scan.of_line
    ]
    values = zip(scan.slices, [*of_event, *of_line], strict=True)
    numbers = "".join(
        f", (SELECT COUNT(*) FROM (SELECT COALESCE(value, '{NONE}') FROM ({rows}) GROUP BY ALL"
        f" UNION SELECT {_sliced(name)} FROM held_back)) AS {_sliced(name)}"
        for name, rows in values
    )
    return f"""
    WITH held_back AS MATERIALIZED ({_held(scan)}),
    lines AS MATERIALIZED (SELECT DISTINCT account_id FROM placed)
    SELECT 0 AS nothing{numbers}
    """


def _tables(scan: _Scan) -> Iterator[tuple[str, str]]:
    """Temporary tables by name, in the order in which they need each other."""
    yield "copies", _copies(scan)
    for name in FRESH:
        if scan.has(name):
            yield f"first_{name}", _first_days(name)
    for name in COMMON:
        if scan.has(name):
            yield f"most_{name}", _commonest(name)
    if scan.has("instalment_id"):
        yield "instalments", _INSTALMENTS
    yield "fine", _fine(scan)
    yield "active", _ACTIVE


_DAY = "CAST({row}.delivered_known_time AS DATE)"


def _copies(scan: _Scan) -> str:
    """Positions of the rows whose content another event has, that came before."""
    content = [c.name for c in scan.source.columns if c.name not in ("event_id", "known_time", "retracted")]
    hashed = f"hash({', '.join(quoted(name) for name in content if scan.has(name))})"
    return f"""
    WITH mine AS (SELECT rowid AS place, {hashed} AS content FROM placed),
    bounds AS (SELECT MIN(event_time) AS first, MAX(event_time) AS last FROM placed),
    earlier AS (
        SELECT {hashed} AS content, event_id FROM stored, bounds WHERE event_time BETWEEN bounds.first AND bounds.last
    ),
    several AS (
        SELECT content FROM mine GROUP BY content HAVING COUNT(*) > 1
        UNION SELECT content FROM mine SEMI JOIN earlier USING (content)
    ),
    candidates AS (
        SELECT place, content, event_id, delivered_known_time FROM mine SEMI JOIN several USING (content)
        JOIN placed ON placed.rowid = mine.place
    ),
    firsts AS (
        SELECT content, ARG_MIN(event_id, (known_by, event_id)) AS event_id FROM (
            SELECT content, event_id, delivered_known_time AS known_by FROM candidates
            UNION ALL
            SELECT content, event_id, TIMESTAMPTZ '1900-01-01' FROM earlier SEMI JOIN several USING (content)
        ) GROUP BY content
    )
    SELECT place FROM candidates JOIN firsts USING (content) WHERE candidates.event_id <> firsts.event_id
    """


def _first_days(column: str) -> str:
    """First day of each value that was not there in the first days of all."""
    name = quoted(column)
    both = " UNION ALL ".join(
        f"SELECT {name} AS value, {_DAY.format(row=table)} AS day FROM {table}" for table in ("placed", "stored")
    )
    return f"""
    WITH firsts AS (SELECT value, MIN(day) AS first_day FROM ({both}) WHERE value IS NOT NULL GROUP BY value)
    SELECT * FROM firsts WHERE first_day - (SELECT MIN(first_day) FROM firsts) >= {FRESH_DAYS}
    """


def _commonest(column: str) -> str:
    """The commonest value of each kind and day, and its rows."""
    name, day = quoted(column), _DAY.format(row="placed")
    return f"""
    SELECT kind, day, CAST(ARG_MIN(value, (-rows, value)) AS VARCHAR) AS commonest_{column},
        MAX(rows) AS common_{column}
    FROM (
        SELECT kind, {day} AS day, {name} AS value, COUNT(*) AS rows FROM placed WHERE {name} IS NOT NULL GROUP BY ALL
    ) GROUP BY kind, day
    """


_INSTALMENTS = """
SELECT DISTINCT account_id, instalment_id, amount_cents FROM (
    SELECT account_id, instalment_id, amount_cents FROM placed WHERE kind = 'due'
    UNION ALL SELECT account_id, instalment_id, amount_cents FROM stored WHERE kind = 'due'
        AND instalment_id IN (SELECT instalment_id FROM placed WHERE kind = 'repayment')
) WHERE instalment_id IS NOT NULL
"""


def _figures(scan: _Scan) -> Iterator[tuple[str, str]]:
    """Figures of one row of the relation ``seen``, each an integer, by name."""
    yield "versions", "CAST(corrects AS UTINYINT)"
    yield "repeats", "CAST(copied AS UTINYINT)"
    for name in NULLS:
        if scan.has(name):
            yield f"null_{name}", f"CAST({quoted(name)} IS NULL AS UTINYINT)"
    for name in FRESH:
        if scan.has(name):
            yield f"fresh_{name}", f"CAST(COALESCE(day - first_day_{name} < {FRESH_DAYS}, FALSE) AS UTINYINT)"
    if scan.has("amount_cents"):
        yield "amounts", "CAST(amount_cents <> 0 AS UTINYINT)"
        yield "log_amount", "CAST(ROUND(1e6 * log_cents) AS INTEGER)"
        yield "log_amount_squared", "CAST(ROUND(1e6 * log_cents * log_cents) AS INTEGER)"
        yield "not_positive", "CAST(amount_cents <= 0 AS UTINYINT)"
        yield "whole", "CAST(amount_cents % 100 = 0 AND amount_cents <> 0 AS UTINYINT)"
    if scan.has("instalment_id"):
        yield "linked", "CAST(kind = 'repayment' AND instalment_id IS NOT NULL AS UTINYINT)"
        yield "matched", "CAST(is_matched AS UTINYINT)"
    yield "lag", "CAST(ROUND(1e6 * log_hours) AS INTEGER)"
    yield "lag_squared", "CAST(ROUND(1e6 * log_hours * log_hours) AS INTEGER)"
    yield "late", "CAST(log_hours > LN(25) AS UTINYINT)"
    yield "hour_cos", "CAST(ROUND(1e6 * COS(angle)) AS INTEGER)"
    yield "hour_sin", "CAST(ROUND(1e6 * SIN(angle)) AS INTEGER)"


def _fine(scan: _Scan) -> str:
    """Figures by kind, day and all slices of the event, or of the line; what is coarser is summed from them."""
    figures = dict(_figures(scan))
    made = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in figures.items())
    summed = ", ".join(f"CAST(SUM({quoted(name)}) AS BIGINT) AS {quoted(name)}" for name in figures)
    fresh = [name for name in FRESH if scan.has(name)]
    joins = [f"LEFT JOIN first_{name} ON first_{name}.value = placed.{quoted(name)}" for name in fresh]
    marks = [f"first_{name}.first_day AS first_day_{name}" for name in fresh]
    if scan.has("instalment_id"):
        keys = ("account_id", "instalment_id", "amount_cents")
        same = " AND ".join(f"instalments.{key} = placed.{key}" for key in keys)
        joins.append(f"LEFT JOIN instalments ON placed.kind = 'repayment' AND {same}")
        marks.append("instalments.account_id IS NOT NULL AS is_matched")
    if scan.has("amount_cents"):
        marks.append("LN(ABS(IF(placed.amount_cents = 0, 1, placed.amount_cents))) AS log_cents")
    return f"""
    WITH seen AS (
        SELECT placed.*, {_DAY.format(row="placed")} AS day, copies.place IS NOT NULL AS copied,
            changed.place IS NOT NULL AS corrects,
            LN(1 + GREATEST(epoch_us(placed.delivered_known_time) - epoch_us(event_time), 0) / 3600e6) AS log_hours,
            2 * PI() * (epoch_us(event_time) % 86400000000) / 86400e6 AS angle
            {scan.sliced("placed")}{"".join(f", {mark}" for mark in marks)}
        FROM placed LEFT JOIN line_slices ON line_slices.account_id = placed.account_id
        LEFT JOIN copies ON copies.place = placed.rowid
        LEFT JOIN ({CHANGED}) AS changed ON changed.place = placed.rowid
        {" ".join(joins)}
    ),
    marked AS (SELECT kind, day{scan.keys()}, {made} FROM seen),
    held_back AS ({_held(scan)})
    SELECT kind, day{scan.keys()}, {scan.by_event()} AS by_event, COUNT(*) AS rows, 0 AS quarantined, {summed}
    FROM marked GROUP BY {scan.groupings()}
    UNION ALL BY NAME
    SELECT kind, day{scan.keys()}, {scan.by_event()} AS by_event, 0 AS rows, COUNT(*) AS quarantined
    FROM held_back GROUP BY {scan.groupings()}
    """


def _held(scan: _Scan) -> str:
    """Rows held back; one whose time cannot be read counts on the last day on which another came."""
    kinds = next(column.one_of for column in scan.source.columns if column.name == "kind")
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    kind = f"CASE WHEN row_held.kind IN ({listed}) THEN row_held.kind ELSE '{NONE}' END" if kinds else "row_held.kind"
    own_columns = "".join(f", json_extract_string(row_json, '$.{name}') AS {quoted(name)}" for name in scan.own)
    last = f"(SELECT MAX({_DAY.format(row='placed')}) FROM placed)"
    return f"""
    SELECT COALESCE({kind}, '{NONE}') AS kind, COALESCE(CAST(row_held.known_time AS DATE), {last}) AS day
        {scan.sliced("row_held")}
    FROM (
        SELECT account_id, known_time, json_extract_string(row_json, '$.kind') AS kind{own_columns} FROM held
        WHERE rule <> '{EARLY}'
    ) AS row_held LEFT JOIN line_slices ON line_slices.account_id = row_held.account_id
    WHERE COALESCE(CAST(row_held.known_time AS DATE), {last}) IS NOT NULL
    """


_ACTIVE = f"""
SELECT kind, {_DAY.format(row="placed")} AS day, APPROX_COUNT_DISTINCT(account_id) AS accounts FROM placed GROUP BY ALL
"""


def _profile(scan: _Scan) -> str:
    """All slices of a source, one below the other."""
    figures = ["rows", "quarantined", *(name for name, _ in _figures(scan))]
    common = [name for name in COMMON if scan.has(name)]
    made = {*KEYS, *figures, "accounts", *(f"{word}_{name}" for name in common for word in ("common", "commonest"))}
    filled = [quoted(name) if name in made else f"NULL AS {quoted(name)}" for name in PROFILE.names]
    joins = " ".join(
        f"LEFT JOIN most_{n} ON slice_column = '' AND most_{n}.kind = parts.kind AND most_{n}.day = parts.day"
        for n in common
    )
    common_columns = "".join(f", common_{name}, commonest_{name}" for name in common)
    return f"""
    WITH parts AS ({" UNION ALL BY NAME ".join(_part(scan, name, figures) for name in ("", *scan.slices))}),
    whole AS (SELECT '{scan.source.name}' AS source, parts.*{common_columns} FROM parts {joins})
    SELECT {", ".join(filled)} FROM whole ORDER BY {", ".join(KEYS)}
    """


def _part(scan: _Scan, name: str, figures: Sequence[str]) -> str:
    """One column of slices, or the source as a whole."""
    value, by_event = _sliced(name) if name else "''", int(name not in scan.of_line)
    summed = ", ".join(f"COALESCE(CAST(SUM({quoted(n)}) AS BIGINT), 0) AS {quoted(n)}" for n in figures)
    rows = f"""SELECT kind, '{name}' AS slice_column, {value} AS slice_value, day, {summed}
        FROM fine WHERE by_event = {by_event} GROUP BY ALL"""
    return rows if name else f"SELECT * FROM ({rows}) LEFT JOIN active USING (kind, day)"
