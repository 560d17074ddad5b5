"""Versions, as people ask for them: what each moved, the same model again from its record, scores from file to file."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.errors import WorkspaceError
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding import score as score_room
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.release.iterations import iteration_named, iterations_of, repeat
from limitlens.pipeline.workspace import Workspace


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


def test_a_version_is_listed_with_what_it_changed_and_the_limits_it_moved(small_workspace: Workspace) -> None:
    first, second = iterations_of(small_workspace)
    assert (first.status, second.status) == ("was champion", "champion")
    assert second.changed[:3] == ("settings", "policy", "members")
    kinds = {small_workspace.iteration(v).model.book.calibration.method for v in ("1", "2")}
    assert second.changed[3].startswith("calibration of book (")
    assert all(kind in second.changed[3] for kind in kinds)
    entries = small_workspace.ledger.current()
    mine = entries[entries["model_version"] == "2"]
    changed = mine[mine["limit_cents"] != mine["limit_before_cents"]]
    moved = changed[(changed["share_cents_model"].fillna(0) != 0) | (changed["share_cents_policy"].fillna(0) != 0)]
    assert (second.decisions, second.changes) == (len(mine), len(moved))
    assert second.model_cents == moved["share_cents_model"].sum()
    assert iteration_named(small_workspace, second.mlflow_run_id) == second


def test_an_unknown_version_is_refused(small_workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no version and no training run is called '7'"):
        iteration_named(small_workspace, "7")


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_version_trained_again_from_its_record_has_the_same_text(copied: Workspace, version: str) -> None:
    assert repeat(copied, version, quiet)


def test_the_command_shows_every_version(small_workspace: Workspace) -> None:
    said = CliRunner().invoke(app, ["iterations", "--workspace", str(small_workspace.root)]).stdout
    assert "was champion" in said
    shown = CliRunner().invoke(app, ["iterations", "show", "2", "--workspace", str(small_workspace.root)]).stdout
    assert "changed      settings, policy, members, calibration of book (" in shown


def test_scores_are_the_pds_of_the_decisions_whatever_the_batches(
    copied: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = copied.ledger.decided_until()
    assert as_of is not None
    last = [run for run in copied.ledger.runs() if run.as_of == as_of][-1]
    scored = score(copied, as_of, tmp_path / "scores.parquet", progress=quiet)
    monkeypatch.setattr(score_room, "BATCH_ROWS", 7)
    score(copied, as_of, tmp_path / "again.parquet", progress=quiet)
    first, again = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("scores", "again"))
    assert first.equals(again)
    assert scored.rows == len(first) > 1_000
    # Lines whose limit the decision left alone stand in the same state as before it.
    entries = copied.ledger.current()
    kept = entries[(entries["run_id"] == last.run_id) & (entries["action"] == "keep")].set_index("account_id")
    pds = first.to_pandas().set_index("account_id")["pd"]
    both = kept.index.intersection(pds.index)
    assert len(both) > 500
    assert np.array_equal(pds[both].to_numpy(), kept.loc[both, "pd"].to_numpy())


def test_a_moment_the_data_do_not_reach_is_not_scored(small_workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="cannot score as of 2027-01-01: the data end at"):
        score(small_workspace, datetime(2027, 1, 1, tzinfo=UTC), tmp_path / "out.parquet", progress=quiet)


def test_without_a_champion_nothing_is_scored(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no champion to score with"):
        score(Workspace(tmp_path), datetime(2026, 1, 1, tzinfo=UTC), tmp_path / "out.parquet", progress=quiet)
