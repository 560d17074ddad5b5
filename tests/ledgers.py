"""Ledgers to judge: a small one, one with every kind of link, and a demo without its last date."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.kills import entry, fingerprint, unfinished
from limitlens.limits.hold import Hold
from limitlens.limits.ledger import Ledger
from limitlens.limits.override import Override, Restoration
from limitlens.limits.registry import Registry
from limitlens.limits.verdict import Verdict
from limitlens.pipeline.workspace import Workspace

LAST = datetime(2026, 7, 1, tzinfo=UTC)
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)
ROOT = Path(__file__).parent.parent


def quiet(_: str) -> None:
    """Progress nobody reads."""


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def three_runs(folder: Path) -> Ledger:
    """Three runs and two overrides, on their own."""
    ledger = Ledger(folder)
    for number in (1, 2, 3):
        ledger.append(*entry(number, 20))
        if number < 3:
            order(ledger, number)
    return ledger


def order(ledger: Ledger, number: int) -> None:
    """Record an override of the first account."""
    at = datetime(2026, 1, number, 12, tzinfo=UTC)
    ledger.record_override(Override("A000000001", at, "limit", 100, 200 * number, "Chen Wei", "salary slip"))


def recorded(path: Path) -> Ledger:
    """Two of each kind of link; the last of each kind stands behind all others of it."""
    ledger = Ledger(path)
    for number in (1, 2):
        ledger.append(*entry(number, 20))
        order(ledger, number)
    for number in (1, 2):
        run, _, attributions = entry(number, 20)
        ledger.append_revision(run, run.as_of + timedelta(days=30), attributions, known_rows=5, late_rows=1)
    for number in (1, 2):
        ledger.open_hold(Hold("payment", run.as_of, run.as_of, "check", "no rows", "due", "city", f"place {number}"))
    for number in (1, 2):
        ledger.release_hold(number, "true", run.as_of, "Chen Wei", "a holiday")
    for number in (1, 2):
        line = ("A000000001", run.as_of, run.as_of, number, 0, 700_00, True, 0.02, run.as_of, run.as_of)
        ledger.record_restoration(Restoration(*line, "Chen Wei", "came late"))
    for number in (1, 2):
        run, decisions, _ = entry(number, 2)
        ledger.note(run.as_of, (run.model_version, run.model_digest, run.policy_digest), decisions)
    for number in (1, 2):
        said = ("overturn", "explained", f"moved house {number}", "Li Na", "keep")
        ledger.record_verdict(Verdict("A000000001", run.as_of, run.as_of, run.as_of, *said), None)
    for name in ("a", "b"):
        Registry(path).record_policy(name, "a policy")
    return ledger


def records_of(space: Workspace) -> int:
    """Links of the chain that are records or signers."""
    with sqlite3.connect(space.root / "ledger.sqlite") as connection:
        (count,) = connection.execute(
            "SELECT (SELECT COUNT(*) FROM records) + (SELECT COUNT(*) FROM signers)"
        ).fetchone()
    connection.close()
    return int(count)


def sql(text: str, named: str) -> Callable[[Ledger], str]:
    """A strike at a ledger's database, which returns what should be named as broken."""

    def run(ledger: Ledger) -> str:
        with sqlite3.connect(ledger.workspace / "ledger.sqlite") as connection:
            assert connection.execute(text).rowcount > 0
        connection.close()
        return named

    return run


def without_last(workspace: Workspace, folder: Path) -> Workspace:
    """A copy of a finished demo that has not decided its last date yet, a month start."""
    unfinished(workspace.root, folder, LAST)
    return Workspace(folder)


def ledger_of(workspace: Workspace) -> dict[str, object]:
    return {name: value for name, value in fingerprint(workspace.root).items() if name != "mlflow"}


def with_state(current: pd.DataFrame) -> pd.DataFrame:
    """Decisions beside when their line was opened and whether it could draw before, as complaints are counted."""
    states = list(current["state"])
    opened = pd.Series([state["opened_at"] for state in states], index=current.index)
    return current.assign(opened_at=opened, could_draw=[state["can_draw"] for state in states])


def a_letter(account: str, at: datetime) -> dict[str, Any]:
    """A letter to be recorded."""
    facts = {"action": "close", "limit_before_cents": 100, "limit_cents": 0, "own": True, "reasons": ["late_payments"]}
    return {"account_id": account, "at": at, "kind": "adverse", "about": "", "facts": facts}
