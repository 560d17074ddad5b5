"""The report: one file, no network, nothing runs, numbers that add up."""

import re
from pathlib import Path

import pandas as pd
import pytest

from limitlens.limits.attribution import PLAYERS
from limitlens.pipeline import plots, report
from limitlens.pipeline.workspace import Workspace


@pytest.fixture(scope="module")
def page(finished_demo: tuple[Path, str]) -> str:
    return (finished_demo[0] / "report.html").read_text(encoding="utf-8")


def test_the_report_needs_no_network_and_runs_nothing(page: str) -> None:
    assert "<script" not in page
    assert "default-src 'none'" in page
    links = re.findall(r"""(?:src|href)=["']([^"'#]+)["']|url\(([^)#]+)\)""", page)
    assert all(first.startswith("data:") for first, second in links if first)
    assert not [second for first, second in links if second]


def test_the_report_names_every_cause_and_the_two_day_case(page: str) -> None:
    assert all(f"</span>{player}</td>" in page for player in PLAYERS)
    assert "lines closed within 7 days of opening" in page
    assert "cash_out" in page
    assert "Told to the customer" in page


def test_causes_in_the_table_sum_to_the_changes_that_were_split(small_workspace: Workspace) -> None:
    current = small_workspace.ledger.current()
    decisions = current.assign(change_cents=current["limit_cents"] - current["limit_before_cents"])
    rows = report.cause_table(decisions)
    split = decisions.loc[decisions["phi_behaviour"].notna(), "change_cents"].sum()
    assert sum(row["net"] for row in rows) == split
    assert all(row["net"] == row["raised"] + row["cut"] for row in rows)


def test_every_decision_stands_in_the_action_table(small_workspace: Workspace) -> None:
    decisions = small_workspace.ledger.current().assign(segment="all", change_cents=0)
    assert sum(row["all"] for row in report.action_table(decisions)["rows"]) == len(decisions)


def test_markup_in_names_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    rendered = report.template().environment.from_string("{{ name }}").render(name=evil)
    plot = plots.contrast([{"feature": evil, "false_positive_mean": 0.1, "true_positive_mean": 0.2}])
    assert evil not in rendered
    assert evil not in plot


def test_ids_of_two_plots_on_one_page_do_not_clash(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    clip_paths = [i for i in ids if re.fullmatch(r"p[0-9a-f]{10,}", i)]
    assert clip_paths
    assert len(clip_paths) == len(set(clip_paths))


def test_a_plot_is_the_same_every_time() -> None:
    shares = dict.fromkeys(PLAYERS, -1.0)
    assert plots.waterfall(10.0, shares, 5.0) == plots.waterfall(10.0, shares, 5.0)


def test_the_telling_account_is_none_when_nothing_was_cut() -> None:
    empty = pd.DataFrame({"phi_behaviour": [], "change_cents": [], "action": [], "age_days": [], "account_id": []})
    assert report.telling_account(empty) is None
