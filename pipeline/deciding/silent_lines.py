"""Silent lines: those whose status used to come every month and did not come for the last one."""

import pandas as pd
import pyarrow as pa

from limitlens.data.engine import Relations, run_sql
from limitlens.data.frames import to_arrow
from limitlens.data.quoting import between

#: Months in a row for which a status has come in time before its absence says something.
MONTHS = 3

_POINTS = pa.schema([("account_id", pa.string()), ("as_of", pa.timestamp("us", tz="UTC"))])

_SQL = f"""
WITH statuses AS (
    SELECT account_id, DATE_TRUNC('month', event_time) AS month, MIN(known_time) AS known_time
    FROM payment WHERE kind = 'status' AND dpd_days IS NOT NULL AND retracted IS NOT TRUE GROUP BY ALL
), asked AS (
    SELECT account_id, as_of, DATE_TRUNC('month', as_of) - INTERVAL 1 MONTH AS last_month,
        as_of - DATE_TRUNC('month', as_of) AS into_month
    FROM points
)
SELECT account_id, as_of FROM asked JOIN statuses USING (account_id)
WHERE known_time < as_of
GROUP BY ALL
HAVING MAX(month) < ANY_VALUE(last_month) AND COUNT(*) FILTER (
    month >= last_month - INTERVAL {MONTHS} MONTH AND known_time < month + INTERVAL 1 MONTH + into_month
) = {MONTHS}
ORDER BY account_id, as_of
"""


def silent_lines(lines: pd.DataFrame, relations: Relations) -> pd.DataFrame:
    """Lines of which a status was known in time for each of the three months before the last, and none for the last.

    What is in time depends on how far into a month it is asked: then the statuses of those months were known as early.

    Parameters
    ----------
    lines : DataFrame with ``account_id, as_of``
    relations : mapping with the ``payment`` relation

    Returns
    -------
    DataFrame with ``account_id, as_of``, some of the rows of ``lines``
    """
    points = to_arrow(lines[_POINTS.names].drop_duplicates(), _POINTS)
    accounts = lines["account_id"]
    ends = (accounts.min(), accounts.max()) if len(accounts) else ("", "")
    given = {"points": points, "every_payment": relations["payment"], "payment": between("every_payment", *ends)}
    silent: pd.DataFrame = run_sql(_SQL, given).to_pandas()
    return silent.astype(lines[_POINTS.names].dtypes)
