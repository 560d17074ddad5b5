"""What is unusual in the days that came, judged by the days before them, each with the narrowest explanation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from limitlens.data.calendar import DAY
from limitlens.data.incident import Incident
from limitlens.data.panel import panel_of
from limitlens.data.quality_settings import Judging
from limitlens.data.unusual import Bench, Hit, all_hits, bench, change_of, find_hits, share_of_rows

#: Slices of one column that explain a fault together; more of them are the source as a whole.
MOST_SLICES = 5

#: Several slices explain a fault only while they bring at most this share of the rows.
MOST_OF_ROWS = 0.6

#: A slice with more of the rows is not told from the whole.
ALMOST_ALL = 0.9

#: Without what explains it, the rest of the whole is off by less than this part of it.
MOST_LEFT = 0.3

#: Half of the band, in standard deviations, that a figure would almost never leave.
_BAND = 4


def judge(profiles: pd.DataFrame, settings: Judging, first_day: datetime, until: datetime) -> list[Incident]:
    """Judge the days from ``first_day`` until before ``until``, each run of them by all the days before it.

    Parameters
    ----------
    profiles : DataFrame
        A row a source, kind, slice and day, as :func:`limitlens.data.panel.daily_sql` has it. What is known from
        ``until`` on is not looked at.
    settings : Judging
    first_day, until : datetime
        UTC midnights; ``until`` is exclusive, and the days before it should have come. A source without a row in them
        is judged by zeros.

    Returns
    -------
    list of Incident
        The worst first.
    """
    incidents: list[Incident] = []
    with threadpool_limits(1, user_api="blas"):  # the matrices are small: more threads would wait for each other
        for first, end in _runs(first_day, until, settings.longest_window_days):
            for source, rows in profiles.groupby("source", sort=True):
                panel = panel_of(rows, _day(end), settings.memory_days)
                on = bench(panel, settings, _day(first))
                incidents += _incidents(str(source), on) if on else []
    return sorted(_merged(incidents), key=lambda one: (one.state != "hold", one.p, one.scope))


def _day(time: datetime) -> np.datetime64:
    return np.datetime64(time.date(), "D")


def _runs(first_day: datetime, until: datetime, longest: int) -> list[tuple[datetime, datetime]]:
    """Runs of days that are judged at a time; the last one is a full one."""
    runs: list[tuple[datetime, datetime]] = []
    while until > first_day:
        runs.append((max(first_day, until - DAY * longest), until))
        until -= DAY * longest
    return runs[::-1]


def _merged(incidents: Sequence[Incident]) -> list[Incident]:
    """One incident for what goes on in one slice from run to run."""
    merged: list[Incident] = []
    for incident in incidents:
        same = next((one for one in merged if one.scope == incident.scope and incident.since <= one.until), None)
        if same is None:
            merged.append(incident)
            continue
        worse = min(same, incident, key=lambda one: (one.state != "hold", one.p))
        since, until = min(same.since, incident.since), max(same.until, incident.until)
        merged[merged.index(same)] = replace(worse, since=since, until=until)
    return merged


def _incidents(source: str, on: Bench) -> Iterator[Incident]:
    for together in _overlapping(all_hits(on)):
        for hit in _explanation(on, together):
            yield _incident(source, on, hit, together)


def _overlapping(hits: Sequence[Hit]) -> list[list[Hit]]:
    """Hits by runs of days that touch one another."""
    groups: list[list[Hit]] = []
    for hit in sorted(hits, key=lambda one: (one.begin, one.end, one.place)):
        if groups and hit.begin < max(one.end for one in groups[-1]):
            groups[-1].append(hit)
        else:
            groups.append([hit])
    return groups


def _explanation(on: Bench, hits: Sequence[Hit]) -> list[Hit]:
    """The narrowest slices without which nothing would be unusual; kinds are explained one by one, if not most are."""
    whole = [hit for hit in hits if not on.panel.scopes[hit.place][1]]
    if whole:
        by_kind = {kind: [hit for hit in whole if on.panel.scopes[hit.place][0] == kind] for kind in _kinds(on, whole)}
        every = {kind for kind, column, _ in on.panel.scopes if kind and not column}
        apart = [by_kind[kind] for kind in by_kind if kind]
        tops = (
            [_of_one_kind(on, whole)]
            if not apart or 2 * len(apart) > len(every)
            else [_strongest(own) for own in apart]
        )
        return [hit for top in tops for hit in (_slices_that_explain(on, top, hits) or [top])]
    worst = min(hits, key=_how_likely)
    column = on.panel.scopes[worst.place][1]
    by_value: dict[str, list[Hit]] = {}
    for hit in hits:
        _, its_column, value = on.panel.scopes[hit.place]
        if its_column == column:
            by_value.setdefault(value, []).append(hit)
    return [_of_kinds(on, mine) for mine in by_value.values()]


def _kinds(on: Bench, hits: Sequence[Hit]) -> list[str]:
    return list(dict.fromkeys(on.panel.scopes[hit.place][0] for hit in hits))


def _strongest(hits: Sequence[Hit]) -> Hit:
    return min(hits, key=_how_likely)


def _how_likely(hit: Hit) -> tuple[bool, float]:
    return hit.figure.last, hit.log_p


def _of_kinds(on: Bench, hits: Sequence[Hit]) -> Hit:
    """Of the hits of one slice that of all kinds, if several kinds are hit, else the strongest."""
    kinds = {on.panel.scopes[hit.place][0] for hit in hits} - {""}
    together = [hit for hit in hits if not on.panel.scopes[hit.place][0]]
    return min(together if together and len(kinds) > 1 else hits, key=_how_likely)


def _of_one_kind(on: Bench, whole: Sequence[Hit]) -> Hit:
    """The strongest hit of one kind, if without that kind all kinds together would be as usual."""
    together = [hit for hit in whole if not on.panel.scopes[hit.place][0]]
    alone = sorted((hit for hit in whole if on.panel.scopes[hit.place][0]), key=_how_likely)
    for hit in alone if together else ():
        if share_of_rows(on, together[0].place, [hit.place]) > ALMOST_ALL:
            continue
        rest = on.on(on.panel.without(together[0].place, [hit.place]))
        if not all_hits(rest, dict.fromkeys(one.figure for one in together)):
            return hit
    return min(together or alone, key=_how_likely)


def _slices_that_explain(on: Bench, top: Hit, hits: Sequence[Hit]) -> list[Hit]:
    """The fewest slices of one column without which the whole would be as usual; none: it is the whole."""
    kind = on.panel.scopes[top.place][0]
    by_column: dict[str, list[Hit]] = {}
    for hit in sorted(hits, key=_how_likely):
        its_kind, column, _ = on.panel.scopes[hit.place]
        if column and its_kind == kind and hit.figure == top.figure:
            by_column.setdefault(column, []).append(hit)
    explaining = [mine for mine in by_column.values() if _explain(on, top, mine)]
    return min(explaining, key=lambda mine: (len(mine), share_of_rows(on, top.place, _places(mine))), default=[])


def _explain(on: Bench, top: Hit, mine: Sequence[Hit]) -> bool:
    """Whether the slices of one column that are hit explain the whole; each of them is unusual by itself."""
    share = share_of_rows(on, top.place, _places(mine))
    if len(mine) > MOST_SLICES or share > (ALMOST_ALL if len(mine) == 1 else MOST_OF_ROWS):
        return False
    rest = on.on(on.panel.without(top.place, _places(mine)))
    if find_hits(rest, top.figure):
        return False
    return abs(change_of(rest, top, 0)) < MOST_LEFT * min(abs(change_of(on, top, hit.place)) for hit in mine)


def _places(hits: Sequence[Hit]) -> list[int]:
    return [hit.place for hit in hits]


def _incident(source: str, on: Bench, hit: Hit, hits: Sequence[Hit]) -> Incident:
    kind, column, value = on.panel.scopes[hit.place]
    mine = [one for one in hits if one.place == hit.place and one.figure.last == hit.figure.last]
    p, mean = float(np.exp(min(hit.log_p, 0.0))), hit.figure.type == "mean"
    low, high = hit.expected - _BAND * hit.spread, hit.expected + _BAND * hit.spread
    return Incident(
        source=source,
        kind=kind,
        slice_column=column,
        slice_value=value,
        since=_midnight(on.panel.days[min(one.begin for one in mine)]),
        until=_midnight(on.panel.days[max(one.end for one in mine) - 1]) + DAY,
        figure=hit.figure.name,
        observed=hit.observed,
        expected=hit.expected,
        low=low if mean else max(low, 0.0),
        high=min(high, 1.0) if hit.figure.type == "share" else high,
        p=p,
        state="hold" if p < on.settings.hold_p and hit.figure.holds else "warn",
    )


def _midnight(day: np.datetime64) -> datetime:
    calendar_day: date = day.astype("datetime64[D]").item()
    return datetime(calendar_day.year, calendar_day.month, calendar_day.day, tzinfo=UTC)
