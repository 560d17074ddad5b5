"""Mend: candidates are what their names say, a gain is counted at equal bads caught, and chance is no gain."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from limitlens.limits.outcome import outcome_of
from limitlens.limits.policy import SecondLook, shifted
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.pipeline.cli import app
from limitlens.pipeline.release import mend as room
from limitlens.pipeline.release.mend import SHIFTS, at_equal_bads, bootstrap, candidates, mend
from limitlens.pipeline.release.simulate_policy import Past, past_of, simulate
from limitlens.pipeline.workspace import Workspace, default_policy

BASE = at_once(default_policy())


def test_each_candidate_is_the_policy_in_force_with_what_its_name_says() -> None:
    found = candidates(BASE, ["salaried", "student"])
    assert found["second look after 5 days"].digest == replace(BASE, second_look=SecondLook(5)).digest
    days, floor = 2 * BASE.new_lines.protected_days, 5 * BASE.loss.adverse_above_cents
    protected = replace(BASE, new_lines=replace(BASE.new_lines, protected_days=days))
    assert found[f"new lines protected for {days} days"].digest == protected.digest
    spares = replace(BASE, loss=replace(BASE.loss, adverse_above_cents=floor))
    assert found["no action on PD below 100.00"].digest == spares.digest
    student, moved = found["cut-offs of student +0.5 in log-odds"], shifted(BASE, 0.5)
    assert student.segments["student"].review_above_pd == pytest.approx(
        moved.segments["student"].review_above_pd, abs=1e-4
    )
    assert student.segments["default"] == BASE.segments["default"]
    assert student.segments["student"].increase_below_pd == BASE.segments["student"].increase_below_pd
    assert all(parse_policy(policy.text).digest == policy.digest for policy in found.values())


def test_a_policy_that_looks_twice_is_tried_after_other_days_and_without() -> None:
    shipped = default_policy()
    found = {name: one for name, one in candidates(shipped, ["salaried"]).items() if "second look" in name}
    assert shipped.second_look is not None
    assert set(found) == {"second look after 2 days", "second look after 5 days", "no second look"}
    soft = shipped.second_look.soft_rules
    assert found["second look after 5 days"].second_look == SecondLook(5, soft)
    assert found["no second look"].digest == at_once(shipped).digest


def lines(seed: int, count: int, *, spare: float) -> list[pd.DataFrame]:
    """Lines under a policy at eight cut-offs, and under one that hits as it does but spares a share of the good."""
    draw = np.random.default_rng(seed)
    bad, score = draw.random(count) < 0.1, draw.normal(size=count)
    score += bad
    tried = [pd.DataFrame({"bad": bad, "hit": score > 1.0 + shift, "limit_cents": 100}) for shift in SHIFTS]
    hit = (score > 1.2) & (bad | (draw.random(count) >= spare))
    return [*tried, pd.DataFrame({"bad": bad, "hit": hit, "limit_cents": 100})]


def test_drawn_anew_the_sums_spread_as_those_of_lines_drawn_one_by_one() -> None:
    tried = lines(1, 3_000, spare=0.3)
    sums, drawn = bootstrap(tried)
    for k, one in enumerate(tried):
        good, gone = one[~one["bad"]], one[one["bad"]]
        assert sums[k].tolist() == [
            good["hit"].sum(),
            gone["hit"].sum(),
            good["limit_cents"].sum(),
            gone["limit_cents"].sum(),
        ]
    draw, hit = np.random.default_rng(2), (tried[0]["hit"] & ~tried[0]["bad"]).to_numpy()
    slow = [hit[draw.integers(0, len(hit), len(hit))].sum() for _ in range(1_000)]
    assert drawn[:, 0, 0].mean() == pytest.approx(np.mean(slow), rel=0.02)
    assert drawn[:, 0, 0].std() == pytest.approx(np.std(slow), rel=0.15)


@pytest.mark.slow
def test_a_candidate_that_is_the_policy_moved_spares_nothing_and_one_that_knows_the_good_does() -> None:
    for spare, expected in ((0.0, 0.0), (0.3, 0.3)):
        sums, _ = bootstrap(lines(3, 200_000, spare=spare))
        assert at_equal_bads(sums, len(SHIFTS), len(SHIFTS))[0] == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_chance_is_hardly_ever_recommended_and_a_gain_mostly_is() -> None:
    """Of thirty small books each; a fortieth of the useless may be."""
    for spare, allowed in ((0.0, (0, 3)), (0.5, (27, 30))):
        found = [room._gain(*bootstrap(lines(seed, 4_000, spare=spare), seed), len(SHIFTS))[1] for seed in range(30)]
        assert allowed[0] <= sum(found) <= allowed[1]


@pytest.mark.slow
def test_mend_counts_what_simulating_the_policy_counts(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On two month starts of the demo; the command shows the same."""
    whole = past_of(small_workspace)
    starts = sorted(date for date in whole.planned["date"].unique() if date.day == 1)[:2]
    months = whole.planned[whole.planned["date"].isin(starts)]
    past = Past(whole.iteration, whole.since, whole.until, months, whole.tables, whole.bad)
    monkeypatch.setattr(room, "past_of", lambda *_, **__: past)
    monkeypatch.setattr(room, "LOOKS", ())
    found = mend(small_workspace)
    expected = outcome_of(simulate(past.iteration, months, past.tables, small_workspace), past.bad)
    current = found.current
    assert (current.good_hit, current.bad_caught) == (expected.good_hit, expected.bad_caught)
    assert (found.good, found.bad) == (expected.good, expected.bad)
    assert current.good_limit_cents == expected.good_limit_cents
    assert {one.name for one in found.candidates} >= {"no action on PD below 100.00"}
    said = CliRunner().invoke(app, ["mend", "--workspace", str(small_workspace.root), "--out", str(tmp_path)])
    assert said.exit_code == 0, said.output
    assert found.lines()[-1] in said.output
    assert len(list(tmp_path.glob("*.toml"))) == sum(one.recommended for one in found.candidates)
