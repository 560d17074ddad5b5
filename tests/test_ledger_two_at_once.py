"""Of two runs at once one wins, and the other is told who holds the workspace."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limitlens.data.errors import WorkspaceError
from limitlens.pipeline.cli import main
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import ROOT, ledger_of, quiet

pytestmark = pytest.mark.slow

_HELD = """
import sys
from pathlib import Path
from benchmarks.kills import watch
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.workspace import Workspace
def wait(step):
    if step == "after the rename of decisions":
        print(step, flush=True)
        sys.stdin.readline()
watch(wait)
decide(Workspace(Path(sys.argv[1])), progress=lambda _: None)
"""


def test_of_two_runs_at_once_one_wins_and_the_other_is_told(
    behind: Workspace,
    small_workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [sys.executable, "-c", _HELD, str(behind.root)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline().startswith("after the rename")
        monkeypatch.setattr(sys, "argv", ["limitlens", "decide", "--workspace", str(behind.root)])
        with pytest.raises(SystemExit) as second:
            main()
        first.communicate("go on\n")
    said = capsys.readouterr().err
    assert (first.returncode, second.value.code) == (0, 5)
    assert len(said.strip().splitlines()) == 1
    assert "a run is in progress" in said
    reconcile(behind, quiet)
    assert ledger_of(behind) == ledger_of(small_workspace)


def test_a_killed_holder_frees_the_workspace(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from limitlens.data.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'decide'): print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceError, match="a run is in progress"):
            verify(Workspace(tmp_path))
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        assert verify(Workspace(tmp_path)) == (0, 0)
