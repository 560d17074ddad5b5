"""Rows of payment, the instalments they settle, and what is overdue."""

from limitlens.features.rows.clock import Scope, whole_days_between


def payment(scope: Scope) -> str:
    """Payment before the as-of time, with ``past_due`` of a delivered status."""
    clock = scope.clock
    return f"""payment_rows AS NOT MATERIALIZED (
        SELECT *, COALESCE(dpd_days > 0, FALSE) AS past_due FROM payment_seen WHERE event_time < {clock.as_of}
    )"""


def arrears(scope: Scope) -> str:
    """Days past due and overdue cents: linked repayments first, the rest to the oldest instalment, credit carries.

    The latest delivered ``status`` wins over the computed days. An instalment is missed when it fell due before the
    as-of time and the money left after linked repayments does not reach it, oldest first.
    """
    clock = scope.clock
    key = clock.key
    return f"""instalment_sums AS (
        SELECT {clock.carried}, instalment_id,
            MIN(CASE WHEN kind = 'due' THEN event_time END) AS due_time,
            SUM(CASE WHEN kind = 'due' THEN amount_cents END) AS due_cents,
            COALESCE(SUM(CASE WHEN kind = 'repayment' THEN amount_cents END), 0) AS paid_cents,
            MAX(CASE WHEN kind = 'repayment' AND amount_cents > 0 THEN event_time END) AS paid_time
        FROM payment_seen WHERE kind = 'due' OR (kind = 'repayment' AND event_time < {clock.as_of})
        GROUP BY {clock.carried}, instalment_id
    ),
    instalments AS (
        SELECT *, CASE WHEN due_cents IS NULL THEN 0 WHEN paid_cents < due_cents THEN paid_cents ELSE due_cents END
            AS covered_cents
        FROM instalment_sums
    ),
    credit AS (
        SELECT {key}, SUM(paid_cents - covered_cents) AS credit_cents
        FROM instalments WHERE paid_cents > covered_cents GROUP BY {key}
    ),
    open_instalments AS (
        SELECT {clock.carried}, instalment_id, due_time, SUM(due_cents - covered_cents) OVER (
            PARTITION BY {key} ORDER BY due_time, instalment_id
        ) AS owed_cents
        FROM instalments WHERE due_time < {clock.as_of} AND covered_cents < due_cents
    ),
    missed AS (
        SELECT {key}, instalment_id, {whole_days_between("due_time", clock.as_of)} AS open_days,
            owed_cents - COALESCE(credit_cents, 0) AS past_due_cents
        FROM open_instalments LEFT JOIN credit USING ({key}) WHERE owed_cents > COALESCE(credit_cents, 0)
    ),
    computed_arrears AS (
        SELECT {key}, MAX(open_days) AS computed_dpd_days, MAX(past_due_cents) AS past_due_cents
        FROM missed GROUP BY {key}
    ),
    delivered_arrears AS (
        SELECT {key}, ARG_MAX(dpd_days, {{'event_time': event_time, 'event_order': event_order}}) AS delivered_dpd_days
        FROM payment_rows WHERE kind = 'status' AND NOT dpd_days IS NULL GROUP BY {key}
    )"""


def instalment(scope: Scope) -> str:
    """Instalments before the as-of time: ``met`` within a day, ``late``, or ``missed`` and still open.

    An instalment counts from its due date, or from the day it was settled if that came first. ``lateness_days`` is
    null until it is settled by linked repayments; ``days_late`` of a missed one counts up to the as-of time.
    ``exact``: settled, and not a cent more was paid.
    """
    clock = scope.clock
    each = f"{clock.key}, instalment_id"
    # Only where more was paid than was due can repayments have gone on after the one that settled it.
    return f"""overpaid AS (
        SELECT {each}, due_cents FROM instalments WHERE paid_cents > due_cents OR due_cents = 0
    ),
    overpaying AS (
        SELECT {each}, due_cents, event_time,
            SUM(amount_cents) OVER (PARTITION BY {each} ORDER BY event_time, event_order) AS paid_so_far_cents
        FROM payment_rows JOIN overpaid USING ({each}) WHERE kind = 'repayment'
    ),
    overpaid_settled AS (
        SELECT {each}, MIN(event_time) AS reached_time FROM overpaying WHERE paid_so_far_cents >= due_cents
        GROUP BY {each}
    ),
    instalment_settled AS (
        SELECT {clock.carried}, instalment_id, due_time, due_cents, paid_cents, open_days,
            CASE WHEN covered_cents = due_cents THEN COALESCE(reached_time, paid_time) END AS settled_time
        FROM instalments LEFT JOIN missed USING ({each}) LEFT JOIN overpaid_settled USING ({each})
        WHERE NOT due_time IS NULL
    ),
    instalment_states AS (
        SELECT *, {whole_days_between("due_time", "settled_time")} AS lateness_days FROM instalment_settled
    ),
    instalment_placed AS (
        SELECT *, CASE WHEN settled_time < due_time THEN settled_time ELSE due_time END AS event_time,
            instalment_id AS event_order, due_cents AS amount_cents
        FROM instalment_states
    ),
    instalment_rows AS (
        SELECT *,
            CASE WHEN NOT open_days IS NULL THEN 'missed' WHEN lateness_days > 0 THEN 'late' ELSE 'met' END AS kind,
            COALESCE(open_days, lateness_days) AS days_late,
            NOT settled_time IS NULL AND paid_cents = due_cents AS exact
        FROM instalment_placed WHERE event_time < {clock.as_of}
    )"""
