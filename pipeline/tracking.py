"""The one door to MLflow: runs, registered versions, aliases, in a local SQLite store with local artifacts.

The experiment is one of model training, so that MLflow's page opens with its runs and curves.
"""

import itertools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from limitlens.data.damage import damaged
from limitlens.data.disk import no_room, writable
from limitlens.data.errors import LimitlensError, WorkspaceError
from limitlens.data.lock import alone_in
from limitlens.data.storage import publish, write_bytes, write_text
from limitlens.data.unfinished import ENDING, held, remove_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

EXPERIMENT = "limitlens"
MODEL_NAME = "limitlens-default-risk"
CHAMPION, CHALLENGER = "champion", "challenger"

#: Tag under which a run keeps the hash of the ledger's chain.
HEAD = "limitlens.ledger_head"

#: Tag under which a run keeps what it was a run of: train, decide, reconcile, …
KIND = "limitlens.kind"

#: What an experiment is one of; pages of MLflow that ask for it show it so.
_TRAINING = {"mlflow.experimentKind": "custom_model_development"}

_EXPERIMENT_NOTE = (
    "Runs of limitlens: `train` has the validation of a version (metrics by month and segment as curves, plots and "
    "report under artifacts), `decide` and `reconcile` the counts of a date. Limits and causes stand in the ledger."
)

#: MLflow refuses longer names of metrics, and other characters in them.
_NOT_IN_A_NAME = re.compile(r"[^\w .:/-]")
_MAX_METRIC = 250

#: MLflow refuses longer digests of a dataset.
_MAX_DIGEST = 36

#: MLflow refuses longer parameter values.
_MAX_PARAMETER = 8_000

#: How MLflow's store and the system say that the disk is full, and more than one run of ours needs.
_NO_ROOM = ("database or disk is full", "No space left on device")
_RUN_BYTES = 1 << 24

#: How it says that its database is damaged.
_DAMAGED = (
    "sqlite3.DatabaseError",
    "sqlite3.OperationalError) no such",
    "malformed",
    "not a database",
    "database schema",
    "Can't locate revision",
)

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

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    uri = _uri(database)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _uri(database: Path) -> str:
    from sqlalchemy import URL  # noqa: PLC0415

    # With the driver named, MLflow makes no folder for what it takes the path to be, where letters of it are quoted.
    return str(URL.create("sqlite+pysqlite", database=str(database.resolve())).render_as_string())


def server_command(store: Path, port: int) -> list[str]:
    """The command that serves MLflow's pages of a store, on this machine alone.

    Parameters
    ----------
    store : Path
    port : int

    Raises
    ------
    WorkspaceError
        There is no store yet.
    """
    if not (store / "mlflow.db").is_file():
        raise WorkspaceError(f"{store}: nothing is recorded in MLflow yet; run limitlens train first.")
    client(store)  # it can be read
    where = ["--backend-store-uri", _uri(store / "mlflow.db"), "--host", "127.0.0.1", "--port", str(port)]
    artifacts = ["--default-artifact-root", (store / "artifacts").resolve().as_uri()]
    return [sys.executable, "-m", "mlflow", "server", *where, *artifacts, "--workers", "1"]


def page_address(store: Path, port: int) -> str:
    """Where :func:`server_command` shows the runs of a store.

    MLflow's page opens as one of GenAI unless the address says otherwise: it does not ask the kind of the experiment.
    """
    location = (store / "artifacts").resolve().as_uri()
    experiments = client(store).search_experiments()
    here = [one.experiment_id for one in experiments if one.artifact_location == location]
    below = f"experiments/{here[0]}" if here else "experiments"
    return f"http://127.0.0.1:{port}/#/{below}?workflowType=machine_learning"


def _create(database: Path) -> None:
    """Make the database under another name first: MLflow cannot go on with one it was killed in the middle of."""
    with alone_in(database.parent):
        if database.exists():
            return
        temporary = database.with_name(f".{database.name}{ENDING}")
        remove_left(temporary)
        with held(temporary):
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
            tags = _TRAINING | {"mlflow.note.content": _EXPERIMENT_NOTE}
            return str(mlflow.create_experiment(name, artifact_location=location, tags=tags))
        if experiment.artifact_location == location and experiment.lifecycle_stage == "active":
            for tag, value in _TRAINING.items():
                if tag not in experiment.tags:
                    mlflow.set_experiment_tag(experiment.experiment_id, tag, value)
            return str(experiment.experiment_id)
    raise AssertionError("names do not end")


@contextmanager
def _naming_trouble(store: Path) -> "Iterator[None]":
    """What can go wrong with the store, in one line."""
    try:
        yield
    except LimitlensError:
        raise
    except Exception as error:
        text = str(error)
        if any(words in text for words in _NO_ROOM):
            raise no_room(store, _RUN_BYTES) from error
        if any(words in text for words in _DAMAGED):
            raise damaged(store / "mlflow.db", text) from error
        raise


@contextmanager
def recorded_run(
    store: Path,
    kind: str,
    tags: Mapping[str, str],
    *,
    name: str = "",
    once: str | None = None,
    ended: bool = True,
    began: float | None = None,
) -> "Iterator[tuple[MlflowClient, str]]":
    """Open one MLflow run; it ends FINISHED, or FAILED when the block raises.

    Parameters
    ----------
    store : Path
    kind : str
        Such as ``train``; kept as a tag.
    tags : mapping
    name : str
        What MLflow's page calls it, such as ``decide 2026-07-01``; default: the kind.
    once : str, optional
        A tag. A run of this kind with this value of it is gone on with; others that never ended were killed.
    ended : bool
        Go on with one that has ended, too: what names it may be missing.
    began : float, optional
        ``time.perf_counter()`` when the work began that the run stands for; default: now.

    Yields
    ------
    (MlflowClient, str)
        The client and the id of the run.

    Raises
    ------
    WorkspaceError
        The disk is full.
    IntegrityError
        The database is damaged.
    """
    with _naming_trouble(store):
        mlflow = client(store)
        experiment = _experiment(mlflow, store)
        tagged = {**tags, KIND: kind}
        interrupted = _interrupted(mlflow, experiment, kind, (once, tags[once]), ended=ended) if once else None
        start = _start_time(began)
        run_id = interrupted or mlflow.create_run(experiment, start, tagged, name or kind).info.run_id
        try:
            yield mlflow, run_id
        except BaseException:
            mlflow.set_terminated(run_id, "FAILED")
            raise
        mlflow.set_terminated(run_id, "FINISHED")


def _start_time(began: float | None) -> int | None:
    """Milliseconds since 1970, by the clock of MLflow, which takes its own end times there."""
    from mlflow.utils.time import get_current_time_millis  # noqa: PLC0415

    return int(get_current_time_millis() - (time.perf_counter() - began) * 1000) if began is not None else None


def _interrupted(
    mlflow: "MlflowClient", experiment: str, kind: str, tag: tuple[str, str], *, ended: bool
) -> str | None:
    """Id of the run of this kind and tag, if there is one; the rest that never ended is marked as killed."""
    run_id = None
    for run in mlflow.search_runs([experiment], f"tags.`{KIND}` = '{kind}'"):
        running = run.info.status == "RUNNING"
        if run.data.tags.get(tag[0]) == tag[1] and (ended or running):
            run_id = str(run.info.run_id)
        elif running:
            mlflow.set_terminated(run.info.run_id, "KILLED")
    return run_id


def is_recorded(store: Path, kind: str, tag: tuple[str, str]) -> bool:
    """Whether a run of a kind with a value of a tag ended FINISHED."""
    with _naming_trouble(store):
        mlflow = client(store)
        experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
        wanted = f"tags.`{KIND}` = '{kind}' AND tags.`{tag[0]}` = '{tag[1]}' AND attributes.status = 'FINISHED'"
        return bool(mlflow.search_runs(experiments, wanted, max_results=1))


def heads(store: Path) -> dict[str, str]:
    """Head of the ledger that each run recorded, by run id, deleted runs too; nothing without a store."""
    if not (store / "mlflow.db").is_file():
        return {}
    from mlflow.entities import ViewType  # noqa: PLC0415

    every, token = ViewType.ALL, None
    by_run: dict[str, str] = {}
    with _naming_trouble(store):
        mlflow = client(store)
        experiments = [experiment.experiment_id for experiment in mlflow.search_experiments(view_type=every)]
        while token != "":
            page = mlflow.search_runs(experiments, f"tags.`{HEAD}` LIKE '%'", every, _PAGE_RUNS, page_token=token)
            by_run |= {run.info.run_id: run.data.tags[HEAD] for run in page}
            token = page.token or ""
    return by_run


def failed(store: Path, most: int) -> list[str]:
    """Runs that failed or were killed, the last ones first: name, how and when; nothing without a store."""
    if not (store / "mlflow.db").is_file():
        return []
    mlflow = client(store)
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    ended = [
        run.info
        for status in ("FAILED", "KILLED")
        for run in mlflow.search_runs(experiments, f"attributes.status = '{status}'", max_results=most)
    ]
    last = sorted(ended, key=lambda info: -info.start_time)[:most]
    return [f"{info.run_name} {info.status.lower()} {_day(info.start_time)}" for info in last]


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")


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


@dataclass(frozen=True)
class Child:
    """A run below another one: its name, when it began and ended (milliseconds since 1970), and what came out."""

    name: str
    kind: str
    start_ms: int
    end_ms: int
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


def log_child(mlflow: "MlflowClient", parent: str, child: Child) -> None:
    """Record a finished run below another one."""
    experiment = mlflow.get_run(parent).info.experiment_id
    tags = {"mlflow.parentRunId": parent, KIND: child.kind}
    run_id = mlflow.create_run(experiment, child.start_ms, tags, child.name).info.run_id
    log_values(mlflow, run_id, child.parameters, child.metrics)
    mlflow.set_terminated(run_id, "FINISHED", child.end_ms)


def rename(mlflow: "MlflowClient", run_id: str, name: str) -> None:
    """Give a run the name that is known only now."""
    mlflow.update_run(run_id, name=name)


def describe(mlflow: "MlflowClient", run_id: str, developer: str, note: str) -> None:
    """Say on a run who made it, and what it is, in Markdown."""
    for name, value in {
        "mlflow.user": developer,
        "mlflow.note.content": note,
        "mlflow.source.name": "limitlens",
    }.items():
        mlflow.set_tag(run_id, name, value)


@dataclass(frozen=True)
class Point:
    """One value of a metric at a moment, for a curve: a name, the time, the value."""

    name: str
    at: datetime
    value: float


def log_curves(mlflow: "MlflowClient", run_id: str, points: Sequence[Point]) -> None:
    """Log metrics over time: by step MLflow draws them by months since the first, by wall time at their dates."""
    from mlflow.entities import Metric  # noqa: PLC0415

    first = min((_month(point.at) for point in points), default=0)
    metrics = [
        Metric(
            _NOT_IN_A_NAME.sub("_", point.name)[:_MAX_METRIC],
            point.value,
            int(point.at.timestamp() * 1000),
            _month(point.at) - first,
        )
        for point in points
    ]
    for start in range(0, len(metrics), _PAGE_RUNS):
        mlflow.log_batch(run_id, metrics=metrics[start : start + _PAGE_RUNS])


def _month(at: datetime) -> int:
    return at.year * 12 + at.month


@dataclass(frozen=True)
class UsedData:
    """Rows that a run was given: what for (``training``, ``validation``), their digest and counts, kinds by column."""

    use: str
    digest: str
    place: str
    counts: Mapping[str, int]
    columns: Mapping[str, str]


def log_data(mlflow: "MlflowClient", run_id: str, used: UsedData) -> None:
    """Note the rows a run was given as its dataset; the rows stay where they are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

    schema = [{"type": kind, "name": name, "required": False} for name, kind in used.columns.items()]
    dataset = Dataset(
        f"{used.use} rows",
        used.digest[:_MAX_DIGEST],
        "local",
        json.dumps({"uri": used.place}),
        json.dumps({"mlflow_colspec": schema}),
        json.dumps(dict(used.counts)),
    )
    mlflow.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", used.use)])])


def write_signature(folder: Path, run_id: str, example: Mapping[str, float | str | None]) -> None:
    """Say in a model folder what goes in and what comes out, as MLflow's pages show it.

    Parameters
    ----------
    folder : Path
    run_id : str
    example : mapping of str to float or str
        One line, in the order of the inputs.
    """
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, DataType, Schema  # noqa: PLC0415

    kinds = {name: DataType.string if isinstance(value, str) else DataType.double for name, value in example.items()}
    signature = ModelSignature(
        Schema([ColSpec(kind, name, required=False) for name, kind in kinds.items()]),
        Schema([ColSpec(DataType.double, "pd")]),
    )
    info = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    write_text(json.dumps({"columns": list(example), "data": [list(example.values())]}), folder / info["artifact_path"])
    model = Model("model", run_id, signature=signature, saved_input_example_info=info)
    write_text(model.to_yaml(), folder / "MLmodel")


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


def training_tags(record: TrainingRecord) -> dict[str, str]:
    """Tags of a run that say what it needs to be repeated."""
    return {f"limitlens.train.{name}": str(value) for name, value in asdict(record).items()}


def training_record(store: Path, run_id: str) -> TrainingRecord:
    """What :func:`training_tags` gave a run.

    Raises
    ------
    WorkspaceError
        There is no such run, or it has no such tags: the model was trained elsewhere.
    """
    tags = _tags_of(store, run_id) if (store / "mlflow.db").is_file() else {}
    try:
        events, until, champion = (tags[f"limitlens.train.{name}"] for name in ("events", "until", "champion"))
    except KeyError:
        raise WorkspaceError(
            f"MLflow's store {store} does not say what run {run_id[:12]} was trained on; restore the store."
        ) from None
    return TrainingRecord(events, until, champion, int(tags.get("limitlens.train.verdicts", 0)))


def _tags_of(store: Path, run_id: str) -> dict[str, str]:
    """Tags of a run; none where there is no such run."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with _naming_trouble(store):
        try:
            return dict(client(store).get_run(run_id).data.tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def register(mlflow: "MlflowClient", run_id: str, artifact: str, tags: Mapping[str, str]) -> tuple[str, Path]:
    """Register the artifact folder of a run as a model version, once, and point ``@challenger`` at it.

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
    versions = mlflow.search_model_versions(f"name = '{MODEL_NAME}' AND run_id = '{run_id}'")
    uri = f"{mlflow.get_run(run_id).info.artifact_uri}/{artifact}"
    version = versions[0] if versions else mlflow.create_model_version(MODEL_NAME, uri, run_id, tags=dict(tags))
    mlflow.set_registered_model_alias(MODEL_NAME, CHALLENGER, version.version)
    return str(version.version), artifacts(mlflow, run_id) / artifact


def artifacts(mlflow: "MlflowClient", run_id: str) -> Path:
    """Folder of what is kept with a run.

    Files are written there as those of the workspace are: MLflow would write them outside first, where one stays when
    it is killed, and copy them, of which one that is killed leaves half.
    """
    return Path(url2pathname(urlparse(mlflow.get_run(run_id).info.artifact_uri).path))


def attach(store: Path, run_id: str, path: Path) -> None:
    """Store a file with a run; a run from before the store was moved, or on a read-only disk, stays as it is."""
    if (folder := _kept_in(store, run_id)) is not None:
        write_bytes(path.read_bytes(), folder / path.name)


def attach_text(store: Path, run_id: str, text: str, name: str) -> None:
    """:func:`attach` a text under a name."""
    if (folder := _kept_in(store, run_id)) is not None:
        write_text(text, folder / name)


def _kept_in(store: Path, run_id: str) -> Path | None:
    """Folder of what is kept with a run, if files can be added to it."""
    if not os.access(store, os.W_OK):
        return None
    with _naming_trouble(store):
        folder = artifacts(client(store), run_id)
    return folder if folder.is_relative_to(store.resolve()) else None


def promote(store: Path, version: str) -> None:
    """Point ``@champion`` at a version, which challenges nobody any more.

    Raises
    ------
    WorkspaceError
        The version is not registered.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    with _naming_trouble(store):
        mlflow = client(store)
        try:
            mlflow.set_registered_model_alias(MODEL_NAME, CHAMPION, version)
            if str(mlflow.get_registered_model(MODEL_NAME).aliases.get(CHALLENGER)) == version:
                mlflow.delete_registered_model_alias(MODEL_NAME, CHALLENGER)
        except MlflowException as error:
            if any(words in str(error) for words in _DAMAGED):
                raise
            raise WorkspaceError(
                f"model version {version!r} is not in the registry of {store}; train it first."
            ) from error
