"""A load that was taken back: as if it had never come for decisions to come, as it was for those before."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.data.events import EventStore
from limitlens.features.spine import book
from limitlens.limits.ledger import Ledger
from limitlens.pipeline.answers.status import status
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.stood_on import stood_on
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.withdraw_load import Withdrawn, withdraw_load
from limitlens.pipeline.workspace import Workspace
from tests.test_holds import SECOND
from tests.test_versions import T0, Row, login

pytestmark = pytest.mark.slow

NOW = datetime(2026, 12, 1, tzinfo=UTC)
LATER = SECOND + timedelta(days=30)


def quiet(_: str) -> None:
    """Progress nobody reads."""


def take_back(space: Workspace, load: str) -> Withdrawn:
    return withdraw_load(space, load, at=NOW, actor="Chen Wei", reason="the file of another year")


def visible(store: EventStore) -> dict[str, Any]:
    """What the latest version of each event says, in plain Python; retracted ones are left out."""
    last: dict[str, Row] = {}
    rows = run_sql(store.relation("device")).to_pylist()
    for row in sorted(rows, key=lambda row: (row["known_time"], row["delivered_known_time"])):
        last[row["event_id"]] = row
    return {event: (row["account_id"], row["device_id"]) for event, row in last.items() if not row["retracted"]}


def delivered(space: Workspace, folder: Path, rows: Sequence[Row]) -> None:
    for source in ("accounts", "device"):
        (folder / source).mkdir(parents=True)
    accounts = [{"account_id": "A1", "opened_at": T0, "known_time": T0, "limit_cents": 100_00, "segment": "new"}]
    pq.write_table(pa.Table.from_pylist(accounts), folder / "accounts/1.parquet")
    pq.write_table(pa.Table.from_pylist([login(0, 1, 0, 1, "D0"), *rows]), folder / "device/1.parquet")
    check(space, folder, quiet)


@st.composite
def _histories(draw: st.DrawFn) -> tuple[list[list[Row]], list[int]]:
    """Loads whose versions have times of their own, and some of them in the order in which they are taken back."""
    count = draw(st.integers(2, 4))
    loads = []
    for load in range(count):
        keys = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=5, unique=True))
        devices = st.sampled_from(["D1", "D2", "D3"])
        loads.append([login(event, 1, 0, 2 + 5 * day + load, draw(devices)) for event, day in keys])
    gone = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
    return loads, gone


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only; a workspace that took in one login of one line."""
    folder = tmp_path_factory.mktemp("begun")
    delivered(Workspace(folder / "work"), folder / "first", [])
    return folder / "work"


@settings(max_examples=25)
@given(history=_histories())
def test_what_is_seen_afterwards_is_what_the_other_loads_brought(
    begun: Path, history: tuple[list[list[Row]], list[int]]
) -> None:
    loads, gone = history
    with tempfile.TemporaryDirectory() as folder:
        space, other = Workspace(Path(folder) / "work"), Workspace(Path(folder) / "other")
        for one in (space, other):
            shutil.copytree(begun, one.root)
        for number, rows in enumerate(loads):
            delivered(space, Path(folder) / f"load {number}", rows)
            if number not in gone:
                delivered(other, Path(folder) / f"other {number}", rows)
        for number in gone:
            take_back(space, f"{number + 2:04d}")
        assert visible(space.events) == visible(other.events)


def test_what_is_delivered_again_after_a_withdrawal_counts_be_it_the_same_or_corrected(tmp_path: Path) -> None:
    space, first = Workspace(tmp_path / "work"), {"E0": ("A1", "D0")}
    delivered(space, tmp_path / "first", [])
    wrong = [login(1, 1, 0, 2, "wrong"), login(2, 1, 0, 2, "right")]
    delivered(space, tmp_path / "wrong", wrong)
    take_back(space, "0002")
    assert visible(space.events) == first
    mended = [{**wrong[0], "device_id": "mended"}, wrong[1]]
    for again in ("mended", "mended again"):
        delivered(space, tmp_path / again, mended)
        assert visible(space.events) == first | {"E1": ("A1", "mended"), "E2": ("A1", "right")}
    assert [load["sources"]["device"]["accepted"] for load in space.events.loads()] == [1, 2, 2, 2]
    delivered(space, tmp_path / "wrong again", wrong)
    assert visible(space.events) == first | {"E1": ("A1", "mended"), "E2": ("A1", "right")}
    take_back(space, "0004")
    assert visible(space.events) == first


def test_a_line_that_a_load_brought_stands_in_no_book_any_more_and_one_it_changed_is_as_before(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    delivered(space, tmp_path / "first", [login(1, 1, 0, 2, "D1")])
    for source in ("accounts", "device"):
        (tmp_path / "second" / source).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([login(0, 1, 0, 1, "D0")]), tmp_path / "second/device/1.parquet")
    row = {"opened_at": T0, "known_time": T0 + timedelta(days=1), "limit_cents": 900_00, "segment": "new"}
    pq.write_table(
        pa.Table.from_pylist([{"account_id": name, **row} for name in ("A1", "A2")]),
        tmp_path / "second/accounts/1.parquet",
    )
    check(space, tmp_path / "second", quiet)
    later = T0 + timedelta(days=9)
    lines = space.features(later).set_index("account_id")
    assert set(lines.index) == {"A1", "A2"}
    take_back(space, "0002")
    lines = book([later], space.events.relations())
    assert dict(zip(lines["account_id"], lines["limit_cents"], strict=True)) == {"A1": 100_00}


def test_a_time_of_another_year_says_no_more_how_far_the_data_reach(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    delivered(space, tmp_path / "first", [login(1, 1, 0, 2, "D1")])
    reach = space.events.reach()
    delivered(space, tmp_path / "wrong", [login(2, 1, 0, 122, "D1")])
    assert space.events.reach() != reach
    take_back(space, "0002")
    assert space.events.reach() == reach


@pytest.fixture
def struck(books: Path, tmp_path: Path) -> Workspace:
    """A book to which a file of another year is to come: a hundred lines are three months late in it."""
    space = Workspace(tmp_path / "struck")
    shutil.copytree(books / "clean", space.root)
    shutil.copytree(books / "after", tmp_path / "after")
    shutil.copytree(books / "whole" / "accounts", tmp_path / "wrong" / "accounts")
    (tmp_path / "wrong" / "payment").mkdir()
    time = SECOND - timedelta(hours=5)
    late = [
        {
            "event_id": f"late {account}",
            "account_id": account,
            "event_time": time,
            "known_time": time + timedelta(hours=1),
            "kind": "status",
            "amount_cents": 0,
            "dpd_days": 95,
            "instalment_id": None,
        }
        for account in space.features(SECOND)["account_id"][:100]
    ]
    pq.write_table(pa.Table.from_pylist(late), tmp_path / "wrong" / "payment" / "1.parquet")
    return space


def as_features(space: Workspace, as_of: datetime) -> pd.DataFrame:
    return space.features(as_of).sort_values("account_id", ignore_index=True)


def test_features_after_a_withdrawal_are_those_without_the_load_and_all_before_is_as_it_was(
    struck: Workspace, tmp_path: Path
) -> None:
    without = Workspace(tmp_path / "without")
    shutil.copytree(struck.root, without.root)
    check(struck, tmp_path / "wrong", quiet)
    after = SECOND + timedelta(days=1)
    as_struck = as_features(struck, after)
    done = take_back(struck, struck.events.loads()[-1]["load"])
    assert done.rows["payment"] == 100
    pd.testing.assert_frame_equal(as_features(struck, after), as_features(without, after))
    assert not as_struck.equals(as_features(without, after))
    pd.testing.assert_frame_equal(as_features(struck, SECOND), as_features(without, SECOND))
    assert replay(struck, quiet) == replay(without, quiet)
    verify(struck)


def test_decisions_that_stood_on_a_load_are_listed_with_what_they_would_have_been(
    struck: Workspace, tmp_path: Path
) -> None:
    """The oracle: the same dates, decided without the load; the state before the first of them is the same."""
    without = Workspace(tmp_path / "without")
    shutil.copytree(struck.root, without.root)
    for space, folders in ((without, ["after"]), (struck, ["wrong", "after"])):
        for folder in folders:
            check(space, tmp_path / folder, quiet)
        decide(space, as_of=SECOND + timedelta(days=3), progress=quiet)
    done = take_back(struck, f"{len(without.events.loads()):04d}")
    listed = stood_on(struck, done.holds).set_index(["account_id", "as_of"])
    date = f"SELECT account_id, as_of, action, limit_cents FROM decisions WHERE as_of > '{SECOND}'"
    struck_rows, right = (space.ledger.query(date).set_index(["account_id", "as_of"]) for space in (struck, without))
    other = (struck_rows["action"] != right["action"]) | (struck_rows["limit_cents"] != right["limit_cents"])
    assert other.any()
    assert set(listed.index) == set(struck_rows.index[other])
    assert (listed["known_now_action"] == right["action"].reindex(listed.index)).all()
    assert (listed["known_now_limit_cents"] == right["limit_cents"].reindex(listed.index)).all()


def test_a_withdrawal_that_was_killed_is_made_up_for_and_never_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Workspace(tmp_path / "work")
    delivered(space, tmp_path / "wrong", [login(1, 1, 0, 2, "wrong")])
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "open_hold", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            take_back(space, "0001")
    done = take_back(space, "0001")
    assert take_back(space, "0001") == done
    assert len(space.events.loads()) == 2
    assert len(space.ledger.holds()) == len(done.holds) == 2
    verify(space)


@pytest.mark.parametrize(
    ("load", "actor", "expected"),
    [
        ("0009", "Chen Wei", "there is no load '0009'; expected one of"),
        ("0002", "Chen Wei", "load 0002 is a withdrawal itself"),
        ("0001", "Li Na", "load 0001 was withdrawn at .* by Chen Wei"),
        ("0001", " ", "needs the name of a person"),
    ],
)
def test_a_withdrawal_that_makes_no_sense_is_refused(load: str, actor: str, expected: str, tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    delivered(space, tmp_path / "wrong", [login(1, 1, 0, 2, "wrong")])
    take_back(space, "0001")
    with pytest.raises(WorkspaceError, match=expected):
        withdraw_load(space, load, at=NOW, actor=actor, reason="again")


def test_on_the_command_line_a_load_is_taken_back(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "work")
    delivered(space, tmp_path / "wrong", [login(1, 1, 0, 2, "wrong")])
    words = ["withdraw-load", "0001", "--by", "Chen Wei", "--reason", "another year", "--workspace", str(space.root)]
    printed = CliRunner().invoke(app, words)
    assert printed.exit_code == 0
    assert "load 0001 taken back by load 0002: 1 of accounts, 2 of device" in printed.output
    assert replace(take_back_again(space), load="0002").withdraws == "0001"


def test_where_nothing_stands_any_more_decisions_are_looked_at_again_all_the_same(struck: Workspace) -> None:
    holds = [hold for load in [one["load"] for one in struck.events.loads()] for hold in take_back(struck, load).holds]
    assert len(stood_on(struck, holds)) > 0
    assert not status(struck, NOW).rows
    assert replay(struck, quiet) > 0


def take_back_again(space: Workspace) -> Withdrawn:
    return withdraw_load(space, "0001", at=NOW, actor="Chen Wei", reason="another year")
