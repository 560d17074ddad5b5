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
        inside = pkgutil.walk_packages(package.__path__, f"limitlens.{room}.")
        found += [package.__name__, *(m.name for m in inside if not m.name.endswith("__main__"))]
    return found


def test_modules_in_sub_packages_are_among_them() -> None:
    within = {"limitlens.data.world.chance", "limitlens.features.rows.clock", "limitlens.pipeline.cli.data"}
    assert within <= set(_modules())


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        pytest.skip("numba is absent: LightGBM does the work")
    assert doctest.testmod(module).failed == 0
