"""Legal holds: an account whose rows must be kept, whoever asks for their erasure."""

from datetime import datetime

from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.limits.erasing import LegalHold, legal_holds, record_legal_hold
from limitlens.pipeline import tracking
from limitlens.pipeline.privacy.access import held_accounts
from limitlens.pipeline.workspace import Workspace


def hold_legally(workspace: Workspace, account_id: str, *, at: datetime, actor: str, reason: str, lift: bool) -> None:
    """Order that an account is kept, or end that order; either is a link of the chain.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    at : datetime
        Now.
    actor, reason : str
        Who, and why.
    lift : bool
        End the order.

    Raises
    ------
    WorkspaceError
        Nothing is held about the account, it is kept already or is not, a name or reason is missing, or a run is in
        progress.
    """
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("a legal hold needs the name of a person and a reason.")
    with exclusive(workspace.root, "erase --legal-hold"):
        kept = account_id in legal_holds(workspace.root)
        if kept != lift:
            state = "is kept already" if kept else "stands under no legal hold"
            raise WorkspaceError(f"account {account_id} {state}.")
        if account_id not in held_accounts(workspace, [account_id]):
            raise WorkspaceError(f"nothing is held about {account_id}: see that the id is right.")
        record_legal_hold(workspace.root, LegalHold(account_id, at, actor, reason), lifted=lift)
        with tracking.recorded_run(workspace.mlflow, "legal hold", {tracking.HEAD: workspace.ledger.head()}):
            pass
