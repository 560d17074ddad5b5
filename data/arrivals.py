"""Arrivals: the records about the time before a moment, known at it, or late."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from limitlens.data.contracts import EVENT_SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow

_TIME = pa.timestamp("us", tz="UTC")
_POINTS = pa.schema([("row", pa.int64()), ("account_id", pa.string()), ("as_of", _TIME), ("known_by", _TIME)])


def count_arrivals(points: pd.DataFrame, relations: Mapping[str, str]) -> pd.DataFrame:
    """Count the records of each account with ``event_time < as_of``; a corrected one counts once a version.

    Parameters
    ----------
    points : DataFrame with ``account_id`` (str), ``as_of`` and ``known_by`` (datetime64[us, UTC])
    relations : mapping of source name to SQL
        Accepted events, as :meth:`limitlens.data.events.EventStore.relations` gives them.

    Returns
    -------
    DataFrame indexed like ``points``
        ``known_rows`` with ``known_time < as_of`` and ``late_rows`` with ``as_of <= known_time < known_by``, int64.
    """
    events = " UNION ALL ".join(
        f"SELECT account_id, event_time, known_time FROM ({relations[s]})" for s in EVENT_SOURCES
    )
    sql = """
    SELECT COUNT(*) FILTER (event.known_time < point.as_of) AS known_rows,
        COUNT(*) FILTER (event.known_time >= point.as_of) AS late_rows
    FROM points AS point LEFT JOIN events AS event ON event.account_id = point.account_id
        AND event.event_time < point.as_of AND event.known_time < point.known_by
    GROUP BY point.row ORDER BY point.row
    """
    rows = to_arrow(points.assign(row=range(len(points))), _POINTS)
    counts: pd.DataFrame = run_sql(sql, {"points": rows, "events": events}).to_pandas()
    return counts.set_index(points.index)


def late_rows(points: pd.DataFrame, relations: Mapping[str, str]) -> pd.DataFrame:
    """The records that :func:`count_arrivals` counts as late at any of some points, each once.

    Parameters
    ----------
    points : DataFrame
        As there.
    relations : mapping of source name to SQL

    Returns
    -------
    DataFrame with ``source, event_id, kind, event_time, known_time``, in the order in which they became known
    """
    events = " UNION ALL ".join(
        f"SELECT '{s}' AS source, event_id, account_id, kind, event_time, known_time FROM ({relations[s]})"
        for s in EVENT_SOURCES
    )
    sql = """
    SELECT DISTINCT source, event_id, kind, event_time, event.known_time
    FROM points AS point JOIN events AS event ON event.account_id = point.account_id
        AND event.event_time < point.as_of AND event.known_time < point.known_by AND event.known_time >= point.as_of
    ORDER BY event.known_time, source, event_id
    """
    rows = to_arrow(points.assign(row=range(len(points))), _POINTS)
    records: pd.DataFrame = run_sql(sql, {"points": rows, "events": events}).to_pandas()
    return records
