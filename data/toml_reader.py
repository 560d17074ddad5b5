"""Reads typed values out of a policy file, and says which line to mend."""

import math
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, get_args

from limitlens.data.errors import ConfigError
from limitlens.limits.policy_lines import Path, key_lines

#: Largest number of a policy; more cents than any book has.
LARGEST = 10**15


def load_toml(text: str, source: str) -> dict[str, Any]:
    """Parse TOML.

    Raises
    ------
    ConfigError
        Not valid, a key twice among others; with file and line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = found[1] if found else len(text.splitlines())
        raise ConfigError(f"{source}:{line}: not valid TOML: {error}.") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: brackets within brackets, too deep to be a policy.") from error


@dataclass(frozen=True)
class Reader:
    """Reads typed values of the text of a file; paths are those of :func:`key_lines`."""

    text: str
    source: str

    @cached_property
    def _lines(self) -> dict[Path, int]:
        return key_lines(self.text)

    def error(self, path: Path, message: str) -> ConfigError:
        """An error at the line of a path, or at the table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return ConfigError(f"{self.source}{f':{self._lines[path]}' if path else ''}: {message}")

    def table(self, body: Any, path: Path, known: Collection[str], required: Collection[str] = ()) -> Mapping[str, Any]:
        """A table whose keys are all known.

        Raises
        ------
        ConfigError
            It is no table, a key is not known, or a required one is missing.
        """
        where = said(path)
        if not isinstance(body, dict):
            raise self.error(path, f"{where} is {body!r}; expected a table.")
        for key in body:
            if key not in known:
                raise self.error((*path, key), f"unknown key {key!r} in {where}; expected one of {sorted(known)}.")
        for key in required:
            if key not in body:
                raise self.error(path, f"{key!r} is missing in {where}; add it.")
        return body

    def section(self, body: Mapping[str, Any], path: Path, into: type) -> Any:
        """An instance of a class of :mod:`limitlens.limits.policy_parts` from a table with one key a field."""
        if path[-1] not in body:
            raise self.error(path[:-1], f"section {said(path)} is missing; add it.")
        names = [field.name for field in fields(into)]
        values = self.table(body[str(path[-1])], path, names, names)
        return into(**{f.name: self.value(values, path, f.name, f.type) for f in fields(into)})

    def array(self, body: Mapping[str, Any], path: Path) -> list[Any]:
        """A list; none where it is left out."""
        found = body.get(str(path[-1]), [])
        if not isinstance(found, list):
            raise self.error(path, f"{path[-1]} is {found!r}; expected a list.")
        return found

    def value(self, body: Mapping[str, Any], path: Path, key: str, expected: Any) -> Any:
        """A value of a type, or one of the words of a ``Literal``; numbers are finite and not absurd."""
        found, where = body[key], (*path, key)
        if words := get_args(expected):
            if found not in words:
                raise self.error(where, f"{key} in {said(path)} is {found!r}; expected one of {list(words)}.")
            return found
        accepted = (int, float) if expected is float else (expected,)
        if not isinstance(found, accepted) or (isinstance(found, bool) and expected is not bool):
            raise self.error(where, f"{key} in {said(path)} is {found!r}; expected {expected.__name__}.")
        if isinstance(found, int | float) and not (math.isfinite(found) and abs(found) <= LARGEST):
            raise self.error(where, f"{key} in {said(path)} is {found!r}; expected at most {LARGEST:,} either way.")
        return float(found) if expected is float else found


def said(path: Path) -> str:
    """A path as the file writes it.

    Examples
    --------
    >>> said(("segments", "student")), said(("rules", 1)), said(())
    ('[segments.student]', '[[rules]] number 2', 'the policy')
    """
    if not path:
        return "the policy"
    if isinstance(path[-1], int):
        return f"[[{'.'.join(map(str, path[:-1]))}]] number {path[-1] + 1}"
    return f"[{'.'.join(map(str, path))}]"
