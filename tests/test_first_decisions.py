"""First decisions: the table sums what its headline counts, and is that of a slow count over the ledger."""

from statistics import median
from typing import Any

import pytest

from limitlens.limits.policy import ACTIONS
from limitlens.pipeline.answers import report
from limitlens.pipeline.deciding.first_decisions import first_decisions, first_lines, first_table
from limitlens.pipeline.workspace import Workspace, default_policy


def first_entries(workspace: Workspace) -> list[dict[str, Any]]:
    """The earliest entry of each account, found one by one."""
    found: dict[str, dict[str, Any]] = {}
    for entry in workspace.ledger.current().to_dict("records"):
        before = found.get(entry["account_id"])
        if before is None or entry["as_of"] < before["as_of"]:
            found[entry["account_id"]] = entry
    return list(found.values())


def asked_by(entry: dict[str, Any], workspace: Workspace) -> str:
    """What asked for the most severe action, read off the policy one name at a time."""
    policy = workspace.policy(entry["policy_digest"])
    asks = {"opening_above_band": "review"}
    asks |= {f"pd_{action}": action for action in ACTIONS}
    asks |= {rule.name: rule.action for rule in policy.rules}
    asks |= {f"past_due_{bucket.from_days}": bucket.action for bucket in policy.delinquency}
    worst = max((ACTIONS.index(asks[name]) for name in entry["fired_rules"]), default=-1)
    names = [name for name in entry["fired_rules"] if ACTIONS.index(asks[name]) == worst]
    return ", ".join(names) or "no rule, no cut-off"


def test_the_table_is_that_of_a_slow_count_over_the_ledger(small_workspace: Workspace) -> None:
    entries = first_entries(small_workspace)
    rows = {(row["action"], row["asked_by"]): row for row in first_decisions(small_workspace)}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {("all", ""): entries}
    for entry in entries:
        groups.setdefault((entry["action"], asked_by(entry, small_workspace)), []).append(entry)
    assert rows.keys() == groups.keys()
    for key, mine in groups.items():
        cut = sum(max(e["limit_before_cents"] - e["limit_cents"], 0) for e in mine)
        raised = sum(max(e["limit_cents"] - e["limit_before_cents"], 0) for e in mine)
        late = sum(any(name.startswith("past_due_") for name in e["fired_rules"]) for e in mine)
        expected = {"lines": len(mine), "removed_cents": cut, "added_cents": raised, "past_due": late}
        expected["changed"] = sum(e["limit_before_cents"] != e["limit_cents"] for e in mine)
        expected["before_cents"] = sum(e["limit_before_cents"] for e in mine)
        expected["after_cents"] = sum(e["limit_cents"] for e in mine)
        assert {name: rows[key][name] for name in expected} == expected
        assert rows[key]["median_pd"] == pytest.approx(median(e["pd"] for e in mine))


def test_the_table_sums_to_the_first_decisions_of_the_table_of_causes(small_workspace: Workspace) -> None:
    context = report.report_context(small_workspace, report.read_decisions(small_workspace))
    headline = context["causes"]["sums"]["first decisions, not split"]
    groups = context["first"][:-1]
    assert sum(row["changed"] for row in groups) == headline["changed"] > 0
    assert -sum(row["removed_cents"] for row in groups) == headline["cut"]
    assert sum(row["added_cents"] for row in groups) == headline["raised"]
    assert sum(row["lines"] for row in groups) == context["head"]["accounts"]


def test_the_page_and_the_demo_show_it(finished_demo: tuple[Any, str], demo_workspace: Workspace) -> None:
    folder, said = finished_demo
    lines = first_lines(first_decisions(demo_workspace))
    assert "\n".join(lines) in said
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h2>First decisions</h2>" in page
    assert all(f"<td>{row['asked_by']}</td>" in page for row in first_decisions(demo_workspace))


def test_decide_tells_the_first_decisions_of_its_own_runs(small_workspace: Workspace) -> None:
    """Each call counts its own, of one run or of some: together they are all."""
    runs = [run.run_id for run in small_workspace.ledger.runs()]
    calls = [runs[:1], runs[1:2], *(runs[2 + place :: 6] for place in range(6))]
    alone = [first_decisions(small_workspace, some) for some in calls]
    together = first_decisions(small_workspace, runs)
    assert sorted(run for some in calls for run in some) == sorted(runs)
    assert sum(table[-1]["lines"] for table in alone if table) == together[-1]["lines"]
    assert first_decisions(small_workspace, []) == []


def test_without_a_first_decision_nothing_is_said(small_workspace: Workspace) -> None:
    nothing = first_table(small_workspace.ledger.current().head(0), {"": default_policy()})
    assert first_lines(nothing) == []
