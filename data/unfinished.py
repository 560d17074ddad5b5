"""Files that are being written, under a name of their own; those a run that was killed left behind are swept.

Such a file is locked as long as it is written, and the system frees the lock of a process that was killed: one without
a lock was left.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

#: How the name of such a file ends; only ours do.
ENDING = ".limitlens.tmp"


@contextmanager
def held(temporary: Path) -> Iterator[None]:
    """Make a file and hold it in this block, after which it has got another name, or goes."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if not os.fstat(descriptor).st_nlink:  # taken for one that was left, before it was locked
            temporary.touch()
        yield
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


@cache
def held_folder(prefix: str) -> str:
    """An empty folder of this process alone, outside of any workspace, that goes with it; empty: there is no place.

    Parameters
    ----------
    prefix : str
        How its name begins; such folders of processes that were killed go first.
    """
    try:
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            _remove_left_folder(left)
        while not _hold_folder(folder := tempfile.mkdtemp(prefix=prefix)):
            pass
    except OSError:
        return ""
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _hold_folder(folder: str) -> bool:
    """Hold a new folder until the process ends, unless it was taken for one that was left before."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return os.fstat(descriptor).st_nlink > 0
    return False


def _remove_left_folder(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def sweep(root: Path) -> None:
    """Remove every file below a folder that was left unfinished."""
    for rest in root.rglob(f".*{ENDING}"):
        remove_left(rest)


def remove_left(temporary: Path) -> None:
    """Remove a file if nobody writes it any more, and SQLite's journal of it."""
    with suppress(OSError), temporary.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
        temporary.with_name(f"{temporary.name}-journal").unlink(missing_ok=True)
