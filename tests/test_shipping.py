"""What ships beside the code: the image's recipe, the workflows, the citation; one version in all of them."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.image import Stage, stages

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
FORMS = sorted((FOLDER / "ISSUE_TEMPLATE").glob("*.yml"))
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = SETTINGS["project"]["version"]

#: What the image's recipe may hold, so that the reader of it in `benchmarks/image.py` reads all of it.
INSTRUCTIONS = {"WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def loaded(path: Path) -> Any:
    # YAML 1.1 reads the key `on` as true; GitHub does not.
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{path.stem}: {name}", job) for path in WORKFLOWS for name, job in loaded(path)["jobs"].items()]


@pytest.fixture(scope="module")
def recipe() -> list[Stage]:
    return stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def test_changes_and_citation_name_the_version_of_the_package() -> None:
    newest = re.search(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)
    assert newest
    assert newest[1] == VERSION == loaded(ROOT / "CITATION.cff")["version"]


def test_the_citation_has_what_its_format_asks_for() -> None:
    """Required keys and closed lists of CFF 1.2.0."""
    citation = loaded(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["license"] == SETTINGS["project"]["license"]
    assert all("name" in author or "family-names" in author for author in citation["authors"])


def test_the_image_is_a_wheel_in_an_environment_on_a_small_base(recipe: list[Stage]) -> None:
    first, last = recipe
    assert (first.base, last.base) == ("python:3.11-slim AS build", "python:3.11-slim")
    assert {word for stage in recipe for word, _ in stage.instructions} <= INSTRUCTIONS
    assert [rest for rest in last.all("COPY") if not rest.startswith("--from=build ")] == []
    assert any("pip wheel" in step for step in first.all("RUN"))


def test_the_image_copies_what_is_there_and_all_the_wheel_is_made_of(recipe: list[Stage]) -> None:
    sources = [source for rest in recipe[0].all("COPY") for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    assert set(SETTINGS["tool"]["setuptools"]["package-dir"].values()) <= set(sources)
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in rules if line.startswith("!")} == set(sources)
    assert rules.index("*") < rules.index(f"!{sources[0]}")


def test_the_image_runs_as_nobody_with_a_volume_and_a_check(recipe: list[Stage]) -> None:
    last = recipe[1]
    [user], [volume], [place] = last.all("USER"), last.all("VOLUME"), last.all("WORKDIR")
    assert int(user) > 0
    assert volume == place
    [check] = last.all("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2]) == ["limitlens", *json.loads(last.all("CMD")[0])]
    words = [word for word, _ in last.instructions]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in {"RUN", "COPY"})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_calls_targets_that_exist_and_actions_of_one_major_version(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    workflow = loaded(path)
    assert {"name", "on", "permissions", "jobs"} == set(workflow)
    assert workflow["permissions"] == {"contents": "read"}
    names = set(workflow["jobs"])
    for job in workflow["jobs"].values():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= names
        assert int(job["timeout-minutes"]) <= 60
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1"))
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_tests_run_on_every_python_that_we_name() -> None:
    [job] = [job for name, job in jobs() if name == "tests: tests"]
    versions = job["strategy"]["matrix"]["python"]
    named = {line.rpartition(" ")[2] for line in SETTINGS["project"]["classifiers"] if ":: Python :: 3." in line}
    assert set(versions) == named
    assert SETTINGS["project"]["requires-python"] == f">={versions[0]}"
    assert any("make test" in step.get("run", "") for step in job["steps"])


def test_only_what_publishes_may_speak_for_us_and_nothing_is_published_untried() -> None:
    trusted = {name: job for name, job in jobs() if job.get("permissions", {}).get("id-token") == "write"}
    assert set(trusted) == {"release: publish"}
    job = trusted["release: publish"]
    assert job["needs"] == ["wheel", "sdist"]
    assert job["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert not any("secrets." in path.read_text(encoding="utf-8") for path in WORKFLOWS)
    assert loaded(FOLDER / "workflows" / "release.yml")["on"] == {"push": {"tags": ["v*"]}}


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_a_form_for_issues_asks_in_both_languages(path: Path) -> None:
    form = loaded(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in fields}) == len(fields) > 0
    for text in (form["name"], form["description"], *(part["attributes"]["label"] for part in fields)):
        assert re.search(r"[\u4e00-\u9fff]", text), text
