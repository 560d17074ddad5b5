"""An anchor outside the workspace proves its past; what was changed since is named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, IntegrityError
from limitlens.limits.anchor import Anchor, checked, signed
from limitlens.limits.chain import links, next_head
from limitlens.limits.keys import new_key
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.anchoring import anchor, expect_anchored
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace
from tests.test_versions import T0, login

pytestmark = pytest.mark.slow

NOW = datetime(2026, 7, 2, 9, tzinfo=UTC)
SMALL = Anchor("2026-07-02T09:00:00+00:00", 2, "ab")


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


def change(sql: str) -> Callable[[Workspace], None]:
    def changed(space: Workspace) -> None:
        with sqlite3.connect(space.root / "ledger.sqlite") as connection:
            assert connection.execute(sql).rowcount

    return changed


def edited_mark(space: Workspace) -> None:
    mark = next((space.root / "loads").glob("*.json"))
    body = json.loads(mark.read_text("utf-8"))
    body["sources"]["payment"]["quarantined"] = 7
    mark.write_text(json.dumps(body), "utf-8")


def lost_mark(space: Workspace) -> None:
    next((space.root / "loads").glob("*.json")).unlink()


def forged_promotion(space: Workspace) -> None:
    with sqlite3.connect(space.root / "ledger.sqlite") as connection:
        row = "model_version, reviewer, kind, promoted_at"
        connection.execute(f"INSERT INTO promotions ({row}) SELECT {row} FROM promotions WHERE id = 1")


def forged_mark(space: Workspace) -> None:
    """A load that comes before the first."""
    mark = next((space.root / "loads").glob("*.json"))
    (space.root / "loads" / "0000.json").write_bytes(mark.read_bytes())


def cut_off(space: Workspace) -> None:
    with sqlite3.connect(space.root / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM runs WHERE rowid = (SELECT MAX(rowid) FROM runs)")


def rewritten(space: Workspace) -> None:
    """Another run, and every hash after it made anew."""
    with sqlite3.connect(space.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE runs SET backtest = 1 - backtest WHERE rowid = 2")
        head = ""
        for link in links(connection):
            head = next_head(head, link.content)
            table = f"{link.content[0]}s"
            key = connection.execute("SELECT name FROM pragma_table_info(?) WHERE cid = 0", [table]).fetchone()[0]
            connection.execute(f"UPDATE {table} SET head = ? WHERE {key} = ?", [head, link.content[1]])


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (change("UPDATE promotions SET reviewer = 'nobody' WHERE id = 1"), "promotion 1 was changed since"),
        (change("UPDATE promotions SET promoted_at = '2026-01-01' WHERE id = 1"), "promotion 1 was changed since"),
        (change("DELETE FROM promotions WHERE id = 1"), "promotion 1 is gone"),
        (forged_promotion, "promotion 4 is in no link of the chain"),
        (change("UPDATE promotion_reasons SET reason = 'none'"), "promotion 3 was changed since"),
        (change("UPDATE models SET developer = 'nobody'"), "model 1 was changed since"),
        (change("UPDATE models SET model_digest = '0'"), "model 1 was changed since"),
        (change("UPDATE policies SET text = text || ' '"), "policy [0-9a-f]{12} was changed since"),
        (change("DELETE FROM withdrawals"), "withdrawal 1 is gone"),
        (edited_mark, "0001.json: the load was changed since"),
        (lost_mark, "0001.json: the load is gone"),
        (forged_mark, "0000.json: the load is in no link of the chain"),
        (rewritten, "its id does not fit"),
    ],
)
def test_what_was_recorded_is_verified_without_an_anchor(
    tamper: Callable[[Workspace], None], expected: str, copied: Workspace
) -> None:
    copied.registry.record_promotion("1", "Li Na", "override", NOW, approver="Chen Wei", reason="asked for")
    copied.registry.record_withdrawal("1", "Li Na", "too old", NOW)
    verify(copied)
    tamper(copied)
    with pytest.raises(IntegrityError, match=expected):
        verify(copied)


@pytest.mark.parametrize("tamper", [cut_off, rewritten])
def test_a_chain_cut_off_or_written_anew_with_the_heads_of_mlflow_is_named_by_the_anchor(
    tamper: Callable[[Workspace], None], copied: Workspace
) -> None:
    now = anchor(copied, NOW)
    expect_anchored(copied, now)
    tamper(copied)
    with pytest.raises(IntegrityError, match="links of the chain were rewritten"):
        expect_anchored(copied, now)


def test_loads_that_were_decided_on_cannot_be_delivered_anew_as_others(copied: Workspace, tmp_path: Path) -> None:
    lost_mark(copied)
    line = {"account_id": "A1", "opened_at": T0, "known_time": T0, "limit_cents": 100_00, "segment": "new"}
    for source, row in (("accounts", line), ("device", login(1, 1, 0, 2, "D1"))):
        (tmp_path / "in" / source).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "in" / source / "1.parquet")
    check(copied, tmp_path / "in")
    with pytest.raises(IntegrityError, match=r"0001.json: the load was changed since"):
        verify(copied)


def test_a_workspace_may_hold_more_than_its_anchor(copied: Workspace) -> None:
    now, last = anchor(copied, NOW), copied.ledger.last_decisions().to_pandas()
    account = str(last.loc[last["limit_cents"] > 0, "account_id"].iloc[0])
    override(copied, account, at=NOW, actor="Chen Wei", reason="looked at", action="keep")
    copied.registry.record_promotion("1", "Li Na", "review", NOW)
    assert verify(copied, now)[0] == now.links + 4


@pytest.mark.parametrize("tamper", [(lambda text: text.replace('"links": 2', '"links": 3')), lambda text: text[:-9]])
def test_an_anchor_that_was_changed_or_signed_by_another_is_refused(tamper: Callable[[str], str]) -> None:
    private, public = new_key()
    text = signed(SMALL, private)
    assert checked(text, public) == SMALL
    with pytest.raises(IntegrityError, match="not signed with this key"):
        checked(tamper(text), public)
    with pytest.raises(IntegrityError, match="not signed with this key"):
        checked(text, new_key()[1])


@pytest.mark.parametrize("key", [b"", b"no key", new_key()[1]])
def test_what_is_no_private_key_is_refused(key: bytes) -> None:
    with pytest.raises(ConfigError, match="no Ed25519 private key"):
        signed(SMALL, key)


def test_on_the_command_line_an_anchor_is_made_and_checked(
    copied: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    space = ["--workspace", str(copied.root)]
    made = [["ledger", "new-key", "mine"], ["ledger", "anchor", "--key", "mine.pem", "--out", "a.json", *space]]
    for words in made:
        assert CliRunner().invoke(app, words).exit_code == 0
    assert Path("mine.pem").stat().st_mode & 0o77 == 0
    asked = ["ledger", "verify", "--anchor", "a.json", "--public-key", "mine.pub.pem", *space]
    assert "are as they were" in CliRunner().invoke(app, asked).output
    again = CliRunner().invoke(app, ["ledger", "new-key", "mine"])
    assert "File exists" in str(again.exception)


def test_a_model_of_which_a_leaf_was_changed_is_named_by_verify(copied: Workspace) -> None:
    folder = copied.root / copied.registry.models()[0].folder
    path = max(folder.rglob("*.txt"), key=lambda one: one.stat().st_size)
    text = path.read_text("utf-8")
    path.write_text(text.replace("leaf_value=-", "leaf_value=-1", 1), "utf-8")
    with pytest.raises(IntegrityError):
        verify(copied)
