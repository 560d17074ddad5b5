"""Anchoring: an anchor of a workspace, and whether a workspace still holds what one says."""

from datetime import datetime

from limitlens.data.errors import IntegrityError
from limitlens.data.lock import undisturbed
from limitlens.limits.anchor import Anchor
from limitlens.pipeline.workspace import Workspace


def anchor(workspace: Workspace, at: datetime) -> Anchor:
    """What a workspace holds now.

    Parameters
    ----------
    workspace : Workspace
    at : datetime
        Now.

    Raises
    ------
    WorkspaceError
        A run is in progress.
    """
    with undisturbed(workspace.root):
        heads = workspace.ledger.chain_heads()
        head = heads[-1] if heads else ""
        return Anchor(at.isoformat(), len(heads), head)


def expect_anchored(workspace: Workspace, anchor: Anchor) -> None:
    """Compare a workspace with an anchor: it may hold more, but nothing of then may be gone or changed.

    Parameters
    ----------
    workspace : Workspace
    anchor : Anchor
        As :func:`limitlens.limits.anchor.checked` gives it.

    Raises
    ------
    IntegrityError
        Names what is gone or was changed.
    """
    since = f"since the anchor of {anchor.at}"
    heads = workspace.ledger.chain_heads()
    if anchor.links and heads[anchor.links - 1 : anchor.links] != [anchor.head]:
        raise IntegrityError(f"{workspace.root}: the first {anchor.links:,} links of the chain were rewritten {since}.")
