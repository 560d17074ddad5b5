"""Rows of payment, the instalments they settle, and what is overdue."""

from limitlens.data.contracts import MATERIAL_CENTS, MATERIAL_PERCENT
from limitlens.features.rows.clock import Scope, microseconds_between, whole_days_between


def payment(scope: Scope) -> str:
    """Payment before the as-of time, with ``past_due`` of a delivered status."""
    clock = scope.clock
    return f"""payment_rows AS NOT MATERIALIZED (
        SELECT *, COALESCE(dpd_days > 0, FALSE) AS past_due FROM payment_seen WHERE event_time < {clock.as_of}
    )"""


def arrears(scope: Scope) -> str:
    """Days past due and overdue cents: linked repayments first, the rest to the oldest instalment, credit carries.

    An instalment is missed when it fell due before the as-of time and what is open of it, oldest first, is material. A
    delivered ``status`` is true at its time, and later events count on from it: what it says was settled is settled
    then, and days it states go on until something is repaid. Where no due was known then, nobody can say how much that
    settles: the days stand still. The days past due are the greater of those of instalments and those of the status.
    """
    clock = scope.clock
    key = clock.key
    age = whole_days_between("stated_time", clock.as_of)
    return f"""latest_status AS (
        SELECT {clock.carried}, MAX(event_time) AS stated_time,
            ARG_MAX(dpd_days, {{'event_time': event_time, 'event_order': event_order}}) AS stated_days
        FROM payment_rows WHERE kind = 'status' AND NOT dpd_days IS NULL GROUP BY {clock.carried}
    ),
    stated_sums AS (
        SELECT {key}, instalment_id, stated_time, stated_days,
            MIN(CASE WHEN kind = 'due' THEN event_time END) AS due_time,
            SUM(CASE WHEN kind = 'due' THEN amount_cents END) AS due_cents,
            COALESCE(SUM(CASE WHEN kind = 'repayment' AND event_time <= stated_time THEN amount_cents END), 0)
                AS paid_cents,
            MAX(CASE WHEN kind = 'repayment' AND event_time > stated_time THEN 1 ELSE 0 END) AS repaid_since
        FROM payment_seen JOIN (SELECT {key}, stated_time, stated_days FROM latest_status) AS latest
            USING ({key})
        WHERE kind = 'due' OR (kind = 'repayment' AND event_time < {clock.as_of})
        GROUP BY {key}, instalment_id, stated_time, stated_days
    ),
    settled_by_status AS (
        SELECT {key},
            SUM(CASE WHEN {microseconds_between("due_time", "stated_time")} >= (stated_days + 1) * 86400000000
                    AND paid_cents < due_cents THEN due_cents - paid_cents ELSE 0 END)
                - SUM(CASE WHEN due_cents IS NULL THEN paid_cents WHEN paid_cents > due_cents
                    THEN paid_cents - due_cents ELSE 0 END) AS unpaid_cents,
            MAX(repaid_since) AS repaid_since,
            MAX(CASE WHEN due_time <= stated_time THEN 1 ELSE 0 END) AS due_known
        FROM stated_sums GROUP BY {key}
    ),
    delivered_arrears AS (
        SELECT {key}, CASE
            WHEN stated_days <= 0 THEN 0
            WHEN COALESCE(repaid_since, 0) = 0 THEN stated_days + {age}
            WHEN due_known = 0 THEN stated_days
            ELSE 0 END AS delivered_dpd_days
        FROM latest_status LEFT JOIN settled_by_status USING ({key})
    ),
    instalment_sums AS (
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
        SELECT {key}, SUM(covering_cents) AS credit_cents FROM (
            SELECT {key}, paid_cents - covered_cents AS covering_cents FROM instalments WHERE paid_cents > covered_cents
            UNION ALL
            SELECT {key}, unpaid_cents AS covering_cents FROM settled_by_status WHERE unpaid_cents > 0
        ) AS covering GROUP BY {key}
    ),
    open_instalments AS (
        SELECT {clock.carried}, instalment_id, due_time, due_cents, due_cents - covered_cents AS open_cents,
            SUM(due_cents - covered_cents) OVER (PARTITION BY {key} ORDER BY due_time, instalment_id) AS owed_cents
        FROM instalments WHERE due_time < {clock.as_of} AND covered_cents < due_cents
    ),
    uncovered AS (
        SELECT {clock.carried}, instalment_id, due_time, due_cents,
            CASE WHEN owed_cents - COALESCE(credit_cents, 0) < open_cents THEN owed_cents - COALESCE(credit_cents, 0)
                ELSE open_cents END AS missing_cents
        FROM open_instalments LEFT JOIN credit USING ({key})
    ),
    missed AS (
        SELECT {key}, instalment_id, {whole_days_between("due_time", clock.as_of)} AS open_days, missing_cents
        FROM uncovered
        WHERE missing_cents > {MATERIAL_CENTS} AND 100 * missing_cents > {MATERIAL_PERCENT} * due_cents
    ),
    computed_arrears AS (
        SELECT {key}, MAX(open_days) AS computed_dpd_days, SUM(missing_cents) AS past_due_cents
        FROM missed GROUP BY {key}
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


#: Days past due where the tables of :func:`arrears` are joined, the one definition of features, rules and labels.
DPD_DAYS = "GREATEST(COALESCE(computed_dpd_days, 0), COALESCE(delivered_dpd_days, 0))"
