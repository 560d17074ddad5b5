"""Stress: without a shock the ledger to the bit; a harsher shock never leaves more to draw, but for the dead band."""

import json
import shutil
import sqlite3
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, IntegrityError
from limitlens.limits.policy import ACTIONS, ADVERSE, Policy
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.stress import SUMS, Decisions, Lines, added, cuts_pay, rises, shifted_pd, tally
from limitlens.limits.stress_scenarios import Scenario, read_scenarios
from limitlens.limits.stress_tests import overdue, stress_tests
from limitlens.pipeline import tracking, verify
from limitlens.pipeline.cli import app
from limitlens.pipeline.stressing.decided_day import decided_day
from limitlens.pipeline.stressing.stress import Stressed, record, stress
from limitlens.pipeline.stressing.stress_report import write_stress_report
from limitlens.pipeline.workspace import Workspace, default_policy, default_scenarios
from tests.decision_oracle import decide_one
from tests.strategies import Row, book_of, cases

NOW = datetime(2026, 7, 2, 9, tzinfo=UTC)
SHIPPED = read_scenarios(default_scenarios())
Case = tuple[list[Row], Policy]


def lines_of(rows: list[Row]) -> Lines:
    table, pd_, state = book_of(rows)
    return Lines(table, pd_, state)


def of(kind: Any, **values: Any) -> Scenario:
    return Scenario("one", "One", "一", 1, date(2026, 11, 30), kind, **values)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases(), st.floats(0, 3), st.floats(0, 3))
def test_a_line_never_changed_is_left_no_more_to_draw_the_higher_its_pd(case: Case, step: float, more: float) -> None:
    lines = lines_of([{**row, "pd_ref": np.nan} for row in case[0]])
    milder, harsher = (lines.decided(case[1], shifted_pd(lines.pd_, by)) for by in (step, step + more))
    owed = lines.balance_cents
    assert (harsher.credit_cents(owed) <= milder.credit_cents(owed)).all()
    assert rises(lines, milder, harsher, case[1]) == (0, 0)
    cut = ~(milder.action == ACTIONS.index("decrease"))  # a freeze leaves the limit that a decrease lowers
    assert (harsher.limit_cents <= milder.limit_cents)[cut].all()


@pytest.mark.slow
@given(cases(), st.floats(0, 3), st.floats(0, 3))
def test_where_a_higher_pd_leaves_more_to_draw_the_dead_band_says_why(case: Case, step: float, more: float) -> None:
    lines = lines_of(case[0])
    milder, harsher = (lines.decided(case[1], shifted_pd(lines.pd_, by)) for by in (step, step + more))
    count, inside = rises(lines, milder, harsher, case[1])
    assert count == inside


@settings(max_examples=20)
@given(cases())
def test_a_shock_of_nothing_changes_no_bit(case: Case) -> None:
    lines = lines_of(case[0])
    assert (shifted_pd(lines.pd_, np.zeros(len(lines.pd_))) == lines.pd_).all()
    assert lines.decided(case[1]).equal(lines.decided(case[1], shifted_pd(lines.pd_, 0.0))).all()


def loss(pd_: float, limit: int, owed: int, can_draw: bool, policy: Policy) -> int:
    free = max(limit - owed, 0) if can_draw else 0
    return round(pd_ * policy.loss.lgd * (max(owed, 0) + policy.loss.ccf * free))


@pytest.mark.slow
@settings(max_examples=40)
@given(cases(), st.floats(0.1, 2), st.floats(0, 1))
def test_a_tally_is_what_a_loop_over_the_lines_adds_up(case: Case, step: float, reaction: float) -> None:
    rows, policy = case
    lines = lines_of(rows)
    before, after = lines.decided(policy), lines.decided(policy, shifted_pd(lines.pd_, step))
    expected: Counter[Any] = Counter()
    plain = pd.concat([lines.table.drop(columns="line_age_days"), lines.state], axis=1).to_dict("records")
    for k, row in enumerate(plain):
        segment = row["segment"] if isinstance(row["segment"], str) else "default"
        old, new = (ACTIONS[side.action[k]] for side in (before, after))
        band = max(b for b in (0, 30, 90, 365) if b <= row["line_age_days"])
        pds = float(before.pd[k]), float(after.pd[k])
        felt = float(shifted_pd(after.pd[k : k + 1], reaction)[0]) if new in ADVERSE and old not in ADVERSE else pds[1]
        ends = [(int(side.limit_cents[k]), row["balance_cents"], bool(side.can_draw[k])) for side in (before, after)]
        values = (
            ends[0][0],
            ends[1][0],
            *(max(limit - owed, 0) if can else 0 for limit, owed, can in ends),
            loss(pds[0], *ends[0], policy),
            loss(pds[1], *ends[0], policy),
            loss(felt, *ends[1], policy),
            round(1e6 * (1 - pds[0])),
        )
        for name, value in zip(("lines", *SUMS), (1, *values), strict=True):
            expected[(segment, band, old, new, name)] += value
    made = tally(lines, before, after, policy, reaction)
    counted = {
        (row["segment"], row["age_days"], row["action_before"], row["action_after"], name): row[name]
        for row in made.to_dict("records")
        for name in ("lines", *SUMS)
    }
    assert counted == dict(expected)


def part(decisions: Decisions, rows: slice) -> Decisions:
    whole = (decisions.action, decisions.limit_cents, decisions.can_draw, decisions.pd)
    return Decisions(*(values[rows] for values in whole))


@pytest.mark.slow
@settings(max_examples=40)
@given(cases(), st.integers(0, 20))
def test_how_a_book_is_cut_up_changes_no_sum(case: Case, at: int) -> None:
    rows, policy = case
    lines = lines_of(rows)
    before, after = lines.decided(policy), lines.decided(policy, shifted_pd(lines.pd_, 0.7))
    whole = tally(lines, before, after, policy, 0.3)
    parts = []
    for some in (slice(0, at), slice(at, None)):
        mine = Lines(lines.table.iloc[some], lines.pd_[some], lines.state.iloc[some])
        if len(mine.pd_):
            parts.append(tally(mine, part(before, some), part(after, some), policy, 0.3))
    pd.testing.assert_frame_equal(added(parts), added([whole]))


def test_cuts_save_what_can_no_longer_be_drawn_and_cost_more_the_more_they_are_felt() -> None:
    policy = default_policy()
    row = {"segment": "salaried", "limit_cents": 10_000_00, "used": 0.4, "pd": 0.2}
    lines = lines_of([row])
    keep, close = ACTIONS.index("keep"), ACTIONS.index("close")
    arrays = np.array([10_000_00]), np.array([True]), lines.pd_
    before = Decisions(np.array([keep]), *arrays)
    after = Decisions(np.array([close]), np.array([0]), np.array([False]), lines.pd_)
    saved, *lost = cuts_pay(lines, before, after, policy)
    assert saved == round(0.2 * policy.loss.lgd * policy.loss.ccf * 6_000_00)
    odds = 0.25 * np.exp(0.5)
    assert lost[0] == 0
    assert lost[5] == round((odds / (1 + odds) - 0.2) * policy.loss.lgd * 4_000_00)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "pd"', 'kind = "PD"', r"stress.toml:\d+: kind in \[\[scenarios\]\] number 1 is 'PD'; expected one of"),
        ("version = 1", "", r"'version' is missing in \[\[scenarios\]\] number 1"),
        ("version = 1", "version = 1\ndays = 3", r"stress.toml:\d+: unknown key 'days' in \[\[scenarios\]\] number 1"),
        ("version = 1", "version = 1\nseverities = [2.0, 1.0]", "expected rising numbers above 0"),
        ('name = "severe"', 'name = "mild"', r"stress.toml:\d+: two scenarios are called 'mild'"),
        ("default = 0.25", 'default = "much"', "default in .* is 'much'; expected float"),
    ],
)
def test_a_file_of_scenarios_that_is_wrong_is_refused_with_its_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    text = default_scenarios().read_text("utf-8")
    assert old in text
    (tmp_path / "stress.toml").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match=message):
        read_scenarios(tmp_path / "stress.toml")


def test_a_scenario_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no scenario 'none'; expected one of"):
        read_scenarios(default_scenarios(), "none")
    assert [one.name for one in read_scenarios(default_scenarios(), "severe")] == ["severe"]


def test_the_policy_says_how_often_and_without_the_section_its_digest_is_as_before() -> None:
    shipped = default_policy()
    assert shipped.stress is None
    assert shipped.stressing.every_days == 92
    often = parse_policy(shipped.text.replace("[holds]", "[stress]\nevery_days = 30\n\n[holds]", 1))
    assert often.stressing.every_days == 30
    assert often.digest != shipped.digest
    with pytest.raises(ConfigError, match=r"every_days is 0; expected 1 to 3660"):
        parse_policy(shipped.text.replace("[holds]", "[stress]\nevery_days = 0\n\n[holds]", 1))


@pytest.fixture(scope="module")
def stressed(small_workspace: Workspace) -> Stressed:
    return stress(small_workspace, SHIPPED)


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


@pytest.mark.slow
def test_without_a_shock_the_day_is_the_ledger(small_workspace: Workspace, stressed: Stressed) -> None:
    ledger = small_workspace.ledger.query("SELECT * FROM decisions")
    day = ledger[ledger["as_of"] == stressed.as_of]
    for answer in stressed.answers:
        groups = answer.of("day", 0.0)
        assert (groups["action_before"] == groups["action_after"]).all()
        counts = groups.groupby("action_after")["lines"].sum().to_dict()
        assert counts == day["action"].value_counts().to_dict()
        assert groups["limit_after_cents"].sum() == day["limit_cents"].sum()
        assert (groups["loss_before_cents"] == groups["loss_after_cents"]).all()


@pytest.mark.slow
def test_a_ledger_that_says_something_else_is_refused(copied: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    day = decided_day(copied)
    limits = day.decisions["limit_cents"].to_pylist()
    place = day.decisions.column_names.index("limit_cents")
    changed = day.decisions.set_column(place, "limit_cents", [[limits[0] + 100, *limits[1:]]])
    other = replace(day, decisions=changed)
    monkeypatch.setattr("limitlens.pipeline.stressing.stress.decided_day", lambda *_: other)
    with pytest.raises(IntegrityError, match="but without any shock decided as"):
        stress(copied, SHIPPED[:1])


@pytest.mark.slow
def test_a_shock_to_pds_is_what_deciding_line_by_line_gives(small_workspace: Workspace, stressed: Stressed) -> None:
    """The PD of the ledger, moved by hand, and the decision in plain Python."""
    from limitlens.pipeline.stressing.decided_day import batches

    day = decided_day(small_workspace)
    policy = day.iteration.policy
    [batch] = batches(day, small_workspace, policy.columns, scored=False)
    lines = pd.concat([batch.lines.table.drop(columns=["line_age_days"], errors="ignore"), batch.lines.state], axis=1)
    answer = next(one for one in stressed.answers if one.scenario.name == "severe")
    counts: Counter[str] = Counter()
    for line, pd_ in zip(lines.to_dict("records"), batch.recorded["pd"], strict=True):
        odds = pd_ / (1 - pd_) * np.exp(1.0 if line["segment"] == "self_employed" else 0.7)
        action, *_ = decide_one({**line, "pd": odds / (1 + odds)}, policy)
        counts["hold" if line["data_hold"] else action] += 1
    assert answer.of("day", 1.0).groupby("action_after")["lines"].sum().to_dict() == dict(counts)


@pytest.mark.slow
def test_a_segment_that_is_not_shocked_stays_as_it_was(stressed: Stressed) -> None:
    answer = next(one for one in stressed.answers if one.scenario.name == "students")
    others = answer.tallies[answer.tallies["segment"] != "student"]
    assert (others["action_before"] == others["action_after"]).all()
    assert (others["loss_before_cents"] == others["loss_unanswered_cents"]).all()
    students = answer.of("end", 2.0)
    assert students["loss_unanswered_cents"].sum() > students["loss_before_cents"].sum()


@pytest.mark.slow
def test_another_policy_is_a_scenario_and_decides_as_policy_diff_says(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    own = decided_day(small_workspace).iteration.policy
    text = own.text.replace("close_above_pd = 0.450", "close_above_pd = 0.310", 1)
    assert text != own.text
    (tmp_path / "other.toml").write_text(text, "utf-8")
    [answer] = stress(small_workspace, (of("policy", policy="other.toml"),), folder=tmp_path).answers
    [direct] = stress(small_workspace, (of("policy", cut_offs_log_odds=-0.5),), folder=tmp_path).answers
    assert answer.severities == [0.0, 1.0]
    row = answer.totals("end")[1]
    assert row["loss_unanswered_cents"] == row["loss_before_cents"]
    assert direct.totals("end")[-1]["newly_adverse"] >= direct.totals("end")[1]["newly_adverse"]


@pytest.mark.slow
def test_a_stress_test_is_a_link_with_the_digests_of_all_it_stood_on_and_a_run(
    copied: Workspace, stressed: Stressed, tmp_path: Path
) -> None:
    links = verify(copied)[0]
    head = copied.ledger.head()
    pages = write_stress_report(stressed, default_policy(), tmp_path / "stress.html")
    test = record(copied, stressed, NOW, pages)
    assert verify(copied) == (links + 1, len(tracking.heads(copied.mlflow)))
    assert stress_tests(copied.root) == [test]
    inputs = json.loads(test.inputs)
    assert (inputs["ledger"], inputs["run"]) == (head, stressed.run_id)
    assert inputs["events"] == copied.events.digest()
    mlflow = tracking.client(copied.mlflow)
    experiments = [one.experiment_id for one in mlflow.search_experiments()]
    [run] = mlflow.search_runs(experiments, "tags.`limitlens.kind` = 'stress'")
    assert run.info.run_name == f"stress {stressed.as_of:%Y-%m-%d}"
    kept = {path.name for path in tracking.artifacts(mlflow, run.info.run_id).iterdir()}
    assert {"stress.json", "stress.html", "stress.zh-CN.html"} <= kept
    with sqlite3.connect(copied.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE stress_tests SET summary = '[]'")
    with pytest.raises(IntegrityError, match="stress test 2026-07-02 was changed"):
        verify(copied)


@pytest.mark.slow
def test_the_reminder_ends_as_a_missing_step_does_until_a_test_is_young_enough(
    copied: Workspace, stressed: Stressed
) -> None:
    asked = ["stress", "--periodic", "--workspace", str(copied.root)]
    never = CliRunner().invoke(app, asked)
    assert "no stress test was ever made" in str(never.exception)
    assert getattr(never.exception, "exit_code", 0) == 1
    old = datetime.now(UTC) - timedelta(days=100)
    record(copied, stressed, old)
    assert "is 100 days old" in str(CliRunner().invoke(app, asked).exception)
    record(copied, stressed, datetime.now(UTC))
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert overdue(stress_tests(copied.root), old + timedelta(days=300), 92)


@pytest.mark.slow
def test_the_pages_say_in_both_languages_what_happens_and_hide_counts_of_a_few(
    stressed: Stressed, tmp_path: Path
) -> None:
    english, chinese = write_stress_report(stressed, default_policy(), tmp_path / "page.html")
    assert chinese.name == "page.zh-CN.html"
    texts = [path.read_text("utf-8") for path in (english, chinese)]
    for answer in stressed.answers:
        assert answer.scenario.title in texts[0]
        assert answer.scenario.title_zh in texts[1]
    for words, text in zip(("under 10", "不足 10"), texts, strict=True):
        assert words in text
        assert text.count("<svg") == 1 + 2 * len(stressed.answers)
    assert not any(f'class="n">{few}<' in text for few in range(1, 10) for text in texts)
    assert "under 10" not in texts[1]


@pytest.mark.slow
def test_the_command_prints_each_severity_and_json_holds_every_group(copied: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "stress.html"
    command = ["stress", "--only", "mild", "--workspace", str(copied.root), "--out", str(out)]
    run = CliRunner().invoke(app, [*command, "--json"])
    assert run.exit_code == 0, run.output
    body = json.loads(run.stdout)
    assert [one["scenario"]["name"] for one in body["scenarios"]] == ["mild"]
    groups = body["scenarios"][0]["groups"]
    assert sum(row["lines"] for row in groups if row["view"] == "day" and row["severity"] == 1.0) == body["lines"]
    assert out.exists()
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    assert "mild" in run.stdout
    assert len(stress_tests(copied.root)) == 2
