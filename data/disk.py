"""The disk: a write that does not fit, or is not allowed, becomes one line that says what to do."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from limitlens.data.errors import NoRoomError, WorkspaceError

#: No space, a quota reached, a file larger than the system allows.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def no_room(path: Path, needed_bytes: int) -> NoRoomError:
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
    return NoRoomError(
        f"{path}: no room on the disk; this write needs up to {needed:,} KiB and {free:,} KiB are free. "
        "Nothing was lost: make room, or raise the quota, and run the same command again."
    )


#: A read-only disk, no right to write.
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

#: A file where a folder should be, or a folder where a file should.
_NO_SUCH_PLACE = frozenset({errno.ENOTDIR, errno.EISDIR})


def not_writable(path: Path, reason: object) -> WorkspaceError:
    """The error for a file that may not be written.

    Parameters
    ----------
    path : Path
    reason : object
        What the system said.
    """
    return WorkspaceError(f"{path}: cannot be written ({reason}); make the folder writable, or copy it to where it is.")


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write at all into :func:`not_writable`.

    Raises
    ------
    WorkspaceError
        The disk is read-only, this user may not write there, or it is no place for a file.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SUCH_PLACE:
            raise WorkspaceError(f"{path}: cannot be written ({error.strerror}); name another place.") from error
        if error.errno not in _NOT_WRITABLE:
            raise
        raise not_writable(path, error.strerror) from error


@contextmanager
def room_for(path: Path, needed_bytes: Callable[[], int]) -> Iterator[None]:
    """Turn the system's refusal to write any more into :func:`no_room`.

    Raises
    ------
    NoRoomError
        The disk or a quota is full, or the file is larger than allowed.
    WorkspaceError
        It may not be written.
    """
    try:
        with writable(path):
            yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise no_room(path, needed_bytes()) from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there.

    Raises
    ------
    WorkspaceError
        A file has its name, or none can be made there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, FileNotFoundError) as error:
        raise WorkspaceError(f"{folder}: no folder, and none can be made there; name another place.") from error
