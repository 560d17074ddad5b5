"""Files that are being written, under a name of their own; those a run that was killed left behind are swept.

Such a file is locked as long as it is written, and the system frees the lock of a process that was killed: one without
a lock was left.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


def sweep(root: Path) -> None:
    """Remove every file below a folder that was left unfinished."""
    for rest in root.rglob(f".*{ENDING}"):
        remove_left(rest)


def remove_left(temporary: Path) -> None:
    """Remove a file if nobody writes it any more."""
    with suppress(OSError), temporary.open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
