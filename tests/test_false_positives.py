"""False positives: what was spared is what the decision without protection says, and the holdout tells the truth."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import ADVERSE
from limitlens.limits.policy_file import parse_policy
from limitlens.limits.rates import CONFIDENCE, Rate, cases_needed, difference
from limitlens.limits.spared import PROTECTIONS, spared
from limitlens.limits.state import in_holdout, state_before, unpacked
from limitlens.models.outcomes import outcomes
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.answers.false_positives import FalsePositives, _verdicts, false_positives, rate_words
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.states_before import states_before
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.strategies import to_arrow

T = datetime(2025, 7, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Decided:
    """A date of the demo, decided once more."""

    rows: pd.DataFrame
    iteration: Iteration
    table: pd.DataFrame
    state: pd.DataFrame


@pytest.fixture(scope="module")
def first_date(small_workspace: Workspace) -> Decided:
    run = small_workspace.ledger.runs()[0]
    rows = unpacked(small_workspace.ledger.table(f"SELECT * FROM decisions WHERE run_id = '{run.run_id}'"))
    iteration = small_workspace.iteration(run.model_version, run.policy_digest)
    features = iteration.model.features
    moments = rows[["account_id", "as_of"]].assign(known_by=rows["as_of"])
    table = tables_at(moments, [features], small_workspace)[features.digest]
    table = rows_at(table, rows["account_id"], rows["as_of"], rows["as_of"])
    return Decided(rows, iteration, table, state_before(rows))


def test_what_is_recorded_as_spared_is_found_again(first_date: Decided) -> None:
    found = spared(first_date.iteration, first_date.table, first_date.state, first_date.rows)
    assert found["spared_action"].notna().any()
    for name in ("spared_action", "spared_limit_cents"):
        assert found[name].dropna().tolist() == first_date.rows[name].dropna().tolist()
    assert found["spared_by"].dropna().tolist() == first_date.rows["spared_by"].dropna().map(list).tolist()


def test_spared_is_what_a_policy_without_protections_would_do(first_date: Decided) -> None:
    """Under a strict policy, against policies in which one protection is left, written down by hand."""
    table, state, pd_ = first_date.table, first_date.state, first_date.rows["pd"].to_numpy()
    text = first_date.iteration.policy.text
    strict = {
        "decrease_above_pd = 0.180": "decrease_above_pd = 0.030",
        "review_above_pd = 0.120": "review_above_pd = 0.020",
        "review_above_pd = 0.100": "review_above_pd = 0.020",
    }
    for old, new in strict.items():
        assert old in text
        text = text.replace(old, new)
    policy = parse_policy(text)
    iteration = replace(first_date.iteration, policy=policy)
    state = state.assign(holdout=in_holdout(first_date.rows["account_id"], 0.2, "limitlens"), pd_ref=pd_ * 1.1)
    decided = iteration.rules(table, pd_, state)
    found = spared(iteration, table, state, decided)

    def adverse(kept: str) -> pd.DataFrame:
        loss = policy.loss if kept == "loss_floor" else replace(policy.loss, adverse_above_cents=0)
        timers = policy.timers if kept == "dead_band" else replace(policy.timers, dead_band_log_odds=0.0)
        new = policy.new_lines if kept == "new_line" else replace(policy.new_lines, protected_days=0)
        bare = replace(policy, loss=loss, timers=timers, new_lines=new)
        exposed = state if kept == "holdout" else state.assign(holdout=False)
        return replace(iteration, policy=bare).rules(table, pd_, exposed)

    without = adverse("")
    expected = without["action"].isin(ADVERSE) & ~decided["action"].isin([*ADVERSE, "hold"])
    assert expected.sum() > 100
    assert (found["spared_action"].notna() == expected).all()
    assert found.loc[expected, "spared_action"].tolist() == without.loc[expected, "action"].tolist()
    assert found.loc[expected, "spared_limit_cents"].tolist() == without.loc[expected, "limit_cents"].tolist()
    for name in PROTECTIONS:
        enough = ~adverse(name)["action"].isin(ADVERSE)
        told = found.loc[expected, "spared_by"].map(lambda by, name=name: name in by)
        assert (told == enough[expected]).all(), name
        assert told.any(), name


def payment(account: str, kind: str, day: int) -> dict[str, object]:
    time = T + timedelta(days=day)
    return {
        "event_id": f"{account}{kind}", "account_id": account, "event_time": time, "known_time": time,
        "delivered_known_time": time, "kind": kind, "retracted": None, "amount_cents": 100_00,
        "instalment_id": f"{account}1", "dpd_days": None,
    }  # fmt: skip


def test_outcomes_are_good_bad_indeterminate_or_censored() -> None:
    due = [payment(account, "due", 10) for account in ("good", "late", "bad")]
    rows = [*due, payment("good", "repayment", 20), payment("late", "repayment", 60)]
    relations = {"payment": to_arrow({"consumption": [], "payment": rows, "device": []})["payment"]}
    points = pd.DataFrame({"account_id": ["good", "late", "bad", "good"]})
    points["as_of"] = pd.to_datetime([T, T, T, datetime(2025, 12, 31, tzinfo=UTC)], utc=True).as_unit("us")
    settings = replace(default_settings(), horizon_months=4)
    found = outcomes(points, relations, settings, known_by=datetime(2026, 1, 1, tzinfo=UTC))
    assert found.tolist() == ["good", "indeterminate", "bad", "censored"]


def test_delivered_outcomes_win_and_belong_to_the_month_before_the_decision(tmp_path: Path) -> None:
    told = pd.DataFrame({"account_id": ["A", "B"], "as_of": pd.Timestamp(T), "bad": [True, False]})
    told = told.assign(known_time=pd.Timestamp(T) + pd.Timedelta(days=90))
    told = told.assign(delivered_known_time=told["known_time"])
    told.to_parquet(tmp_path / "outcomes.parquet")
    relations = {"outcomes": f"SELECT * FROM read_parquet('{tmp_path / 'outcomes.parquet'}')"}
    days = [0, 20, 40]
    points = pd.DataFrame(
        [(a, T + pd.Timedelta(days=d)) for a in ("A", "B") for d in days], columns=["account_id", "as_of"]
    )
    points["as_of"] = points["as_of"].dt.as_unit("us")
    found = outcomes(points, relations, TrainSettings(), known_by=datetime(2026, 1, 1, tzinfo=UTC))
    assert found.tolist() == ["bad", "bad", "censored", "good", "good", "censored"]


def portfolio(seed: int, lines: int, share: float, *, rescued: float = 0.3) -> tuple[FalsePositives, float]:
    """Flagged lines of a portfolio, of which the truth is known; an action rescues some of the bad ones."""
    draw = np.random.default_rng(seed)
    accounts = pd.Series([f"S{seed}-{k}" for k in range(lines)])
    good = draw.random(lines) < draw.uniform(0.3, 0.7)
    held = in_holdout(accounts, share, "limitlens")
    seen = good | (~held & (draw.random(lines) < rescued))
    flags = pd.DataFrame({"account_id": accounts, "as_of": pd.Timestamp(T), "held_out": held, "segment": "salaried"})
    flags = flags.assign(
        outcome=np.where(seen, "good", "bad"), age="180 days and more", arrears="none", rule="pd_close", verdict=""
    )
    flags["iteration"] = "model 1, policy 0"
    return FalsePositives(6, "2026-01-01", flags, pd.DataFrame()), float(good.mean())


@pytest.mark.slow
def test_the_interval_of_the_holdout_covers_the_truth_in_93_of_100_portfolios_and_the_naive_one_does_not() -> None:
    covered = naive = 0
    for seed in range(100):
        found, truth = portfolio(seed, 800, 0.1)
        covered += found.held_out.interval[0] <= truth <= found.held_out.interval[1]
        naive += found.acted_on.interval[0] <= truth <= found.acted_on.interval[1]
    assert covered >= 93
    assert naive < 50


def test_what_is_not_known_is_said_and_bounded() -> None:
    found, _ = portfolio(1, 500, 0.0)
    found.flags.loc[found.flags.index[:100], "outcome"] = "censored"
    low, high = found.bounds
    assert found.held_out.of == 0
    assert "measured on the holdout: unknown, of none" in "\n".join(found.lines())
    assert "never at this pace" in "\n".join(found.lines())
    assert high - low == pytest.approx(0.2)
    assert json.dumps(found.to_dict())


def test_lines_that_a_reviewer_cleared_are_not_counted_as_acted_on() -> None:
    found, _ = portfolio(1, 500, 0.0)
    found.flags.loc[:99, "verdict"], found.flags.loc[100:149, "verdict"] = "overturn", "uphold"
    good = found.flags["outcome"] == "good"
    assert (found.cleared.of, found.cleared.count) == (100, good[:100].sum())
    assert (found.acted_on.of, found.acted_on.count) == (400, good[100:].sum())
    assert (found.upheld.of, found.upheld.count) == (50, good[100:150].sum())
    assert sum(row["acted_on_known"] for row in found.by("segment").to_dict("records")) == 400
    told = "\n".join(found.lines())
    assert f"of the lines they cleared were good {rate_words(found.cleared)}" in told


def test_a_flag_has_the_verdict_of_the_case_in_which_it_fell() -> None:
    day = pd.Timestamp("2026-06-01", tz="UTC")
    flags = pd.DataFrame({"account_id": ["A", "B", "C", "D"], "as_of": day})
    rows = [("A", 0, 2, True), ("B", -40, -30, True), ("C", 1, 2, True), ("D", 0, 2, False)]
    verdicts = pd.DataFrame(
        [(a, day + pd.Timedelta(days=s), day + pd.Timedelta(days=j), "overturn", settles) for a, s, j, settles in rows],
        columns=["account_id", "since", "as_of", "verdict", "settles"],
    )
    assert _verdicts(flags, verdicts).tolist() == ["overturn", "", "", ""]


def test_the_power_statement_counts_what_is_lacking_at_the_pace_so_far() -> None:
    found, _ = portfolio(2, 2_000, 0.1)
    flags = found.flags.assign(as_of=pd.date_range(T, periods=len(found.flags), freq="4h"))
    found = replace(found, flags=flags)
    months = (flags["as_of"].max() - flags["as_of"].min()).days / (365.25 / 12)
    needed = cases_needed(found.held_out, 0.05)
    expected = (needed - found.held_out.of) / (flags["held_out"].sum() / months)
    assert found.months_needed(0.05) == pytest.approx(expected)
    assert found.months_needed(0.2) == 0


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.integers(1, 50))
def test_intervals_hold_their_rates(one: int, other: int, of_one: int, of_other: int) -> None:
    first, second = Rate(min(one, of_one), of_one), Rate(min(other, of_other), of_other)
    low, high = first.interval
    assert 0 <= low <= first.share <= high <= 1
    assert first.interval == pytest.approx(binomtest(first.count, of_one).proportion_ci(CONFIDENCE), abs=1e-9)
    found, below, above = difference(first, second)
    assert below <= found + 1e-12
    assert found <= above + 1e-12
    assert difference(second, first)[0] == pytest.approx(-found)


def test_the_command_measures_a_workspace_and_writes_the_cases(small_workspace: Workspace, tmp_path: Path) -> None:
    found = false_positives(small_workspace)
    out = tmp_path / "cases.csv"
    words = ["false-positives", "--workspace", str(small_workspace.root), "--cases", str(out)]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "lines were flagged on PD alone" in said.output
    assert "spared, which protection alone was enough" in said.output
    assert len(pd.read_csv(out)) == len(found.flags) == found.flags["account_id"].nunique() > 0
    told = json.loads(CliRunner().invoke(app, [*words[:3], "--json"]).output)
    assert told["held_out"]["of"] == found.held_out.of
    assert {row["spared_by"] for row in told["spared"]} & {"dead_band", "loss_floor", "new_line", "holdout"}


def test_a_horizon_of_no_month_is_refused(small_workspace: Workspace) -> None:
    said = CliRunner().invoke(app, ["false-positives", "--horizon-months", "0", "-w", str(small_workspace.root)])
    assert said.exit_code != 0


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="run limitlens decide first"):
        false_positives(Workspace(tmp_path / "work"))


def test_no_line_over_the_cap_is_drawn_and_a_policy_without_one_has_its_old_digest() -> None:
    text = default_policy().text
    capped = parse_policy(text.replace('salt = "limitlens"', 'salt = "limitlens"\nmax_limit_cents = 500_00', 1))
    none = parse_policy(text.replace('salt = "limitlens"', 'salt = "limitlens"\nmax_limit_cents = 0', 1))
    assert none.digest == default_policy().digest != capped.digest
    with pytest.raises(ConfigError, match="max_limit_cents must be at least 0"):
        parse_policy(text.replace('salt = "limitlens"', 'salt = "limitlens"\nmax_limit_cents = -1', 1))
    opened = pd.Timestamp("2026-01-01", tz="UTC")
    lines = pd.DataFrame(
        {
            "account_id": [f"A{k}" for k in range(2_000)],
            "as_of": opened,
            "opened_at": opened,
            "limit_cents": np.where(np.arange(2_000) % 2, 500_00, 500_01),
        }
    )
    orders = pd.DataFrame({"account_id": pd.Series([], dtype="str")})
    latest = unpacked(DECISIONS.empty_table())
    drawn = {p.digest: states_before(lines, latest, orders, p)["holdout"] for p in (none, capped)}
    few = lines["limit_cents"] <= 500_00
    assert drawn[none.digest][~few].any()
    assert (drawn[capped.digest] == drawn[none.digest] & few).all()


def test_a_capped_holdout_says_of_whom_it_speaks() -> None:
    flags = pd.DataFrame({"held_out": [True], "outcome": ["good"], "as_of": [pd.Timestamp("2026-01-01")]})
    flags = flags.assign(segment="mass", age="", arrears="", rule="", iteration="", verdict="")
    told = FalsePositives(6, "2026-07-01", flags, pd.DataFrame({name: [] for name in "abcde"}), 500_00).lines()
    assert any("of lines of at most 500.00 when they were drawn: 100.0%" in line for line in told)
