"""The rows an as-of time may see, and what each row says in its context: late, at night, on a new device.

Every function returns the text of one common table expression. ``Clock`` decides how it reads the two clocks:
as literals (one as-of for all accounts: the fast path) or as columns of the spine.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """How SQL reads the as-of time and the time up to which rows are known.

    Parameters
    ----------
    as_of, known_by : datetime or None
        Both given: literals. Both None: the columns ``as_of`` and ``known_by`` of the spine.
    """

    as_of_literal: datetime | None = None
    known_by_literal: datetime | None = None

    @property
    def as_of(self) -> str:
        """SQL of the as-of time."""
        return _literal(self.as_of_literal) if self.as_of_literal else "as_of"

    @property
    def known_by(self) -> str:
        """SQL of the time before which a row must be known."""
        return _literal(self.known_by_literal) if self.known_by_literal else "known_by"

    @property
    def keys(self) -> str:
        """Columns that identify a row of the spine."""
        return "account_id" if self.as_of_literal else "account_id, as_of, known_by"


def _literal(time: datetime) -> str:
    return f"CAST('{time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}+00:00' AS TIMESTAMPTZ)"


def seen(source: str, clock: Clock) -> str:
    """Latest version of every event known strictly before ``known_by``, unless it is retracted."""
    return f"""{source}_versions AS (
        SELECT event.*{"" if clock.as_of_literal else ", spine.as_of, spine.known_by"},
            ROW_NUMBER() OVER (
                PARTITION BY {_qualified(clock)}, event.event_id
                ORDER BY event.known_time DESC, event.delivered_known_time DESC
            ) AS version
        FROM {source} AS event
        JOIN spine ON spine.account_id = event.account_id
        WHERE event.known_time < {_spine(clock.known_by)}
    ),
    {source}_seen AS (
        SELECT * FROM {source}_versions WHERE version = 1 AND NOT COALESCE(retracted, FALSE)
    )"""


def _spine(expression: str) -> str:
    return f"spine.{expression}" if expression == "known_by" else expression


def _qualified(clock: Clock) -> str:
    return ", ".join(f"spine.{key.strip()}" for key in clock.keys.split(","))


def consumption_rows(clock: Clock, timezone: str) -> str:
    """Consumption before the as-of time: ``night``, ``weekend``, ``recency`` within its kind (1 = latest)."""
    return f"""consumption_rows AS (
        SELECT *, {_night(timezone)} AS night, {_weekend(timezone)} AS weekend, {_recency(clock)} AS recency
        FROM consumption_seen WHERE event_time < {clock.as_of}
    )"""


def payment_rows(clock: Clock) -> str:
    """Payment before the as-of time: ``lateness_days`` of a repayment against its linked due, ``late``."""
    keys = clock.keys
    return f"""instalments AS (
        SELECT {keys}, COALESCE(instalment_id, event_id) AS instalment_id,
            MIN(event_time) AS due_time, SUM(amount_cents) AS due_cents
        FROM payment_seen WHERE kind = 'due' GROUP BY {keys}, COALESCE(instalment_id, event_id)
    ),
    payment_linked AS (
        SELECT payment_seen.*,
            CASE WHEN kind = 'repayment' THEN FLOOR({_days("due_time", "event_time")}) END AS lateness_days,
            COALESCE(dpd_days > 0, FALSE) AS past_due
        FROM payment_seen LEFT JOIN instalments USING ({keys}, instalment_id)
        WHERE event_time < {clock.as_of}
    ),
    payment_rows AS (
        SELECT *, COALESCE(lateness_days > 0, FALSE) AS late, {_recency(clock)} AS recency FROM payment_linked
    )"""


def device_rows(clock: Clock, timezone: str) -> str:
    """Device events before the as-of time: ``new_device``, ``new_city``, both, ``device_switch``, ``night``.

    The first event of an account is never new: there is nothing it could differ from.
    """
    keys, order = clock.keys, "ORDER BY event_time, event_id"
    return f"""device_ranked AS (
        SELECT *,
            ROW_NUMBER() OVER (PARTITION BY {keys} {order}) AS place,
            ROW_NUMBER() OVER (PARTITION BY {keys}, device_id {order}) AS device_place,
            ROW_NUMBER() OVER (PARTITION BY {keys}, city {order}) AS city_place,
            LAG(device_id) OVER (PARTITION BY {keys} {order}) AS previous_device
        FROM device_seen WHERE event_time < {clock.as_of}
    ),
    device_novel AS (
        SELECT *,
            place > 1 AND device_place = 1 AND NOT device_id IS NULL AS new_device,
            place > 1 AND city_place = 1 AND NOT city IS NULL AS new_city,
            COALESCE(device_id <> previous_device, FALSE) AS device_switch
        FROM device_ranked
    ),
    device_rows AS (
        SELECT *, new_device AND new_city AS new_device_and_city, {_night(timezone)} AS night,
            {_recency(clock)} AS recency
        FROM device_novel
    )"""


def arrears(clock: Clock) -> str:
    """Days past due and overdue cents: linked repayments first, the rest to the oldest instalment, credit carries.

    The latest delivered ``status`` wins over the computed days. An instalment is open when it fell due before
    the as-of time and the money left after linked repayments does not reach it, oldest first.
    """
    keys, as_of = clock.keys, clock.as_of
    return f"""repaid AS (
        SELECT {keys}, instalment_id, SUM(amount_cents) AS repaid_cents
        FROM payment_rows WHERE kind = 'repayment' GROUP BY {keys}, instalment_id
    ),
    covered AS (
        SELECT instalments.*,
            CASE WHEN COALESCE(repaid_cents, 0) < due_cents THEN COALESCE(repaid_cents, 0) ELSE due_cents END
                AS covered_cents
        FROM instalments LEFT JOIN repaid USING ({keys}, instalment_id)
    ),
    repaid_total AS (SELECT {keys}, SUM(repaid_cents) AS total_cents FROM repaid GROUP BY {keys}),
    covered_total AS (SELECT {keys}, SUM(covered_cents) AS total_cents FROM covered GROUP BY {keys}),
    credit AS (
        SELECT {keys}, repaid_total.total_cents - COALESCE(covered_total.total_cents, 0) AS credit_cents
        FROM repaid_total LEFT JOIN covered_total USING ({keys})
    ),
    overdue AS (
        SELECT *, SUM(due_cents - covered_cents) OVER (
            PARTITION BY {keys} ORDER BY due_time, instalment_id
        ) AS owed_cents
        FROM covered WHERE due_time < {as_of} AND covered_cents < due_cents
    ),
    computed_arrears AS (
        SELECT {keys}, CAST(FLOOR({_days("MIN(due_time)", as_of)}) AS BIGINT) AS computed_dpd_days,
            MAX(owed_cents - COALESCE(credit_cents, 0)) AS past_due_cents
        FROM overdue LEFT JOIN credit USING ({keys})
        WHERE owed_cents > COALESCE(credit_cents, 0) GROUP BY {keys}
    ),
    delivered_arrears AS (
        SELECT {keys}, dpd_days AS delivered_dpd_days FROM payment_rows WHERE kind = 'status' AND recency = 1
    )"""


def balance(clock: Clock, *, with_payment: bool) -> str:
    """Draws, purchases and fees less refunds and repayments, counted on from the latest delivered balance."""
    keys = clock.keys
    repayments = f"""UNION ALL
        SELECT {keys}, event_time, -amount_cents AS flow_cents FROM payment_rows WHERE kind = 'repayment'"""
    return f"""stated AS (
        SELECT {keys}, event_time AS stated_time, amount_cents AS stated_cents
        FROM consumption_rows WHERE kind = 'statement_balance' AND recency = 1
    ),
    flows AS (
        SELECT {keys}, event_time, CASE WHEN kind = 'refund' THEN -amount_cents ELSE amount_cents END AS flow_cents
        FROM consumption_rows WHERE kind <> 'statement_balance'
        {repayments if with_payment else ""}
    ),
    flows_since AS (
        SELECT {keys}, SUM(flow_cents) AS flow_cents FROM flows LEFT JOIN stated USING ({keys})
        WHERE stated_time IS NULL OR event_time > stated_time GROUP BY {keys}
    )"""


def attributes(clock: Clock, names: list[str]) -> str:
    """Latest version of the account row known strictly before ``known_by``."""
    columns = "".join(f', "{name}"' for name in names)
    return f"""account_versions AS (
        SELECT account.*{"" if clock.as_of_literal else ", spine.as_of, spine.known_by"},
            ROW_NUMBER() OVER (
                PARTITION BY {_qualified(clock)}
                ORDER BY account.known_time DESC, account.delivered_known_time DESC
            ) AS version
        FROM accounts AS account
        JOIN spine ON spine.account_id = account.account_id
        WHERE account.known_time < {_spine(clock.known_by)}
    ),
    account_rows AS (SELECT {clock.keys}, segment{columns} FROM account_versions WHERE version = 1)"""


def _days(first: str, last: str) -> str:
    return f"DATE_DIFF('microsecond', {first}, {last}) / 86400000000.0"


def _recency(clock: Clock) -> str:
    return f"ROW_NUMBER() OVER (PARTITION BY {clock.keys}, kind ORDER BY event_time DESC, event_id DESC)"


def _local(timezone: str) -> str:
    return f"(event_time AT TIME ZONE '{timezone}')"


def _night(timezone: str) -> str:
    return f"EXTRACT(HOUR FROM {_local(timezone)}) < 6"


def _weekend(timezone: str) -> str:
    return f"EXTRACT(ISODOW FROM {_local(timezone)}) >= 6"
