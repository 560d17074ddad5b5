"""The level of the PDs: read from early arrears, moved for all lines alike, with nothing known later."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.models.calibrating import METHODS, fit_calibration
from limitlens.models.default_risk import DefaultRiskModel, load_model, predict_log_odds, recalibrated, save_model
from limitlens.models.recalibration import MIN_EARLY, recalibration_shift
from limitlens.pipeline.training.recalibration import early_arrears, recalibrate
from limitlens.pipeline.training.train import fit_iteration
from limitlens.pipeline.training.training_table import TrainingTable
from limitlens.pipeline.workspace import Workspace, default_settings

LEVEL = replace(default_settings(), n_estimators=30, rounds=1, carried_rounds=0, level_months=3)


def fallen(rows: int, moved: float, seed: int, mean: float = -3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(mean, 1.2, rows)
    return pd.DataFrame({"log_odds": log_odds, "early": rng.random(rows) < expit(-0.5 + 1.3 * log_odds + moved)})


@pytest.mark.parametrize("moved", [-0.4, 0.0, 0.3])
def test_a_planted_move_of_the_level_is_found(moved: float) -> None:
    assert recalibration_shift(fallen(200_000, 0, 1), fallen(200_000, moved, 2)) == pytest.approx(moved, abs=0.05)


def test_a_planted_move_is_found_among_lines_of_other_scores() -> None:
    shift = recalibration_shift(fallen(200_000, 0, 1), fallen(200_000, 0.3, 2, mean=-1.5))
    assert shift == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("rare", [True, False])
def test_too_few_early_arrears_or_too_few_lines_without_move_nothing(rare: bool) -> None:
    many = fallen(200_000, 0, 1)
    few = pd.DataFrame({"log_odds": np.zeros(9_000), "early": (np.arange(9_000) < MIN_EARLY - 1) == rare})
    assert recalibration_shift(many, few) == recalibration_shift(few, many) == 0.0
    one_more = few.assign(early=(np.arange(9_000) < MIN_EARLY) == rare)
    assert recalibration_shift(many, one_more) != 0.0


@pytest.mark.parametrize("method", METHODS)
def test_a_shifted_calibration_is_higher_by_so_much_everywhere(method: str) -> None:
    drawn = fallen(5_000, 0, 3)
    scores = drawn["log_odds"].to_numpy()
    fitted = fit_calibration(method, scores, drawn["early"].to_numpy())
    np.testing.assert_allclose(fitted.shifted(-0.25).log_odds(scores), fitted.log_odds(scores) - 0.25, atol=1e-12)


@pytest.fixture(scope="module")
def fitted(small_workspace: Workspace) -> tuple[DefaultRiskModel, TrainingTable]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.models.recalibration.MIN_EARLY", 5)
        return fit_iteration(small_workspace, LEVEL, None, None, lambda _: None)


def test_all_lines_move_by_the_same_and_a_loaded_model_knows_by_how_much(fitted, small_workspace, tmp_path) -> None:  # type: ignore[no-untyped-def]
    model, table = fitted
    plain, _ = fit_iteration(small_workspace, replace(LEVEL, level_months=0), None, None, lambda _: None)
    rows = table.part("test")
    state = rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64)
    moved = predict_log_odds(model, rows, *state) - predict_log_odds(plain, rows, *state)
    assert model.recalibration_shift != 0
    np.testing.assert_allclose(moved, model.recalibration_shift, atol=1e-9)
    save_model(model, tmp_path)
    assert load_model(tmp_path, digest=model.digest) == model


def test_the_level_is_read_in_the_latest_months_that_were_seen_for_long_enough(
    fitted, small_workspace: Workspace
) -> None:  # type: ignore[no-untyped-def]
    model, table = fitted
    plain = recalibrated(model, -model.recalibration_shift)
    early = early_arrears(plain, table, small_workspace.relations(table.features))
    months = sorted(table.rows["as_of"].unique())
    assert early["as_of"].max() == months[-3]  # two months before the out-of-time date
    recent = early[early["as_of"].isin(months[-5:-2])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.models.recalibration.MIN_EARLY", 5)
        assert recalibration_shift(early[early["split"] == "train"], recent) == pytest.approx(
            model.recalibration_shift, abs=1e-9
        )


def test_nothing_known_at_or_after_the_out_of_time_date_is_read(fitted, small_workspace: Workspace) -> None:  # type: ignore[no-untyped-def]
    model, table = fitted
    relations, last = small_workspace.relations(table.features), table.rows["as_of"].max().isoformat()
    then = f"SELECT * FROM ({relations['payment']}) WHERE known_time < CAST('{last}' AS TIMESTAMPTZ)"
    pd.testing.assert_frame_equal(
        early_arrears(model, table, relations), early_arrears(model, table, {**relations, "payment": then})
    )


def test_without_a_later_month_the_level_stays(fitted, small_workspace: Workspace) -> None:  # type: ignore[no-untyped-def]
    model, table = fitted
    for kept in (table.rows["split"] == "train", table.rows["split"] != "unused"):
        cut = TrainingTable(table.features, table.rows[kept], table.files)
        found = recalibrate(model, cut, small_workspace.relations(table.features), lambda _: None)
        assert found == model


def test_with_delivered_outcomes_the_level_is_theirs(real_data, tmp_path) -> None:  # type: ignore[no-untyped-def]
    import_files(read_mapping("superlender"), real_data / "superlender", tmp_path / "events")
    workspace = Workspace(tmp_path / "work")
    check_events(tmp_path / "events", workspace.events, progress=lambda _: None)
    model, _ = fit_iteration(workspace, LEVEL, None, None, lambda _: None)
    assert model.recalibration_shift == 0
