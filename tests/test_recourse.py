"""What could have been different: decided again it is milder, it is the least, and it is the customer's own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
import pytest

from limitlens.data.protected import PROTECTED_WORDS
from limitlens.features.catalogue import CATALOGUE
from limitlens.limits.customer_actions import CUSTOMER_ACTIONS, WHOLE, take_actions
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS, ADVERSE
from limitlens.limits.recourse import FRACTIONS, SHOWN, Move, Recourse, find_recourse
from limitlens.limits.state import state_before
from limitlens.pipeline.answers.customer import LANGUAGES, recourse_text
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Case:
    """One recorded decision and what it read."""

    iteration: Iteration
    table: pd.DataFrame
    state: pd.DataFrame
    decision: pd.Series

    def decided_with(self, fractions: dict[str, float]) -> pd.Series:
        """The decision with some actions taken, by itself."""
        far = {code: np.array([fraction]) for code, fraction in fractions.items()}
        moved = take_actions(self.iteration.model.features, self.table, far)
        return self.iteration.decide(moved, self.state).iloc[0]

    @cached_property
    def found(self) -> Recourse | None:
        return find_recourse(self.iteration, self.table, self.state, self.decision)


@pytest.fixture(scope="module")
def cases(small_workspace: Workspace) -> list[Case]:
    return list(cases_of(small_workspace))


def cases_of(workspace: Workspace) -> Iterator[Case]:
    """Some adverse decisions after the first date, some of the first date, and some that were not adverse."""
    decisions = recorded_decisions(workspace)
    adverse = decisions[decisions["action"].isin(ADVERSE)]
    first = adverse["as_of"] == decisions["as_of"].min()
    calm = decisions[decisions["action"] == "keep"].head(5)
    chosen = pd.concat([adverse[~first].iloc[::3], adverse[first].head(15), calm])
    made_by = iterations(workspace, set(chosen["run_id"]))
    moments = chosen[["account_id", "as_of"]].assign(known_by=chosen["as_of"])
    tables = tables_at(moments, {i.model.features for i in made_by.values()}, workspace)
    for place in range(len(chosen)):
        row = chosen.iloc[[place]].reset_index(drop=True)
        iteration = made_by[row["run_id"].iloc[0]]
        table = rows_at(tables[iteration.model.features.digest], row["account_id"], row["as_of"], row["as_of"])
        yield Case(iteration, table, state_before(row), row.iloc[0])


def test_every_suggestion_decided_is_what_it_says_and_milder(cases: list[Case]) -> None:
    told = 0
    for case in cases:
        if recourse := case.found:
            decided = case.decided_with({move.code: move.fraction for move in recourse.moves})
            assert (decided["action"], decided["limit_cents"], decided["pd"]) == (
                recourse.action, recourse.limit_cents, recourse.pd,
            )  # fmt: skip
            assert ACTIONS.index(recourse.action) < ACTIONS.index(case.decision["action"])
            told += 1
    assert told >= 20


def test_there_is_one_for_adverse_actions_only(cases: list[Case]) -> None:
    assert all(case.found is None for case in cases if case.decision["action"] not in ADVERSE)


def test_no_action_taken_less_would_have_done(cases: list[Case]) -> None:
    """Every single action is tried one decision at a time."""
    for case in cases[:12]:
        recourse = case.found
        far = sum(move.fraction for move in recourse.moves) if recourse and len(recourse.moves) == 1 else 9.0
        fractions = [(code, f) for code, f in product(CUSTOMER_ACTIONS, FRACTIONS) if f == 1 or code not in WHOLE]
        less = [(code, f) for code, f in fractions if f < far]
        avoided = [one for one in less if case.decided_with(dict([one]))["action"] not in ADVERSE]
        assert not avoided or case.decision["action"] not in ADVERSE


def test_only_columns_of_consumption_and_payment_are_named_and_they_fall(cases: list[Case]) -> None:
    for recourse in filter(None, (case.found for case in cases)):
        for move in recourse.moves:
            assert CATALOGUE.declaration_of[move.feature].source in {"consumption", "payment"}
            assert move.feature in SHOWN[move.code]
            assert move.before is not None
            assert move.after is not None
            assert move.after < move.before


@pytest.mark.parametrize("feature", sorted({name for names in SHOWN.values() for name in names}))
@pytest.mark.parametrize("action", ACTIONS)
def test_every_suggestion_has_words_in_both_languages_and_names_nothing_protected(feature: str, action: str) -> None:
    move = Move("late_payments", 0.5, feature, 8.0, 4.0, CATALOGUE.declaration_of[feature].unit)
    english, chinese = (recourse_text(Recourse((move, move), action, 500_00, 0.1), name) for name in LANGUAGES)
    assert not {word.lower() for word in re.findall(r"\w+", english)} & (PROTECTED_WORDS | {"age", "segment", "device"})
    assert " → " in english
    assert not re.search(r"[A-Za-z]", chinese)


def test_it_says_so_when_nothing_would_have_helped() -> None:
    assert recourse_text(None) == "no change in behaviour that we can name would have led to a milder decision"
