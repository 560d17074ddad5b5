"""What the pages say a command prints is what it prints."""

import doctest
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.pipeline.cli import app
from limitlens.pipeline.workspace import default_policy

ROOT = Path(__file__).parent.parent

#: Blocks that begin with a command; pages about a user's own data have files of their own (test_mapping_pages.py).
BLOCK = re.compile(r"^```\n(\$ limitlens .*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (page, block)
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if not page.name.startswith("import-")  # those have files of their own: test_mapping_pages.py
    for block in BLOCK.findall(page.read_text(encoding="utf-8"))
]

#: Policies of the examples, as the pages describe them: what stands in the shipped one, and what instead.
POLICIES = {
    "tightened.toml": [
        ("decrease_above_pd = 0.180", "decrease_above_pd = 0.140"),
        ("review_above_pd = 0.100", "review_above_pd = 0.080"),
        ("to_days = 89", "to_days = 59"),
        ("from_days = 90", "from_days = 60"),
    ],
    "strict.toml": [
        ('name = "base"', 'name = "strict"'),
        ("review_above_pd = 0.120", "review_above_pd = 0.080"),
        ("decrease_above_pd = 0.180", "decrease_above_pd = 0.120"),
    ],
}


@pytest.fixture(scope="module")
def beside_a_demo(finished_demo: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder as the pages suppose it, with the demo finished, and what the demo printed."""
    folder, said = tmp_path_factory.mktemp("printed"), finished_demo[1]
    (folder / "demo").symlink_to(finished_demo[0])
    (folder / "conf").symlink_to(ROOT / "conf")
    for name, changes in POLICIES.items():
        text = default_policy().text
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (folder / name).write_text(text, encoding="utf-8")
    return folder, said.replace(str(finished_demo[0]), "demo")


def without_ids(text: str) -> str:
    """A run id hashes the model to the last bit: the same code and packages gave another one on another machine."""
    return re.sub(r"\brun [0-9a-f]{12}\b", "run …", text)


def run(words: list[str]) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code in (0, 8), done.output  # 8: what came is unusual, as some pages show
    return done.stdout


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[f"{page.name}-{k}" for k, (page, _) in enumerate(BLOCKS)])
def test_a_page_shows_what_its_command_prints(
    page: Path, block: str, beside_a_demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, said = beside_a_demo
    monkeypatch.chdir(folder)
    for part in block.removeprefix("$ ").split("\n$ "):
        command, _, shown = part.partition("\n")
        words = command.split()[1:]
        printed = said if words == ["demo", "demo"] else run(words)
        for piece in re.split(r"^…\n", shown, flags=re.MULTILINE):
            shows = without_ids(piece.rstrip("\n"))
            assert shows in without_ids(printed), f"{page.name}: {command} prints\n{printed}"


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_python_of_the_readme_does_what_it_shows(
    name: str, beside_a_demo: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(beside_a_demo[0])
    failed, tried = doctest.testfile(str(ROOT / name), module_relative=False, encoding="utf-8")
    assert (failed, tried > 5) == (0, True)
