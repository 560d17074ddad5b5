"""Labels: did the account default inside the horizon? Read from delivered outcomes, else from arrears."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache

import pandas as pd
import pyarrow as pa

from limitlens.data.engine import RunSql, prepared, run_sql
from limitlens.data.frames import to_arrow
from limitlens.features.rows import Clock, Scope, tables_for
from limitlens.features.rows.instalments import DPD_DAYS
from limitlens.features.rows.seen import successions, versions
from limitlens.features.table import account_numbers, point_spine

_TIME = "datetime64[us, UTC]"

_POINTS = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("horizon_end", pa.timestamp("us", tz="UTC")),
    ]
)

_SCOPE = Scope(Clock())

_READ = {"event_time", "event_order", "kind", "amount_cents", "instalment_id", "dpd_days"}

_PAYMENT = {"payment_successions": successions("payment"), "payment_versions": versions("payment", _READ)}

_LABEL = """
SELECT point.account_id, point.as_of, COUNT(reached.as_of) > 0 AS bad
FROM point LEFT JOIN reached
    ON reached.account_id = point.account_id AND reached.as_of > point.as_of AND reached.as_of <= point.horizon_end
GROUP BY point.account_id, point.as_of ORDER BY point.account_id, point.as_of
"""


@cache
def _checkpoints(dpd_days: int) -> str:
    """SQL of the moments at which so many days past due can be reached."""
    return f"""
WITH {", ".join(tables_for(["payment_seen"], _SCOPE))},
dues AS (
    SELECT line, account_no, known_by, instalment_id, MIN(event_time) AS due_time, SUM(amount_cents) AS due_cents
    FROM payment_seen WHERE kind = 'due'
    GROUP BY line, account_no, known_by, instalment_id
),
repaid AS (
    SELECT line, instalment_id,
        SUM(amount_cents) FILTER (WHERE payment_seen.event_time < due_time + INTERVAL '{dpd_days}' DAY) AS repaid_cents
    FROM payment_seen JOIN dues USING (line, instalment_id)
    WHERE kind = 'repayment' GROUP BY line, instalment_id
),
moments AS (
    SELECT account_no, known_by, due_time + INTERVAL '{dpd_days}' DAY AS moment
    FROM dues LEFT JOIN repaid USING (line, instalment_id)
    WHERE COALESCE(repaid_cents, 0) < due_cents
    UNION ALL
    SELECT account_no, known_by, event_time + CASE WHEN dpd_days < {dpd_days}
        THEN ({dpd_days} - dpd_days) * INTERVAL '1 day' ELSE INTERVAL '1 microsecond' END AS moment
    FROM payment_seen WHERE kind = 'status' AND dpd_days > 0
)
SELECT DISTINCT account_no, moment AS as_of, known_by FROM moments ORDER BY account_no, as_of
    """


@cache
def _reached(dpd_days: int) -> str:
    """SQL of the points of a spine at which so many days past due are reached."""
    return f"""
WITH {", ".join(tables_for(["arrears"], _SCOPE))}
SELECT account_id, as_of FROM spine JOIN numbers USING (account_no)
LEFT JOIN computed_arrears USING (line)
LEFT JOIN delivered_arrears USING (line)
WHERE {DPD_DAYS} >= {dpd_days}
    """


def computed_labels(
    points: pd.DataFrame,
    events: Mapping[str, pa.Table | str],
    *,
    known_by: datetime,
    horizon_months: int,
    default_dpd_days: int = 90,
) -> pd.DataFrame:
    """Label accounts bad when their days past due reach the default threshold inside ``(as_of, as_of + horizon]``.

    Days past due can only reach the threshold that many days after a due date, or at a delivered status or when its
    days have gone on to it, so the arrears are evaluated at those moments alone, as far as they lie within a horizon,
    by the same rule the features use.

    Parameters
    ----------
    points : DataFrame with ``account_id`` and ``as_of``
    events : mapping with the ``payment`` relation
    known_by : datetime
        Rows known strictly before it are read.
    horizon_months : int
        Length of the performance window; from the last days of a month it ends with a shorter month.
    default_dpd_days : int
        Days past due that make a default; 90 follows CRR art. 178(1)(b).

    Returns
    -------
    DataFrame with ``account_id, as_of, bad`` (bool)
        Only points whose horizon has fully elapsed at ``known_by``.
    """
    as_ofs = points["as_of"].drop_duplicates()
    ends = {t: t + pd.DateOffset(months=horizon_months) for t in as_ofs}
    matured = points.assign(known_by=known_by, horizon_end=points["as_of"].map(ends))
    matured = matured[matured["horizon_end"] <= known_by].sort_values(["account_id", "as_of"])
    numbers = account_numbers(matured["account_id"].unique())
    accounts = numbers.select(["account_no"]).to_pandas().assign(as_of=known_by, known_by=known_by)
    with prepared({"payment": events["payment"], "numbers": numbers}, _PAYMENT) as run:
        moments = _at_points(run, _checkpoints(default_dpd_days), accounts)
        within = moments["as_of"].between(matured["as_of"].min(), matured["horizon_end"].max(), inclusive="right")
        moments = moments[within]
        reached = to_arrow(_at_points(run, _reached(default_dpd_days), moments))
    point = to_arrow(matured, _POINTS)
    labelled: pd.DataFrame = run_sql(_LABEL, {"point": point, "reached": reached}).to_pandas()
    return labelled


def _at_points(run: RunSql, sql: str, points: pd.DataFrame) -> pd.DataFrame:
    spine = point_spine(points.astype({"as_of": _TIME, "known_by": _TIME}))
    table: pd.DataFrame = run(sql, {"spine": spine}).to_pandas()
    return table


def delivered_labels(events: Mapping[str, pa.Table | str], *, known_by: datetime | None = None) -> pd.DataFrame:
    """Outcomes as the lender delivered them: ``account_id, as_of, known_time, bad``, latest version known.

    Parameters
    ----------
    events : mapping of str to pyarrow.Table or str
        Accepted rows of each source, or SQL of them.
    known_by : datetime, optional
        Only what was known before this time; default: all.
    """
    known = "WHERE known_time < $known_by" if known_by else ""
    values = {"known_by": known_by} if known_by else {}
    sql = f"""
    SELECT account_id, as_of, known_time, bad FROM (
        SELECT *, ROW_NUMBER() OVER (
            PARTITION BY account_id, as_of ORDER BY known_time DESC, delivered_known_time DESC
        ) AS version
        FROM outcomes {known}
    ) WHERE version = 1 ORDER BY account_id, as_of
    """
    labels: pd.DataFrame = run_sql(sql, {"outcomes": events["outcomes"]}, values).to_pandas()
    return labels
