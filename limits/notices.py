"""The log of the letters to customers: what was written for whom, and what became of it.

Letters are recorded in batches: an immutable Parquet file each, a link of the chain. What became of them (put out for
the lender's own channels, sent, come back) is a link each time it is said. One thing has one letter.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from limitlens.data.errors import WorkspaceError
from limitlens.data.storage import file_sha256, read_parquet, write_parquet
from limitlens.limits.chain import Cell, count_links, last_head, next_head
from limitlens.limits.database import connect, reading
from limitlens.limits.ledger_tables import TIME

#: What a letter is about: an adverse decision, a pause, an order of a person, a decision that was made good, changed
#: conditions.
KINDS = ("adverse", "pause", "order", "withdrawal", "conditions")

#: What becomes of a letter. ``written``: put out for the channels of the lender; the others say what these did with it.
STATUSES = ("recorded", "written", "sent", "failed", "returned")

#: A letter. ``at``: when what it is about was decided or holds from. ``about``: what else tells it from others of its
#: kind: the decision that was made good, the digest of the policy. ``facts``: what it says, without words, as JSON.
LETTERS = pa.schema(
    [
        ("reference", pa.string()),
        ("account_id", pa.string()),
        ("at", TIME),
        ("kind", pa.string()),
        ("about", pa.string()),
        ("facts", pa.string()),
    ]
)

#: By which a letter is known again: account, time, kind and what else it is about.
Key = tuple[str, datetime, str, str]


def key_of(letter: Mapping[str, Any]) -> Key:
    """By which a letter is known again; no two have the same."""
    return letter["account_id"], letter["at"], letter["kind"], letter["about"]


@dataclass(frozen=True)
class Batch:
    """Letters that were recorded together: their number, when, how many, and their file below the workspace."""

    batch: int
    at: datetime
    count: int
    letters: str


@dataclass(frozen=True)
class Sending:
    """What became of letters.

    Parameters
    ----------
    batch : int
        Their batch.
    references : tuple of str
        Which of it; empty: all.
    status : str
        One of :data:`STATUSES`.
    at : datetime
    actor, note : str
        Who says so, and by which channel, or whatever else there is to say.
    """

    batch: int
    references: tuple[str, ...]
    status: str
    at: datetime
    actor: str
    note: str


def batches(workspace: Path) -> list[Batch]:
    """Every batch, in order."""
    with reading(workspace) as connection:
        rows = connection.execute("SELECT batch, at, count, letters FROM notices ORDER BY batch")
        return [Batch(number, datetime.fromisoformat(at), count, path) for number, at, count, path in rows]


def record_letters(workspace: Path, letters: Sequence[Mapping[str, Any]], at: datetime) -> Batch:
    """Record letters as the next batch; the caller holds the workspace, and knows that none of them is recorded.

    A call that was killed leaves no batch, or all of it.

    Parameters
    ----------
    workspace : Path
    letters : sequence of mapping
        ``account_id, at, kind, about`` and ``facts`` (dict) of each.
    at : datetime
        Now.
    """
    number = len(batches(workspace)) + 1
    path = f"notices/{number:04d}.parquet"
    rows = [
        {
            **letter,
            "reference": f"{number:04d}-{place:06d}",
            "facts": json.dumps(letter["facts"], ensure_ascii=False, sort_keys=True),
        }
        for place, letter in enumerate(sorted(letters, key=key_of), 1)
    ]
    write_parquet(pa.Table.from_pylist(rows, LETTERS), workspace / path)
    with connect(workspace) as connection:
        digest = file_sha256(workspace / path)
        cells: list[Cell] = [number, at.isoformat(), len(rows), path, digest, count_links(connection)]
        head = next_head(last_head(connection), ["notice", *cells])
        connection.execute("INSERT INTO notices VALUES (?, ?, ?, ?, ?, ?, ?)", [*cells, head])
    return Batch(number, at, len(rows), path)


def letters_of(workspace: Path, batch: Batch) -> list[dict[str, Any]]:
    """The letters of a batch, with ``facts`` as dict; those of erased accounts are gone.

    Raises
    ------
    IntegrityError
        Its file is missing or damaged.
    """
    rows: list[dict[str, Any]] = read_parquet(workspace / batch.letters).to_pylist()
    return [row | {"facts": json.loads(row["facts"])} for row in rows]


def record_sending(workspace: Path, sending: Sending) -> None:
    """Record what became of letters.

    Raises
    ------
    WorkspaceError
        There is no such batch, or no such letter in it.
    """
    known = {batch.batch: batch for batch in batches(workspace)}
    if sending.batch not in known:
        raise WorkspaceError(f"there is no batch {sending.batch} of letters; expected one of {sorted(known)}.")
    letters = {row["reference"] for row in letters_of(workspace, known[sending.batch])}
    if unknown := sorted(set(sending.references) - letters):
        raise WorkspaceError(f"there is no letter {unknown[0]}; limitlens notices list shows those there are.")
    with connect(workspace) as connection:
        (number,) = connection.execute("SELECT COALESCE(MAX(sending), 0) + 1 FROM sendings").fetchone()
        cells: list[Cell] = [
            number, sending.batch, " ".join(sending.references), sending.status, sending.at.isoformat(), sending.actor,
            sending.note, count_links(connection),
        ]  # fmt: skip
        head = next_head(last_head(connection), ["sending", *cells])
        connection.execute("INSERT INTO sendings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])


def sendings(workspace: Path) -> list[Sending]:
    """What was said of letters, in order."""
    with reading(workspace) as connection:
        rows = connection.execute("SELECT batch, letters, status, at, actor, note FROM sendings ORDER BY sending")
        return [
            Sending(batch, tuple(references.split()), status, datetime.fromisoformat(at), actor, note)
            for batch, references, status, at, actor, note in rows
        ]


def letter_log(workspace: Path) -> list[dict[str, Any]]:
    """Every letter with the ``status`` it has, since when (``status_at``), who said so and what (``actor, note``).

    Putting a letter out once more says nothing of what its channel did with it.
    """
    of_batch = dict[int, list[Sending]]()
    for one in sendings(workspace):
        of_batch.setdefault(one.batch, []).append(one)
    rows = list[dict[str, Any]]()
    for batch in batches(workspace):
        start = {"status": STATUSES[0], "status_at": batch.at, "actor": "", "note": ""}
        letters = {row["reference"]: row | {"batch": batch.batch} | start for row in letters_of(workspace, batch)}
        for one in of_batch.get(batch.batch, ()):
            for reference in one.references or letters:
                if (row := letters.get(reference)) and (one.status != "written" or row["status"] == STATUSES[0]):
                    row |= {"status": one.status, "status_at": one.at, "actor": one.actor, "note": one.note}
        rows += letters.values()
    return rows
