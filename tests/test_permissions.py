"""What the commands write belongs to who runs them, alone or with a group that is let in."""

import stat
from pathlib import Path

import pytest

from tests.ledgers import python

pytestmark = pytest.mark.slow


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in [folder, *folder.rglob("*")]}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, {(True, 0o700), (False, 0o600)}), ({"LIMITLENS_UMASK": "027"}, {(True, 0o750), (False, 0o640)})],
)
def test_a_workspace_can_be_read_by_nobody_else_unless_a_group_is_let_in(
    environment: dict[str, str], expected: set[tuple[bool, int]], tmp_path: Path
) -> None:
    world, space = tmp_path / "world", tmp_path / "work"
    small = ["--accounts", "30", "--months", "3", "--futures", "0"]
    for words in (["simulate", str(world), *small], ["check", str(world), "--workspace", str(space)]):
        done = python("-m", "limitlens.pipeline", *words, **environment)
        assert done.returncode == 0, done.stderr
    assert modes(world) | modes(space) == expected


@pytest.mark.parametrize("mask", ["", "9", "77777", "rwx"])
def test_a_mask_that_is_none_is_refused(mask: str) -> None:
    done = python("-m", "limitlens.pipeline", "labels", LIMITLENS_UMASK=mask)
    assert "LIMITLENS_UMASK is" in done.stderr
    assert "Traceback" not in done.stderr
