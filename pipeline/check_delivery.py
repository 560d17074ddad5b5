"""Take in: a delivery checked against the contract and the ledger's last date, then judged by what came before it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from limitlens.data.calendar import format_time
from limitlens.data.check import LoadReport, check_events, take_in
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, MAX_QUARANTINED_SHARE
from limitlens.data.incident import Incident, scope_text
from limitlens.data.incidents import QUARANTINED, incidents_of_last_load, incidents_since, lines_touched
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress, silent
from limitlens.data.pseudonyms import IdKey
from limitlens.data.quality_settings import QualitySettings, default_quality
from limitlens.data.quarantine import all_mended
from limitlens.data.rules import EARLY
from limitlens.data.storage import write_text
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import taken_names
from limitlens.limits.hold import Hold
from limitlens.limits.records import record_loads
from limitlens.pipeline.holds import note_hold, note_last_releases, open_hold, release_hold
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.workspace import Workspace

#: Sources whose rows in the quarantine hold their lines.
_HOLDING = (ACCOUNTS.name, *EVENT_SOURCES)

#: Beside the loads: what the last judgement rested on. With the same nothing is judged again.
JUDGED = "judged.json"

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
    key: IdKey | None = None,
) -> LoadReport:
    """:func:`limitlens.data.check.check_events` for a workspace, and the days that came judged by those before.

    Rows that a watch took in since the last load become one first, and are judged like a delivery of their own.

    Parameters
    ----------
    workspace : Workspace
    input_dir : Path
    progress : callable
        Told the name and the rows of each file.
    loaded_at : datetime, optional
        Now. A row that becomes known later is held back until it is delivered again when its time has come.
    max_quarantined_share : float
        The delivery is refused when more of the rows of a source are held back.
    quality : QualitySettings, optional
        What a slice is and when it is unusual; default: the settings that ship with limitlens.
    key : IdKey, optional
        Of the pseudonyms that take the place of ids before anything is written; default: ids stay as delivered. All
        loads of a workspace have the same.

    Returns
    -------
    LoadReport
        With the incidents of a new load. Those that hold are entries of the ledger; a call that was killed before they
        were recorded is made up for by the next one, with the same delivery or another.
    """
    settings = quality or default_quality()
    take_over_journal(workspace, settings, loaded_at, progress)
    first = not (workspace.events.loads() or workspace.ledger.runs())
    report = check_events(
        input_dir,
        workspace.events,
        decided_until=workspace.ledger.last_moment(),
        loaded_at=loaded_at,
        taken=taken_names(CATALOGUE),
        max_quarantined_share=max_quarantined_share,
        slices=settings.slices,
        key=key,
        progress=progress,
    )
    record_loads(workspace.root, anew=first)
    return _judge_days(workspace, report, settings, loaded_at, progress)


def take_over_journal(
    workspace: Workspace,
    quality: QualitySettings | None = None,
    loaded_at: datetime | None = None,
    progress: Progress = silent,
) -> None:
    """Make what a watch took in since the last load a load, and judge it like a delivery.

    Parameters
    ----------
    workspace : Workspace
    quality : QualitySettings, optional
        Default: the settings that ship with limitlens.
    loaded_at : datetime, optional
        Now.
    progress : callable
    """
    settings = quality or default_quality()
    if not Journal(workspace.root).exists():
        return
    with exclusive(workspace.root, "check"):
        report = fold(workspace, settings)
    if report:
        progress(f"load {report.load}: what the watch took in")
        _judge_days(workspace, report, settings, loaded_at, progress)


def fold(workspace: Workspace, quality: QualitySettings | None = None) -> LoadReport | None:
    """Make what a watch took in since the last load a load of its own; the caller holds the workspace.

    Returns
    -------
    LoadReport or None
        None: nothing new came.
    """
    journal = Journal(workspace.root)
    journaled = journal.journaled() if journal.exists() else {}
    if not journaled:
        return None
    settings = quality or default_quality()
    report = take_in(workspace.events, journaled, slices=settings.slices)
    record_loads(workspace.root)
    journal.folded()
    return report if report.load else None


def _judge_days(
    workspace: Workspace, report: LoadReport, settings: QualitySettings, loaded_at: datetime | None, progress: Progress
) -> LoadReport:
    """Judge the days of the last load by those before, and hold what is unusual; the report with its incidents."""
    decided_until = workspace.ledger.decided_until()
    mark, basis = workspace.root / JUDGED, _basis(workspace, settings)
    judged = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace") == basis
    incidents: list[Incident] = []
    if not judged:
        progress("judging the days that came")
        incidents = incidents_of_last_load(workspace.events, settings.judging)
    if report.load:
        lines = (lines_touched(incident, workspace.events) for incident in incidents)
        report = replace(report, incidents=tuple(incidents), lines_touched=tuple(lines))
    now = loaded_at or decided_until or workspace.events.latest_known()
    if not judged:
        note_last_releases(workspace, ACTOR)
        _release_mended(workspace, settings, now, progress)
    for hold in (*_holds(workspace, incidents, now), *_quarantined(workspace, decided_until)):
        before = [number for number, other in workspace.ledger.every_hold().items() if _same(hold, other)]
        if not before:
            progress(f"hold {open_hold(workspace, hold)}: {scope_text(hold.scope)} since {format_time(hold.since)}")
        elif not judged:
            note_hold(workspace, before[-1])
    if not judged:
        write_text(basis, mark)
    return report


def _basis(workspace: Workspace, settings: QualitySettings) -> str:
    """What a judgement and the holds after it rest on: all loads, the settings, and what the policy says of holding."""
    holding = asdict(workspace.policy_in_force().holding)
    basis = {"events": workspace.events.digest(), "judging": asdict(settings.judging), "holding": holding}
    return json.dumps(basis, indent=1) + "\n"


def _same(hold: Hold, other: Hold) -> bool:
    """Whether that was held before: what a person released is not held again when a delivery is repeated."""
    return hold.scope == other.scope and (hold.slice_column == QUARANTINED or hold.since == other.since)


def _holds(workspace: Workspace, incidents: Sequence[Incident], now: datetime) -> list[Hold]:
    """A hold for each incident that the policy in force lets hold."""
    if not incidents:
        return []
    warn = workspace.policy_in_force().holding.warn_holds
    return [
        Hold(source, one.since, now, ACTOR, one.evidence, kind, column, value, one.fault)
        for one in incidents
        for source, kind, column, value in [one.scope]
        if one.state == "hold" or warn
    ]


def _quarantined(workspace: Workspace, decided_until: datetime | None) -> list[Hold]:
    """A hold for the lines of each source that lost a row to the quarantine since the last decision."""
    loads = workspace.events.loads()
    if decided_until is None or len(loads) < 2:
        return []
    rows: dict[str, int] = {}
    for group in loads[-1]["quarantine"]:
        if group["rule"] != EARLY and group["source"] in _HOLDING:
            rows[group["source"]] = rows.get(group["source"], 0) + group["rows"]
    load = str(loads[-1]["load"])
    return [
        Hold(source, decided_until, decided_until, ACTOR, f"{count:,} rows in the quarantine", "", QUARANTINED, load)
        for source, count in rows.items()
    ]


def _release_mended(workspace: Workspace, settings: QualitySettings, now: datetime, progress: Progress) -> None:
    """Release what this command held for rows that were missing or quarantined, once all of them came.

    Where the policy names who releases, nobody else does.
    """
    waiting = {n: hold for n, hold in workspace.ledger.holds_in_force().items() if hold.actor == ACTOR}
    if not waiting or workspace.policy_in_force().holding.release_by:
        return
    for number, hold in waiting.items():
        if _came(workspace, settings, hold):
            release_hold(workspace, number, "repaired", at=now, actor=ACTOR, reason="the rows came")
            progress(f"hold {number} released: the rows came")


def _came(workspace: Workspace, settings: QualitySettings, hold: Hold) -> bool:
    """Whether none of the rows a hold waits for is missing any more."""
    if hold.slice_column == QUARANTINED:
        return all_mended(workspace.events, hold.source, hold.slice_value)
    if hold.fault != "missing":
        return False
    left = incidents_since(workspace.events, settings.judging, hold.since, hold.source)
    missing = [one for one in left if one.fault == "missing"]
    return not any(not hold.kind or one.kind in {"", hold.kind} for one in missing)
