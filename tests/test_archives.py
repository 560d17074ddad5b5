"""The source archive can be tested where it is unpacked; the wheel holds all that runs."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow

#: What a checkout has and no archive should: links, caches, what was made.
_NOT_OURS = shutil.ignore_patterns(
    ".[!dg]*", ".git", "__pycache__", "*.egg-info", "typings", "build", "dist", "demo", "limitlens-work", "mlruns"
)

#: Folders of the source archive beside those of the packages.
BESIDE = (".github", "benchmarks", "docs", "notebooks", "tests")

#: What only a cluster, a broker, a notebook or a developer needs.
_EXTRAS = ("dev", "kafka", "metrics", "spark")

_BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # setuptools puts words of its own there
build_meta.build_sdist(out)
build_meta.build_wheel(out)
"""

#: Finds all tests, and runs those of two files, which look for pages and settings beside them; all in one process.
_SOME_TESTS = """
import sys
import pytest

class Some:
    @staticmethod
    def pytest_collection_finish(session):
        print(*{item.path.name for item in session.items})
        session.items[:] = [item for item in session.items if item.path.name in sys.argv[1:]]

sys.exit(pytest.main(["-p", "no:cacheprovider"], plugins=[Some]))
"""


def python(*arguments: str, cwd: Path, **environment: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages() -> dict[str, Path]:
    """Folder of each package, by its place in the wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    return {name.replace(".", "/"): ROOT / folder for name, folder in settings["package-dir"].items()}


def files_in(folder: Path) -> set[Path]:
    """Files in a folder and below, as seen from it, without what Python and notebooks leave there."""
    left = {"__pycache__", ".ipynb_checkpoints"}
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if not left & set(path.parts)}


def required(extra: str, archives: Path) -> set[str]:
    """Libraries that the wheel asks for itself, or with an extra and not without."""
    [metadata] = (archives / "wheel").glob("*.dist-info/METADATA")
    lines = Parser().parsestr(metadata.read_text(encoding="utf-8")).get_all("Requires-Dist", [])
    parts = [line.partition("extra ==") for line in lines]
    return {re.split(r"[^\w-]", name)[0] for name, _, asked in parts if asked.strip(" \"'") == extra} - {"limitlens"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both archives unpacked: ``source`` and ``wheel``; built from a copy, without a network."""
    folder = tmp_path_factory.mktemp("archives")
    shutil.copytree(ROOT, folder / "copy", ignore=_NOT_OURS)
    python("-c", _BUILD, str(folder), cwd=folder / "copy")
    [source], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [root] = (folder / "unpacked").iterdir()
    root.rename(folder / "source")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "wheel")
    return folder


def test_the_wheel_holds_every_module_and_every_data_file_of_the_packages_and_nothing_else(archives: Path) -> None:
    ours = {place / path for place, folder in packages().items() for path in files_in(folder)}
    found = {path for path in files_in(archives / "wheel") if not path.parts[0].endswith(".dist-info")}
    assert {str(path) for path in found} == {str(path) for path in ours}


def test_the_source_archive_holds_the_packages_their_settings_tests_pages_and_notebooks(archives: Path) -> None:
    for folder in (*BESIDE, *(str(path.relative_to(ROOT)) for path in packages().values())):
        assert files_in(archives / "source" / folder) == files_in(ROOT / folder), folder
    at_the_top = {path.name for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert at_the_top | {".dockerignore"} <= {path.name for path in (archives / "source").iterdir()}


def test_the_wheel_alone_brings_no_spark_no_broker_and_no_tool_of_developers(archives: Path) -> None:
    alone = required("", archives)
    assert {"duckdb", "lightgbm", "mlflow"} <= alone
    assert all(required(extra, archives) for extra in _EXTRAS)
    assert not [extra for extra in _EXTRAS if required(extra, archives) & alone]


def test_the_command_of_the_wheel_says_its_version(archives: Path) -> None:
    [entries] = (archives / "wheel").glob("*.dist-info/entry_points.txt")
    parser = ConfigParser()
    parser.read(entries)
    module, _, function = parser["console_scripts"]["limitlens"].partition(":")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    code = f"from {module} import {function}; {function}()"
    environment = {"PYTHONPATH": str(archives / "wheel")}
    assert python("-c", code, "--version", cwd=archives, **environment) == f"limitlens {version}\n"


def test_the_tests_are_found_and_pass_where_the_source_archive_is_unpacked_beside_the_wheel(archives: Path) -> None:
    found = python(
        "-c", _SOME_TESTS, "test_contract_page.py", "test_quality_settings.py",
        cwd=archives / "source", PYTHONPATH=str(archives / "wheel"),
    ).splitlines()  # fmt: skip
    assert set(found[0].split()) == {path.name for path in (ROOT / "tests").glob("test_*.py")}
    assert " passed in " in found[-1]
