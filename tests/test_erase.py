"""After an erasure nothing of an account is left; what was recorded about all others holds, to the last bit."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.errors import BusyError, IntegrityError, WorkspaceError
from limitlens.data.lock import building, exclusive
from limitlens.limits.anchor import checked, new_key, signed
from limitlens.limits.hold import Hold
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
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import LAST, quiet

pytestmark = pytest.mark.slow

#: The account that is erased, and what no other row has.
PLANTED, AMOUNT, GOODS, DEVICE, PAYEE, CITY = "客户-KX7731", 77_310_913, "goods-KX", "phone-KX", "payee-KX", "city-KX"
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ORDER = {"at": NOON.replace(day=2), "actor": "Li Na", "reason": "asked for on paper"}


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2026, 6, day, hour, tzinfo=UTC)


def a_shared_device(workspace: Workspace) -> tuple[str, str]:
    """A device of another line, and that line."""
    devices = f"SELECT MIN(device_id) AS device, account_id FROM ({workspace.events.relation('device')})"
    lines = "SELECT account_id FROM current WHERE as_of >= '2026-06-01' AND action = 'keep'"
    known = workspace.ledger.query(lines)["account_id"]
    sql = f"{devices} WHERE account_id = ANY($lines) GROUP BY account_id ORDER BY account_id LIMIT 1"
    row = run_sql(sql, values={"lines": known.tolist()}).to_pylist()[0]
    return row["device"], row["account_id"]


def planted(folder: Path, shared: str) -> Path:
    """A delivery about one line, which signs in from the device of another; two rows of it are held back."""

    def events(kind: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        whole = {"account_id": PLANTED, "event_time": at(20), "known_time": at(20, 10)}
        return [{"event_id": f"{kind}-{n}", **whole, **row} for n, row in enumerate(rows)]

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
    report_of = check_events(planted(folder, shared), workspace.events, decided_until=LAST, max_quarantined_share=1.0)
    assert report_of.sources["device"].accepted == 2
    assert sum(report_of.quarantine.values()) == 2
    decide(workspace, as_of=LAST, progress=quiet)
    override(workspace, PLANTED, at=NOON, actor="Chen Wei", reason=f"paid {AMOUNT} to {PAYEE}", limit_cents=AMOUNT)
    open_hold(workspace, Hold("payment", at(20), NOON, "Li Na", f"{PLANTED} called", "", "account_id", PLANTED))
    said = ("overturn", "explained", f"bought {GOODS}", "Li Na", "keep")
    workspace.ledger.record_verdict(Verdict(PLANTED, LAST, LAST, NOON, *said), None)
    score(workspace, LAST, workspace.root / "scores.parquet")
    report(workspace, workspace.root / "report.html", quiet)
    with (workspace.root / "audit.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"what": "verdict", "account": PLANTED}, ensure_ascii=False) + "\n")
    (workspace.root / "page.html").write_text(f"<p>{PLANTED}: {AMOUNT}</p>", "utf-8")


@pytest.fixture
def with_planted(behind: Workspace, tmp_path: Path) -> Workspace:
    prepared(behind, tmp_path / "planted")
    return behind


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
        if path.suffix == ".parquet":
            seen = list(cells(pq.read_table(path)))
            if any(one in numbers for one in seen if isinstance(one, int)) or any(
                text in str(one) for one in seen if one is not None and not isinstance(one, int | float) for text in texts
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
    done = erase(space, [PLANTED], **ORDER)  # type: ignore[arg-type]
    assert (done.accounts, done.named) == (1, 0)
    assert traces(space.root) == []
    assert others(space) == before
    private, public = new_key()
    assert verify(space, checked(signed(known, private), public))[0] == links + 1
    assert replay(space, quiet) == len(before["decisions"])
    assert PLANTED not in space.ledger.overrides()["account_id"].tolist()
    with pytest.raises(WorkspaceError, match="nothing is held about account .*: it was erased"):
        access(space, PLANTED)


def test_access_gives_out_all_that_an_erasure_takes_away(with_planted: Workspace) -> None:
    held = access(with_planted, PLANTED)
    counts = {part: len(rows) for part, rows in held.items() if rows}
    expected = {"accounts": 1, "consumption": 1, "payment": 2, "device": 2, "protected": 1, "quarantine": 2}
    expected |= {"decisions": 2, "attributions": 1, "overrides": 1, "verdicts": 1, "holds": 1, "audit": 1}
    assert {part: counts[part] for part in expected} == expected
    assert held["consumption"][0]["amount_cents"] == AMOUNT
    assert held["protected"][0]["age"] == 44.25
