"""Promote: a reviewer, who is not the developer, makes a version the champion."""

from datetime import datetime

from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.pipeline import tracking
from limitlens.pipeline.workspace import Workspace


def promote(
    workspace: Workspace, reviewer: str | None, promoted_at: datetime, version: str | None = None
) -> tuple[str, str]:
    """Make a version the champion and record who did it.

    Parameters
    ----------
    workspace : Workspace
    reviewer : str, optional
        Name of the person who reviewed the version; the very first promotion may go without.
    promoted_at : datetime
    version : str, optional
        Default: the version trained last.

    Returns
    -------
    (str, str)
        The version, and ``bootstrap`` for the first promotion of a workspace, else ``review``.

    Raises
    ------
    WorkspaceError
        Nothing was trained, the version does not exist, no reviewer is named, or the developer is the reviewer.
    """
    with exclusive(workspace.root):
        models = workspace.ledger.models()
        if not models:
            raise WorkspaceError("nothing has been trained yet; run limitlens train first.")
        chosen = workspace.ledger.model(version) if version else models[-1]
        kind = "review" if workspace.ledger.champion() else "bootstrap"
        if kind == "review":
            _check_reviewer(reviewer, chosen.developer)
        tracking.promote(workspace.mlflow, chosen.model_version)
        workspace.ledger.record_promotion(chosen.model_version, reviewer or chosen.developer, kind, promoted_at)
    return chosen.model_version, kind


def _check_reviewer(reviewer: str | None, developer: str) -> None:
    if reviewer is None or not reviewer.strip():
        raise WorkspaceError("this promotion replaces a champion and needs a review; give --reviewer NAME.")
    if reviewer.strip() == developer:
        raise WorkspaceError(f"{reviewer} trained this version; somebody else has to review it.")
