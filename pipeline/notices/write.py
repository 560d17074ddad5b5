"""Write letters: record what is due, put every batch out as files for the lender's own channels, and say so.

What a letter says is recorded first; the files follow from the record. A batch is one folder that appears whole, so a
call that was killed leaves no half letter, and the next one goes on where it stopped.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import midnight
from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress, silent
from limitlens.data.spreadsheet import write_csv
from limitlens.data.storage import write_text
from limitlens.limits.notices import (
    Batch,
    Sending,
    batches,
    letter_log,
    letters_of,
    record_letters,
    record_sending,
    sendings,
)
from limitlens.limits.policy import Policy
from limitlens.pipeline.answers.customer import LANGUAGES
from limitlens.pipeline.notices.due import due_letters
from limitlens.pipeline.notices.words import Stationery
from limitlens.pipeline.release.policy_diff import decided_otherwise
from limitlens.pipeline.workspace import Workspace

#: Who says that letters were put out.
_OURSELVES = "limitlens"


@dataclass(frozen=True)
class Written:
    """What a call did: letters recorded, folders put out by batch, and letters whose account has no other name."""

    recorded: int
    folders: Mapping[int, Path]
    unnamed: int


def write_letters(
    workspace: Workspace,
    out: Path,
    stationery: Stationery,
    *,
    at: datetime,
    accounts: Mapping[str, str] | None = None,
    since: datetime | None = None,
    again: int | None = None,
    progress: Progress = silent,
) -> Written:
    """Record what is due and put out every batch that was not put out; a second call does nothing.

    Parameters
    ----------
    workspace : Workspace
    out : Path
        Folder that gets one folder a batch, ``batch-0001``.
    stationery : Stationery
    at : datetime
        Now.
    accounts : mapping of str to str, optional
        What letters call an account, by what the workspace calls it; others stay as they are.
    since : datetime, optional
        Nothing older gets a letter.
    again : int, optional
        Put this batch out again, in place of what lies there, and do nothing else.
    progress : callable

    Raises
    ------
    ConfigError
        A template has an error.
    IntegrityError
        A decision cannot be reproduced, or a file of the log is damaged.
    WorkspaceError
        There is no such batch, nothing was decided yet, other letters lie there, the disk is full, or a run is in
        progress.
    """
    names = accounts or {}
    _expect_decisions(workspace)
    with exclusive(workspace.root, "notices write"):
        if again is not None:
            recorded = {batch.batch: batch for batch in batches(workspace.root)}
            if again not in recorded:
                raise WorkspaceError(f"there is no batch {again} of letters; expected one of {sorted(recorded)}.")
            folder = put_out(workspace, recorded[again], out, stationery, names, anew=True)
            record_sending(workspace.root, Sending(again, (), "written", at, _OURSELVES, "again"))
            return Written(0, {again: folder}, _unnamed(workspace, [recorded[again]], names))
        due = due_letters(workspace, since, progress=progress)
        if due:
            record_letters(workspace.root, due, at)
        done = {sending.batch for sending in sendings(workspace.root) if sending.status == "written"}
        waiting = [batch for batch in batches(workspace.root) if batch.batch not in done]
        folders = {}
        for batch in waiting:
            progress(f"writing {batch.count:,} letters of batch {batch.batch}")
            folders[batch.batch] = put_out(workspace, batch, out, stationery, names)
            record_sending(workspace.root, Sending(batch.batch, (), "written", at, _OURSELVES, ""))
        return Written(len(due), folders, _unnamed(workspace, waiting, names))


def _unnamed(workspace: Workspace, put_out_: Sequence[Batch], names: Mapping[str, str]) -> int:
    """Letters that call an account as the workspace does."""
    return sum(row["account_id"] not in names for batch in put_out_ for row in letters_of(workspace.root, batch))


def announce(
    workspace: Workspace, new: Policy, holds_from: datetime, *, at: datetime, progress: Progress = silent
) -> int:
    """Record a letter for each line of today's book that another policy than the one in force decides otherwise.

    Parameters
    ----------
    workspace : Workspace
        The policy in force is that of its champion.
    new : Policy
    holds_from : datetime
        From when on the new one holds; one letter an account, day and policy.
    at : datetime
        Now.
    progress : callable

    Returns
    -------
    int
        Letters recorded; :func:`write_letters` puts them out.

    Raises
    ------
    ConfigError
        The new policy names a column that the workspace does not have.
    WorkspaceError
        The new policy would hold before anybody is told, nothing was promoted, no line stands in the book, or a run is
        in progress.
    """
    if holds_from < midnight(at):
        raise WorkspaceError(
            f"{holds_from:%Y-%m-%d} is past; changed conditions are announced before they hold: name a day to come "
            "by --from."
        )
    _expect_decisions(workspace)
    with exclusive(workspace.root, "notices announce"):
        champion = workspace.registry.champion()
        if champion is None:
            raise WorkspaceError(f"{workspace.root}: no policy is in force; run limitlens promote first.")
        moved = decided_otherwise(workspace, workspace.iteration(champion).policy, new, progress=progress)
        known = {(row["account_id"], row["at"], row["about"]) for row in letter_log(workspace.root)}
        rows = [
            {"account_id": row.pop("account_id"), "at": holds_from, "kind": "conditions", "about": new.digest,
             "facts": row}
            for row in moved.to_dict("records")
        ]  # fmt: skip
        due = [row for row in rows if (row["account_id"], row["at"], row["about"]) not in known]
        if due:
            record_letters(workspace.root, due, at)
    return len(due)


def _expect_decisions(workspace: Workspace) -> None:
    """Refuse a workspace without anything to write of, such as a folder that was mistyped, before it gets a lock."""
    if not (workspace.ledger.runs() or workspace.ledger.pending_ticks() or batches(workspace.root)):
        raise WorkspaceError(f"{workspace.root}: nothing has been decided; see that it is the right workspace.")


def put_out(
    workspace: Workspace,
    batch: Batch,
    out: Path,
    stationery: Stationery,
    accounts: Mapping[str, str],
    *,
    anew: bool = False,
) -> Path:
    """Write the folder of a batch: a page for each letter and language, ``letters.json`` and ``letters.csv``.

    Parameters
    ----------
    workspace : Workspace
    batch : Batch
    out : Path
    stationery : Stationery
    accounts : mapping of str to str
        As in :func:`write_letters`.
    anew : bool
        In place of a folder that is there; otherwise that is whole, and stays.

    Raises
    ------
    WorkspaceError
        A folder is there that is no earlier one of this batch, or it cannot be written.
    """
    folder = out / f"batch-{batch.batch:04d}"
    recorded = letters_of(workspace.root, batch)
    if folder.exists():
        _expect_same(folder, recorded)
        if not anew:
            return folder
    unfinished = out / f".{folder.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    rows = []
    for row in recorded:
        account = accounts.get(row["account_id"], row["account_id"])
        letters = {one: stationery.letter(row, account, batch.at, one) for one in LANGUAGES}
        for language, letter in letters.items():
            write_text(letter.html, unfinished / f"{row['reference']}.{language}.html")
        words = {f"{part}_{one}": getattr(letters[one], part) for one in LANGUAGES for part in ("subject", "text")}
        rows.append(_figures(row, account) | words)
    write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", unfinished / "letters.json")
    write_csv(pa.Table.from_pylist(rows), unfinished / "letters.csv")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return folder


def _expect_same(folder: Path, recorded: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a folder that holds other letters, such as those of another workspace."""
    try:
        there = {row.pop("reference"): row for row in json.loads((folder / "letters.json").read_text("utf-8"))}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        there = {}
    for row in recorded:
        figures = _figures(row, "")
        old = there.get(figures.pop("reference"), {})
        if figures != {name: old.get(name) for name in figures} | {"account": ""}:
            raise WorkspaceError(f"{folder}: holds other letters, or something else; name another folder.")


def _figures(row: Mapping[str, Any], account: str) -> dict[str, Any]:
    """What a channel of the lender sorts and merges by."""
    facts = row["facts"]
    return {
        "reference": row["reference"],
        "account": account,
        "kind": row["kind"],
        "at": row["at"].isoformat(),
        "action": facts.get("action", ""),
        "limit_before_cents": facts.get("limit_before_cents"),
        "limit_cents": facts.get("limit_cents"),
        "reasons": facts.get("reasons", []),
    }


def listed(workspace: Workspace) -> pd.DataFrame:
    """Every letter: ``reference, account_id, at, kind, action, reasons, status, status_at, actor, note``."""
    rows = [
        {
            **{name: row[name] for name in ("reference", "account_id", "at", "kind")},
            "action": row["facts"].get("action", ""),
            "reasons": row["facts"].get("reasons", []),
            **{name: row[name] for name in ("status", "status_at", "actor", "note")},
        }
        for row in letter_log(workspace.root)
    ]
    columns = ["reference", "account_id", "at", "kind", "action", "reasons", "status", "status_at", "actor", "note"]
    return pd.DataFrame(rows, columns=columns)


def mark(workspace: Workspace, references: tuple[str, ...], status: str, *, at: datetime, actor: str, note: str) -> int:
    """Record what the lender's channels did with letters; returns with how many.

    Parameters
    ----------
    workspace : Workspace
    references : tuple of str
        Of letters (``0001-000012``), or of whole batches (``0001``).
    status : {"sent", "failed", "returned"}
    at : datetime
        Now.
    actor, note : str
        Who says so; by which channel, or what went wrong.

    Raises
    ------
    WorkspaceError
        There is no such letter or batch, nobody is named, or a run is in progress.
    """
    if not actor.strip():
        raise WorkspaceError("what became of a letter needs the name of whoever says so.")
    with exclusive(workspace.root, "notices sent"):
        known = letter_log(workspace.root)
        meant = _meant(references, {row["reference"] for row in known}, {f"{row['batch']:04d}" for row in known})
        for batch, chosen in meant.items():
            record_sending(workspace.root, Sending(batch, chosen, status, at, actor, note))
    whole = {batch for batch, chosen in meant.items() if not chosen}
    return sum(row["batch"] in whole or row["reference"] in meant.get(row["batch"], ()) for row in known)


def _meant(references: tuple[str, ...], letters: set[str], whole: set[str]) -> dict[int, tuple[str, ...]]:
    """Letters by batch; none: all of it."""
    if unknown := [one for one in references if one not in letters | whole]:
        raise WorkspaceError(f"there is no letter {unknown[0]!r}; limitlens notices list shows those there are.")
    meant: dict[int, tuple[str, ...]] = {int(one): () for one in references if one in whole}
    entire = set(meant)
    for one in sorted(set(references) - whole):
        batch = int(one.partition("-")[0])
        if batch not in entire:
            meant[batch] = (*meant.get(batch, ()), one)
    return meant
