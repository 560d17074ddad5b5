"""The proving ground: true causes are found at the root, and the attribution finds the same ones."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import attribution
from benchmarks.attribution import OURS, Judged, blamed, drop_one, judge, one_at_a_time, ours, scores, waterfall
from benchmarks.proving import (
    T0,
    T1,
    Decided,
    Ground,
    Iterations,
    decide_twice,
    features_at,
    repeated_store,
    train_both,
)
from benchmarks.truth import PLAYERS, Truth, planted_causes
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.pipeline.workspace import default_settings
from tests.conftest import FEW_COLUMNS

pytestmark = pytest.mark.slow

#: Debts and balances, which the training settings keep by themselves.
MORE_COLUMNS = tuple(position.name for position in CATALOGUE.positions)


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module", autouse=True)
def _small_models() -> Iterator[None]:
    """Of a few members and columns: the causes are as true under any model."""
    small = replace(default_settings(), n_estimators=100, folds=2, rounds=1, carried_rounds=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmarks.proving.default_settings", lambda: small)
        patched.setattr("benchmarks.proving.CATALOGUE", CATALOGUE.only([*FEW_COLUMNS, *MORE_COLUMNS]))
        yield


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(1, 2_500, tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def iterations(ground: Ground) -> Iterations:
    return train_both(ground)


@pytest.fixture(scope="module")
def decided(ground: Ground, iterations: Iterations) -> Decided:
    return decide_twice(ground, iterations, quiet)


@pytest.fixture(scope="module")
def judged(ground: Ground, iterations: Iterations, decided: Decided) -> Judged:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attribution, "decide_twice", lambda *_: decided)  # once is enough
        return judge(ground, iterations, quiet)


def test_every_player_is_the_single_cause_of_some_change(judged: Judged) -> None:
    assert set(judged.truth.single.dropna()) == set(PLAYERS)


def truth_of(without: list[int], alone: list[int], change: int) -> Truth:
    return Truth(pd.DataFrame([without], columns=PLAYERS), pd.DataFrame([alone], columns=PLAYERS), np.array([change]))


@pytest.mark.parametrize(
    ("without", "alone", "single"),
    [
        ([0, 9, 9, 9, 9], [9, 0, 0, 0, 0], "behaviour"),
        ([9, 9, 9, 9, 0], [0, 0, 0, 0, 9], "state"),
        ([0, 0, 9, 9, 9], [9, 9, 0, 0, 0], None),  # two, each enough and each needed
        ([0, 9, 9, 9, 9], [9, 4, 0, 0, 0], None),  # another would have done something
        ([0, 9, 5, 9, 9], [9, 0, 0, 0, 0], None),  # another had a part in the amount
        ([0, 9, 9, 9, 9], [4, 0, 0, 0, 0], None),  # not enough alone
        ([3, 9, 9, 9, 9], [9, 0, 0, 0, 0], None),  # not needed
    ],
)
def test_a_single_cause_is_all_there_was(without: list[int], alone: list[int], single: str | None) -> None:
    found = truth_of(without, alone, 9).single[0]
    assert found == single or (single is None and pd.isna(found))


def test_a_repeated_life_has_the_features_of_the_first(tmp_path: Path) -> None:
    world = Ground(1, 300, tmp_path).planned
    calm = Ground(1, 300, tmp_path, planned=replace(world, faults=()))
    accounts = book([T0], calm.clean.relations())["account_id"]
    first = features_at(calm.clean, accounts, T0, T0)
    again = features_at(repeated_store(calm, accounts), accounts, T1, T1)
    times = ["as_of", "known_by"]
    pd.testing.assert_frame_equal(first.drop(columns=times), again.drop(columns=times))


@settings(max_examples=8)
@given(hnp.arrays(np.int64, (20, 4, 2, 2, 2), elements=st.integers(0, 10**9), fill=st.nothing()))
def test_the_attribution_is_the_mean_of_the_120_waterfalls(limit: npt.NDArray[np.int64]) -> None:
    orders = sorted(set(permutations((*("leg",) * 3, "model", "policy", "state"))))
    assert len(orders) == 120
    assert ours(limit).equals(sum(waterfall(limit, order) for order in orders))


def test_the_simple_methods_see_the_ends_they_look_at() -> None:
    limit = np.zeros((1, 4, 2, 2, 2), np.int64)
    limit[:, 2:, :, :, :] += 100  # behaviour
    limit[:, :, 1, :, :] += 10  # model
    limit[:, 3, 1, 1, :] += 1  # new data under new model and policy
    assert one_at_a_time(limit).iloc[0].tolist() == [100, 0, 10, 0, 0]
    assert drop_one(limit).iloc[0].tolist() == [100, 1, 11, 1, 0]
    assert blamed(one_at_a_time(limit)).tolist() == ["behaviour"]


def test_the_attribution_blames_the_single_true_cause(judged: Judged) -> None:
    found = scores(judged).loc[OURS]
    assert found["single"] >= 0.98
    assert found[list(PLAYERS)].min() >= 0.9


def test_a_planted_cause_can_be_necessary_and_mostly_is_not(
    ground: Ground, iterations: Iterations, decided: Decided
) -> None:
    changed = decided.rows(decided.limit0 != decided.limit1)
    changed = changed.rows(np.arange(len(changed.accounts)) % 2 == 0)
    found = planted_causes(ground, iterations, changed, causes=("holiday", "missing_batch"))
    assert set(found["cause"]) == {"holiday", "missing_batch"}
    assert set(found["account_id"]) <= set(changed.accounts)
    assert len(found) > 50
    assert not found.duplicated(["account_id", "cause"]).any()
    assert 0 < found["necessary"].mean() < 0.6
