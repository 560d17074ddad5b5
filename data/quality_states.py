"""The state of every source and slice: ok, warn, hold or learning, and the curve of the figure that broke."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from limitlens.data.calendar import DAY
from limitlens.data.incident import Incident
from limitlens.data.panel import panel_of
from limitlens.data.quality_settings import Judging
from limitlens.data.unusual import bench, expected_of

State = Literal["ok", "warn", "hold", "learning"]

#: Half of a band, in standard deviations.
_BAND = 4


@dataclass(frozen=True)
class SliceState:
    """Where a source, or a slice of it, stands.

    Parameters
    ----------
    source, slice_column, slice_value : str
    state : {"ok", "warn", "hold", "learning"}
    last_day : date
        The last day of which rows are known.
    figure : str
        The figure of the worst incident; empty: there is none.
    """

    source: str
    slice_column: str
    slice_value: str
    state: State
    last_day: date
    figure: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "last_day": self.last_day.isoformat()}


def slice_states(
    profiles: pd.DataFrame, incidents: Sequence[Incident], settings: Judging, first_day: datetime, until: datetime
) -> list[SliceState]:
    """The state of every slice; the incidents are those of the same days.

    Parameters
    ----------
    profiles : DataFrame
        As :func:`limitlens.data.panel.daily_sql` has it.
    incidents : sequence of Incident
        The worst first.
    settings : Judging
    first_day, until : datetime
        The days that were judged; UTC midnights.
    """
    states = []
    for source, rows in profiles.groupby("source", sort=True):
        panel = panel_of(rows, np.datetime64(until.date(), "D"), settings.memory_days)
        on = bench(panel, settings, np.datetime64(first_day.date(), "D"))
        known = {(column, value) for kind, column, value in on.panel.scopes if not kind} if on else set()
        came = panel.delivered > 0
        for place, (kind, column, value) in enumerate(panel.scopes):
            if kind:
                continue
            mine = [one for one in incidents if (one.source, *one.scope[2:]) == (source, column, value)]
            state: State = mine[0].state if mine else "ok" if (column, value) in known else "learning"
            last = panel.days[np.flatnonzero(came[place])[-1]].item()
            states.append(SliceState(str(source), column, value, state, last, mine[0].figure if mine else ""))
    return states


def curve(profiles: pd.DataFrame, incident: Incident, settings: Judging, until: datetime, days: int) -> pd.DataFrame:
    """The figure of an incident day by day, beside what the days before the incident let expect.

    Returns
    -------
    DataFrame indexed by day, with ``observed, expected, low, high``
        Of the last ``days`` days before ``until``; missing on a day without rows, but for the figure ``rows``.
    """
    rows = profiles[profiles["source"] == incident.source]
    panel = panel_of(rows, np.datetime64(until.date(), "D"), settings.memory_days)
    on = bench(panel, settings, np.datetime64(incident.since.date(), "D"))
    if on is None:
        return pd.DataFrame(columns=["observed", "expected", "low", "high"])
    figure = next(one for one in on.figures if one.name == incident.figure)
    made, often = expected_of(on, figure)
    place = on.panel.scopes.index((incident.kind, incident.slice_column, incident.slice_value))
    many = np.ones(len(panel.days)) if figure.type == "rows" else figure.exposure(on.panel.named())[place]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(made.variance[place] * made.dispersion[place, 0]) / many
        observed, expected = made.observed[place] / many, made.expected[place] / many
    if often[place]:
        observed, expected = 1 - observed, 1 - expected
    low, high = expected - _BAND * spread, expected + _BAND * spread
    daily = pd.DataFrame(
        {
            "observed": observed,
            "expected": expected,
            "low": low if figure.type == "mean" else np.maximum(low, 0.0),
            "high": np.minimum(high, 1.0) if figure.type == "share" else high,
        },
        index=pd.DatetimeIndex(panel.days),
    )
    return daily[daily.index >= pd.Timestamp((until - DAY * days).replace(tzinfo=None))]
