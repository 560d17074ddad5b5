"""Take in: a delivery checked against the contract, the ledger's last date and the names of the features."""

from datetime import datetime
from pathlib import Path

from limitlens.data.check import LoadReport, check_events
from limitlens.data.contracts import MAX_QUARANTINED_SHARE
from limitlens.data.progress import Progress, silent
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import taken_names
from limitlens.pipeline.workspace import Workspace


def check(
    workspace: Workspace,
    input_dir: Path,
    progress: Progress = silent,
    *,
    loaded_at: datetime | None = None,
    max_quarantined_share: float = MAX_QUARANTINED_SHARE,
) -> LoadReport:
    """:func:`limitlens.data.check.check_events` for a workspace."""
    decided_until = workspace.ledger.decided_until()
    taken = taken_names(CATALOGUE)
    return check_events(
        input_dir,
        workspace.events,
        decided_until=decided_until,
        loaded_at=loaded_at,
        taken=taken,
        max_quarantined_share=max_quarantined_share,
        progress=progress,
    )
