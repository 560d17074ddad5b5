"""Moments: which rows of features a decision and its split read, and which window each state of the data is."""

from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.features.line import DATA_HOLD
from limitlens.limits.iteration import Iteration
from limitlens.pipeline.deciding.attribute import data_states
from limitlens.pipeline.deciding.point_in_time import change_moments, feature_moments, rows_at
from limitlens.pipeline.workspace import default_policy
from tests.strategies import AS_OF
from tests.test_spared import MODEL

NOW = Iteration(MODEL, default_policy(), "1")

#: Account and day.
Point = tuple[str, int]
POINTS = st.sets(st.tuples(st.sampled_from("ABC"), st.integers(10, 13)), min_size=1)


def at(day: int) -> datetime:
    return AS_OF + timedelta(days=day)


def frame(points: list[Point]) -> pd.DataFrame:
    rows = pd.DataFrame(points, columns=["account_id", "day"]).astype({"account_id": str})
    times = pd.Timestamp(AS_OF).as_unit("us") + pd.to_timedelta(rows["day"].astype("int64"), unit="D")
    return rows[["account_id"]].assign(as_of=times)


def told(moments: pd.DataFrame) -> set[tuple[str, datetime, datetime]]:
    assert not moments.duplicated().any()
    return set(moments[["account_id", "as_of", "known_by"]].itertuples(index=False, name=None))


@settings(max_examples=25)
@given(POINTS, st.dictionaries(st.sampled_from("ABCD"), st.integers(2, 9)), st.randoms(use_true_random=True))
def test_decisions_read_themselves_and_the_one_before_as_known_then(
    planned: set[Point], latest: dict[str, int], random: Random
) -> None:
    expected = set()
    for account in {account for account, _ in planned}:
        own = sorted(day for name, day in planned if name == account)
        days = [*([latest[account]] if account in latest else []), *own]
        expected |= {(account, at(day), at(day)) for day in days}
        expected |= {(account, at(old), at(new)) for old, new in pairwise(days)}
    lines = frame(random.sample(sorted(planned), len(planned)))
    assert told(feature_moments(lines, frame(list(latest.items())))) == expected


def test_a_split_reads_both_decisions_as_known_at_them_and_as_known_later() -> None:
    changes = frame([("A", 3), ("B", 3)]).assign(known_by=[pd.Timestamp(at(9)), pd.Timestamp(at(3))])
    found = told(change_moments(frame([("A", 1), ("B", 1)]), changes))
    of_a = {("A", at(as_of), at(known_by)) for as_of, known_by in [(1, 1), (3, 3), (1, 9), (3, 9)]}
    assert found == of_a | {("B", at(as_of), at(known_by)) for as_of, known_by in [(1, 1), (3, 3), (1, 3)]}


def table() -> pd.DataFrame:
    """A feature that says when it was read, and as known when."""
    days = [(account, one, other) for account in "AB" for one in range(10) for other in range(10)]
    keys = [(account, at(one), at(other)) for account, one, other in days]
    index = pd.MultiIndex.from_tuples(keys, names=["account_id", "as_of", "known_by"])
    return pd.DataFrame({"account_id": [account for account, *_ in days], "read": days}, index=index)


@pytest.mark.parametrize("known_by", [3, 9])
def test_each_state_of_the_data_is_one_window_as_known_at_its_decision_or_later(known_by: int) -> None:
    previous, changes = (frame([(account, day) for account in "BA"]).assign(action="keep") for day in (1, 3))
    states = data_states(NOW, NOW, previous, changes.assign(known_by=at(known_by)), {MODEL.features.digest: table()})
    seen = {name: state["read"].tolist() for (name, _), state in states.items()}
    expected = {"O0": (1, 1), "C0": (1, known_by), "C1": (3, known_by), "O1": (3, 3)}
    assert seen == {name: [(account, *days) for account in "BA"] for name, days in expected.items()}
    assert not any(DATA_HOLD in state for state in states.values())


@pytest.mark.parametrize("before", [["hold", "keep"], ["keep", "keep"]])
@pytest.mark.parametrize("after", [["close", "hold"], ["hold", "hold"], ["close", "close"]])
def test_a_hold_is_in_the_data_of_the_decision_that_was_held_and_never_in_later_ones(
    before: list[str], after: list[str]
) -> None:
    previous, changes = frame([("A", 1), ("B", 1)]), frame([("A", 3), ("B", 3)]).assign(known_by=at(9))
    tables = {MODEL.features.digest: table()}
    states = data_states(NOW, NOW, previous.assign(action=before), changes.assign(action=after), tables)
    held = {name: state[DATA_HOLD].tolist() for (name, _), state in states.items() if DATA_HOLD in state}
    holds = {"O0": [action == "hold" for action in before], "O1": [action == "hold" for action in after]}
    assert held == ({"C0": [False] * 2, "C1": [False] * 2} | holds if "hold" in before + after else {})


def test_rows_come_in_the_order_in_which_they_are_asked_for() -> None:
    times = [pd.Timestamp(at(day)) for day in (2, 1)]
    found = rows_at(table(), pd.Series(["B", "A"]), pd.Series(times), pd.Series(times))
    assert found["read"].to_dict() == {0: ("B", 2, 2), 1: ("A", 1, 1)}
