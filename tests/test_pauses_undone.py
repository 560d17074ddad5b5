"""The end of a pause: which decisions stand, what it is split against, and a line as if nobody had waited."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS
from limitlens.limits.second_look import (
    as_asked,
    carried_out,
    ends_a_pause,
    last_settled,
    settled,
    split_against,
    without_pause,
)
from limitlens.limits.state import NEVER_DAYS
from limitlens.pipeline.workspace import default_policy
from tests.strategies import AS_OF
from tests.test_spared import MODEL

ADVERSE = {"decrease", "freeze", "close"}

#: Account, day of the decision, action, whether the line was paused before it.
Decision = tuple[str, int, str, bool]


def frame(*decisions: Decision) -> pd.DataFrame:
    rows = pd.DataFrame(decisions, columns=["account_id", "day", "action", "paused"])
    times = pd.Timestamp(AS_OF).as_unit("us") + pd.to_timedelta(rows["day"], unit="D")
    days = rows["paused"].map({True: 3, False: NEVER_DAYS}).astype("int64")
    state = {
        "paused_at": (times - pd.Timedelta(days=3)).where(rows["paused"]),
        "days_since_pause": days,
        "watched": False,
        "can_draw": ~rows["paused"] & (rows["action"] != "unfreeze"),
    }
    named = {f"state.{name}": column for name, column in state.items()}
    return rows[["account_id", "action"]].assign(as_of=times, **named)


def stands(decision: Decision) -> bool:
    *_, action, paused = decision
    return action in ADVERSE if paused else action != "pause"


def at(day: int) -> datetime:
    return AS_OF + timedelta(days=day)


HISTORIES = st.lists(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 6), st.sampled_from(ACTIONS), st.booleans()),
    unique_by=lambda one: one[:2],
)

EVERY: list[Decision] = [(f"A{n}", 0, *one) for n, one in enumerate(product(ACTIONS, (False, True)))]


def test_a_decision_stands_unless_it_pauses_or_leaves_the_line_paused_or_lifts_the_pause() -> None:
    assert settled(frame(*EVERY)).tolist() == [stands(one) for one in EVERY]


def test_an_adverse_action_on_a_paused_line_carries_out_the_pause() -> None:
    assert carried_out(frame(*EVERY)).tolist() == [paused and action in ADVERSE for *_, action, paused in EVERY]


@settings(max_examples=25)
@given(HISTORIES, st.randoms(use_true_random=True))
def test_the_last_that_stands_is_the_latest_of_each_account_in_any_order(
    decisions: list[Decision], random: Random
) -> None:
    expected = {account: at(day) for account, day, *rest in sorted(decisions) if stands((account, day, *rest))}
    found = last_settled(frame(*random.sample(decisions, len(decisions))))
    assert dict(zip(found["account_id"], found["as_of"], strict=True)) == expected
    assert len(found) == len(expected)


@given(HISTORIES, st.integers(0, 6), st.randoms(use_true_random=True))
def test_the_end_of_a_pause_is_split_against_what_stood_before_it_and_all_else_against_the_last(
    history: list[Decision], day: int, random: Random
) -> None:
    expected = {}
    for account, on, action, paused in history:
        before = sorted(one for one in history if one[0] == account and one[1] < on)
        if paused and action in ADVERSE:
            before = [one for one in before if stands(one)]
        if before and on >= day:
            expected[account, at(on)] = at(before[-1][1])
    mixed = random.sample(history, len(history))
    earlier, decisions = (frame(*(one for one in mixed if (one[1] < day) == old)) for old in (True, False))
    previous, changes = split_against(earlier, decisions)
    assert (
        dict(zip(zip(changes["account_id"], changes["as_of"], strict=True), previous["as_of"], strict=True)) == expected
    )
    assert (previous["account_id"] == changes["account_id"]).all()
    assert len(changes) == len(expected)


def test_a_change_ends_a_pause_only_if_what_it_is_split_against_stands() -> None:
    """What a person ordered, or a first decision, may leave a pause itself as the decision before."""
    before = frame(("A", 0, "keep", False), ("B", 0, "pause", False), ("C", 0, "keep", False))
    changes = frame(("A", 1, "close", True), ("B", 1, "close", True), ("C", 1, "close", False))
    assert ends_a_pause(before, changes).tolist() == [True, False, False]


def test_without_the_pause_a_line_can_draw_and_never_waited_and_others_are_as_they_were() -> None:
    rows = frame(("A", 0, "close", True), ("B", 0, "keep", False), ("C", 0, "unfreeze", False))
    assert rows["state.can_draw"].tolist() == [False, True, False]
    found = without_pause(rows)
    assert found["state.can_draw"].tolist() == [True, True, False]
    assert found["state.paused_at"].isna().all()
    assert found["state.days_since_pause"].tolist() == [NEVER_DAYS] * 3
    same = ["account_id", "as_of", "action"]
    pd.testing.assert_frame_equal(found[same], rows[same])


@pytest.mark.parametrize("paused", [True, False])
def test_a_pause_carried_out_is_decided_again_without_a_second_look_on_both_sides(paused: bool) -> None:
    waits = Iteration(MODEL, default_policy(), "1")
    assert waits.policy.second_look
    before, changes = frame(("A", 0, "unfreeze", False)), frame(("A", 1, "close", paused))
    before["state.paused_at"] = before["as_of"]  # undone on this side, too
    before.loc[0, "action"] = "freeze"
    both = (waits, replace(waits, model_version="2"))
    sides, old, new = as_asked(both, before, changes)
    plain = [replace(side, policy=replace(side.policy, second_look=None)) for side in both]
    assert sides == (tuple(plain) if paused else both)
    pd.testing.assert_frame_equal(old, without_pause(before) if paused else before)
    pd.testing.assert_frame_equal(new, without_pause(changes) if paused else changes)
