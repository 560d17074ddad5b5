"""The split of a change of score: every coalition tried by itself, on trees with missing values and categories."""

from dataclasses import replace
from itertools import combinations
from math import factorial

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.limits.state import state_before
from limitlens.models.change import change_of_score, tree_changes
from limitlens.models.default_risk import DefaultRiskModel, predict_log_odds
from limitlens.models.trees import read_trees
from limitlens.pipeline.deciding.point_in_time import feature_moments, rows_at, tables_at
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.workspace import Workspace

COLUMNS = 5

#: What counts as missing in LightGBM: NaN, zero and NaN, or nothing.
MISSING = ({}, {"zero_as_missing": True}, {"use_missing": False})


def drawn(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Numbers, zeros and missing values; the last two columns are codes, some never trained on when asked for later."""
    inputs = rng.normal(size=(rows, COLUMNS)).round(1)
    inputs[:, 3:] = rng.integers(-1, 40, size=(rows, 2))
    inputs[rng.random(inputs.shape) < 0.15] = np.nan
    inputs[:, :3][rng.random((rows, 3)) < 0.15] = 0.0
    return inputs


def grown(rng: np.random.Generator, missing: dict[str, bool], categorical: list[int]) -> lgb.Booster:
    inputs = drawn(rng, 200)
    known = np.nan_to_num(inputs)
    bad = (known[:, 0] * known[:, 1] + (known[:, 3] % 3) + np.isnan(inputs[:, 2]) + rng.normal(size=200)) > 1
    grow = {"min_data_in_leaf": 2, "num_leaves": 12, "cat_smooth": 0, "cat_l2": 0, "max_cat_to_onehot": 2,
            "min_data_per_group": 1, "num_threads": 1, "verbose": -1, "objective": "binary"}  # fmt: skip
    data = lgb.Dataset(inputs, bad.astype(float), categorical_feature=categorical, params=grow | missing)
    return lgb.train(grow | missing, data, 4)


def shapley(booster: lgb.Booster, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Every set of columns put to its new value, predicted by LightGBM itself."""
    sets = [frozenset(chosen) for k in range(COLUMNS + 1) for chosen in combinations(range(COLUMNS), k)]
    mixed = np.array([[after[j] if j in chosen else before[j] for j in range(COLUMNS)] for chosen in sets])
    value = dict(zip(sets, booster.predict(mixed, raw_score=True), strict=True))
    weight = [factorial(k) * factorial(COLUMNS - k - 1) / factorial(COLUMNS) for k in range(COLUMNS)]
    return np.array(
        [sum(weight[len(s)] * (value[s | {j}] - value[s]) for s in sets if j not in s) for j in range(COLUMNS)]
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(MISSING), st.sampled_from([[], [3], [3, 4]]))
@settings(max_examples=40)
def test_it_equals_every_coalition_predicted_by_lightgbm(seed: int, missing: dict[str, bool], codes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    booster = grown(rng, missing, codes)
    trees = read_trees(booster.model_to_string())
    for before, after in drawn(rng, 12).reshape(6, 2, COLUMNS):
        found = tree_changes(trees, before, after)
        assert np.abs(found - shapley(booster, before, after)).max() < 1e-12


def test_categories_and_all_kinds_of_missing_values_occur_in_these_trees() -> None:
    rng = np.random.default_rng(0)
    read = [read_trees(grown(rng, missing, [3, 4]).model_to_string()) for missing in MISSING for _ in range(5)]
    assert {kind for trees in read for kind in trees.missing.tolist()} == {0, 1, 2}
    assert any(len(codes) > 1 for trees in read for codes in trees.categories.values())


@pytest.mark.filterwarnings("ignore")
def test_it_equals_interventional_shap_where_shap_can_follow() -> None:
    pytest.importorskip("numba", reason="shap imports it")
    import shap

    rng = np.random.default_rng(1)
    booster = grown(rng, {}, [])
    trees = read_trees(booster.model_to_string())
    for before, after in drawn(rng, 40).reshape(20, 2, COLUMNS):
        explainer = shap.TreeExplainer(booster, before[None], feature_perturbation="interventional")
        expected = explainer.shap_values(after[None], check_additivity=False)[0]
        assert np.abs(tree_changes(trees, before, after) - expected).max() < 1e-6


def test_a_category_of_infinity_and_what_is_next_to_zero_go_as_in_lightgbm() -> None:
    rng = np.random.default_rng(3)
    for missing in MISSING:
        booster = grown(rng, missing, [3, 4])
        trees = read_trees(booster.model_to_string())
        before, after = drawn(rng, 2)
        for odd in (np.inf, -np.inf, 1e18, -0.5, 1e-36, 1e-35, 5e-324):
            after[rng.integers(COLUMNS)] = odd
            change = booster.predict([after], raw_score=True) - booster.predict([before], raw_score=True)
            assert tree_changes(trees, before, after).sum() == pytest.approx(change[0], abs=1e-12)


def test_a_tree_without_a_split_moves_nothing() -> None:
    booster = lgb.train({"verbose": -1, "min_data_in_leaf": 99}, lgb.Dataset(np.zeros((9, 2)), np.arange(9.0)), 2)
    assert tree_changes(read_trees(booster.model_to_string()), np.zeros(2), np.ones(2)).tolist() == [0, 0]


def test_linear_trees_are_refused() -> None:
    inputs = np.random.default_rng(2).normal(size=(200, 2))
    data = lgb.Dataset(inputs, inputs.sum(axis=1), params={"linear_tree": True, "verbose": -1})
    booster = lgb.train({"linear_tree": True, "verbose": -1}, data, 2)
    with pytest.raises(ValueError, match="train with linear_tree=false"):
        read_trees(booster.model_to_string())


Case = tuple[DefaultRiskModel, pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def case(small_workspace: Workspace) -> Case:
    """The last two decisions of 150 accounts: old and new rows, limit and age."""
    model = small_workspace.iteration("2").model
    decisions = recorded_decisions(small_workspace).groupby("account_id").tail(2)
    pairs = decisions.groupby("account_id").filter(lambda rows: len(rows) == 2)
    old, new = (pairs.groupby("account_id").nth(k).head(150).reset_index(drop=True) for k in (0, 1))
    keys = ["account_id", "as_of"]
    moments = feature_moments(new[keys], old[keys])
    table = tables_at(moments, {model.features}, small_workspace)[model.features.digest]
    rows = [rows_at(table, new["account_id"], at["as_of"], new["as_of"]) for at in (old, new)]
    state = state_before(new)
    return model, *rows, state["limit_cents"].to_numpy(np.int64), state["line_age_days"].to_numpy(np.int64)


def test_the_columns_sum_to_the_change_of_the_calibrated_log_odds(case: Case) -> None:
    model, old, new, limit, age = case
    change = change_of_score(model, old, new, limit, age).sum(axis=1)
    before, after = (predict_log_odds(model, t, limit, age) for t in (old, new))
    assert (before != after).any()
    assert np.abs(change - (after - before)).max() < 1e-9


def test_a_column_that_did_not_change_has_no_part(case: Case) -> None:
    model, old, new, limit, age = case
    change = change_of_score(model, old, new, limit, age)
    before, after = (model.inputs(table, limit, age) for table in (old, new))
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    assert same.any()
    assert (change.to_numpy()[same] == 0).all()


def test_going_back_takes_exactly_what_coming_brought(case: Case) -> None:
    model, old, new, limit, age = case
    model = replace(model, new_lines=None)
    there, back = change_of_score(model, old, new, limit, age), change_of_score(model, new, old, limit, age)
    assert np.abs(there + back).to_numpy().max() < 1e-12
