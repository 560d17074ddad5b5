"""Every function that our packages hand out says what each of its parameters is."""

import importlib
import inspect
import re
from collections.abc import Callable

import pytest

PACKAGES = ("data", "data.world", "features", "models", "limits", "pipeline")

#: A section of a numpydoc docstring: all up to the next title that is underlined, or the end.
_PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-+$|\Z)", re.MULTILINE | re.DOTALL)


def handed_out() -> dict[str, Callable[..., object]]:
    """Functions by the name under which one imports them."""
    packages = [importlib.import_module(f"limitlens.{name}") for name in PACKAGES]
    found = {f"{package.__name__}.{name}": getattr(package, name) for package in packages for name in package.__all__}
    return {name: one for name, one in found.items() if inspect.isfunction(inspect.unwrap(one))}


def documented(docstring: str) -> list[str]:
    """Names in the section of the parameters, in its order; those without a type do not count."""
    section = _PARAMETERS.search(docstring)
    entries = re.findall(r"^(\S.*?) : \S", section[1], re.MULTILINE) if section else []
    return [name.strip().lstrip("*") for entry in entries for name in entry.split(",")]


@pytest.mark.parametrize("name", handed_out())
def test_each_parameter_is_documented_with_its_type_in_the_order_of_the_signature(name: str) -> None:
    function = handed_out()[name]
    assert documented(inspect.getdoc(function) or "") == list(inspect.signature(function).parameters)


def test_a_parameter_that_is_missing_out_of_order_or_without_a_type_is_seen() -> None:
    sound = (
        "Say.\n\nParameters\n----------\na, b : int\n    Two: c : d.\nc : str, optional\n\nReturns\n-------\nd : int\n"
    )
    assert documented(sound) == ["a", "b", "c"]
    assert documented(sound.replace("c : str, optional", "c")) == ["a", "b"]
    assert documented("Say.") == []
