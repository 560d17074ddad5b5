"""One writer at a time: an exclusive lock on a workspace, freed by the system even after ``kill -9``."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from limitlens.data.calendar import format_time
from limitlens.data.disk import writable
from limitlens.data.errors import BusyError, WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.data.unfinished import sweep

#: Told who holds a workspace that is waited for; None: nobody waits.
_WAITING: ContextVar[Progress | None] = ContextVar("waiting", default=None)


#: The plan of an erasure that has begun: until it is finished nothing else is written.
UNFINISHED_ERASURE = "erasing.json"

#: The command that finishes it.
ERASE = "erase"

#: Commands that hold a workspace for a moment, again and again: whoever meets one waits for it.
_PASSING = frozenset({"watch"})


#: Any of them stands in every workspace that was begun.
_OF_WORKSPACE = frozenset({".lock", "loads", "ledger.sqlite"})


def expect_workspace(root: Path) -> None:
    """Refuse a folder that is not there, or that has something else than a workspace in it; an empty one may begin.

    Raises
    ------
    WorkspaceError
        It is such a folder.
    """
    with suppress(OSError):
        names = {path.name for path in root.iterdir()}
        if not names or names & _OF_WORKSPACE:
            return
    raise WorkspaceError(
        f"{root}: no workspace is there; name its folder by --workspace, or begin one with limitlens check INPUT "
        f"--workspace {root}."
    )


@contextmanager
def exclusive(root: Path, command: str, *, begins: bool = False) -> Iterator[None]:
    """Hold the workspace for one writing run.

    Parameters
    ----------
    root : Path
        Workspace folder. What runs that were killed had not finished is removed.
    command : str
        What holds it, for whoever finds it held.
    begins : bool
        Make the folder when it does not exist.

    Raises
    ------
    BusyError
        Another run holds it: which, since when, and its process. Inside :func:`waiting` it is waited for instead.
    WorkspaceError
        There is no workspace, or an erasure was killed and is to be finished first.
    """
    if not begins:
        expect_workspace(root)
    with writable(root):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as handle:
        _lock(handle, root)
        if command != ERASE:
            _expect_erased(root)
        with suppress(OSError):  # a full disk does not keep anybody from holding it
            text = json.dumps({"command": command, "process": os.getpid()}).encode()
            os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))  # a buffer would be written again at the end
        sweep(root)
        yield


@contextmanager
def undisturbed(root: Path) -> Iterator[None]:
    """Keep writing runs out of a workspace while it is read; where none can ever have held it, read on.

    Raises
    ------
    BusyError
        As :func:`exclusive`.
    """
    try:
        handle = (root / ".lock").open(encoding="utf-8")
    except OSError:
        yield
        return
    with handle:
        _lock(handle, root, shared=True)
        _expect_erased(root)
        yield


@contextmanager
def building(root: Path) -> Iterator[None]:
    """Keep erasures out of a workspace while tables or pages are made of its rows; others may do the same."""
    if not root.is_dir():
        yield
        return
    with _locked(root, fcntl.LOCK_SH):
        yield


@contextmanager
def nobody_building(root: Path) -> Iterator[None]:
    """Be in this block without anybody inside :func:`building`.

    Raises
    ------
    BusyError
        Somebody is.
    """
    with ExitStack() as held:
        try:
            held.enter_context(_locked(root, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            raise BusyError(
                f"{root}: tables or pages are being made of its rows; run this again when that has ended."
            ) from None
        yield


def expect_erased(root: Path) -> None:
    """Refuse a workspace while files of it are those of an erasure that is under way or was killed.

    Raises
    ------
    BusyError
        It is under way.
    WorkspaceError
        It was killed.
    """
    if (root / UNFINISHED_ERASURE).exists():
        with undisturbed(root):
            return


def _expect_erased(root: Path) -> None:
    if (root / UNFINISHED_ERASURE).exists():
        raise WorkspaceError(f"{root}: an erasure is not finished; run limitlens erase --resume.")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only one in this block for a folder; others wait, and nothing is left behind."""
    with _locked(folder, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    """A lock on a folder itself, for which no file is needed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def waiting(tell: Progress) -> Iterator[None]:
    """Wait, in this block, until a workspace is free.

    Parameters
    ----------
    tell : callable
        Told once who holds it.
    """
    token = _WAITING.set(tell)
    try:
        yield
    finally:
        _WAITING.reset(token)


def _lock(handle: IO[str], root: Path, *, shared: bool = False) -> None:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        tell = _WAITING.get()
        if _command(handle) in _PASSING:
            tell = silent
        if tell is None:
            raise BusyError(
                f"{root}: a run is in progress{_holder(handle)}; run this again when it has ended, or with --wait."
            ) from None
        tell(f"waiting for the run in progress{_holder(handle)}")
        fcntl.flock(handle, kind)


def _command(handle: IO[str]) -> str:
    """Which command wrote the lock last; empty where that cannot be read."""
    handle.seek(0)
    try:
        return str(json.loads(handle.read())["command"])
    except (ValueError, KeyError, TypeError):
        return ""


def _holder(handle: IO[str]) -> str:
    """Who wrote the lock last: its holder, unless it has only just come."""
    handle.seek(0)
    try:
        holder = json.loads(handle.read())
        since = datetime.fromtimestamp(os.fstat(handle.fileno()).st_mtime, UTC).replace(microsecond=0)
        return f" ({holder['command']} since {format_time(since)}, process {holder['process']})"
    except (ValueError, KeyError, TypeError):
        return ""
