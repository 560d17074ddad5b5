"""One writer at a time: an exclusive lock on a workspace, freed by the system even after ``kill -9``."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limitlens.data.errors import WorkspaceError


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the workspace for one writing run.

    Parameters
    ----------
    root : Path
        Workspace folder; created when it does not exist.

    Raises
    ------
    WorkspaceError
        Another run holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkspaceError(f"{root}: a run is in progress; start this one again when it has ended.") from None
        yield
