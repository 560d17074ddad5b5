"""Whatever is changed, removed or cut off, the chain breaks at it."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.kills import entry
from limitlens.data.errors import IntegrityError
from limitlens.data.storage import file_sha256
from limitlens.limits.chain import next_head
from limitlens.limits.erasing import LegalHold, record_legal_hold
from limitlens.limits.exchanges import Exchange, record_exchange
from limitlens.limits.hold import Hold
from limitlens.limits.ledger import Ledger
from limitlens.limits.notices import Sending, record_letters, record_sending
from limitlens.limits.override import Restoration
from limitlens.limits.registry import Registry
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import a_letter, order, quiet, recorded, records_of, sql

pytestmark = pytest.mark.slow


def test_verify_counts_runs_overrides_and_revisions_in_the_order_of_recording(small: Ledger) -> None:
    """Revisions between, before and behind the others; the head is that of the last link."""
    for number in (1, 3):
        run, _, attributions = entry(number, 20)
        known_by = run.as_of + timedelta(days=30)
        small.append_revision(run, known_by, attributions, known_rows=5, late_rows=1)
        order(small, number)
    small.append(*entry(4, 20))
    assert small.verify() == 14
    assert small.heads()[small.runs()[-1].run_id] == small.head()


def test_verify_counts_links_of_every_kind_whatever_came_between_them(tmp_path: Path) -> None:
    """Kinds in another order than the chain collects them in, twice."""
    ledger = Ledger(tmp_path)
    for number in (1, 2):
        run, decisions, attributions = entry(number, 20)
        ledger.append(run, decisions, attributions)
        line = ("A000000001", run.as_of, run.as_of, number, 0, 700_00, True, 0.02, None, None, "Chen Wei", "came late")
        ledger.record_restoration(Restoration(*line))
        ledger.open_hold(Hold("payment", run.as_of, run.as_of, "check", "no rows"))
        ledger.release_hold(number, "true", run.as_of, "Chen Wei", "a holiday")
        ledger.append_revision(run, run.as_of, attributions, known_rows=5, late_rows=1)
        ledger.note(run.as_of, (run.model_version, run.model_digest, run.policy_digest), decisions)
        Registry(tmp_path).record_policy(f"{number}", "a policy")
        record_letters(tmp_path, [a_letter(f"A{number}", run.as_of)], run.as_of)
        record_sending(tmp_path, Sending(number, (), "sent", run.as_of, "Chen Wei", "app"))
        assert ledger.verify() == 9 * number


def edit_a_cell(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "decisions").glob("*.parquet"))[1]
    table = pq.read_table(path)
    limits = table["limit_cents"].to_pylist()
    pq.write_table(table.set_column(4, table.schema.field(4), pa.array([1, *limits[1:]], pa.int64())), path)
    return path.name


def truncate(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "attributions").glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-9])
    return path.name


def remove(ledger: Ledger) -> str:
    path = sorted((ledger.workspace / "attributions").glob("*.parquet"))[2]
    path.unlink()
    return path.name


SECOND = f"run {entry(2, 1)[0].run_id[:12]} of 2026-01-02"
THIRD = f"run {entry(3, 1)[0].run_id[:12]} of 2026-01-03"


@pytest.mark.parametrize(
    "strike",
    [
        edit_a_cell,
        truncate,
        remove,
        sql("UPDATE runs SET model_version = 'x' WHERE rowid = 2", SECOND),
        sql("UPDATE runs SET head = 'x' WHERE rowid = 2", SECOND),
        sql("UPDATE overrides SET runs_before = 3 WHERE id = 1", SECOND),
        sql("UPDATE overrides SET reason = 'x' WHERE id = 2", "override 2 of account A000000001"),
        sql("DELETE FROM overrides WHERE id = 2", THIRD),
        sql("DELETE FROM runs WHERE rowid = 1", ""),
    ],
)
def test_verify_names_the_first_broken_link(strike: Callable[[Ledger], str], small: Ledger) -> None:
    named = strike(small)
    with pytest.raises(IntegrityError, match="first broken link") as told:
        small.verify()
    assert named in str(told.value)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("revisions SET late_rows = 7 WHERE rowid = 2", f"revision of run {entry(2, 1)[0].run_id[:12]} is"),
        ("holds SET reason = 'x' WHERE hold = 2", "hold 2 of payment is"),
        ("releases SET reason = 'x' WHERE hold = 2", "release of hold 2 is"),
        ("restorations SET reason = 'x' WHERE hold = 1", "restoration 3 of account A000000001 is"),
        ("ticks SET decisions = '[]' WHERE tick = 2", "tick 2 of [^ ]+ is"),
        ("records SET sha256 = 'x' WHERE record = 2", "record of policy b is"),
    ],
)
def test_verify_names_a_broken_link_of_a_later_kind(row: str, named: str, tmp_path: Path) -> None:
    ledger = recorded(tmp_path / "whole")
    sql(f"UPDATE {row}", named)(ledger)
    with pytest.raises(IntegrityError, match=f"{named} the first broken link"):
        ledger.verify()


def forge(ledger: Ledger, table: str, column: str) -> None:
    """Change a cell of the last row, and files with it, so that neither its files nor the order give it away."""
    with sqlite3.connect(ledger.workspace / "ledger.sqlite") as connection:
        last = f"FROM {table} WHERE rowid = (SELECT MAX(rowid) FROM {table})"
        forged: str | int = 3 if column == "links_before" else 7
        if (table, column) == ("ticks", "decisions"):
            forged = "[]"
        elif column in {"decisions", "attributions"}:
            forged = f"{column}/another.parquet"
            (path,) = connection.execute(f"SELECT {column} {last}").fetchone()
            (ledger.workspace / path).rename(ledger.workspace / forged)
        if column.endswith("_sha256"):
            (path,) = connection.execute(f"SELECT {column.removesuffix('_sha256')} {last}").fetchone()
            pq.write_table(pq.read_table(ledger.workspace / path).slice(1), ledger.workspace / path)
            forged = file_sha256(ledger.workspace / path)
        connection.execute(f"UPDATE {table} SET {column} = ? {last.removeprefix(f'FROM {table}')}", [forged])
    connection.close()


def kept_twice(path: Path) -> Ledger:
    """Two of each kind of link, legal holds and exchanges among them."""
    ledger = recorded(path)
    for lifted in (False, True):
        hold = LegalHold("A000000001", ledger.runs()[-1].as_of, "Wang Fang", "court order")
        record_legal_hold(ledger.workspace, hold, lifted=lifted)
    for number in (1, 2):
        at = ledger.runs()[-1].as_of
        step = Exchange(f"exchange {number}", "lender-b", "received", at, "Chen Wei", 100, 20, number, "a digest")
        record_exchange(ledger.workspace, step)
    return ledger


@pytest.mark.parametrize(
    "table",
    [
        "runs",
        "overrides",
        "revisions",
        "holds",
        "releases",
        "restorations",
        "ticks",
        "verdicts",
        "records",
        "signers",
        "legal_holds",
        "exchanges",
    ],
)
def test_each_forged_cell_is_seen_by_the_chain_and_would_not_be_by_one_that_leaves_it_out(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sqlite3.connect(kept_twice(tmp_path / "whole").workspace / "ledger.sqlite") as connection:
        columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    kind = table[:-1].replace("_", " ")
    later = {"head", "mlflow_run_id", *(["run_id"] if table == "ticks" else [])}
    for place, column in enumerate(name for name in columns if name not in later):

        def leaving_it_out(head: str, content: Sequence[str | int], at: int = place + 1) -> str:
            return next_head(head, [*content[:at], *content[at + 1 :]] if content[0] == kind else content)

        chained = kept_twice(tmp_path / f"chained {column}")
        forge(chained, table, column)
        with pytest.raises(IntegrityError, match="first broken link: its row was changed"):
            chained.verify()
        if column == "links_before":  # the order gives it away as well
            continue
        with monkeypatch.context() as mutant:
            for room in ("chain", "erasing", "exchanges", "ledger", "records", "signers"):
                mutant.setattr(f"limitlens.limits.{room}.next_head", leaving_it_out)
            unchained = kept_twice(tmp_path / f"without {column}")
            forge(unchained, table, column)
            assert unchained.verify() == 26


def test_a_chain_cut_off_at_its_end_is_known_by_the_head_that_mlflow_keeps(behind: Workspace) -> None:
    decide(behind, progress=quiet)
    assert verify(behind)[0] == len(behind.ledger.runs()) + records_of(behind)
    with sqlite3.connect(behind.root / "ledger.sqlite") as connection:
        gone = connection.execute("SELECT decisions, attributions FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
        connection.execute("DELETE FROM runs WHERE rowid = (SELECT MAX(rowid) FROM runs)")
    connection.close()
    for name in gone:
        (behind.root / name).unlink()
    assert behind.ledger.verify() == len(behind.ledger.runs()) + records_of(behind)
    with pytest.raises(IntegrityError, match="its last runs were removed"):
        verify(behind)


def test_a_run_whose_mlflow_run_is_gone_is_named(small: Ledger) -> None:
    run, head = small.runs()[1].run_id, small.heads()[small.runs()[1].run_id]
    small.link_mlflow([run], "m1")
    small.verify_anchors({"m1": head, "another": small.head()})
    with pytest.raises(IntegrityError, match=f"run {run[:12]}: its MLflow run m1 is gone"):
        small.verify_anchors({"another": head})


def test_a_revision_whose_mlflow_run_is_gone_is_named_and_a_head_that_is_none_of_the_chain(tmp_path: Path) -> None:
    ledger = recorded(tmp_path / "whole")
    ledger.link_revisions("m2")
    ledger.verify_anchors({"m2": ledger.head()})
    with pytest.raises(IntegrityError, match="its MLflow run m2 is gone"):
        ledger.verify_anchors({"m1": ledger.head()})
    with pytest.raises(IntegrityError, match=r"does not hold the head 000000000000 that MLflow run m2 recorded"):
        ledger.verify_anchors({"m2": "0" * 64})
