"""Erasures in the ledger: rows of SQLite lose what they say of an account, links keep their place and their hash.

A legal hold keeps an account from being erased; it is a link of the chain like the erasure itself.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from limitlens.limits.chain import Cell, count_links, last_head, links, next_head
from limitlens.limits.database import Connection, connect, reading

#: What is left of a row about an account, besides its name: SQL by column. All else says when, what kind, and by whom.
_LEFT = {
    "overrides": {"limit_before_cents": "0", "limit_cents": "0", "reason": "''"},
    "restorations": {
        "limit_before_cents": "0",
        "limit_cents": "0",
        "reason": "''",
        "pd_ref": "NULL",
        "changed_at": "NULL",
        "adverse_at": "NULL",
    },
    "verdicts": {"words": "''", "limit_cents": "NULL"},
    "legal_holds": {"reason": "''"},
}

#: Texts that persons wrote about other things, where an id may stand.
_TEXTS = {
    "overrides": ("reason",),
    "restorations": ("reason",),
    "verdicts": ("words",),
    "legal_holds": ("reason",),
    "holds": ("slice_value", "reason"),
    "releases": ("reason",),
    "sendings": ("note",),
}


@dataclass(frozen=True)
class LegalHold:
    """Who ordered that an account is kept, when, and why."""

    account_id: str
    at: datetime
    actor: str
    reason: str


def legal_holds(workspace: Path) -> dict[str, LegalHold]:
    """Accounts that must be kept, by id."""
    in_force: dict[str, LegalHold] = {}
    with reading(workspace) as connection:
        for account, action, at, *who in connection.execute(
            "SELECT account_id, action, at, actor, reason FROM legal_holds ORDER BY id"
        ):
            in_force.pop(account, None)
            if action == "hold":
                in_force[account] = LegalHold(account, datetime.fromisoformat(at), *who)
    return in_force


def record_legal_hold(workspace: Path, hold: LegalHold, *, lifted: bool) -> None:
    """Record that an account must be kept, or need not be any more."""
    with connect(workspace) as connection:
        (number,) = connection.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM legal_holds").fetchone()
        cells: list[Cell] = [
            number, hold.account_id, "lift" if lifted else "hold", hold.at.isoformat(), hold.actor, hold.reason,
            count_links(connection),
        ]  # fmt: skip
        head = next_head(last_head(connection), ["legal hold", *cells])
        connection.execute("INSERT INTO legal_holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])


def count_erasures(workspace: Path) -> int:
    """Number of erasures on record."""
    with reading(workspace) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM erasures").fetchone()[0])


def record_erasure(
    workspace: Path,
    order: tuple[int, datetime, str, str],
    names: Mapping[str, str],
    renamed: Callable[[str], str],
    write_mark: Callable[[Mapping[str, str]], tuple[str, str]],
) -> None:
    """Take what the rows say of some accounts out of them, and add the link of the erasure, both or neither.

    Parameters
    ----------
    workspace : Path
    order : (int, datetime, str, str)
        Number of the erasure, when, by whom, and why; one that is on record is not recorded again.
    names : mapping of str to str
        What stands in place of each id.
    renamed : callable
        Puts that in place of the ids in a text.
    write_mark : callable
        Writes the mark of the erasure, given the hash of what is left of each link by its recorded one; returns its
        path below the workspace, and its sha256.
    """
    number, at, actor, reason = order
    with connect(workspace) as connection:
        if connection.execute("SELECT 1 FROM erasures WHERE erasure = ?", [number]).fetchone():
            return
        before = {link.head: link.content for link in links(connection)}
        _strip(connection, names, renamed)
        chain = links(connection)
        left, last = dict[str, str](), ""
        for link in chain:
            if link.content != before[link.head]:
                left[link.head] = next_head(last, link.content)
            last = link.head
        cells: list[Cell] = [
            number, at.isoformat(), actor, reason, len(names), *write_mark(left), len(chain)
        ]  # fmt: skip
        head = next_head(last_head(connection), ["erasure", *cells])
        connection.execute("INSERT INTO erasures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])


def _strip(connection: Connection, names: Mapping[str, str], renamed: Callable[[str], str]) -> None:
    for account, name in names.items():
        for table, left in _LEFT.items():
            cells = ", ".join(f"{column} = {value}" for column, value in left.items())
            connection.execute(f"UPDATE {table} SET account_id = ?, {cells} WHERE account_id = ?", [name, account])
    connection.create_function("renamed", 1, renamed, deterministic=True)
    for table, columns in _TEXTS.items():
        for column in columns:
            connection.execute(f"UPDATE {table} SET {column} = renamed({column}) WHERE renamed({column}) <> {column}")
    for tick, text in connection.execute("SELECT tick, decisions FROM ticks").fetchall():
        rows = json.loads(text)
        stay = [row for row in rows if row["account_id"] not in names]
        if len(stay) < len(rows):
            stripped = json.dumps(stay, ensure_ascii=False)
            connection.execute("UPDATE ticks SET decisions = ? WHERE tick = ?", [stripped, tick])
