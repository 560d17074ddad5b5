"""A watch that was killed at any step goes on where it was: nothing is lost, and nothing counts twice."""

from pathlib import Path

import pytest

from limitlens.pipeline.workspace import Workspace
from tests.ledgers import python
from tests.test_holds import FIRST
from tests.test_watch import HOUR, line_of, put, takeover

pytestmark = pytest.mark.slow


def test_a_tick_killed_at_any_step_is_made_up_for_by_the_next(space: Workspace, tmp_path: Path) -> None:
    rows = takeover(line_of(space), FIRST + 12 * HOUR)
    put(tmp_path / "inbox", "a", rows)
    done = python("-m", "benchmarks.watch_kills", str(tmp_path), (FIRST + 14 * HOUR).isoformat())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| yes |") >= 8
