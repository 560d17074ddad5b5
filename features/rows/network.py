"""Rows of the network: who else uses a device of the account, or is sent money by whom the account sends money to.

Other accounts count as they were known at the same moment, whether or not the spine holds them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from limitlens.features.rows.clock import Clock, Scope
from limitlens.features.rows.seen import VERSION_COLUMNS, seen, versions

#: Money sent to one payee further back says nothing.
PAYEE_DAYS = 90


@dataclass(frozen=True)
class Link:
    """What links accounts: a column of a source; of one kind of event if it is named, and of so many days if any."""

    source: str
    column: str
    kind: str = ""
    days: int = 0

    @property
    def ever(self) -> str:
        """SQL of the events that link at some moment."""
        of_kind = f"kind = '{self.kind}' AND " if self.kind else ""
        return f"{of_kind}NOT {self.column} IS NULL"

    def where(self, clock: Clock) -> str:
        """SQL of the events that link at the moment of a clock."""
        return f"{self.ever} AND event_time >= {clock.since(self.days)}" if self.days else self.ever

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that are read of accounts to which one is linked; no other says anything of them."""
        return ("account_id", "event_time", "kind", self.column, *VERSION_COLUMNS)


#: What links accounts, by the name of the rows.
LINKS = {
    "shared_device": Link("device", "device_id"),
    "shared_payee": Link("payment", "counterparty", "transfer_out", PAYEE_DAYS),
}


def links_of(rows: Iterable[str]) -> set[Link]:
    """What links accounts in rows of these names."""
    return {LINKS[name] for name in rows if name in LINKS}


def shared_device(scope: Scope) -> str:
    """One row for each device of the account, at its last use: ``members``, the accounts ever seen on it."""
    return _linked("shared_device", scope.clock)


def shared_payee(scope: Scope) -> str:
    """One row for each payee of the last 90 days: ``members``, the accounts that sent money there in that time."""
    return _linked("shared_payee", scope.clock)


def members_of_all(names: Iterable[str], clock: Clock) -> dict[str, str]:
    """Queries for what several accounts share at one moment, by the name of the relation it is read from.

    They look at every account, so with literals they run once, before the parts of the book.
    """
    return {f"{name}_members": _members_of_all(LINKS[name], clock) for name in names if name in LINKS}


def _members_of_all(link: Link, clock: Clock) -> str:
    return f"""WITH {_every_version(link)},
    {seen(link.source, clock, of="every_")},
    pairs AS (
        SELECT DISTINCT {link.column}, account_id FROM every_{link.source}_seen
        WHERE event_time < {clock.as_of} AND {link.where(clock)}
    )
    SELECT {link.column}, COUNT(*) AS members FROM pairs GROUP BY {link.column} HAVING COUNT(*) > 1"""


def _every_version(link: Link) -> str:
    """Versions of the events of all accounts."""
    named = {"event_time", "kind", link.column}
    return f"every_{link.source}_versions AS ({versions(link.source, named, own=False)})"


def _linked(name: str, clock: Clock) -> str:
    link = LINKS[name]
    column, key = link.column, link.column if clock.as_of_literal else f"line, {link.column}"
    members = "" if clock.as_of_literal else f"{_members_of_peers(name, clock)},"
    return f"""{name}_own AS (
        SELECT {clock.carried}, {column}, MAX(event_time) AS event_time FROM {link.source}_rows
        WHERE {link.where(clock)} GROUP BY {clock.carried}, {column}
    ),
    {members}
    {name}_rows AS (
        SELECT {clock.carried}, event_time, {column} AS event_order, COALESCE(members, 1) AS members
        FROM {name}_own LEFT JOIN {name}_members USING ({key})
    )"""


def _members_of_peers(name: str, clock: Clock) -> str:
    """A moment of its own for each row of the spine: the accounts that ever shared a link are looked at as of it."""
    column, source, where = LINKS[name].column, LINKS[name].source, LINKS[name].where(clock)
    return f"""{name}_pairs AS (
        SELECT DISTINCT account_id, {column} FROM every_{source} SEMI JOIN {name}_own USING ({column})
    ),
    {name}_peers AS (
        SELECT DISTINCT own.line, own.as_of, own.known_by, pair.account_id
        FROM {name}_own AS own JOIN {name}_pairs AS pair ON pair.{column} = own.{column}
    ),
    {_every_version(LINKS[name])},
    {seen(source, clock, of="every_", joined=f"JOIN {name}_peers USING (account_id)")},
    {name}_members AS (
        SELECT line, {column}, COUNT(DISTINCT account_id) AS members FROM every_{source}_seen
        WHERE event_time < {clock.as_of} AND {where} GROUP BY line, {column}
    )"""
