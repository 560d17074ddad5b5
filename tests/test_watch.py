"""The watch: what came within the day is taken in once, seen as the batch sees it, and pauses drawing and no more."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.contracts import SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.table import build_few, build_table
from limitlens.limits.hold import Hold
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy_file import parse_policy
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.check_delivery import fold
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.order_override import override
from limitlens.pipeline.deciding.replay import recorded_decisions, replay
from limitlens.pipeline.holds import open_hold
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching import inbox as waiting
from limitlens.pipeline.watching import look as looking
from limitlens.pipeline.watching.intake import known_rows
from limitlens.pipeline.watching.interceptions import interceptions
from limitlens.pipeline.watching.look import relations_of
from limitlens.pipeline.watching.tick import Standing, Ticked, standing_of, tick
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.test_holds import FIRST

Row = dict[str, Any]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STREAMED = ("accounts", "consumption", "payment", "device")


def put(inbox: Path, name: str, rows: Mapping[str, pa.Table]) -> None:
    for source, table in rows.items():
        if len(table):
            (inbox / source).mkdir(parents=True, exist_ok=True)
            pq.write_table(table, inbox / source / f"{name}.parquet")


def known_between(world: Path, since: datetime, until: datetime) -> dict[str, pa.Table]:
    tables = {source: pq.read_table(world / source) for source in STREAMED}
    return {
        source: t.filter(pc.and_(pc.greater_equal(t["known_time"], since), pc.less(t["known_time"], until)))
        for source, t in tables.items()
    }


def streamed(space: Workspace, inbox: Path, world: Path, *, days: int, step: timedelta) -> Iterator[Ticked]:
    """The world from the first of October on, tick by tick."""
    standing: Standing | None = None
    for number in range(int(days * DAY / step)):
        until = FIRST + (number + 1) * step
        put(inbox, f"{number:04d}", known_between(world, until - step, until))
        ticked = tick(space, inbox, until, standing)
        standing = ticked.standing
        yield ticked


def line_of(space: Workspace, place: int = 0) -> str:
    """An account of middle age that can draw, and that nothing has been decided against."""
    last = recorded_decisions(space)
    old = last[(last["action"] == "keep") & last["can_draw"] & (last["state.line_age_days"] > 100)]
    return str(old["account_id"].unique()[place])


def takeover(account: str, at: datetime) -> dict[str, pa.Table]:
    """A sign-in on a new device in a new city, and two hours later half the line in cash, which is passed on."""
    common = {"account_id": account, "retracted": None}

    def row(name: str, minutes: int, **values: object) -> Row:
        time = at + timedelta(minutes=minutes)
        return common | {"event_id": f"{account}-{name}", "event_time": time, "known_time": time} | values

    login = row("login", 0, kind="login", device_id="D-unseen", city="Elsewhere", latitude_udeg=1, longitude_udeg=1)
    draws = [row(f"draw{n}", 60 + n, kind="draw", amount_cents=3_000_00) for n in range(4)]
    gone = [row(f"out{n}", 70 + n, kind="transfer_out", amount_cents=2_900_00, counterparty="X") for n in range(4)]
    return {
        name: rows_of(name, rows) for name, rows in (("device", [login]), ("consumption", draws), ("payment", gone))
    }


def withdrawn(rows: Mapping[str, pa.Table], at: datetime) -> dict[str, pa.Table]:
    """The same rows, taken back at a time."""
    return {
        source: pa.Table.from_pylist(
            [row | {"known_time": at, "retracted": True} for row in table.to_pylist()], schema=table.schema
        )
        for source, table in rows.items()
    }


def rows_of(source: str, rows: list[Row]) -> pa.Table:
    from limitlens.data.events import stored_schema

    declared = [f for f in stored_schema(source) if f.name in SOURCES[source].column_names()]
    return pa.Table.from_pylist(rows, schema=pa.schema(declared))


def test_signs_of_a_takeover_pause_drawing_at_once_and_the_next_date_decides(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    put(inbox, "a", takeover(account, noon))
    ticked = tick(space, inbox, noon + 2 * HOUR)
    [entry] = [one for pending in space.ledger.pending_ticks() for one in interceptions(pending)]
    assert (entry["account_id"], entry["action"], entry["at"]) == (account, "pause", ticked.at.isoformat())
    assert "takeover_passed_on" in entry["rules"]
    assert "confirm that it was you" in entry["message"]["en"]
    decide(space, until=FIRST + DAY)
    mine = recorded_decisions(space, [account])
    assert mine["action"].tolist()[-3:] == ["keep", "pause", "freeze"]
    assert set(mine["limit_cents"]) == {mine["limit_cents"].iloc[0]}
    assert replay(space) == len(recorded_decisions(space))
    assert not space.ledger.pending_ticks()
    space.ledger.verify()


def test_rows_that_speak_for_the_customer_lift_the_pause_at_the_next_tick(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    rows = takeover(account, noon)
    put(inbox, "a", rows)
    first = tick(space, inbox, noon + 2 * HOUR)
    put(inbox, "b", withdrawn(rows, noon + 3 * HOUR))
    second = tick(space, inbox, noon + 4 * HOUR, first.standing)
    assert second.decisions["action"].tolist() == ["unfreeze"]
    decide(space, until=FIRST + DAY)
    assert recorded_decisions(space, [account])["action"].tolist()[-3:] == ["keep", "pause", "unfreeze"]
    replay(space, account_id=account)


def test_of_two_lines_paused_one_after_the_other_each_is_looked_at_again(space: Workspace, inbox: Path) -> None:
    first, second, noon = line_of(space), line_of(space, 1), FIRST + 12 * HOUR
    put(inbox, "a", takeover(first, noon))
    ticked = tick(space, inbox, noon + 2 * HOUR)
    put(inbox, "b", takeover(second, noon + 2 * HOUR))
    ticked = tick(space, inbox, noon + 4 * HOUR, ticked.standing)
    assert ticked.standing.paused == standing_of(space, None).paused == {first, second}
    put(inbox, "c", withdrawn(takeover(first, noon), noon + 5 * HOUR))
    lifted = tick(space, inbox, noon + 6 * HOUR, ticked.standing).decisions
    assert lifted[["account_id", "action"]].to_numpy().tolist() == [[first, "unfreeze"]]


def test_only_a_line_paused_by_a_rule_is_looked_at_again_by_a_watch_that_starts(space: Workspace, inbox: Path) -> None:
    """Not one that the PD paused since, nor one that is no longer paused, though a watched rule fired for both."""
    accounts, noon = [line_of(space, place) for place in range(3)], FIRST + 12 * HOUR
    for account in accounts:
        put(inbox, account, takeover(account, noon))
    tick(space, inbox, noon + 2 * HOUR)
    [first] = space.ledger.pending_ticks()
    rows, later = {row["account_id"]: row for row in first.decisions.to_pylist()}, noon + 3 * HOUR
    since = [
        rows[accounts[1]] | {"as_of": later, "fired_rules": ["pd_freeze"]},
        rows[accounts[2]] | {"as_of": later, "action": "freeze"},
    ]
    by = (first.model_version, first.model_digest, first.policy_digest)
    space.ledger.note(later, by, pa.Table.from_pylist(since, schema=DECISIONS))
    assert standing_of(space, None).paused == {accounts[0]}


def test_of_a_line_that_is_looked_at_and_left_as_it_is_nothing_is_noted(space: Workspace, inbox: Path) -> None:
    """Paused already, and touched again; or drawn by so little that the rule, which asks for a share, does not fire."""
    paused, calm, noon = line_of(space), line_of(space, 1), FIRST + 12 * HOUR
    put(inbox, "a", takeover(paused, noon))
    first = tick(space, inbox, noon + 2 * HOUR)
    [again] = takeover(paused, noon + 3 * HOUR)["device"].to_pylist()
    put(inbox, "b", {"device": rows_of("device", [again | {"event_id": "again"}])})
    draws = [row | {"amount_cents": 1} for row in takeover(calm, noon)["consumption"].to_pylist()]
    put(inbox, "c", takeover(calm, noon) | {"consumption": rows_of("consumption", draws)})
    second = tick(space, inbox, noon + 4 * HOUR, first.standing)
    assert (len(first.decisions), second.touched, len(second.decisions)) == (1, 2, 0)


def test_a_rule_on_a_share_of_the_limit_is_asked_where_a_single_cent_is_drawn(space: Workspace, inbox: Path) -> None:
    rule = """[[rules]]
name = "used"
action = "freeze"
reason = "high_utilisation"
new_lines = true
when = [{ column = "draw_share_2d", above = 1e-9 }]

[[rules]]
name = "cash_out\""""
    text = default_policy().text.replace('rules = ["cash_out", ', 'rules = ["used", "cash_out", ')
    policy = parse_policy(text.replace('[[rules]]\nname = "cash_out"', rule))
    opened = {"opened_at": FIRST, "known_time": FIRST, "limit_cents": 1_000_00, "segment": "salaried"}
    draw = takeover("NEW", FIRST + HOUR)["consumption"].to_pylist()[0] | {"amount_cents": 1}
    put(inbox, "a", {"accounts": rows_of("accounts", [opened | {"account_id": "NEW"}])})
    put(inbox, "a", {"consumption": rows_of("consumption", [draw])})
    ticked = tick(space, inbox, FIRST + 4 * HOUR, policy=policy)
    assert ticked.decisions["fired_rules"].tolist()[-1] == ["used"]


def test_a_ring_reaches_beyond_the_lines_that_came_and_to_no_line_whose_device_was_corrected(
    space: Workspace, inbox: Path
) -> None:
    features, mine, sign_ins = CATALOGUE.only(["device_ring_max_30d"]), line_of(space), list[Row]()
    for place in range(3):
        sign_ins += takeover(line_of(space, place), FIRST + HOUR)["device"].to_pylist()
    sign_ins.append(sign_ins[-1] | {"device_id": "D-other", "known_time": FIRST + 3 * HOUR})
    put(inbox, "a", {"device": rows_of("device", sign_ins)})
    at = tick(space, inbox, FIRST + 4 * HOUR).at
    spine = pd.DataFrame({"account_id": [mine]}).assign(as_of=pd.Timestamp(at), known_by=pd.Timestamp(at))
    table = build_table(features, spine, relations_of(features, [mine], Journal(space.root)))
    assert table["device_ring_max_30d"].tolist() == [2]


def test_a_row_known_at_the_moment_of_a_tick_is_looked_at_by_the_next(space: Workspace, inbox: Path) -> None:
    noon, standing, counts = FIRST + 12 * HOUR, None, []
    put(inbox, "a", {"device": takeover(line_of(space), noon)["device"]})
    for hour in (0, 1, 2):
        ticked = tick(space, inbox, noon + hour * HOUR, standing)
        standing = ticked.standing
        counts.append((ticked.rows, ticked.touched))
    assert counts == [(1, 0), (0, 1), (0, 0)]


def test_a_file_that_was_taken_in_and_could_not_be_moved_counts_once_and_a_refused_one_stays_refused(
    space: Workspace, inbox: Path
) -> None:
    noon = FIRST + 12 * HOUR
    put(inbox, "a", takeover(line_of(space), noon))
    put(inbox, "odd", {"payment": pa.table({"account_id": ["A"]})})
    (inbox / "taken").touch()
    with pytest.raises(OSError, match="taken"):
        tick(space, inbox, noon + 2 * HOUR)
    (inbox / "taken").unlink()
    again = tick(space, inbox, noon + 3 * HOUR)
    assert (again.rows, again.deduplicated, len(again.decisions), len(again.refused)) == (0, 0, 1, 1)
    assert {path.name for path in (inbox / "refused" / "payment").iterdir()} == {"odd.parquet", "odd.parquet.txt"}
    assert len(list((inbox / "taken").glob("*/a.parquet"))) == 3


def test_a_name_that_begins_with_a_dot_waits_and_more_files_than_a_tick_takes_wait_for_the_next(
    space: Workspace, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_FILES", 2)
    put(inbox, "a", takeover(line_of(space), FIRST + 12 * HOUR))
    put(inbox, ".b", {"consumption": pa.table({"account_id": ["A"]})})
    first = tick(space, inbox, FIRST + 14 * HOUR)
    assert {path.name for path in inbox.glob("*/*") if path.parent.name in STREAMED} == {"a.parquet", ".b.parquet"}
    second = tick(space, inbox, FIRST + 15 * HOUR, first.standing)
    assert first.rows + second.rows == 9
    assert not second.refused
    assert [path.name for path in inbox.glob("*/*") if path.parent.name in STREAMED] == [".b.parquet"]


def test_a_version_released_since_the_last_tick_decides_the_next(space: Workspace) -> None:
    standing = standing_of(space, None)
    assert standing_of(space, standing) is standing
    earlier = replace(standing, now=replace(standing.now, model_version="0"))
    assert standing_of(space, earlier).now.model_version == "1"


def test_what_the_ledger_says_since_the_last_tick_counts(space: Workspace) -> None:
    standing = standing_of(space, None)
    earlier = replace(standing, head="an earlier one", paused=frozenset({"A000001"}))
    assert standing_of(space, earlier) == standing


def test_an_attribute_that_no_load_has_yet_is_taken_in_and_keeps_its_kind(space: Workspace, inbox: Path) -> None:
    """Within a tick, in the next one, and for a line that is known; the load that takes them over has the values."""
    row = {"opened_at": FIRST, "limit_cents": 1_000_00, "segment": "salaried"}
    old = line_of(space)
    values = (("a", "NEW", 1.5), ("b", "OTHER", "high"), ("c", "THIRD", "low"), ("d", "NEW", 2.5), ("a2", old, 3.5))
    refused, standing = [], None
    for hour, names in enumerate((("a", "a2", "b"), "c", "d"), 1):
        for name, account, bonus in values:
            if name in names:
                known = row | {"account_id": account, "known_time": FIRST + hour * HOUR - HOUR}
                table = rows_of("accounts", [known]).append_column("bonus", pa.array([bonus]))
                put(inbox, name, {"accounts": table})
        ticked = tick(space, inbox, FIRST + hour * HOUR, standing)
        standing = ticked.standing
        refused += [(one.path.name, "'bonus'" in one.reason) for one in ticked.refused]
    assert refused == [("b.parquet", True), ("c.parquet", True)]
    assert fold(space) is not None
    assert space.events.attributes()["bonus"] == "number"
    sql = "SELECT bonus FROM accounts WHERE bonus IS NOT NULL"
    assert sorted(run_sql(sql, {"accounts": space.events.relation("accounts")})["bonus"].to_pylist()) == [1.5, 2.5, 3.5]


def test_a_line_that_is_opened_and_emptied_within_a_day_is_decided_at_its_opening_first(
    space: Workspace, inbox: Path
) -> None:
    opened = FIRST + 9 * HOUR
    row = {"account_id": "NEW", "opened_at": opened, "known_time": opened - HOUR, "limit_cents": 12_000_00,
           "segment": "salaried"}  # fmt: skip
    put(inbox, "a", {"accounts": rows_of("accounts", [row])})
    first = tick(space, inbox, opened)
    put(inbox, "b", takeover("NEW", opened + HOUR))
    ticked = tick(space, inbox, opened + 3 * HOUR, first.standing)
    assert ticked.decisions["action"].tolist()[-1] == "pause"
    assert "cash_out" in ticked.decisions["fired_rules"].iloc[-1]
    assert [time.to_pydatetime() for time in ticked.decisions["as_of"]] == [opened, ticked.at]
    with pytest.raises(WorkspaceError, match="decided by the watch alone, last at 2025-10-01T12:00"):
        why(space, "NEW")
    decide(space, until=FIRST + DAY)
    mine = recorded_decisions(space, ["NEW"])
    assert mine["action"].tolist()[1:] == ["pause", "close"]
    split = space.ledger.current("NEW")[["share_cents_behaviour", "limit_cents"]].iloc[1:]
    assert split.to_numpy().tolist() == [[0, 12_000_00], [-12_000_00, 0]]
    replay(space, account_id="NEW")


def test_a_row_that_comes_again_in_the_same_tick_or_in_a_later_one_counts_once(space: Workspace, inbox: Path) -> None:
    draws, standing, counts = takeover(line_of(space), FIRST + HOUR)["consumption"], None, []
    for hour, names in ((4, "ab"), (5, "c")):
        for name in names:
            put(inbox, name, {"consumption": draws})
        ticked = tick(space, inbox, FIRST + hour * HOUR, standing)
        standing = ticked.standing
        counts.append((ticked.rows, ticked.deduplicated, ticked.quarantined))
    assert counts == [(8, 4, 0), (4, 4, 0)]
    report = fold(space)
    assert report is not None
    assert (report.sources["consumption"].accepted, report.sources["consumption"].deduplicated) == (4, 8)


def test_rows_that_a_delivery_brought_as_well_count_once_and_those_of_other_ticks_stay(
    space: Workspace, inbox: Path, tmp_path: Path
) -> None:
    """One of them in conflict; those of the other tick have the same places in their file."""
    draws = [takeover(line_of(space, place), FIRST + HOUR)["consumption"] for place in (0, 1)]
    standing: Standing | None = None
    for hour, rows in enumerate(draws, 4):
        put(inbox, f"{hour}", {"consumption": rows})
        standing = tick(space, inbox, FIRST + hour * HOUR, standing).standing
    first, *others = draws[0].to_pylist()
    delivered = rows_of("consumption", [first | {"amount_cents": 1}, *others])
    new = {"account_id": "NEW", "opened_at": FIRST, "known_time": FIRST, "limit_cents": 100, "segment": "salaried"}
    put(tmp_path / "delivery", "all", {"accounts": rows_of("accounts", [new]), "consumption": delivered})
    check_events(tmp_path / "delivery", space.events, decided_until=FIRST)
    Journal(space.root).sync(space.events)
    accounts = [str(rows["account_id"][0]) for rows in draws]
    known = known_rows(SOURCES["consumption"], "account_id", accounts, Journal(space.root))
    report = fold(space)
    assert report is not None
    count, folded = report.sources["consumption"], run_sql(space.events.relation("consumption"))
    assert (count.accepted, count.deduplicated, count.quarantined) == (4, 3, 1)
    for table in (known, folded):
        amounts = {row["event_id"]: row["amount_cents"] for row in table.to_pylist()}
        for row in (*delivered.to_pylist(), *draws[1].to_pylist()):
            assert amounts[row["event_id"]] == row["amount_cents"]


def test_a_load_of_events_alone_is_counted_by_the_slices_of_their_lines(space: Workspace, inbox: Path) -> None:
    account = line_of(space)
    put(inbox, "a", {"consumption": takeover(account, FIRST + HOUR)["consumption"]})
    tick(space, inbox, FIRST + 4 * HOUR)
    assert fold(space) is not None
    sql = "SELECT slice_value, SUM(rows) AS rows FROM profiles WHERE day = $day AND slice_column = 'segment' GROUP BY 1"
    [counted] = run_sql(sql, {"profiles": space.events.profiles()}, {"day": FIRST.date()}).to_pylist()
    assert counted == {"slice_value": space.events.segments()[account], "rows": 4}


def test_a_line_and_its_first_rows_may_come_in_one_tick(space: Workspace, inbox: Path) -> None:
    row = {"account_id": "NEW", "opened_at": FIRST, "known_time": FIRST, "limit_cents": 1_000_00, "segment": "salaried"}
    put(inbox, "a", {"accounts": rows_of("accounts", [row]), **takeover("NEW", FIRST + HOUR)})
    ticked = tick(space, inbox, FIRST + 3 * HOUR)
    assert (ticked.rows, ticked.quarantined, ticked.touched) == (10, 0, 1)


def test_a_closed_line_and_one_that_nobody_knows_are_left_alone(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    override(space, account, at=FIRST + HOUR, action="close", actor="Chen Wei", reason="she asked for it")
    put(inbox, "a", takeover(account, noon))
    put(inbox, "b", takeover("NOBODY", noon))
    ticked = tick(space, inbox, noon + 2 * HOUR)
    assert (ticked.touched, ticked.quarantined, len(ticked.decisions)) == (1, 9, 0)


def test_a_held_source_pauses_nobody(space: Workspace, inbox: Path) -> None:
    noon = FIRST + 12 * HOUR
    open_hold(space, Hold("device", FIRST, FIRST, "check", "a feed of another lender"))
    open_hold(space, Hold("consumption", FIRST, FIRST, "check", "a feed of another lender"))
    put(inbox, "a", takeover(line_of(space), noon))
    assert tick(space, inbox, noon + 2 * HOUR).decisions.empty
    assert not space.ledger.pending_ticks()


def test_a_date_before_what_the_watch_did_leaves_the_line_to_the_next(space: Workspace, inbox: Path) -> None:
    account, night = line_of(space), FIRST + DAY - HOUR
    put(inbox, "a", takeover(account, night))
    tick(space, inbox, night + 2 * HOUR)
    decide(space, until=FIRST + DAY)
    assert [one.as_of for one in space.ledger.pending_ticks()] == [night + 2 * HOUR]
    decide(space, until=FIRST + 2 * DAY)
    mine = recorded_decisions(space, [account])
    assert [t.to_pydatetime() for t in mine["as_of"]][-3:] == [FIRST, night + 2 * HOUR, FIRST + 2 * DAY]
    assert replay(space) == len(recorded_decisions(space))


def test_a_person_can_lift_what_the_watch_paused(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    put(inbox, "a", takeover(account, noon))
    ticked = tick(space, inbox, noon + 2 * HOUR)
    by = {"actor": "Chen Wei", "reason": "she called"}
    with pytest.raises(WorkspaceError, match="would change what was decided"):
        override(space, account, at=noon, action="unfreeze", **by)
    override(space, account, at=noon + 3 * HOUR, action="unfreeze", **by)
    again = tick(space, inbox, noon + 4 * HOUR, ticked.standing)
    assert again.decisions.empty


def test_what_comes_late_is_known_from_the_last_decision_on_and_a_clock_that_was_set_back_goes_on(
    space: Workspace, inbox: Path
) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    rows = takeover(account, noon)
    put(inbox, "a", {name: rows[name] for name in ("device", "consumption")})
    first = tick(space, inbox, noon + 2 * HOUR)
    assert len(first.decisions) == 1
    put(inbox, "b", {"payment": rows["payment"]})
    second = tick(space, inbox, noon, first.standing)
    assert second.at == first.at + timedelta(microseconds=1)
    assert fold(space) is not None
    came = run_sql(space.events.relation("payment", ["0002"])).to_pylist()
    assert {row["known_time"] for row in came} == {first.at}
    assert {row["delivered_known_time"] for row in came} == {row["known_time"] for row in rows["payment"].to_pylist()}


def test_a_row_that_breaks_the_contract_is_quarantined_and_a_file_that_does_is_refused(
    space: Workspace, inbox: Path
) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    rows = takeover(account, noon)["consumption"].to_pylist()
    put(inbox, "a", {"consumption": rows_of("consumption", [*rows, rows[0] | {"event_id": "x", "amount_cents": -5}])})
    (inbox / "device").mkdir()
    (inbox / "device" / "poison.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    ticked = tick(space, inbox, noon + 2 * HOUR)
    assert (ticked.rows, ticked.quarantined, ticked.deduplicated) == (5, 1, 0)
    assert "expected column 'event_id'" in (inbox / "refused" / "device" / "poison.csv.txt").read_text()
    (inbox / "device" / "poison.csv").write_text("c,d\n1,2\n", encoding="utf-8")
    tick(space, inbox, noon + 3 * HOUR, ticked.standing)
    assert len(list((inbox / "refused" / "device").glob("*poison.csv"))) == 2
    report = fold(space)
    assert report is not None
    assert report.quarantine == {("consumption", "amount_cents", "negative amount"): 1}
    assert report.sources["consumption"].accepted == 4
    assert not list(inbox.glob("consumption/*"))
    put(inbox, "b", {"consumption": rows_of("consumption", [rows[0] | {"event_id": "y"}])})
    tick(space, inbox, noon + 4 * HOUR)
    report = fold(space)
    assert report is not None
    assert (report.sources["consumption"].rows_in, report.quarantine) == (1, {})


def test_a_conflict_is_quarantined_by_the_file_and_row_it_came_in(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    draws = takeover(account, noon)["consumption"]
    put(inbox, "a", {"consumption": draws})
    first = tick(space, inbox, noon + 2 * HOUR)
    other = rows_of("consumption", [draws.to_pylist()[2] | {"amount_cents": 1}])
    new = [row | {"event_id": f"later{k}"} for k, row in enumerate(draws.to_pylist())]
    put(inbox, "b", {"consumption": pa.concat_tables([rows_of("consumption", new), other])})
    put(inbox, "c", {"consumption": pa.concat_tables([rows_of("consumption", new[:1]), other])})
    assert tick(space, inbox, noon + 3 * HOUR, first.standing).quarantined == 2
    assert fold(space) is not None
    held = [(row["file"], row["row"], row["rule"]) for row in run_sql(space.events.quarantine()).to_pylist()]
    assert held == [(f"consumption/{file}.parquet", at, "conflicting versions") for file, at in (("b", 5), ("c", 2))]


def test_a_policy_without_watched_rules_watches_nobody(space: Workspace, inbox: Path) -> None:
    text = default_policy().text
    first, _, rest = text.partition("[watch]")
    plain = parse_policy(first + rest.partition("\n\n")[2])
    assert plain.watch is None
    with pytest.raises(WorkspaceError, match=r"policy 'base' has no section \[watch\]"):
        tick(space, inbox, FIRST + HOUR, policy=plain)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("rules = []", "rules of .watch. is empty"),
        ('rules = ["burst_borrowing"]', "names 'burst_borrowing'; expected some of .* with an adverse action"),
        ('rules = ["cash_out"]\nend = 1', "end"),
    ],
)
def test_a_watch_that_says_nonsense_is_refused_by_file_and_line(section: str, message: str) -> None:
    first, _, rest = default_policy().text.partition("[watch]")
    with pytest.raises(ConfigError, match=message):
        parse_policy(f"{first}[watch]\n{section}\n\n{rest.partition(chr(10) * 2)[2]}")


def test_the_command_tells_each_interception_once_and_ends_with_its_own_codes(
    space: Workspace, inbox: Path, tmp_path: Path
) -> None:
    run, out = CliRunner(), tmp_path / "out.jsonl"
    asked = ["watch", str(inbox), "--workspace", str(space.root), "--once", "--out", str(out)]
    missing = run.invoke(app, asked)
    assert "no such folder" in str(missing.exception)
    put(inbox, "a", takeover(line_of(space), datetime.now(UTC) - 3 * HOUR))
    done = run.invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "pause" in done.stdout
    assert run.invoke(app, asked).exit_code == 7
    put(inbox, "odd", {"payment": pa.table({"account_id": ["A"]})})
    assert run.invoke(app, asked).exit_code == 4
    assert [json.loads(line)["action"] for line in out.read_text(encoding="utf-8").splitlines()] == ["pause"]


def test_a_command_that_meets_a_tick_waits_for_it_and_does_not_give_up(space: Workspace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def other() -> str:
        with exclusive(space.root, "decide"):
            return "decided"

    with ThreadPoolExecutor(1) as pool:
        with exclusive(space.root, "watch"):
            waiting = pool.submit(other)
            assert not waiting.done()
        assert waiting.result(timeout=60) == "decided"


def test_why_shows_what_the_watch_did_before_and_after_a_run_has_it(space: Workspace, inbox: Path) -> None:
    account, noon = line_of(space), FIRST + 12 * HOUR
    put(inbox, "a", takeover(account, noon))
    tick(space, inbox, noon + 2 * HOUR)
    before = why(space, account)
    assert (before.decision.action, before.line.timeline[-1].action) == ("keep", "pause")
    decide(space, until=FIRST + DAY)
    after = why(space, account, as_of=noon + 2 * HOUR)
    assert after.decision.watched
    assert after.decision.second_look_at == "2025-10-02"
    assert set(after.split.share_cents.values()) == {0}
    assert after.split.severity_phi == {"behaviour": 360, "data": 0, "model": 0, "policy": 0, "state": 0}
    closed = why(space, account)
    assert (closed.decision.action, closed.decision.previous_as_of) == ("freeze", "2025-10-01")
    assert closed.split.severity_phi["behaviour"] > 0


def test_a_first_copy_that_was_interrupted_is_indexed_and_whole_after_the_next(space: Workspace) -> None:
    def interrupted(text: str) -> None:
        if "indexes" in text:
            raise KeyboardInterrupt

    journal = Journal(space.root)
    with pytest.raises(KeyboardInterrupt):
        journal.sync(space.events, interrupted)
    journal.sync(space.events)
    with sqlite3.connect(journal.path) as connection:
        indexes = "SELECT tbl_name, name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        there = {
            name.removeprefix(f"{table}_") for table, name in connection.execute(indexes) if table == "stored_payment"
        }
        (rows,) = connection.execute("SELECT COUNT(*) FROM stored_payment").fetchone()
    connection.close()
    assert there == {"account_id", "event_id", "counterparty"}
    assert rows == run_sql(f"SELECT COUNT(*) AS n FROM ({space.events.relation('payment')})")["n"][0].as_py()


def test_accounts_of_a_rule_are_those_it_fired_for_in_a_run_or_a_tick(space: Workspace, inbox: Path) -> None:
    put(inbox, "a", takeover(line_of(space), FIRST + HOUR))
    paused = tick(space, inbox, FIRST + 5 * HOUR).decisions
    every = pd.concat([recorded_decisions(space)[["account_id", "fired_rules"]], paused[["account_id", "fired_rules"]]])
    rules = sorted({rule for fired in every["fired_rules"] for rule in fired})
    assert rules
    for rule in (*rules, "no_such_rule"):
        fired = every.loc[[rule in one for one in every["fired_rules"]], "account_id"]
        assert space.ledger.accounts_of([rule]) == sorted(set(fired))


def test_of_some_accounts_the_ledger_gives_the_last_decisions_that_all_have(space: Workspace, inbox: Path) -> None:
    put(inbox, "a", takeover(line_of(space), FIRST + HOUR))
    tick(space, inbox, FIRST + 5 * HOUR)
    every = space.ledger.last_decisions()
    accounts = every["account_id"].to_pylist()
    for some in ([line_of(space)], accounts[:3], accounts[:200], [], ["NOBODY"]):
        wanted = every.filter(pc.is_in(every["account_id"], pa.array(some, pa.string())))
        assert space.ledger.last_decisions(some).equals(wanted)


@pytest.mark.slow
def test_what_ticks_took_in_becomes_the_load_that_one_delivery_of_it_would_be(
    space: Workspace, inbox: Path, books: Path, tmp_path: Path
) -> None:
    for _ in streamed(space, inbox, books / "world", days=4, step=8 * HOUR):
        pass
    assert fold(space) is not None
    assert fold(space) is None
    shutil.copytree(books / "base", tmp_path / "whole")
    whole = Workspace(tmp_path / "whole")
    put(tmp_path / "delivery", "all", known_between(books / "world", FIRST, FIRST + 4 * DAY))
    check_events(tmp_path / "delivery", whole.events, decided_until=FIRST)
    for source in STREAMED:
        mine, other = (run_sql(w.events.relation(source, ["0002"])) for w in (space, whole))
        assert mine.equals(other)
        assert len(mine)


@pytest.mark.slow
def test_lines_that_are_not_looked_at_closely_are_lines_of_which_nothing_would_be_noted(
    space: Workspace, inbox: Path, books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All lines, every eighth hour of three days in which forty have a takeover, whole or in part."""
    put(inbox, "whole", known_between(books / "world", FIRST, FIRST + 3 * DAY))
    random, old = Random(1), recorded_decisions(space).query("action == 'keep'")["account_id"].unique().tolist()
    for account in random.sample(old, 40):
        rows = takeover(account, FIRST + random.randrange(66) * HOUR)
        part = {
            source: table.filter([random.random() < 0.9 for _ in range(len(table))]) for source, table in rows.items()
        }
        put(inbox, account, {source: table for source, table in part.items() if len(table)})
    check_events(inbox, space.events, decided_until=FIRST)
    journal, now = Journal(space.root), standing_of(space, None).now
    journal.sync(space.events)
    accounts, pauses = space.ledger.last_decisions()["account_id"].to_pylist(), 0
    for hours in range(8, 80, 8):
        at = FIRST + hours * HOUR
        found = [looking.look(space, journal, accounts, at, now, paused=())]
        with monkeypatch.context() as closely:
            closely.setattr(looking, "may_fire", lambda _, lines, __: np.ones(len(lines), bool))
            found.append(looking.look(space, journal, accounts, at, now, paused=()))
        quick, close = (one[0].astype(object) if one else pd.DataFrame() for one in found)
        pd.testing.assert_frame_equal(quick, close)
        pauses += len(close) and int((close["action"] == "pause").sum())
    assert pauses > 5


def troubled(rows: Mapping[str, pa.Table], random: Random) -> list[tuple[datetime, str, Row]]:
    """Arrivals: most in time, some hours late, some twice, some corrected or withdrawn later."""
    arrivals = []
    for source, table in rows.items():
        for row in table.to_pylist():
            late = random.choice([timedelta(0)] * 3 + [timedelta(hours=random.randrange(40))])
            arrivals.append((row["known_time"] + late, source, row))
            if random.random() < 0.1:
                arrivals.append((row["known_time"] + late + 9 * HOUR, source, row))
            if source != "accounts" and random.random() < 0.3:
                later = row["known_time"] + timedelta(minutes=random.randrange(3000))
                change: Row = {"retracted": True} if random.random() < 0.4 else {}
                if source in ("consumption", "payment") and not change and row["kind"] != "status":
                    change = {"amount_cents": row["amount_cents"] // 2}
                arrivals.append((later + late, source, row | {"known_time": later} | change))
    return sorted(arrivals, key=lambda one: one[0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_tick_sees_each_line_as_the_batch_does_afterwards(
    seed: int, space: Workspace, inbox: Path, books: Path
) -> None:
    """To the last bit; rows that are late, repeated, corrected or withdrawn, and devices and payees in common."""
    random = Random(seed)
    features = CATALOGUE.only(
        ["draw_sum_7d", "draw_count_2d", "balance_cents", "dpd_days", "new_device_and_city_count_7d",
         "repayment_days_since_ever", "device_ring_max_30d", "payee_ring_max_90d", "payee_ring_mean_90d",
         "passed_on_count_7d"]
    )  # fmt: skip
    some = sorted(random.sample(recorded_decisions(space)["account_id"].unique().tolist(), 60))
    rows = {
        source: table.filter(pc.is_in(table["account_id"], pa.array(some)))
        for source, table in known_between(books / "world", FIRST, FIRST + 3 * DAY).items()
    }
    arrivals, seen, standing = troubled(rows, random), list[tuple[pd.DataFrame, pd.DataFrame]](), None
    for number in range(6):
        until = FIRST + (number + 1) * 16 * HOUR
        came = [(s, row) for at, s, row in arrivals if until - 16 * HOUR <= at < until]
        for source in STREAMED:
            mine = [row for s, row in came if s == source]
            put(inbox, f"{number}", {source: pa.Table.from_pylist(mine, schema=rows[source].schema)})
        ticked = tick(space, inbox, until, standing)
        standing = ticked.standing
        space.ledger.note(ticked.at, ("1", "", ""), DECISIONS.empty_table())  # as if something had been decided
        spine = pd.DataFrame({"account_id": some}).assign(
            as_of=pd.Timestamp(ticked.at), known_by=pd.Timestamp(ticked.at)
        )
        seen.append((spine, build_few(features, spine, relations_of(features, some, Journal(space.root)))))
    assert fold(space) is not None
    for spine, table in seen:
        pd.testing.assert_frame_equal(table, build_table(features, spine, space.relations(features)))
    counts = space.events.loads()[-1]["sources"].values()
    assert sum(count["deduplicated"] for count in counts) > 5
