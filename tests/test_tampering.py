"""Every table and file of a workspace, changed by hand: what notices it, without and with all hashes made anew."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limitlens.data.errors import IntegrityError
from limitlens.data.storage import file_sha256
from limitlens.limits.anchor import Anchor
from limitlens.limits.chain import links, next_head
from limitlens.limits.erasing import LegalHold, record_legal_hold
from limitlens.limits.exchanges import Exchange, record_exchange
from limitlens.limits.hold import Hold
from limitlens.limits.notices import Sending, record_letters, record_sending
from limitlens.limits.override import Override, Restoration
from limitlens.limits.records import _things, record_loads, record_tables
from limitlens.limits.registry import SignOff
from limitlens.limits.signed import signable
from limitlens.limits.stress_tests import record_stress_test, stress_test
from limitlens.limits.verdict import Verdict
from limitlens.pipeline.deciding.anchoring import anchor, expect_anchored
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import a_letter

pytestmark = pytest.mark.slow

NOW = datetime(2026, 7, 2, 9, tzinfo=UTC)

#: Tables of the ledger with what has to be rewritten for their links to hold again.
FILES_OF = {"runs": ("decisions", "attributions"), "revisions": ("attributions",), "notices": ("letters",)}


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def full(small_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Anchor]:
    """A workspace with a row in every table of its ledger, and its anchor."""
    root = tmp_path_factory.mktemp("full") / "work"
    shutil.copytree(small_workspace.root, root)
    space = Workspace(root)
    ledger, last = space.ledger, space.ledger.last_decisions()
    run, line = ledger.runs()[-1], str(last["account_id"][0])
    at = run.as_of + timedelta(days=1)
    ledger.record_override(Override(line, at, "keep", 100, 100, "Chen Wei", "looked at"))
    number = ledger.open_hold(Hold("payment", run.as_of, at, "Chen Wei", "no file came"))
    ledger.release_hold(number, "true", at, "Chen Wei", "a holiday")
    restored = (line, at, run.as_of, number, 0, 100, True, 0.02, None, None, "Chen Wei", "came late")
    ledger.record_restoration(Restoration(*restored))
    ledger.record_verdict(
        Verdict(line, run.as_of, run.as_of, at, "overturn", "explained", "moved", "Li Na", "keep"), None
    )
    ledger.note(at, (run.model_version, run.model_digest, run.policy_digest), last.slice(0, 2))
    record_letters(root, [a_letter(line, at)], at)
    record_sending(root, Sending(1, (), "sent", at, "Chen Wei", "app"))
    record_legal_hold(root, LegalHold(line, at, "Li Na", "a lawsuit"), lifted=False)
    record_exchange(root, Exchange("e1", "lender-b", "received", at, "Chen Wei", 1_000, 20, 3, "a digest"))
    space.registry.record_promotion("1", "Li Na", "override", NOW, approver="Chen Wei", reason="asked for")
    space.registry.record_withdrawal("1", "Li Na", "too old", NOW)
    space.registry.record_sign_off(
        SignOff("2", signable(root, space.registry.model("2")), "reject", "Li Na", "the tail", NOW.isoformat())
    )
    record_stress_test(root, stress_test(NOW, run.as_of, run.run_id, {"events": "00"}, results="{}", summary=[1]))
    verify(space)
    return root, anchor(space, NOW)


@pytest.fixture
def copied(full: tuple[Path, Anchor], tmp_path: Path) -> Workspace:
    shutil.copytree(full[0], tmp_path / "work")
    return Workspace(tmp_path / "work")


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    with connection:
        yield connection
    connection.close()


def hashes_anew(space: Workspace) -> dict[str, str]:
    """Every hash of the workspace made anew, as one who knows the code would; the new head of each old one."""
    for mark in (space.root / "loads").glob("*.json"):
        body = json.loads(mark.read_text("utf-8"))
        body["files"] = {name: file_sha256(space.root / name) for name in body["files"] if (space.root / name).exists()}
        mark.write_text(json.dumps(body, indent=1) + "\n", "utf-8")
    heads, head = {}, ""
    with opened(space.root / "ledger.sqlite") as connection:
        for table, files in FILES_OF.items():
            for file in files:
                for (name,) in connection.execute(f"SELECT {file} FROM {table}").fetchall():
                    if (space.root / name).exists():
                        digest = file_sha256(space.root / name)
                        connection.execute(f"UPDATE {table} SET {file}_sha256 = ? WHERE {file} = ?", [digest, name])
        things = _things(connection, space.root)
        for (kind, name), sha256 in things.items():
            connection.execute("UPDATE records SET sha256 = ? WHERE kind = ? AND name = ?", [sha256, kind, name])
        recorded = connection.execute("SELECT kind, name FROM records WHERE kind <> 'table'").fetchall()
        for kind, name in recorded:
            if (kind, name) not in things:
                connection.execute("DELETE FROM records WHERE kind = ? AND name = ?", [kind, name])
        places = {}
        for place, link in enumerate(links(connection)):
            head = next_head(head, link.content)
            table = f"{link.content[0]}s".replace(" ", "_")
            key = connection.execute("SELECT name FROM pragma_table_info(?) WHERE cid = 0", [table]).fetchone()[0]
            connection.execute(f"UPDATE {table} SET head = ? WHERE {key} = ?", [head, link.content[1]])
            heads[link.head], places[place] = head, head
    return heads


def mlflow_anew(space: Workspace, heads: dict[str, str]) -> None:
    """The heads that MLflow keeps rewritten, too."""
    with opened(space.root / "mlflow/mlflow.db") as connection:
        for old, new in heads.items():
            connection.execute("UPDATE tags SET value = ? WHERE value = ?", [new, old])


def other(value: object) -> object:
    """A value of the same type."""
    if isinstance(value, str):
        return value.replace("2026", "2025", 1) if "2026" in value else f"{value[:-1]}~"
    return (value or 0) + 1 if isinstance(value, (int, float)) else 7


TABLES = [
    "runs", "overrides", "revisions", "holds", "releases", "restorations", "ticks", "verdicts", "legal_holds",
    "notices", "sendings", "exchanges", "records", "signers", "policies", "models", "promotions", "promotion_reasons",
    "withdrawals", "stress_tests", "sign_offs",
]  # fmt: skip

#: Cells that may be changed: they are no part of what was recorded, and what they lead to is checked by itself.
LEFT_ALONE = {("runs", "mlflow_run_id"), ("revisions", "mlflow_run_id"), ("ticks", "run_id")}


def test_the_tables_are_all_there_are(full: tuple[Path, Anchor]) -> None:
    with opened(full[0] / "ledger.sqlite") as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {*TABLES, "erasures"}  # of these `test_erase.py` sees what notices a change
        assert all(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES)


def rows_of(space: Workspace, table: str) -> tuple[list[str], list[object]]:
    with opened(space.root / "ledger.sqlite") as connection:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
        row = connection.execute(f"SELECT * FROM {table} ORDER BY rowid DESC LIMIT 1").fetchone()
    return columns, list(row)


def set_cell(space: Workspace, table: str, column: str, value: object) -> None:
    with opened(space.root / "ledger.sqlite") as connection:
        last = f"rowid = (SELECT MAX(rowid) FROM {table})"
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {last}", [value])


@pytest.mark.parametrize("table", TABLES)
def test_a_cell_of_the_ledger_that_was_changed_is_noticed_by_verify(table: str, copied: Workspace) -> None:
    columns, row = rows_of(copied, table)
    unnoticed = []
    for column, value in zip(columns, row, strict=True):
        set_cell(copied, table, column, other(value))
        try:
            verify(copied)
            unnoticed.append((table, column))
        except IntegrityError:
            pass
        set_cell(copied, table, column, value)
    verify(copied)
    assert set(unnoticed) <= LEFT_ALONE


@pytest.mark.parametrize("table", TABLES)
def test_a_row_of_the_ledger_that_is_gone_is_noticed_by_verify(table: str, copied: Workspace) -> None:
    with opened(copied.root / "ledger.sqlite") as connection:
        assert connection.execute(f"DELETE FROM {table} WHERE rowid = (SELECT MAX(rowid) FROM {table})").rowcount
    with pytest.raises(IntegrityError):
        verify(copied)


#: What is built again where it is not what it was, or is read by nobody who decides.
NOT_BELIEVED = ("features/", ".lock", "judged.json", "ledger.sqlite", "mlflow/mlflow.db", "report.html", "gate.json")


def files_of(root: Path) -> list[Path]:
    """The largest file of each folder and kind."""
    largest: dict[tuple[Path, str], Path] = {}
    for path in sorted(root.rglob("*")):
        kind = (path.parent, path.name if path.suffix == ".json" else path.suffix)
        if path.is_file() and path.stat().st_size > largest.get(kind, root / ".lock").stat().st_size:
            largest[kind] = path
    return list(largest.values())


@pytest.mark.parametrize("strike", ["a bit flipped", "gone"])
def test_a_file_that_was_changed_or_is_gone_is_noticed_by_verify(strike: str, copied: Workspace) -> None:
    unnoticed = []
    for path in files_of(copied.root):
        content = path.read_bytes()
        if strike == "gone":
            path.unlink()
        else:
            place = len(content) // 2
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            verify(copied)
            unnoticed.append(path.relative_to(copied.root).as_posix())
        except IntegrityError:
            pass
        path.write_bytes(content)
    verify(copied)
    beside = [name for name in unnoticed if not any(part in name for part in NOT_BELIEVED)]
    assert [name for name in beside if not _of_a_decide_run(copied, name)] == []


def _of_a_decide_run(space: Workspace, name: str) -> bool:
    """What MLflow keeps of other runs than trainings, for people to look at."""
    return name.startswith("mlflow/artifacts/") and "/artifacts/model/" not in name


def a_purchase(space: Workspace) -> None:
    change_parquet(next((space.root / "events/consumption").glob("*.parquet")), "amount_cents")


def a_decision(space: Workspace) -> None:
    change_parquet(max((space.root / "decisions").glob("*.parquet")), "limit_cents")


def a_share(space: Workspace) -> None:
    change_parquet(max((space.root / "attributions").glob("*-final.parquet")), "revision")


def change_parquet(path: Path, column: str) -> None:
    table = pq.read_table(path)
    values = table[column].to_pylist()
    changed = pa.array([*values[:-1], (values[-1] or 0) + 1], table.schema.field(column).type)
    pq.write_table(table.set_column(table.column_names.index(column), table.schema.field(column), changed), path)


def a_load(space: Workspace) -> None:
    """Its mark, and with it all that it brought."""
    next((space.root / "loads").glob("*.json")).unlink()


def cell(table: str, column: str) -> Callable[[Workspace], None]:
    def change(space: Workspace) -> None:
        columns, row = rows_of(space, table)
        set_cell(space, table, column, other(row[columns.index(column)]))

    return change


STRIKES = {
    "a purchase": a_purchase,
    "a decision": a_decision,
    "a share of a cause": a_share,
    "a load that is gone": a_load,
    "a run": cell("runs", "backtest"),
    "an override": cell("overrides", "limit_cents"),
    "a hold": cell("holds", "reason"),
    "a verdict": cell("verdicts", "words"),
    "a promotion": cell("promotions", "reviewer"),
    "a withdrawal": cell("withdrawals", "reason"),
    "a sign-off": cell("sign_offs", "verdict"),
    "a developer": cell("models", "developer"),
}


RECORDED_SINCE = {"an override", "a hold", "a verdict", "a promotion", "a withdrawal", "a sign-off"}


@pytest.mark.parametrize("what", STRIKES)
def test_with_all_hashes_made_anew_mlflow_gives_it_away_and_with_its_heads_too_the_anchor(
    what: str, copied: Workspace, full: tuple[Path, Anchor]
) -> None:
    STRIKES[what](copied)
    with pytest.raises(IntegrityError):
        verify(copied)
    heads = hashes_anew(copied)
    if what not in RECORDED_SINCE:  # MLflow keeps the heads of the runs that came before these
        with pytest.raises(IntegrityError, match=r"does not hold the head|gone or records no head|its id does not fit"):
            verify(copied)
    mlflow_anew(copied, heads)
    with pytest.raises(IntegrityError, match="since the anchor"):
        expect_anchored(copied, full[1])


def test_a_table_of_features_that_was_changed_is_not_believed(copied: Workspace, tmp_path: Path) -> None:
    as_of = copied.ledger.runs()[-1].as_of
    expected = score(copied, as_of, tmp_path / "before.parquet", model_version="2", progress=quiet)
    table = max((copied.root / "features").rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    change_parquet(table, "dpd_days" if "dpd_days" in pq.read_schema(table).names else pq.read_schema(table).names[5])
    mark = next(path for path in (copied.root / "features").rglob("*.json") if table.name in path.read_text("utf-8"))
    body = json.loads(mark.read_text("utf-8")) | {"sha256": file_sha256(table)}
    mark.write_text(json.dumps(body) + "\n", "utf-8")
    again = score(copied, as_of, tmp_path / "after.parquet", model_version="2", progress=quiet)
    assert expected.rows == again.rows
    assert (tmp_path / "before.parquet").read_bytes() == (tmp_path / "after.parquet").read_bytes()


def test_a_run_of_which_the_id_does_not_fit_to_what_went_in_is_named_with_all_hashes_made_anew(
    copied: Workspace,
) -> None:
    """It is said to be no backtest."""
    with opened(copied.root / "ledger.sqlite") as connection:
        connection.execute("UPDATE runs SET backtest = 1 - backtest WHERE rowid = 3")
    mlflow_anew(copied, hashes_anew(copied))
    with pytest.raises(IntegrityError, match="its id does not fit"):
        verify(copied)


def of_an_earlier_version(space: Workspace) -> None:
    """The chain as it was before it held records and signers."""
    with opened(space.root / "ledger.sqlite") as connection:
        apart = [
            place
            for table in ("records", "signers")
            for (place,) in connection.execute(f"DELETE FROM {table} RETURNING links_before").fetchall()
        ]
        for table in set(TABLES) - {"records", "signers"}:
            if "links_before" in [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]:
                for (place,) in connection.execute(f"SELECT links_before FROM {table} ORDER BY 1").fetchall():
                    earlier = place - sum(one < place for one in apart)
                    connection.execute(f"UPDATE {table} SET links_before = ? WHERE links_before = ?", [earlier, place])
    mlflow_anew(space, hashes_anew(space))


def an_order(space: Workspace) -> None:
    run, line = space.ledger.runs()[-1], str(space.ledger.last_decisions()["account_id"][0])
    space.ledger.record_override(Override(line, run.as_of, "keep", 100, 100, "Chen Wei", "looked at"))


def a_saying(space: Workspace) -> None:
    run, line = space.ledger.runs()[-1], str(space.ledger.last_decisions()["account_id"][0])
    said = ("overturn", "explained", "moved", "Li Na", "keep")
    space.ledger.record_verdict(Verdict(line, run.as_of, run.as_of, run.as_of, *said), None)


def a_table(space: Workspace) -> None:
    record_tables(space.root, {"features/any.json": "00"})


@pytest.mark.parametrize("first", [an_order, a_saying, a_table, lambda space: record_loads(space.root)])
def test_a_workspace_of_before_there_were_records_holds_whatever_is_done_first(
    first: Callable[[Workspace], None], copied: Workspace
) -> None:
    of_an_earlier_version(copied)
    verify(copied)
    first(copied)
    verify(copied)
    an_order(copied)
    record_loads(copied.root)
    verify(copied)
