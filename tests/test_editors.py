"""Type checkers and editors find our code from anywhere, in the file itself."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "typings").exists(), reason="a source archive: what is installed is elsewhere"),
]

OUTSIDE = """
from limitlens.models import DefaultRiskClassifier
from limitlens.pipeline import Workspace, decide

reveal_type(Workspace("limitlens-work").decisions())
reveal_type(DefaultRiskClassifier().fit)
decide(Workspace("limitlens-work"))
"""
_JEDI = """
import sys, jedi
code = "from limitlens.models.classifier import DefaultRiskClassifier\\n"
code += "from limitlens.pipeline.workspace import Workspace"
script = jedi.Script(code, path=sys.argv[1], environment=jedi.InterpreterEnvironment())
for line, column in ((1, 50), (2, 45)):
    [place] = script.goto(line, column, follow_imports=True)
    print(place.name, place.module_path.resolve())
"""
#: Prints of each name that our packages hand out where jedi finds it, or that it does not.
_HANDED_OUT = """
import importlib, sys, jedi
for package in sys.argv[2:]:
    for name in importlib.import_module(package).__all__:
        code = f"from {package} import {name}\\n{name}"
        script = jedi.Script(code, path=sys.argv[1], environment=jedi.InterpreterEnvironment())
        found = script.goto(2, 0, follow_imports=True)
        print(package, name, *(f"{place.name} {place.module_path.resolve()}" for place in found))
"""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of somebody who uses limitlens, elsewhere."""
    path = tmp_path / "mine.py"
    path.write_text(OUTSIDE, encoding="utf-8")
    return path


def run(*words: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_mypy_knows_the_types(outside: Path) -> None:
    """From inside and from elsewhere; by the settings and the cache of ``make lint``, which has just read it all."""
    words = ("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"))
    for folder in (ROOT, outside.parent):
        told = run(*words, str(outside), cwd=folder)
        assert 'Revealed type is "pandas.DataFrame"' in told.replace("pandas.core.frame.DataFrame", "pandas.DataFrame")


@pytest.mark.parametrize("inside", [False, True])
def test_jedi_goes_to_the_file_itself(inside: bool, outside: Path) -> None:
    told = run("-c", _JEDI, str(outside), cwd=ROOT if inside else outside.parent).splitlines()
    assert [line.split(" ", 1) for line in told] == [
        ["DefaultRiskClassifier", str(ROOT / "models" / "classifier.py")],
        ["Workspace", str(ROOT / "pipeline" / "workspace.py")],
    ]


def test_jedi_finds_the_definition_of_every_name_that_our_packages_hand_out(outside: Path) -> None:
    stubs = [
        path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/**/__init__.pyi") if "typings" not in path.parts
    ]
    packages = [".".join(("limitlens", *folder.parts)) for folder in sorted(stubs)]
    told = [line.split(" ", 3) for line in run("-c", _HANDED_OUT, str(outside), *packages, cwd=ROOT).splitlines()]
    assert {line[0] for line in told} == set(packages)
    for package, name, *place in told:
        assert place, f"{package}.{name}: no definition"
        assert place[0] == name
        assert Path(place[1]).suffix == ".py"
        assert Path(place[1]).is_relative_to(ROOT)
