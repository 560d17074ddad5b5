"""Which version of each row is visible: the latest known strictly before ``known_by``, unless it is withdrawn.

Every version carries the time at which the next one superseded it, so a query at any moment only compares two times.
"""

from collections.abc import Container

from limitlens.data.quoting import quoted
from limitlens.features.rows.clock import Clock, Scope

#: Columns of an event, as queries name them, by source.
_COLUMNS: dict[str, dict[str, str]] = {
    "consumption": {
        "event_time": "event_time",
        "event_order": "event_no",
        "kind": "kind",
        "amount_cents": "amount_cents",
        "category": "category",
        "channel": "channel",
    },
    "payment": {
        "event_time": "event_time",
        "event_order": "event_no",
        "kind": "kind",
        "amount_cents": "amount_cents",
        # A due that names no instalment is one of its own.
        "instalment_id": "COALESCE(instalment_id, CASE WHEN kind = 'due' THEN event_id END)",
        "dpd_days": "dpd_days",
        "counterparty": "counterparty",
    },
    "device": {
        "event_time": "event_time",
        "event_order": "event_no",
        "kind": "kind",
        "device_id": "device_id",
        "city": "city",
        "latitude_udeg": "latitude_udeg",
        "longitude_udeg": "longitude_udeg",
    },
    "shared_risk": {
        "event_time": "event_time",
        "event_order": "event_no",
        "kind": "kind",
        "lender": "lender",
    },
}

#: Columns of an event that say which version of it is visible.
VERSION_COLUMNS = ("event_no", "known_time", "delivered_known_time", "retracted", "correction")

#: SQL that keeps the rows of some accounts, listed in ``numbers (account_id, account_no)``, and numbers them.
_OWN = "JOIN numbers USING (account_id)"


def successions(rows: str) -> str:
    """SELECT of the versions in a relation of events that another superseded, and when: ``superseded_time``.

    Few events are ever corrected, and the store has marked them, so the versions of those alone are compared.
    """
    return f"""WITH corrected AS (SELECT DISTINCT event_no FROM {rows} WHERE correction),
    following AS (
        SELECT event_no, known_time, delivered_known_time, LEAD(known_time) OVER (
            PARTITION BY event_no ORDER BY known_time, delivered_known_time
        ) AS superseded_time
        FROM {rows} SEMI JOIN corrected USING (event_no)
    )
    SELECT * FROM following WHERE NOT superseded_time IS NULL"""


def versions(source: str, named: Container[str], *, own: bool = True) -> str:
    """SELECT of every version of the events of a source, withdrawals apart: ``known_time``, ``superseded_time``.

    It reads ``<source>_successions``, the :func:`successions` of at least these accounts.

    Parameters
    ----------
    source : str
    named : container of str
        Columns that the query to come names; the others are left out.
    own : bool
        From the relation of the source, those of the accounts in ``numbers``, by ``account_no``; otherwise all of
        ``every_<source>``, by ``account_id``.
    """
    rows, account, joined = (source, "account_no", _OWN) if own else (f"every_{source}", "account_id", "")
    wanted = {name: sql for name, sql in _COLUMNS[source].items() if name in named}
    columns = "".join(f", {name}" if name == sql else f", {sql} AS {name}" for name, sql in wanted.items())
    return f"""SELECT {account}, known_time, superseded_time{columns}
    FROM {rows} {joined} LEFT JOIN {source}_successions USING (event_no, known_time, delivered_known_time)
    WHERE NOT COALESCE(retracted, FALSE)"""


def account_versions(attributes: tuple[str, ...]) -> str:
    """SELECT of every version of the accounts in ``numbers``: ``known_time``, ``superseded_time``, their attributes."""
    columns = "".join(f", {quoted(name)}" for name in attributes)
    return f"""SELECT account_no, known_time, LEAD(known_time) OVER (
        PARTITION BY account_no ORDER BY known_time, delivered_known_time
    ) AS superseded_time, segment{columns}
    FROM accounts {_OWN}"""


def seen(source: str, clock: Clock, *, of: str = "", joined: str | None = None) -> str:
    """Visible events: ``<of><source>_seen``, from ``<of><source>_versions``.

    Parameters
    ----------
    source : str
    clock : Clock
    of : str
        Empty: events of the spine's accounts; ``every_``: of any account.
    joined : str, optional
        SQL that brings in the spine's row; default: by account.
    """
    rows, joined = f"{of}{source}", clock.with_spine if joined is None else joined
    return f"{rows}_seen AS NOT MATERIALIZED (SELECT * FROM {rows}_versions {joined} WHERE {_visible(clock)})"


def accounts(scope: Scope) -> str:
    """Latest visible version of the account row: ``account_rows``."""
    clock = scope.clock
    return f"account_rows AS (SELECT * FROM accounts_versions {clock.with_spine} WHERE {_visible(clock)})"


def _visible(clock: Clock) -> str:
    return f"known_time < {clock.known_by} AND COALESCE(superseded_time >= {clock.known_by}, TRUE)"
