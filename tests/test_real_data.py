"""The bars on real data: ranking power, the worth of event features, and exact shares from end to end."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.real_data import out_of_fold, without_events
from limitlens.data.arrays import BoolArray
from limitlens.data.protected import is_protected
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.second_look import carried_out, settled
from limitlens.models.validation import measure, paired_auc_gain
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.workspace import Workspace, default_settings
from tests.conftest import MadeOnce, decided_workspace


@pytest.fixture(scope="module")
def taken(real_data: Path, made_once: MadeOnce) -> Callable[[str], Workspace]:
    """The workspace of a public set, taken to decisions once."""

    def made(name: str) -> Workspace:
        return Workspace(made_once(name, lambda folder: decided_workspace(name, real_data, folder)) / "work")

    return made


@pytest.fixture(scope="module", params=["taiwan", "superlender"])
def real_workspace(request: pytest.FixtureRequest, taken: Callable[[str], Workspace]) -> Workspace:
    return taken(request.param)


def learned_from(workspace: Workspace) -> TrainingTable:
    """The table the model of the workspace was trained on, which is that of the shipped settings."""
    said: list[str] = []
    table = build_training_table(workspace, default_settings(), None, said.append)
    assert not said, "built anew"
    return table


def test_a_table_built_aside_is_the_one_of_the_workspace_which_stays_as_it_is(
    real_workspace: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(real_workspace.root, tmp_path / "work", ignore=shutil.ignore_patterns("tables", "features"))
    copied, room, kept = Workspace(tmp_path / "work"), tmp_path / "room", learned_from(real_workspace)
    room.mkdir()
    aside = build_training_table(copied, default_settings(), None, aside=room)
    pd.testing.assert_frame_equal(aside.part("train"), kept.part("train"))
    assert list(room.iterdir())
    assert not (copied.tables.exists() or (copied.root / "features").exists())


def test_shares_sum_to_the_change_for_every_real_account(real_workspace: Workspace) -> None:
    current = real_workspace.ledger.current()
    change = current["limit_cents"] - current["limit_before_cents"]
    split = current["phi_behaviour"].notna()
    assert (change[split] != 0).sum() > 500
    assert (current.loc[split, [f"phi_{p}" for p in PLAYERS]].sum(axis=1) == 120 * change[split]).all()
    keys = ["account_id", "as_of"]
    decided = recorded_decisions(real_workspace).sort_values(keys, ignore_index=True)
    assert (split[current.sort_values(keys).index].to_numpy() == has_a_split(decided)).all()


def has_a_split(decided: pd.DataFrame) -> BoolArray:
    """Every decision but an account's first, and but the end of a pause with nothing before it that stood.

    Decisions sorted by account and time.
    """
    stands = pd.Series(settled(decided)).astype(int)
    stood_before = stands.groupby(decided["account_id"]).cumsum() > stands
    found: BoolArray = (decided["account_id"].duplicated() & (stood_before | ~carried_out(decided))).to_numpy(bool)
    return found


def test_no_protected_attribute_is_a_feature(real_workspace: Workspace) -> None:
    model = real_workspace.iteration("1").model
    assert not [name for name in model.columns if is_protected(name)]
    assert real_workspace.events.protected_attributes()


def test_the_validation_report_has_a_section_for_each_protected_attribute(real_workspace: Workspace) -> None:
    folder = real_workspace.root / real_workspace.registry.model("1").folder
    page = (folder / "validation.md").read_text(encoding="utf-8")
    told = {name for name in real_workspace.events.protected_attributes() if f"## Fairness: {name}\n" in page}
    assert told == set(real_workspace.events.protected_attributes())


def test_an_absent_source_is_said_and_its_rules_rest(real_workspace: Workspace) -> None:
    assert "device" not in real_workspace.events.present()
    assert "device" not in real_workspace.iteration("1").model.features.sources


def test_taiwan_ranks_as_well_as_the_literature(taken: Callable[[str], Workspace]) -> None:
    table = learned_from(taken("taiwan"))
    found = measure(table.part("train")["bad"].to_numpy(bool), out_of_fold(table.features, table))
    assert found.rows == 30_000
    assert found.auc >= 0.78
    assert found.ks >= 0.42


def test_event_features_add_to_the_application_on_superlender(taken: Callable[[str], Workspace]) -> None:
    table = learned_from(taken("superlender"))
    bad = table.part("train")["bad"].to_numpy(bool)
    events, application = (out_of_fold(f, table) for f in (table.features, without_events(table.features)))
    gain, low, _ = paired_auc_gain(bad, events, application)
    assert gain >= 0.06
    assert low > 0


@pytest.mark.slow
def test_the_paired_interval_agrees_with_a_bootstrap() -> None:
    rng = np.random.default_rng(1)
    bad = rng.random(600) < 0.3
    better, base = bad + rng.normal(0, 1.2, 600), bad + rng.normal(0, 2.0, 600)
    gain, low, high = paired_auc_gain(bad, better, base)
    draws = [rng.integers(0, 600, 600) for _ in range(400)]
    gains = [roc_auc_score(bad[i], better[i]) - roc_auc_score(bad[i], base[i]) for i in draws]
    assert gain == pytest.approx(roc_auc_score(bad, better) - roc_auc_score(bad, base))
    assert [low, high] == pytest.approx(np.quantile(gains, [0.025, 0.975]), abs=0.015)
