"""Kernels beside LightGBM: random members with every kind of split, rows that hit thresholds, are missing or huge."""

import subprocess
import sys
from dataclasses import replace

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.errors import IntegrityError
from limitlens.features.line import limit_and_age
from limitlens.limits.state import state_before
from limitlens.models import together as kernel_use
from limitlens.models.change import change_of_score, tree_changes
from limitlens.models.default_risk import predict_pd
from limitlens.models.explanation import reason_codes, shap_for_reasons, shap_values
from limitlens.models.member import Member, mean_over
from limitlens.models.together import (
    KernelError,
    Together,
    mean_changes,
    mean_contributions,
    mean_scores,
    naming_accounts,
    obstacle,
    together,
)
from limitlens.models.trees import read_trees
from limitlens.pipeline.deciding.point_in_time import feature_moments, rows_at, tables_at
from limitlens.pipeline.deciding.replay import recorded_decisions, replay
from limitlens.pipeline.workspace import Workspace
from tests.test_change import shapley

pytest.importorskip("numba")

COLUMNS = 5
MISSING = ({}, {"zero_as_missing": True}, {"use_missing": False})
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-35, 5e-324, 1e300, -1e300, -0.5, -1.0, 2.7, 2.0**31, 1e18]


def drawn(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Numbers, zeros and missing values, a constant, and two columns of codes."""
    inputs = rng.normal(size=(rows, COLUMNS)).round(1)
    inputs[:, 2] = 3.0
    inputs[:, 3:] = rng.integers(-1, 70, size=(rows, 2))
    inputs[rng.random(inputs.shape) < 0.15] = np.nan
    inputs[:, :2][rng.random((rows, 2)) < 0.15] = 0.0
    return inputs


def grown(rng: np.random.Generator, codes: list[int], leaves: int, missing: dict[str, bool], **grow: object) -> Member:
    inputs = drawn(rng, 300)
    known = np.nan_to_num(inputs)
    bad = known[:, 0] * known[:, 1] + (known[:, 3] % 3) + np.isnan(inputs[:, 4]) + rng.normal(size=300) > 1
    options = {"min_data_in_leaf": int(rng.integers(1, 60)), "num_leaves": leaves, "cat_smooth": 0, "cat_l2": 0,
               "max_cat_to_onehot": 2, "min_data_per_group": 1, "num_threads": 1, "verbose": -1,
               "objective": "binary"} | missing | grow  # fmt: skip
    data = lgb.Dataset(inputs, bad.astype(float), categorical_feature=codes, params=options)
    return Member(lgb.train(options, data, 5).model_to_string(), 0, 0)


def members_and_rows(seed: int, codes: list[int], leaves: int) -> tuple[Together, np.ndarray]:
    """One member of each way to read missing values and one of trees without a split; rows at their thresholds."""
    rng = np.random.default_rng(seed)
    members = [replace(grown(rng, codes, leaves, missing), fold=k) for k, missing in enumerate(MISSING)]
    members.append(replace(grown(rng, codes, leaves, {}, min_data_in_leaf=299), fold=3))
    rows = drawn(rng, 150)
    for member in members:
        trees = read_trees(member.text)
        for split in rng.permutation(len(trees.feature))[:20]:
            at = trees.threshold[split]
            rows[rng.integers(len(rows)), trees.feature[split]] = rng.choice([at, np.nextafter(at, np.inf)])
    odd = rng.random(rows.shape) < 0.1
    rows[odd] = rng.choice(ODD, odd.sum())
    able = together(members, rows, 1)
    assert able is not None
    return able, rows


def one_by_one(able: Together) -> list[tuple[Member, Together]]:
    """Each member, and the same forest with a mean of it alone."""
    alone = []
    for place, member in enumerate(able.members):
        weighted = type("Alone", (Together,), {"_weighted": lambda _, count, __, k=place: [(k, np.arange(count), 1.0)]})
        alone.append((member, weighted(able.members, able.forest)))
    return alone


def contributions(able: Together, rows: np.ndarray) -> np.ndarray:
    values = np.zeros((len(rows), rows.shape[1] + 1))
    able.add_contributions(rows, None, values)
    return values


def changes(able: Together, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    values = np.zeros(new.shape)
    able.add_changes(old, new, None, values)
    return values


CASES = given(st.integers(0, 2**32 - 1), st.sampled_from([[], [3], [3, 4]]), st.sampled_from([2, 4, 12, 60]))


@CASES
@settings(max_examples=40, deadline=None)
def test_scores_are_the_bits_of_lightgbm(seed: int, codes: list[int], leaves: int) -> None:
    able, rows = members_and_rows(seed, codes, leaves)
    cells, every = able.cells(rows), np.arange(len(rows))
    for place, member in enumerate(able.members):
        assert able.scores(place, cells, every).tobytes() == member.raw(rows).tobytes()
        assert able.scores(place, cells, every[3::7]).tobytes() == member.raw(rows[3::7]).tobytes()


@CASES
@settings(max_examples=25, deadline=None)
def test_shap_values_are_those_of_lightgbm(seed: int, codes: list[int], leaves: int) -> None:
    able, rows = members_and_rows(seed, codes, leaves)
    for member, alone in one_by_one(able):
        values = contributions(alone, rows)
        assert np.abs(values.sum(axis=1) - member.raw(rows)).max() < 1e-12
        assert np.abs(values - member.raw(rows, pred_contrib=True)).max() < 1e-10
        assert (values[:, -1] == member.raw(rows, pred_contrib=True)[:, -1]).all()


@CASES
@settings(max_examples=25, deadline=None)
def test_changes_are_those_of_every_coalition_predicted_by_lightgbm(seed: int, codes: list[int], leaves: int) -> None:
    able, rows = members_and_rows(seed, codes, leaves)
    old, new = rows[:75], rows[75:]
    for member, alone in one_by_one(able):
        values = changes(alone, old, new)
        assert np.abs(values.sum(axis=1) - (member.raw(new) - member.raw(old))).max() < 1e-12
        assert (values[(old == new) | (np.isnan(old) & np.isnan(new))] == 0).all()
        for row in range(0, 75, 15):
            assert np.abs(values[row] - shapley(member.booster, old[row], new[row])).max() < 1e-12
            assert np.abs(values[row] - tree_changes(read_trees(member.text), old[row], new[row])).max() < 1e-12


@pytest.mark.filterwarnings("ignore")
def test_changes_are_those_of_the_shap_library_where_it_can_follow() -> None:
    """It holds leaves as float32, so the base value is left out of them."""
    import shap

    member = grown(np.random.default_rng(1), [], 12, {}, learning_rate=0.02, boost_from_average=False)
    rows = drawn(np.random.default_rng(2), 40)
    able = together([member], rows, 1)
    assert able is not None
    values = changes(able, rows[:20], rows[20:])
    for row in range(20):
        explainer = shap.TreeExplainer(member.booster, rows[row : row + 1], feature_perturbation="interventional")
        expected = explainer.shap_values(rows[20 + row : 21 + row], check_additivity=False)[0]
        assert np.abs(values[row] - expected).max() < 1e-8


def wide(leaves: int, **grow: object) -> tuple[Member, np.ndarray]:
    """A member with more thresholds of one column than a byte has values, and rows."""
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(6_000, 2))
    options = {"num_leaves": leaves, "min_data_in_leaf": 2, "max_bin": 2_000, "num_threads": 1, "verbose": -1} | grow
    data = lgb.Dataset(inputs, np.sin(9 * inputs[:, 0]) + rng.normal(size=6_000), params=options)
    return Member(lgb.train(options, data, 20).model_to_string(), 0, 0), inputs


def test_a_column_with_more_thresholds_than_a_byte_has_values_is_read_right() -> None:
    member, rows = wide(200)
    able = together([member], rows, 1)
    assert able is not None
    assert able.forest.cuts.columns > 4
    assert able.scores(0, able.cells(rows), np.arange(len(rows))).tobytes() == member.raw(rows).tobytes()
    values = contributions(able, rows[:9])
    assert np.abs(values.sum(axis=1) - member.raw(rows[:9])).max() < 1e-12


@pytest.mark.parametrize(
    ("leaves", "grow", "why"),
    [
        (400, {}, "leaves; expected at most 256"),
        (9, {"linear_tree": True}, "linear trees"),
        (9, {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "averages its trees"),
    ],
)
def test_what_kernels_do_not_know_is_said_and_done_by_lightgbm(leaves: int, grow: dict[str, object], why: str) -> None:
    member, rows = wide(leaves, **grow)
    assert why in str(obstacle((member,)))
    rows = np.tile(rows, (2, 1))
    assert mean_scores([member], rows, None).tobytes() == member.raw(rows).tobytes()


def test_a_text_that_lightgbm_would_not_write_is_not_read_by_kernels() -> None:
    member, _ = wide(5)
    line = next(text for text in member.text.splitlines() if text.startswith("left_child"))
    for wrong in ("9 -1 -2 -3", "-1 -1 -2 -3", "0 1 -2 -3", "-1"):
        assert obstacle((Member(member.text.replace(line, f"left_child={wrong}"), 0, 0),)) is not None


def turns(count: int) -> tuple[list[Member], np.ndarray, np.ndarray]:
    """Two turns of three members, rows and accounts."""
    rng = np.random.default_rng(5)
    members = [replace(grown(rng, [3], 12, {}), fold=k % 3, turn=k // 3) for k in range(6)]
    return members, drawn(rng, count), rng.integers(0, 2**63, count).astype(np.uint64)


def test_means_are_the_bits_of_lightgbm_whatever_the_chunks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    members, rows, account = turns(10_000)
    for accounts in (account, None):
        expected = mean_over(members, len(rows), accounts, lambda place, some: members[place].raw(rows[some]))
        for threads in ("1", "3"):
            monkeypatch.setenv("LIMITLENS_THREADS", threads)
            assert mean_scores(members, rows, accounts).tobytes() == expected.tobytes()
    values = mean_contributions(members, rows, account)
    assert np.abs(values.sum(axis=1) - mean_scores(members, rows, account)).max() < 1e-12


def test_a_difference_from_lightgbm_ends_the_job_and_names_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    members, rows, account = turns(10_000)
    able = together(members, rows, 1)
    assert able is not None
    leaf = np.nextafter(able.forest.splits.leaf, np.inf)  # one bit
    wrong = replace(able, forest=replace(able.forest, splits=able.forest.splits._replace(leaf=leaf)))
    monkeypatch.setattr(kernel_use, "together", lambda *_: wrong)
    names = pd.Series([f"A{k}" for k in range(len(rows))])
    naming = pytest.raises(IntegrityError, match=r"scores by kernels .* differ for \d+ of the rows .* accounts A0, A")
    with naming, naming_accounts(names):
        mean_scores(members, rows, account)
    leaf = able.forest.splits.leaf + 1e-6
    wrong = replace(able, forest=replace(able.forest, splits=able.forest.splits._replace(leaf=leaf)))
    with pytest.raises(KernelError, match="SHAP values by kernels"):
        mean_contributions(members, rows, account)
    wrong = replace(able, forest=replace(able.forest, splits=able.forest.splits._replace(leaf=2 * leaf)))
    with pytest.raises(KernelError, match="changes of the score by kernels"):
        mean_changes(wrong, rows[:5_000], rows[5_000:], account[:5_000])


def test_rows_of_another_width_are_left_to_lightgbm_to_refuse() -> None:
    members, rows, _ = turns(10_000)
    with pytest.raises(lgb.basic.LightGBMError, match="number of features"):
        mean_scores(members, rows[:, :3].copy(), None)


def test_a_function_is_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import caching

    from limitlens.models.compiled import compiled

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert compiled(_twice)(2.0) == 4.0


def _twice(value: float) -> float:
    return 2 * value


_IN_A_PROCESS = """
import numpy as np
from limitlens.models import kernels
from limitlens.models.forest import plant
cuts = plant([open({path!r}).read()]).cuts
kernels.into_cells(cuts, np.zeros((3, 5)), np.zeros((cuts.columns, 3), np.uint8))
print(sum(kernels.into_cells.stats.cache_hits.values()), sum(kernels.into_cells.stats.cache_misses.values()))
"""


def test_a_second_process_compiles_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.txt"
    path.write_text(grown(np.random.default_rng(0), [], 4, {}).text)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    command = [sys.executable, "-c", _IN_A_PROCESS.format(path=str(path))]
    printed = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(2)]
    assert printed == [["0", "1"], ["1", "0"]]


_WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import numpy as np
from limitlens.models.member import Member
from limitlens.models.together import mean_contributions, mean_scores, obstacle
member = Member(open({path!r}).read(), 0, 0)
rows = np.random.default_rng(0).normal(size=(10_000, 5))
assert "numba cannot be imported" in obstacle((member,))
assert mean_scores([member], rows, None).tobytes() == member.raw(rows).tobytes()
assert mean_contributions([member], rows[:600], None).tobytes() == member.raw(rows[:600], pred_contrib=True).tobytes()
"""


def test_without_numba_lightgbm_does_the_work(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "model.txt"
    path.write_text(grown(np.random.default_rng(0), [3], 12, {}).text)
    subprocess.run([sys.executable, "-c", _WITHOUT_NUMBA.format(path=str(path))], check=True)


Case = tuple[Workspace, pd.DataFrame, pd.DataFrame, pd.DataFrame]


@pytest.fixture(scope="module")
def book(small_workspace: Workspace) -> Case:
    """All rows of the last two dates on record, old and new, with their states."""
    decisions = recorded_decisions(small_workspace).groupby("account_id").tail(2)
    pairs = decisions.groupby("account_id").filter(lambda rows: len(rows) == 2)
    old, new = (pairs.groupby("account_id").nth(k).reset_index(drop=True) for k in (0, 1))
    model = small_workspace.iteration("2").model
    keys = ["account_id", "as_of"]
    table = tables_at(feature_moments(new[keys], old[keys]), {model.features}, small_workspace)[model.features.digest]
    rows = [rows_at(table, new["account_id"], at["as_of"], new["as_of"]) for at in (old, new)]
    return small_workspace, *rows, state_before(new)


def test_pds_reasons_and_changes_of_a_book_are_those_without_kernels(
    book: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, old, new, state = book
    model, (limit, age) = workspace.iteration("2").model, limit_and_age(state)
    evidence: list[list[str]] = [[] for _ in range(len(new))]

    def all_of_it() -> tuple[bytes, pd.DataFrame, list[list[str]], pd.DataFrame]:
        shap = shap_for_reasons(model, new, limit, age)
        few = slice(0, 40)
        change = change_of_score(model, old[few], new[few], limit[few], age[few])
        return predict_pd(model, new, limit, age).tobytes(), shap, reason_codes(model, shap, evidence, age), change

    for name, worth in (("SCORES_WORTH", 10**9), ("SHAP_WORTH", 10**9)):
        monkeypatch.setattr(kernel_use, name, worth)
    monkeypatch.setattr("limitlens.models.change.CHANGES_WORTH", 10**9)
    slow = all_of_it()
    for name in ("SCORES_WORTH", "SHAP_WORTH"):
        monkeypatch.setattr(kernel_use, name, 1)
    monkeypatch.setattr("limitlens.models.change.CHANGES_WORTH", 1)
    fast = all_of_it()
    assert fast[0] == slow[0]
    assert fast[2] == slow[2]
    assert not fast[1].equals(slow[1])  # it was the kernels
    assert np.abs(fast[1] - slow[1]).to_numpy().max() < 1e-11
    assert np.abs(fast[3] - slow[3]).to_numpy().max() < 1e-11


def test_rows_where_rounding_decides_their_reasons_are_done_by_lightgbm(
    book: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _, new, state = book
    model, (limit, age) = workspace.iteration("2").model, limit_and_age(state)
    monkeypatch.setattr(kernel_use, "SHAP_WORTH", 1)
    monkeypatch.setattr("limitlens.models.explanation._CLOSE", 10.0)  # all are close
    expected = shap_values(model, new, limit, age, by_lightgbm=True)
    assert shap_for_reasons(model, new, limit, age).equals(expected)


def test_a_ledger_is_replayed_by_kernels_as_it_was_written(
    small_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SCORES_WORTH", "SHAP_WORTH"):
        monkeypatch.setattr(kernel_use, name, 1)
    assert replay(small_workspace) == len(recorded_decisions(small_workspace))
