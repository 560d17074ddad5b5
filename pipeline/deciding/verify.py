"""Verify: everything recorded is what was recorded, from the accepted events to the head that MLflow keeps."""

from limitlens.data.lock import expect_workspace, undisturbed
from limitlens.limits.anchor import Anchor
from limitlens.limits.records import expect_recorded
from limitlens.limits.signed import expect_signed
from limitlens.limits.signers import expect_signers
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.anchoring import expect_anchored
from limitlens.pipeline.deciding.run_ids import expect_run_ids
from limitlens.pipeline.workspace import Workspace


def expect_intact(workspace: Workspace) -> None:
    """Read every accepted file and every file of the ledger once before anything is made of them.

    Raises
    ------
    IntegrityError
        Names the first that is not what was recorded. DuckDB does not compare the checksums of pages.
    """
    workspace.events.verify()
    expect_recorded(workspace.root, workspace.first_loads, running=True)
    workspace.ledger.verify_recorded()


def verify(workspace: Workspace, anchor: Anchor | None = None) -> tuple[int, int]:
    """Check every accepted file, model, policy, sign-off, every link of the ledger and its files, every head elsewhere.

    Parameters
    ----------
    workspace : Workspace
    anchor : Anchor, optional
        What an anchor outside says was there, besides the heads that MLflow keeps.

    Returns
    -------
    (int, int)
        Number of links, and of heads in MLflow.

    Raises
    ------
    IntegrityError
        Names the first that does not hold.
    WorkspaceError
        There is no workspace, or a run is in progress.
    """
    expect_workspace(workspace.root)
    with undisturbed(workspace.root):
        workspace.events.verify()
        links = workspace.ledger.verify()
        expect_recorded(workspace.root)
        expect_signers(workspace.root)
        expect_signed(workspace.root)
        expect_run_ids(workspace)
        for model in workspace.registry.models():
            workspace.iteration(model.model_version)
        for digest in workspace.registry.policies():
            workspace.policy(digest)
        anchors = tracking.heads(workspace.mlflow)
        workspace.ledger.verify_anchors(anchors)
        if anchor is not None:
            expect_anchored(workspace, anchor)
    return links, len(anchors)
