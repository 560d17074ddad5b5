"""Spines: which lines stand in the book at which moment, as the lender knew them then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa

from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow
from limitlens.features.line import NO_LIMIT

_TIME = pa.timestamp("us", tz="UTC")
_POINTS = pa.schema([("account_id", pa.string()), ("as_of", _TIME), ("known_by", _TIME)])

_LINES = f"""
WITH versions AS (
    SELECT spine.account_id, spine.as_of, spine.known_by, account.opened_at, account.limit_cents, account.segment,
        ROW_NUMBER() OVER (
            PARTITION BY spine.account_id, spine.as_of, spine.known_by
            ORDER BY account.known_time DESC, account.delivered_known_time DESC
        ) AS version
    FROM spine JOIN accounts AS account ON account.account_id = spine.account_id
    WHERE account.known_time < spine.known_by
)
SELECT account_id, as_of, known_by, opened_at, COALESCE(limit_cents, {NO_LIMIT}) AS limit_cents, segment FROM versions
WHERE version = 1 AND opened_at <= as_of AND limit_cents IS DISTINCT FROM 0
ORDER BY account_id, as_of
"""


def lines_at(points: pd.DataFrame, events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Look up the lines of given (account, as-of, known-by) points.

    Parameters
    ----------
    points : DataFrame with ``account_id``, ``as_of``, ``known_by``
    events : mapping with the ``accounts`` relation

    Returns
    -------
    DataFrame with ``account_id, as_of, known_by, opened_at, limit_cents, segment``
        Only lines already known and opened, without those of limit 0; ordered by account and as-of. A line that has
        no limit, such as a loan, carries :data:`limitlens.features.line.NO_LIMIT`.
    """
    relations = {"accounts": events["accounts"], "spine": to_arrow(points, _POINTS)}
    lines: pd.DataFrame = run_sql(_LINES, relations).to_pandas()
    return lines


def book(as_ofs: Sequence[datetime], events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Every line opened before each as-of time, as known at that time; columns as in :func:`lines_at`.

    Parameters
    ----------
    as_ofs : sequence of datetime
        UTC.
    events : mapping of str to pyarrow.Table or str
        Accepted rows of each source, or SQL of them.
    """
    sql = "SELECT DISTINCT account_id FROM accounts ORDER BY account_id"
    accounts = run_sql(sql, {"accounts": events["accounts"]}).to_pandas()
    times = pd.DataFrame({"as_of": pd.DatetimeIndex(list(as_ofs)).as_unit("us")})
    points = accounts.merge(times, how="cross")
    points["known_by"] = points["as_of"]
    lines = lines_at(points, events)
    return lines[lines["opened_at"] < lines["as_of"]].reset_index(drop=True)


def with_limit(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines that have a limit: only they can be decided."""
    return lines[lines["limit_cents"] != NO_LIMIT]


def has_limits(events: Mapping[str, pa.Table | str]) -> bool:
    """Whether any account was ever delivered with a limit above 0."""
    sql = "SELECT COUNT(*) > 0 AS any_limit FROM accounts WHERE limit_cents > 0"
    any_limit: bool = run_sql(sql, {"accounts": events["accounts"]})["any_limit"][0].as_py()
    return any_limit


@dataclass(frozen=True)
class Undecidable:
    """Lines opened before a time that cannot be decided then.

    Parameters
    ----------
    without_limit : int
        Without a limit: scored, never decided.
    limit_zero : int
        With limit 0: in no book.
    """

    without_limit: int
    limit_zero: int


def undecidable(as_of: datetime, events: Mapping[str, pa.Table | str]) -> Undecidable:
    """Count the lines that cannot be decided at a time, as known at it."""
    sql = """
    WITH known AS (
        SELECT opened_at, limit_cents FROM accounts WHERE known_time < $as_of QUALIFY ROW_NUMBER() OVER (
            PARTITION BY account_id ORDER BY known_time DESC, delivered_known_time DESC
        ) = 1
    )
    SELECT COUNT(*) FILTER (limit_cents IS NULL) AS without_limit, COUNT(*) FILTER (limit_cents = 0) AS limit_zero
    FROM known WHERE opened_at < $as_of
    """
    return Undecidable(**run_sql(sql, {"accounts": events["accounts"]}, {"as_of": as_of}).to_pylist()[0])


def opened_between(first: datetime, end: datetime, events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Accounts opened in ``[first, end)``: ``account_id, opened_at``."""
    sql = """
    SELECT account_id, MAX(opened_at) AS opened_at FROM accounts GROUP BY account_id
    HAVING MAX(opened_at) >= $first AND MAX(opened_at) < $end ORDER BY account_id
    """
    opened: pd.DataFrame = run_sql(sql, {"accounts": events["accounts"]}, {"first": first, "end": end}).to_pandas()
    return opened
