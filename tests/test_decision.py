"""The decision: pure, idempotent, within its bounds, whatever the policy says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.toml_reader import Reader
from limitlens.limits.decision import CHUNK_ROWS, decide, holds, inactive_rules
from limitlens.limits.policy import ADVERSE, Condition, Policy, Rule
from limitlens.limits.policy_checks import check_policy
from limitlens.limits.policy_file import at_once
from limitlens.limits.second_look import carried_out, settled, without_pause
from limitlens.limits.state import next_state, pack_state, state_before, unpack_state
from limitlens.pipeline.workspace import default_policy
from tests.decision_oracle import decide_one
from tests.strategies import LINES, Row, as_ofs, book_of, cases, policies

BASE = at_once(default_policy())
Case = tuple[list[Row], Policy]
FLAGGED = (Condition("flag", "at_least", 1.0),)


def decided(policy: Policy, **line: Any) -> pd.Series:
    """The decision on one line that is ordinary but for the given values."""
    return decide(*book_of([line]), policy).iloc[0]


@given(policies())
def test_random_policies_are_valid(policy: Policy) -> None:
    check_policy(policy, Reader("", "random"))


@pytest.mark.slow
@settings(max_examples=200)
@given(cases())
def test_every_line_is_decided_as_plain_python_would(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    lines = pd.concat([table.drop(columns="line_age_days"), state], axis=1).assign(pd=pd_).to_dict("records")
    found = decide(table, pd_, state, policy)[["action", "limit_cents", "can_draw", "fired_rules"]]
    assert [tuple(row) for row in found.itertuples(index=False)] == [decide_one(line, policy) for line in lines]


@pytest.mark.slow
@settings(max_examples=40)
@given(cases())
def test_deciding_again_at_once_changes_nothing(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    first = decide(table, pd_, state, policy)
    after = next_state(state, first, as_ofs(len(rows)))
    again = decide(table, pd_, after.assign(watched=state["watched"]), policy)
    pd.testing.assert_frame_equal(first[["limit_cents", "can_draw"]], again[["limit_cents", "can_draw"]])
    assert again["action"].isin(["keep", "review"]).all()
    pd.testing.assert_frame_equal(next_state(after, again, as_ofs(len(rows))), after)


@settings(max_examples=40)
@given(cases())
def test_within_the_day_drawing_is_paused_or_a_pause_lifted_and_no_limit_moves(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    found = decide(table, pd_, state.assign(watched=True), policy)
    assert found["action"].isin(["pause", "unfreeze", "keep"]).all()
    assert (found["limit_cents"] == state["limit_cents"]).all()
    assert state.loc[found["action"] == "unfreeze", "paused_at"].notna().all()


@pytest.mark.slow
@settings(max_examples=100)
@given(cases())
def test_a_decision_that_stands_is_what_it_were_without_any_waiting(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    state = state.assign(watched=False)
    found = decide(table, pd_, state, policy)
    decisions = pd.concat([found, state.add_prefix("state.")], axis=1)
    plain, compared = replace(policy, second_look=None), ["action", "limit_cents"]
    asked = decide(table, pd_, state_before(without_pause(decisions)), plain)
    ended, never = carried_out(decisions), settled(decisions) & state["paused_at"].isna().to_numpy()
    for rows_ in (ended, never):
        pd.testing.assert_frame_equal(found.loc[rows_, compared], asked.loc[rows_, compared])


@settings(max_examples=40)
@given(cases())
def test_limits_stay_within_their_bounds(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    found = decide(table, pd_, state, policy)
    before, after = state["limit_cents"], found["limit_cents"]
    assert after.dtype == np.int64
    cut = found["action"] == "decrease"
    assert (after[cut] < before[cut]).all()
    assert (after[cut] >= table["balance_cents"][cut].clip(upper=before[cut])).all()
    raised = found["action"] == "increase"
    most = table["segment"].map(lambda name: policy.cut_offs(name).max_limit_cents)
    assert (after[raised] > before[raised]).all()
    assert (after[raised] <= most[raised]).all()
    assert (after[raised] <= before[raised] + policy.steps.max_increase_cents).all()
    still = found["action"].isin(["keep", "review", "hold", "freeze", "unfreeze"])
    assert (after[still] == before[still]).all()
    assert (after[found["action"] == "close"] == 0).all()


@settings(max_examples=40)
@given(cases())
def test_a_closed_line_stays_as_it_is(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of([row | {"closed": True} for row in rows])
    found = decide(table, pd_, state, policy)
    assert (found["action"] == "keep").all()
    pd.testing.assert_frame_equal(found[["limit_cents", "can_draw"]], state[["limit_cents", "can_draw"]])


@settings(max_examples=40)
@given(cases(), st.randoms(use_true_random=True))
def test_a_line_is_decided_the_same_alone_and_in_any_order(case: Case, random: Any) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    whole = decide(table, pd_, state, policy)
    order = random.sample(range(len(rows)), len(rows))
    pd.testing.assert_frame_equal(decide(table.iloc[order], pd_[order], state.iloc[order], policy), whole.iloc[order])
    pd.testing.assert_frame_equal(decide(table.iloc[[-1]], pd_[-1:], state.iloc[[-1]], policy), whole.iloc[[-1]])


@settings(max_examples=4)
@given(cases())
def test_a_book_of_many_chunks_is_decided_as_its_pieces(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    places = np.resize(np.arange(len(table)), 2 * CHUNK_ROWS + 17)
    many = decide(*(part.iloc[places].reset_index(drop=True) for part in (table, pd.Series(pd_), state)), policy)
    few = decide(table, pd_, state, policy).iloc[places].reset_index(drop=True)
    pd.testing.assert_frame_equal(many, few)


@pytest.mark.slow
@settings(max_examples=40)
@given(cases(), st.integers(1, 9))
def test_the_size_of_the_chunks_changes_no_decision(case: Case, size: int) -> None:
    rows, policy = case
    whole = decide(*book_of(rows), policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.limits.decision.CHUNK_ROWS", size)
        pd.testing.assert_frame_equal(decide(*book_of(rows), policy), whole)


@settings(max_examples=40)
@given(cases())
def test_pd_alone_never_cuts_a_protected_line(case: Case) -> None:
    rows, policy = case
    table, pd_, state = book_of(rows)
    found = decide(table, pd_, state, replace(policy, rules=(), delinquency=()))
    young = table["line_age_days"] < policy.new_lines.protected_days
    assert not found.loc[young, "action"].isin(ADVERSE).any()


@settings(max_examples=40)
@given(cases())
def test_pd_alone_never_cuts_the_holdout(case: Case) -> None:
    rows, policy = case
    book = book_of([row | {"holdout": True} for row in rows])
    found = decide(*book, replace(policy, rules=(), delinquency=()))
    assert not found["action"].isin(ADVERSE).any()


@pytest.mark.parametrize(
    ("line", "action"),
    [({}, "close"), ({"holdout": True}, "keep"), ({"holdout": True, "flag": 1.0}, "freeze")],
)
def test_the_holdout_is_not_cut_on_pd_but_by_rules_with_evidence(line: Row, action: str) -> None:
    policy = replace(BASE, rules=(Rule("flagged", "freeze", "late_payments", FLAGGED),))
    assert decided(policy, pd=0.99, used=0.1, **line)["action"] == action


def test_the_most_severe_rule_wins_and_all_are_told() -> None:
    rules = (Rule("look", "review", "late_payments", FLAGGED), Rule("stop", "freeze", "late_payments", FLAGGED))
    found = decided(replace(BASE, rules=rules), pd=0.2, flag=1.0)
    assert (found["action"], found["fired_rules"]) == ("freeze", ["look", "stop", "pd_decrease"])


TAKEN = {"new_device_and_city_count_7d": 1.0, "draw_share_7d": 0.1, "purchase_count_7d": 0.0, "passed_on_count_7d": 1.0}


@pytest.mark.parametrize(
    ("seen", "fired"),
    [
        ({}, ["takeover_signs", "takeover_passed_on"]),
        ({"purchase_count_7d": 1.0}, ["takeover_passed_on"]),  # a traveller buys something
        ({"passed_on_count_7d": 0.0}, ["takeover_signs"]),
        ({"purchase_count_7d": 1.0, "passed_on_count_7d": 0.0}, []),
        ({"draw_share_7d": 0.09}, []),
        ({"new_device_and_city_count_7d": 0.0}, []),
    ],
)
def test_cash_from_a_new_phone_in_a_new_city_freezes_where_nothing_is_bought_or_it_is_passed_on(
    seen: dict[str, float], fired: list[str]
) -> None:
    table, pd_, state = book_of([{"pd": 0.05, "age": 20}])
    found = decide(table.assign(**TAKEN | seen), pd_, state, BASE).loc[0]
    assert found["fired_rules"] == fired
    assert (found["action"], found["limit_cents"]) == ("freeze" if fired else "keep", state["limit_cents"][0])


def test_a_small_expected_avoidable_loss_spares_a_drawn_line() -> None:
    assert decided(BASE, pd=0.5, used=1.0)["action"] == "keep"


@pytest.mark.parametrize(("pd_", "action"), [(0.31, "freeze"), (0.281, "keep"), (0.25, "decrease")])
def test_inside_the_dead_band_the_last_decision_stands(pd_: float, action: str) -> None:
    narrow = replace(BASE, rules=(), timers=replace(BASE.timers, dead_band_log_odds=0.1))
    assert decided(narrow, pd=pd_, pd_ref=0.28, days_since_change=60, adverse=True)["action"] == action


@pytest.mark.parametrize(("days", "action"), [(89, "keep"), (90, "increase")])
def test_a_raise_waits_until_the_cool_off_is_over(days: int, action: str) -> None:
    assert decided(BASE, pd=0.001, days_since_change=days, adverse=True)["action"] == action


@pytest.mark.parametrize(
    ("line", "limit_cents"),
    [
        ({}, 12_000_00),  # the step
        ({"transfer_in_sum_90d": 8_565_00}, 11_400_00),  # four average months of inflow, rounded down
        ({"transfer_in_sum_90d": 0}, 10_000_00),  # the inflow stopped: no raise, but no cut either
        ({"transfer_in_sum_90d": 0, "transfer_in_days_since_ever": np.nan}, 12_000_00),  # never seen: no band
        ({"limit_cents": 150_000_00}, 170_000_00),  # the ceiling of a step
    ],
)
def test_a_raise_ends_at_what_is_affordable(line: Row, limit_cents: int) -> None:
    known = {"transfer_in_sum_90d": 900_000_00, "transfer_in_days_since_ever": 3.0} | line
    table, pd_, state = book_of([{"pd": 0.001} | {key: known.pop(key) for key in ("limit_cents",) if key in known}])
    assert decide(table.assign(**known), pd_, state, BASE)["limit_cents"].tolist() == [limit_cents]


@pytest.mark.parametrize(
    ("line", "limit_cents"),
    [({"pd": 0.001, "limit_cents": 2_000_00}, 2_300_00), ({"pd": 0.2, "limit_cents": 7_000_00}, 4_900_00)],
)
def test_a_step_that_is_whole_hundreds_by_hand_is_so_in_floats(line: Row, limit_cents: int) -> None:
    """115% of 2,000 and 70% of 7,000 fall short of a whole number by the last bit of a float."""
    steps = replace(BASE.steps, increase_share=0.15, decrease_share=0.3)
    assert decided(replace(BASE, steps=steps), used=0.4, **line)["limit_cents"] == limit_cents


@pytest.mark.parametrize(
    ("days", "action", "fired"),
    [
        (0, "increase", ["pd_increase"]),
        (1, "keep", ["past_due_1", "pd_increase"]),
        (29, "keep", ["past_due_1", "pd_increase"]),
        (30, "freeze", ["past_due_30", "pd_increase"]),
        (89, "freeze", ["past_due_30", "pd_increase"]),
        (90, "close", ["past_due_90", "pd_increase"]),
    ],
)
def test_each_bucket_of_days_past_due_has_its_action(days: int, action: str, fired: list[str]) -> None:
    found = decided(BASE, pd=0.001, dpd_days=days)
    assert (found["action"], found["fired_rules"]) == (action, fired)


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ({"age": 0, "limit_cents": 10_000_00}, "keep"),
        ({"age": 0, "limit_cents": 10_000_01}, "review"),
        ({"age": 1, "limit_cents": 10_000_01}, "keep"),
    ],
)
def test_a_line_opened_above_its_band_is_reviewed_and_keeps_its_limit(line: Row, action: str) -> None:
    found = decided(BASE, segment="student", **line)
    assert (found["action"], found["limit_cents"]) == (action, line["limit_cents"])
    assert found["fired_rules"] == (["opening_above_band"] if action == "review" else [])


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("at_least", [False, True, True, False]),
        ("at_most", [True, True, False, False]),
        ("above", [False, False, True, False]),
        ("below", [True, False, False, False]),
    ],
)
def test_a_condition_holds_on_its_side_of_the_value_and_never_for_a_missing_one(
    operator: str, expected: list[bool]
) -> None:
    values = np.array([6.9, 7.0, 7.1, np.nan])
    assert holds(Condition("dpd_days", operator, 7.0), values).tolist() == expected


def test_rules_whose_source_is_absent_are_named() -> None:
    inactive = inactive_rules(BASE, {"draw_share_2d", "draw_count_2d", "another"})
    assert {"takeover_signs", "past_due_30", "affordability"} <= set(inactive)
    assert "burst_borrowing" not in inactive


@pytest.mark.slow
@given(LINES)
def test_a_state_survives_the_ledger(rows: list[Row]) -> None:
    _, _, state = book_of(rows)
    pd.testing.assert_frame_equal(unpack_state(pa.chunked_array([pack_state(state)])), state, check_dtype=False)
