"""Tables of the command line: whole numbers stay whole, names stand in full, two counts say which they are."""

import re
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from limitlens.limits.comparison import WOULD_MOVE
from limitlens.pipeline.cli import app
from limitlens.pipeline.cli.common import print_table
from limitlens.pipeline.release.iterations import MOVED_SINCE
from limitlens.pipeline.workspace import Workspace

NAME, NUMBER = "self_employed_of_the_second_kind", "12,345 (67.8%)"
MODELS_PAGE = Path(__file__).parent.parent / "docs" / "models.md"


@pytest.mark.parametrize("width", ["20", "80", "300"])
def test_a_name_and_a_number_stand_in_one_piece_at_any_width(
    width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    table = Table("segment", "moved", "why", box=None)
    table.add_row(NAME, NUMBER, "word after word until the line is full")
    print_table(table, "why")
    said = capsys.readouterr().out
    assert NAME in said
    assert NUMBER in said
    assert said.split().count("word") == 2
    assert "…" not in said


def printed(words: str, workspace: Workspace) -> str:
    shown = CliRunner().invoke(app, [*words.split(), "--workspace", str(workspace.root)])
    assert shown.exit_code in (0, 3), shown.exception
    return shown.stdout


@pytest.mark.parametrize("width", ["40", "80"])
@pytest.mark.parametrize("words", ["compare 1 2", "iterations", "queue", "policy show", "features draw 30d"])
def test_no_command_cuts_a_name_or_prints_a_whole_number_with_a_decimal(
    words: str, width: str, small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    said = printed(words, small_workspace)
    assert "…" not in said
    assert not re.findall(r"(?<![\d.,])\d[\d,]*\.0(?![\d%])", said)


def test_compare_and_iterations_say_which_limits_they_count_in_the_words_of_the_page(
    small_workspace: Workspace,
) -> None:
    page = " ".join(MODELS_PAGE.read_text(encoding="utf-8").split())
    assert WOULD_MOVE in page
    assert MOVED_SINCE in page
    assert WOULD_MOVE in printed("compare 1 2", small_workspace)
    assert MOVED_SINCE in printed("iterations", small_workspace)
    assert MOVED_SINCE in printed("iterations show 2", small_workspace)
    assert MOVED_SINCE in (small_workspace.root.parent / "report.html").read_text(encoding="utf-8")
