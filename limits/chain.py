"""The chain of the ledger: everything that was recorded, each link hashed with all before it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limitlens.limits.database import Connection

_RUN = (
    "run_id, as_of, model_version, model_digest, policy_digest, backtest, "
    "decisions, decisions_sha256, attributions, attributions_sha256"
)
_OVERRIDE = "id, account_id, at, action, limit_before_cents, limit_cents, actor, reason, runs_before"
_HOLD = "hold, source, kind, slice_column, slice_value, fault, since, opened_at, actor, reason, links_before"
_RELEASE = "hold, verdict, released_at, actor, reason, links_before"
_RESTORATION = (
    "id, account_id, at, limit_before_cents, limit_cents, actor, reason, restores, hold, can_draw, pd_ref, changed_at, "
    "adverse_at, links_before"
)
_TICK = "tick, as_of, model_version, model_digest, policy_digest, decisions, links_before"
_VERDICT = (
    "verdict_no, account_id, since, as_of, at, verdict, code, words, actor, action, limit_cents, needed, blind, "
    "settles, override, links_before"
)
_RECORD = "record, kind, name, sha256, links_before"
_SIGNER = "signer, person, os_user, kind, name, public_key, signature, links_before"
_LEGAL_HOLD = "id, account_id, action, at, actor, reason, links_before"
_ERASURE = "erasure, at, actor, reason, accounts, mark, mark_sha256, links_before"
_NOTICE = "batch, at, count, letters, letters_sha256, links_before"
_SENDING = "sending, batch, letters, status, at, actor, note, links_before"
_EXCHANGE = "step_no, exchange, lender, step, at, actor, ids, listed, hits, sha256, links_before"
_REVISION = "run_id, known_by, known_rows, late_rows, attributions, attributions_sha256, links_before"

#: What a row of SQLite holds.
Cell = str | int | float | None


@dataclass(frozen=True)
class Link:
    """One run, override, revision, hold, release, tick, verdict, exchange, record or signer, as recorded.

    Parameters
    ----------
    name : str
        How a person finds it.
    content : tuple
        Its kind, and every cell of its row that never changes.
    files : tuple of (path below the workspace, sha256)
    head : str
        Hash of the chain that ends with it.
    """

    name: str
    content: tuple[Cell, ...]
    files: tuple[tuple[str, str], ...]
    head: str


@dataclass(frozen=True)
class _Kind:
    """A kind of link whose rows say how many links stood before them: what they hold, and how a person finds one."""

    kind: str
    columns: str
    name: Callable[[Sequence[Any]], str]
    files: Callable[[Sequence[Any]], tuple[tuple[str, str], ...]] = lambda _: ()


#: These kinds, by table.
_LATER = {
    "revisions": _Kind("revision", _REVISION, lambda c: f"revision of run {c[0][:12]}", lambda c: ((c[4], c[5]),)),
    "holds": _Kind("hold", _HOLD, lambda c: f"hold {c[0]} of {c[1]}"),
    "releases": _Kind("release", _RELEASE, lambda c: f"release of hold {c[0]}"),
    "restorations": _Kind("restoration", _RESTORATION, lambda c: f"restoration {c[0]} of account {c[1]}"),
    "ticks": _Kind("tick", _TICK, lambda c: f"tick {c[0]} of {c[1]}"),
    "verdicts": _Kind("verdict", _VERDICT, lambda c: f"verdict {c[0]} on account {c[1]}"),
    "legal_holds": _Kind("legal hold", _LEGAL_HOLD, lambda c: f"legal hold {c[0]}"),
    "erasures": _Kind("erasure", _ERASURE, lambda c: f"erasure {c[0]}", lambda c: ((c[5], c[6]),)),
    "notices": _Kind("notice", _NOTICE, lambda c: f"batch {c[0]} of letters", lambda c: ((c[3], c[4]),)),
    "sendings": _Kind("sending", _SENDING, lambda c: f"sending {c[0]} of batch {c[1]} of letters"),
    "exchanges": _Kind("exchange", _EXCHANGE, lambda c: f"exchange {c[1][:12]} {c[3]} with {c[2]}"),
    "records": _Kind("record", _RECORD, lambda c: f"record of {c[1]} {c[2]}"),
    "signers": _Kind("signer", _SIGNER, lambda c: f"signer {c[0]}, {c[1]} of {c[3]} {c[4]}"),
}


def next_head(head: str, content: Sequence[Cell]) -> str:
    """Hash of a chain that is one link longer.

    Parameters
    ----------
    head : str
        Hash of the chain so far; empty at its beginning.
    content : sequence of str, int, float or None

    Returns
    -------
    str
        Sha256 in hexadecimal over the JSON list of both. What it is must not change: ledgers are kept for years.

    Examples
    --------
    >>> next_head("", ["override", 1, "A1", "陈伟"])[:16]
    'f5556b69f86feee8'
    """
    return hashlib.sha256(json.dumps([head, *content], ensure_ascii=False).encode()).hexdigest()


def heads_of(chain: Sequence[Link], erased: Mapping[str, str]) -> Iterator[str]:
    """Hash of the chain after each link, as the rows give it.

    What a link held before an erasure cannot be hashed again. Its recorded hash stands, which every later link binds,
    as long as what is left of it, after the links before it, has the hash that the erasure recorded.

    Parameters
    ----------
    chain : sequence of Link
    erased : mapping of str to str
        Hash of what is left of each link that lost content, after those before it, by its recorded hash.
    """
    head = ""
    for link in chain:
        head = next_head(head, link.content)
        head = link.head if erased.get(link.head) == head else head
        yield head


def links(connection: Connection) -> list[Link]:
    """Every link, in the order of recording.

    An override stands behind the run that was the last one then, every later kind behind as many links as there were.
    """
    placed = []
    for number, (*cells, head) in enumerate(connection.execute(f"SELECT {_RUN}, head FROM runs ORDER BY rowid"), 1):
        files = ((cells[6], cells[7]), (cells[8], cells[9]))
        placed.append((number, 0, Link(f"run {cells[0][:12]} of {cells[1]}", ("run", *cells), files, head)))
    for *cells, head in connection.execute(f"SELECT {_OVERRIDE}, head FROM overrides"):
        name = f"override {cells[0]} of account {cells[1]}"
        placed.append((cells[-1], cells[0], Link(name, ("override", *cells), (), head)))
    chain = [link for *_, link in sorted(placed, key=lambda one: one[:2])]
    later = []
    for table, kind in _LATER.items():
        for *cells, head in connection.execute(f"SELECT {kind.columns}, head FROM {table}"):
            later.append((cells[-1], Link(kind.name(cells), (kind.kind, *cells), kind.files(cells), head)))
    for place, link in sorted(later, key=lambda one: one[0]):
        chain.insert(place, link)
    return chain


def last_head(connection: Connection) -> str:
    """Hash of the whole chain; empty before the first link."""
    placed = " UNION ALL ".join(f"SELECT head FROM {table} WHERE links_before = :last" for table in _LATER)
    override = "SELECT head FROM overrides WHERE runs_before = (SELECT COUNT(*) FROM runs) ORDER BY id DESC LIMIT 1"
    row = connection.execute(placed, {"last": count_links(connection) - 1}).fetchone()
    row = row or connection.execute(override).fetchone()
    row = row or connection.execute("SELECT head FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
    return row[0] if row else ""


def count_links(connection: Connection) -> int:
    """Number of links."""
    counts = (f"(SELECT COUNT(*) FROM {table})" for table in ("runs", "overrides", *_LATER))
    return int(connection.execute(f"SELECT {' + '.join(counts)}").fetchone()[0])
