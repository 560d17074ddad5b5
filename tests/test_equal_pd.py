"""False beside true positives at equal PD: what is there is found, what is not is not told, a city is no reason."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.models.false_positives import Contrast, contrast
from limitlens.pipeline.pages.chinese import chinese
from limitlens.pipeline.pages.flag_words import equal_pd_words, not_told_words

World = tuple[pd.DataFrame, pd.DataFrame, BoolArray, FloatArray]


def world(seed: int, planted: float = 0.0, lines: int = 300, columns: int = 20) -> World:
    """Flagged lines with the PD a model gives, half of the columns mostly zero; ``planted``: what it does not know."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(lines, columns))
    rare = values[:, columns // 2 :]
    rare[:] = np.where(rare > 1.8, rng.exponential(size=rare.shape), 0.0)
    pushes = values * rng.normal(scale=0.3, size=columns)
    log_odds = pushes.sum(axis=1) - 1
    bad = rng.random(lines) < expit(log_odds + planted * values[:, 0])
    names = [f"f{k}" for k in range(columns)]
    return pd.DataFrame(pushes, columns=names), pd.DataFrame(values, columns=names), bad, expit(log_odds)


def told(found: Contrast) -> set[str]:
    return {one["feature"] for one in found.features if one["told"]}


@pytest.mark.slow
def test_a_difference_at_equal_pd_is_found_and_what_the_pd_knows_is_not_told() -> None:
    """In 50 worlds each; every column pushes the PD, so two plain means differ in all of them."""
    found = [told(contrast(*world(seed, planted=1.0), {})) for seed in range(50)]
    false = [told(contrast(*world(1_000 + seed), {})) for seed in range(50)]
    assert sum("f0" in names for names in found) >= 45
    assert sum(bool(names) for names in false) <= 2


def test_the_difference_is_the_coefficient_of_a_plain_regression() -> None:
    pushes, values, bad, pd_ = world(1)
    found = contrast(pushes, values, bad, pd_, {})
    chosen, columns = [], []
    for band in np.array_split(np.argsort(pd_, kind="stable"), 300 // 20):
        if 0 < bad[band].sum() < len(band):
            columns.append(np.isin(np.arange(300), band).astype(float))
            chosen += band.tolist()
    design = np.column_stack([*columns, logit(pd_), ~bad])[chosen]
    truth = np.linalg.lstsq(design, values["f3"].to_numpy()[chosen])[0][-1]
    [mine] = [one for one in found.features if one["feature"] == "f3"]
    assert mine["value"] == pytest.approx(truth)
    assert mine["value_low"] < mine["value"] < mine["value_high"]


def test_what_the_pd_says_is_not_told_when_few_lines_make_wide_bands() -> None:
    """Sixty lines from 10 to 90% make three bands; the first column is the log-odds but for a little noise."""
    false = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        log_odds = rng.uniform(-2.2, 2.2, 60)
        frame = pd.DataFrame({"f0": log_odds + rng.normal(scale=0.3, size=60), "f1": rng.normal(size=60)})
        false += bool(told(contrast(frame, frame, rng.random(60) < expit(log_odds), expit(log_odds), {})))
    assert false <= 2


def test_the_interval_holds_the_difference_as_often_as_it_says() -> None:
    """Nothing differs at equal PD here, so the truth is near 0 for a column the PD does not read."""
    held = 0
    for seed in range(60):
        pushes, values, bad, pd_ = world(seed, columns=4)
        values["f0"] = np.random.default_rng(seed + 500).normal(size=len(values))
        [mine] = [one for one in contrast(pushes, values, bad, pd_, {}).features if one["feature"] == "f0"]
        held += mine["value_low"] <= 0 <= mine["value_high"]
    assert held >= 52


def test_nothing_found_is_said_with_the_smallest_difference_that_would_have_been() -> None:
    found = contrast(*world(3), {})
    assert not told(found)
    words = equal_pd_words(found.to_dict())
    assert words.startswith("At equal PD nothing tells good from bad: none of 20 features")
    assert f"a difference of {found.smallest:.2f} standard deviations would have been found" in words
    assert chinese(words).startswith("在相同 PD 下，没有任何特征")


def test_the_smallest_difference_is_found_about_four_times_in_five() -> None:
    rng, found = np.random.default_rng(5), 0
    pushes, values, bad, pd_ = world(5, columns=5)
    bad = rng.random(len(bad)) < 0.4
    smallest = contrast(pushes, values, bad, pd_, {}).smallest
    for _ in range(40):
        shifted = values.assign(f0=rng.normal(size=len(bad)) + (smallest or 0) * ~bad)
        found += "f0" in told(contrast(pushes, shifted, bad, pd_, {}))
    assert 26 <= found <= 39


def test_a_place_is_no_reason_of_a_person_but_stands_apart() -> None:
    pushes, values, bad, pd_ = world(2, planted=2.0)
    named = [frame.rename(columns={"f0": "home_city"}) for frame in (pushes, values)]
    found = contrast(*named, bad, pd_, {})
    assert "home_city" not in {one["feature"] for one in found.features}
    assert [one["told"] for one in found.not_told] == [True]
    assert not_told_words(found.to_dict()).endswith("says where or who somebody is: home_city (differs).")


def test_missing_values_and_codes_do_not_matter_and_few_lines_are_not_compared() -> None:
    pushes, values, bad, pd_ = world(4)
    found = contrast(pushes, values.assign(f1=np.nan, f2=values["f2"].where(values["f2"] > 0)), bad, pd_, {})
    by_name: dict[str, Any] = {one["feature"]: one for one in found.features}
    assert by_name["f1"]["value"] is None
    assert by_name["f1"]["push"] is not None
    assert np.isfinite(by_name["f2"]["value"])
    few = contrast(pushes[:25], values[:25], np.arange(25) < 20, pd_[:25], {})
    assert (few.smallest, few.features) == (None, [])
    assert contrast(pushes[:0], values[:0], bad[:0], pd_[:0], {}).good == 0
