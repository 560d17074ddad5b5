"""The key of the pseudonyms: a file outside the workspace, and what the workspace says of it.

Who has the workspace alone finds nobody in it, and who has the key alone finds nothing. The mark of each load says by
which key its ids were replaced, so all loads of a workspace have one key, or none has.
"""

import secrets
from pathlib import Path

from limitlens.data.errors import ConfigError
from limitlens.data.events import PLAIN, EventStore
from limitlens.data.pseudonyms import IdKey
from limitlens.data.secret_file import write_secret
from limitlens.data.toml_reader import read_small

#: Before the hexadecimal digits of the key, so that no other file passes for one.
_HEAD = "limitlens-ids-1 "

_BYTES = 32


def ids_by(key: IdKey | None) -> str:
    """How the mark of a load calls its ids."""
    return key.fingerprint if key else PLAIN


def default_key_path(workspace: Path) -> Path:
    """Where the key of a workspace lies unless another place is named: beside its folder.

    Examples
    --------
    >>> default_key_path(Path("/data/limitlens-work")).as_posix()
    '/data/limitlens-work.ids.key'
    """
    folder = workspace.resolve()
    return folder.with_name(f"{folder.name}.ids.key")


def read_key(path: Path, workspace: Path) -> IdKey:
    """Read a key.

    Parameters
    ----------
    path : Path
    workspace : Path
        Folder whose ids it is for.

    Raises
    ------
    ConfigError
        There is none, it is something else, or it lies in the workspace.
    """
    expect_outside(path, workspace)
    if not path.exists():
        raise ConfigError(
            f"{path}: the key of the ids of {workspace} is not there; restore its backup, or name it by --id-key."
        )
    text = read_small(path, "the key of the ids").strip()
    digits = text.removeprefix(_HEAD)
    if digits == text or len(digits) != 2 * _BYTES or not set(digits) <= set("0123456789abcdef"):
        raise ConfigError(f"{path}: not a key of ids; name the file that limitlens check wrote, or a backup of it.")
    return IdKey(bytes.fromhex(digits))


def new_key(path: Path, workspace: Path) -> IdKey:
    """Make a key that only its owner can read; where another process has just made one, that is the key.

    Parameters
    ----------
    path : Path
    workspace : Path
        Folder whose ids it is for.

    Raises
    ------
    ConfigError
        The path lies in the workspace, or cannot be written.
    WorkspaceError
        The disk is full.
    """
    expect_outside(path, workspace)
    try:
        write_secret(f"{_HEAD}{secrets.token_hex(_BYTES)}\n", path)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); name another place by --id-key.") from error
    return read_key(path, workspace)


def expect_ids(store: EventStore, key: IdKey | None) -> None:
    """Refuse ids of another key than those of the earlier loads.

    Raises
    ------
    ConfigError
        They differ.
    """
    ids, given = store.ids(), ids_by(key)
    if ids in (None, given):
        return
    if ids == PLAIN:
        raise ConfigError(
            f"{store.root}: its ids are as delivered; leave out --id-key (LIMITLENS_ID_KEY), or check into another "
            "workspace."
        )
    if key is None:
        raise ConfigError(
            f"{store.root}: its ids are pseudonyms by key {ids}, for good; leave out --plain-ids, or name the "
            "file of the key by --id-key."
        )
    raise ConfigError(
        f"{store.root}: its ids are pseudonyms by key {ids}, and the key given is {given}; name the right file by "
        "--id-key."
    )


def expect_outside(path: Path, workspace: Path) -> None:
    """Refuse a place in the workspace for what tells its ids.

    Raises
    ------
    ConfigError
        It lies there.
    """
    if path.resolve().is_relative_to(workspace.resolve()):
        raise ConfigError(f"{path}: lies in the workspace, whose ids it would reveal; name a place outside.")
