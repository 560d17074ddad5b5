"""Where each key of a TOML text stands: tomllib does not say, and an error should name the line."""

import re

#: A key of a TOML text: names of tables, and places in arrays.
KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)([^\]]+)\]")
_KEY = re.compile(r"\s*([\w\-\"'.]+)\s*=")
_QUOTED = re.compile(r"\"(?:\\.|[^\"\\])*\"|'[^']*'")

#: One name of a dotted key; a quoted one may hold dots.
_PART = re.compile(r"\"[^\"]*\"|'[^']*'|[^.\s\"']+")


def key_lines(text: str) -> dict[KeyPath, int]:
    r"""Line of every table, key and element of an array of tables; multi-line strings are not understood.

    Examples
    --------
    >>> lines = key_lines("a = 1\n[b]\nc = [\n  {d = 1},\n]\n[[e]]\nf = 2\n'g.h' = 3")
    >>> lines[("a",)], lines[("b", "c")], lines[("b", "c", 0)], lines[("e", 0, "f")], lines[("e", 0, "g.h")]
    (1, 3, 4, 7, 8)
    >>> key_lines("[[a]]\n[[a]]\n[a.b]\nc = 1")[("a", 1, "b", "c")]
    4
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    key: KeyPath = ()
    depth = element = 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = _code(raw)
        if depth == 0 and (header := _HEADER.match(raw)):
            table = _inside(_names(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
            continue
        if depth == 0 and (assignment := _KEY.match(raw)):
            key, element = (*table, *_names(assignment[1])), 0
            lines.setdefault(key, number)
        for mark in line:
            if mark == "{" and depth == 1:
                lines[(*key, element)] = number
                element += 1
            depth += (mark in "[{") - (mark in "]}")
    return lines


def _inside(names: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """The path of a header: a table below an array of tables belongs to the last element of it."""
    path: KeyPath = ()
    for name in names:
        path = (*path, counts[path], name) if path in counts else (*path, name)
    return path


def _code(line: str) -> str:
    """The line without strings and comment."""
    return _QUOTED.sub("", line).partition("#")[0]


def _names(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
