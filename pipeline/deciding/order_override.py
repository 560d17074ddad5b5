"""Override: a person changes a line, with name and reason; the next decision starts from it."""

from datetime import datetime

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.limits.override import OVERRIDE_ACTIONS, Override
from limitlens.limits.state import unpacked
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.states_before import carried
from limitlens.pipeline.workspace import Workspace


def override(
    workspace: Workspace,
    account_id: str,
    *,
    at: datetime,
    actor: str,
    reason: str,
    action: str = "limit",
    limit_cents: int | None = None,
    key: bytes | None = None,
) -> Override:
    """Record that a person changes a line, or looked at it and keeps it.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    at : datetime
        When it holds from: after the last decided date and the last override of the line.
    actor, reason : str
        Who, and why.
    action : str
        One of :data:`limitlens.limits.override.OVERRIDE_ACTIONS`.
    limit_cents : int, optional
        The new limit, above 0; with the action ``limit`` and no other.
    key : bytes, optional
        Private key of the actor, as PEM: the order is signed.

    Raises
    ------
    WorkspaceError
        The line has no decision or is closed, nothing would change, the time is not after what is recorded, a name or
        reason is missing, or a run is in progress.
    """
    with exclusive(workspace.root, "ledger override"):
        ordered = checked(workspace, account_id, at, action, limit_cents, actor=actor, reason=reason)
        workspace.ledger.record_override(ordered, key)
        with tracking.recorded_run(workspace.mlflow, "override", {tracking.HEAD: workspace.ledger.head()}):
            return ordered


def checked(
    workspace: Workspace,
    account_id: str,
    at: datetime,
    action: str,
    limit_cents: int | None,
    *,
    actor: str,
    reason: str,
) -> Override:
    """What :func:`override` would record; the caller holds the workspace.

    Raises
    ------
    WorkspaceError
        As :func:`override`.
    """
    if action not in OVERRIDE_ACTIONS or (action == "limit") != (limit_cents is not None):
        raise WorkspaceError(f"an override needs a limit or one of {list(OVERRIDE_ACTIONS[1:])}, and not both.")
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("an override needs the name of a person and a reason.")
    state = state_of(workspace, account_id, at)
    before = int(state["limit_cents"])
    after = limit_cents if limit_cents is not None else 0 if action == "close" else before
    if refused := _refused(state, action, after):
        raise WorkspaceError(f"account {account_id}: {refused}")
    return Override(account_id, at, action, before, after, actor, reason)


def state_of(workspace: Workspace, account_id: str, at: datetime) -> pd.Series:
    """State of one line at a moment after everything that is recorded about it.

    Raises
    ------
    WorkspaceError
        It has no decision yet, or the moment is not after what is recorded.
    """
    ledger = workspace.ledger
    last = unpacked(ledger.last_decisions([account_id]))
    if last.empty:
        raise WorkspaceError(f"account {account_id!r} has no decision yet; run limitlens decide first.")
    overrides = ledger.overrides()
    overrides = overrides[overrides["account_id"] == account_id]
    decided = ledger.last_moment()
    known = max([decided, *overrides["at"]]) if decided else at
    if at <= known:
        raise WorkspaceError(
            f"account {account_id}: an override as of {format_time(at)} would change what was decided; it is recorded "
            f"up to {format_time(known)}; choose a later time."
        )
    return carried(last, pd.Series([pd.Timestamp(at)]).dt.as_unit("us"), overrides).iloc[0]


def _refused(state: pd.Series, action: str, limit_cents: int) -> str | None:
    """Why an override makes no sense, if it makes none."""
    if state["closed"]:
        return "it is closed, and a closed line stays closed."
    if action == "limit" and limit_cents <= 0:
        return "a limit must be above 0; close the line instead."
    if action == "limit" and limit_cents == state["limit_cents"]:
        return "that is its limit already."
    if action == "freeze" and not state["can_draw"]:
        return "it is frozen already."
    return "it is not frozen." if action == "unfreeze" and state["can_draw"] else None
