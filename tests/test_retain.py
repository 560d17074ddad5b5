"""Retention: what is older than its purpose needs goes like what is erased, and a dry run writes nothing."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError
from limitlens.data.events import QUARANTINE, EventStore
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.privacy.legal_hold import hold_legally
from limitlens.pipeline.privacy.retain import Keep, due, read_retention, retain
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST, ROOT, quiet

RULES = [Keep("closed_lines", "claims", 20), Keep("quarantine", "mending", 30), Keep("audit", "sign-ins", 10)]
NOW = datetime(2026, 7, 15, tzinfo=UTC)


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    days = (NOW - timedelta(days=11), NOW - timedelta(days=9))
    lines = [json.dumps({"at": day.isoformat(), "what": "sign-in"}) for day in days]
    (tmp_path / "work" / "audit.jsonl").write_text("\n".join([*lines, "half a li"]) + "\n", "utf-8")
    return Workspace(tmp_path / "work")


def closed(space: Workspace, before: datetime) -> set[str]:
    """One after the other, as a person would look."""
    decisions = space.ledger.query("SELECT account_id, as_of, action FROM decisions ORDER BY as_of")
    last = {row.account_id: row for row in decisions.itertuples()}
    return {account for account, row in last.items() if row.action == "close" and row.as_of < before}


@pytest.mark.slow
def test_what_is_old_goes_and_all_else_holds(copied: Workspace) -> None:
    expected = closed(copied, NOW - timedelta(days=20))
    assert 1 < len(expected) < len(closed(copied, NOW))
    kept = min(expected)
    hold_legally(copied, kept, at=LAST, actor="Wang Fang", reason="court order", lift=False)
    old = due(copied, RULES, NOW)
    assert (set(old.accounts), old.kept, old.audit) == (expected - {kept}, (kept,), 1)
    before = copied.ledger.query("SELECT COUNT(*) AS n FROM decisions")["n"][0]
    done = retain(copied, RULES, at=NOW, actor="Li Na", progress=quiet)
    assert done.accounts == len(expected) - 1
    assert due(copied, RULES, NOW).nothing
    assert closed(copied, NOW - timedelta(days=20)) == {kept}
    assert len((copied.root / "audit.jsonl").read_text("utf-8").splitlines()) == 2
    verify(copied)
    assert 0 < replay(copied, quiet) < before


def test_rows_held_back_go_by_their_known_time_or_the_end_of_their_load(tmp_path: Path) -> None:
    store, times = EventStore(tmp_path), {"old": NOW - timedelta(days=31), "new": NOW - timedelta(days=29)}
    for number, (name, end) in enumerate(times.items(), 1):
        load = f"{number:04d}"
        rows = [
            {"load": load, "source": "payment", "row_json": f"{name} {of_load}", "known_time": None if of_load else end}
            for of_load in (False, True)
        ]
        names = store.write(load, "quarantine", [pa.Table.from_pylist(rows, schema=QUARANTINE)])
        store.commit(load, names, {"load": load, "sources": {}, "reach": {"payment": end.isoformat()}})
    space = Workspace(tmp_path)
    assert due(space, RULES, NOW).held == 2
    retain(space, RULES, at=NOW, actor="Li Na", progress=quiet)
    assert run_sql(store.quarantine())["row_json"].to_pylist() == ["new False", "new True"]
    verify(space)


@pytest.mark.slow
def test_a_dry_run_says_how_much_and_writes_nothing(copied: Workspace, tmp_path: Path) -> None:
    rules = tmp_path / "retention.toml"
    rules.write_text('[[keep]]\ntable = "audit"\npurpose = "to see sign-ins"\ndays = 1\n', "utf-8")
    before = {path: path.read_bytes() for path in copied.root.rglob("*") if path.is_file()}
    said = CliRunner().invoke(app, ["retain", str(rules), "--workspace", str(copied.root)])
    assert "audit                2 older than 1 days, kept to see sign-ins" in said.stdout
    assert "nothing was written; --apply --by NAME erases it" in said.stdout
    assert {path: path.read_bytes() for path in copied.root.rglob("*") if path.is_file()} == before


def test_the_rules_that_ship_are_sound_and_others_are_refused(tmp_path: Path) -> None:
    assert [rule.table for rule in read_retention(ROOT / "conf" / "retention.toml")] == [one.table for one in RULES]
    section = '[[keep]]\ntable = "audit"\npurpose = "x"\ndays = 5\n'
    for text, words in (
        ("", "'keep' is missing"),
        (section.replace("audit", "all"), "expected one of"),
        (section.replace("5", "0"), "days is 0; expected 1 to 36,500"),
        (section * 2, "is named twice"),
        (section.replace("purpose", "why"), "unknown key 'why'"),
    ):
        (tmp_path / "rules.toml").write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=words):
            read_retention(tmp_path / "rules.toml")
