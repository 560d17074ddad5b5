"""What became of lines after decisions, by the labels of the model that decided."""

from dataclasses import replace
from datetime import datetime

import pandas as pd

from limitlens.data.calendar import data_end
from limitlens.data.errors import WorkspaceError
from limitlens.limits.ledger import Run
from limitlens.models.outcomes import outcomes
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.workspace import Workspace


def outcomes_of(workspace: Workspace, points: pd.DataFrame, run: Run, horizon_months: int | None = None) -> pd.Series:
    """What became of lines after moments, by the labels of the model that a run decided with.

    Parameters
    ----------
    workspace : Workspace
    points : DataFrame of n rows with ``account_id, as_of``
    run : Run
    horizon_months : int, optional
        Default: that of the labels.

    Returns
    -------
    Series of str, indexed like ``points``
        As :func:`limitlens.models.outcomes.outcomes` says.

    Raises
    ------
    WorkspaceError
        The horizon is below one month.
    """
    settings = outcome_settings(workspace, run, horizon_months)
    relations = workspace.relations(workspace.iteration(run.model_version, run.policy_digest).model.features)
    if "outcomes" not in workspace.events.present():
        del relations["outcomes"]
    return outcomes(points, relations, settings, known_by=outcomes_known_by(workspace))


def outcome_settings(workspace: Workspace, run: Run, horizon_months: int | None) -> TrainSettings:
    """Settings of the labels of the model that a run decided with, with another horizon if one is given.

    Raises
    ------
    WorkspaceError
        The horizon is below one month.
    """
    settings = workspace.iteration(run.model_version, run.policy_digest).model.settings
    if horizon_months is None:
        return settings
    if horizon_months < 1:
        raise WorkspaceError(f"the horizon is {horizon_months} months; expected 1 or more.")
    return replace(settings, horizon_months=horizon_months)


def outcomes_known_by(workspace: Workspace) -> datetime:
    """Until when outcomes are known: a computed one looks no further than payments were delivered."""
    if "outcomes" in workspace.events.present():
        return data_end(workspace.events.known_until())
    return min(data_end(workspace.events.known_until()), data_end(workspace.events.reach()["payment"]))
