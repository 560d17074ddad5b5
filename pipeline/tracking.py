"""The one door to MLflow: runs, registered versions, aliases, in a local SQLite store with local artifacts."""

import logging
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from limitlens.data.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

EXPERIMENT = "limitlens"
MODEL_NAME = "limitlens-default-risk"
CHAMPION, CHALLENGER = "champion", "challenger"

#: MLflow refuses longer parameter values.
_MAX_PARAMETER = 8_000


def client(store: Path) -> "MlflowClient":
    """Open the MLflow store below a folder; it is created on first use.

    Parameters
    ----------
    store : Path
        Holds ``mlflow.db`` and ``artifacts``.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    from mlflow import MlflowClient  # noqa: PLC0415 (takes seconds; only steps that record need it)

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    store.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{(store / 'mlflow.db').resolve()}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _experiment(mlflow: "MlflowClient", store: Path) -> str:
    """The experiment that keeps its artifacts below this store; a store that was moved gets a new one.

    MLflow records absolute addresses: without this, a copy of a workspace would write into the original.
    """
    location = (store / "artifacts").resolve().as_uri()
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return str(mlflow.create_experiment(EXPERIMENT, artifact_location=location))
    if found.artifact_location == location:
        return str(found.experiment_id)
    name = f"{EXPERIMENT} moved to {store.resolve()}"
    moved = mlflow.get_experiment_by_name(name)
    return str(moved.experiment_id if moved else mlflow.create_experiment(name, artifact_location=location))


@contextmanager
def recorded_run(store: Path, name: str, tags: Mapping[str, str]) -> "Iterator[tuple[MlflowClient, str]]":
    """Open one MLflow run; it ends FINISHED, or FAILED when the block raises.

    Yields
    ------
    (MlflowClient, str)
        The client and the id of the run.
    """
    mlflow = client(store)
    run_id = mlflow.create_run(_experiment(mlflow, store), run_name=name, tags=dict(tags)).info.run_id
    try:
        yield mlflow, run_id
    except BaseException:
        mlflow.set_terminated(run_id, "FAILED")
        raise
    mlflow.set_terminated(run_id, "FINISHED")


def log_values(
    mlflow: "MlflowClient", run_id: str, parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Log parameters and metrics in one call."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    mlflow.log_batch(
        run_id,
        metrics=[Metric(name, float(value), 0, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)[:_MAX_PARAMETER]) for name, value in parameters.items()],
    )


def log_child(
    mlflow: "MlflowClient", parent: str, name: str, parameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Record a finished run below another one."""
    experiment = mlflow.get_run(parent).info.experiment_id
    child = mlflow.create_run(experiment, run_name=name, tags={"mlflow.parentRunId": parent}).info.run_id
    log_values(mlflow, child, parameters, metrics)
    mlflow.set_terminated(child, "FINISHED")


@dataclass(frozen=True)
class TrainingRecord:
    """What a training run was given beside its settings, which stand in the model.

    Parameters
    ----------
    events : str
        Digest of the accepted events.
    until : str
        ISO time before which they were known; empty: all of them.
    champion : str
        Version whose members stayed; empty: none.
    """

    events: str
    until: str
    champion: str


def record_training(mlflow: "MlflowClient", run_id: str, record: TrainingRecord) -> None:
    """Note on a run what it needs to be repeated."""
    for name, value in asdict(record).items():
        mlflow.set_tag(run_id, f"limitlens.train.{name}", value)


def training_record(store: Path, run_id: str) -> TrainingRecord:
    """What :func:`record_training` noted."""
    tags = client(store).get_run(run_id).data.tags
    return TrainingRecord(**{name: tags[f"limitlens.train.{name}"] for name in ("events", "until", "champion")})


def register(mlflow: "MlflowClient", run_id: str, artifact: str, tags: Mapping[str, str]) -> tuple[str, Path]:
    """Register the artifact folder of a run as a model version and point ``@challenger`` at it.

    Returns
    -------
    (str, Path)
        Version, and the local folder of the artifact.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        mlflow.get_registered_model(MODEL_NAME)
    except MlflowException:
        mlflow.create_registered_model(MODEL_NAME)
    uri = f"{mlflow.get_run(run_id).info.artifact_uri}/{artifact}"
    version = mlflow.create_model_version(MODEL_NAME, source=uri, run_id=run_id, tags=dict(tags))
    mlflow.set_registered_model_alias(MODEL_NAME, CHALLENGER, version.version)
    return str(version.version), Path(url2pathname(urlparse(uri).path))


def attach(store: Path, run_id: str, path: Path) -> None:
    """Store a file with a run; a run that was recorded before the store was moved stays as it is."""
    mlflow = client(store)
    if mlflow.get_run(run_id).info.artifact_uri.startswith(store.resolve().as_uri() + "/"):
        mlflow.log_artifact(run_id, str(path))


def attach_text(store: Path, run_id: str, text: str, name: str) -> None:
    """:func:`attach` a text under a name."""
    mlflow = client(store)
    if mlflow.get_run(run_id).info.artifact_uri.startswith(store.resolve().as_uri() + "/"):
        mlflow.log_text(run_id, text, name)


def promote(store: Path, version: str) -> None:
    """Point ``@champion`` at a version.

    Raises
    ------
    WorkspaceError
        The version is not registered.
    """
    mlflow = client(store)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        mlflow.set_registered_model_alias(MODEL_NAME, CHAMPION, version)
    except MlflowException as error:
        raise WorkspaceError(f"model version {version!r} is not in the registry of {store}; train it first.") from error
