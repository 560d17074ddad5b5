"""Spines: which lines stand in the book at which moment, as the lender knew them then."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd
import pyarrow as pa

from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow

_TIME = pa.timestamp("us", tz="UTC")
_POINTS = pa.schema([("account_id", pa.string()), ("as_of", _TIME), ("known_by", _TIME)])

_LINES = """
WITH versions AS (
    SELECT spine.account_id, spine.as_of, spine.known_by, account.opened_at, account.limit_cents, account.segment,
        ROW_NUMBER() OVER (
            PARTITION BY spine.account_id, spine.as_of, spine.known_by
            ORDER BY account.known_time DESC, account.delivered_known_time DESC
        ) AS version
    FROM spine JOIN accounts AS account ON account.account_id = spine.account_id
    WHERE account.known_time < spine.known_by
)
SELECT account_id, as_of, known_by, opened_at, limit_cents, segment FROM versions
WHERE version = 1 AND opened_at <= as_of AND limit_cents > 0
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
        Only lines already known, opened and with a limit above zero; ordered by account and as-of.
    """
    relations = {"accounts": events["accounts"], "spine": to_arrow(points, _POINTS)}
    found: pd.DataFrame = run_sql(_LINES, relations).to_pandas()
    return found


def book(as_ofs: Sequence[datetime], events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Every line opened before each as-of time, as known at that time; columns as in :func:`lines_at`."""
    sql = "SELECT DISTINCT account_id FROM accounts ORDER BY account_id"
    accounts = run_sql(sql, {"accounts": events["accounts"]}).to_pandas()
    times = pd.DataFrame({"as_of": pd.DatetimeIndex(list(as_ofs)).as_unit("us")})
    points = accounts.merge(times, how="cross")
    points["known_by"] = points["as_of"]
    lines = lines_at(points, events)
    return lines[lines["opened_at"] < lines["as_of"]].reset_index(drop=True)


def without_limit(as_of: datetime, events: Mapping[str, pa.Table | str]) -> int:
    """Number of lines opened before a time that had limit 0 then, as known at it: they stand in no book."""
    moment = f"TIMESTAMPTZ '{as_of.isoformat()}'"
    sql = f"""
    WITH known AS (
        SELECT opened_at, limit_cents FROM accounts WHERE known_time < {moment} QUALIFY ROW_NUMBER() OVER (
            PARTITION BY account_id ORDER BY known_time DESC, delivered_known_time DESC
        ) = 1
    )
    SELECT COUNT(*) AS lines FROM known WHERE opened_at < {moment} AND limit_cents = 0
    """
    found: int = run_sql(sql, {"accounts": events["accounts"]})["lines"][0].as_py()
    return found


def opened_between(first: datetime, end: datetime, events: Mapping[str, pa.Table | str]) -> pd.DataFrame:
    """Accounts opened in ``[first, end)``: ``account_id, opened_at``."""
    sql = f"""
    SELECT account_id, MAX(opened_at) AS opened_at FROM accounts GROUP BY account_id
    HAVING MAX(opened_at) >= CAST('{first.isoformat()}' AS TIMESTAMPTZ)
        AND MAX(opened_at) < CAST('{end.isoformat()}' AS TIMESTAMPTZ)
    ORDER BY account_id
    """
    found: pd.DataFrame = run_sql(sql, {"accounts": events["accounts"]}).to_pandas()
    return found
