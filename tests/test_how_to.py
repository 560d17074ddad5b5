"""How-to pages: what they tell to type exists, and what they show is printed where their steps are taken one by one."""

import ast
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from limitlens.data.errors import LimitlensError
from limitlens.pipeline.cli import app
from tests.test_printed import without_ids

ROOT = Path(__file__).parent.parent
HOW_TO = ROOT / "docs" / "how-to"
EXAMPLES = HOW_TO / "examples"
PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md")])

#: Fenced blocks, whose lines may be commands, and `spans`, which may leave arguments out.
FENCED, SPAN = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE), re.compile(r"`(limitlens [^`\n]+)`")

#: A file that a page gives in full, after its name.
FILE = re.compile(r"\*\*(\S+)\*\*\n\n```\w+\n(.*?)```", re.DOTALL)

#: Pages that change a workspace: their steps are taken on a demo of their own.
WALKS = [HOW_TO / f"{name}.md" for name in ("retrain-and-release", "answer-a-complaint", "write-a-rule", "recover")]

#: The steps of the daily job, in order.
STEPS = ["check", "decide", "reconcile", "report", "ledger"]


def typed(page: Path) -> Iterator[str]:
    """Command lines of a page, without comments and without what a shell does after them."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line.removeprefix("$ ") for block in FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()
    ]
    for line in [*lines, *SPAN.findall(FENCED.sub("", text))]:
        if re.match("limitlens [a-z-]", line):
            yield re.split(r" (?:[|&>;]|#|·)", line)[0]


def parsed(line: str) -> tuple[Any, list[str]]:
    """The command a line names, and the arguments that it does not know; raises what click would say."""
    command: Any = get_command(app)
    words, path = shlex.split(line)[1:], []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        path.append(words[0])
        command = command.commands[words.pop(0)]
    context = command.context_class(command, info_name=" ".join(path))
    takes_value = {name for one in command.params for name in one.opts if not getattr(one, "is_flag", True)}
    if words and words[-1] in takes_value:  # a page may speak of an option without a value
        words.append("VALUE")
    _, rest, _ = command.make_parser(context).parse_args(words)
    return command, rest


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_of_a_page_names_a_command_with_options_that_exist(page: Path) -> None:
    for line in typed(page):
        command, rest = parsed(line)
        assert not rest, f"{page.name}: {line}"
        assert command.name, f"{page.name}: {line}"


@pytest.mark.parametrize("line", ["limitlens decide --as_of 2026-07-01", "limitlens check events --until 2026-07-01"])
def test_an_option_that_does_not_exist_is_seen(line: str) -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed(line)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_python_and_runs_the_steps_of_the_daily_job_in_order(example: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    runs = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "run"]
    words = [[ast.unparse(one).strip("'") for one in call.args if ast.unparse(one) != "context"] for call in runs]
    assert [line[0] for line in sorted(words, key=lambda line: STEPS.index(line[0]))] == STEPS
    for line in words:
        assert parsed(shlex.join(["limitlens", *line, "--workspace", "work"]))[1] == []


def outcome(tmp_path: Path, codes: dict[str, int]) -> tuple[int, list[str], str]:
    """How the shell script ends where commands end with some codes, the steps it took, and what it tells a person."""
    stub = tmp_path / "limitlens"
    cases = " ".join(f"{step}) exit {code} ;;" for step, code in codes.items())
    stub.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/steps"\necho chatter >&2\ncase $1 in {cases} esac\n')
    stub.chmod(0o755)
    done = subprocess.run(
        [EXAMPLES / "daily.sh", "deliveries", "work"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (tmp_path / "steps").read_text().split(), done.stderr


@pytest.mark.parametrize("code", range(9))
def test_the_script_goes_on_after_0_7_and_8_and_stops_at_every_other_code(tmp_path: Path, code: int) -> None:
    ended, steps, told_a_person = outcome(tmp_path, {"check": code})
    assert steps == (STEPS if code in {0, 7, 8} else ["check"])
    assert ended == (0 if code == 7 else code)
    assert bool(told_a_person) == (code not in {0, 7})


def test_unusual_data_is_still_told_where_a_later_step_had_nothing_to_do(tmp_path: Path) -> None:
    ended, steps, _ = outcome(tmp_path, {"check": 8, "decide": 7})
    assert (ended, steps) == (8, STEPS)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_tells_each_exit_code_apart_as_the_page_does(example: Path) -> None:
    tree = ast.parse(example.read_text(encoding="utf-8"))
    sets = [ast.literal_eval(node) for node in ast.walk(tree) if isinstance(node, ast.Set)]
    compared = {
        node.value
        for one in ast.walk(tree)
        if isinstance(one, ast.Compare)
        for node in one.comparators
        if isinstance(node, ast.Constant)
    }
    passing, done = sets
    assert passing == {1, 5, -9, -15}
    assert done | compared == {0, 7, 8}


def workspace_of_a_page(folder: Path, page: Path, finished_demo: Path) -> None:
    """A demo to change, the policies of the pages, and the files that the page gives in full."""
    shutil.copytree(finished_demo, folder / "demo")
    (folder / "conf").symlink_to(ROOT / "conf")
    for name, body in FILE.findall(page.read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body, encoding="utf-8")


def without_runs(text: str) -> str:
    """Nor is a file named alike that bears the id of its run."""
    return re.sub(r"-[0-9a-f]{12}\.parquet", "-….parquet", without_ids(text))


def printed_by(command: str) -> str:
    """What a command prints, its one line of error included; any but ours is left to the shell."""
    if not command.startswith("limitlens "):
        return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    if done.exception and not isinstance(done.exception, SystemExit):
        assert isinstance(done.exception, LimitlensError), done.exception
        return f"{done.stdout}error {done.exception}"
    return done.stdout


@pytest.mark.parametrize("page", WALKS, ids=lambda page: page.stem)
def test_a_walk_prints_what_its_page_shows_where_its_steps_are_taken_one_by_one(
    page: Path, finished_demo: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace_of_a_page(tmp_path, page, finished_demo[0])
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for part in block.removeprefix("$ ").split("\n$ "):
            command, _, shown = part.partition("\n")
            printed = without_runs(printed_by(command))
            for piece in re.split(r"…\n?", shown):
                assert without_runs(piece.rstrip("\n")) in printed, f"{page.name}: {command} prints\n{printed}"
