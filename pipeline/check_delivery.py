"""Take in: a delivery checked against the contract and the ledger's last date, then judged by what came before it."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from limitlens.data.check import LoadReport, check_events
from limitlens.data.contracts import MAX_QUARANTINED_SHARE
from limitlens.data.incidents import incidents_of_last_load, lines_touched
from limitlens.data.progress import Progress, silent
from limitlens.data.quality_settings import QualitySettings, default_quality
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
    quality: QualitySettings | None = None,
) -> LoadReport:
    """:func:`limitlens.data.check.check_events` for a workspace, and the days that came judged by those before.

    Parameters
    ----------
    quality : QualitySettings, optional
        What a slice is and when it is unusual; default: the settings that ship with limitlens.
    """
    settings = quality or default_quality()
    decided_until = workspace.ledger.decided_until()
    taken = taken_names(CATALOGUE)
    report = check_events(
        input_dir,
        workspace.events,
        decided_until=decided_until,
        loaded_at=loaded_at,
        taken=taken,
        max_quarantined_share=max_quarantined_share,
        slices=settings.slices,
        progress=progress,
    )
    if report.load is None:
        return report
    progress("judging the days that came")
    incidents = incidents_of_last_load(workspace.events, settings.judging)
    lines = (lines_touched(incident, workspace.events) for incident in incidents)
    return replace(report, incidents=tuple(incidents), lines_touched=tuple(lines))
