"""MLflow as people read it: what a run is called, when it ran, what it was given and what came out."""

import json
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from limitlens.data.errors import GateError, WorkspaceError
from limitlens.pipeline import tracking
from limitlens.pipeline.release.promote import promote
from limitlens.pipeline.workspace import Workspace


@pytest.fixture
def runs(small_workspace: Workspace) -> dict[str, Any]:
    """Runs of a demo, by name."""
    mlflow = tracking.client(small_workspace.mlflow)
    experiments = [one.experiment_id for one in mlflow.search_experiments()]
    return {run.info.run_name: run for run in mlflow.search_runs(experiments)}


def test_runs_are_called_what_they_did(small_workspace: Workspace, runs: dict[str, Any]) -> None:
    assert {"train v1", "train v2"} < set(runs)
    last = small_workspace.ledger.runs()[-1].as_of
    assert any(name.startswith("decide ") and name.endswith(f"{last:%Y-%m-%d}") for name in runs)
    assert any(name.startswith("reconcile 20") for name in runs)
    assert {run.data.tags[tracking.KIND] for run in runs.values()} >= {"train", "decide", "reconcile"}


def test_a_run_began_when_its_work_began(tmp_path: Path) -> None:
    began = perf_counter() - 90
    with tracking.recorded_run(tmp_path, "train", {}, began=began) as (mlflow, run_id):
        pass
    info = mlflow.get_run(run_id).info
    assert 90_000 <= info.end_time - info.start_time < 150_000


def test_trainings_say_how_long_they_took(runs: dict[str, Any]) -> None:
    assert all(run.info.end_time - run.info.start_time > 1_000 for name, run in runs.items() if "train" in name)


def test_a_training_says_who_what_and_on_which_rows(small_workspace: Workspace, runs: dict[str, Any]) -> None:
    run = runs["train v2"]
    learned = small_workspace.validation("2")["train"]
    tags = run.data.tags
    assert tags["mlflow.user"] == small_workspace.registry.model("2").developer
    assert f"learned from {learned['rows']:,} lines" in tags["mlflow.note.content"]
    given = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert json.loads(given["training"].profile) == {"num_rows": learned["rows"], "num_bad": learned["bads"]}
    assert {"num_leaves", "policy"} < set(run.data.params)


def test_metrics_by_month_and_segment_are_curves(small_workspace: Workspace, runs: dict[str, Any]) -> None:
    mlflow, run_id = tracking.client(small_workspace.mlflow), runs["train v2"].info.run_id
    rows = {one.step: one.value for one in mlflow.get_metric_history(run_id, "out_of_fold.rows")}
    assert len(rows) > 3
    assert sum(rows.values()) == small_workspace.validation("2")["train"]["rows"]
    segments = [name for name in runs["train v2"].data.metrics if name.startswith("out_of_fold.segment.")]
    assert segments
    shares = mlflow.get_metric_history(run_id, "out_of_fold.observed_share")
    months = [datetime.fromtimestamp(one.timestamp / 1000, UTC) for one in shares]
    first = min(months)
    assert [one.step for one in shares] == [12 * (m.year - first.year) + m.month - first.month for m in months]


def test_the_report_its_plots_and_the_signature_are_artifacts(small_workspace: Workspace, runs: dict[str, Any]) -> None:
    mlflow, run_id = tracking.client(small_workspace.mlflow), runs["train v2"].info.run_id
    names = {one.path for folder in ("model", "plots") for one in mlflow.list_artifacts(run_id, folder)}
    assert {"model/validation.html", "model/MLmodel", "model/input_example.json", "plots/01.svg"} <= names
    folder = small_workspace.root / small_workspace.registry.model("2").folder
    example = json.loads((folder / "input_example.json").read_text(encoding="utf-8"))
    assert example["columns"] == list(small_workspace.iteration("2").model.columns)


def test_the_signature_is_one_that_mlflow_reads(small_workspace: Workspace) -> None:
    from mlflow.models import Model

    folder = small_workspace.root / small_workspace.registry.model("2").folder
    signature = Model.load(str(folder)).signature
    assert signature.inputs.input_names() == list(small_workspace.iteration("2").model.columns)
    assert signature.outputs.input_names() == ["pd"]


def test_the_experiment_opens_as_model_training(small_workspace: Workspace) -> None:
    for experiment in tracking.client(small_workspace.mlflow).search_experiments():
        if experiment.name.startswith(tracking.EXPERIMENT):
            assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_promoted_version_is_champion_and_challenges_nobody(small_workspace: Workspace) -> None:
    aliases = tracking.client(small_workspace.mlflow).get_registered_model(tracking.MODEL_NAME).aliases
    assert {name: str(version) for name, version in aliases.items()} == {"champion": "2"}


def test_the_champion_is_not_promoted_again(small_workspace: Workspace) -> None:
    before = small_workspace.registry.promotions()
    with pytest.raises(GateError, match="version 2 is the champion already: demo reviewer promoted it on 2026-"):
        promote(small_workspace, "somebody else", datetime(2026, 8, 1, tzinfo=UTC), "2")
    assert small_workspace.registry.promotions() == before


def test_the_page_is_served_on_the_loopback_with_the_store(small_workspace: Workspace) -> None:
    command = tracking.server_command(small_workspace.mlflow, 5000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1].endswith(f"{small_workspace.mlflow.resolve()}/mlflow.db")


def test_the_address_opens_the_runs_of_model_training(tmp_path: Path) -> None:
    with tracking.recorded_run(tmp_path, "train", {}) as (mlflow, run_id):
        experiment = mlflow.get_run(run_id).info.experiment_id
    wanted = f"http://127.0.0.1:5000/#/experiments/{experiment}?workflowType=machine_learning"
    assert tracking.page_address(tmp_path, 5000) == wanted


def test_without_a_store_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="run limitlens train first"):
        tracking.server_command(tmp_path, 5000)
    assert not list(tmp_path.iterdir())
