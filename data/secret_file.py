"""Files of secrets: text that only its owner can read, and that never takes the place of a file."""

import os
import secrets
from pathlib import Path

from limitlens.data.disk import room_for


def write_secret(text: str, path: Path) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Parameters
    ----------
    text : str
        ASCII.
    path : Path
        Its folder is created.

    Raises
    ------
    FileExistsError
        There is such a file.
    OSError
        It cannot be written.
    WorkspaceError
        The disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with room_for(path, lambda: len(text)):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as handle:
                handle.write(text)
                handle.flush()
                os.fsync(descriptor)
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
