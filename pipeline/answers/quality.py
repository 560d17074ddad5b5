"""The state of incoming data as a page: what is unusual, a heat map of sources and days, the curve that broke."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from limitlens.data.calendar import DAY, days, format_time, midnight
from limitlens.data.errors import WorkspaceError
from limitlens.data.incident import Incident
from limitlens.data.incidents import complete_until, judged, lines_touched, profiles_of
from limitlens.data.quality_settings import QualitySettings, default_quality
from limitlens.data.quality_states import SliceState, curve, slice_states
from limitlens.data.storage import write_text
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.workspace import Workspace

#: Days that a curve and the heat map show.
SHOWN_DAYS = 42

_ZH = {"ok": "正常", "warn": "提醒", "hold": "暂停", "learning": "学习中"}


@dataclass(frozen=True)
class Quality:
    """What the last days look like.

    Parameters
    ----------
    first_day, until : datetime
        The days that were judged.
    states : tuple of SliceState
    incidents : tuple of Incident
        The worst first.
    lines_touched : tuple of int
        By each of them.
    profiles : DataFrame
    settings : QualitySettings
    """

    first_day: datetime
    until: datetime
    states: tuple[SliceState, ...]
    incidents: tuple[Incident, ...]
    lines_touched: tuple[int, ...]
    profiles: pd.DataFrame
    settings: QualitySettings

    @property
    def held(self) -> bool:
        """Whether an incident is a reason to hold decisions."""
        return any(one.state == "hold" for one in self.incidents)

    def lines(self) -> list[str]:
        """The worst states and every incident as a person reads them."""
        counted = pd.Series([one.state for one in self.states], dtype=str).value_counts()
        counts = ", ".join(f"{counted.get(state, 0)} {state}" for state in ("hold", "warn", "ok", "learning"))
        return [
            f"judged {format_time(self.first_day)} to {format_time(self.until - DAY)}: {counts}",
            *(
                f"{one.state:<8}  {one.source:<12} {_slice(one.slice_column, one.slice_value):<28} "
                f"last day {one.last_day}  {one.figure}".rstrip()
                for one in worst_first(self.states)
                if one.state in ("hold", "warn") or not one.slice_column
            ),
            *(
                line
                for one, touched in zip(self.incidents, self.lines_touched, strict=True)
                for line in one.lines(touched)[:2]
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        pairs = zip(self.incidents, self.lines_touched, strict=True)
        return {
            "first_day": self.first_day.isoformat(),
            "until": self.until.isoformat(),
            "states": [one.to_dict() for one in self.states],
            "incidents": [{**one.to_dict(), "lines_touched": lines} for one, lines in pairs],
        }


def quality(
    workspace: Workspace,
    settings: QualitySettings | None = None,
    *,
    as_of: datetime | None = None,
    source: str | None = None,
) -> Quality:
    """Judge the last days again.

    Parameters
    ----------
    workspace : Workspace
    settings : QualitySettings, optional
        Default: those that ship with limitlens.
    as_of : datetime, optional
        What day it is: everything before it should have come. Default: the end of the days that have.
    source : str, optional
        Only this one.

    Raises
    ------
    WorkspaceError
        No load with profiles has been taken in, or none of the source.
    """
    settings = settings or default_quality()
    reach = workspace.events.reach_by_load()
    until = midnight(as_of) if as_of else complete_until(reach[-1]) if reach else None
    profiles = profiles_of(workspace.events, settings.judging, until) if until else pd.DataFrame({"source": []})
    if source:
        profiles = profiles[profiles["source"] == source]
    if until is None or profiles.empty:
        raise WorkspaceError(f"{workspace.root}: no profiles of {source or 'any source'}; run limitlens check INPUT.")
    first_day = until - DAY * settings.judging.first_load_days
    incidents = judged(profiles, workspace.events, settings.judging, first_day, until)
    states = slice_states(profiles, incidents, settings.judging, first_day, until)
    lines = tuple(lines_touched(one, workspace.events) for one in incidents)
    return Quality(first_day, until, tuple(states), tuple(incidents), lines, profiles, settings)


def write_quality_page(status: Quality, out: Path) -> None:
    """Write the page; replaced as a whole."""
    heat = (plots.state_map(_by_day(status), "map"),)
    text = render(
        "sections.html.j2",
        {
            "title": "Data quality · 数据质量",
            "lead": f"Days {format_time(status.first_day)} to {format_time(status.until - DAY)}, each slice judged by "
            "its own past. 各切片以自身历史为准，逐日判断。",
            "warnings": [one.lines(n)[0] for one, n in zip(status.incidents, status.lines_touched, strict=True)],
            "head": {
                state: f"{sum(one.state == state for one in status.states):,} slices · {zh}"
                for state, zh in _ZH.items()
            },
            "sections": [
                Section(
                    "Sources and days · 数据源与日期",
                    "The worst state of each day. 每日最差状态。",
                    None,
                    [("", plot) for plot in heat],
                ),
                *(
                    _section(status, number, one, lines)
                    for number, (one, lines) in enumerate(zip(status.incidents, status.lines_touched, strict=True))
                ),
                _table(worst_first(status.states)),
            ],
            "signers": {},
        },
    )
    write_text(text, out)


def _slice(column: str, value: str) -> str:
    return f"{column} {value}" if column else "all"


def _name(one: Incident) -> str:
    what = " ".join(word for word in (one.source, one.kind) if word)
    return f"{what}, {one.slice_column} {one.slice_value}" if one.slice_column else what


def _section(status: Quality, number: int, one: Incident, lines: int) -> Section:
    shown = curve(status.profiles, one, status.settings.judging, status.until, SHOWN_DAYS)
    summary, since, _ = one.lines(lines)
    many = (one.until - one.since).days
    chinese = f"自 {format_time(one.since)} 起 {many} 天；涉及 {lines:,} 个账户；状态：{_ZH[one.state]}。"
    picture = plots.band(shown, one.figure, (one.since, one.until), f"curve{number}")
    return Section(
        _name(one), f"{summary}. {since.strip()}. {chinese}", None, [(f"{one.figure}, expected band", picture)]
    )


def _by_day(status: Quality) -> pd.DataFrame:
    """State by source, and by slice with an incident, and day."""
    shown = days(status.until - DAY * SHOWN_DAYS, status.until - DAY)
    came = status.profiles[status.profiles["slice_column"] == ""].groupby("source")["day"].agg(set)
    learning = {one.source for one in status.states if one.state == "learning" and not one.slice_column}
    rows = {
        source: ["learning" if source in learning else "ok" if day.date() in _dates(there) else "none" for day in shown]
        for source, there in came.items()
    }
    for one in reversed(status.incidents):
        for name in dict.fromkeys((one.source, _name(one))):
            states = rows.setdefault(name, ["ok"] * len(shown))
            rows[name] = [
                one.state if one.since <= day < one.until and state != "hold" else state
                for day, state in zip(shown, states, strict=True)
            ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[format_time(day) for day in shown]).sort_index()


def _dates(there: Any) -> set[Any]:
    return {pd.Timestamp(day).date() for day in there}


def worst_first(states: Sequence[SliceState]) -> list[SliceState]:
    """States that hold, then those that warn, that are learning, and that are as usual."""
    return sorted(states, key=lambda one: ("hold", "warn", "learning", "ok").index(one.state))


def _table(states: Sequence[SliceState]) -> Section:
    table = pd.DataFrame(
        {
            "source": [one.source for one in states],
            "slice": [_slice(one.slice_column, one.slice_value) for one in states],
            "state": [f"{one.state} · {_ZH[one.state]}" for one in states],
            "last day": [one.last_day.isoformat() for one in states],
            "figure": [one.figure for one in states],
        }
    )
    return Section("States · 状态", "Every source and slice. 所有数据源与切片。", table)
