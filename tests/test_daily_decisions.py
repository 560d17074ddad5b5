"""Lines decided daily, from the plan to the ledger: who is decided, in one call or many, and again in the past."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from limitlens.data.world import named_world
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.limits.state import unpacked
from limitlens.pipeline import decide
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.release import simulate_policy as simulate_room
from limitlens.pipeline.release.simulate_policy import past_lines, past_tables, simulate_policies
from limitlens.pipeline.release.simulate_policy import simulate as simulated
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import MadeOnce, make_daily_book

pytestmark = pytest.mark.slow

FIRST = datetime(2025, 10, 1, tzinfo=UTC)
LAST = FIRST + timedelta(days=12)
DAY = pd.Timedelta(days=1)
SAME = ["account_id", "as_of", "action", "limit_cents", "can_draw", "pd"]
SECTIONS = """
[second_look]
after_days = 5
soft_rules = ["takeover_signs", "takeover_passed_on"]

[daily]
any_of = [{ column = "new_device_and_city_count_7d", at_least = 1 }, { column = "dpd_days", above = 0 }]

[holds]"""


def watchful() -> Policy:
    """The shipped policy with lower cut-offs, a second look, and lines in arrears or signed in anew daily."""
    text = at_once(default_policy()).text.replace("[holds]", SECTIONS, 1)
    for old, new in (
        ("freeze_above_pd = 0.300", "freeze_above_pd = 0.240"),
        ("close_above_pd = 0.450", "close_above_pd = 0.350"),
    ):
        text = text.replace(old, new, 1)
    return parse_policy(text)


def make_book(folder: Path) -> None:
    """A small book, trained, and decided day by day for twelve days."""
    make_daily_book(folder, watchful(), FIRST, LAST, world=named_world("honest"))


@pytest.fixture(scope="module")
def books(made_once: MadeOnce) -> Path:
    """Read only."""
    return made_once("daily_decisions", make_book)


def decisions(space: Workspace) -> pd.DataFrame:
    rows = unpacked(space.ledger.table("SELECT * FROM decisions"))
    return rows.sort_values(["account_id", "as_of"], ignore_index=True)


def expected(space: Workspace, found: pd.DataFrame) -> Iterator[tuple[str, pd.Timestamp]]:
    """Of every line at every date: whether it is new, signed in anew, past due or paused, and not closed."""
    features = space.iteration("1").model.features.only(["new_device_and_city_count_7d", "dpd_days"])
    relations = space.events.relations()
    lines = book(list(pd.date_range(FIRST + timedelta(days=1), LAST).to_pydatetime()), relations)
    table = build_table(features, lines[["account_id", "as_of", "known_by"]], relations)
    own = {account: rows.to_dict("records") for account, rows in found.groupby("account_id")}
    for line, row in zip(lines.to_dict("records"), table.to_dict("records"), strict=True):
        before = [one for one in own.get(line["account_id"], []) if one["as_of"] < line["as_of"]]
        due = line["as_of"] - line["opened_at"] <= 7 * DAY
        due |= row["new_device_and_city_count_7d"] > 0 or row["dpd_days"] > 0 or (bool(before) and waits(before[-1]))
        if due and not (before and (before[-1]["action"] == "close" or before[-1]["state.closed"])):
            yield line["account_id"], line["as_of"]


def waits(last: dict[str, Any]) -> bool:
    """Whether a line waits for a second look after its last decision."""
    begun = last["action"] == "pause" or not pd.isna(last["state.paused_at"])
    return begun and not last["can_draw"] and last["action"] in {"pause", "keep", "review"}


def test_on_every_day_those_are_decided_that_the_policy_names_and_no_other(books: Path) -> None:
    space = Workspace(books / "decided")
    found = decisions(space)
    daily = found[(found["as_of"] > pd.Timestamp(FIRST)) & (found["as_of"] == found["as_of"].dt.normalize())]
    assert set(zip(daily["account_id"], daily["as_of"], strict=True)) == set(expected(space, found))
    assert {"unfreeze", "freeze"} <= set(daily["action"])
    assert (found.loc[found["as_of"] == pd.Timestamp(FIRST), "action"] == "pause").any()


def test_one_call_for_many_days_decides_as_a_call_a_day(books: Path, tmp_path: Path) -> None:
    shutil.copytree(books / "base", tmp_path / "work")
    space = Workspace(tmp_path / "work")
    decide(space, as_of=FIRST)
    for day in range(1, 7):
        decide(space, until=FIRST + timedelta(days=day))
    together = decisions(Workspace(books / "decided"))
    together = together[together["as_of"] <= pd.Timestamp(FIRST + timedelta(days=6))].reset_index(drop=True)
    pd.testing.assert_frame_equal(decisions(space)[SAME], together[SAME])


def test_the_decisions_replay_and_the_past_simulated_is_the_ledger(books: Path) -> None:
    space = Workspace(books / "decided")
    found = decisions(space)
    assert replay(space) == len(found)
    iteration = space.iteration("1", space.ledger.runs()[0].policy_digest)
    planned = past_lines(space, iteration, FIRST, LAST)
    past = simulated(iteration, planned, past_tables(space, iteration, planned), space)
    past = past.sort_values(["account_id", "as_of"], ignore_index=True)
    pd.testing.assert_frame_equal(past[SAME], found[SAME], check_dtype=False)


def test_a_policy_is_simulated_on_its_own_calendar(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands beside it, with the section or without."""

    def some(workspace: Workspace, iteration: Iteration, since: datetime, until: datetime) -> pd.DataFrame:
        """The month starts, and two days of each month beside them."""
        planned = past_lines(workspace, iteration, since, until)
        return planned[planned["date"].dt.day.isin([1, 11, 21])]

    monkeypatch.setattr(simulate_room, "past_lines", some)
    space, own = Workspace(books / "decided"), replace(watchful(), second_look=None)
    since, without = datetime(2025, 7, 1, tzinfo=UTC), replace(own, daily=None)
    together = simulate_policies(space, [own, without], since=since).policies
    alone = simulate_policies(space, [without], since=since).policies
    assert together[1] == alone[0]
    assert together[0].outcome != together[1].outcome
