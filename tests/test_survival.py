"""A workspace that survives: damage, deletions, strange places, kills and full disks end in one line, or are mended."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from limitlens.pipeline import tracking
from limitlens.pipeline.override import override
from limitlens.pipeline.verify import verify
from limitlens.pipeline.workspace import Workspace

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished demo."""
    shutil.copytree(small_workspace.root, tmp_path / "copied")
    return Workspace(tmp_path / "copied")


def an_open_line(workspace: Workspace) -> str:
    latest = workspace.ledger.query("SELECT account_id FROM current WHERE action = 'keep' ORDER BY as_of DESC LIMIT 1")
    return str(latest["account_id"].iloc[0])


# The store of MLflow


def test_an_experiment_deleted_in_mlflow_is_replaced_and_its_heads_still_count(copied: Workspace) -> None:
    account, mlflow = an_open_line(copied), tracking.client(copied.mlflow)
    links, anchors = verify(copied)
    for hour in (13, 14, 15):
        order = {"at": NOON.replace(hour=hour), "actor": "Li Na", "reason": "seen", "action": "keep"}
        override(copied, account, **order)  # type: ignore[arg-type]
        assert verify(copied) == (links := links + 1, anchors := anchors + 1)
        for experiment in mlflow.search_experiments():
            mlflow.delete_experiment(experiment.experiment_id)
    names = {one.name for one in mlflow.search_experiments(view_type=3)}
    assert {name.removeprefix(f"limitlens moved to {copied.mlflow.resolve()}") for name in names} >= {"", ", 2", ", 3"}
