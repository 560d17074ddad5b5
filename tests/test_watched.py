"""Splits that a watch is involved in: both sides are looked at alike, and both limits stay as they were recorded."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.limits.decision import decide
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import Policy
from limitlens.limits.state import STATE_COLUMNS, next_state, state_before
from limitlens.limits.tick import as_text, from_text
from limitlens.limits.watched import looked_at_alike
from tests.strategies import Row, as_ofs, book_of, cases


def test_which_side_a_watch_is_taken_to_have_looked_at_and_with_which_state() -> None:
    """By hand: it saw the line at t0, it sees it at t1, what was decided at t0, and whether a pause goes on."""
    rows = [
        # saw, seen, action at t0, paused; looked at t0, at t1, with the state of t1
        (False, False, "keep", False, False, False, False),
        (False, True, "keep", False, True, True, True),
        (True, True, "unfreeze", False, True, True, True),
        (True, False, "pause", True, True, True, False),
        (True, False, "pause", False, True, False, False),
        (True, False, "unfreeze", True, False, False, False),
    ]
    saw, seen, action, paused, *expected = (list(column) for column in zip(*rows, strict=True))
    names = [f"state.{name}" for name in STATE_COLUMNS]
    previous = pd.DataFrame({name: [0] * len(rows) for name in names}).assign(action=action, limit_cents=10)
    previous["state.watched"] = saw
    changes = pd.DataFrame({name: [1] * len(rows) for name in names}).assign(limit_before_cents=20)
    changes = changes.assign(**{"state.watched": seen, "state.paused_at": [1 if on else None for on in paused]})
    before, change = looked_at_alike(previous, changes)
    assert [before["state.watched"].tolist(), change["state.watched"].tolist()] == expected[:2]
    assert (before["state.opened_at"] == 1).tolist() == (before["limit_cents"] == 20).tolist() == expected[2]


@settings(max_examples=60)
@given(cases(), cases(), st.booleans(), st.booleans())
def test_looked_at_alike_each_side_decides_the_limit_that_was_recorded(
    case: tuple[list[Row], Policy], other: tuple[list[Row], Policy], saw: bool, seen: bool
) -> None:
    """Two decisions of a line one after the other, by a watch or a plan, as they are split: by the rules of each."""
    (rows, policy), now = case, as_ofs(len(case[0]))
    table, pd_, state = book_of([row | {"watched": saw} for row in rows])
    first = decide(table, pd_, state, policy)
    later, later_pd, _ = book_of([other[0][place % len(other[0])] for place in range(len(rows))])
    after = next_state(state, first, now).assign(watched=seen)
    second = decide(later, later_pd, after, policy)
    # What the ledger holds of a watch: a pause or the end of one.
    noted = first["action"].isin(["pause", "unfreeze"]) | (not saw)
    noted &= second["action"].isin(["pause", "unfreeze"]) | (not seen)
    # After a pause of the watch: what goes on from it; what carries it out is split against what stood before.
    noted &= ~(second["action"].isin(["decrease", "freeze", "close"]) & bool(saw) & (first["action"] == "pause"))
    old = pd.concat([first, state.add_prefix("state.")], axis=1).assign(limit_before_cents=state["limit_cents"])
    new = pd.concat([second, after.add_prefix("state.")], axis=1).assign(limit_before_cents=after["limit_cents"])
    before, change = looked_at_alike(old, new)
    replayed = decide(table, pd_, state_before(before), policy)["limit_cents"]
    assert (replayed == before["limit_cents"])[noted].all()
    again = decide(later, later_pd, state_before(change), policy)["limit_cents"]
    assert (again == new["limit_cents"])[noted].all()
    if not (saw or seen):
        assert before is old
        assert change is new
    assert np.array_equal(before["limit_cents"][~change["state.watched"]], old["limit_cents"][~change["state.watched"]])


def value_of(kind: pa.DataType) -> object:
    """Some value of a type, hard to write down where there is one."""
    if pa.types.is_struct(kind):
        return {field.name: value_of(field.type) for field in kind}
    if pa.types.is_list(kind):
        return ["A \u2028 额", '"'] if pa.types.is_string(kind.value_type) else [2**60, 0]
    if pa.types.is_timestamp(kind):
        return datetime(2025, 10, 1, 12, 0, 0, 1, tzinfo=UTC)
    return {pa.string(): "额\n", pa.int64(): 2**60 + 1, pa.float64(): 0.1 + 0.2, pa.bool_(): False}[kind]


def test_decisions_of_a_tick_come_back_from_their_text_to_the_last_bit() -> None:
    whole = {field.name: value_of(field.type) for field in DECISIONS}
    inner = {field.name: None for field in DECISIONS.field("state").type}
    rows = [whole, dict.fromkeys(whole), whole | {"state": inner}]
    table = pa.Table.from_pylist(rows, schema=DECISIONS)
    assert from_text(as_text(table)).equals(table)
