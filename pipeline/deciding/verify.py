"""Verify: everything recorded is what was recorded, from the accepted events to the head that MLflow keeps."""

from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import undisturbed
from limitlens.pipeline import tracking
from limitlens.pipeline.workspace import Workspace


def verify(workspace: Workspace) -> tuple[int, int]:
    """Check every accepted file, every link of the ledger and its files, and every head that MLflow keeps.

    Parameters
    ----------
    workspace : Workspace

    Returns
    -------
    (int, int)
        Number of links, and of heads in MLflow.

    Raises
    ------
    IntegrityError
        Names the first that does not hold.
    WorkspaceError
        There is no such folder, or a run is in progress.
    """
    if not workspace.root.is_dir():
        raise WorkspaceError(f"{workspace.root}: no such workspace; name one with --workspace.")
    with undisturbed(workspace.root):
        workspace.events.verify()
        links = workspace.ledger.verify()
        anchors = tracking.heads(workspace.mlflow)
        workspace.ledger.verify_anchors(anchors)
    return links, len(anchors)
