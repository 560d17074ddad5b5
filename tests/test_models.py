"""The default-risk model: members, calibration, routing of new lines, files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from limitlens.data.errors import IntegrityError
from limitlens.models import explanation
from limitlens.models.calibrating import METHODS, choose_calibration, fit_calibration
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.default_risk import load_model, predict_pd, save_model
from limitlens.models.explanation import difference_from_shap, shap_values
from limitlens.models.inputs import find_categories
from limitlens.models.training import can_carry, train_model
from limitlens.models.validation import calibration_line, jeffreys_test
from limitlens.pipeline.training_table import TrainingTable, build_training_table
from limitlens.pipeline.workspace import Workspace, default_settings

SMALL = replace(default_settings(), trees=8, folds=2, rounds=2, carried_rounds=1, min_rows_per_leaf=5)


def drawn(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two columns, of which the first matters, with some values missing."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, 3))
    bad = rng.random(rows) < expit(1.5 * inputs[:, 0] - 1)
    inputs[rng.random(rows) < 0.1, 1] = np.nan
    return inputs, bad


def test_the_classifier_keeps_the_rules_of_scikit_learn() -> None:
    model = DefaultRiskClassifier(folds=2, rounds=1, carried_rounds=0, trees=20, min_rows_per_leaf=2, learning_rate=0.3)
    found = check_estimator(model, on_skip=None, on_fail=None)
    assert len(found) > 40
    assert [one["check_name"] for one in found if one["status"] == "failed"] == []


def test_a_member_never_saw_the_accounts_of_its_fold() -> None:
    """Other labels in one fold change the first tree of every member but those that leave it out."""
    inputs, bad = drawn(600)
    fold = np.arange(600) % 3
    poisoned = np.where(fold == 1, ~bad, bad)
    model = DefaultRiskClassifier(folds=3, rounds=2, carried_rounds=0, trees=5, patience=99)
    clean, other = (clone(model).fit(inputs, y, fold=fold).scorer_.members for y in (bad, poisoned))
    first = [[m.booster.dump_model()["tree_info"][0] for m in members] for members in (clean, other)]
    assert [a == b for a, b in zip(*first, strict=True)] == [member.fold == 1 for member in clean]


def test_the_newest_members_of_the_champion_stay_and_the_oldest_go() -> None:
    inputs, bad = drawn(400)
    model = DefaultRiskClassifier(folds=2, rounds=3, carried_rounds=2, trees=5)
    champion = clone(model).fit(inputs, bad).scorer_
    retrained = clone(model).fit(*drawn(400, seed=1), champion=champion).scorer_
    assert retrained.members[:4] == champion.members[-4:]
    assert [member.turn for member in retrained.members] == [1, 1, 2, 2, 3, 3]
    assert not {member.text for member in retrained.members[4:]} & {member.text for member in champion.members}


@pytest.mark.parametrize("method", METHODS)
def test_a_calibration_makes_true_probabilities_of_distorted_scores_and_keeps_their_order(method: str) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(-2, 1, 40_000)
    bad = rng.random(40_000) < expit(truth)
    scores = 0.5 * truth + 3
    fitted = fit_calibration(method, scores, bad)  # type: ignore[arg-type]
    intercept, slope = calibration_line(bad, expit(fitted.log_odds(scores)))
    assert abs(intercept) < 0.1
    assert abs(slope - 1) < 0.05
    assert (np.diff(fitted.log_odds(np.sort(scores))) >= 0).all()
    assert type(fitted).from_dict(fitted.to_dict()) == fitted


def test_the_calibration_is_the_one_that_predicts_later_rows_best() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(0, 2, 30_000)
    steps = np.where(scores > 1, 0.6, 0.05)
    bad, later = rng.random(30_000) < steps, np.arange(30_000) > 20_000
    assert choose_calibration(scores, bad, later).method == "isotonic"
    assert choose_calibration(scores, rng.random(30_000) < expit(scores - 2), later).method == "platt"


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.001, 0.999))
@settings(max_examples=30)
def test_the_jeffreys_test_falls_as_bads_rise(bads: int, goods: int, expected: float) -> None:
    rows = bads + goods
    assert jeffreys_test(bads + 1, rows + 1, expected) <= jeffreys_test(bads, rows + 1, expected)


@pytest.fixture(scope="module")
def table(small_workspace: Workspace) -> TrainingTable:
    return build_training_table(small_workspace, default_settings(), None, lambda _: None)


Columns = tuple[np.ndarray, np.ndarray]


def columns(rows: pd.DataFrame) -> Columns:
    return rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64)


@pytest.fixture(scope="module")
def new_line_bads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.models.training.NEW_LINE_BADS", 5)
        yield


@pytest.fixture(scope="module")
def trained(table: TrainingTable, new_line_bads: None) -> tuple[TrainingTable, object]:
    rows = table.part("train")
    model = train_model(
        table.features, rows, *columns(rows), rows["bad"].to_numpy(bool), settings=SMALL, labels_end="2026-01-01"
    )
    return table, model


def test_new_lines_are_scored_by_their_own_members(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(500)
    limit, age = columns(rows)
    whole, book = predict_pd(model, rows, limit, age), predict_pd(replace(model, new_lines=None), rows, limit, age)
    new = age < SMALL.new_line_days
    assert new.any()
    assert (whole[~new] == book[~new]).all()
    assert (whole[new] != book[new]).any()


def test_out_of_fold_an_account_is_scored_by_members_that_never_saw_it(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(200)
    limit, age = columns(rows)
    unseen = predict_pd(model, rows, limit, age, out_of_fold=True)
    for k in range(SMALL.folds):
        only = [replace(s, members=tuple(m for m in s.members if m.fold == k)) for s in (model.book, model.new_lines)]
        expected = predict_pd(replace(model, book=only[0], new_lines=only[1]), rows, limit, age)
        mine = model.fold(rows["account_id"]) == k
        assert mine.any()
        assert (unseen[mine] == expected[mine]).all()


def test_a_row_alone_or_with_columns_reordered_has_the_same_pd_bit_for_bit(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(50)
    whole = predict_pd(model, rows, *columns(rows))
    shuffled = rows[rows.columns[::-1]]
    alone = [predict_pd(model, shuffled.iloc[[i]], *columns(rows.iloc[[i]]))[0] for i in range(len(rows))]
    assert whole.tolist() == alone


def test_shap_values_of_the_members_sum_to_the_calibrated_log_odds(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train").head(40)
    limit, age = columns(rows)
    pd_ = predict_pd(model, rows, limit, age)
    rest = np.log(pd_ / (1 - pd_)) - shap_values(model, rows, limit, age).sum(axis=1)
    new = age < SMALL.new_line_days
    assert all(np.ptp(rest[which]) < 1e-6 for which in (new, ~new) if which.any())


def test_training_again_gives_the_same_text_and_a_champion_stays_in_it(trained) -> None:  # type: ignore[no-untyped-def]
    table, model = trained
    rows = table.part("train")
    bad = rows["bad"].to_numpy(bool)

    def again(champion: object) -> object:
        return train_model(
            table.features, rows, *columns(rows), bad, settings=SMALL, labels_end="2026-01-01", champion=champion
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


def test_shap_values_of_lightgbm_are_those_of_the_shap_library(
    trained,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    """And the figure of the validation report sees when one member's are not."""
    table, model = trained
    rows = table.part("train").head(30)
    assert difference_from_shap(model, rows, *columns(rows)[:2]) < 1e-12
    real, wrong = explanation._library_shap, model.book.members[0]
    monkeypatch.setattr(explanation, "_library_shap", lambda one, x: real(one, x) + 0.01 * (one is wrong))
    assert difference_from_shap(model, rows, *columns(rows)[:2]) == pytest.approx(0.01)
