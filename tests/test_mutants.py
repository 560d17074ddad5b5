"""The list of what to break on purpose fits the code: its files, its texts, the tests that should notice."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LISTED: list[dict[str, Any]] = tomllib.loads((ROOT / "benchmarks" / "mutants.toml").read_text(encoding="utf-8"))[
    "files"
]

each_file = pytest.mark.parametrize("listed", LISTED, ids=lambda one: one["file"])


def test_no_file_is_listed_twice() -> None:
    assert len({one["file"] for one in LISTED}) == len(LISTED)


@each_file
def test_the_tests_that_should_notice_are_there(listed: dict[str, Any]) -> None:
    assert not [test for test in listed["tests"] if not (ROOT / test).is_file()]


@each_file
def test_each_text_stands_once_in_its_file_and_what_it_becomes_is_python(listed: dict[str, Any]) -> None:
    source = (ROOT / listed["file"]).read_text(encoding="utf-8")
    assert not [old for old, _ in listed.get("by_hand", ()) if source.count(old) != 1]
    for old, new in listed.get("by_hand", ()):
        assert old != new
        ast.parse(source.replace(old, new))


@each_file
def test_each_word_that_chooses_tests_is_in_the_name_or_an_id_of_one(listed: dict[str, Any]) -> None:
    """Ids are quoted words; those of the examples in docstrings are names of modules."""
    text = "\n".join((ROOT / test).read_text(encoding="utf-8") for test in listed["tests"])
    named = [*listed["tests"], *re.findall(r"def (test_\w+)", text), *re.findall(r'"([\w.]+)"', text)]
    named.append(listed["file"].removesuffix(".py").replace("/", "."))
    words = set(re.findall(r"[\w.]+", listed.get("chosen", ""))) - {"and", "or", "not"}
    assert not [word for word in words if not any(word in name for name in named)]
