"""The words: commands exist, links lead somewhere, dependencies have their line, no page knows a machine."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from limitlens.limits.policy import SECTIONS, Bucket, Condition, CutOffs, Daily, Disqualifier, Opening, Policy, Rule
from limitlens.pipeline.cli import app

#: Tables of a policy that may stand there more than once.
PARTS = (Opening, Disqualifier, CutOffs, Rule, Condition, Bucket, Daily)

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))

#: Fenced blocks and `spans`: where a page shows what to type.
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)

#: A path from the root of a file system, not one inside an address or a relative path.
ABSOLUTE = re.compile(r"(?<![\w.~-])/(?:home|mnt|opt|private|root|tmp|Users|usr|var|work)/\S*")


def commands() -> set[str]:
    found = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= {f"{name} {sub}" for sub in inner} if inner else set()
        found |= {name} if not inner or command.invoke_without_command else set()
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_a_page_names_exists(page: Path) -> None:
    typed = " ".join(CODE.findall(page.read_text(encoding="utf-8")))
    groups = "ledger|iterations|policy|holds|quarantine|review|notices|share"
    named = re.findall(rf"\blimitlens ((?:(?:{groups}) )?[a-z]+(?:-[a-z]+)*)", typed)
    assert not set(named) - commands()


@pytest.mark.parametrize(("page", "readme"), [("commands.md", "README.md"), ("commands.zh-CN.md", "README.zh-CN.md")])
def test_a_page_in_each_language_names_every_command_and_the_readme_leads_to_it(page: str, readme: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert not [command for command in commands() if f"`limitlens {command}" not in text]
    assert f"](docs/{page})" in (ROOT / readme).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda p: p.name)
def test_no_page_holds_a_path_of_some_machine(page: Path) -> None:
    assert not ABSOLUTE.findall(page.read_text(encoding="utf-8"))


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=\[]", line)[0] for line in project["dependencies"]}
    lines = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").splitlines()
    assert names == {line.split("|")[1].strip() for line in lines if line.startswith("| ")} - {"package"}


def test_every_policy_key_is_explained() -> None:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    keys = {field.name for part in (Policy, *SECTIONS.values(), *PARTS) for field in fields(part)}
    assert not [key for key in keys - {"text", "operator", "value"} if not re.search(rf"`\[*{key}\b", page)]
