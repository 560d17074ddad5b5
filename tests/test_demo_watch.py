"""The demo of the watch, on the events of the small demo and with its small model."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from limitlens.data.progress import silent
from limitlens.pipeline import demo_watch
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import at_once, small_settings


def test_the_demo_of_the_watch_pauses_lines_and_says_what_that_saves(
    small_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_workspace.root.parent / "events", tmp_path / "events")
    monkeypatch.setattr(demo_watch, "simulate", lambda *_, **__: None)  # they are there
    monkeypatch.setattr(demo_watch, "default_settings", small_settings)
    monkeypatch.setattr(demo_watch, "default_policy", lambda: at_once(default_policy()))
    monkeypatch.setattr(demo_watch, "_STEP", timedelta(hours=8))
    shown: list[str] = []
    now = datetime(2026, 7, 2, tzinfo=UTC)
    demo_watch.run(tmp_path, accounts=1_500, seed=7, now=now, progress=silent, show=shown.append)
    text, workspace = "\n".join(shown), Workspace(tmp_path / "watched" / "work")
    pauses = [line for line in text.splitlines() if "  pause: " in line]
    assert pauses
    assert all(line.split()[1] in text.split("would have been drawn")[0] for line in pauses)
    assert "Replayed from the events and equal to the ledger" in text
    assert "已暂停" in text
    assert replay(workspace, silent) > len(pauses)
