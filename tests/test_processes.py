"""Work in several processes is done in order, shares threads and memory, and ends with whoever began it."""

import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest

from limitlens.data.engine import memory_limit
from limitlens.data.errors import WorkspaceError
from limitlens.data.processes import in_processes
from limitlens.data.resources import thread_count

pytestmark = pytest.mark.slow


def _share(place: int) -> tuple[int, int, int, int]:
    return place, os.getpid(), thread_count(), memory_limit()


def test_results_come_in_order_from_processes_that_share_threads_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMITLENS_THREADS", "6")
    done = list(in_processes(_share, range(7), 2))
    assert [place for place, *_ in done] == list(range(7))
    assert os.getpid() not in {pid for _, pid, *_ in done}
    assert {threads for *_, threads, _ in done} == {3}
    assert all(memory <= memory_limit() // 2 for *_, memory in done)


def _fail(_: int) -> None:
    raise ValueError("what failed")


def test_what_fails_in_a_process_fails_here() -> None:
    with pytest.raises(ValueError, match="what failed"):
        list(in_processes(_fail, range(3), 2))


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_named_in_a_line() -> None:
    with pytest.raises(WorkspaceError, match="take fewer with --processes") as raised:
        list(in_processes(_die, range(3), 2))
    assert isinstance(raised.value.__cause__, BrokenProcessPool)


_PARENT = """
import os, signal
from limitlens.data.processes import in_processes
from tests.test_processes import wait_for_ever
if __name__ == "__main__":
    list(in_processes(wait_for_ever, range(2), 2))
"""


def wait_for_ever(_: int) -> None:
    """Say that it has begun, and wait."""
    os.write(1, b"begun\n")
    signal.pause()


def test_processes_end_with_the_one_that_began_them() -> None:
    """The pipe is closed once nobody is left that could write to it."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        parent.kill()
        assert parent.stdout.read() == ""
