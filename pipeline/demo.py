"""The demo: the whole job on the simulated portfolio, with a release in the middle of the last month but one."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from limitlens.data.calendar import DAY, add_months, data_end, format_time, last_decision_dates
from limitlens.data.progress import Progress
from limitlens.data.world import default_world, simulate
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import parse_policy
from limitlens.pipeline.answers.pauses import pauses
from limitlens.pipeline.answers.report import read_decisions, report, telling_account
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.first_decisions import first_decisions, first_lines
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.deciding.record import Decided
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import Trained, train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings


def run(out: Path, *, accounts: int, seed: int, now: datetime, progress: Progress, show: Progress) -> None:
    """Simulate, check, train, promote, decide, release a second iteration, decide on, explain, report.

    Parameters
    ----------
    out : Path
        Gets ``events`` and ``work``; a finished demo is continued, not repeated.
    accounts, seed : int
        Of the simulation.
    now : datetime
        Stamped on the promotions.
    progress, show : callable
        Told what is going on; told the results.
    """
    workspace = Workspace(out / "work")
    show(f"limitlens demo: {accounts:,} simulated credit lines, from events to explained limit changes, in {out}/\n")
    simulate(out / "events", accounts=accounts, seed=seed, progress=progress)
    check(workspace, out / "events", progress)
    if workspace.ledger.decided_until() is None:
        _decide_in_two_iterations(workspace, now, progress, show)
    show("\nReconciled, where 30 days have passed:\n  " + "\n  ".join(reconcile(workspace, progress).lines()))
    if sentence := pauses(workspace.ledger).sentence():
        show(f"\n{sentence}")
    progress("replaying every decision from the events")
    show(f"\nReplayed {replay(workspace, progress):,} decisions: every action, limit and PD equal to the ledger.")
    case = telling_account(read_decisions(workspace))
    if case:
        show("\nThe two-day case: a line is opened, and two days later it is closed. Why?\n")
        show(render(why(workspace, *case)))
    page = report(workspace, out / "report.html", progress)
    show(f"\nopen next:\n  {page}  (the report, in a browser)")
    show(f"  limitlens why {case[0] if case else 'ACCOUNT'} --workspace {workspace.root}")
    show("  notebooks/first_steps.ipynb, docs/")


def _decide_in_two_iterations(workspace: Workspace, now: datetime, progress: Progress, show: Progress) -> None:
    """Decide the last two months: from the middle of the first on with another iteration than before."""
    first_date, _, _ = last_decision_dates(workspace.events.known_until(), 3)
    end, released = data_end(workspace.events.known_until()), first_date + DAY * 12
    release = default_world().release
    settings, policy = default_settings(), default_policy()
    trained = train(
        workspace, settings, policy, developer="demo developer", until=add_months(first_date, -1), progress=progress
    )
    show(_quality(trained.validation))
    approved = _approved(trained, policy, show)
    promote(workspace, "demo reviewer", now, trained.model_version, override=approved, progress=progress)
    before = (
        decide(workspace, as_of=first_date, progress=progress),
        decide(workspace, until=released, progress=progress),
    )
    tightened = parse_policy(release.changed_policy(policy.text))
    again = train(
        workspace,
        replace(settings, seed=release.seed),
        tightened,
        developer="demo developer",
        until=released,
        progress=progress,
    )
    approved = _approved(again, tightened, show)
    promote(
        workspace,
        "demo reviewer",
        now,
        again.model_version,
        override=approved,
        until=released,
        progress=progress,
    )
    show(f"\n{format_time(released)}: version {again.model_version} and policy 'tightened' are released.")
    after = decide(workspace, until=end, progress=progress)
    show(_changes(*before, after))
    show("\n" + "\n".join(first_lines(first_decisions(workspace))))


def _approved(trained: Trained, policy: Policy, show: Progress) -> Override | None:
    """The approver of the policy, who promotes a version in spite of doubts; nobody where there are none."""
    doubts, approver = trained.validation["doubts"], policy.release.approver
    for doubt in doubts:
        show(f"\nVersion {trained.model_version}: {doubt}. The {approver} promotes it all the same.")
    return Override(approver, "a demo on a young history") if doubts else None


def _quality(validation: dict[str, dict[str, float]]) -> str:
    metrics = validation["metrics"]
    return f"\nModel, {validation['kind']}: AUC {metrics['auc']:.3f}, KS {metrics['ks']:.3f}, {metrics['bads']:,} bads."


def _changes(*batches: Decided) -> str:
    """The limit-change table by cause."""
    decisions, split = sum(b.decisions for b in batches), sum(b.split for b in batches)
    lines = [f"\n{decisions:,} decisions, {split:,} limits changed since the one before, by cause:"]
    for player in batches[0].shares_cents:
        lines.append(f"  {player:<10} {money(sum(b.shares_cents[player] for b in batches), signed=True):>18}")
    total = sum(sum(b.shares_cents.values()) for b in batches)
    lines.append(f"  {'all':<10} {money(total, signed=True):>18}")
    if cancelled := sum(b.cancelled for b in batches):
        lines.append(f"{cancelled:,} more limits stayed as they were because causes cancelled each other out")
    return "\n".join(lines)
