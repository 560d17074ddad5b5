"""Fairness figures are those of a count by hand; numbers fall into quarters, small groups together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.models.fairness import FEW, MIN_ROWS, NOT_KNOWN, fairness, groups_of


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.2, 0.8), st.floats(0.1, 0.9))
def test_the_figures_of_each_group_are_counted(seed: int, groups: int, bad_share: float, cut_share: float) -> None:
    rng, rows = np.random.default_rng(seed), 300 * groups
    group = pd.Series(rng.choice(list("fmabcd")[:groups], rows))
    bad, cut, pd_ = rng.random(rows) < bad_share, rng.random(rows) < cut_share, rng.random(rows)
    found = fairness(group, bad, pd_, cut)
    kept, odds = [], {True: [], False: []}
    for name, row in found.groups.iterrows():
        mine = (group == name).to_numpy()
        assert row["rows"] == mine.sum()
        assert row["bad_share"] == pytest.approx(bad[mine].mean())
        assert row["mean_pd"] == pytest.approx(pd_[mine].mean())
        assert row["cut_share"] == pytest.approx(cut[mine].mean())
        assert row["good_cut_share"] == pytest.approx(cut[mine & ~bad].mean())
        assert row["bad_cut_share"] == pytest.approx(cut[mine & bad].mean())
        kept.append(1 - cut[mine].mean())
        for outcome, shares in odds.items():
            shares.append(cut[mine & (bad == outcome)].mean())
    assert found.impact_ratio == pytest.approx(min(kept) / max(kept))
    assert found.odds_difference == pytest.approx(max(max(shares) - min(shares) for shares in odds.values()))


def test_numbers_fall_into_quarters_and_small_groups_together() -> None:
    ages = pd.Series([float(age) for age in range(20, 60)] * 40)
    assert pd.Series(groups_of(ages)).value_counts().tolist() == [400, 400, 400, 400]
    few = pd.Series(["a"] * MIN_ROWS + ["b"] * (MIN_ROWS - 1) + [None] * MIN_ROWS)
    assert pd.Series(groups_of(few)).value_counts().to_dict() == {"a": MIN_ROWS, FEW: MIN_ROWS - 1, NOT_KNOWN: MIN_ROWS}


def test_a_handful_of_lines_does_not_set_the_ratio() -> None:
    group = pd.Series(["f"] * 200 + ["m"] * 200 + ["x"] * 5)
    cut = np.arange(405) >= 400
    found = fairness(group, np.arange(405) % 2 == 0, np.full(405, 0.5), cut)
    assert (found.impact_ratio, found.odds_difference) == (1.0, 0.0)


def test_a_group_of_one_outcome_has_figures_too() -> None:
    group = pd.Series(["f"] * 200 + ["m"] * 200)
    bad = np.arange(400) < 100
    found = fairness(group, bad, np.full(400, 0.25), np.arange(400) % 4 == 0)
    assert found.groups.loc["m", "good_cut_share"] == pytest.approx(0.25)
