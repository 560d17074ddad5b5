"""Room on the disk: a write that does not fit becomes one line that says what it needs and what is free."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from limitlens.data.errors import WorkspaceError

#: No space, a quota reached, a file larger than the system allows.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def no_room(path: Path, needed_bytes: int) -> WorkspaceError:
    """The error for a file that did not fit.

    Parameters
    ----------
    path : Path
        File or folder that was written to.
    needed_bytes : int
        What was being written, at most.
    """
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())
    needed, free = needed_bytes // 1024 + 1, shutil.disk_usage(folder).free // 1024
    return WorkspaceError(
        f"{path}: no room on the disk; this write needs up to {needed:,} KiB and {free:,} KiB are free. "
        "Nothing was lost: make room, or raise the quota, and run the same command again."
    )


@contextmanager
def room_for(path: Path, needed_bytes: Callable[[], int]) -> Iterator[None]:
    """Turn the system's refusal to write any more into :func:`no_room`.

    Raises
    ------
    WorkspaceError
        The disk or a quota is full, or the file is larger than allowed.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise no_room(path, needed_bytes()) from error
