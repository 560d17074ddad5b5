"""Hold and release: a slice of the data is suspect, with evidence; a person judges it, with name and reason."""

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

_TAG = "limitlens.hold"


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
        in_force = workspace.ledger.holds_in_force().items()
        same = (number for number, other in in_force if other.scope == hold.scope and other.since <= hold.since)
        number = next(same, None) or workspace.ledger.open_hold(hold)
        _note(workspace, "hold", number)
        return number


def release_hold(workspace: Workspace, number: int, verdict: str, *, at: datetime, actor: str, reason: str) -> int:
    """Release a hold: no decision to come is touched by it, and held lines are due at the next date.

    The same release again records nothing but what a call that was killed had not told MLflow.

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
        if number in in_force:
            _expect_releaser(workspace, actor)
            workspace.ledger.release_hold(number, verdict, at, actor, reason)
        elif (verdict, actor, reason) != _release_of(workspace, number):
            raise WorkspaceError(f"no hold {number} is in force; expected one of {sorted(in_force)}.")
        _note(workspace, "release", number)
        return sum(number in holds for holds in workspace.ledger.last_held()["holds"].to_pylist())


def _release_of(workspace: Workspace, number: int) -> tuple[str, str, str] | None:
    """Verdict, person and reason of a release; None: there was none."""
    for row in workspace.ledger.holds().dropna(subset="verdict").to_dict("records"):
        if row["hold"] == number:
            return str(row["verdict"]), str(row["released_by"]), str(row["release_reason"])
    return None


def note_hold(workspace: Workspace, number: int) -> None:
    """Have MLflow know a hold, too, that a call opened which was killed before it said so."""
    with exclusive(workspace.root, "holds open"):
        _note(workspace, "hold", number)


def note_last_releases(workspace: Workspace, actor: str) -> None:
    """The same of the holds that somebody released at the last moment at which anything was."""
    holds = workspace.ledger.holds()
    released = holds[holds["released_by"] == actor]
    last = released[released["released_at"] == released["released_at"].max()]
    with exclusive(workspace.root, "holds release"):
        for number in last["hold"]:
            _note(workspace, "release", number)


def _note(workspace: Workspace, kind: str, number: int) -> None:
    """Record in an MLflow run what was done to a hold, unless one says so already."""
    tags = {tracking.HEAD: workspace.ledger.head(), _TAG: str(number)}
    if not tracking.is_recorded(workspace.mlflow, kind, (_TAG, str(number))):
        with tracking.recorded_run(workspace.mlflow, kind, tags, name=f"{kind} {number}", once=_TAG):
            pass


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
