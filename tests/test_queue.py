"""The review queue: a place for every review, the same in any order, and no decision changed by it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limitlens.data.errors import WorkspaceError
from limitlens.limits.policy import Order, Reviews
from limitlens.limits.queue import review_queue
from limitlens.pipeline.deciding.review_queue import queue
from limitlens.pipeline.workspace import Workspace, default_policy

BASE = default_policy()
REVIEWS = pd.DataFrame(
    {
        "account_id": ["D", "C", "B", "A"],
        "segment": "salaried",  # a decrease begins at 18%
        "pd": [0.13, 0.17, 0.40, 0.17],
        "limit_cents": [90_000_00, 10_000_00, 20_000_00, 10_000_00],
        "balance_cents": [0, 0, 15_000_00, 0],
        "fired_rules": [
            ["past_due_1", "pd_review"],
            ["pd_review"],
            ["burst_borrowing"],
            ["pd_review", "opening_above_band"],
        ],
        "jumped_with": "",
    }
)


@pytest.mark.parametrize(
    ("order", "rules_first", "expected"),
    [
        ("nearest_cut_off", True, ["B", "A", "C", "D"]),
        ("nearest_cut_off", False, ["A", "C", "D", "B"]),
        ("avoidable_loss", False, ["D", "B", "A", "C"]),
        ("pd", False, ["B", "A", "C", "D"]),
    ],
)
def test_the_policy_says_who_comes_first_and_ties_go_by_account(
    order: Order, rules_first: bool, expected: list[str]
) -> None:
    policy = replace(BASE, reviews=Reviews(2, rules_first, order))
    found = review_queue(REVIEWS, policy)
    assert REVIEWS["account_id"].iloc[np.argsort(found["place"])].tolist() == expected
    assert found["within_capacity"].sum() == 2


def test_of_reviews_with_one_pd_the_larger_avoidable_loss_comes_first() -> None:
    alike = REVIEWS.assign(
        pd=0.17,
        limit_cents=[10_000_00, 40_000_00, 20_000_00, 30_000_00],
        balance_cents=0,
        fired_rules=[["pd_review"]] * 4,
    )
    for order in ("nearest_cut_off", "pd"):
        found = review_queue(alike, replace(BASE, reviews=Reviews(2, True, order)))
        assert REVIEWS["account_id"].iloc[np.argsort(found["place"])].tolist() == ["C", "A", "B", "D"]


@given(st.permutations(range(len(REVIEWS))), st.integers(0, 9))
def test_places_do_not_depend_on_the_order_of_rows(order: list[int], capacity: int) -> None:
    policy = replace(BASE, reviews=replace(BASE.reviews, capacity_per_day=capacity))
    whole = review_queue(REVIEWS, policy)
    assert sorted(whole["place"]) == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(review_queue(REVIEWS.iloc[order], policy), whole.iloc[order])


def test_the_queue_of_a_date_holds_its_reviews(small_workspace: Workspace) -> None:
    found = queue(small_workspace)
    decided = small_workspace.ledger.current()
    asked = decided[(decided["action"] == "review") & (decided["as_of"] == pd.Timestamp(found.date, tz="UTC"))]
    assert set(asked["account_id"]) <= set(found.lines["account_id"])
    assert found.lines["place"].tolist() == list(range(1, len(found.lines) + 1))


def test_a_date_without_decisions_is_refused_with_the_nearest(small_workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="nothing was decided as of 2020-01-01; the nearest is 2026-"):
        queue(small_workspace, pd.Timestamp("2020-01-01", tz="UTC").to_pydatetime())
