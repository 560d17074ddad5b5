"""The proving ground: true causes are found at the root, and the attribution finds the same ones."""

import pytest

from benchmarks.attribution import OURS, Judged, judge, scores
from benchmarks.proving import Ground, Iterations, decide_twice, train_both
from benchmarks.truth import PLAYERS, planted_causes


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(1, 2_500, tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def iterations(ground: Ground) -> Iterations:
    return train_both(ground)


@pytest.fixture(scope="module")
def judged(ground: Ground, iterations: Iterations) -> Judged:
    return judge(ground, iterations, quiet)


def test_every_player_is_the_single_cause_of_some_change(judged: Judged) -> None:
    assert set(judged.truth.single.dropna()) == set(PLAYERS)


def test_a_single_cause_is_necessary_and_sufficient_and_moves_the_whole_change(judged: Judged) -> None:
    single = judged.truth.single.dropna()
    for player in PLAYERS:
        mine = single.index[single == player]
        assert (judged.truth.without.loc[mine, player] == 0).all()
        assert (judged.truth.alone.loc[mine, player] == judged.truth.change[mine]).all()


def test_the_attribution_blames_the_single_true_cause(judged: Judged) -> None:
    found = scores(judged).loc[OURS]
    assert found["single"] >= 0.98
    assert found[list(PLAYERS)].min() >= 0.9


def test_a_planted_cause_can_be_necessary_and_mostly_is_not(ground: Ground, iterations: Iterations) -> None:
    decided = decide_twice(ground, iterations, quiet)
    changed = decided.rows(decided.limit0 != decided.limit1)
    found = planted_causes(ground, iterations, changed, causes=("holiday", "missing_batch"))
    assert set(found["cause"]) == {"holiday", "missing_batch"}
    assert set(found["account_id"]) <= set(changed.accounts)
    assert not found.duplicated(["account_id", "cause"]).any()
    assert 0 < found["necessary"].mean() < 0.6
