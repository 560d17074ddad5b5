"""Train: one iteration from the training table, validated, recorded in MLflow, registered as challenger."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.errors import WorkspaceError
from limitlens.data.html_table import html_table
from limitlens.data.lock import exclusive, waiting
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import write_text
from limitlens.limits.policy import Policy
from limitlens.limits.rates import Rate
from limitlens.limits.registry import RegisteredModel
from limitlens.limits.signed import CARD
from limitlens.models.default_risk import DefaultRiskModel, save_model
from limitlens.models.inputs import Categories, account_numbers, fold_of, model_columns, model_inputs, text_columns
from limitlens.models.settings import TrainSettings
from limitlens.models.training import TrainingRows, carried_categories, fit_model, months_of
from limitlens.models.validation import auc_interval, calibration_table, measure
from limitlens.pipeline import tracking
from limitlens.pipeline.pages.page import Section, verdict_of
from limitlens.pipeline.training.flagged import flagged
from limitlens.pipeline.training.judged import Judged, judge
from limitlens.pipeline.training.model_card import model_card
from limitlens.pipeline.training.reasons_report import reasons_figures
from limitlens.pipeline.training.recalibration import recalibrate
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table, check_labels
from limitlens.pipeline.training.validation_curves import curves
from limitlens.pipeline.training.validation_report import render_validation, validation_sections, verdict_words
from limitlens.pipeline.training.verdict_rows import with_verdicts
from limitlens.pipeline.workspace import Workspace

#: Tag with the digest of all that a registered model stands for.
_TRAINING = "limitlens.training"

#: A drawing of the validation report.
_PLOT = re.compile(r"<svg.*?</svg>", re.DOTALL)

#: Lines whose medians are the example of an input.
_SAMPLE = 1_000


@dataclass(frozen=True)
class Trained:
    """A trained iteration: its version, digests, and validation figures."""

    model_version: str
    model_digest: str
    policy_digest: str
    mlflow_run_id: str
    validation: dict[str, Any]

    def _repr_html_(self) -> str:
        """Version and validation figures, for a notebook."""
        figures = self.validation["metrics"].items()
        rows = [(name, f"{one:,}" if isinstance(one, int) else f"{one:.4f}") for name, one in figures]
        return html_table(f"version {self.model_version}, {self.validation['kind']}", rows)


def train(
    workspace: Workspace,
    settings: TrainSettings,
    policy: Policy,
    *,
    developer: str,
    until: datetime | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train, validate and register an iteration.

    It is trained on the loads that the workspace has when it begins. The workspace is held only while the iteration is
    registered, so that a nightly job need not wait for a training; at the end the training waits for the nightly job.

    Parameters
    ----------
    workspace : Workspace
    settings : TrainSettings
    policy : Policy
        Released together with the model.
    developer : str
        Who trained it; somebody else has to review it.
    until : datetime, optional
        Use only what was known before.
    progress : callable

    Raises
    ------
    ConfigError
        A rule of the policy names a column that does not exist.
    WorkspaceError
        No label has matured, too few lines went bad to learn from, or the champion was withdrawn meanwhile.
    IntegrityError
        A file that was accepted is damaged.
    """
    began = perf_counter()
    workspace = workspace.snapshot()
    workspace.events.verify()
    champion = workspace.registry.champion()
    if champion in workspace.registry.withdrawn():  # nothing of it may go on scoring in another version
        champion = None
    before = workspace.iteration(champion).model if champion else None
    workspace.check_rules(policy, workspace.feature_set(settings))
    for name, why in workspace.left_out(settings).items():
        progress(f"left out: {name} ({why}); [features] attributes of the training settings switches it on")
    verdicts = workspace.ledger.verdicts()
    if not settings.verdict_weight:
        verdicts = verdicts.head(0)
    model, table = fit_iteration(workspace, settings, until, before, progress, verdicts=verdicts)
    moment, digest = until.isoformat() if until else "", workspace.events.digest()
    record = tracking.TrainingRecord(digest, moment, champion or "", len(verdicts))
    return validate_and_register(
        workspace, model, table, policy, developer, record=record, began=began, progress=progress
    )


def validate_and_register(
    workspace: Workspace,
    model: DefaultRiskModel,
    table: TrainingTable,
    policy: Policy,
    developer: str,
    *,
    record: tracking.TrainingRecord,
    began: float | None = None,
    progress: Progress = silent,
) -> Trained:
    """Judge a model on rows it has not seen, and register it as challenger, whatever is found.

    Parameters
    ----------
    workspace : Workspace
    model : DefaultRiskModel
    table : TrainingTable
        What it was trained on.
    policy : Policy
        Released together with the model.
    developer : str
    record : TrainingRecord
    began : float, optional
        ``time.perf_counter()`` when the training began, for the run in MLflow; default: now.
    progress : callable

    Raises
    ------
    WorkspaceError
        The champion was withdrawn meanwhile.
    """
    progress("validating")
    judged = judge(model, policy, table, workspace)
    flags = flagged(judged)
    reasons = reasons_figures(judged, policy)
    sections = validation_sections(judged, flags, reasons, policy, progress)
    report = render_validation(judged, sections, policy, developer)
    validation = _validate(judged, flags, reasons, sections)
    report[CARD] = json.dumps(model_card(judged, validation, policy, developer, record), indent=1)
    with waiting(progress), exclusive(workspace.root, "train"):
        if record.champion in workspace.registry.withdrawn():
            raise WorkspaceError(
                f"version {record.champion}, of which members would stay, was withdrawn during the training; train "
                "again."
            )
        tracked = Tracked(judged, report, record, began)
        return register(workspace, model, policy, validation, developer, tracked)


def fit_iteration(
    workspace: Workspace,
    settings: TrainSettings,
    until: datetime | None,
    champion: DefaultRiskModel | None,
    progress: Progress = silent,
    *,
    verdicts: pd.DataFrame | None = None,
) -> tuple[DefaultRiskModel, TrainingTable]:
    """Build the training table and train a model on it; the same inputs give the same text.

    Parameters
    ----------
    workspace : Workspace
    settings : TrainSettings
    until : datetime, optional
        Use only what was known before.
    champion : DefaultRiskModel, optional
        Whose newest members stay.
    progress : callable
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`, optional
        Those there are; with a ``verdict_weight`` members learn from those on which reviewers agreed.
    """
    table = learning_table(workspace, settings, until, progress, verdicts=verdicts)
    return fit_table(table, workspace, settings, champion, progress), table


def learning_table(
    workspace: Workspace,
    settings: TrainSettings,
    until: datetime | None,
    progress: Progress = silent,
    *,
    verdicts: pd.DataFrame | None = None,
    aside: Path | None = None,
) -> TrainingTable:
    """The training table that a model can learn from, with what reviewers agreed on.

    Parameters
    ----------
    workspace, settings, until, progress, verdicts
        As in :func:`fit_iteration`.
    aside : Path, optional
        As in :func:`limitlens.pipeline.training.training_table.build_training_table`.
    """
    table = build_training_table(workspace, settings, until, progress, aside=aside)
    check_labels(table, settings)
    if verdicts is not None and len(verdicts) and settings.verdict_weight:
        table = with_verdicts(table, workspace, settings, verdicts, until)
        progress(f"{verdict_words(table, settings)}; {len(verdicts):,} were given")
    return table


def fit_table(
    table: TrainingTable,
    workspace: Workspace,
    settings: TrainSettings,
    champion: DefaultRiskModel | None,
    progress: Progress,
) -> DefaultRiskModel:
    """Train a model on a training table; parameters as in :func:`fit_iteration`."""
    train_rows = table.split("train")
    progress(f"training on {len(train_rows):,} rows × {len(table.features.columns)} features, {settings.folds} folds")
    model = fit_model(
        table.features,
        training_rows(table, settings, champion),
        settings=settings,
        labels_end=table.labels_end,
        champion=champion,
        progress=progress,
    )
    if settings.level_months > 0 and "outcomes" not in workspace.events.present():
        model = recalibrate(model, table, workspace.relations(table.features), progress)
    return model


def training_rows(table: TrainingTable, settings: TrainSettings, champion: DefaultRiskModel | None) -> TrainingRows:
    """The inputs of the rows to learn from, filled in file by file: beside them there is no second copy."""
    rows = table.split("train")
    texts = table.with_features(rows, text_columns(table.features))
    categories = carried_categories(table.features, texts, settings, champion)
    verdicts = _rows(table, table.verdicts, categories) if len(table.verdicts) else None
    return replace(_rows(table, rows, categories), verdicts=verdicts)


def _rows(table: TrainingTable, rows: pd.DataFrame, categories: Categories) -> TrainingRows:
    features = table.features
    inputs, start = np.empty((len(rows), len(model_columns(features)))), 0
    for part in table.by_file(rows):
        limit, age, _ = _columns(part)
        inputs[start : start + len(part)] = model_inputs(features, categories, part, limit, age)
        start += len(part)
    _, age, bad = _columns(rows)
    return TrainingRows(inputs, categories, rows["account_id"], months_of(rows["as_of"]), age, bad)


def _columns(rows: pd.DataFrame) -> tuple[Any, Any, Any]:
    return rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64), rows["bad"].to_numpy(bool)


def _validate(
    judged: Judged, flags: dict[str, Any], reasons: dict[str, Any], sections: Sequence[Section]
) -> dict[str, Any]:
    """Verdict, and figures on rows the model has not seen: out of time where a later date exists, else out of fold."""
    model, train_rows = judged.model, judged.table.split("train")
    metrics, learned_bads = measure(judged.bad, judged.pd_), int(train_rows["bad"].sum())
    verdicts = judged.table.verdicts
    on_verdicts = {"verdicts": len(verdicts), "verdict_bads": int(verdicts["bad"].sum())} if len(verdicts) else {}
    return {
        "kind": "cross-validated" if judged.out_of_fold else "out of time",
        "as_of": sorted({t.isoformat() for t in judged.rows["as_of"]})[-1],
        "metrics": metrics.to_dict(),
        "intervals": {
            "auc": list(auc_interval(judged.bad, judged.pd_)),
            "observed_share": list(Rate(metrics.bads, metrics.rows).interval),
        },
        "doubts": [one.text for section in sections for one in section.findings or () if one.blocks],
        "verdict": verdict_of(sections),
        "folds": _fold_metrics(model, train_rows, judged.learned_pd),
        "train": {"rows": len(train_rows), "bads": learned_bads, "labels_end": model.labels_end, **on_verdicts},
        "calibration": calibration_table(judged.bad, judged.pd_).to_dict("list"),
        "false_positives": flags,
        "reasons": reasons,
    }


def _fold_metrics(model: DefaultRiskModel, rows: pd.DataFrame, pd_: FloatArray) -> list[dict[str, Any]]:
    bad = rows["bad"].to_numpy(bool)
    fold = fold_of(account_numbers(rows["account_id"]), model.settings.folds, 0)
    return [
        measure(bad[fold == k], pd_[fold == k]).to_dict()
        for k in range(model.settings.folds)
        if 0 < bad[fold == k].mean() < 1
    ]


@dataclass(frozen=True)
class Tracked:
    """What MLflow keeps of a training beside the model: the rows it was judged on, report and card, when it began."""

    judged: Judged
    report: Mapping[str, str]
    record: tracking.TrainingRecord
    began: float | None


def register(  # noqa: PLR0917 (a training has these parts)
    workspace: Workspace,
    model: DefaultRiskModel,
    policy: Policy,
    validation: dict[str, Any],
    developer: str,
    tracked: Tracked,
) -> Trained:
    """Record a validated model with a policy as an MLflow run, and register it as challenger.

    A call that was killed is gone on with by one that gives the same: one run, one version.
    """
    digests = {
        "limitlens.contract": model.contract,
        "limitlens.features": model.features.digest,
        "limitlens.model": model.digest,
        "limitlens.policy": policy.digest,
    }
    tags = digests | tracking.training_tags(tracked.record)
    tags[_TRAINING] = hashlib.sha256(json.dumps([tags, developer]).encode()).hexdigest()
    with tracking.recorded_run(workspace.mlflow, "train", tags, once=_TRAINING, ended=False, began=tracked.began) as (
        mlflow,
        run_id,
    ):
        for done in workspace.registry.models():
            if done.mlflow_run_id == run_id:  # killed after its last step: the files are recorded as they are
                return Trained(done.model_version, model.digest, policy.digest, run_id, validation)
        metrics = {f"{validation['kind'].replace(' ', '_')}.{k}": v for k, v in validation["metrics"].items()}
        tracking.log_values(mlflow, run_id, model.settings.to_dict() | {"policy": policy.name}, metrics)
        tracking.describe(mlflow, run_id, developer, _note(model, policy, validation))
        tracking.log_curves(mlflow, run_id, curves(tracked.judged))
        for used in _used(workspace, tracked):
            tracking.log_data(mlflow, run_id, used)
        artifacts = tracking.artifacts(mlflow, run_id)
        folder = artifacts / "model"
        save_model(model, folder)
        write_text(policy.text, folder / "policy.toml")
        write_text(json.dumps(validation, indent=1), folder / "validation.json")
        for name, text in tracked.report.items():
            write_text(text, folder / name)
        tracking.write_signature(folder, run_id, _typical_line(model, tracked.judged))
        for number, plot in enumerate(_PLOT.findall(tracked.report.get("validation.html", "")), 1):
            write_text(plot, artifacts / f"plots/{number:02d}.svg")
        version, local = tracking.register(mlflow, run_id, "model", digests)
        tracking.rename(mlflow, run_id, f"train v{version}")
        workspace.registry.record_policy(policy.digest, policy.text)
        folder_below = str(local.resolve().relative_to(workspace.root.resolve()))
        workspace.registry.record_model(
            RegisteredModel(version, model.digest, policy.digest, folder_below, run_id, developer)
        )
    return Trained(version, model.digest, policy.digest, run_id, validation)


def _note(model: DefaultRiskModel, policy: Policy, validation: dict[str, Any]) -> str:
    """What the run is, in Markdown, for MLflow's page."""
    metrics, learned = validation["metrics"], validation["train"]
    doubts_ = "".join(f"\n- doubt: {doubt}" for doubt in validation["doubts"])
    return (
        f"Default-risk model with {len(model.columns)} inputs, learned from {learned['rows']:,} lines, "
        f"{learned['bads']:,} of them bad, labels until {model.labels_end[:10]}; released with policy {policy.name}."
        f"\n\n{validation['kind'].capitalize()}: AUC {metrics['auc']:.4f} on {metrics['rows']:,} lines. The report is "
        f"`model/validation.html`.{doubts_}"
    )


def _used(workspace: Workspace, tracked: Tracked) -> list[tracking.UsedData]:
    """The rows that were learned from, and those it was judged on where they are others."""
    judged = tracked.judged
    kinds = {
        name: "string" if name in text_columns(judged.model.features) else "double" for name in judged.model.columns
    }
    learned = judged.table.split("train")
    parts = {"training": (len(learned), int(learned["bad"].sum()))}
    if not judged.out_of_fold:
        parts["validation"] = (len(judged.rows), int(judged.bad.sum()))
    of = f"{tracked.record.events} {tracked.record.until} {judged.model.features.digest}"
    return [
        tracking.UsedData(
            use,
            hashlib.sha256(f"{of} {rows} {bads}".encode()).hexdigest(),
            str(workspace.tables),
            {"num_rows": rows, "num_bad": bads},
            kinds,
        )
        for use, (rows, bads) in parts.items()
    ]


def _typical_line(model: DefaultRiskModel, judged: Judged) -> dict[str, float | str | None]:
    """A line that nobody is: the median of each input, the most frequent text."""
    texts = set(text_columns(model.features))
    rows = judged.sample(_SAMPLE)
    line = dict[str, float | str | None]()
    for name in model.columns:
        values = rows[name].dropna() if name in rows else pd.Series(dtype=float)
        if not len(values):
            line[name] = None
        else:
            line[name] = str(values.mode().iloc[0]) if name in texts else float(values.astype(float).median())
    return line
