"""A watch that was killed at any step goes on where it was: nothing is lost, and nothing counts twice."""

import shutil
from pathlib import Path

import pytest

from limitlens.pipeline.workspace import Workspace
from tests.conftest import MadeOnce
from tests.ledgers import python
from tests.test_holds import FIRST, make_books
from tests.test_watch import HOUR, line_of, put, takeover

pytestmark = pytest.mark.slow


def test_a_tick_killed_at_any_step_is_made_up_for_by_the_next(made_once: MadeOnce, tmp_path: Path) -> None:
    shutil.copytree(made_once("holds", make_books) / "base", tmp_path / "work")
    rows = takeover(line_of(Workspace(tmp_path / "work")), FIRST + 12 * HOUR)
    put(tmp_path / "inbox", "a", rows)
    done = python("-m", "benchmarks.watch_kills", str(tmp_path), (FIRST + 14 * HOUR).isoformat())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| yes |") >= 8
