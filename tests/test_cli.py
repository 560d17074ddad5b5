"""The command line: an example in every help, one-line errors, exit codes, JSON for programs."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from limitlens.data.storage import write_text
from limitlens.limits.policy_file import read_policy
from limitlens.pipeline.cli import app, main
from limitlens.pipeline.workspace import Workspace, default_policy

runner = CliRunner()
GROUP = get_command(app)


def commands() -> list[list[str]]:
    found = []
    for name, command in GROUP.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [[name, sub] for sub in inner] if inner else [[name]]
    return found


def with_workspace(command: Any = GROUP, *words: str) -> Iterator[list[str]]:
    """Every command and group of commands that takes ``--workspace``."""
    if any("--workspace" in option.opts for option in command.params):
        yield list(words)
    for name, inner in getattr(command, "commands", {}).items():
        yield from with_workspace(inner, *words, name)


#: The one command that begins a workspace.
BEGINS = ["check"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_shows_an_example(words: list[str]) -> None:
    shown = runner.invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"Example: limitlens {' '.join(words)}" in " ".join(shown.output.split())


#: Exit code of a command, and what it said on the standard error.
Run = Callable[..., tuple[object, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line from its entry point on, in this process."""

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["limitlens", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.slow
def test_a_process_of_its_own_ends_and_says_the_same(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "limitlens.pipeline", "check", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == run("check", "nowhere")
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "message", "ends"),
    [
        (["check", "nowhere"], "nowhere", 4),
        (["decide"], "limitlens check INPUT --workspace limitlens-work", 1),
        (["build"], "limitlens check INPUT --workspace limitlens-work", 1),
        (["iterations"], "limitlens check INPUT --workspace limitlens-work", 1),
        (["decide", "--workspace", "."], "limitlens promote", 1),
        (["promote", "--workspace", "."], "limitlens train", 1),
        (["build", "--workspace", "."], "limitlens check", 1),
        (["report", "--workspace", "."], "limitlens decide", 1),
        (["labels", "--workspace", "."], "limitlens check", 1),
        (["compare", "1", "2", "--workspace", "."], "limitlens train", 1),
        (["ledger", "verify"], "limitlens check INPUT --workspace limitlens-work", 1),
        (["import", "--mapping", "mars", "a", "b"], "taiwan", 4),
        (["why", "A1", "--workspace", "."], "limitlens decide", 1),
        (["train", "--config", "none.toml", "--workspace", "."], "none.toml", 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_that_names_the_mend(
    arguments: list[str], message: str, ends: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(*arguments)
    lines = said.strip().splitlines()
    assert code == ends
    assert len(lines) == 1
    assert lines[0].startswith("error")
    assert message in lines[0]


@pytest.mark.parametrize("words", [words for words in with_workspace() if words != BEGINS], ids=" ".join)
@pytest.mark.parametrize("there", [False, True], ids=["nothing", "another folder"])
def test_a_mistyped_workspace_is_refused_by_its_name_and_left_as_it_is(
    there: bool, words: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        write_text("another's", tmp_path / "wrok" / "notes.txt")
    before = sorted(tmp_path.rglob("*"))
    code, said = run(*words, "--workspace", "wrok")
    assert code == 1
    assert said == (
        "error wrok: no workspace is there; name its folder by --workspace, or begin one with limitlens check INPUT "
        "--workspace wrok.\n"
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["features"], ["policy", "show"], ["status"]], ids=" ".join)
def test_what_needs_no_workspace_needs_none_where_none_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert runner.invoke(app, words, catch_exceptions=False).exit_code == 0
    assert not list(tmp_path.iterdir())


def test_brackets_in_an_error_are_shown_and_a_config_that_is_not_utf8_is_one_line(run: Run, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = tmp_path / "train[1].toml"
    wrong = b"[model]\nfolds = 'x'"
    for content, message in ((wrong, "2: folds in [model] is 'x'; expected int."), (b"\xff", "1: not UTF-8")):
        path.write_bytes(content)
        code, said = run("train", "--config", str(path), "--workspace", str(work))
        assert (code, len(said.strip().splitlines())) == (4, 1)
        assert f"train[1].toml:{message}" in said


def test_features_of_a_time_the_data_do_not_reach_are_refused(small_workspace: Workspace) -> None:
    words = ["build", "--as-of", "2030-01-01", "--workspace", str(small_workspace.root)]
    assert "the data end at 2026-06-30" in str(runner.invoke(app, words).exception)


def test_before_any_training_no_version_is_listed(tmp_path: Path) -> None:
    words = ["iterations", "--workspace", str(tmp_path)]
    assert runner.invoke(app, words, catch_exceptions=False).stdout == "no version yet\nnext: limitlens train\n"
    assert json.loads(runner.invoke(app, [*words, "--json"], catch_exceptions=False).stdout) == []


def test_why_answers_in_json_for_programs(small_workspace: Workspace) -> None:
    account = str(small_workspace.ledger.current()["account_id"].iloc[0])
    shown = runner.invoke(app, ["why", account, "--workspace", str(small_workspace.root), "--json"])
    answer = json.loads(shown.output)
    assert answer["account_id"] == account
    assert set(answer["share_cents"]) == {"behaviour", "data", "model", "policy", "state"}


def test_why_names_the_times_it_knows(run: Run, small_workspace: Workspace) -> None:
    decided = small_workspace.ledger.current()
    account = str(decided.loc[decided["as_of"] < "2026-06-02", "account_id"].iloc[0])
    code, said = run("why", account, "--as-of", "2020-01-01", "--workspace", str(small_workspace.root))
    assert code == 1
    assert "it was at: 2026-05-01, 2026-06-01" in said


def test_verify_and_replay_say_what_they_checked(small_workspace: Workspace) -> None:
    work = str(small_workspace.root)
    assert "every link holds" in runner.invoke(app, ["ledger", "verify", "--workspace", work]).output
    assert "all equal" in runner.invoke(app, ["ledger", "replay", "--account", "A000001", "--workspace", work]).output


@pytest.mark.slow
def test_the_steps_run_one_after_the_other_from_the_command_line(tmp_path: Path) -> None:
    events, work = str(tmp_path / "events"), str(tmp_path / "work")
    config, policy = tmp_path / "train.toml", tmp_path / "policy.toml"
    policy.write_text(f'currency = "EUR"\n{default_policy().text}', encoding="utf-8")
    small = "n_estimators = 20\nfolds = 2\nrounds = 1\ncarried_rounds = 0\nmin_data_in_leaf = 10\n"
    config.write_text(f"[labels]\nhorizon_months = 3\ndefault_dpd_days = 30\n[model]\n{small}")
    steps = [
        ["simulate", events, "--accounts", "160", "--months", "8", "--futures", "1"],
        ["check", events, "--workspace", work, "--sample"],
        ["build", "--workspace", work, "--config", str(config)],
        ["train", "--workspace", work, "--config", str(config), "--policy", str(policy)],
        ["promote", "--workspace", work, "--override-by", "head of credit risk", "--reason", "a small book"],
        ["decide", "--workspace", work],
        ["report", "--workspace", work],
        ["report", "--lang", "zh", "--workspace", work],
        ["train", "--workspace", work, "--config", str(config)],
        ["policy", "show", "--workspace", work],
    ]
    outputs = []
    for step in steps:
        shown = runner.invoke(app, step)
        assert shown.exit_code == 0, f"{step}: {shown.output} {shown.exception}"
        outputs.append(shown.output)
    assert "means   purchase: median " in outputs[1]
    assert "), amounts in EUR" in (tmp_path / "work" / "report.html").read_text(encoding="utf-8")
    assert "），金额单位 EUR，" in (tmp_path / "work" / "report.zh-CN.html").read_text(encoding="utf-8")
    assert "), amounts in EUR" in outputs[-1]
    registry = Workspace(tmp_path / "work").registry
    assert registry.model("2").policy_digest == registry.model("1").policy_digest == read_policy(policy).digest
