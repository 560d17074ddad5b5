"""The one door to MLflow: runs, registered versions, aliases, in a local SQLite store with local artifacts."""

import itertools
import logging
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from limitlens.data.damage import damaged
from limitlens.data.disk import no_room, writable
from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import alone_in
from limitlens.data.storage import publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

EXPERIMENT = "limitlens"
MODEL_NAME = "limitlens-default-risk"
CHAMPION, CHALLENGER = "champion", "challenger"

#: Tag under which a run keeps the hash of the ledger's chain.
HEAD = "limitlens.ledger_head"

#: MLflow refuses longer parameter values.
_MAX_PARAMETER = 8_000

#: How MLflow's store and the system say that the disk is full, and more than one run of ours needs.
_NO_ROOM = ("database or disk is full", "No space left on device")
_RUN_BYTES = 1 << 24

#: Of a path, in the name of an experiment; MLflow refuses one of more than 500 characters.
_MAX_NAME = 400

#: With which a database begins.
_SQLITE = b"SQLite format 3\0"

#: Runs MLflow gives at once.
_PAGE_RUNS = 1_000


def client(store: Path) -> "MlflowClient":
    """Open the MLflow store below a folder; it is created on first use.

    Parameters
    ----------
    store : Path
        Holds ``mlflow.db`` and ``artifacts``.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    database = store / "mlflow.db"
    if not database.exists():
        with writable(store):
            store.mkdir(parents=True, exist_ok=True)
            _create(database)
    with database.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            raise damaged(database, "it is no SQLite file")
    return _opened(database)


def _opened(database: Path) -> "MlflowClient":
    from mlflow import MlflowClient  # noqa: PLC0415 (takes seconds; only steps that record need it)
    from sqlalchemy import URL  # noqa: PLC0415

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # With the driver named, MLflow makes no folder for what it takes the path to be, where letters of it are quoted.
    uri = URL.create("sqlite+pysqlite", database=str(database.resolve())).render_as_string()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create(database: Path) -> None:
    """Make the database under another name first: MLflow cannot go on with one it was killed in the middle of."""
    with alone_in(database.parent):
        if database.exists():
            return
        temporary = database.with_name(f".{database.name}.tmp")
        for rest in database.parent.glob(f"{temporary.name}*"):
            rest.unlink()
        _opened(temporary).search_experiments()
        publish(temporary, database)


def _experiment(mlflow: "MlflowClient", store: Path) -> str:
    """The experiment that keeps its artifacts below this store; a store that was moved gets a new one.

    MLflow records absolute addresses: without this, a copy of a workspace would write into the original. An experiment
    that was deleted keeps its name, so a new one gets another.
    """
    location = (store / "artifacts").resolve().as_uri()
    moved = f"{EXPERIMENT} moved to {str(store.resolve())[-_MAX_NAME:]}"
    for name in itertools.chain([EXPERIMENT, moved], (f"{moved}, {number}" for number in itertools.count(2))):
        experiment = mlflow.get_experiment_by_name(name)
        if experiment is None:
            return str(mlflow.create_experiment(name, artifact_location=location))
        if experiment.artifact_location == location and experiment.lifecycle_stage == "active":
            return str(experiment.experiment_id)
    raise AssertionError("names do not end")


@contextmanager
def recorded_run(
    store: Path, name: str, tags: Mapping[str, str], *, once: str | None = None
) -> "Iterator[tuple[MlflowClient, str]]":
    """Open one MLflow run; it ends FINISHED, or FAILED when the block raises.

    Parameters
    ----------
    store : Path
    name : str
    tags : mapping
    once : str, optional
        A tag. A run of this name with this value of it is gone on with; others that never ended were killed.

    Yields
    ------
    (MlflowClient, str)
        The client and the id of the run.

    Raises
    ------
    WorkspaceError
        The disk is full.
    """
    try:
        mlflow = client(store)
        experiment = _experiment(mlflow, store)
        interrupted = _interrupted(mlflow, experiment, name, once, tags) if once else None
        run_id = interrupted or mlflow.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id
        try:
            yield mlflow, run_id
        except BaseException:
            mlflow.set_terminated(run_id, "FAILED")
            raise
        mlflow.set_terminated(run_id, "FINISHED")
    except Exception as error:
        if any(text in str(error) for text in _NO_ROOM):
            raise no_room(store, _RUN_BYTES) from error
        raise


def _interrupted(mlflow: "MlflowClient", experiment: str, name: str, tag: str, tags: Mapping[str, str]) -> str | None:
    """Id of the run of this name and tag, if there is one; the rest that never ended is marked as killed."""
    run_id = None
    for run in mlflow.search_runs([experiment], f"attributes.run_name = '{name}'"):
        if run.data.tags.get(tag) == tags[tag]:
            run_id = str(run.info.run_id)
        elif run.info.status == "RUNNING":
            mlflow.set_terminated(run.info.run_id, "KILLED")
    return run_id


def heads(store: Path) -> dict[str, str]:
    """Head of the ledger that each run recorded, by run id, deleted runs too; nothing without a store."""
    if not (store / "mlflow.db").is_file():
        return {}
    mlflow = client(store)
    from mlflow.entities import ViewType  # noqa: PLC0415

    every = ViewType.ALL
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments(view_type=every)]
    by_run: dict[str, str] = {}
    token: str | None = None
    while token != "":
        page = mlflow.search_runs(experiments, f"tags.`{HEAD}` LIKE '%'", every, _PAGE_RUNS, page_token=token)
        by_run |= {run.info.run_id: run.data.tags[HEAD] for run in page}
        token = page.token or ""
    return by_run


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
    verdicts : int
        How many verdicts there were; 0 where they teach nothing.
    """

    events: str
    until: str
    champion: str
    verdicts: int = 0


def record_training(mlflow: "MlflowClient", run_id: str, record: TrainingRecord) -> None:
    """Note on a run what it needs to be repeated."""
    for name, value in asdict(record).items():
        mlflow.set_tag(run_id, f"limitlens.train.{name}", value)


def training_record(store: Path, run_id: str) -> TrainingRecord:
    """What :func:`record_training` noted."""
    tags = client(store).get_run(run_id).data.tags
    events, until, champion = (tags[f"limitlens.train.{name}"] for name in ("events", "until", "champion"))
    return TrainingRecord(events, until, champion, int(tags.get("limitlens.train.verdicts", 0)))


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
    """Store a file with a run; a run from before the store was moved, or on a read-only disk, stays as it is."""
    if (mlflow := _keeper(store, run_id)) is not None:
        mlflow.log_artifact(run_id, str(path))


def attach_text(store: Path, run_id: str, text: str, name: str) -> None:
    """:func:`attach` a text under a name."""
    if (mlflow := _keeper(store, run_id)) is not None:
        mlflow.log_text(run_id, text, name)


def _keeper(store: Path, run_id: str) -> "MlflowClient | None":
    """The client, if files can be added to the run."""
    if not os.access(store, os.W_OK):
        return None
    mlflow = client(store)
    below = mlflow.get_run(run_id).info.artifact_uri.startswith(store.resolve().as_uri() + "/")
    return mlflow if below else None


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
