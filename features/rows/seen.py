"""Which version of each row is visible: the latest known strictly before ``known_by``, unless it is withdrawn."""

from limitlens.data.events import quoted
from limitlens.features.rows.clock import Clock, Scope

# A due that names no instalment is one of its own.
_INSTALMENT = "COALESCE(instalment_id, CASE WHEN kind = 'due' THEN event_id END) AS instalment_id"

_COLUMNS = {
    "consumption": "event_time, event_no AS event_order, kind, amount_cents, category, channel",
    "payment": f"event_time, event_no AS event_order, kind, amount_cents, {_INSTALMENT}, dpd_days, counterparty",
    "device": "event_time, event_no AS event_order, kind, device_id, city, latitude_udeg, longitude_udeg",
}

_VISIBLE = "NOT COALESCE(retracted, FALSE)"


def seen(source: str, clock: Clock, *, of: str = "", joined: str | None = None) -> str:
    """Visible events: ``<of><source>_seen``.

    Few events are ever corrected, and the store has marked them, so the versions of those alone are compared.

    Parameters
    ----------
    source : str
    clock : Clock
    of : str
        Empty: events of the spine's accounts; ``every_``: of any account.
    joined : str, optional
        SQL that brings in the spine's row; default: by account.
    """
    columns = f"{clock.carried}, {_COLUMNS[source]}"
    names = columns.replace("event_no AS ", "").replace(_INSTALMENT, "instalment_id")
    rows, joined = f"{of}{source}", clock.with_spine if joined is None else joined
    return f"""{rows}_corrected AS (SELECT DISTINCT event_no FROM {rows} WHERE correction),
    {rows}_versions AS (
        SELECT {columns}, retracted, ROW_NUMBER() OVER (
            PARTITION BY {clock.key}, event_no ORDER BY known_time DESC, delivered_known_time DESC
        ) AS version
        FROM {rows} {joined} SEMI JOIN {rows}_corrected USING (event_no)
        WHERE known_time < {clock.known_by}
    ),
    {rows}_seen AS (
        SELECT {columns} FROM {rows} {joined} ANTI JOIN {rows}_corrected USING (event_no)
        WHERE known_time < {clock.known_by} AND {_VISIBLE}
        UNION ALL
        SELECT {names} FROM {rows}_versions WHERE version = 1 AND {_VISIBLE}
    )"""


def accounts(scope: Scope, names: tuple[str, ...]) -> str:
    """Latest visible version of the account row, with some attributes: ``account_rows``."""
    clock = scope.clock
    columns = "".join(f", {quoted(name)}" for name in names)
    return f"""account_versions AS (
        SELECT {clock.carried}, segment{columns}, ROW_NUMBER() OVER (
            PARTITION BY {clock.key} ORDER BY known_time DESC, delivered_known_time DESC
        ) AS version
        FROM accounts {clock.with_spine} WHERE known_time < {clock.known_by}
    ),
    account_rows AS (SELECT {clock.key}, segment{columns} FROM account_versions WHERE version = 1)"""
