"""A name says what it holds or does: words that fit any value are no names in our packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path for room in ("data", "features", "models", "limits", "pipeline") for path in (ROOT / room).glob("**/*.py")
)
SAY_NOTHING = {"found", "told", "said", "is_of"}


def names(source: str) -> Iterator[str]:
    """Variables that are assigned, parameters, functions and fields; a leading underscore does not count."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id.lstrip("_")
        elif isinstance(node, ast.arg):
            yield node.arg.lstrip("_")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name.lstrip("_")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_name_fits_any_value(path: Path) -> None:
    assert not SAY_NOTHING & set(names(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "def _told(): pass",
        "def f(said): pass",
        "if found := 1: pass",
        "[told for told in ()]",
        "class A:\n    found: int",
        "with open(a) as said: pass",
        "class A:\n    def is_of(self): pass",
    ],
)
def test_each_way_to_give_such_a_name_is_seen(source: str) -> None:
    assert SAY_NOTHING & set(names(source))
