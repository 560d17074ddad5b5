"""After an erasure nothing of an account is left; what was recorded about all others holds, to the last bit."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.errors import BusyError, IntegrityError, WorkspaceError
from limitlens.data.lock import building, exclusive
from limitlens.data.storage import file_sha256
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.anchor import checked, signed
from limitlens.limits.chain import next_head
from limitlens.limits.erasing import record_erasure
from limitlens.limits.hold import Hold
from limitlens.limits.keys import new_key
from limitlens.limits.notices import Sending, record_letters, record_sending
from limitlens.limits.records import record_loads
from limitlens.limits.verdict import Verdict
from limitlens.pipeline.answers.report import report
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.anchoring import anchor
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.holds import open_hold
from limitlens.pipeline.privacy.access import access
from limitlens.pipeline.privacy.erase import erase
from limitlens.pipeline.privacy.legal_hold import hold_legally
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.withdraw_load import withdraw_load
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST, a_letter, python, quiet, recorded, without_last
from tests.test_holds import FIRST
from tests.test_watch import DAY, HOUR, line_of, put, takeover

pytestmark = pytest.mark.slow

#: The account that is erased, and what no other row has.
PLANTED, AMOUNT, GOODS, DEVICE, PAYEE, CITY = "客户-KX7731", 77_310_913, "goods-KX", "phone-KX", "payee-KX", "city-KX"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDER: dict[str, Any] = {"at": NOON.replace(day=2), "actor": "Li Na", "reason": "asked for on paper"}


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=UTC)


def a_shared_device(workspace: Workspace) -> tuple[str, str]:
    """A device of another line, and that line."""
    devices = f"SELECT MIN(device_id) AS device, account_id FROM ({workspace.events.relation('device')})"
    last = "SELECT account_id FROM current GROUP BY account_id HAVING ARG_MAX(action, as_of) = 'keep'"
    known = workspace.ledger.query(last)["account_id"]
    sql = f"{devices} WHERE account_id = ANY($lines) GROUP BY account_id ORDER BY account_id LIMIT 1"
    row = run_sql(sql, values={"lines": known.tolist()}).to_pylist()[0]
    return row["device"], row["account_id"]


def planted(folder: Path, shared: str) -> Path:
    """A delivery about one line, which signs in from the device of another; two rows of it are held back."""

    def events(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        whole = {"account_id": PLANTED, "event_time": at(20), "known_time": at(20, 10)}
        empty = {"instalment_id": None} if kind == "pay" else {}
        return [{"event_id": f"{kind}-{n}", **whole, **empty, **row} for n, row in enumerate(rows)]

    goods = {"amount_cents": AMOUNT, "category": GOODS, "channel": "pos"}
    sources = {
        "accounts": [
            {
                "account_id": PLANTED,
                "opened_at": at(10),
                "known_time": at(10, 8),
                "limit_cents": 900_000_00,
                "segment": "salaried",
                "home_city": CITY,
                "employment": "employee",
                "age": 44.25,
                "sex": "x-KX",
            }
        ],
        "consumption": events("buy", [{"kind": "purchase", **goods}, {"kind": "spend", **goods}]),
        "payment": events(
            "pay",
            [
                {"kind": "transfer_out", "amount_cents": AMOUNT + 1, "counterparty": PAYEE},
                {"kind": "transfer_out", "amount_cents": AMOUNT + 1, "counterparty": "platform-0"},
                {"kind": "due", "amount_cents": -AMOUNT, "counterparty": PAYEE},
            ],
        ),
        "device": events(
            "sign-in",
            [
                {"kind": "login", "device_id": DEVICE, "city": CITY},
                {"kind": "login", "device_id": shared, "city": CITY, "event_time": at(21), "known_time": at(21)},
            ],
        ),
    }
    for source, rows in sources.items():
        path = folder / source / "planted.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


def prepared(workspace: Workspace, folder: Path) -> None:
    """The planted line delivered, decided, overruled, judged, held, scored, reported."""
    shared, _ = a_shared_device(workspace)
    until = workspace.ledger.last_moment()
    report_of = check_events(planted(folder, shared), workspace.events, decided_until=until, max_quarantined_share=1.0)
    assert report_of.sources["device"].accepted == 2
    assert sum(report_of.quarantine.values()) == 2
    record_loads(workspace.root)
    decide(workspace, as_of=LAST, progress=quiet)
    override(workspace, PLANTED, at=NOON, actor="Chen Wei", reason=f"paid {AMOUNT} to {PAYEE}", limit_cents=AMOUNT)
    open_hold(workspace, Hold("payment", at(20), NOON, "Li Na", f"{PLANTED} called", "", "account_id", PLANTED))
    said = ("overturn", "explained", f"bought {GOODS}", "Li Na", "keep")
    workspace.ledger.record_verdict(Verdict(PLANTED, LAST, LAST, NOON, *said), None)
    letters = [a_letter(account, LAST) for account in (PLANTED, "A000001")]
    letters[0]["facts"] |= {"limit_before_cents": AMOUNT}
    record_letters(workspace.root, letters, NOON)
    record_sending(workspace.root, Sending(1, (), "returned", NOON, "Li Na", f"{PLANTED} has moved"))
    score(workspace, LAST, workspace.root / "scores.parquet")
    report(workspace, workspace.root / "report.html", quiet)
    with (workspace.root / "audit.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"what": "verdict", "account": PLANTED}, ensure_ascii=False) + "\n")
    (workspace.root / "told.jsonl").write_text(json.dumps({"to": PLANTED, "cents": AMOUNT}) + "\n{}\n", "utf-8")
    (workspace.root / "broken.parquet").write_bytes(b"of somebody else")
    (workspace.root / "page.html").write_text(f"<p>{PLANTED}: {AMOUNT}</p>", "utf-8")


@pytest.fixture(scope="module")
def finished(small_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only; the delivery stands beside it."""
    folder = tmp_path_factory.mktemp("planted")
    prepared(without_last(small_workspace, folder / "work"), folder / "delivery")
    return folder


@pytest.fixture
def with_planted(finished: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(finished / "work", tmp_path / "work")
    return Workspace(tmp_path / "work")


def cells(table: pa.Table) -> Iterator[object]:
    for column in table.columns:
        yield from column.to_pylist()


def traces(root: Path) -> list[str]:
    """Files in which an id or value of the planted line is left, in raw bytes or in decoded cells."""
    texts = [PLANTED, GOODS, DEVICE, PAYEE, CITY, "x-KX"]
    numbers = [AMOUNT, AMOUNT + 1, -AMOUNT]
    raw = [text.encode() for text in texts] + [json.dumps(PLANTED)[1:-1].encode()] + [str(AMOUNT).encode()]
    in_sqlite = [number.to_bytes(4, "big", signed=True) for number in numbers]
    left = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        body = path.read_bytes()
        sought = raw + (in_sqlite if "sqlite" in path.name or "mlflow.db" in path.name else [])
        if any(word in body for word in sought):
            left.append(f"bytes of {path.relative_to(root)}")
        if path.suffix == ".parquet" and path.name != "broken.parquet":
            seen = list(cells(pq.read_table(path)))
            if any(one in numbers for one in seen if isinstance(one, int)) or any(
                text in str(one)
                for one in seen
                if one is not None and not isinstance(one, int | float)
                for text in texts
            ):
                left.append(f"cells of {path.relative_to(root)}")
    return left


def others(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Decisions, splits and rows of all other lines."""
    tables = {name: workspace.ledger.relation(name) for name in ("decisions", "attributions")}
    tables |= workspace.events.relations()
    lines = f"SELECT account_id FROM ({workspace.events.relation('accounts')}) WHERE account_id <> '{PLANTED}'"
    return {
        name: run_sql(f"SELECT * FROM ({sql}) WHERE account_id IN ({lines}) ORDER BY ALL").to_pylist()
        for name, sql in tables.items()
    }


def test_nothing_of_an_erased_account_is_left_and_everything_else_is_as_it_was(with_planted: Workspace) -> None:
    space = with_planted
    assert len(traces(space.root)) > 10
    before, known = others(space), anchor(space, NOON)
    links, _ = verify(space)
    done = erase(space, [PLANTED], **ORDER)
    assert (done.accounts, done.named) == (1, 0)
    assert traces(space.root) == []
    assert others(space) == before
    private, public = new_key()
    assert verify(space, checked(signed(known, private), public))[0] == links + 1
    assert replay(space, quiet) == len(before["decisions"])
    assert PLANTED not in space.ledger.overrides()["account_id"].tolist()
    with pytest.raises(WorkspaceError, match=r"nothing is held about account .*: it was erased"):
        access(space, PLANTED)


def test_access_gives_out_all_that_an_erasure_takes_away(with_planted: Workspace) -> None:
    held = access(with_planted, PLANTED)
    counts = {part: len(rows) for part, rows in held.items() if rows}
    expected = {"accounts": 1, "consumption": 1, "payment": 2, "device": 2, "protected": 1, "quarantine": 2}
    expected |= {"decisions": 1, "overrides": 1, "verdicts": 1, "holds": 1, "letters": 1, "features": 1, "audit": 1}
    assert {part: counts[part] for part in expected} == expected
    assert held["consumption"][0]["amount_cents"] == AMOUNT
    assert held["protected"][0]["age"] == 44.25


def told(workspace: Workspace, *words: str) -> BaseException | None:
    return CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)]).exception


def test_what_others_share_with_an_erased_account_counts_on_for_them(with_planted: Workspace) -> None:
    space = with_planted
    _, neighbour = a_shared_device(space)
    shared = CATALOGUE.only({"device_ring_max_30d", "device_ring_max_ever", "payee_ring_mean_90d"})

    def features() -> pd.DataFrame:
        relations = space.relations(shared)
        lines = book([LAST], relations)[["account_id", "as_of", "known_by"]]
        return build_table(shared, lines[lines["account_id"] != PLANTED], relations)

    before = features()
    assert before.set_index("account_id").loc[neighbour, "device_ring_max_ever"] == 2
    erase(space, [PLANTED], **ORDER)
    assert features().equals(before)
    [link] = run_sql(f"FROM ({space.events.relation('device')}) WHERE account_id LIKE 'erased-%'").to_pylist()
    kept = {"account_id", "event_id", "device_id", "event_time", "known_time", "delivered_known_time", "kind"}
    assert {name for name, cell in link.items() if cell is not None} == {*kept, "event_no", "correction"}
    erase(space, [neighbour], **ORDER)
    left = f"FROM ({space.events.relation('device')}) WHERE account_id = $account"
    assert len(run_sql(left, values={"account": link["account_id"]})) == 0  # it linked nobody but those two
    verify(space)
    replay(space, quiet)


def test_what_is_decided_after_an_erasure_is_what_would_have_been(behind: Workspace, tmp_path: Path) -> None:
    shared, neighbour = a_shared_device(behind)
    check_events(planted(tmp_path / "delivery", shared), behind.events, max_quarantined_share=1.0)
    record_loads(behind.root)
    shutil.copytree(behind.root, tmp_path / "kept")
    both = Workspace(tmp_path / "kept"), behind
    erase(behind, [PLANTED], **ORDER)
    for space in both:
        decide(space, as_of=LAST, progress=quiet)
        verify(space)
    decided = [
        space.ledger.query(
            "SELECT * EXCLUDE (run_id) FROM current WHERE as_of = $last AND account_id <> $gone ORDER BY account_id",
            {"last": LAST, "gone": PLANTED},
        )
        for space in both
    ]
    assert neighbour in set(decided[0]["account_id"])
    assert decided[0].equals(decided[1])
    replay(behind, quiet)


def test_a_delivery_that_comes_again_does_not_bring_an_erased_account_back(
    with_planted: Workspace, finished: Path
) -> None:
    erase(with_planted, [PLANTED], **ORDER)
    loads = with_planted.events.loads()
    came = check_events(finished / "delivery", with_planted.events, decided_until=LAST)
    assert {name: (one.rows_in, one.erased, one.deduplicated) for name, one in came.sources.items() if one.files} == {
        "accounts": (1, 1, 1),
        "consumption": (2, 2, 2),
        "payment": (3, 3, 3),
        "device": (2, 2, 2),
    }
    assert "2 rows: 0 accepted, 0 quarantined, 2 known already (2 of erased accounts), 0 stamped" in "\n".join(
        came.lines()
    )
    assert with_planted.events.loads() == loads
    assert traces(with_planted.root) == []


def test_rows_that_cannot_be_read_do_not_bring_it_back_either(with_planted: Workspace, tmp_path: Path) -> None:
    erase(with_planted, [PLANTED], **ORDER)
    lines = pq.read_table(with_planted.root / "events" / "accounts" / "0001.parquet").slice(0, 1)
    names = ["account_id", "opened_at", "known_time", "limit_cents", "segment"]
    for source in ("accounts", "consumption"):
        (tmp_path / "again" / source).mkdir(parents=True)
    pq.write_table(lines.select(names), tmp_path / "again" / "accounts" / "a.parquet")
    header = "event_id,account_id,event_time,known_time,kind,amount_cents,category,channel\n"
    rows = f'e1,{PLANTED},2026-06-20,2026-06-20\ne2," {PLANTED} ",2026-06-20,2026-06-20,purchase,{AMOUNT},{GOODS},pos\n'
    (tmp_path / "again" / "consumption" / "b.csv").write_text(header + rows, "utf-8")
    came = check_events(tmp_path / "again", with_planted.events, max_quarantined_share=1.0)
    assert came.sources["consumption"].erased == 2
    assert traces(with_planted.root) == []


def test_the_watch_forgets_an_erased_account_and_does_not_take_it_in_again(space: Workspace, inbox: Path) -> None:
    account, other, noon = line_of(space), line_of(space, 1), FIRST + 12 * HOUR
    rows = takeover(account, noon)
    put(inbox, "a", rows)
    put(inbox, "b", takeover(other, noon))
    assert len(tick(space, inbox, noon + 2 * HOUR).decisions) == 2
    erase(space, [account], **ORDER)
    put(inbox, "c", rows)
    again = tick(space, inbox, noon + 4 * HOUR)
    assert (again.rows, again.deduplicated, again.quarantined) == (9, 9, 0)
    assert [row for one in space.ledger.pending_ticks() for row in one.decisions["account_id"].to_pylist()] == [other]
    decide(space, until=FIRST + DAY)
    assert replay(space) == len(space.ledger.query("FROM decisions"))
    verify(space)
    for path in space.root.glob("*.sqlite*"):
        assert account.encode() not in path.read_bytes(), path


def test_an_erasure_killed_at_any_change_of_a_file_is_finished_byte_for_byte(finished: Path) -> None:
    done = python("-m", "benchmarks.erasure_kills", str(finished / "work"), PLANTED, "--every", "23")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | " in done.stdout


def test_an_unfinished_erasure_is_finished_before_anything_else_is_written(
    with_planted: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="power cut"):
        patched.setattr("limitlens.pipeline.privacy.erase.rewrite", _power_cut)
        erase(with_planted, [PLANTED], **ORDER)
    for words in (["decide"], ["ledger", "verify"], ["holds", "open", "payment", "--since", "2026-06-01"]):
        more = ["--by", "Li Na", "--reason", "seen"] if words[0] == "holds" else []
        ended = told(with_planted, *words, *more)
        assert isinstance(ended, WorkspaceError), words
        assert "an erasure is not finished; run limitlens erase --resume" in str(ended)
    assert told(with_planted, "erase", "--resume") is None
    assert traces(with_planted.root) == []
    assert told(with_planted, "ledger", "verify") is None


def _power_cut(*_: object) -> None:
    raise RuntimeError("power cut")


def test_an_erasure_waits_for_nobody_and_nobody_writes_beside_it(with_planted: Workspace) -> None:
    with exclusive(with_planted.root, "decide"), pytest.raises(BusyError, match="a run is in progress"):
        erase(with_planted, [PLANTED], **ORDER)
    with building(with_planted.root), pytest.raises(BusyError, match="are being made of its rows"):
        erase(with_planted, [PLANTED], **ORDER)
    assert len(traces(with_planted.root)) > 10


def test_a_legal_hold_beats_an_erasure_and_is_on_record(with_planted: Workspace) -> None:
    order: dict[str, Any] = {"at": NOON, "actor": "Wang Fang", "reason": "court order 12"}
    hold_legally(with_planted, PLANTED, **order, lift=False)
    with pytest.raises(
        WorkspaceError, match=r"Wang Fang ordered on 2026-07-01T12:00:00 that it is kept \(court order 12\)"
    ):
        erase(with_planted, [PLANTED], **ORDER)
    with pytest.raises(WorkspaceError, match="is kept already"):
        hold_legally(with_planted, PLANTED, **order, lift=False)
    hold_legally(with_planted, PLANTED, **order, lift=True)
    links, _ = verify(with_planted)
    erase(with_planted, [PLANTED], **ORDER)
    assert verify(with_planted)[0] == links + 1
    assert traces(with_planted.root) == []


def test_an_erasure_says_what_it_needs(with_planted: Workspace) -> None:
    for accounts, order, words in (
        (["A9"], ORDER, "nothing is held about A9"),
        ([PLANTED], {**ORDER, "reason": f"{PLANTED} asked"}, "may not name the account"),
        ([PLANTED], {**ORDER, "actor": " "}, "needs the name of a person and a reason"),
    ):
        with pytest.raises(WorkspaceError, match=words):
            erase(with_planted, accounts, **order)
    erase(with_planted, [PLANTED], **ORDER)
    assert erase(with_planted, [PLANTED], **ORDER).accounts == 0


def edited(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")


def test_what_is_changed_after_an_erasure_is_noticed(with_planted: Workspace) -> None:
    erase(with_planted, [PLANTED], **ORDER)
    root, mark = with_planted.root, with_planted.root / "erasures" / "0001.json"
    body = json.loads(mark.read_text("utf-8"))
    recorded_file = next(path for path in body["files"] if path.startswith("events/"))
    (before, after), key = body["files"][recorded_file], root / "erasures" / "key"
    forged = json.dumps({**body, "erasure": 2, "links": {}, "files": {recorded_file: [after, "0" * 64]}})
    sqlite = "UPDATE overrides SET limit_cents = 5 WHERE account_id LIKE 'erased-%'"
    for strike, named in (
        (lambda: (root / recorded_file).write_bytes(b"other"), recorded_file),
        (lambda: edited(mark, after, before), recorded_file),
        (lambda: edited(mark, '"erasure": 1', '"erasure":  1'), "0001.json"),
        (mark.unlink, "missing or changed|broken link"),
        (lambda: (root / "erasures" / "0002.json").write_text(forged, "utf-8"), "0002.json|missing or changed"),
        (lambda: _execute(root, sqlite), "override 1"),
        (lambda: key.write_text("00" * 32, "ascii"), ""),
    ):
        shutil.rmtree(root.parent / "struck", ignore_errors=True)
        shutil.copytree(root, root.parent / "kept")
        strike()
        if named:
            with pytest.raises(IntegrityError, match=named):
                verify(with_planted)
        else:
            with pytest.raises(IntegrityError, match="another key than that of the erasures"):
                access(with_planted, PLANTED)
        root.rename(root.parent / "struck")
        (root.parent / "kept").rename(root)


def _execute(root: Path, sql: str) -> None:
    with closing(sqlite3.connect(root / "ledger.sqlite")) as connection, connection:
        assert connection.execute(sql).rowcount


def test_links_before_an_erased_one_cannot_be_written_anew(tmp_path: Path) -> None:
    """A link that lost content is bound to all before it, though its own hash cannot be made again."""
    ledger = recorded(tmp_path / "ledger")
    erased = {"A000000001": "erased-1"}
    (ledger.workspace / "erasures").mkdir()
    marks: dict[str, str] = {}

    def write_mark(links: Any) -> tuple[str, str]:
        body = {"erasure": 1, "accounts": [], "key": "", "files": {}, "links": dict(links)}
        (ledger.workspace / "erasures" / "0001.json").write_text(json.dumps(body), "ascii")
        marks.update(links)
        return "erasures/0001.json", file_sha256(ledger.workspace / "erasures" / "0001.json")

    count, heads = ledger.verify(), ledger.chain_heads()
    record_erasure(ledger.workspace, (1, NOON, "Li Na", "asked"), erased, lambda text: text, write_mark)
    assert ledger.verify() == count + 1
    assert ledger.chain_heads()[:-1] == heads
    assert len(marks) == 8  # two overrides, restorations, ticks and verdicts
    with closing(sqlite3.connect(ledger.workspace / "ledger.sqlite")) as connection, connection:
        content = connection.execute("SELECT * FROM runs WHERE rowid = 1").fetchone()
        connection.execute("UPDATE runs SET backtest = 1 - backtest WHERE rowid = 1")
        cells = list(connection.execute("SELECT * FROM runs WHERE rowid = 1").fetchone()[:10])
        connection.execute("UPDATE runs SET head = ? WHERE rowid = 1", [next_head("", ["run", *cells])])
    assert content
    with pytest.raises(IntegrityError, match="override 1 of account erased-1 is the first broken link"):
        ledger.verify()
    assert ledger.chain_heads()[1:] != [*heads[1:], ledger.head()]


def test_the_reason_of_a_withdrawal_that_names_an_erased_account_names_nobody(with_planted: Workspace) -> None:
    """It stands in a mark that the chain holds, and in the holds of the withdrawal."""
    space = with_planted
    withdraw_load(space, "0002", at=at(29), actor="Li Na", reason=f"{PLANTED} was delivered by mistake")
    marks = {path.name: path.read_bytes() for path in (space.root / "loads").iterdir()}
    erase(space, [PLANTED], **ORDER)
    spelled = [PLANTED.encode(), json.dumps(PLANTED)[1:-1].encode()]
    bodies = [path.read_bytes() for path in space.root.rglob("*") if path.is_file()]
    assert not [body for body in bodies if any(one in body for one in spelled)]
    assert space.events.withdrawals()["0002"]["reason"].endswith("was delivered by mistake")
    verify(space)
    rewritten = space.root / "loads" / "0003.json"
    assert {path.name for path in rewritten.parent.iterdir() if path.read_bytes() != marks[path.name]} == {"0003.json"}
    rewritten.write_bytes(marks["0003.json"])
    with pytest.raises(IntegrityError, match="the load was changed since it was recorded"):
        verify(space)


def test_an_id_that_is_a_figure_takes_no_figure_of_a_model_a_run_or_a_policy_with_it(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    space = without_last(small_workspace, tmp_path / "work")
    delivery = planted(tmp_path / "delivery", a_shared_device(space)[0])
    for path in delivery.glob("*/*.parquet"):
        table = pq.read_table(path)
        ids = pa.array(["90"] * len(table))
        pq.write_table(table.set_column(table.column_names.index("account_id"), "account_id", ids), path)
    check_events(delivery, space.events, decided_until=space.ledger.last_moment(), max_quarantined_share=1.0)
    record_loads(space.root)
    (space.root / "policy.toml").write_text(space.policy_in_force().text, "utf-8")
    (space.root / "audit.jsonl").write_text('{"account": "90", "cents": 90}\n', "utf-8")

    def kept() -> tuple[dict[str, Any], dict[str, bytes], str]:
        with closing(sqlite3.connect(space.root / "mlflow" / "mlflow.db")) as connection:
            params = dict(connection.execute("SELECT run_uuid || key, value FROM params").fetchall())
        models = [path for path in (space.root / "mlflow").glob("*/*/artifacts/model/*") if path.is_file()]
        return (
            params,
            {path.name: path.read_bytes() for path in models},
            (space.root / "policy.toml").read_text("utf-8"),
        )

    before = kept()
    assert "90" in before[0].values()
    assert any(b"90" in body for body in before[1].values())
    assert erase(space, ["90"], **ORDER).accounts == 1
    assert kept() == before
    assert '"90"' not in (space.root / "audit.jsonl").read_text("utf-8")
    verify(space)
    decide(space, as_of=LAST, progress=quiet)
