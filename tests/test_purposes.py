"""Every column is held for a purpose, and what is sensitive can be left out."""

from dataclasses import replace
from pathlib import Path

import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.errors import ConfigError
from limitlens.data.purposes import PURPOSES, SENSITIVE
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.models.settings import TrainSettings, read_settings
from limitlens.pipeline.workspace import Workspace, default_settings
from tests.ledgers import LAST


def test_every_column_of_the_contract_has_a_purpose_and_no_other() -> None:
    declared = {name: source.column_names() for name, source in SOURCES.items()}
    assert {name: list(purposes) for name, purposes in PURPOSES.items()}.keys() == declared.keys()
    assert all(set(PURPOSES[name]) == set(columns) for name, columns in declared.items())


@pytest.mark.slow
def test_without_sensitive_no_feature_depends_on_a_place_or_a_device(small_workspace: Workspace) -> None:
    """The sensitive columns are emptied in the events themselves: what is left does not move, all else does."""
    left = CATALOGUE.without(SENSITIVE)
    relations = small_workspace.relations(CATALOGUE)
    nothing = ", ".join(f"NULL AS {name}" for _, name in SENSITIVE)
    emptied = relations | {"device": f"SELECT * REPLACE ({nothing}) FROM ({relations['device']})"}
    lines = book([LAST], relations)[["account_id", "as_of", "known_by"]]
    whole, bare = (build_table(CATALOGUE, lines, rows) for rows in (relations, emptied))
    moved = {name for name in CATALOGUE.columns if not whole[name].equals(bare[name])}
    assert moved
    assert moved <= set(CATALOGUE.columns) - set(left.columns)
    assert set(CATALOGUE.columns) - set(left.columns) - moved <= {  # nothing of the kind happens in this world
        name for name in CATALOGUE.columns if whole[name].nunique() <= 1
    }


def test_the_setting_takes_them_out_of_the_feature_set(small_workspace: Workspace) -> None:
    settings = replace(default_settings(), columns=(), without=("sensitive",))
    columns = set(small_workspace.feature_set(settings).columns)
    assert "login_count_30d" in columns
    assert not columns & {"new_device_count_7d", "city_distinct_30d", "speed_max_7d", "new_device_share_30d"}


def test_settings_that_leave_nothing_out_are_written_as_before(tmp_path: Path) -> None:
    assert "without" not in TrainSettings().to_dict()
    chosen = TrainSettings(without=("sensitive",))
    (tmp_path / "train.toml").write_text(chosen.to_toml(), "utf-8")
    assert read_settings(tmp_path / "train.toml") == chosen == TrainSettings.from_dict(chosen.to_dict())
    (tmp_path / "train.toml").write_text('[features]\nwithout = ["colour"]\n', "utf-8")
    with pytest.raises(ConfigError, match="without names 'colour'; expected \"sensitive\" or nothing"):
        read_settings(tmp_path / "train.toml")
