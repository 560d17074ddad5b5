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
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, InputError, IntegrityError
from limitlens.data.world.chance import Chance
from limitlens.data.world.fortune import economy as world_economy
from limitlens.features.declarations import Aggregate, FeatureSet, Position
from limitlens.features.line import limit_and_age
from limitlens.features.table import build_table
from limitlens.limits.behaviour_shocks import shrink_inflows, use_more
from limitlens.limits.policy import ACTIONS, ADVERSE, Policy
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.state import state_before, unpacked
from limitlens.limits.stress import SUMS, Decisions, Lines, added, cuts_pay, rises, shifted_pd, tally
from limitlens.limits.stress_scenarios import Scenario, read_scenarios
from limitlens.limits.stress_tests import overdue, stress_tests
from limitlens.models.default_risk import predict_pd
from limitlens.models.redrawn import drawn_pds
from limitlens.models.satellite import fit_satellite
from limitlens.pipeline import tracking, verify
from limitlens.pipeline.cli import app
from limitlens.pipeline.stressing.answer import Stressed
from limitlens.pipeline.stressing.decided_day import batches, decided_day, recorded_decisions
from limitlens.pipeline.stressing.stress import record, stress
from limitlens.pipeline.stressing.stress_report import write_stress_report
from limitlens.pipeline.workspace import Workspace, default_policy, default_scenarios
from tests.decision_oracle import decide_one
from tests.strategies import Row, book_of, cases

NOW = datetime(2026, 7, 2, 9, tzinfo=UTC)
EVERY = read_scenarios(default_scenarios())
POLICY = default_policy()
SHIPPED = tuple(one for one in EVERY if one.kind in {"pd", "policy"})
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
    assert rises(lines, milder, harsher, case[1])[:3] == (0, 0, 0)
    cut = ~(milder.action == ACTIONS.index("decrease"))  # a freeze leaves the limit that a decrease lowers
    assert (harsher.limit_cents <= milder.limit_cents)[cut].all()


@pytest.mark.slow
@given(cases(), st.floats(0, 3), st.floats(0, 3))
def test_where_a_higher_pd_leaves_more_to_draw_the_dead_band_says_why(case: Case, step: float, more: float) -> None:
    lines = lines_of(case[0])
    milder, harsher = (lines.decided(case[1], shifted_pd(lines.pd_, by)) for by in (step, step + more))
    count, inside, lower, down, up = rises(lines, milder, harsher, case[1])
    assert (count, lower, down) == (inside, 0, 0)
    assert up == (harsher.pd > milder.pd).sum()


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
    made = tally(lines, lines, (before, after), policy, reaction_log_odds=reaction)
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
    whole = tally(lines, lines, (before, after), policy, reaction_log_odds=0.3)
    parts = []
    for some in (slice(0, at), slice(at, None)):
        mine = Lines(lines.table.iloc[some], lines.pd_[some], lines.state.iloc[some])
        if len(mine.pd_):
            parts.append(tally(mine, mine, (part(before, some), part(after, some)), policy, reaction_log_odds=0.3))
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
        (
            'kinds = ["repayment"]',
            'kinds = ["repaid"]',
            r"kinds of scenario 'repayments_out' is not right; expected some",
        ),
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
def test_no_bit_depends_on_how_many_lines_are_taken_at_a_time(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [next(one for one in EVERY if one.kind == kind) for kind in ("pd", "behaviour", "iteration", "outage")]
    whole = stress(small_workspace, tuple(kinds)).to_dict()
    monkeypatch.setattr("limitlens.pipeline.stressing.decided_day.BATCH_ROWS", 500)
    lines = list[str]()
    assert stress(small_workspace, tuple(kinds), progress=lines.append).to_dict() == whole
    assert lines.count("lines decided again") == 3


@pytest.mark.slow
def test_a_ledger_that_says_something_else_is_refused(copied: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*where: Any) -> pa.Table:
        recorded = recorded_decisions(*where)
        limits, place = recorded["limit_cents"].to_pylist(), recorded.column_names.index("limit_cents")
        return recorded.set_column(place, "limit_cents", [[limits[0] + 100, *limits[1:]]])

    monkeypatch.setattr("limitlens.pipeline.stressing.decided_day.recorded_decisions", changed)
    with pytest.raises(IntegrityError, match="but without any shock decided as"):
        stress(copied, SHIPPED[:1])


@pytest.mark.slow
def test_a_shock_to_pds_is_what_deciding_line_by_line_gives(small_workspace: Workspace, stressed: Stressed) -> None:
    """The PD of the ledger, moved by hand, and the decision in plain Python."""
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
    with pytest.raises(IntegrityError, match="stress test 2026-07-02T0 was changed"):
        verify(copied)


def test_a_workspace_in_which_nothing_was_ever_done_is_reminded_in_one_line(tmp_path: Path) -> None:
    asked = CliRunner().invoke(app, ["stress", "--periodic", "--workspace", str(tmp_path)])
    assert getattr(asked.exception, "exit_code", 0) == 1
    [line] = str(asked.exception).splitlines()
    assert line.startswith("no stress test was ever made, and the policy asks for one every 92 days")
    assert not list(tmp_path.iterdir())


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


MOVES = ("closed", "frozen", "cut")


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
        moves = [any(row[k] >= 10 for row in answer.totals("end") for k in MOVES) for answer in stressed.answers]
        assert text.count("<svg") == 1 + len(stressed.answers) + sum(moves)
    assert not any(f'class="n">{few}<' in text for few in range(1, 10) for text in texts)
    assert "under 10" not in texts[1]


@pytest.mark.slow
def test_the_pages_name_each_place_where_a_harsher_shock_does_less_and_why(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    shrinks = tuple(one for one in EVERY if one.name == "less_comes_in")
    stressed = stress(small_workspace, shrinks)
    rows = stressed.answers[0].not_monotone()
    english, chinese = (page.read_text("utf-8") for page in write_stress_report(stressed, POLICY, tmp_path / "p.html"))
    assert rows
    for row in rows:
        assert f"<td>{row['milder']:g} → {row['harsher']:g}</td>" in english
        assert f"<td>{row['milder']:g} → {row['harsher']:g}</td>" in chinese
    assert "the model need not read what the shock changes as a higher risk" in english
    assert "without an exception" not in english
    assert "模型未必视之为风险上升" in chinese


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


PURCHASES = FeatureSet(
    aggregates=(
        Aggregate("bought_count", "consumption", "count", (30, 90), ("purchase",)),
        Aggregate("bought_sum", "consumption", "sum", (30, 90), ("purchase",), "amount_cents"),
        Aggregate("bought_mean", "consumption", "mean", (30,), ("purchase",), "amount_cents"),
        Aggregate("bought_max", "consumption", "max", (90,), ("purchase",), "amount_cents"),
        Aggregate("bought_since", "consumption", "days_since_last", (0,), ("purchase",)),
        Aggregate("in_count", "payment", "count", (30,), ("transfer_in",)),
        Aggregate("in_sum", "payment", "sum", (30, 90, 180), ("transfer_in",), "amount_cents"),
        Aggregate("in_mean", "payment", "mean", (90, 180), ("transfer_in",), "amount_cents"),
    ),
    positions=(Position("balance_cents", "consumption", "cents", "", ""),),
)
ROW = {
    "balance_cents": 400.0, "bought_count_30d": 1.0, "bought_count_90d": 2.0, "bought_sum_30d": 100.0,
    "bought_sum_90d": 150.0, "bought_mean_30d": 100.0, "bought_max_90d": 100.0, "bought_since_ever": 9.0,
    "in_count_30d": 3.0, "in_sum_30d": 1001.0, "in_sum_90d": 3000.0, "in_sum_180d": 5000.0, "in_mean_90d": 500.0,
    "in_mean_180d": 400.0,
}  # fmt: skip


def test_a_line_that_is_used_more_has_bought_and_owes_it() -> None:
    used = use_more(PURCHASES, pd.DataFrame([ROW, ROW]), np.array([1000, 1000]), np.array([0.5, 0.0]))
    expected = ROW | {
        "balance_cents": 700.0, "bought_count_30d": 2.0, "bought_count_90d": 3.0, "bought_sum_30d": 400.0,
        "bought_sum_90d": 450.0, "bought_mean_30d": 200.0, "bought_max_90d": 300.0, "bought_since_ever": 0.0,
    }  # fmt: skip
    assert used.to_dict("records") == [expected, ROW]


def test_inflows_that_shrink_keep_their_number_and_what_lies_out_of_reach() -> None:
    shrunk = shrink_inflows(PURCHASES, pd.DataFrame([ROW, ROW]), np.array([0.5, 0.0]))
    expected = ROW | {"in_sum_30d": 500.0, "in_sum_90d": 1500.0, "in_sum_180d": 3500.0, "in_mean_90d": 250.0}
    assert shrunk.to_dict("records") == [expected, ROW]


def months(count: int) -> pd.DatetimeIndex:
    return pd.date_range("2023-01-01", periods=count, freq="MS", tz="UTC")


def test_the_regression_finds_what_moved_the_arrears_of_a_world_by_its_own_economy() -> None:
    economy = pd.DataFrame({"stress": world_economy(Chance(7), 60)}, index=months(60))
    late = np.random.default_rng(1).binomial(20_000, 1 / (1 + np.exp(3 - 1.5 * economy["stress"])))
    rates = pd.DataFrame({"bad": late, "lines": 20_000}, index=economy.index)
    fitted = fit_satellite(rates, economy)
    assert abs(fitted.weights["stress"] - 1.5) < 3 * fitted.errors["stress"]
    worse = fitted.shift({"stress": (economy["stress"].iloc[-1] + 0.2, economy["stress"].iloc[-1] + 0.4)})
    assert worse == pytest.approx(0.3 * fitted.weights["stress"])


@pytest.mark.parametrize(("count", "names", "needed"), [(23, ("a",), 24), (29, ("a", "b"), 30)])
def test_a_short_past_is_refused_in_a_line(count: int, names: tuple[str, ...], needed: int) -> None:
    rng = np.random.default_rng(0)
    series = pd.DataFrame({name: rng.normal(size=count) for name in names}, index=months(count))
    rates = pd.DataFrame({"bad": rng.integers(1, 50, count), "lines": 1000}, index=series.index)
    with pytest.raises(
        InputError, match=rf"share {count} months, and {len(names)} series with an intercept need {needed};"
    ):
        fit_satellite(rates, series)


@pytest.mark.slow
def test_a_book_with_a_short_past_refuses_the_economy_and_answers_the_rest(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "series.csv").write_text("month,rate\n2025-01,1.0\n2025-02,2.0\n", "utf-8")
    asked = (of("economy", path={"rate": (3.0,)}), replace(SHIPPED[0]))
    answered = stress(small_workspace, asked, economy=tmp_path / "series.csv")
    assert [one.scenario.name for one in answered.answers] == [SHIPPED[0].name]
    assert "share" in answered.refused["one"]
    assert "--economy" in stress(small_workspace, asked).refused["one"]
    with pytest.raises(InputError, match="one: the book and the series share"):
        stress(small_workspace, asked[:1], economy=tmp_path / "series.csv")


@pytest.mark.slow
def test_a_model_of_one_turn_has_no_chance_in_its_draws(small_workspace: Workspace) -> None:
    day = decided_day(small_workspace)
    model = day.iteration.model
    first = [member for member in model.book.members if member.turn == model.book.members[0].turn]
    single = replace(model, book=replace(model.book, members=tuple(first)), new_lines=None)
    [batch] = batches(day, small_workspace, day.iteration.policy.columns, scored=True)
    limit, age = limit_and_age(batch.lines.state)
    once, again = drawn_pds(single, batch.features, limit, age, draws=2, seed=1)
    assert (once == again).all()
    assert (once == predict_pd(single, batch.features, limit, age)).all()


@pytest.mark.slow
def test_what_chance_closes_is_counted_of_every_line(small_workspace: Workspace) -> None:
    [answer] = stress(small_workspace, (of("iteration", draws=4, seed=1),)).answers
    assert sum(a + b for a, b in answer.closed_in) == len(decided_day(small_workspace).accounts)
    assert answer.severities == [0.0, 1.0, 2.0, 3.0, 4.0]
    closed_now = answer.of("end", 0.0).query("action_after == 'close'")["lines"].sum()
    assert sum(a for a, _ in answer.closed_in) == closed_now


@pytest.mark.slow
def test_an_outage_is_what_deciding_without_the_rows_gives_and_a_hold_keeps_lines(small_workspace: Workspace) -> None:
    """The rows are taken out of the tables themselves, and each line decided by the iteration of the day."""
    scenario = of("outage", source="payment", days=10, slices=("segment",))
    [answer] = stress(small_workspace, (scenario,)).answers
    day = decided_day(small_workspace)
    features, recorded = day.iteration.model.features, unpacked(recorded_decisions(day, small_workspace))
    tables = {name: run_sql(sql) for name, sql in small_workspace.relations(features).items()}
    known, as_of = tables["payment"]["known_time"], day.run.as_of
    late = pc.and_(pc.greater_equal(known, as_of - timedelta(days=10)), pc.less(known, as_of))
    tables["payment"] = tables["payment"].filter(pc.invert(late))
    points = recorded[["account_id", "as_of"]].assign(known_by=recorded["as_of"])
    decided = day.iteration.decide(build_table(features, points, tables), state_before(recorded))
    counts = answer.of("day", 1.0).groupby("action_after")["lines"].sum().to_dict()
    assert counts == decided["action"].value_counts().to_dict()
    assert answer.slices is not None
    whole = answer.slices[answer.slices["column"] == ""].iloc[0]
    segments = answer.slices[answer.slices["column"] == "segment"]
    assert whole["newly_adverse"] == segments["newly_adverse"].sum() > 0
    assert whole["held"] > 0
    assert whole["newly_adverse_with_holds"] < whole["newly_adverse"]
    assert whole["noticed"]


@pytest.mark.slow
def test_kinds_of_which_nothing_ever_came_are_not_missed_and_kinds_that_are_the_source_are(
    small_workspace: Workspace,
) -> None:
    def out(*kinds: str) -> pd.DataFrame:
        [answer] = stress(small_workspace, (of("outage", source="consumption", days=10, kinds=kinds),)).answers
        assert answer.slices is not None
        return answer.slices

    absent = out("fee", "statement_balance").iloc[0]
    assert (absent["noticed"], absent["newly_adverse"]) == (False, 0)
    whole = out()
    assert whole["noticed"].all()
    pd.testing.assert_frame_equal(out("purchase", "draw", "refund", "fee", "statement_balance"), whole)


@pytest.mark.slow
def test_a_line_that_uses_more_had_lost_what_the_ledger_says_before(small_workspace: Workspace) -> None:
    used, milder = stress(small_workspace, (of("behaviour", utilisation_up=0.5), SHIPPED[0])).answers
    for view in ("day", "end"):
        before = {row["loss_before_cents"] for one in (used, milder) for row in one.totals(view)}
        assert len(before) == 1
    assert used.totals("day")[-1]["loss_unanswered_cents"] > used.totals("day")[0]["loss_unanswered_cents"]


@pytest.mark.slow
def test_salaries_that_are_late_touch_only_the_segment_that_is_named(small_workspace: Workspace) -> None:
    scenario = of("behaviour", inflow_delay_days=10, segments=("salaried",), severities=(1.0,))
    [answer] = stress(small_workspace, (scenario,)).answers
    others = answer.tallies[answer.tallies["segment"] != "salaried"]
    assert (others["loss_before_cents"] == others["loss_unanswered_cents"]).all()
    salaried = answer.of("day", 1.0).query("segment == 'salaried'")
    assert (salaried["loss_before_cents"] != salaried["loss_unanswered_cents"]).any()
