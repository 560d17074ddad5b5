"""What a workspace holds, how far it has come, what waits, what failed, and what comes next; nothing is written."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from limitlens.data.calendar import format_time
from limitlens.data.errors import BusyError, WorkspaceError
from limitlens.data.incident import scope_text
from limitlens.data.lock import expect_erased, undisturbed
from limitlens.features.spine import has_limits
from limitlens.limits.stress_tests import overdue, stress_tests
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.plan import decision_dates
from limitlens.pipeline.deciding.reconcile import due
from limitlens.pipeline.release.inventory import inventory
from limitlens.pipeline.reviewing.cases import cases
from limitlens.pipeline.workspace import Workspace

#: Failed runs that are named, the last ones.
_FAILURES = 5


@dataclass(frozen=True)
class Status:
    """Where a workspace stands.

    Parameters
    ----------
    workspace : str
    loads : int
    rows, quarantined : dict of str to int
        Accepted and held-back rows of each source that has any.
    reach : dict of str to str
        Latest known time of each source of events, or of the outcomes where no events came; ISO 8601.
    versions : tuple of str
        Trained, in order.
    champion : str
        Empty: none.
    promoted : str
        By whom and when the champion was.
    policy : str
        Name of the policy in force; empty before a champion.
    states : dict of str to int
        How many versions are in each state of the inventory that has any.
    review_due : str
        Day by which the live version is to be reviewed; empty: none is live.
    review_overdue : bool
    decided_until : str
        Empty: nothing was.
    lines_decided : int
        At the last run.
    dates_due : int
        Decision dates that the data reach and nobody has decided.
    not_due : str
        Why no date is due, where something is in the way.
    ticks : int
        Ticks of the watch that no run has taken in.
    unrecorded_runs : int
        Decided, but the command did not end.
    splits_due : int
        Runs whose splits can be made final.
    cases, second_looks : int
        Cases that wait for a reviewer, and those of them that another has judged before.
    stress_due : str
        Why another stress test is due; empty where none is.
    holds : tuple of str
        In force.
    busy : str
        Which run holds the workspace now; empty: none.
    failed : tuple of str
        Runs of MLflow that failed or were killed, the last ones.
    following : tuple of str
        The commands that come next, the first one first.
    """

    workspace: str
    loads: int
    rows: dict[str, int]
    quarantined: dict[str, int]
    reach: dict[str, str]
    versions: tuple[str, ...]
    champion: str
    promoted: str
    policy: str
    states: dict[str, int]
    review_due: str
    review_overdue: bool
    decided_until: str
    lines_decided: int
    dates_due: int
    not_due: str
    ticks: int
    unrecorded_runs: int
    splits_due: int
    cases: int
    second_looks: int
    stress_due: str
    holds: tuple[str, ...]
    busy: str
    failed: tuple[str, ...]
    following: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """As text."""
        yield f"workspace  {self.workspace}: {self.loads:,} loads"
        for source, count in self.rows.items():
            held = f", {self.quarantined[source]:,} quarantined" if self.quarantined.get(source) else ""
            until = f", known until {self.reach[source]}" if source in self.reach else ""
            yield f"data       {source:<12} {count:>12,} rows{held}{until}"
        promoted = f" ({self.promoted}), policy {self.policy}" if self.champion else ""
        yield f"models     {len(self.versions)} trained, champion {self.champion or 'none'}{promoted}"
        if self.states:
            counts = ", ".join(f"{count:,} {state}" for state, count in self.states.items())
            due = f"; next review {'OVERDUE since' if self.review_overdue else 'by'} {self.review_due}"
            yield f"inventory  {counts}{due if self.review_due else ''}"
        last = f"until {self.decided_until}, {self.lines_decided:,} lines at the last run"
        yield f"decided    {last if self.decided_until else 'nothing'}"
        yield f"waits      {', '.join(self._waiting()) or 'nothing'}"
        for hold in self.holds:
            yield f"           {hold}"
        yield f"failed     {'; '.join(self.failed) or 'nothing'}"
        if self.busy:
            yield f"busy       {self.busy}"
        if self.not_due:
            yield f"note       {self.not_due}"
        yield from (f"next       {one}" for one in self.following)

    def _waiting(self) -> Iterator[str]:
        counts = {
            "decision dates": self.dates_due,
            "ticks of the watch": self.ticks,
            "runs that were interrupted": self.unrecorded_runs,
            "runs to reconcile": self.splits_due,
            "cases for a reviewer": self.cases,
            "holds": len(self.holds),
        }
        yield from (f"{count:,} {name}" for name, count in counts.items() if count)
        if self.stress_due:
            yield "a stress test"


def status(workspace: Workspace, at: datetime) -> Status:
    """Look at a workspace.

    Parameters
    ----------
    workspace : Workspace
        It need not exist.
    at : datetime
        Now.

    Raises
    ------
    BusyError, WorkspaceError
        An erasure is under way, or was killed: files of it are neither as before nor as afterwards.
    """
    expect_erased(workspace.root)
    events, ledger, registry = workspace.events, workspace.ledger, workspace.registry
    loads, runs, models = events.loads(), ledger.runs(), registry.models()
    standing = set(events.standing_loads())
    counts = [
        (source, count) for load in loads if load["load"] in standing for source, count in load["sources"].items()
    ]
    rows = {source: sum(c["accepted"] for name, c in counts if name == source) for source, _ in counts}
    held = {source: sum(c["quarantined"] for name, c in counts if name == source) for source, _ in counts}
    reach = events.reach() if any(rows.values()) else {}
    champion = registry.champion() or ""
    promotion = registry.promotions()[-1] if champion else None
    dates, reason = _due_dates(workspace, reach, champion)
    open_cases = cases(workspace, at).lines if runs else None
    versions = inventory(workspace, at)
    states = [row.state for row in versions]
    seen = Status(
        workspace=str(workspace.root),
        loads=len(loads),
        rows={source: count for source, count in rows.items() if count},
        quarantined={source: count for source, count in held.items() if count},
        reach={source: format_time(time) for source, time in reach.items()},
        versions=tuple(model.model_version for model in models),
        champion=champion,
        promoted=f"{promotion.reviewer}, {promotion.promoted_at[:10]}" if promotion else "",
        policy=workspace.policy_in_force().name if champion else "",
        states={state: states.count(state) for state in dict.fromkeys(states)},
        review_due="".join(row.review_due for row in versions),
        review_overdue=any(row.overdue for row in versions),
        decided_until=format_time(until) if (until := ledger.decided_until()) else "",
        lines_decided=_lines_of(workspace, max(runs, key=lambda run: run.as_of).run_id) if runs else 0,
        dates_due=dates,
        not_due=reason,
        ticks=len(ledger.pending_ticks()),
        unrecorded_runs=len(ledger.waiting()),
        splits_due=len(due(ledger)) if runs else 0,
        cases=0 if open_cases is None else len(open_cases),
        second_looks=0 if open_cases is None else int((open_cases["state"] != "open").sum()),
        stress_due=_stress_due(workspace, at) if runs else "",
        holds=tuple(
            f"hold {number} of {scope_text(hold.scope)}, since {hold.opened_at:%Y-%m-%d}: {hold.reason}"
            for number, hold in ledger.holds_in_force().items()
        ),
        busy=_busy(workspace),
        failed=tuple(tracking.failed(workspace.mlflow, _FAILURES)),
        following=(),
    )
    return _with_next(seen)


def _due_dates(workspace: Workspace, reach: dict[str, datetime], champion: str) -> tuple[int, str]:
    """How many dates could be decided, and what is in the way of a plan."""
    if not (reach and champion):
        return 0, ""
    if not has_limits(workspace.events.relations()):
        return 0, "no account has a limit: lines are scored (limitlens score), never decided"
    try:
        return len(decision_dates(reach, workspace.ledger.decided_until(), None, None)), ""
    except WorkspaceError as error:
        return 0, str(error)


def _stress_due(workspace: Workspace, at: datetime) -> str:
    every_days = workspace.policy_in_force().stressing.every_days
    return overdue(stress_tests(workspace.root), at, every_days)


def _lines_of(workspace: Workspace, run_id: str) -> int:
    sql = "SELECT COUNT(*) AS n FROM decisions WHERE run_id = $run"
    return int(workspace.ledger.query(sql, {"run": run_id})["n"].iloc[0])


def _busy(workspace: Workspace) -> str:
    try:
        with undisturbed(workspace.root):
            return ""
    except BusyError as error:
        return str(error)


def _with_next(seen: Status) -> Status:
    """The same with the commands that come next."""
    steps = {
        "limitlens check INPUT": not seen.loads,
        "limitlens train": bool(seen.loads) and not seen.versions,
        "limitlens promote --reviewer NAME": bool(seen.versions) and not seen.champion,
        "limitlens decide": bool(seen.dates_due or seen.ticks or seen.unrecorded_runs),
        "limitlens holds list": bool(seen.holds),
        "limitlens review next": bool(seen.cases),
        "limitlens reconcile": bool(seen.splits_due),
        "limitlens stress": bool(seen.stress_due),
    }
    wanted = tuple(step for step, needed in steps.items() if needed)
    rest = "limitlens check INPUT, when more data came"
    return Status(**{**asdict(seen), "following": wanted or (rest,)})
