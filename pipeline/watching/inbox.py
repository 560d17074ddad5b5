"""The inbox of a watch: a folder into which files are renamed, one folder a source, as in a delivery."""

from collections.abc import Iterable
from glob import escape
from pathlib import Path

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import ENDINGS
from limitlens.data.storage import file_sha256, write_text
from limitlens.pipeline.watching.intake import Refused

#: Where files go that were taken in, and those that could not be; beside the latter stands why.
TAKEN, REFUSED = "taken", "refused"

#: Files of one tick: more wait for the next, so that no tick grows with what piled up.
MOST_FILES = 200


def waiting_files(inbox: Path) -> list[tuple[str, Path]]:
    """The files of the next tick, by source and name, at most :data:`MOST_FILES`."""
    return every_file(inbox)[:MOST_FILES]


def every_file(inbox: Path) -> list[tuple[str, Path]]:
    """Files that came, by source and name; a name with a dot first is still written to.

    Accounts are looked for last, so that none is missed that was there before its events.
    """
    there = {source: _files_in(inbox / source) for source in reversed(SOURCES)}
    return [(source, path) for source in SOURCES for path in there[source]]


def _files_in(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in files if path.name.endswith(ENDINGS) and not path.name.startswith(".") and path.is_file()]


def arrived(files: Iterable[tuple[str, Path]]) -> float | None:
    """When the oldest of some files got its name, in seconds of the clock that ``time.time`` reads; None: no file."""
    return min((path.stat().st_ctime for _, path in files), default=None)


def named(files: Iterable[tuple[str, Path]]) -> dict[Path, tuple[str, str]]:
    """How the journal calls each file: source and name, and the sha256 of what is in it."""
    return {path: (f"{source}/{path.name}", file_sha256(path)) for source, path in files}


def put_away(inbox: Path, files: Iterable[Path], refused: Iterable[Refused]) -> None:
    """Move files out of the inbox; none takes the place of an earlier one of its name."""
    why = {one.path: one.reason for one in refused}
    for path in files:
        folder = inbox / (REFUSED if path in why else TAKEN) / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        earlier = len(list(folder.glob(f"*{escape(path.name)}")))
        target = folder / (f"{earlier}-{path.name}" if earlier else path.name)
        if path in why:
            write_text(f"{why[path]}\n", folder / f"{target.name}.txt")
        path.replace(target)


def set_aside(path: Path, text: str, why: str) -> None:
    """Write what nobody takes to a file, and the reason beside it."""
    write_text(text, path)
    write_text(f"{why}\n", path.with_name(f"{path.name}.txt"))
