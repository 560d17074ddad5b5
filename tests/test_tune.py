"""The search for settings: it goes on where it was, is never worse than where it began, and is recorded."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy.special import log_expit
from sklearn.base import clone

from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.settings import read_settings
from limitlens.pipeline.training.tune import tune
from limitlens.pipeline.workspace import Workspace, default_settings

pytestmark = pytest.mark.slow


def test_a_study_goes_on_where_it_was_and_is_never_worse_than_where_it_began(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    space, out, said = Workspace(tmp_path / "work"), tmp_path / "tuned.toml", list[str]()
    settings = replace(default_settings(), n_estimators=20, folds=2)
    first = tune(space, settings, 2, out, progress=said.append)
    again = tune(space, settings, 4, out, progress=said.append)
    assert (first.trials, again.trials) == (2, 4)
    assert len([text for text in said if text.startswith("trial ")]) == 4
    assert again.first_loss == first.first_loss
    assert again.loss <= first.loss <= first.first_loss
    assert read_settings(out) == again.settings
    client = MlflowClient(f"sqlite:///{space.mlflow / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(children) == 4
    assert {"num_leaves", "lambda_l2"} <= set(children[0].data.params)


def test_the_loss_is_that_of_members_on_the_accounts_they_never_saw() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(500, 3))
    bad = rng.random(500) < 1 / (1 + np.exp(-inputs[:, 0]))
    account, period = account_numbers(pd.Series(np.arange(500))), np.arange(500) // 250
    model = DefaultRiskClassifier(folds=3, rounds=1, carried_rounds=0, n_estimators=15, early_stopping_rounds=99)
    fitted = clone(model).fit(inputs, bad, account=account, period=period)
    losses = []
    for member in fitted.scorer_.members:
        watched = (fold_of(account, 3, 0) == member.fold) & (period == 1)
        scores = member.booster.predict(inputs[watched], raw_score=True)
        losses.append(-log_expit(np.where(bad[watched], scores, -scores)).mean())
    assert model.held_out_loss(inputs, bad, account=account, period=period) == pytest.approx(np.mean(losses))
