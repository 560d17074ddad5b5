"""Archetypes: groups of flagged lines in words, measured on accounts they were not made from."""

import numpy as np
import pandas as pd

from limitlens.limits.archetypes import find_archetypes
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.pipeline.pages.flag_words import archetype_words

LINES = 600


def lines(seed: int) -> tuple[pd.DataFrame, pd.Series, np.random.Generator]:
    rng = np.random.default_rng(seed)
    inputs = pd.DataFrame(rng.normal(size=(LINES, 12)), columns=[f"f{k}" for k in range(12)])
    inputs["new_device_days"] = rng.choice([4, 15], LINES)
    inputs["segment"] = rng.choice(["student", "salaried", "merchant"], LINES)
    return inputs, pd.Series([f"A{seed}-{k}" for k in range(LINES)]), rng


def test_a_group_that_is_good_more_often_is_told_in_words_with_the_share_of_the_other_half() -> None:
    inputs, account, rng = lines(1)
    group = ((inputs["new_device_days"] < 10) & (inputs["segment"] == "student")).to_numpy()
    bad = rng.random(LINES) > np.where(group, 0.95, 0.2)
    best = find_archetypes(inputs, account, bad).significant[0]
    assert set(best.words.split(" and ")) == {"new_device_days < 10", "segment = student"}
    judging = fold_of(account_numbers(account), 2, 0) == 0
    assert (best.good.count, best.good.of) == (int((group & ~bad & judging).sum()), int((group & judging).sum()))


def test_a_group_holds_the_lines_it_was_measured_on() -> None:
    inputs, account, rng = lines(4)
    inputs["f0"] = inputs["f0"].where(rng.random(LINES) < 0.8)
    bad = rng.random(LINES) > np.select([inputs["f0"].isna(), inputs["segment"] == "student"], [0.9, 0.6], 0.1)
    judging = fold_of(account_numbers(account), 2, 0) == 0
    significant = find_archetypes(inputs, account, bad).significant
    assert len(significant) > 1
    for one in significant:
        among = one.holds(inputs) & judging
        assert (one.good.count, one.good.of) == (int((among & ~bad).sum()), int(among.sum()))


def test_groups_that_chance_made_are_not_told() -> None:
    told = 0
    for seed in range(40):
        inputs, account, rng = lines(seed)
        told += bool(find_archetypes(inputs, account, rng.random(LINES) < 0.5).significant)
    assert told <= 4


def test_what_is_not_known_is_said() -> None:
    inputs, account, rng = lines(2)
    inputs = inputs[["f0"]].where(inputs["f0"] > 0)
    bad = rng.random(LINES) < np.where(inputs["f0"].isna(), 0.05, 0.9)
    words = [one.words for one in find_archetypes(inputs, account, bad).significant]
    assert any("not known" in text for text in words)
    assert not all("not known" in text for text in words)


def test_no_group_and_too_few_lines_each_have_their_sentence() -> None:
    inputs, account, rng = lines(3)
    nothing = find_archetypes(inputs, account, rng.random(LINES) < 0.5).to_dict()
    assert archetype_words({**nothing, "told": []}).startswith("No group of flagged lines was good more or less")
    few = find_archetypes(inputs[:80], account[:80], rng.random(80) < 0.5)
    assert archetype_words(few.to_dict()).startswith("Too few flagged lines for groups")
