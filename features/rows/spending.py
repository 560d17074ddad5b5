"""Rows of consumption, what is passed on of it, and the balance it leaves."""

from limitlens.features.rows.clock import Scope, at_night, at_weekend, microseconds_between

#: A transfer so soon after a draw passes it on.
PASSED_ON_DAYS = 2


def consumption(scope: Scope) -> str:
    """Consumption before the as-of time, with ``night`` and ``weekend``."""
    clock = scope.clock
    return f"""consumption_rows AS NOT MATERIALIZED (
        SELECT *, {at_night(scope.timezone)} AS night, {at_weekend(scope.timezone)} AS weekend
        FROM consumption_seen WHERE event_time < {clock.as_of}
    )"""


def flow(scope: Scope) -> str:
    """What raised and lowered the balance, with its sign: ``flow_cents``."""
    clock = scope.clock
    return f"""flow_rows AS (
        SELECT {clock.carried}, event_time,
            CASE WHEN kind = 'refund' THEN -amount_cents ELSE amount_cents END AS flow_cents
        FROM consumption_rows WHERE kind <> 'statement_balance'
        UNION ALL
        SELECT {clock.carried}, event_time, -amount_cents AS flow_cents FROM payment_rows WHERE kind = 'repayment'
    )"""


def balance(scope: Scope) -> str:
    """What is owed, counted on from the latest delivered balance, and its mean over 90 days, counted back from now.

    A flow weighs on the mean for the hours that have passed since; before it, the balance was lower by it.
    """
    clock = scope.clock
    hours = f"CAST({microseconds_between(clock.since(90), 'event_time')} AS DOUBLE) / 3600000000"
    return f"""stated AS (
        SELECT {clock.key}, MAX(event_time) AS stated_time,
            ARG_MAX(amount_cents, {{'event_time': event_time, 'event_order': event_order}}) AS stated_cents
        FROM consumption_rows WHERE kind = 'statement_balance' GROUP BY {clock.key}
    ),
    flows AS (
        SELECT {clock.key},
            SUM(flow_cents) FILTER (WHERE stated_time IS NULL OR event_time > stated_time) AS flow_cents,
            SUM(flow_cents * CAST(FLOOR({hours}) AS BIGINT))
                FILTER (WHERE event_time >= {clock.since(90)}) AS flow_cent_hours
        FROM flow_rows LEFT JOIN stated USING ({clock.key}) GROUP BY {clock.key}
    )"""


def passed_on(scope: Scope) -> str:
    """Transfers out within two days of a draw; reaches back 90 days."""
    clock = scope.clock
    columns = f"{clock.carried}, event_time, event_order, kind, amount_cents"
    reach = f"event_time >= {clock.since(90 + PASSED_ON_DAYS)}"
    return f"""cash_steps AS (
        SELECT {columns} FROM consumption_rows WHERE kind = 'draw' AND {reach}
        UNION ALL
        SELECT {columns} FROM payment_rows WHERE kind = 'transfer_out' AND {reach}
    ),
    cash_followed AS (
        SELECT *, MAX(CASE WHEN kind = 'draw' THEN event_time END) OVER (
            PARTITION BY {clock.key} ORDER BY event_time, kind, event_order
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS draw_time
        FROM cash_steps
    ),
    passed_on_rows AS (
        SELECT * FROM cash_followed
        WHERE kind = 'transfer_out' AND event_time < draw_time + INTERVAL '{PASSED_ON_DAYS}' DAY
    )"""
