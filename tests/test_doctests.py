"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

ROOMS = ("data", "features", "models", "limits", "pipeline")


def _modules() -> list[str]:
    found = []
    for room in ROOMS:
        package = importlib.import_module(f"limitlens.{room}")
        found += [
            m.name for m in pkgutil.iter_modules(package.__path__, f"limitlens.{room}.") if "__main__" not in m.name
        ]
    return found


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
