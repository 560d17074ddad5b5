"""Retain: what is older than its purpose needs goes, by table, in the way of an erasure."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pandas as pd

from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.data.toml_reader import Reader, load_toml, read_toml
from limitlens.limits.erasing import legal_holds
from limitlens.pipeline.privacy.erase import Erased, erase
from limitlens.pipeline.privacy.erasure_plan import Older, held_before, noted_at
from limitlens.pipeline.workspace import Workspace

Table = Literal["closed_lines", "quarantine", "audit"]

#: Longest time that a file may ask for.
_MOST_DAYS = 36_500


@dataclass(frozen=True)
class Keep:
    """How long a table is kept, and what for; ``conf/retention.toml`` explains the tables."""

    table: Table
    purpose: str
    days: int


@dataclass(frozen=True)
class Due:
    """What is older than its purpose needs.

    Parameters
    ----------
    accounts : tuple of str
        Of lines that closed.
    kept : tuple of str
        Such accounts that stand under a legal hold.
    held : int
        Rows of the quarantine.
    audit : int
        Lines of the log of the desk.
    older : Older
        Before which times those of the latter two go.
    """

    accounts: tuple[str, ...]
    kept: tuple[str, ...]
    held: int
    audit: int
    older: Older

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to erase."""
        return not (self.accounts or self.held or self.audit)


def read_retention(path: Path) -> list[Keep]:
    """Read how long things are kept.

    Raises
    ------
    ConfigError
        The file cannot be read, names no table, one twice or an unknown one, or a number of days out of bounds; with
        file and line.
    """
    text = read_toml(path)
    body, reader = load_toml(text, str(path)), Reader(text, str(path))
    reader.table(body, (), ["keep"], ["keep"])
    names = [field.name for field in fields(Keep)]
    rules: list[Keep] = []
    for number, section in enumerate(reader.array(body, ("keep",))):
        where = ("keep", number)
        values = reader.table(section, where, names, names)
        rule = Keep(**{field.name: reader.value(values, where, field.name, field.type) for field in fields(Keep)})
        if not 1 <= rule.days <= _MOST_DAYS:
            raise reader.error((*where, "days"), f"days is {rule.days}; expected 1 to {_MOST_DAYS:,}.")
        if any(other.table == rule.table for other in rules):
            raise reader.error((*where, "table"), f"{rule.table!r} is named twice; keep one of them.")
        rules.append(rule)
    if not rules:
        raise ConfigError(f"{path}: no [[keep]]; name a table, its purpose and its days.")
    return rules


def due(workspace: Workspace, rules: Sequence[Keep], at: datetime) -> Due:
    """What is older than the rules let it become; nothing is written.

    Parameters
    ----------
    workspace : Workspace
    rules : sequence of Keep
    at : datetime
        Now.
    """
    before = {rule.table: at - timedelta(days=rule.days) for rule in rules}
    closed = _closed_before(workspace, before["closed_lines"]) if "closed_lines" in before else []
    kept = [account for account in closed if account in legal_holds(workspace.root)]
    older = Older(*(before[name].isoformat() if name in before else "" for name in ("quarantine", "audit")))
    held = f"SELECT COUNT(*) AS n FROM ({workspace.events.quarantine()}) WHERE {held_before(workspace.events, older)}"
    return Due(
        accounts=tuple(sorted(set(closed) - set(kept))),
        kept=tuple(kept),
        held=int(run_sql(held)["n"][0].as_py()) if older.held else 0,
        audit=_audit_before(workspace.root / "audit.jsonl", older.audit) if older.audit else 0,
        older=older,
    )


def retain(
    workspace: Workspace, rules: Sequence[Keep], *, at: datetime, actor: str, progress: Progress = silent
) -> Erased:
    """Erase what is :func:`due`; the purposes are the reason that is recorded.

    Parameters
    ----------
    workspace : Workspace
    rules : sequence of Keep
    at : datetime
        Now.
    actor : str
        Who orders it.
    progress : callable

    Raises
    ------
    WorkspaceError
        A name is missing, or a run is in progress.
    """
    if not actor.strip():
        raise WorkspaceError("a retention run needs the name of a person.")
    old = due(workspace, rules, at)
    if old.nothing:
        return Erased(0, 0, 0)
    reason = "kept long enough: " + "; ".join(f"{rule.table} {rule.days} days {rule.purpose}" for rule in rules)
    return erase(workspace, old.accounts, at=at, actor=actor, reason=reason, older=old.older, progress=progress)


def _closed_before(workspace: Workspace, time: datetime) -> list[str]:
    """Accounts whose lines a decision or a person closed before a time, and nobody opened again."""
    last = workspace.ledger.last_decisions().to_pandas()[["account_id", "as_of", "action"]]
    orders = workspace.ledger.overrides()[["account_id", "at", "action"]].rename(columns={"at": "as_of"})
    every = pd.concat([last, orders[orders["action"] != "keep"]]) if len(orders) else last
    latest = every.sort_values("as_of", kind="stable").drop_duplicates("account_id", keep="last")
    gone = latest[(latest["action"] == "close") & (latest["as_of"] < pd.Timestamp(time))]
    return sorted(gone["account_id"])


def _audit_before(path: Path, time: str) -> int:
    if not path.is_file():
        return 0
    return sum(noted_at(line) < time for line in path.read_text(encoding="utf-8").splitlines())
