"""Holds: suspect data closes no line and raises none, and costs nothing where it makes no difference."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.errors import InputError, IntegrityError, WorkspaceError
from limitlens.data.events import EventStore
from limitlens.data.incidents import QUARANTINED
from limitlens.data.quality_settings import default_quality
from limitlens.data.quarantine import export_quarantine
from limitlens.data.world import simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import DATA_HOLD
from limitlens.features.table import build_table
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.customer_actions import all_paid
from limitlens.limits.hold import Hold, held
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.override import overridden
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.limits.state import NEVER_DAYS, unpacked
from limitlens.pipeline import check, report, tracking, why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.held_lines import HeldLines, before_fault, with_moments
from limitlens.pipeline.deciding.make_good import harmed, restore
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.reconcile import reconcile
from limitlens.pipeline.deciding.replay import recorded_decisions, replay
from limitlens.pipeline.deciding.review_queue import queue
from limitlens.pipeline.deciding.silent_lines import silent_lines
from limitlens.pipeline.holds import list_holds, open_hold, release_hold
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS
from tests.ledgers import records_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, FIRST, SECOND = (datetime(2025, month, 1, tzinfo=UTC) for month in (9, 10, 11))
FAULT = SECOND - timedelta(days=25)
HOLD = Hold("payment", FAULT, SECOND, "check", "no repayment came", kind="repayment")
ANYWAY = Override("head of credit risk", "a small book")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def deliver(world: Path, out: Path, since: datetime | None, until: datetime, *, gap: bool = False) -> None:
    """What became known in a span of time; with a gap, without the repayments of its last 25 days."""
    for source in ("accounts", "consumption", "payment", "device"):
        (out / source).mkdir(parents=True)
        table = pq.read_table(world / source)
        table = table.filter(pc.less(table["known_time"], until))
        table = table.filter(pc.greater_equal(table["known_time"], since)) if since else table
        if gap and source == "payment":
            lost = pc.and_(pc.equal(table["kind"], "repayment"), pc.greater_equal(table["known_time"], FAULT))
            table = table.filter(pc.invert(lost))
        pq.write_table(table, out / source / f"{source}.parquet")


def make_books(folder: Path) -> None:
    """A book decided in September and October, and the same in November: clean, with a gap, and with the gap held."""
    simulate(folder / "world", accounts=700, months=12, seed=5, futures=0, start=datetime(2025, 1, 1, tzinfo=UTC))
    deliver(folder / "world", folder / "before", None, FIRST)
    deliver(folder / "world", folder / "whole", FIRST, SECOND)
    deliver(folder / "world", folder / "gap", FIRST, SECOND, gap=True)
    deliver(folder / "world", folder / "after", SECOND, SECOND + timedelta(days=5))
    base = Workspace(folder / "base")
    check_events(folder / "before", base.events)
    small = replace(default_settings(), columns=FEW_COLUMNS, n_estimators=20, folds=2, min_data_in_leaf=10)
    train(base, small, at_once(default_policy()), developer="developer")
    promote(base, None, NOW, override=ANYWAY)
    for as_of in (BEFORE, FIRST):
        decide(base, as_of=as_of)
    for name, delivery in (("clean", "whole"), ("struck", "gap"), ("held", "gap")):
        shutil.copytree(base.root, folder / name)
        space = Workspace(folder / name)
        check_events(folder / delivery, space.events, decided_until=FIRST)
        if name == "held":
            open_hold(space, HOLD)
        decide(space, as_of=SECOND)


@pytest.fixture
def held_book(books: Path, tmp_path: Path) -> Workspace:
    """The held book, to be gone on with."""
    shutil.copytree(books / "held", tmp_path / "held")
    return Workspace(tmp_path / "held")


def decided(space: Workspace) -> pd.DataFrame:
    return space.ledger.query(f"SELECT * FROM current WHERE as_of = '{SECOND}' ORDER BY account_id").set_index(
        "account_id"
    )


def test_without_a_hold_the_gap_moves_lines_it_should_not(books: Path) -> None:
    clean, struck = decided(Workspace(books / "clean")), decided(Workspace(books / "struck"))
    worse = struck["action"].isin(["decrease", "freeze", "close"]) & (clean["action"] != struck["action"])
    assert worse.sum() > 5


def test_a_line_is_held_where_the_suspect_rows_make_a_difference_and_nowhere_else(books: Path) -> None:
    """Where both outcomes agree the decision is that of the data as known, to the bit."""
    rows, struck = decided(Workspace(books / "held")), decided(Workspace(books / "struck"))
    alike = pd.Series(True, index=rows.index)
    for what in ("action", "limit_cents"):
        for other in ("before_fault", "if_paid"):
            alike &= rows[f"as_known_{what}"] == rows[f"{other}_{what}"]
    stays = rows["action"] == "hold"
    assert rows["holds"].notna().all()
    assert not (alike & stays & rows["state"].map(lambda s: s["can_draw"])).any()
    assert stays[~alike].all()
    for name in ("action", "limit_cents", "can_draw", "pd"):
        assert (rows.loc[~stays, name] == struck.loc[~stays, name]).all()
    assert (rows["as_known_action"] == struck["action"]).all()


def test_a_held_line_stays_as_it_was_in_both_directions(books: Path) -> None:
    rows = decided(Workspace(books / "held"))
    rows = rows[rows["action"] == "hold"]
    known, before = rows["as_known_limit_cents"], rows["before_fault_limit_cents"]
    assert (rows["limit_cents"] == rows["limit_before_cents"]).all()
    assert (rows["can_draw"] == rows["state"].map(lambda s: s["can_draw"])).all()
    assert (known < before).any()
    assert [list(reasons) for reasons in rows["reasons"]] == [["data_incident"]] * len(rows)


def test_the_split_of_a_held_line_books_to_data_what_behaviour_would_have_moved(books: Path) -> None:
    rows = decided(Workspace(books / "held"))
    rows = rows[(rows["action"] == "hold") & (rows["as_known_limit_cents"] < rows["limit_cents"])]
    shares = rows[[f"share_cents_{p}" for p in ("behaviour", "data", "model", "policy", "state")]]
    assert len(rows)
    assert (shares.sum(axis=1) == 0).all()
    assert (rows["share_cents_data"] > 0).all()
    assert (rows["share_cents_data"] == -rows["share_cents_behaviour"] - rows["share_cents_state"]).all()


def test_held_lines_stand_in_the_queue(books: Path) -> None:
    space = Workspace(books / "held")
    waiting = set(decided(space).query("action == 'hold'").index)
    lines = queue(space, SECOND).lines.set_index("account_id")
    assert waiting <= set(lines.index)
    assert all(list(lines.loc[account, "reasons"]) == ["data_incident"] for account in waiting)


def test_held_decisions_replay_with_both_outcomes_and_a_forged_one_is_refused(held_book: Workspace) -> None:
    assert replay(held_book) == len(held_book.ledger.query("SELECT * FROM decisions"))
    path = sorted((held_book.root / "decisions").glob("*.parquet"))[-1]
    table = pq.read_table(path)
    place = table.schema.get_field_index("before_fault_action")
    forged = pa.array(["close"] * len(table), pa.string())
    pq.write_table(table.set_column(place, table.schema.field(place), forged), path)
    with pytest.raises(IntegrityError, match="before_fault_action is recorded as close"):
        replay(held_book)


def test_after_the_release_held_lines_are_decided_as_if_the_fault_had_never_been(
    books: Path, held_book: Workspace
) -> None:
    waiting = set(decided(held_book).query("action == 'hold'").index)
    check_events(books / "whole", held_book.events, decided_until=SECOND)
    assert release_hold(held_book, 1, "repaired", at=SECOND, actor="Chen Wei", reason="came again") == len(waiting)
    check_events(books / "after", held_book.events, decided_until=SECOND)
    decide(held_book, until=SECOND + timedelta(days=1))
    last = held_book.ledger.last_decisions().to_pandas().set_index("account_id")
    clean = decided(Workspace(books / "clean"))
    assert not (last["action"] == "hold").any()
    assert (last.loc[sorted(waiting), "as_of"] == pd.Timestamp(SECOND + timedelta(days=1))).all()
    equal = last.loc[clean.index, ["limit_cents", "can_draw"]] == clean[["limit_cents", "can_draw"]]
    assert equal.all(axis=1).mean() >= 0.99
    assert replay(held_book) == len(held_book.ledger.query("SELECT * FROM decisions"))


def test_an_excepted_rule_acts_in_spite_of_a_hold() -> None:
    outcomes = {"action": ["freeze", "freeze"], "limit_cents": [1, 1], "can_draw": [False, False]}
    as_known = pd.DataFrame({**outcomes, "fired_rules": [["takeover_signs"], ["pd_freeze"]]})
    before = as_known.assign(action="keep", can_draw=True)
    assert held(as_known, before, ("takeover_signs",)).tolist() == [False, True]
    assert not held(as_known, as_known, ()).any()


@pytest.mark.parametrize("other", [{"action": "review"}, {"limit_cents": 2}, {"can_draw": False}])
def test_each_part_of_an_outcome_alone_makes_a_difference_but_where_an_excepted_rule_fires_now(
    other: dict[str, object],
) -> None:
    known = pd.DataFrame({"action": ["keep"] * 2, "limit_cents": 1, "can_draw": True, "fired_rules": [["a"], ["b"]]})
    before, always = known.assign(**other, fired_rules=[["b"], ["a"]]), np.array([False, False])
    assert held(known, before, ("a",), always=always).tolist() == [False, True]
    assert not always.any()


@given(st.sampled_from(["increase", "unfreeze", "keep", "review", "decrease", "freeze", "close"]), st.booleans())
def test_nothing_moves_a_line_under_a_hold(wanted: str, can_draw: bool) -> None:
    from limitlens.limits.decision import decide as decide_lines

    pds = {"increase": 0.001, "review": 0.13, "decrease": 0.2, "freeze": 0.4, "close": 0.9}
    table = pd.DataFrame({"segment": ["salaried"], "balance_cents": [400_00], DATA_HOLD: [True]})
    state = pd.DataFrame(
        {"limit_cents": [1000_00], "can_draw": [can_draw], "closed": [False], "holdout": [False], "pd_ref": [np.nan],
         "line_age_days": [400], "days_since_change": [400], "days_since_adverse": [400],
         "days_since_pause": [NEVER_DAYS], "watched": [False]}
    )  # fmt: skip
    row = decide_lines(table, np.array([pds.get(wanted, 0.05)]), state, at_once(default_policy())).iloc[0]
    assert (row["action"], row["limit_cents"], row["can_draw"]) == ("hold", 1000_00, can_draw)


@pytest.mark.parametrize(
    ("source", "kind"),
    [("payment", ""), ("payment", "repayment"), ("payment", "transfer_in"), ("consumption", "draw"), ("device", "")],
)
def test_every_column_that_rows_have_a_part_in_is_named(books: Path, source: str, kind: str) -> None:
    """An oracle that takes the rows away and looks which columns move."""
    space = Workspace(books / "base")
    features = space.feature_set(default_settings())
    relations = space.relations(features)
    accounts = space.ledger.last_decisions()["account_id"].to_pandas().iloc[:300]
    spine = pd.DataFrame({"account_id": accounts, "as_of": pd.Timestamp(FIRST), "known_by": pd.Timestamp(FIRST)})
    spine = spine.astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})
    without = f"SELECT * FROM ({relations[source]}) WHERE kind <> '{kind}' AND {bool(kind)}"
    whole, less = build_table(features, spine, relations), build_table(features, spine, {**relations, source: without})
    moved = {name for name in whole.columns if not whole[name].equals(less[name])}
    assert moved
    assert moved <= set(features.columns_reading(source, kind))
    assert set(features.columns_reading(source, kind)) < set(CATALOGUE.columns)


def test_a_slice_touches_its_accounts_only(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "struck", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    open_hold(space, replace(HOLD, slice_column="segment", slice_value="student"))
    check_events(books / "after", space.events, decided_until=SECOND)
    decide(space, as_of=SECOND + timedelta(days=1))
    rows = space.ledger.last_decisions().to_pandas()
    segments = space.events.segments()
    students = rows["account_id"].map(segments) == "student"
    late = rows["as_of"] > pd.Timestamp(SECOND)
    assert (rows.loc[late, "holds"].notna() == students[late]).all()
    assert students[late].any()


def test_files_of_an_older_ledger_are_read(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    for path in (space.root / "decisions").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.select([name for name in table.column_names if name not in DECISIONS.names[-10:]]), path)
    assert space.ledger.last_decisions().schema.names == DECISIONS.names
    assert replay(space) == len(space.ledger.query("SELECT * FROM decisions"))


@pytest.mark.parametrize(
    ("hold", "said"),
    [
        (replace(HOLD, source="weather"), "source 'weather' is unknown"),
        (replace(HOLD, kind="paid"), "payment has no kind 'paid'"),
        (replace(HOLD, slice_column="colour", slice_value="red"), "no column is called 'colour'"),
        (replace(HOLD, slice_column="segment"), "needs a column and a value"),
        (replace(HOLD, reason=" "), "needs a name and a reason"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(books: Path, hold: Hold, said: str) -> None:
    with pytest.raises(WorkspaceError, match=said):
        open_hold(Workspace(books / "held"), hold)


def test_a_slice_is_held_once(held_book: Workspace) -> None:
    assert open_hold(held_book, HOLD) == 1
    assert len(held_book.ledger.holds()) == 1


def test_only_who_the_policy_names_releases(held_book: Workspace) -> None:
    release = {"at": NOW, "reason": "looked at"}
    with pytest.raises(WorkspaceError, match="no hold 2 is in force"):
        release_hold(held_book, 2, "true", actor="Chen Wei", **release)
    with pytest.raises(WorkspaceError, match="name of a person"):
        release_hold(held_book, 1, "true", actor=" ", **release)


def test_holds_are_opened_listed_and_released_from_the_command_line(held_book: Workspace) -> None:
    def run(*words: str) -> str:
        shown = CliRunner().invoke(app, ["holds", *words, "--workspace", str(held_book.root)])
        assert shown.exit_code == 0, shown.output
        return shown.output

    waiting = int((decided(held_book)["action"] == "hold").sum())
    assert f"1  payment repayment, suspect since 2025-10-07  {waiting} lines held  open" in run("list")
    opened = run(
        "open", "device", "--since", "2025-10-20", "--slice", "city=Wuhan", "--by", "Li Na", "--reason", "swap"
    )
    assert "hold 2: device, city Wuhan, suspect since 2025-10-20" in opened
    told = run("release", "1", "--verdict", "repaired", "--by", "Chen Wei", "--reason", "came again")
    assert f"{waiting} lines are decided again" in told
    rows = json.loads(run("list", "--all", "--json"))
    assert [(row["hold"], row["verdict"]) for row in rows] == [(1, "repaired"), (2, None)]
    assert held_book.ledger.verify() == len(held_book.ledger.runs()) + records_of(held_book) + 3
    assert len(list_holds(held_book)) == 1


def test_why_names_the_incident_and_both_outcomes(books: Path) -> None:
    space = Workspace(books / "held")
    rows = decided(space)
    account = str(rows[(rows["action"] == "hold") & (rows["as_known_limit_cents"] < rows["limit_cents"])].index[0])
    answer = why(space, account, SECOND)
    text = render(answer)
    assert answer.data.held is not None
    assert answer.data.held.as_known_action == rows.loc[account, "as_known_action"]
    assert "Hold 1: payment repayment, suspect since 2025-10-07: no repayment came." in text
    assert "So the line stays as it was." in text
    assert "Told to the customer: our records were incomplete." in text
    assert "告知客户：我方记录不完整。" in text


@pytest.fixture
def repaired(books: Path, tmp_path: Path) -> Workspace:
    """The book that was decided on the gap, once the missing rows came and somebody opened a hold."""
    shutil.copytree(books / "struck", tmp_path / "repaired")
    space = Workspace(tmp_path / "repaired")
    check_events(books / "whole", space.events, decided_until=SECOND)
    open_hold(space, HOLD)
    return space


def test_what_the_fault_did_is_found_and_made_good(books: Path, repaired: Workspace) -> None:
    """Found is what the clean book did not do; afterwards limits, timers and the next decisions are the clean ones."""
    struck, clean = decided(repaired), decided(Workspace(books / "clean"))
    adverse = struck["action"].isin(["decrease", "freeze", "close"])
    expected = struck.index[
        adverse & ((struck["action"] != clean["action"]) | (struck["limit_cents"] != clean["limit_cents"]))
    ]
    found = harmed(repaired, 1)
    assert len(expected)
    assert set(found["account_id"]) <= set(expected)
    assert len(found) >= 0.8 * len(expected)
    later = SECOND + timedelta(hours=3)
    done = restore(repaired, 1, at=later, actor="Chen Wei", reason="repayments came late")
    assert [one.account_id for one in done] == list(found["account_id"])
    assert harmed(repaired, 1)["left_alone"].all()
    assert not restore(repaired, 1, at=later + timedelta(hours=1), actor="Chen Wei", reason="again")
    release_hold(repaired, 1, "repaired", at=later, actor="Chen Wei", reason="came")
    check_events(books / "after", repaired.events, decided_until=SECOND)
    decide(repaired, as_of=SECOND + timedelta(days=2))
    last = unpacked(repaired.ledger.last_decisions()).set_index("account_id").loc[found["account_id"]]
    before = unpacked(repaired.ledger.table("SELECT * FROM decisions")).set_index(["account_id", "as_of"])
    before = before.loc[list(zip(found["account_id"], found["as_of"], strict=True))].droplevel(1)
    for name in ("limit_cents", "can_draw", "closed", "pd_ref", "changed_at", "adverse_at"):
        assert last[f"state.{name}"].equals(before[f"state.{name}"]), name
    assert not last["action"].isin(["freeze", "close"]).any()
    assert replay(repaired) == len(repaired.ledger.query("SELECT * FROM decisions"))
    repaired.ledger.verify()
    shares = repaired.ledger.query("SELECT * FROM current WHERE revision IS NOT NULL")
    moved = shares[[f"share_cents_{player}" for player in PLAYERS]].sum(axis=1)
    assert (moved == shares["limit_cents"] - shares["limit_before_cents"]).all()


def test_reconcile_names_what_is_to_be_made_good_until_it_is(books: Path, repaired: Workspace, tmp_path: Path) -> None:
    deliver(books / "world", tmp_path / "rest", SECOND, SECOND + timedelta(days=32))
    found = harmed(repaired, 1)["account_id"]
    one = found.iloc[0]
    restore(repaired, 1, at=SECOND + timedelta(hours=3), actor="Chen Wei", reason="came late", accounts=[one])
    check_events(tmp_path / "rest", repaired.events, decided_until=SECOND)
    decide(repaired, as_of=SECOND + timedelta(days=31))
    done = reconcile(repaired)
    named = {account for account, date in done.to_make_good if date == "2025-11-01"}
    assert named >= set(found) - {one}
    assert one not in named
    struck, clean = decided(repaired), decided(Workspace(books / "clean"))
    for account in named - set(found):  # what came late for another reason: nothing the hold is about
        assert struck.loc[account, "action"] == clean.loc[account, "action"]
    assert "to be made good" in "\n".join(done.lines())


def test_a_notice_that_was_made_good_is_withdrawn(repaired: Workspace) -> None:
    account = str(harmed(repaired, 1)["account_id"].iloc[0])
    restore(repaired, 1, at=SECOND + timedelta(hours=3), actor="Chen Wei", reason="came late", accounts=[account])
    text = render(why(repaired, account, SECOND))
    assert "Made good, the notice is withdrawn: hold 1" in text
    assert "Told to the customer: our records were incomplete." in text
    assert "What could have been different" not in text
    shown = CliRunner().invoke(app, ["holds", "harmed", "1", "--workspace", str(repaired.root)])
    assert f"{account}  " in shown.output
    assert "left alone: a person or a later decision stands" in shown.output
    with pytest.raises(WorkspaceError, match="harmed no decision about A999999"):
        restore(repaired, 1, at=NOW, actor="Chen Wei", reason="came late", accounts=["A999999"])


def test_a_restored_line_is_as_it_was_whatever_had_become_of_it() -> None:
    now, never = pd.Series([pd.Timestamp(NOW)]).dt.as_unit("us"), pd.Series(pd.DatetimeIndex([pd.NaT], tz="UTC"))
    never = never.dt.as_unit("us")
    state = pd.DataFrame({"limit_cents": [0], "can_draw": False, "closed": True, "holdout": False, "pd_ref": 0.5})
    state = state.assign(opened_at=now, changed_at=now, adverse_at=now, paused_at=never, watched=False)
    order = pd.DataFrame({"action": ["restore"], "limit_cents": [700_00], "can_draw": True, "pd_ref": 0.02})
    after = overridden(state, order.assign(at=now, changed_at=never, adverse_at=never), pd.Series([0.5])).iloc[0]
    assert (after["limit_cents"], after["can_draw"], after["closed"], after["pd_ref"]) == (700_00, True, False, 0.02)
    assert (after["days_since_change"], after["days_since_adverse"]) == (NEVER_DAYS, NEVER_DAYS)


def test_check_holds_what_did_not_come_and_lets_go_once_it_did(books: Path, tmp_path: Path) -> None:
    """As a person would: a delivery without repayments, an exit code of its own, the rows a day later."""
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")

    def deliver_from_the_command_line(name: str, day: int) -> tuple[int, str]:
        loaded = (SECOND + timedelta(days=day)).isoformat()
        words = ["check", str(books / name), "--workspace", str(space.root), "--loaded-at", loaded]
        shown = CliRunner().invoke(app, words)
        return shown.exit_code, shown.output

    code, said = deliver_from_the_command_line("gap", 1)
    assert code == 8
    assert "hold: payment repayment: rows" in said
    assert ("repayment", "") in {(hold.kind, hold.slice_column) for hold in space.ledger.holds_in_force().values()}
    decide(space, as_of=SECOND)
    assert (decided(space)["action"] == "hold").any()
    deliver_from_the_command_line("whole", 2)
    assert "repayment" not in {hold.kind for hold in space.ledger.holds_in_force().values()}
    assert (space.ledger.holds().set_index("kind")["verdict"] == "repaired")["repayment"]


def test_a_line_with_a_row_in_the_quarantine_is_held_and_no_other(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    shutil.copytree(books / "whole", tmp_path / "whole")
    path = max((tmp_path / "whole" / "payment").glob("*.parquet"), key=lambda one: len(pq.read_table(one)))
    table = pq.read_table(path).to_pandas()
    struck = table.index[table["kind"] == "repayment"][:3]
    table.loc[struck, "amount_cents"] = -1
    table.to_parquet(path)
    space = Workspace(tmp_path / "work")
    check(space, tmp_path / "whole", loaded_at=SECOND + timedelta(days=1))
    decide(space, as_of=SECOND)
    (number,) = (n for n, hold in space.ledger.holds_in_force().items() if hold.slice_column == QUARANTINED)
    rows = space.ledger.query(
        f"SELECT account_id, list_contains(holds, {number}) AS held FROM decisions WHERE as_of = '{SECOND}'"
    )
    touched = set(rows.loc[rows["held"] == True, "account_id"])  # noqa: E712
    assert set(table.loc[struck, "account_id"]) & set(rows["account_id"]) <= touched
    assert touched <= set(table.loc[struck, "account_id"])


def test_a_line_whose_account_came_twice_and_conflicting_is_held_until_it_is_mended(
    books: Path, tmp_path: Path
) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    shutil.copytree(books / "whole", tmp_path / "whole")
    space = Workspace(tmp_path / "work")
    account = str(space.ledger.last_decisions()["account_id"][0])
    line = {"account_id": account, "opened_at": FAULT, "segment": "student"}
    known = {"known_time": SECOND - timedelta(days=1)}
    twice = [{**line, **known, "limit_cents": limit} for limit in (100_00, 900_00)]
    pq.write_table(pa.Table.from_pylist(twice), tmp_path / "whole" / "accounts" / "snapshot.parquet")
    loaded = check(space, tmp_path / "whole", loaded_at=SECOND + timedelta(days=1))
    assert loaded.quarantine == {("accounts", "account_id", "conflicting versions"): 2}
    decide(space, as_of=SECOND)
    rows = decided(space)
    touched = rows.index[rows["holds"].notna() & (rows["action"] == "hold")]
    assert list(touched) == [account]
    assert replay(space, account_id=account)
    mended = [{**line, "known_time": SECOND + timedelta(hours=1), "limit_cents": 100_00}]
    pq.write_table(pa.Table.from_pylist(mended), tmp_path / "whole" / "accounts" / "snapshot.parquet")
    check(space, tmp_path / "whole", loaded_at=SECOND + timedelta(days=1))
    assert "accounts" not in {hold.source for hold in space.ledger.holds_in_force().values()}


#: Day of a month, days until it is known, withdrawn.
STATUS = st.tuples(st.integers(1, 28), st.sampled_from([0, 1, 5, 9, 40]), st.sampled_from([False, False, False, True]))


def status(month: int, day: int, lag_days: int = 0, *, retracted: bool = False, **other: object) -> dict[str, object]:
    """A status of line A in 2026, known some days after it."""
    time = datetime(2026, month, day, tzinfo=UTC)
    row = {"account_id": "A", "kind": "status", "dpd_days": 0, "retracted": retracted or None, "event_time": time}
    return row | {"known_time": time + timedelta(days=lag_days)} | other


def silent_at(asked: list[datetime], rows: list[dict[str, object]]) -> list[datetime]:
    schema = pa.schema(
        [("account_id", pa.string()), ("kind", pa.string()), ("dpd_days", pa.int64()), ("retracted", pa.bool_()),
         ("event_time", pa.timestamp("us", "UTC")), ("known_time", pa.timestamp("us", "UTC"))]
    )  # fmt: skip
    lines = pd.DataFrame({"account_id": "A", "as_of": pd.to_datetime(asked).as_unit("us")})
    found = silent_lines(lines, {"payment": pa.Table.from_pylist(rows, schema)})
    return [time.to_pydatetime() for time in found["as_of"]]


@pytest.mark.slow
@given(st.lists(st.none() | STATUS | STATUS | STATUS, min_size=8, max_size=8))
def test_a_line_is_silent_when_its_monthly_status_stops(months: list[tuple[int, int, bool] | None]) -> None:
    """A status or none in each month from January to August; asked on days of August and September."""
    rows = [status(month, one[0], one[1], retracted=one[2]) for month, one in enumerate(months, 1) if one]
    asked = [datetime(2026, month, day, tzinfo=UTC) for month in (8, 9) for day in (1, 2, 15, 30)]
    expected = []
    for as_of in asked:
        known = [row for row in rows if row["known_time"] < as_of and not row["retracted"]]
        in_time = {
            row["event_time"].month
            for row in known
            if row["known_time"]
            < datetime(2026, row["event_time"].month + 1, 1, tzinfo=UTC) + (as_of - as_of.replace(day=1))
        }
        last = as_of.month - 1
        if {last - 1, last - 2, last - 3} <= in_time and max(row["event_time"].month for row in known) < last:
            expected.append(as_of)
    assert silent_at(asked, rows) == expected


THREE = [status(4, 28, 4), status(5, 28, 4), status(6, 28, 4)]


@pytest.mark.parametrize(
    ("rows", "silent"),
    [
        (THREE, True),
        (THREE[1:], False),
        ([status(3, 28), *THREE], True),
        ([status(2, 28), *THREE[1:]], False),  # three, and not in a row
        ([*THREE, status(7, 28)], False),  # it came
        ([*THREE, status(7, 28, 7)], True),  # at the moment of the decision, too late
        ([*THREE, status(7, 28, retracted=True)], True),
        ([*THREE, status(7, 28, dpd_days=None)], True),
        ([*THREE, status(7, 28, kind="repayment")], True),
        ([*THREE[:2], status(6, 28, 6)], False),  # June's came no earlier in the month after, either
        ([*THREE[:2], status(6, 28, 5)], True),
        ([*THREE[:2], status(6, 20, 40), status(6, 28, 4)], True),  # one of two is enough
    ],
)  # fmt: skip
def test_a_line_is_silent_after_three_months_in_time_and_none(rows: list[dict[str, object]], silent: bool) -> None:
    asked = datetime(2026, 8, 4, tzinfo=UTC)
    assert silent_at([asked], rows) == [asked] * silent


def test_a_silent_line_is_held_though_nothing_differs() -> None:
    outcomes = pd.DataFrame(
        {"action": ["increase", "keep"], "limit_cents": [2, 1], "can_draw": [True, True], "fired_rules": [[], []]}
    )
    assert held(outcomes, outcomes, (), always=np.array([True, False])).tolist() == [True, False]


def test_decide_names_holds_in_force_and_complains_of_those_nobody_judged(books: Path, held_book: Workspace) -> None:
    check_events(books / "after", held_book.events, decided_until=SECOND)
    soon = decide(held_book, as_of=SECOND + timedelta(days=1))
    assert soon.holds[0].startswith("hold 1, payment repayment since 2025-10-07: ")
    assert "a person must judge it" not in soon.holds[0]
    old = replace(HOLD, opened_at=SECOND - timedelta(days=40), kind="transfer_in")
    open_hold(held_book, old)
    later = decide(held_book, as_of=SECOND + timedelta(days=2))
    assert later.holds[1].endswith("open for more than 14 days, a person must judge it")


def test_the_report_lists_holds(held_book: Workspace, tmp_path: Path) -> None:
    text = report(held_book, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h3>Suspect slices</h3>" in text
    assert "payment repayment" in text


def test_quarantined_rows_are_listed_exported_mended_and_let_go(books: Path, tmp_path: Path) -> None:
    """A delivery with three broken amounts; the exported rows, mended by hand, release the hold on their lines."""
    shutil.copytree(books / "base", tmp_path / "work")
    shutil.copytree(books / "whole", tmp_path / "whole")
    space = Workspace(tmp_path / "work")
    path = max((tmp_path / "whole" / "payment").glob("*.parquet"), key=lambda one: len(pq.read_table(one)))
    table = pq.read_table(path).to_pandas()
    struck = table.index[table["kind"] == "repayment"][:3]
    right = table.loc[struck, "amount_cents"].copy()
    table.loc[struck, "amount_cents"] = -right
    table.to_parquet(path)
    check(space, tmp_path / "whole", loaded_at=SECOND + timedelta(days=1))

    def run(*words: str) -> str:
        shown = CliRunner().invoke(app, ["quarantine", *words, "--workspace", str(space.root)])
        assert shown.exit_code == 0, shown.output
        return shown.output

    [row] = json.loads(run("list", "--json"))
    assert (row["source"], row["column"], row["rule"], row["rows"], row["mended"]) == (
        "payment", "amount_cents", "below 0", 3, 0,
    )  # fmt: skip
    assert f"row {struck[0] + 1}: amount_cents below 0" in run("show", "--source", "payment")
    shutil.copytree(tmp_path / "whole" / "accounts", tmp_path / "mended" / "accounts")
    out = tmp_path / "mended" / "payment" / "rows.csv"
    assert "3 rows in" in run("export", str(out), "--source", "payment")
    mended = pd.read_csv(out, dtype=str)
    mended["amount_cents"] = mended["amount_cents"].str.removeprefix("-")
    mended.drop(columns=["broken_column", "rule"]).to_csv(out, index=False)
    report_ = check(space, tmp_path / "mended", loaded_at=SECOND + timedelta(days=2))
    assert report_.sources["payment"].accepted == 3
    assert json.loads(run("list", "--json"))[0]["mended"] == 3
    assert not [one for one in space.ledger.holds_in_force().values() if one.slice_column == QUARANTINED]
    with pytest.raises(InputError, match=r"ends in \.parquet or \.csv"):
        export_quarantine(space.events, tmp_path / "rows.txt", source="payment")


def test_nobody_is_cut_for_a_debt_that_missing_rows_may_have_paid(books: Path, tmp_path: Path) -> None:
    """Who was late before the fault may have paid since: what a payment would have spared is held."""
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    check_events(books / "gap", space.events, decided_until=FIRST)
    open_hold(space, replace(HOLD, since=SECOND - timedelta(days=3)))
    decide(space, as_of=SECOND)
    rows = decided(space)
    paid = rows["if_paid_action"] != rows["before_fault_action"]
    assert paid.any()
    assert (rows.loc[paid & (rows["as_known_action"] == rows["before_fault_action"]), "action"] == "hold").all()
    assert replay(space) == len(space.ledger.query("SELECT * FROM decisions"))


def test_all_paid_leaves_nothing_overdue_and_old_lateness_as_it_was(books: Path) -> None:
    space = Workspace(books / "base")
    features = space.feature_set(default_settings())
    table = space.features(FIRST)
    paid = all_paid(features, table)
    late = table["past_due_cents"] > 0
    assert late.any()
    for name in ("past_due_cents", "dpd_days", "missed_count_90d"):
        assert (paid[name] == 0).all()
    owed = table.loc[late, "balance_cents"] - paid.loc[late, "balance_cents"]
    assert (owed == table.loc[late, "past_due_cents"]).all()
    assert paid["late_count_180d"].equals(table["late_count_180d"])


def test_what_one_customer_does_is_no_fault_of_the_feed(books: Path, tmp_path: Path) -> None:
    """Thirty instalments paid in one go: more than a city of a dozen lines ever saw in a day."""
    shutil.copytree(books / "base", tmp_path / "work")
    shutil.copytree(books / "whole", tmp_path / "whole")
    space = Workspace(tmp_path / "work")
    path = max((tmp_path / "whole" / "payment").glob("*.parquet"), key=lambda one: len(pq.read_table(one)))
    table = pq.read_table(path).to_pandas()
    paid = table[table["kind"] == "repayment"].iloc[[0] * 30].reset_index(drop=True)
    moment = pd.Timestamp(SECOND - timedelta(days=5, hours=12))
    paid = paid.assign(event_id=[f"many-{k}" for k in range(30)], event_time=moment, known_time=moment)
    paid["amount_cents"] += np.arange(30) * 137
    pd.concat([table, paid.astype(table.dtypes)], ignore_index=True).to_parquet(path)
    found = check(space, tmp_path / "whole", loaded_at=SECOND + timedelta(days=1)).incidents
    mine = [one for one in found if one.kind == "repayment" and one.since <= moment < one.until]
    assert mine
    assert {one.state for one in mine} == {"warn"}


def test_a_fault_in_the_first_delivery_is_held_before_anything_was_decided(books: Path, tmp_path: Path) -> None:
    for source in ("accounts", "consumption", "payment", "device"):
        for part in ("before", "gap"):
            (tmp_path / "all" / source).mkdir(parents=True, exist_ok=True)
            for path in (books / part / source).glob("*.parquet"):
                shutil.copy(path, tmp_path / "all" / source / f"{part}-{path.name}")
    space = Workspace(tmp_path / "work")
    assert check(space, tmp_path / "all", loaded_at=SECOND + timedelta(days=1)).held
    assert "repayment" in {hold.kind for hold in space.ledger.holds_in_force().values()}
    assert space.ledger.verify() == len(space.ledger.holds()) + records_of(space)


def test_a_check_killed_before_it_held_is_made_up_for_and_a_judged_slice_is_not_held_again(
    books: Path, tmp_path: Path
) -> None:
    """The delivery was taken in and nothing held: what the kill leaves behind."""
    shutil.copytree(books / "struck", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    report_ = check(space, books / "gap", loaded_at=SECOND + timedelta(days=1))
    assert report_.load is None
    [number] = [n for n, hold in space.ledger.holds_in_force().items() if hold.kind == "repayment"]
    release_hold(space, number, "true", at=SECOND, actor="Chen Wei", reason="a holiday")
    check(space, books / "gap", loaded_at=SECOND + timedelta(days=2))
    assert "repayment" not in {hold.kind for hold in space.ledger.holds_in_force().values()}


def runs_of(space: Workspace) -> dict[str, tuple[str, int]]:
    """Runs of MLflow by name: which, and when it ended."""
    experiments = [one.experiment_id for one in tracking.client(space.mlflow).search_experiments()]
    every = tracking.client(space.mlflow).search_runs(experiments)
    names = [run.info.run_name for run in every]
    assert len(set(names)) == len(names)
    return {run.info.run_name: (run.info.run_id, run.info.end_time) for run in every}


def repeated_without(space: Workspace, name: str, call: Callable[[], object]) -> None:
    """A call that was killed before MLflow knew a run is repeated: that run is there, and the others are as before."""
    before = runs_of(space)
    tracking.client(space.mlflow).delete_run(before[name][0])
    call()
    after = runs_of(space)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {name}


def test_a_check_killed_before_mlflow_knew_its_hold_is_made_up_for(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "struck", tmp_path / "work")
    space = Workspace(tmp_path / "work")

    def again() -> None:
        (space.root / "judged.json").unlink(missing_ok=True)
        check(space, books / "gap", loaded_at=NOW)

    again()
    repeated_without(space, min(name for name in runs_of(space) if name.startswith("hold ")), again)


def test_a_release_killed_before_mlflow_knew_it_is_made_up_for(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "held", tmp_path / "work")
    space = Workspace(tmp_path / "work")

    def again(actor: str = "Chen Wei") -> int:
        return release_hold(space, 1, "repaired", at=NOW, actor=actor, reason="came again")

    waiting, links = again(), space.ledger.verify()
    repeated_without(space, "release 1", again)
    assert (again(), space.ledger.verify()) == (waiting, links)
    with pytest.raises(WorkspaceError, match="no hold 1 is in force"):
        again("somebody else")


def test_an_opening_killed_before_mlflow_knew_it_is_made_up_for(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "held", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    repeated_without(space, "hold 1", lambda: open_hold(space, HOLD))


def test_a_check_killed_before_mlflow_knew_its_release_is_made_up_for(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "struck", tmp_path / "work")
    space = Workspace(tmp_path / "work")

    def again() -> None:
        (space.root / "judged.json").unlink(missing_ok=True)
        check(space, books / "whole", loaded_at=SECOND + timedelta(days=2))

    check(space, books / "gap", loaded_at=SECOND + timedelta(days=1))
    again()
    repeated_without(space, min(name for name in runs_of(space) if name.startswith("release ")), again)


def test_a_delivery_that_brings_nothing_new_is_not_judged_again_but_by_other_settings(
    books: Path, tmp_path: Path
) -> None:
    shutil.copytree(books / "struck", tmp_path / "work")
    shipped = default_quality()
    stricter = replace(shipped, judging=replace(shipped.judging, warn_p=1e-3))
    judged = []
    for quality in (shipped, shipped, stricter):
        told: list[str] = []
        check(Workspace(tmp_path / "work"), books / "gap", told.append, loaded_at=NOW, quality=quality)
        judged.append("judging the days that came" in told)
    assert judged == [True, False, True]


def test_a_line_that_was_closed_for_good_since_is_left_alone(repaired: Workspace, books: Path) -> None:
    """Harmed on the first of November; on the third another rule closes it, whatever the payments say."""
    found = harmed(repaired, 1)
    open_still = set(found.loc[found["action"] != "close", "account_id"])
    check_events(books / "after", repaired.events, decided_until=SECOND)
    always = at_once(default_policy()).text + (
        '\n[[rules]]\nname = "everybody"\naction = "close"\nreason = "transfers_out"\nnew_lines = true\n'
        'when = [{ column = "line_age_days", at_least = 0 }]\n'
    )
    decide(repaired, as_of=SECOND + timedelta(days=2), policy=parse_policy(always))
    found = harmed(repaired, 1).set_index("account_id")
    assert open_still
    assert open_still <= set(found.index[found["left_alone"]])
    done = restore(repaired, 1, at=SECOND + timedelta(days=3), actor="Chen Wei", reason="came late")
    assert not {one.account_id for one in done} & open_still


def test_of_two_faults_of_a_line_the_earlier_one_counts_whichever_stands_first(books: Path) -> None:
    """The first line has the earlier fault alone, the others both."""
    space = Workspace(books / "held")
    every = recorded_decisions(space)
    lines = every[every["as_of"] == pd.Timestamp(SECOND)].reset_index(drop=True).head(200)
    holds = {1: HOLD, 2: replace(HOLD, since=SECOND - timedelta(days=2))}
    keys = lines[["account_id", "as_of"]]
    pairs = pd.concat([keys.assign(hold=1), keys.iloc[1:].assign(hold=2)], ignore_index=True)
    now, both, early = space.iteration("1"), HeldLines(holds, pairs), HeldLines(holds, keys.assign(hold=1))
    moments = with_moments(keys.assign(known_by=keys["as_of"]), both)
    tables = tables_at(moments, {now.model.features}, space)
    table = rows_at(tables[now.model.features.digest], keys["account_id"], keys["as_of"], keys["as_of"])
    with_both, with_early = (before_fault(table, keys, lines_, now.model.features, tables) for lines_ in (both, early))
    assert with_both.equals(with_early)
    assert not with_both.equals(table)


def test_an_exported_account_keeps_its_attributes_and_a_line_that_could_not_be_read_its_text(tmp_path: Path) -> None:
    (tmp_path / "in" / "accounts").mkdir(parents=True)
    good = "".join(f"A{k},2025-01-01,2025-01-01,salaried,Wuhan\n" for k in range(30))
    text = f"account_id,opened_at,known_time,segment,home\n{good}B1,never,2025-01-01,salaried,Xi'an\nB2,too,few\n"
    (tmp_path / "in" / "accounts" / "rows.csv").write_text(text, encoding="utf-8")
    (tmp_path / "in" / "device").mkdir()
    event = (
        "event_id,account_id,event_time,known_time,kind,device_id,city\nE1,A1,2025-02-01,2025-02-01,login,D1,Wuhan\n"
    )
    (tmp_path / "in" / "device" / "rows.csv").write_text(event, encoding="utf-8")
    store = EventStore(tmp_path / "work")
    check_events(tmp_path / "in", store)
    assert export_quarantine(store, tmp_path / "rows.parquet", source="accounts") == 2
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert ("Xi'an", "B1", "never") in {(row["home"], row["account_id"], row["opened_at"]) for row in rows}
    assert "B2,too,few" in {row["text"] for row in rows}
