"""Listeners: whoever is told of interceptions, each at least once and in order, and none waits for another."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limitlens.data.errors import WorkspaceError
from limitlens.limits.ledger import Ledger
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.interceptions import interceptions


@dataclass(frozen=True)
class Listener:
    """Someone who is told of interceptions.

    Parameters
    ----------
    name : str
        By which the journal remembers how far it was told.
    take : callable
        Takes the interceptions of one tick, all of them, or raises a WorkspaceError.
    """

    name: str
    take: Callable[[Sequence[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class Untold:
    """How many interceptions a listener has still to be told of, and why."""

    count: int = 0
    reason: str = ""


def tell(ledger: Ledger, journal: Journal, listeners: Sequence[Listener]) -> dict[str, Untold]:
    """Tell each listener of the interceptions that it was not told of yet.

    Where one does not take those of a tick, it is told of them, and of all that follow, when it is told the next time;
    the others are not kept waiting. Whoever was killed in here tells again.

    Parameters
    ----------
    ledger : Ledger
    journal : Journal
        Remembers how far each was told; one that it does not know begins where the others are.
    listeners : sequence of Listener

    Returns
    -------
    dict of str to Untold
        What is left, by name of the listener.
    """
    journal.listen([one.name for one in listeners])
    return {one.name: _tell(ledger, journal, one) for one in listeners}


def _tell(ledger: Ledger, journal: Journal, listener: Listener) -> Untold:
    ticks = ledger.ticks_after(journal.heard_until(listener.name))
    left, reason = {tick.tick: interceptions(tick) for tick in ticks}, ""
    try:
        for number, entries in list(left.items()):
            if entries:
                listener.take(entries)
            journal.heard(listener.name, number)
            del left[number]
    except WorkspaceError as error:
        reason = str(error)
    return Untold(sum(map(len, left.values())), reason)


def as_json(entry: Mapping[str, Any]) -> str:
    """An interception as every listener gets it."""
    return json.dumps(entry, ensure_ascii=False)


def appended_to(path: Path) -> Listener:
    """A file that gets a line of JSON for each interception."""

    def take(entries: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(f"{as_json(entry)}\n" for entry in entries).encode()
        try:
            with path.open("ab", buffering=0) as lines:
                begin = lines.tell()
                if lines.write(text) < len(text):  # the disk is full: half a line would spoil the next
                    lines.truncate(begin)
                    raise WorkspaceError(f"{path}: no room for interceptions; they are told again.")
        except OSError as error:
            raise WorkspaceError(f"{path}: takes no interceptions ({error.strerror}); they are told again.") from error

    return Listener("out", take)


def printed_with(show: Callable[[str], object]) -> Listener:
    """Who looks on: a line for each interception."""

    def take(entries: Sequence[Mapping[str, Any]]) -> None:
        for entry in entries:
            show(f"{entry['at']}  {entry['account_id']}  {entry['action']}  {', '.join(entry['rules'])}")

    return Listener("output", take)
