"""Take in: a delivery checked against the contract and the ledger's last date, then judged by what came before it."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from limitlens.data.calendar import format_time
from limitlens.data.check import LoadReport, check_events
from limitlens.data.contracts import EVENT_SOURCES, MAX_QUARANTINED_SHARE
from limitlens.data.incident import ROWS_MISSING
from limitlens.data.incidents import QUARANTINED, incidents_of_last_load, incidents_since, lines_touched
from limitlens.data.progress import Progress, silent
from limitlens.data.quality_settings import QualitySettings, default_quality
from limitlens.data.quarantine import all_mended
from limitlens.data.rules import EARLY
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import taken_names
from limitlens.limits.hold import Hold
from limitlens.pipeline.holds import open_hold, release_hold
from limitlens.pipeline.workspace import Workspace

#: Who opens a hold that no person did.
ACTOR = "limitlens check"


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
    report = replace(report, incidents=tuple(incidents), lines_touched=tuple(lines))
    if decided_until is None:
        return report
    _release_mended(workspace, settings, loaded_at or decided_until, progress)
    for hold in (*_holds(workspace, report, loaded_at or decided_until), *_quarantined(report, decided_until)):
        number = open_hold(workspace, hold)
        progress(f"hold {number}: {hold.scope}, suspect since {format_time(hold.since)}")
    return report


def _holds(workspace: Workspace, report: LoadReport, now: datetime) -> list[Hold]:
    """A hold for each incident that the policy in force lets hold."""
    version = workspace.registry.champion()
    warn = bool(version) and workspace.iteration(str(version)).policy.holding.warn_holds
    return [
        Hold(source, incident.since, now, ACTOR, incident.evidence, kind, column, value)
        for incident in report.incidents
        for source, kind, column, value in [incident.scope]
        if incident.state == "hold" or warn
    ]


def _quarantined(report: LoadReport, decided_until: datetime) -> list[Hold]:
    """A hold for the lines of each source that lost a row to the quarantine since the last decision."""
    rows: dict[str, int] = {}
    for (source, _, rule), count in report.quarantine.items():
        if rule != EARLY:
            rows[source] = rows.get(source, 0) + count
    told = {source: f"{count:,} rows in the quarantine" for source, count in rows.items()}
    return [
        Hold(source, decided_until, decided_until, ACTOR, why, "", QUARANTINED, str(report.load))
        for source, why in told.items()
        if source in EVENT_SOURCES
    ]


def _release_mended(workspace: Workspace, settings: QualitySettings, now: datetime, progress: Progress) -> None:
    """Release what this command held for rows that were missing or quarantined, once all of them came.

    Where the policy names who releases, nobody else does.
    """
    version = workspace.registry.champion()
    if version and workspace.iteration(version).policy.holding.release_by:
        return
    for number, hold in workspace.ledger.holds_in_force().items():
        if hold.actor == ACTOR and _came(workspace, settings, hold):
            release_hold(workspace, number, "repaired", at=now, actor=ACTOR, reason="the rows came")
            progress(f"hold {number} released: the rows came")


def _came(workspace: Workspace, settings: QualitySettings, hold: Hold) -> bool:
    """Whether none of the rows a hold waits for is missing any more."""
    if hold.slice_column == QUARANTINED:
        return all_mended(workspace.events, hold.source, hold.slice_value)
    if not hold.reason.startswith(ROWS_MISSING):
        return False
    left = incidents_since(workspace.events, settings.judging, hold.since)
    missing = [one for one in left if one.source == hold.source and one.evidence.startswith(ROWS_MISSING)]
    return not any(not hold.kind or one.kind in {"", hold.kind} for one in missing)
