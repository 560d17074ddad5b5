"""Hold and release: a slice of the data is suspect, with evidence; a person judges it, with name and reason."""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.contracts import SOURCES
from limitlens.data.errors import WorkspaceError
from limitlens.data.incident import scope_text
from limitlens.data.incidents import QUARANTINED, WITHDRAWN
from limitlens.data.lock import exclusive
from limitlens.limits.hold import VERDICTS, Hold
from limitlens.pipeline import tracking
from limitlens.pipeline.workspace import Workspace


def open_hold(workspace: Workspace, hold: Hold) -> int:
    """Hold a slice of a source: decisions to come do not rely on it alone.

    Parameters
    ----------
    workspace : Workspace
    hold : Hold

    Returns
    -------
    int
        Its number; that of the hold in force, where one of the same slice and an earlier or equal fault is.

    Raises
    ------
    WorkspaceError
        The source, kind or column does not exist, a name or reason is missing, or a run is in progress.
    """
    if not (hold.actor.strip() and hold.reason.strip()):
        raise WorkspaceError("a hold needs a name and a reason.")
    _expect_slice(workspace, hold)
    with exclusive(workspace.root, "holds open"):
        for number, other in workspace.ledger.holds_in_force().items():
            if other.scope == hold.scope and other.since <= hold.since:
                return number
        number = workspace.ledger.open_hold(hold)
        with _recorded(workspace, "hold", number):
            return number


def release_hold(workspace: Workspace, number: int, verdict: str, *, at: datetime, actor: str, reason: str) -> int:
    """Release a hold: no decision to come is touched by it, and held lines are due at the next date.

    Parameters
    ----------
    workspace : Workspace
    number : int
    verdict : {"repaired", "true"}
        The rows were mended and delivered again, or they were right.
    at : datetime
        Now.
    actor, reason : str
        Who, and why.

    Returns
    -------
    int
        Lines whose last decision was held by it.

    Raises
    ------
    WorkspaceError
        There is no such hold in force, the policy names somebody else, a name or reason is missing, or a run is in
        progress.
    """
    if verdict not in VERDICTS:
        raise WorkspaceError(f"verdict {verdict!r} is unknown; expected one of {list(VERDICTS)}.")
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("a release needs the name of a person and a reason.")
    with exclusive(workspace.root, "holds release"):
        in_force = workspace.ledger.holds_in_force()
        if number not in in_force:
            raise WorkspaceError(f"no hold {number} is in force; expected one of {sorted(in_force)}.")
        _expect_releaser(workspace, actor)
        workspace.ledger.release_hold(number, verdict, at, actor, reason)
        with _recorded(workspace, "release", number):
            return sum(number in holds for holds in workspace.ledger.last_held()["holds"].to_pylist())


def note_hold(workspace: Workspace, number: int) -> None:
    """Have MLflow know a hold, too, that a call opened which was killed before it said so."""
    with exclusive(workspace.root, "holds open"), _recorded(workspace, "hold", number):
        pass


def _recorded(workspace: Workspace, kind: str, number: int) -> AbstractContextManager[object]:
    """The MLflow run that says what was done to a hold."""
    tags = {tracking.HEAD: workspace.ledger.head(), "limitlens.hold": str(number)}
    return tracking.recorded_run(workspace.mlflow, kind, tags, name=f"{kind} {number}", once="limitlens.hold")


def may_release(workspace: Workspace, actor: str) -> bool:
    """Whether the policy in force lets a person release a hold."""
    by = workspace.policy_in_force().holding.release_by
    return not by or actor.strip() == by


def _expect_releaser(workspace: Workspace, actor: str) -> None:
    if not may_release(workspace, actor):
        by = workspace.policy_in_force().holding.release_by
        raise WorkspaceError(f"the policy lets only {by!r} release a hold, got {actor!r}.")


def _expect_slice(workspace: Workspace, hold: Hold) -> None:
    if hold.source not in SOURCES:
        raise WorkspaceError(f"source {hold.source!r} is unknown; expected one of {list(SOURCES)}.")
    source = SOURCES[hold.source]
    kinds = next((column.one_of for column in source.columns if column.name == "kind"), ())
    if hold.kind and kinds and hold.kind not in kinds:
        raise WorkspaceError(f"{hold.source} has no kind {hold.kind!r}; expected one of {list(kinds)}.")
    columns = {*source.column_names(), "segment", QUARANTINED, WITHDRAWN, *workspace.events.attributes()}
    if hold.slice_column and hold.slice_column not in columns:
        raise WorkspaceError(f"no column is called {hold.slice_column!r}; expected one of {sorted(columns)}.")
    if bool(hold.slice_column) != bool(hold.slice_value):
        raise WorkspaceError("a slice needs a column and a value.")


def list_holds(workspace: Workspace, *, released: bool = False) -> list[dict[str, Any]]:
    """Holds in the order of opening, as plain data; ``lines`` counts those whose last decision each kept as it was.

    Parameters
    ----------
    workspace : Workspace
    released : bool
        List those that were released, too.
    """
    ledger = workspace.ledger
    if not (ledger.holds_in_force() or released):
        return []
    held = ledger.last_held()["holds"].to_pylist()
    every = ledger.every_hold()
    rows: list[dict[str, Any]] = [
        {str(name): _plain(value) for name, value in row.items()}
        | {"scope": scope_text(every[row["hold"]].scope), "lines": sum(row["hold"] in holds for holds in held)}
        for row in ledger.holds().to_dict("records")
    ]
    return [row for row in rows if released or row["verdict"] is None]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return format_time(value.to_pydatetime()) if isinstance(value, pd.Timestamp) else value
