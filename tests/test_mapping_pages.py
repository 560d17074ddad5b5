"""How-to pages about a user's own data: their files and mappings are run, and print what the pages show.

``pytest tests/test_mapping_pages.py --write-pages`` brings what they print up to date.
"""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.pipeline.cli import app
from limitlens.pipeline.workspace import Workspace

PAGES = sorted((Path(__file__).parents[1] / "docs" / "how-to").glob("import-*.md"))
FILE = re.compile(r"\*\*(\S+)\*\*\n\n```\w+\n(.*?)```", re.DOTALL)
PRINTED = re.compile(r"```\n\$ limitlens (.*?)\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_about_ones_own_data_does_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    text = page.read_text(encoding="utf-8")
    for name, body in FILE.findall(text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(body, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    [(command, printed)] = PRINTED.findall(text)
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 0, result.output
    if request.config.getoption("--write-pages"):
        page.write_text(text.replace(f"{command}\n{printed}```", f"{command}\n{result.stdout}```"), encoding="utf-8")
    else:
        assert printed == result.stdout
    report = check_events(tmp_path / "events", Workspace("work").events)
    assert not [one for one in report.sources.values() if one.quarantined]
    assert not report.ignored


def test_each_kind_of_data_has_its_page() -> None:
    kinds = {"current-accounts", "flat-application-data", "loans-without-limits", "month-buckets"}
    assert {page.stem.removeprefix("import-") for page in PAGES} == kinds | {"several-products-a-customer"}
