"""Reads typed values out of a TOML file that a user gives, and says which line to mend."""

import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from limitlens.data.errors import ConfigError
from limitlens.data.toml_lines import KeyPath, key_lines

#: Largest number of a file; more cents than any book has.
LARGEST = 10**15

_MAX_BYTES = 1_000_000


def read_toml(path: Path) -> str:
    """Text of a TOML file; what is no small file is refused unread, as in :func:`read_small`."""
    return read_small(path, "a TOML file")


def read_small(path: Path, expected: str) -> str:
    """Text of a small file: :func:`read_bytes`, in UTF-8.

    Raises
    ------
    ConfigError
        As there, or it is not UTF-8.
    """
    raw = read_bytes(path, expected)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8.") from error


def read_bytes(path: Path, expected: str) -> bytes:
    """Content of a small file.

    Parameters
    ----------
    path : Path
    expected : str
        What it should be, for an error.

    Raises
    ------
    ConfigError
        It is missing, no regular file (a pipe would be waited for), or larger than 1 MB.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: not a regular file; save the text as {expected} and name that.")
        if status.st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: {status.st_size:,} bytes; expected at most {_MAX_BYTES:,}.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name {expected}.") from error


def load_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ConfigError
        Not valid, a key twice among others; with file and line.
    """
    try:
        return tomllib.loads(text)
    except ValueError as error:  # a number of thousands of digits is one of another kind
        place = re.search(r"at line (\d+)", str(error))
        line = place[1] if place else len(text.splitlines())
        raise ConfigError(f"{source}:{line}: not valid TOML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: brackets within brackets, too deep to be read.") from error


@dataclass(frozen=True)
class Reader:
    """Reads typed values of the text of a file; paths are those of :func:`key_lines`."""

    text: str
    source: str

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return key_lines(self.text)

    def error(self, path: KeyPath, message: str) -> ConfigError:
        """An error at the line of a path, or at the table around it."""
        while path and path not in self._lines and (*path, 0) not in self._lines:
            path = path[:-1]
        line = self._lines.get(path, self._lines.get((*path, 0)))
        return ConfigError(f"{self.source}{f':{line}' if path else ''}: {message}")

    def table(
        self, body: Any, path: KeyPath, known: Collection[str], required: Collection[str] = ()
    ) -> Mapping[str, Any]:
        """A table whose keys are all known.

        Raises
        ------
        ConfigError
            It is no table, a key is not known, or a required one is missing.
        """
        where = header(path)
        if not isinstance(body, dict):
            raise self.error(path, f"{where} is {body!r}; expected a table.")
        for key in body:
            if key not in known:
                likely = get_close_matches(key, known, 1)
                mend = f"did you mean {likely[0]!r}?" if likely else f"expected one of {sorted(known)}."
                raise self.error((*path, key), f"unknown key {key!r} in {where}; {mend}")
        for key in required:
            if key not in body:
                raise self.error(path, f"{key!r} is missing in {where}; add it.")
        return body

    def section(self, body: Mapping[str, Any], path: KeyPath, into: type) -> Any:
        """An instance of a dataclass from a table with one key a field; those with a default may be left out."""
        if path[-1] not in body:
            raise self.error(path[:-1], f"section {header(path)} is missing; add it.")
        needed = [field.name for field in fields(into) if field.default is MISSING]
        values = self.table(body[str(path[-1])], path, [field.name for field in fields(into)], needed)
        return into(**{f.name: self.value(values, path, f.name, f.type) for f in fields(into) if f.name in values})

    def array(self, body: Mapping[str, Any], path: KeyPath) -> list[Any]:
        """A list; none where it is left out."""
        elements = body.get(str(path[-1]), [])
        if not isinstance(elements, list):
            raise self.error(path, f"{path[-1]} is {elements!r}; expected a list.")
        return elements

    def value(self, body: Mapping[str, Any], path: KeyPath, key: str, expected: Any) -> Any:
        """A value of a type, or one of the words of a ``Literal``; numbers are finite and not absurd."""
        value, where = body[key], (*path, key)
        if words := get_args(expected):
            if value not in words:
                raise self.error(where, f"{key} in {header(path)} is {value!r}; expected one of {list(words)}.")
            return value
        accepted = (int, float) if expected is float else (expected,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
            raise self.error(where, f"{key} in {header(path)} is {value!r}; expected {expected.__name__}.")
        if isinstance(value, int | float) and not abs(value) <= LARGEST:
            raise self.error(where, f"{key} in {header(path)} is {value!r}; expected at most {LARGEST:,} either way.")
        return float(value) if expected is float else value


def header(path: KeyPath) -> str:
    """A path as the file writes it.

    Examples
    --------
    >>> header(("segments", "student")), header(("rules", 1)), header(())
    ('[segments.student]', '[[rules]] number 2', 'the file')
    """
    if not path:
        return "the file"
    if isinstance(path[-1], int):
        return f"[[{'.'.join(map(str, path[:-1]))}]] number {path[-1] + 1}"
    return f"[{'.'.join(map(str, path))}]"
