"""limitlens status says where a workspace stands, and changes nothing."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import UNFINISHED_ERASURE, exclusive
from limitlens.pipeline import tracking
from limitlens.pipeline.answers.status import status
from limitlens.pipeline.cli import app
from limitlens.pipeline.workspace import Workspace

NOW = datetime(2026, 7, 2, tzinfo=UTC)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_workspace_that_is_not_there_is_told_where_to_begin(tmp_path: Path) -> None:
    seen = status(Workspace(tmp_path / "none"), NOW)
    assert (seen.loads, seen.champion, seen.following) == (0, "", ("limitlens check INPUT",))
    assert not (tmp_path / "none").exists()


def test_a_decided_workspace_says_how_far_it_came(small_workspace: Workspace) -> None:
    seen = status(small_workspace, NOW)
    sources = small_workspace.events.loads()[0]["sources"]
    assert seen.rows == {name: count["accepted"] for name, count in sources.items() if count["accepted"]}
    assert (seen.versions, seen.champion) == (("1", "2"), "2")
    last = small_workspace.ledger.runs()[-1]
    assert seen.decided_until.startswith(f"{last.as_of:%Y-%m-%d}")
    decided = small_workspace.ledger.query("SELECT run_id FROM decisions")["run_id"]
    assert seen.lines_decided == (decided == last.run_id).sum()
    assert set(seen.reach) <= {"consumption", "payment", "device"}


def test_what_waits_comes_next(behind: Workspace) -> None:
    seen = status(behind, NOW)
    assert seen.dates_due >= 1
    assert seen.following[0] == "limitlens decide"
    assert f"{seen.dates_due} decision dates" in "\n".join(seen.lines())


def test_what_failed_and_what_is_busy_is_named(small_workspace: Workspace, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    shutil.copytree(small_workspace.root, space.root)
    try:
        with tracking.recorded_run(space.mlflow, "train", {}, name="train nightly"):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with exclusive(space.root, "decide"):
        seen = status(space, NOW)
    assert seen.failed[0].startswith("train nightly failed 20")
    assert "a run is in progress (decide since" in seen.busy


def test_an_erasure_that_was_killed_comes_first(small_workspace: Workspace, tmp_path: Path) -> None:
    """Its half-written files look damaged, and a backup would bring back who was erased."""
    space = Workspace(tmp_path / "work")
    shutil.copytree(small_workspace.root, space.root)
    (space.root / UNFINISHED_ERASURE).write_text("{}", encoding="utf-8")
    next(iter((space.root / "events" / "accounts").iterdir())).write_bytes(b"half")
    with pytest.raises(WorkspaceError, match="an erasure is not finished; run limitlens erase --resume"):
        status(space, NOW)


def test_it_only_reads(small_workspace: Workspace, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    shutil.copytree(small_workspace.root, space.root)
    before = contents(space.root)
    run = CliRunner().invoke(app, ["status", "--workspace", str(space.root), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["champion"] == "2"
    assert contents(space.root) == before
