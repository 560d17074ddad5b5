"""The tail a policy acts on: observed by expected bads with intervals, and what is too far off."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.limits.tail import ENOUGH_BADS, tail_doubts, tail_groups, whole_groups
from limitlens.pipeline.training.tail_report import calibration_section, ratio_plot


def book(seed: int, factor: float = 1.0, lines: int = 4_000) -> tuple[BoolArray, FloatArray, pd.Series]:
    """Lines whose true PD is ``factor`` times the one given, and their segments."""
    rng = np.random.default_rng(seed)
    pd_ = np.clip(rng.beta(0.4, 6, lines), 0.002, 0.95)
    bad = rng.random(lines) < np.minimum(pd_ * factor, 1)
    return bad, pd_, pd.Series(rng.choice(["salaried", "student"], lines))


def test_each_group_of_the_riskiest_has_its_bads_and_the_exact_interval() -> None:
    bad, pd_, segment = book(1)
    row = tail_groups(bad, pd_, {"segment": segment}).query("share == 0.1 and group == 'student'").iloc[0]
    riskiest = np.argsort(-pd_, kind="stable")[:400]
    mine = riskiest[segment.to_numpy()[riskiest] == "student"]
    assert (row["rows"], row["bads"]) == (len(mine), bad[mine].sum())
    assert row["expected"] == pytest.approx(pd_[mine].sum())
    exact = binomtest(int(row["bads"]), int(row["rows"])).proportion_ci(method="exact")
    assert (row["low"], row["high"]) == pytest.approx((exact.low / pd_[mine].mean(), exact.high / pd_[mine].mean()))


@pytest.mark.slow
def test_true_pds_are_rarely_doubted_and_pds_half_of_the_truth_always() -> None:
    def doubted(factor: float) -> int:
        found = (book(seed, factor) for seed in range(40))
        return sum(bool(tail_doubts(tail_groups(bad, pd_, {"segment": seg}))) for bad, pd_, seg in found)

    assert doubted(1.0) <= 3
    assert doubted(1.9) == 40


def test_few_bads_are_no_doubt_however_far_off() -> None:
    bads = ENOUGH_BADS - 1
    bad, pd_ = np.arange(1_000) < bads, np.where(np.arange(1_000) < 100, 0.1, 0.001)
    assert tail_doubts(tail_groups(bad, pd_, {})) == []
    assert tail_doubts(tail_groups(np.arange(1_000) < bads + 1, pd_, {})) != []


def test_whole_groups_are_judged_by_the_rule_of_the_tail() -> None:
    """A book that is its own tail: all its lines are among the riskiest tenth of one ten times as large."""
    bad, pd_, segment = book(3, 1.9, 2_000)
    whole = whole_groups(bad, pd_, "segment", segment)
    quiet = np.zeros(18_000)
    tail = tail_groups(
        np.concatenate([bad, quiet > 0]),
        np.concatenate([pd_, quiet + 0.001]),
        {"segment": pd.concat([segment, pd.Series(["none"] * 18_000)])},
    ).query("share == 0.1 and by == 'segment'")
    assert whole["off"].tolist() == tail["off"].tolist() == [True, True]
    columns = ["group", "rows", "bads", "ratio", "low", "high", "p"]
    pd.testing.assert_frame_equal(whole[columns], tail[columns].reset_index(drop=True))


def test_where_no_line_is_in_a_group_there_is_nothing_to_judge() -> None:
    nobody = pd.Series([None] * 10, dtype=object)
    groups = whole_groups(np.ones(10, bool), np.full(10, 0.5), "opened in", nobody)
    assert not len(groups[groups["off"] | groups["thin"]])
    assert ratio_plot(groups, "vintage") == []


def test_few_bads_far_off_are_for_the_reviewer() -> None:
    bads = ENOUGH_BADS - 1
    bad, pd_ = np.arange(1_000) < bads, np.full(1_000, 0.01)
    [one] = whole_groups(bad, pd_, "", pd.Series(["all"] * 1_000)).to_dict("records")
    assert (one["off"], one["thin"]) == (False, True)
    [near] = whole_groups(bad, pd_ * 2.5, "", pd.Series(["all"] * 1_000)).to_dict("records")
    assert (near["off"], near["thin"]) == (False, False)


def test_the_report_warns_of_a_tail_that_is_off_and_shows_every_group() -> None:
    bad, pd_, segment = book(2, 1.9)
    found = tail_groups(bad, pd_, {"segment": segment})
    section = calibration_section(found)
    assert [one.text for one in section.findings or () if one.blocks] == tail_doubts(found) != []
    assert section.table is not None
    assert section.table["lines"].tolist() == ["all lines", "segment salaried", "segment student"]
    assert section.table.iloc[0, 3].endswith("too far off")
    assert len(section.plots) == 1
