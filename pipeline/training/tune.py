"""Tune: search the settings of the model by how true its PDs are on accounts it has not seen, in the latest month."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import lightgbm as lgb
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from limitlens.data.lock import exclusive, expect_workspace, waiting
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import write_text
from limitlens.features.line import limit_and_age
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.inputs import account_numbers, column_parameters, find_categories, model_inputs
from limitlens.models.settings import TrainSettings
from limitlens.models.training import months_of
from limitlens.pipeline import tracking
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table, check_labels
from limitlens.pipeline.workspace import Workspace

#: Trees between two looks at whether a trial is worth going on with.
_LOOK_EVERY = 10


@dataclass(frozen=True)
class Tuned:
    """The best settings, their log loss and that of the settings the search began with; trials in all and pruned."""

    settings: TrainSettings
    loss: float
    first_loss: float
    trials: int
    pruned: int


def tune(
    workspace: Workspace,
    settings: TrainSettings,
    trials: int,
    out: Path,
    *,
    until: datetime | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search leaves, rows to a leaf, shares of columns and rows, and the penalty.

    The given settings are the first trial, so the result is never worse than they are. A study is kept in the
    workspace: after an interruption, or for more trials, it goes on where it was. Each trial is a child run in MLflow.

    Parameters
    ----------
    workspace : Workspace
    settings : TrainSettings
    trials : int
        Trials of the study in all.
    out : Path
        TOML file for the best settings.
    until : datetime, optional
        Use only what was known before.
    progress : callable
    """
    began = perf_counter()
    workspace = workspace.snapshot()
    folder = workspace.root / "tuning"
    expect_workspace(workspace.root)
    with exclusive(folder, "tune", begins=True):
        table = build_training_table(workspace, settings, until, progress)
        loss = _objective(table, settings)
        key = _key(workspace, table, settings, until)
        with waiting(progress), exclusive(workspace.root, "tune"):
            tracking.client(workspace.mlflow)  # its store is made by one run at a time
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=key,
            storage=JournalStorage(JournalFileBackend(str(folder / f"{key}.log"))),
            sampler=optuna.samplers.TPESampler(seed=settings.seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=30),
            load_if_exists=True,
        )
        if not study.trials:
            study.enqueue_trial({name: getattr(settings, name) for name in SPACE})
        recorded = tracking.recorded_run(
            workspace.mlflow, "tune", {"limitlens.study": key}, name=f"tune {key}", began=began
        )
        with recorded as (mlflow, parent):

            def record(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
                value = trial.value if trial.value is not None else float("nan")
                state = "pruned" if trial.state == TrialState.PRUNED else f"log loss {value:.5f}"
                progress(f"trial {trial.number + 1} of {trials}: {state}; best {_best(study):.5f}")
                metrics = {"log_loss": value} if trial.state == TrialState.COMPLETE else {}
                tracking.log_child(mlflow, parent, _child(trial, metrics))

            ended = [trial for trial in study.trials if trial.state.is_finished()]
            study.optimize(loss, n_trials=max(0, trials - len(ended)), callbacks=[record])
            best = replace(settings, **study.best_params)
            tracking.log_values(mlflow, parent, best.to_dict(), {"log_loss": study.best_value})
        write_text(best.to_toml(), out)
    counts = [trial.state for trial in study.trials]
    first = study.trials[0].value
    return Tuned(
        settings=best,
        loss=study.best_value,
        first_loss=first if first is not None else float("nan"),
        trials=len([state for state in counts if state.is_finished()]),
        pruned=counts.count(TrialState.PRUNED),
    )


#: What is searched: a suggestion by name.
SPACE: dict[str, Callable[[Trial], int | float]] = {
    "num_leaves": lambda trial: trial.suggest_int("num_leaves", 4, 63, log=True),
    "min_data_in_leaf": lambda trial: trial.suggest_int("min_data_in_leaf", 20, 500, log=True),
    "feature_fraction": lambda trial: trial.suggest_float("feature_fraction", 0.2, 1.0),
    "bagging_fraction": lambda trial: trial.suggest_float("bagging_fraction", 0.4, 1.0),
    "lambda_l2": lambda trial: trial.suggest_float("lambda_l2", 0.1, 100.0, log=True),
}


def _objective(table: TrainingTable, settings: TrainSettings) -> Callable[[Trial], float]:
    """Mean log loss of the members of one round, each on the accounts it has not seen, in the latest month."""
    check_labels(table, settings)
    rows, features = table.part("train"), table.features
    limit, age = limit_and_age(rows)
    inputs = model_inputs(features, find_categories(features, rows), rows, limit, age)
    bad, period = rows["bad"].to_numpy(bool), months_of(rows["as_of"])
    account = account_numbers(rows["account_id"])

    def loss(trial: Trial) -> float:
        def look(env: lgb.callback.CallbackEnv) -> None:
            if env.iteration % _LOOK_EVERY == 0:
                trial.report(env.evaluation_result_list[0][2], env.iteration)
                if trial.should_prune():
                    raise optuna.TrialPruned

        suggested: dict[str, Any] = {name: suggest(trial) for name, suggest in SPACE.items()}
        tried = replace(settings, **suggested)
        model = DefaultRiskClassifier(**tried.classifier_parameters(), **column_parameters(features, inputs, tried))
        return model.held_out_loss(inputs, bad, account=account, period=period, callbacks=[look])

    return loss


def _child(trial: optuna.trial.FrozenTrial, metrics: dict[str, float]) -> tracking.Child:
    """A trial as a run, at the times at which Optuna says that it ran; these are local and name no zone."""
    start, end = (round(at.timestamp() * 1000) if at else 0 for at in (trial.datetime_start, trial.datetime_complete))
    return tracking.Child(f"trial {trial.number + 1}", "trial", start, end, trial.params, metrics)


def _best(study: optuna.Study) -> float:
    done = [trial.value for trial in study.trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(done, default=float("nan"))


def _key(workspace: Workspace, table: TrainingTable, settings: TrainSettings, until: datetime | None) -> str:
    """A study is of the same events, features and other settings."""
    others: dict[str, Any] = {name: value for name, value in settings.to_dict().items() if name not in SPACE}
    parts = (workspace.events.digest(), table.features.digest, others, until.isoformat() if until else "")
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
