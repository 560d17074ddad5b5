"""The default-risk model: members, calibration, routing of new lines, files."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise, permutations
from math import exp, factorial, fsum, log, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from limitlens.data.errors import IntegrityError
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import limit_and_age
from limitlens.models.calibrating import METHODS, choose_calibration, fit_calibration
from limitlens.models.calibration import Calibration, Method, to_pd
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.default_risk import load_model, predict_pd, save_model
from limitlens.models.explanation import additivity_error, shap_values
from limitlens.models.held_out import latest_rows
from limitlens.models.inputs import account_numbers, column_parameters, find_categories, fold_of, model_columns
from limitlens.models.member import Member
from limitlens.models.training import can_carry, train_model
from limitlens.models.validation import calibration_line, jeffreys_test
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.workspace import Workspace, default_settings

NUMBERS = account_numbers(pd.Series(np.arange(30_000)))
SMALL = replace(default_settings(), n_estimators=8, folds=2, rounds=2, carried_rounds=1, min_data_in_leaf=5)


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two columns, of which the first matters, with some values missing."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 3))
    bad = rng.random(rows) < expit(1.5 * inputs[:, 0] - 1)
    inputs[rng.random(rows) < 0.1, 1] = np.nan
    return inputs, bad


def test_the_classifier_keeps_the_rules_of_scikit_learn() -> None:
    model = DefaultRiskClassifier(
        folds=2, rounds=1, carried_rounds=0, n_estimators=20, min_data_in_leaf=2, learning_rate=0.3
    )
    found = check_estimator(model, on_skip=None, on_fail=None)
    assert len(found) > 40
    assert [one["check_name"] for one in found if one["status"] == "failed"] == []


def test_a_member_never_saw_the_accounts_of_its_fold() -> None:
    """Other labels in one fold change the first tree of every member of the turn but the one that leaves it out."""
    inputs, bad = drawn(600)
    model = DefaultRiskClassifier(folds=3, rounds=2, carried_rounds=0, n_estimators=5, early_stopping_rounds=99)
    for turn in range(2):
        poisoned = np.where(fold_of(NUMBERS[:600], 3, turn) == 1, ~bad, bad)
        clean, other = (clone(model).fit(inputs, y, account=NUMBERS[:600]).scorer_.members for y in (bad, poisoned))
        same = [first_tree(a) == first_tree(b) for a, b in zip(clean, other, strict=True) if a.turn == turn]
        assert same == [False, True, False]


def first_tree(member: Member) -> object:
    return member.booster.dump_model()["tree_info"][0]


def few_far_behind(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Column 0: days past due, of one row in a hundred; nearly all of these go bad, and one in fifty of the others."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 20))
    inputs[:, 0] = np.where(rng.random(rows) < 0.01, rng.integers(30, 90, rows), 0)
    return inputs, rng.random(rows) < np.where(inputs[:, 0] > 0, 0.9, 0.02)


def test_what_few_rows_have_is_learned_where_it_is_learned_first() -> None:
    later, bad = few_far_behind(20_000, 1)
    behind = later[:, 0] > 0

    def missed(**columns: list[int]) -> float:
        fitted = DefaultRiskClassifier(rounds=2, carried_rounds=0, **columns).fit(*few_far_behind(2_500, 0))
        return float(bad[behind].sum() / fitted.predict_proba(later)[behind, 1].sum())

    assert missed() > 2
    assert 0.9 < missed(learned_first=[0]) < 1.25


def test_days_past_due_are_learned_first_where_few_rows_are_far_behind() -> None:
    names, small = model_columns(CATALOGUE), replace(default_settings(), min_data_in_leaf=10)
    inputs = np.zeros((1_000, len(names)))
    inputs[:, names.index("dpd_days")] = np.where(np.arange(1_000) < 199, 30, 29)
    assert column_parameters(CATALOGUE, inputs, small)["learned_first"] == [names.index("dpd_days")]
    assert column_parameters(CATALOGUE, np.zeros_like(inputs), small)["learned_first"] == []
    inputs[199, names.index("dpd_days")] = 30
    assert column_parameters(CATALOGUE, inputs, small)["learned_first"] == []


def test_the_first_trees_read_only_what_is_learned_first_and_the_others_everything() -> None:
    inputs, bad = drawn(3_000)
    inputs[:, 2] = np.round(inputs[:, 0] + inputs[:, 2])
    fitted = DefaultRiskClassifier(folds=2, rounds=2, carried_rounds=0, n_estimators=20, learned_first=[2])
    for member in fitted.fit(inputs, bad).scorer_.members:
        trees = member.booster.trees_to_dataframe().groupby("tree_index")["split_feature"]
        read = [set(columns.dropna()) for _, columns in trees]
        assert set.union(*read[:10]) == {"Column_2"}
        assert "Column_0" in set.union(*read[10:])


@pytest.mark.parametrize("rounds", [3, 30])
def test_a_column_that_tells_nothing_is_learned_first_in_vain_and_the_others_after_it(rounds: int) -> None:
    inputs, bad = drawn(2_000)
    inputs[:, 2] = 0
    model = DefaultRiskClassifier(folds=2, rounds=1, carried_rounds=0, early_stopping_rounds=rounds)
    aucs = [
        roc_auc_score(bad, clone(model).set_params(learned_first=first).fit(inputs, bad).predict_proba(inputs)[:, 1])
        for first in ([2], [])
    ]
    assert aucs[0] == pytest.approx(aucs[1], abs=0.01)


def test_a_handful_of_bads_in_a_large_book_is_no_step_of_hundreds() -> None:
    inputs = np.zeros((20_000, 2))
    inputs[:8, 0] = 60
    fitted = DefaultRiskClassifier(folds=2, rounds=1, carried_rounds=0, n_estimators=10, learned_first=[0])
    bad = np.arange(20_000) < 8
    scores = fitted.fit(inputs, bad, account=NUMBERS[:20_000]).scorer_.scores(inputs, None)
    assert 3 < np.ptp(scores) < 11


def test_a_row_has_the_mean_of_the_members_that_never_saw_its_account() -> None:
    inputs, bad = drawn(300)
    scorer = DefaultRiskClassifier(folds=3, rounds=2, carried_rounds=0, n_estimators=5).fit(inputs, bad).scorer_
    account = NUMBERS[:300]
    for i in range(20):
        unseen = [m for m in scorer.members if fold_of(account[i : i + 1], 3, m.turn)[0] == m.fold]
        expected = [m.booster.predict(inputs[i : i + 1], raw_score=True)[0] for m in unseen]
        assert len(expected) == 2
        assert scorer.scores(inputs, account)[i] == pytest.approx(np.mean(expected))
    everyone = [m.booster.predict(inputs, raw_score=True) for m in scorer.members]
    assert scorer.scores(inputs, None) == pytest.approx(np.mean(everyone, axis=0))


def test_each_turn_deals_the_folds_anew_and_evenly() -> None:
    folds = [fold_of(NUMBERS, 3, turn) for turn in range(5)]
    for one, other in combinations(folds, 2):
        counts = pd.crosstab(one, other).to_numpy()
        assert counts.shape == (3, 3)
        assert np.abs(counts / len(NUMBERS) - 1 / 9).max() < 0.01


def test_the_newest_members_of_the_champion_stay_and_the_oldest_go() -> None:
    inputs, bad = drawn(400)
    model = DefaultRiskClassifier(folds=2, rounds=3, carried_rounds=2, n_estimators=5)
    champion = clone(model).fit(inputs, bad).scorer_
    retrained = clone(model).fit(*drawn(400, seed=1), champion=champion).scorer_
    assert retrained.members[:4] == champion.members[-4:]
    assert [member.turn for member in retrained.members] == [1, 1, 2, 2, 0, 0]
    assert not {member.text for member in retrained.members[4:]} & {member.text for member in champion.members}


@pytest.mark.parametrize("method", METHODS)
def test_a_calibration_makes_true_probabilities_of_distorted_scores(method: Method) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(-2, 1, 40_000)
    bad = rng.random(40_000) < expit(truth)
    scores = 0.5 * truth + 3
    fitted = fit_calibration(method, scores, bad)
    assert fitted.method == method
    intercept, slope = calibration_line(bad, expit(fitted.log_odds(scores)))
    assert abs(intercept) < 0.1
    assert abs(slope - 1) < 0.05
    assert Calibration.from_dict(fitted.to_dict()) == fitted


def test_beta_bends_where_the_truth_does() -> None:
    """Platt cannot follow log-odds that rise three times as fast below zero as above it."""
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 3, 60_000)
    truth = 1.5 * log_expit(scores) - 0.5 * log_expit(-scores)
    fitted = fit_calibration("beta", scores, rng.random(60_000) < expit(truth))
    assert fitted.values[0] == pytest.approx((0, 1.5, 0.5), abs=0.1)  # noqa: PD011


_OUTCOMES = st.lists(st.tuples(st.integers(-40, 40), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({bad for _, bad in rows}) == 2
)


@given(_OUTCOMES, st.sampled_from(["level", *METHODS]))
@settings(max_examples=200)
def test_no_calibration_falls_and_no_two_scores_share_a_pd(rows: list[tuple[int, bool]], method: Method) -> None:
    scores, bad = np.array([score / 10 for score, _ in rows]), np.array([bad for _, bad in rows])
    fitted = fit_calibration(method, scores, bad)
    asked = np.linspace(-6, 6, 121)
    found = fitted.log_odds(asked)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    if fitted.method == "isotonic":
        at, levels, _ = fitted.values  # noqa: PD011
        assert fitted.log_odds(np.array(at)) == pytest.approx(np.array(levels))
        blocks = np.array([expit(level) for level in levels])
        assert blocks.min() >= 0.49 / (len(bad) + 1)


def test_a_pd_is_told_apart_and_stays_inside_zero_and_one_far_out() -> None:
    found = to_pd(np.array([-800.0, -18.0, -17.0, 0.0, 17.0, 18.0, 800.0]))
    assert (np.diff(found) > 0).all()
    assert 0 < found.min() < found.max() < 1
    assert found[1:-1] == pytest.approx(expit([-18.0, -17.0, 0.0, 17.0, 18.0]), rel=1e-12)


def test_scores_that_part_the_classes_have_finite_weights() -> None:
    """Thirty bad and thirty good rows: by Platt's targets 31 to 1 either way."""
    scores = np.repeat([-1.0, 1.0], 30)
    found = fit_calibration("platt", scores, scores > 0).log_odds(np.array([-1.0, 1.0]))
    assert found == pytest.approx([-np.log(31), np.log(31)], abs=0.01)


def test_isotonic_is_the_share_of_bads_at_the_middle_of_each_step() -> None:
    scores = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    bad = np.array([False, True, False, False, True, False, True, True])
    at, levels, _ = fit_calibration("isotonic", scores, bad).values  # noqa: PD011
    assert at == pytest.approx((-3.0, -1.0, 1.5, 3.5))
    assert expit(levels) == pytest.approx((0.5 / 9, 1 / 3, 1 / 2, 1 - 0.5 / 9))


def test_on_few_bads_or_scores_that_mislead_only_the_level_is_fitted() -> None:
    scores = np.linspace(-2, 2, 400)
    few, misled = np.arange(400) >= 381, np.arange(400) < 60
    assert choose_calibration(scores, few, few).method == "level"
    assert choose_calibration(scores, np.arange(400) >= 380, few).method == "platt"
    for bad in (few, misled):
        fitted = choose_calibration(scores, bad, bad)
        assert (fitted.method, fitted.values[0][1]) == ("level", 1.0)  # noqa: PD011
        assert expit(fitted.log_odds(scores)).mean() == pytest.approx((bad.sum() + 0.5) / 401)


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("level", [[0.0, 0.0]]),
        ("platt", [[1.0, -1.0]]),
        ("platt", [[1.0, 0.0]]),
        ("beta", [[0.0, 1.0, -0.1]]),
        ("beta", [[0.0, -0.1, 1.0]]),
        ("beta", [[1.0, 0.0, 0.0]]),
        ("isotonic", [[0, 1], [2, 2], [1]]),
        ("isotonic", [[0, 1], [2, 1], [1]]),
        ("isotonic", [[1, 1], [2, 3], [1]]),
        ("isotonic", [[0, 1], [2, 3], [0]]),
        ("isotonic", [[0, 1], [2, 3], [nan]]),
    ],
)
def test_a_recorded_calibration_that_falls_or_stands_still_is_refused(method: str, values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="does not rise everywhere"):
        Calibration.from_dict({"method": method, "values": values})


def mapped(calibration: Calibration, score: float) -> float:
    """Log-odds of the PD of one score, by the formula of each method."""
    if calibration.method == "isotonic":
        at, levels, (slope,) = calibration.values  # noqa: PD011
        if score <= at[0]:
            return levels[0] - slope * (at[0] - score)
        for (low, high), (below, above) in zip(pairwise(at), pairwise(levels), strict=True):
            if score <= high:
                return below + (above - below) * (score - low) / (high - low)
        return levels[-1] + slope * (score - at[-1])
    (intercept, *weights), p = calibration.values[0], 1 / (1 + exp(-score))  # noqa: PD011
    inputs = (log(p), -log(1 - p)) if calibration.method == "beta" else (score,)
    return intercept + fsum(weight * one for weight, one in zip(weights, inputs, strict=True))


_RISING = [
    Calibration("level", ((-0.7, 1.0),)),
    Calibration("platt", ((0.3, 1.7),)),
    Calibration("beta", ((0.2, 1.5, 0.5),)),
    Calibration("beta", ((-0.4, 0.0, 0.5),)),
    Calibration("beta", ((0.1, 2.0, 0.0),)),
    Calibration("isotonic", ((-2.0, 0.0, 1.0), (-5.0, -1.0, 0.5), (0.25,))),
    Calibration("isotonic", ((3.0,), (-1.5,), (2.0,))),
]


@pytest.mark.parametrize("calibration", _RISING)
def test_a_calibration_is_its_formula_also_moved_and_read_back(calibration: Calibration) -> None:
    scores = np.array([-7.0, -2.0, -1.9, -0.5, 0.0, 0.5, 1.0, 1.1, 3.0, 9.0])
    expected = [mapped(calibration, score) for score in scores]
    assert calibration.log_odds(scores) == pytest.approx(expected, abs=1e-12)
    assert (np.diff(calibration.log_odds(scores)) > 0).all()
    moved = calibration.shifted(-0.25)
    assert moved.log_odds(scores) == pytest.approx(np.array(expected) - 0.25, abs=1e-12)
    assert Calibration.from_dict(json.loads(json.dumps(moved.to_dict()))) == moved


def test_the_calibration_is_the_one_that_predicts_later_rows_best() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 2, 30_000)
    steps = np.where(scores > 1, 0.6, 0.05)
    bad, later = rng.random(30_000) < steps, np.arange(30_000) > 20_000
    assert choose_calibration(scores, bad, later).method == "isotonic"
    assert choose_calibration(scores, rng.random(30_000) < expit(scores - 2), later).method == "platt"
    # What the earlier rows say is what is judged, not what the later ones would.
    turned = np.where(later, rng.random(30_000) < expit(scores - 2), bad)
    assert choose_calibration(scores, turned, later).method == "platt"
    assert choose_calibration(scores[-10_099:], bad[-10_099:], np.arange(10_099) >= 99).method == "platt"


def test_the_latest_rows_are_whole_periods_with_a_twentieth_of_all() -> None:
    period = np.repeat([1, 2, 3, 4], [60, 35, 4, 1])
    assert latest_rows(period).sum() == 5
    assert latest_rows(period[:-1]).sum() == 39
    assert latest_rows(np.ones(7)).all()


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.001, 0.999))
@settings(max_examples=30)
def test_the_jeffreys_test_falls_as_bads_rise(bads: int, goods: int, expected: float) -> None:
    rows = bads + goods
    assert jeffreys_test(bads + 1, rows + 1, expected) <= jeffreys_test(bads, rows + 1, expected)


@pytest.fixture(scope="module")
def table(small_workspace: Workspace) -> TrainingTable:
    return build_training_table(small_workspace, default_settings(), None, lambda _: None)


Columns = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def new_line_bads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.models.training.NEW_LINE_BADS", 5)
        yield


@pytest.fixture(scope="module")
def trained(table: TrainingTable, new_line_bads: None) -> tuple[TrainingTable, object]:
    rows = table.part("train")
    model = train_model(
        table.features, rows, *limit_and_age(rows), rows["bad"].to_numpy(bool), settings=SMALL, labels_end="2026-01-01"
    )
    return table, model


def test_new_lines_are_scored_by_their_own_members(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(500)
    limit, age = limit_and_age(rows)
    whole, book = predict_pd(model, rows, limit, age), predict_pd(replace(model, new_lines=None), rows, limit, age)
    new = age < SMALL.new_line_days
    assert new.any()
    assert (whole[~new] == book[~new]).all()
    assert (whole[new] != book[new]).any()


def test_an_account_is_scored_by_the_member_of_each_turn_that_never_saw_it(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(60)
    limit, age = limit_and_age(rows)
    inputs, account = model.inputs(rows, limit, age), account_numbers(rows["account_id"])
    expected = []
    for i in range(len(rows)):
        scorer = model.new_lines if age[i] < SMALL.new_line_days else model.book
        unseen = [m for m in scorer.members if fold_of(account[i : i + 1], SMALL.folds, m.turn)[0] == m.fold]
        assert [m.turn for m in unseen] == list(range(SMALL.rounds))
        score = np.mean([m.booster.predict(inputs[i : i + 1], raw_score=True) for m in unseen], axis=0)
        expected.append(to_pd(scorer.calibration.log_odds(score))[0])
    assert predict_pd(model, rows, limit, age) == pytest.approx(np.array(expected), rel=1e-12)


def test_a_row_alone_or_with_columns_reordered_has_the_same_pd_bit_for_bit(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(50)
    whole = predict_pd(model, rows, *limit_and_age(rows))
    shuffled = rows[rows.columns[::-1]]
    alone = [predict_pd(model, shuffled.iloc[[i]], *limit_and_age(rows.iloc[[i]]))[0] for i in range(len(rows))]
    assert whole.tolist() == alone


def test_shap_values_of_the_members_sum_to_the_calibrated_log_odds(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(40)
    limit, age = limit_and_age(rows)
    pd_ = predict_pd(model, rows, limit, age)
    rest = np.log(pd_ / (1 - pd_)) - shap_values(model, rows, limit, age).sum(axis=1)
    account = account_numbers(rows["account_id"])
    scored_by = [age < SMALL.new_line_days, *(fold_of(account, SMALL.folds, turn) for turn in range(SMALL.rounds))]
    spread = rest.groupby(scored_by).agg(["size", np.ptp])
    assert spread["size"].max() > 3
    assert spread["ptp"].max() < 1e-6


def test_training_again_gives_the_same_text_and_a_champion_stays_in_it(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train")
    bad = rows["bad"].to_numpy(bool)

    def again(champion: object) -> object:
        return train_model(
            table.features, rows, *limit_and_age(rows), bad, settings=SMALL, labels_end="2026-01-01", champion=champion
        )

    assert again(None).digest == model.digest  # type: ignore[attr-defined]
    assert again(model).book.members[:2] == model.book.members[2:]  # type: ignore[attr-defined]
    assert not can_carry(model, table.features, replace(SMALL, horizon_months=3))


def test_a_value_that_was_not_there_before_takes_a_new_code(table: TrainingTable) -> None:
    rows = table.with_features(table.rows.head(3)).assign(segment=["merchant", "aardvark", "merchant"])
    known = {"segment": ("student", "merchant")}
    assert find_categories(table.features, rows, known)["segment"] == ("student", "merchant", "aardvark")


def test_a_damaged_model_is_refused_before_lightgbm_reads_it(trained, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, model = trained
    save_model(model, tmp_path)
    assert load_model(tmp_path, digest=model.digest).digest == model.digest
    path = tmp_path / "new_lines-1.txt"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(IntegrityError, match=r"new_lines-1\.txt: not the file that was recorded"):
        load_model(tmp_path, digest=model.digest)


def expected_score(tree: dict, row: np.ndarray, known: frozenset[int]) -> float:  # type: ignore[type-arg]
    """What a tree gives when only some columns are known: at a split on any other, the mean by the rows it has seen."""
    if "leaf_value" in tree:
        return float(tree["leaf_value"])
    left, right = tree["left_child"], tree["right_child"]
    value = row[tree["split_feature"]]
    if tree["split_feature"] in known:
        if tree["decision_type"] == "==":
            to_left = not np.isnan(value) and str(int(value)) in tree["threshold"].split("||")
        else:
            to_left = tree["default_left"] if np.isnan(value) else value <= tree["threshold"]
        return expected_score(left if to_left else right, row, known)
    seen = [child.get("internal_count", child.get("leaf_count")) for child in (left, right)]
    return sum(n * expected_score(child, row, known) for n, child in zip(seen, (left, right), strict=True)) / sum(seen)


def test_shap_values_are_the_shapley_values_of_their_definition() -> None:
    """Every set of columns one by one; numbers, missing values and categories."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 4))
    x[rng.random(600) < 0.2, 1] = np.nan
    x[:, 3] = rng.integers(0, 6, 600)
    y = np.nan_to_num(x[:, 0] * x[:, 1]) + np.isin(x[:, 3], [1, 4]) + rng.normal(size=600) > 0.5
    fitted = DefaultRiskClassifier(
        folds=2, rounds=1, carried_rounds=0, n_estimators=8, num_leaves=6, min_data_in_leaf=5, categorical=[3]
    ).fit(x, y)
    for member in fitted.scorer_.members:
        trees = [tree["tree_structure"] for tree in member.booster.dump_model()["tree_info"]]
        assert '"=="' in json.dumps(trees)
        for row in x[:12]:
            worth = {
                known: sum(expected_score(tree, row, known) for tree in trees)
                for size in range(5)
                for known in map(frozenset, combinations(range(4), size))
            }
            expected = np.zeros(4)
            for order in permutations(range(4)):
                for place, column in enumerate(order):
                    before = frozenset(order[:place])
                    expected[column] += (worth[before | {column}] - worth[before]) / factorial(4)
            assert np.abs(member.raw(row[None], pred_contrib=True)[0, :-1] - expected).max() < 1e-9


def test_the_report_sees_when_explanations_do_not_sum_to_the_score(
    trained,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table, model = trained
    rows = table.part("train").head(30)
    assert additivity_error(model, rows, *limit_and_age(rows)) < 1e-12
    real, wrong = Member.raw, model.book.members[-1]

    def damaged(member: Member, inputs: np.ndarray, **options: bool) -> np.ndarray:
        return real(member, inputs, **options) + (0.01 if member is wrong and not options else 0.0)

    monkeypatch.setattr(Member, "raw", damaged)
    assert additivity_error(model, rows, *limit_and_age(rows)) == pytest.approx(0.01)
