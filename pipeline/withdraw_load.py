"""Withdraw a load: what a delivery brought is taken back, and decisions that stood on it are looked at again."""

from dataclasses import dataclass
from datetime import datetime

from limitlens.data.calendar import format_time
from limitlens.data.check import HELD, Journaled, take_in
from limitlens.data.errors import WorkspaceError
from limitlens.data.incidents import WITHDRAWN
from limitlens.data.lock import exclusive
from limitlens.data.withdrawal import Withdrawal, first_known, withdrawn_rows
from limitlens.limits.hold import Hold
from limitlens.limits.records import record_loads
from limitlens.pipeline import tracking
from limitlens.pipeline.check_delivery import fold
from limitlens.pipeline.holds import may_release
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Withdrawn:
    """What became of it: the load that takes the other back, rows by source, and the holds, released or not."""

    load: str
    withdraws: str
    rows: dict[str, int]
    holds: tuple[int, ...]
    released: bool


def withdraw_load(workspace: Workspace, load: str, *, at: datetime, actor: str, reason: str) -> Withdrawn:
    """Take a load back: nothing is deleted, decisions to come do not see it, earlier ones replay as they were.

    The versions that take it back are known after the last decision. For each source that it brought, a hold names the
    lines and the moment from which decisions stood on it, and is released as repaired at once, so that
    :func:`limitlens.pipeline.deciding.make_good.restore` can make them good; where the policy names who releases, it
    waits for that person. A call that was killed is made up for by the next one.

    Parameters
    ----------
    workspace : Workspace
    load : str
        Its number, such as ``0003``.
    at : datetime
        Now.
    actor, reason : str
        Who, and why.

    Raises
    ------
    WorkspaceError
        There is no such load, it is itself a withdrawal, another person withdrew it, a name or reason is missing, or a
        run is in progress.
    """
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("a withdrawal needs the name of a person and a reason.")
    with exclusive(workspace.root, "withdraw-load"):
        fold(workspace)
        marks = {str(mark["load"]): mark for mark in workspace.events.loads()}
        if load not in marks:
            raise WorkspaceError(f"there is no load {load!r}; expected one of {list(marks)}.")
        if "withdrawal" in marks[load]:
            raise WorkspaceError(f"load {load} is a withdrawal itself; deliver again what is right.")
        before = workspace.events.withdrawals().get(load)
        if before and (before["actor"], before["reason"]) != (actor, reason):
            when = format_time(datetime.fromisoformat(before["withdrawn_at"]))
            raise WorkspaceError(f"load {load} was withdrawn at {when} by {before['actor']}: {before['reason']}.")
        if not before:
            rows = withdrawn_rows(workspace.events, load, workspace.ledger.last_moment())
            journaled = {name: Journaled(table, HELD.empty_table(), len(table), 0) for name, table in rows.items()}
            take_in(workspace.events, journaled, withdrawal=Withdrawal(load, actor, reason, at.isoformat()))
        record_loads(workspace.root)
        holds, released = _held(workspace, load, at, actor, reason)
    taking = next(mark for mark in workspace.events.loads() if mark.get("withdrawal", {}).get("withdraws") == load)
    accepted = {name: count["accepted"] for name, count in taking["sources"].items() if count["accepted"]}
    return Withdrawn(str(taking["load"]), load, accepted, holds, released)


def _held(workspace: Workspace, load: str, at: datetime, actor: str, reason: str) -> tuple[tuple[int, ...], bool]:
    """A hold for each source that the load brought, opened and released where that was not done yet."""
    ledger, numbers = workspace.ledger, list[int]()
    free = may_release(workspace, actor)
    for source, first in first_known(workspace.events, load).items():
        hold = Hold(source, first, at, actor, reason, "", WITHDRAWN, load)
        known = [number for number, other in ledger.every_hold().items() if other.scope == hold.scope]
        numbers.append(known[0] if known else ledger.open_hold(hold))
        if free and numbers[-1] in ledger.holds_in_force():
            ledger.release_hold(numbers[-1], "repaired", at, actor, f"load {load} was withdrawn")
    if numbers:
        tags = {tracking.HEAD: ledger.head(), "limitlens.load": load}
        name = f"withdraw-load {load}"
        with tracking.recorded_run(workspace.mlflow, "withdraw-load", tags, name=name, once="limitlens.load"):
            pass
    return tuple(numbers), free
