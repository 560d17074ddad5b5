"""The decision: pure, idempotent, within its bounds, whatever the policy says."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limitlens.limits.decision import decide, inactive_rules
from limitlens.limits.policy import ADVERSE, Condition, CutOffs, Policy, Rule
from limitlens.limits.state import NEVER_DAYS, first_state, next_state, pack_state, state_at, unpack_state
from limitlens.pipeline.workspace import default_policy

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BASE = default_policy()

ROWS = st.lists(
    st.tuples(
        st.floats(0.001, 0.999),  # PD
        st.floats(0, 1),  # pd_ref, or none below 0.1
        st.integers(100_00, 50_000_00),  # limit
        st.floats(-0.2, 1.4),  # balance as a share of the limit
        st.sampled_from([0, 1, 27, 28, 89, 90, NEVER_DAYS]),  # days since change
        st.booleans(),  # adverse
        st.booleans(),  # can draw
        st.sampled_from([0, 5, 400]),  # age
        st.sampled_from(["student", "salaried"]),
        st.booleans(),  # rule column
    ),
    min_size=1,
    max_size=8,
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies with random cut-offs, steps, timers and one random rule."""
    cuts = sorted(draw(st.lists(st.floats(0.01, 0.99), min_size=5, max_size=5, unique=True)))
    default = CutOffs(*cuts, min_limit_cents=500_00, max_limit_cents=draw(st.integers(1_000_00, 60_000_00)))
    rule = Rule(
        "flagged", draw(st.sampled_from(["review", "decrease", "freeze", "close"])), "late_payments",
        (Condition("flag", "at_least", 1.0),), new_lines=draw(st.booleans()),
    )  # fmt: skip
    return replace(
        BASE,
        segments={"default": default},
        rules=(rule,),
        timers=replace(
            BASE.timers, dwell_days=draw(st.integers(1, 60)), cool_off_days=draw(st.integers(0, 120)),
            dead_band_log_odds=draw(st.floats(0, 1)),
        ),
        steps=replace(BASE.steps, increase_share=draw(st.floats(0, 1)), decrease_share=draw(st.floats(0.05, 1))),
    )  # fmt: skip


def book(rows: list[tuple[float, ...]]) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    names = ["pd", "pd_ref", "limit", "used", "since", "adverse", "can_draw", "age", "segment", "flag"]
    frame = pd.DataFrame(rows, columns=names)
    times = pd.Series(pd.Timestamp(AS_OF).as_unit("us"), index=frame.index)
    changed = (times - pd.to_timedelta(frame["since"], unit="D")).where(frame["since"] < NEVER_DAYS)
    lines = pd.DataFrame({"limit_cents": frame["limit"], "as_of": times})
    lines["opened_at"] = times - pd.to_timedelta(frame["age"], unit="D")
    state = first_state(lines, np.zeros(len(frame), bool)).assign(
        pd_ref=frame["pd_ref"].where(frame["pd_ref"] > 0.1), can_draw=frame["can_draw"], changed_at=changed,
        adverse_at=changed.where(frame["adverse"]),
    )  # fmt: skip
    table = pd.DataFrame(
        {
            "segment": frame["segment"],
            "balance_cents": (frame["limit"] * frame["used"]).astype(np.int64),
            "flag": frame["flag"].astype(float),
            "line_age_days": frame["age"].astype(float),
        }
    )
    return table, frame["pd"].to_numpy(), state_at(state, times)


@given(ROWS, policies())
def test_deciding_again_at_once_changes_nothing(rows: list[tuple[float, ...]], policy: Policy) -> None:
    table, pd_, state = book(rows)
    times = pd.Series(pd.Timestamp(AS_OF).as_unit("us"), index=table.index)
    first = decide(table, pd_, state, policy)
    again = decide(table, pd_, next_state(state, first, times), policy)
    pd.testing.assert_frame_equal(first[["limit_cents", "can_draw"]], again[["limit_cents", "can_draw"]])


@given(ROWS, policies())
def test_a_cut_never_goes_below_the_balance_nor_a_raise_above_the_band(
    rows: list[tuple[float, ...]], policy: Policy
) -> None:
    table, pd_, state = book(rows)
    decided = decide(table, pd_, state, policy)
    before, after = state["limit_cents"], decided["limit_cents"]
    cut = decided["action"] == "decrease"
    assert (after[cut] < before[cut]).all()
    assert (after[cut] >= table["balance_cents"][cut].clip(upper=before[cut])).all()
    raised = decided["action"] == "increase"
    assert (after[raised] > before[raised]).all()
    assert (after[raised] <= policy.segments["default"].max_limit_cents).all()
    still = decided["action"].isin(["keep", "review", "hold", "freeze", "unfreeze"])
    assert (after[still] == before[still]).all()
    assert (after[decided["action"] == "close"] == 0).all()


@given(ROWS, policies())
def test_one_line_alone_is_decided_as_in_the_batch(rows: list[tuple[float, ...]], policy: Policy) -> None:
    table, pd_, state = book(rows)
    batch = decide(table, pd_, state, policy)
    alone = decide(table.iloc[[-1]], pd_[-1:], state.iloc[[-1]], policy)
    pd.testing.assert_frame_equal(batch.iloc[[-1]], alone)


@given(ROWS)
def test_pd_alone_never_cuts_a_new_line(rows: list[tuple[float, ...]]) -> None:
    table, pd_, state = book(rows)
    decided = decide(table, pd_, state, replace(BASE, rules=()))
    young = table["line_age_days"] < BASE.new_lines.protected_days
    assert not decided.loc[young, "action"].isin(ADVERSE).any()


def test_the_holdout_is_not_cut_on_pd_but_by_rules_with_evidence() -> None:
    table, pd_, state = book([(0.99, 0.0, 10_000_00, 0.1, NEVER_DAYS, False, True, 400, "salaried", False)])
    held = state.assign(holdout=True)
    rule = Rule("flagged", "freeze", "late_payments", (Condition("flag", "at_least", 1.0),))
    policy = replace(BASE, rules=(rule,))
    assert decide(table, pd_, state, policy)["action"].tolist() == ["close"]
    assert decide(table, pd_, held, policy)["action"].tolist() == ["keep"]
    assert decide(table.assign(flag=1.0), pd_, held, policy)["action"].tolist() == ["freeze"]


def test_the_most_severe_rule_wins_and_all_are_told() -> None:
    table, _, state = book([(0.2, 0.0, 10_000_00, 0.1, NEVER_DAYS, False, True, 400, "salaried", True)])
    when = (Condition("flag", "at_least", 1.0),)
    rules = (Rule("look", "review", "late_payments", when), Rule("stop", "freeze", "late_payments", when))
    decided = decide(table, np.array([0.2]), state, replace(BASE, rules=rules)).iloc[0]
    assert (decided["action"], decided["fired_rules"]) == ("freeze", ["look", "stop", "pd_decrease"])


def test_a_small_expected_avoidable_loss_spares_a_drawn_line() -> None:
    table, pd_, state = book([(0.5, 0.0, 10_000_00, 1.0, NEVER_DAYS, False, True, 400, "salaried", False)])
    assert decide(table, pd_, state, BASE)["action"].tolist() == ["keep"]


@pytest.mark.parametrize(("pd_", "action"), [(0.31, "freeze"), (0.281, "keep"), (0.25, "decrease")])
def test_inside_the_dead_band_the_last_decision_stands(pd_: float, action: str) -> None:
    table, _, state = book([(pd_, 0.28, 10_000_00, 0.1, 60, True, True, 400, "salaried", False)])
    narrow = replace(BASE, rules=(), timers=replace(BASE.timers, dead_band_log_odds=0.1))
    assert decide(table, np.array([pd_]), state, narrow)["action"].tolist() == [action]


def test_rules_whose_source_is_absent_are_named() -> None:
    assert "takeover_signs" in inactive_rules(BASE, {"draw_share_2d", "draw_count_2d"})


@given(ROWS)
def test_a_state_survives_the_ledger(rows: list[tuple[float, ...]]) -> None:
    import pyarrow as pa

    _, _, state = book(rows)
    pd.testing.assert_frame_equal(unpack_state(pa.chunked_array([pack_state(state)])), state, check_dtype=False)
