"""The report: one file, no network, nothing runs, numbers that add up."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from limitlens.limits.attribution import PLAYERS
from limitlens.pipeline.answers import report, report_tables
from limitlens.pipeline.answers.false_positives import FalsePositives, false_positives
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.page import render
from limitlens.pipeline.workspace import Workspace

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(finished_demo: tuple[Path, str]) -> str:
    return (finished_demo[0] / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def decisions(small_workspace: Workspace) -> pd.DataFrame:
    return report.read_decisions(small_workspace)


@pytest.fixture(scope="module")
def context(small_workspace: Workspace, decisions: pd.DataFrame) -> dict[str, Any]:
    return report.report_context(small_workspace, decisions)


def test_the_report_needs_no_network_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert "default-src 'none'" in page
    links = re.findall(r"""(?:src|href)=["']([^"'#]+)["']|url\(([^)#]+)\)|(@import)""", page)
    assert all(link.startswith("data:") for found in links for link in found if link)


def test_the_report_names_every_cause_and_the_two_day_case(page: str) -> None:
    assert all(f"</span>{player}<span" in page for player in PLAYERS)
    assert "lines closed within 7 days of opening" in page
    assert "the largest line closed within a week of its opening" in page
    assert "Told to the customer" in page


def test_causes_sum_to_the_changes_that_were_split(decisions: pd.DataFrame) -> None:
    rows = report_tables.cause_table(decisions)
    split = report_tables.moved(decisions[report_tables.is_split(decisions)])
    assert sum(row["net"] for row in rows) == split["net"]
    assert all(row["net"] == row["raised"] + row["cut"] for row in rows)


def test_a_cause_sums_over_the_limits_that_changed_and_the_rest_is_named(
    small_workspace: Workspace, decisions: pd.DataFrame, context: dict[str, Any]
) -> None:
    current = small_workspace.ledger.current()
    rest = current[current["phi_model"].notna() & (current["limit_cents"] == current["limit_before_cents"])]
    assert context["causes"]["cancelled"] == int((rest[[f"phi_{player}" for player in PLAYERS]] != 0).any(axis=1).sum())
    for row in report_tables.cause_table(decisions):
        changed = decisions[decisions["change_cents"] != 0][f"share_cents_{row['player']}"].dropna().astype(int)
        assert row["net"] == changed.sum()
        assert row["raised"] == changed[changed > 0].sum()


def test_split_and_first_decisions_sum_to_the_big_figures(context: dict[str, Any]) -> None:
    split, first, total = context["causes"]["sums"].values()
    assert {key: split[key] + first[key] for key in total} == total
    assert f"{total['changed']:,}" == context["figures"][1][0]


def test_the_plots_by_cause_show_every_cent_of_the_table(decisions: pd.DataFrame) -> None:
    shown = sum(int(panel.changes.to_numpy().sum()) for panel in report_tables.cause_panels(decisions))
    assert shown == sum(row["net"] for row in report_tables.cause_table(decisions))


def test_every_decision_stands_in_the_action_table(decisions: pd.DataFrame) -> None:
    rows = report_tables.action_table(decisions)["rows"]
    assert sum(row["all"] for row in rows) == len(decisions)
    assert all(sum(row["counts"]) == row["all"] for row in rows)


def judged(**columns: list[Any]) -> FalsePositives:
    rows = len(columns["outcome"])
    told = {"segment": "student", "age": "", "arrears": "none", "pd": 0.5, "reasons": [["late_payments"]] * rows}
    names = {"account_id": [f"A{k}" for k in range(rows)], "as_of": pd.Timestamp("2025-07-01", tz="UTC")}
    by = {"rule": "pd_close", "iteration": "model 1, policy 0a", "action": "close"}
    flags = pd.DataFrame({"verdict": "", **names, **told, **by, **columns})
    return FalsePositives(6, "2026-07-01", flags, pd.DataFrame())


def test_good_customers_hit_are_told_by_the_holdout_the_rule_and_the_largest_first() -> None:
    outcome = ["good", "bad", "good", "censored", "good"]
    found = judged(outcome=outcome, held_out=[False, False, False, False, True], limit_cents=[100, 300, 200, 400, 500])
    held, acted = report_tables.outcome_table(found)
    assert (held["lines"], held["counts"], held["good"][:6]) == (1, [1, 0, 0, 0], "100.0%")
    assert (acted["lines"], acted["counts"], acted["good"][:5]) == (4, [2, 1, 0, 1], "66.7%")
    assert report_tables.hit(found)["account_id"].tolist() == ["A2", "A0"]
    assert [(row["by"], row["good"][:5]) for row in report_tables.hit_by(found)] == [
        ("rule", "66.7%"), ("iteration", "66.7%"),
    ]  # fmt: skip


def test_an_account_id_cannot_add_to_the_command_of_a_flag() -> None:
    found = judged(outcome=["good"], held_out=[False], limit_cents=[1], account_id=["A1; rm -rf ~"])
    assert found.cases()["why"][0] == "limitlens why 'A1; rm -rf ~' --as-of 2025-07-01"


def test_the_report_counts_good_customers_hit_as_the_command_does(
    small_workspace: Workspace, context: dict[str, Any]
) -> None:
    found = false_positives(small_workspace)
    assert sum(row["lines"] for row in context["hit"]["outcomes"]) == len(found.flags) > 0
    assert context["hit"]["good"] == found.acted_on.count


def test_the_page_lists_the_good_customers_hit(context: dict[str, Any]) -> None:
    case = {"rule": EVIL, "limit_cents": 1, "pd": 0.5, "reasons": ["late_payments"], "why": "limitlens why A1"}
    rendered = render("report.html.j2", {**context, "hit": {**context["hit"], "good": 11, "cases": [case]}})
    assert "1 of 11 good customers that were acted on" in rendered
    assert "<code>limitlens why A1</code>" in rendered
    assert "<script" not in rendered


def a_difference(name: str) -> dict[str, Any]:
    return {"feature": name, "push": 0.1, "push_low": 0.0, "push_high": 0.2, "told": True}


def test_markup_in_names_is_escaped(context: dict[str, Any]) -> None:
    plot = plots.contrast([a_difference(EVIL)])
    table = pd.DataFrame({"feature": [EVIL]})
    model = {**context["model"], "contrast": table, "contrast_plot": plot}
    actions = {**context["actions"], "segments": [EVIL]}
    rendered = render("report.html.j2", {**context, "model": model, "actions": actions})
    assert "<script" not in rendered
    assert rendered.count("&lt;script&gt;") == 3


def test_a_name_that_looks_like_a_formula_or_is_chinese_is_drawn_as_it_is() -> None:
    names = ["$\\frac{", "还款次数", 'id="x']
    plot = plots.contrast([a_difference(name) for name in names])
    assert all(f">{name}</text>" in plot for name in names)


def test_ids_of_all_plots_on_one_page_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_a_plot_is_the_same_every_time() -> None:
    shares = dict.fromkeys(PLAYERS, -1.0)
    assert plots.waterfall(10.0, shares, 5.0) == plots.waterfall(10.0, shares, 5.0)


def test_an_account_id_cannot_add_to_the_command(decisions: pd.DataFrame) -> None:
    rows = report_tables.worth_asking(decisions.assign(account_id="A1; rm -rf ~"), None)
    assert all(row["command"].startswith("limitlens why 'A1; rm -rf ~' --as-of ") for row in rows)
    assert rows


def test_the_telling_account_is_none_when_nothing_was_cut() -> None:
    empty = pd.DataFrame({"phi_behaviour": [], "change_cents": [], "action": [], "age_days": [], "account_id": []})
    assert report.telling_account(empty) is None
