"""The state of a line: what a decision leaves behind, days counted whole, a holdout that is drawn once and for good."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.limits.policy import ACTIONS, Policy
from limitlens.limits.state import NEVER_DAYS, first_state, in_holdout, next_state, pack_state, state_at, unpack_state
from tests.strategies import AS_OF, Row, as_ofs, book_of, cases

_MOMENTS = ("opened_at", "changed_at", "adverse_at", "paused_at")
_DAYS = ("line_age_days", "days_since_change", "days_since_adverse", "days_since_pause")


def after(line: dict[str, Any], decision: dict[str, Any], as_of: datetime) -> dict[str, Any]:
    """State after one decision, as docs/policy.md and docs/architecture.md tell it."""
    moved = any(line[name] != decision[name] for name in ("limit_cents", "can_draw"))
    left = line | {name: decision[name] for name in ("limit_cents", "can_draw")}
    left["watched"] = False
    left["closed"] = line["closed"] or decision["action"] == "close"
    paused, adverse = not pd.isna(line["paused_at"]), decision["action"] in {"decrease", "freeze", "close"}
    if paused and moved and decision["action"] == "unfreeze":
        left |= {"changed_at": as_of, "paused_at": pd.NaT}
    elif decision["action"] == "pause":
        left["paused_at"] = as_of
    elif moved or (paused and adverse):
        left |= {"pd_ref": decision["pd"], "changed_at": as_of, "paused_at": pd.NaT}
        if adverse:
            left["adverse_at"] = as_of
    for moment, days in zip(_MOMENTS, _DAYS, strict=True):
        left[days] = NEVER_DAYS if pd.isna(left[moment]) else (as_of - left[moment]) // timedelta(days=1)
    return left


@settings(max_examples=20)
@given(cases(), st.randoms(use_true_random=True), st.integers(0, 50))
def test_the_next_state_is_what_a_loop_over_the_lines_says(
    case: tuple[list[Row], Policy], random: Any, hours: int
) -> None:
    _, pd_, state = book_of(case[0])
    as_of = as_ofs(len(state)) + pd.Timedelta(hours=hours)
    decisions = state[["limit_cents", "can_draw"]].assign(
        action=[random.choice(ACTIONS) for _ in pd_],
        pd=pd_,
        limit_cents=[cents + random.choice([0, 0, 1, -1]) for cents in state["limit_cents"]],
        can_draw=[draws ^ (random.random() < 0.3) for draws in state["can_draw"]],
    )
    lines, decided = state.to_dict("records"), decisions.to_dict("records")
    expected = [after(line, one, as_of[0]) for line, one in zip(lines, decided, strict=True)]
    found = next_state(state, decisions, as_of)
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected)[found.columns], check_dtype=False)


@pytest.mark.parametrize(("age", "days"), [(timedelta(0), 0), (timedelta(hours=47), 1), (timedelta(days=2), 2)])
def test_a_first_state_has_no_timer_but_its_age_in_whole_days(age: timedelta, days: int) -> None:
    line = pd.DataFrame({"limit_cents": [7], "as_of": as_ofs(1), "opened_at": as_ofs(1) - age})
    (state,) = first_state(line, np.array([True])).to_dict("records")
    assert (state["limit_cents"], state["can_draw"], state["closed"], state["holdout"]) == (7, True, False, True)
    assert [state[name] for name in _DAYS] == [days, NEVER_DAYS, NEVER_DAYS, NEVER_DAYS]
    assert pd.isna(state["pd_ref"])
    later = state_at(first_state(line, np.array([True])), pd.Series([pd.Timestamp(AS_OF) + pd.Timedelta(days=3)]))
    assert later["line_age_days"].tolist() == [days + 3]


def test_the_holdout_is_a_share_of_all_and_whom_it_holds_it_holds_for_good() -> None:
    accounts = pd.Series([f"A{number}" for number in range(4_000)])
    tenth, fifth = (in_holdout(accounts, share, "salt") for share in (0.1, 0.2))
    assert tenth.mean() == pytest.approx(0.1, abs=0.02)
    assert not (tenth & ~fifth).any()
    assert np.flatnonzero(tenth)[:5].tolist() == [1, 11, 16, 37, 43]
    assert (in_holdout(accounts, 0.1, "pepper") != tenth).any()
    assert in_holdout(accounts, 1.0, "salt").all()
    assert not in_holdout(accounts, 0.0, "salt").any()


def test_a_state_of_before_there_were_pauses_has_none() -> None:
    line = pd.DataFrame({"limit_cents": [7], "as_of": as_ofs(1), "opened_at": as_ofs(1)})
    state = first_state(line, np.array([False]))
    packed = pack_state(state)
    names = [field.name for field in packed.type if "pause" not in field.name]
    older = pa.StructArray.from_arrays([packed.field(name) for name in names], names)
    pd.testing.assert_frame_equal(unpack_state(pa.chunked_array([older])), state, check_dtype=False)
