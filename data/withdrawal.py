"""Withdrawal: what a load brought is taken back from a moment on, and nothing of it is deleted.

Each row of the load gets a further version under its own key: an event that no other load knows is retracted, an
account that no other knows has limit 0 and stands in no book; anything else says again what the others say. What was
decided before replays as it was. So a key is stored an even number of times while its row is withdrawn, and an odd
number of times when it was delivered again.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, OUTCOMES, SOURCES, Source
from limitlens.data.delivery import ROW
from limitlens.data.engine import run_sql
from limitlens.data.events import EventStore
from limitlens.data.quoting import quoted
from limitlens.data.versions import FILE, FLOOR

_RETRACTED = {"retracted": "TRUE"}


@dataclass(frozen=True)
class Withdrawal:
    """Who took which load back, and why; the mark of a load of its own holds it."""

    withdraws: str
    actor: str
    reason: str
    withdrawn_at: str

    def to_dict(self) -> dict[str, Any]:
        """As the mark holds it."""
        return asdict(self)


def withdrawn_rows(store: EventStore, load: str, decided_until: datetime | None) -> dict[str, pa.Table]:
    """The versions that take a load back, by source; those of outcomes are only counted.

    Parameters
    ----------
    store : EventStore
    load : str
        A load that was not withdrawn.
    decided_until : datetime or None
        What was known then stays as it was.

    Returns
    -------
    dict of str to pyarrow.Table
        As :func:`limitlens.data.versions.add_clean` takes them; with ``delivered_floor``, from which on they are known.
    """
    others = [name for name in store.standing_loads() if name != load]
    rows = {}
    for name, source in SOURCES.items():
        relations = {
            "mine": store.versions(name, [load]),
            "others": store.versions(name, [] if source is OUTCOMES else others),
            "every": store.versions(name),
        }
        attributes = {**store.attributes(), **store.protected_attributes()} if source.open_columns else {}
        taken: pa.Table = run_sql(_versions(source, attributes), relations, {"decided_until": decided_until})
        if len(taken):
            rows[name] = taken
    return rows


def first_known(store: EventStore, load: str) -> dict[str, datetime]:
    """The earliest time at which a row of a load was known, by source that decisions stand on and it has rows of."""
    earliest = {}
    for name in (ACCOUNTS.name, *EVENT_SOURCES):
        sql = f"SELECT MIN(known_time) AS first FROM ({store.versions(name, [load])})"
        if (first := run_sql(sql)["first"][0].as_py()) is not None:
            earliest[name] = first
    return earliest


def _versions(source: Source, attributes: Collection[str]) -> str:
    """A row for each of the load: as the other loads have it, or withdrawn."""
    identity = quoted(source.key[0])
    contents = [name for name in (*source.column_names(), *attributes) if name not in (source.key[0], "known_time")]
    void = {ACCOUNTS.name: {"limit_cents": "0"}, OUTCOMES.name: dict[str, str]()}.get(source.name, _RETRACTED)
    chosen = ", ".join(
        f"CASE WHEN standing.known_time IS NULL THEN {void.get(name, f'mine.{quoted(name)}')} "
        f"ELSE standing.{quoted(name)} END AS {quoted(name)}"
        for name in contents
    )
    return f"""
    WITH last AS (
        SELECT {identity}, MAX(known_time) AS until FROM every SEMI JOIN mine USING ({identity}) GROUP BY ALL
    ),
    standing AS (
        SELECT * FROM others SEMI JOIN mine USING ({identity})
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY {identity} ORDER BY known_time DESC, delivered_known_time DESC
        ) = 1
    )
    SELECT CAST(0 AS BIGINT) AS {FILE}, ROW_NUMBER() OVER (ORDER BY {identity}, mine.delivered_known_time) AS {ROW},
        {identity}, mine.delivered_known_time AS known_time, {chosen},
        GREATEST(last.until + INTERVAL 1 MICROSECOND, CAST($decided_until AS TIMESTAMPTZ)) AS {FLOOR}
    FROM mine JOIN last USING ({identity}) LEFT JOIN standing USING ({identity})
    ORDER BY {ROW}
    """
