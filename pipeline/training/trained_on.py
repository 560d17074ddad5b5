"""What a version was trained on, as far as the workspace still holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import building
from limitlens.data.unfinished import held_folder
from limitlens.pipeline import tracking
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class TrainedOn:
    """What a training was given beside its settings, which stand in the model.

    Parameters
    ----------
    workspace : Workspace
        Sees the loads that there were when it began.
    until : datetime or None
        It used only what was known before.
    champion : str
        Version whose members stayed; empty: none.
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
        Those there were; none where they teach nothing.
    """

    workspace: Workspace
    until: datetime | None
    champion: str
    verdicts: pd.DataFrame


def trained_on(workspace: Workspace, version: str) -> TrainedOn:
    """What MLflow recorded of the training of a version, and the workspace as it was then.

    Parameters
    ----------
    workspace : Workspace
    version : str

    Raises
    ------
    WorkspaceError
        It is not on record, or the workspace does not hold those events any more.
    """
    recorded = tracking.training_record(workspace.mlflow, workspace.registry.model(version).mlflow_run_id)
    loads = workspace.events.first_loads_of(recorded.events)
    if loads is None:
        raise WorkspaceError(
            f"version {version} was trained on events {recorded.events[:12]}, which the workspace does not hold any "
            "more: rows were erased, or loads are others; use a copy of the workspace as it was."
        )
    return TrainedOn(
        replace(workspace, first_loads=loads),
        datetime.fromisoformat(recorded.until) if recorded.until else None,
        recorded.champion,
        workspace.ledger.verdicts().head(recorded.verdicts),
    )


@contextmanager
def room_for_tables(root: Path) -> Iterator[Path]:
    """A private folder for tables that a workspace does not have of what it held; nobody is erased until it goes."""
    with building(root), TemporaryDirectory(dir=held_folder("limitlens-tables-") or None) as folder:
        yield Path(folder)
