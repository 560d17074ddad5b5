"""Spared: what would have been done to a line without any protection, and each that alone was enough, line by line."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings

from limitlens.features.declarations import FeatureSet
from limitlens.limits.decision import decide
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import at_once
from limitlens.limits.spared import spared
from limitlens.models.calibration import Calibration
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.scorer import Scorer
from limitlens.pipeline.workspace import default_policy, default_settings
from tests.decision_oracle import Line, decide_one
from tests.strategies import Book, Row, book_of, cases

PROTECTIONS = ("holdout", "loss_floor", "dead_band", "new_line")
AGAINST = {"pause", "decrease", "freeze", "close"}

#: Reads no feature and is never asked for a score: the PDs of the lines are given.
MODEL = DefaultRiskModel(
    FeatureSet(()), {}, Scorer((), Calibration("platt", ((0.0, 1.0),))), None, default_settings(), "", "2026-01-01"
)


def found(book: Book, decided: pd.DataFrame, policy: Policy) -> list[tuple[Any, ...]]:
    """What was spared of each line: protections, action, limit; nothing three times where nothing was."""
    table, _, state = book
    rows = spared(Iteration(MODEL, policy, "1"), table.drop(columns="line_age_days"), state, decided)
    assert rows.index.equals(decided.index)
    cells = rows.astype(object).where(rows.notna(), None)
    return list(cells.itertuples(index=False, name=None))


def with_only(kept: str, line: Line, policy: Policy) -> tuple[str, int]:
    """Action and limit of one line under a policy of which one protection is left, or none."""
    if kept != "loss_floor":
        policy = replace(policy, loss=replace(policy.loss, adverse_above_cents=0))
    if kept != "dead_band":
        policy = replace(policy, timers=replace(policy.timers, dead_band_log_odds=0.0))
    if kept != "new_line":
        policy = replace(policy, new_lines=replace(policy.new_lines, protected_days=0))
    action, limit, *_ = decide_one({**line, "holdout": line["holdout"] and kept == "holdout"}, policy)
    return action, limit


@pytest.mark.slow
@settings(max_examples=20)
@given(cases())
def test_a_line_is_spared_what_it_would_get_without_protections_by_each_that_alone_is_enough(
    case: tuple[list[Row], Policy],
) -> None:
    rows, policy = case
    table, pd_, state = book = book_of(rows)
    decided = decide(table, pd_, state, policy)
    decided.loc[::5, "action"] = "hold"
    lines = pd.concat([table.drop(columns="line_age_days"), state], axis=1).assign(pd=pd_).to_dict("records")
    expected: list[tuple[Any, ...]] = []
    for line, done in zip(lines, decided["action"], strict=True):
        action, limit = with_only("", line, policy)
        enough = [name for name in PROTECTIONS if with_only(name, line, policy)[0] not in AGAINST]
        nothing = action not in AGAINST or done in AGAINST or done == "hold"
        expected.append((None, None, None) if nothing else (enough, action, limit))
    assert found(book, decided, policy) == expected


@pytest.mark.parametrize(
    ("line", "by", "action", "limit_cents"),
    [
        ({"holdout": True}, ["holdout"], "decrease", 5_000_00),
        ({"used": 1.0, "pd": 0.4}, ["loss_floor"], "freeze", 10_000_00),
        ({"pd_ref": 0.2}, ["dead_band"], "decrease", 5_000_00),
        ({"age": 20}, ["new_line"], "decrease", 5_000_00),
        ({"age": 20, "holdout": True}, ["holdout", "new_line"], "decrease", 5_000_00),
        ({"pd": 0.01}, None, None, None),
        ({}, None, None, None),
    ],
)
def test_each_protection_that_alone_is_enough_is_named(
    line: Row, by: list[str] | None, action: str | None, limit_cents: int | None
) -> None:
    policy, book = at_once(default_policy()), book_of([{"pd": 0.2, "used": 0.1} | line])
    assert found(book, decide(*book, policy), policy) == [(by, action, limit_cents)]
