"""Alone or with others: jumps are counted as a person would, and a gap shows where it is."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from limitlens.limits.policy import Reviews
from limitlens.limits.queue import review_queue
from limitlens.pipeline import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.deciding.joint_jumps import ANYTHING, JointJump, chance_of, joint_jumps, so_many_or_more
from limitlens.pipeline.deciding.review_queue import queue
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.test_holds import FIRST, SECOND


def jumps_of(space: Workspace, as_of: datetime = SECOND) -> tuple[pd.DataFrame, dict[str, JointJump]]:
    decided = space.ledger.query(f"SELECT account_id, as_of FROM decisions WHERE as_of = '{as_of}'")
    return decided, joint_jumps(decided, space, as_of)


def counted(space: Workspace, as_of: datetime, what: str, accounts: set[str]) -> tuple[int, int]:
    """Lines decided a month after their last decision, and those that jumped, one by one."""
    rows = space.ledger.query("SELECT account_id, as_of, pd, fired_rules FROM decisions ORDER BY account_id, as_of")
    lines = jumped = 0
    for account, own in rows[rows["as_of"] <= as_of].groupby("account_id"):
        if account not in accounts or len(own) < 2 or own["as_of"].iloc[-1] != as_of:
            continue
        before, now = own.iloc[-2], own.iloc[-1]
        if now["as_of"] - before["as_of"] < pd.Timedelta(days=7):
            continue
        lines += 1
        odds = [one["pd"] / (1 - one["pd"]) for one in (before, now)]
        every = set(now["fired_rules"]) - set(before["fired_rules"]) | ({"PD"} if odds[1] >= 2 * odds[0] else set())
        jumped += bool(every) if what == ANYTHING else what in every
    return lines, jumped


@pytest.mark.parametrize(("book", "kinds"), [("struck", {"PD", ANYTHING}), ("clean", {"PD", "past_due_30"})])
def test_lines_and_jumps_are_those_that_a_person_counts(books: Path, book: str, kinds: set[str]) -> None:
    space = Workspace(books / book)
    decided, found = jumps_of(space)
    segments = space.events.segments()
    told = {(jump.what, jump.slice_column, jump.slice_value): jump for jump in found.values() if jump.lines > 20}
    assert {what for what, *_ in told} >= kinds
    for (what, column, value), jump in told.items():
        if column in ("", "segment"):
            inside = {a for a in decided["account_id"] if not column or segments[a] == value}
            assert counted(space, SECOND, what, inside) == (jump.lines, jump.jumped)


def test_a_gap_of_the_whole_source_is_seen_in_the_book_and_a_clean_month_is_not(books: Path) -> None:
    _, struck = jumps_of(Workspace(books / "struck"))
    _, clean = jumps_of(Workspace(books / "clean"))
    unusual = [jump for jump in struck.values() if jump.unusual]
    assert clean
    assert not any(jump.unusual for jump in clean.values())
    assert np.mean([jump.slice_column == "" for jump in unusual]) > 0.9
    assert len(unusual) > 300


def test_the_first_dates_of_a_book_have_nothing_to_compare_with(books: Path) -> None:
    assert jumps_of(Workspace(books / "base"), FIRST)[1] == {}


def test_why_says_it_and_the_queue_begins_with_it(books: Path) -> None:
    space = Workspace(books / "held")
    lines = queue(space, SECOND).lines
    together = lines["jumped_with"] != ""
    assert together.any()
    assert together.is_monotonic_decreasing
    answer = why(space, lines["account_id"].iloc[0], SECOND)
    assert answer.data.joint_jump is not None
    assert answer.data.joint_jump.text == lines["jumped_with"].iloc[0]
    assert f"Alone or with others: {answer.data.joint_jump.text}" in render(answer)


def test_a_line_that_jumped_with_others_comes_before_any_that_did_not() -> None:
    lines = pd.DataFrame({"account_id": ["A", "B"], "segment": "salaried", "pd": [0.17, 0.13], "limit_cents": 1000_00})
    lines = lines.assign(balance_cents=0, fired_rules=[["pd_review"]] * 2, jumped_with=["", "many"])
    policy = replace(default_policy(), reviews=Reviews(2, True, "pd"))
    assert review_queue(lines, policy)["place"].tolist() == [2, 1]


@given(st.integers(1, 400), st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(0, 400))
def test_the_chance_is_one_and_falls_with_the_number_that_jumped(lines: int, before: list[int], jumped: int) -> None:
    past = np.array(before, float), np.full(len(before), 400.0)
    assert chance_of(0, lines, *past)[1] == 1
    fewer = min(jumped, lines)
    assert 0 <= chance_of(min(fewer + 1, lines), lines, *past)[1] <= chance_of(fewer, lines, *past)[1] <= 1


def test_of_clean_dates_hardly_any_is_unusual() -> None:
    """Where rates differ by a third from date to date, a chance below one in a hundred is about as rare as it says."""
    draw = np.random.default_rng(1)
    rates = 0.03 * draw.lognormal(0, 0.3, (2000, 7))
    jumped = draw.binomial(500, rates)
    p = [chance_of(int(now), 500, before.astype(float), np.full(6, 500.0))[1] for *_, now, before in _parts(jumped)]
    assert np.mean(np.array(p) < 0.01) < 0.015


def _parts(jumped: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(row[-1], row[:-1]) for row in jumped]


@given(st.integers(1, 2_000), st.integers(0, 2_000), st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_so_many_or_more_is_the_tail_of_the_beta_binomial(lines: int, jumped: int, a: float, b: float) -> None:
    at_least = min(jumped, lines)
    assert so_many_or_more(at_least, lines, a, b) == pytest.approx(betabinom.sf(at_least - 1, lines, a, b), abs=1e-9)
