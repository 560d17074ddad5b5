"""What a model should not know: inputs that know the outcome, or stand for a protected attribute, are found."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from limitlens.data.check import check_events
from limitlens.models.inputs import account_numbers
from limitlens.models.leakage import category_shares, suspects
from limitlens.models.proxies import AUC_TOLD, find_proxy
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

ROWS = 2_000
NONE = np.zeros(1)


def outcome(seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Outcomes, the PDs they were drawn with, and where more chance comes from."""
    rng = np.random.default_rng(seed)
    pd_ = 1 / (1 + np.exp(2.5 - 1.5 * rng.normal(size=ROWS)))
    return rng.random(ROWS) < pd_, pd_, rng


def suspicion(values: np.ndarray, gain: float = 0.0) -> str:
    bad, pd_, _ = outcome()
    return str(suspects(values[:, None], ["it"], bad, pd_, np.array([gain]))["suspicion"].iloc[0])


def test_an_input_that_knows_the_outcome_is_suspect_whichever_way_it_says_so() -> None:
    bad, _, rng = outcome()
    noise = rng.normal(size=ROWS)
    high, low = noise + 5 * bad, noise - 5 * bad
    known_of_the_bad = np.where(bad, noise, np.nan)
    for leaked in (high, low, known_of_the_bad):
        assert "AUC alone at or above 0.95" in suspicion(leaked)
        assert "better than the whole model" in suspicion(leaked)


def test_clean_inputs_are_not_suspect_however_many_there_are() -> None:
    bad, pd_, rng = outcome()
    clean = np.column_stack([np.log(pd_) + rng.normal(size=ROWS), *rng.normal(size=(99, ROWS))])
    clean[rng.random(clean.shape) < 0.3] = np.nan
    found = suspects(clean, [f"x{k}" for k in range(100)], bad, pd_, np.full(100, 0.01))
    assert found["suspicion"].eq("").all()
    assert found["feature"].iloc[0] == "x0"
    assert suspicion(np.log(pd_)) == ""  # as good as the model, not better


def test_an_input_that_beats_the_model_or_takes_most_of_its_gain_is_suspect() -> None:
    bad, pd_, rng = outcome()
    weak = pd_ + rng.normal(size=ROWS)
    found = suspects(np.log(pd_)[:, None], ["it"], bad, np.clip(weak, 0.01, 0.99), NONE)
    assert found["suspicion"].tolist() == ["better than the whole model"]
    assert suspicion(rng.normal(size=ROWS), gain=0.81) == "above 80% of the gain"
    assert suspicion(rng.normal(size=ROWS), gain=0.79) == ""


def test_of_a_model_that_ranks_worse_than_a_coin_no_input_is_suspect_for_ranking_better() -> None:
    bad, pd_, rng = outcome()
    found = suspects(rng.normal(size=(ROWS, 1)), ["it"], bad, 1 - pd_, NONE)
    assert found["suspicion"].tolist() == [""]


def test_the_auc_alone_is_the_best_of_both_directions_with_what_is_missing_at_either_end() -> None:
    bad, pd_, rng = outcome()
    values = np.where(rng.random(ROWS) < 0.4, np.nan, rng.normal(size=ROWS).round(1) - bad)
    ends = (roc_auc_score(bad, np.where(np.isnan(values), end, values)) for end in (-99, 99))
    expected = max(side for auc in ends for side in (auc, 1 - auc))
    assert suspects(values[:, None], ["it"], bad, pd_, NONE)["auc"].iloc[0] == pytest.approx(expected)


def test_a_category_of_a_single_account_does_not_tell_its_own_outcome() -> None:
    bad, _, rng = outcome()
    codes, fold = np.arange(ROWS), rng.integers(0, 3, ROWS)
    assert roc_auc_score(bad, category_shares(codes, bad, fold, codes, fold)) < 0.6


def proxy(told: bool, groups: str = "fm") -> tuple[str, float, tuple[str, ...]]:
    """What is found where the type of the shop follows sex, or does not."""
    rng = np.random.default_rng(2)
    group = np.array(list(groups), object)[rng.integers(0, len(groups), 1_500)]
    shop = np.where((group == groups[0]) & told, rng.integers(0, 3, 1_500), rng.integers(2, 6, 1_500))
    inputs = np.column_stack([rng.normal(size=(1_500, 20)), shop])
    columns = [*(f"x{k}" for k in range(20)), "shop_type"]
    account = account_numbers(pd.Series([f"A{k}" for k in range(1_500)]))
    found = find_proxy(group, inputs, columns, categorical=[20], account=account, pd_=(group == "m") * 0.5 + 0.1)
    assert found is not None
    assert found.correlation == pytest.approx(1.0)
    return found.group, found.auc, found.features


def test_a_shop_type_that_follows_sex_is_found_and_one_that_does_not_is_not() -> None:
    _, auc, features = proxy(told=True)
    assert auc >= AUC_TOLD
    assert features[0] == "shop_type"
    assert len(features) == 5
    assert proxy(told=False)[1] < 0.6


def test_of_one_group_nothing_can_be_told() -> None:
    account = account_numbers(pd.Series(["A", "B"]))
    assert (
        find_proxy(
            np.array(["f", "f"], object), np.ones((2, 1)), ["x"], categorical=[], account=account, pd_=np.ones(2)
        )
        is None
    )


@pytest.mark.slow
def test_the_report_warns_at_its_top_of_a_leak_and_of_a_proxy(tmp_path: Path) -> None:
    """Accounts with a column written after the outcome, and a shop type that follows sex."""
    rng = np.random.default_rng(3)
    lines, opened, known = 600, datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    names, bad, woman = [f"A{k:04d}" for k in range(lines)], rng.random(lines) < 0.3, rng.random(lines) < 0.5
    shop = np.where(woman, rng.integers(0, 3, lines), rng.integers(2, 5, lines))
    accounts = pd.DataFrame({"account_id": names, "opened_at": opened, "known_time": opened, "segment": "salaried"})
    accounts = accounts.assign(limit_cents=5_000_00, sex=np.where(woman, "f", "m"))
    accounts = accounts.assign(shop_type=[f"type {k}" for k in shop], calls=rng.normal(size=lines) + 6 * bad)
    outcomes = pd.DataFrame(
        {"account_id": names, "as_of": datetime(2026, 3, 1, tzinfo=UTC), "known_time": known, "bad": bad}
    )
    for source, table in {"accounts": accounts, "outcomes": outcomes}.items():
        (tmp_path / "in" / source).mkdir(parents=True)
        table.to_parquet(tmp_path / "in" / source / "a.parquet", index=False)
    workspace = Workspace(tmp_path / "work")
    check_events(tmp_path / "in", workspace.events)
    said: list[str] = []
    small = replace(default_settings(), n_estimators=30, folds=2, rounds=1, carried_rounds=0)
    train(workspace, small, default_policy(), developer="developer", progress=said.append)
    folder = workspace.root / workspace.registry.model("1").folder
    page, text = ((folder / f"validation.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    top = text[: text.index("\n## Data and label")]
    asked = ("target leakage?", "proxy?")
    leak, told = (
        cell for one in asked for line in top.splitlines() for cell in line.split(" | ") if cell.startswith(one)
    )
    assert leak.startswith("target leakage? calls alone has an AUC of ")
    assert told.startswith("proxy? the inputs tell sex with an AUC of ")
    assert "best by shop_type" in told
    verdict = workspace.validation("1")["verdict"]
    held = [finding["text"] for section in verdict["sections"] for finding in section["findings"]]
    assert {leak, told} < set(held)
    assert sorted(one.removeprefix("warning: ") for one in said if one.startswith("warning: ")) == sorted(held)
    assert page.index("target leakage?") < page.index("<h2>Data and label") > page.index("proxy?")


def test_the_report_of_a_clean_book_does_not_warn_of_leakage(small_workspace: Workspace) -> None:
    text = (small_workspace.root / small_workspace.registry.model("2").folder / "validation.md").read_text(
        encoding="utf-8"
    )
    assert "## Target leakage" in text
    assert "## Proxies of protected attributes" in text
    assert "target leakage?" not in text
