"""Windows of days in which a figure of a slice is farther from what was expected than chance and its past allow."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.figures import Figure, figures
from limitlens.data.forecast import Forecast, forecast, running, windows
from limitlens.data.panel import Panel
from limitlens.data.quality_settings import Judging

#: Smaller differences from what is expected, in rows, are no incident.
LEAST_ROWS = 10

#: Days with rows that a slice needs before its days can be told apart.
LEAST_DAYS_WITH_ROWS = 20

#: Nearer than so many standard deviations no window is looked at.
_NEAR = 3.0

#: Fewer rows are never expected: what never came may come once.
_LEAST_EXPECTED = 0.05

#: Degrees of freedom of a mean beside its past.
_FREEDOM = 60


@dataclass(frozen=True)
class Bench:
    """What is judged, by which settings: windows that reach into the days from ``first`` on, by those before ``past``.

    Parameters
    ----------
    panel : Panel
    settings : Judging
    past, first : int
        Places among the days.
    comparisons : int
        Windows of figures that are looked at in all; who looks at single days, looks as often in the end.
    """

    panel: Panel
    settings: Judging
    past: int
    first: int
    comparisons: int

    def on(self, panel: Panel) -> "Bench":
        """The same for other series."""
        return replace(self, panel=panel)

    @property
    def figures(self) -> list[Figure]:
        """Those of which the source has anything."""
        counts = self.panel.named()
        return [
            figure
            for figure in figures()
            if figure.exposure(counts).any() and (figure.type == "rows" or figure.observed(counts, counts).any())
        ]


@dataclass(frozen=True)
class Hit:
    """The most unusual window of a series: by days, and its figure as a person reads it."""

    place: int
    figure: Figure
    begin: int
    end: int
    observed: float
    expected: float
    spread: float
    log_p: float


def bench(panel: Panel, settings: Judging, first_day: np.datetime64) -> Bench | None:
    """Set up the judgement of the series that have enough of a past; None: the source is learning.

    Parameters
    ----------
    panel : Panel
    settings : Judging
    first_day : datetime64[D]
        The first day judged.
    """
    first = int((first_day - panel.days[0]).astype(int)) if len(panel.days) else 0
    past = first - settings.longest_window_days + 1
    if past < settings.least_past_days or first >= len(panel.days):
        return None
    there = (panel.delivered[:, :past] > 0).sum(axis=1) >= LEAST_DAYS_WITH_ROWS
    known = panel.some(np.flatnonzero(there & (past - panel.starts >= settings.least_past_days)))
    if not known.scopes:
        return None
    made = Bench(known, settings, past, first, 1)
    ends = max(len(panel.days) - first, settings.longest_window_days)
    looks = len(known.scopes) * ends * settings.longest_window_days
    return replace(made, comparisons=looks * len(made.figures))


def all_hits(on: Bench, chosen: Iterable[Figure] | None = None) -> list[Hit]:
    """Hits of every figure, or of some."""
    return [hit for figure in (on.figures if chosen is None else chosen) for hit in find_hits(on, figure)]


def find_hits(on: Bench, figure: Figure) -> list[Hit]:
    """The most unusual window of each series, where there is one.

    Parameters
    ----------
    on : Bench
    figure : Figure
    """
    looked_at = _looked_at(on, figure)
    if not looked_at.all():
        places = np.flatnonzero(looked_at)
        hits = find_hits(on.on(on.panel.some(places)), figure) if len(places) else []
        return [replace(hit, place=int(places[hit.place])) for hit in hits]
    made, often = expected_of(on, figure)
    made, exposure = made.since(on.past), figure.exposure(on.panel.named(on.past))
    best: dict[int, Hit] = {}
    for length in range(1, on.settings.longest_window_days + 1):
        window = _Window(made, figure, often, exposure, length)
        suspect = window.suspect(on.settings) & window.still_off(on)
        for place, start in zip(*np.nonzero(suspect), strict=True):
            log_p = window.log_p(place, start) + np.log(on.comparisons)
            if log_p < np.log(on.settings.warn_p) and (place not in best or log_p < best[place].log_p):
                best[int(place)] = window.hit(int(place), int(start), on.past, float(log_p))
    return list(best.values())


def _looked_at(on: Bench, figure: Figure) -> BoolArray:
    """Series for which the figure says anything and that are not all as usual at first sight.

    A share or a mean of which no window is half as far from that of all the past as it would have to be is as usual.
    """
    scopes = on.panel.scopes
    if len(scopes) == 1 or figure.type == "rows":
        return np.ones(len(scopes), bool)
    of_kind = np.array([kind != "" for kind, *_ in scopes]) if figure.one_kind else np.ones(len(scopes), bool)
    counts, past = on.panel.named(on.past), on.panel.named(until=on.past)
    observed, exposure = figure.observed(counts, past), figure.exposure(counts)
    mean = figure.observed(past, past).sum(axis=1) / np.maximum(figure.exposure(past).sum(axis=1), 1e-9)
    rest, rows = running(observed - exposure * mean[:, None]), running(exposure)
    far = np.zeros(len(scopes), bool)
    for length in range(1, on.settings.longest_window_days + 1):
        off, many = np.abs(windows(rest, length)), windows(rows, length)
        if figure.unit_variance:
            unit = np.sqrt(figure.unit_variance(past))[:, None]
            far |= ((2 * off >= on.settings.least_shift * unit * many) & (many >= figure.least_rows)).any(axis=1)
        else:
            far |= (2 * off >= np.maximum(on.settings.least_share * many, LEAST_ROWS)).any(axis=1)
    suspect: BoolArray = far & of_kind
    return suspect


def expected_of(on: Bench, figure: Figure) -> tuple[Forecast, BoolArray]:
    """What a figure was, and what it should have been, for every series and day.

    Of a share above one half the complement is counted: what is rare has the better known chance. The second array
    says for which series.
    """
    counts, past = on.panel.named(), on.panel.named(until=on.past)
    observed, exposure = figure.observed(counts, past), figure.exposure(counts)
    often = np.zeros(len(observed), bool)
    if figure.type == "share":
        often = figure.observed(past, past).sum(axis=1) > 0.5 * figure.exposure(past).sum(axis=1)
        observed = np.where(often[:, None], exposure - observed, observed)
    variance = figure.unit_variance(past) if figure.unit_variance else None
    if figure.type != "rows":
        return _forecast(on, observed, exposure, variance), often
    return _rows_expected(on, observed, exposure), often


def _rows_expected(on: Bench, observed: FloatArray, exposure: FloatArray) -> Forecast:
    """Of each kind as a whole from its own past and trend; of a slice as a part of what is expected of the whole."""
    whole = np.array([column == "" for _, column, _ in on.panel.scopes])
    if not whole.any():
        return _forecast(on, observed, exposure, None)
    places = np.flatnonzero(whole)
    base = _forecast(on.on(on.panel.some(places)), observed[places], exposure[places], None, trend=True)
    at = {on.panel.scopes[place][0]: number for number, place in enumerate(places.tolist())}
    share = np.stack(
        [
            base.expected[at[kind]] if kind in at else np.ones(len(row))
            for (kind, *_), row in zip(on.panel.scopes, observed, strict=True)
        ]
    )
    parts = _forecast(on, observed, share, None)
    merged = {name: getattr(parts, name).copy() for name in ("observed", "expected", "variance", "dispersion", "usual")}
    for name, values in merged.items():
        values[places] = getattr(base, name)
    return Forecast(**merged)


def _forecast(
    on: Bench, observed: FloatArray, exposure: FloatArray, variance: FloatArray | None, *, trend: bool = False
) -> Forecast:
    return forecast(
        observed,
        exposure,
        variance,
        days=on.panel.days,
        starts=on.panel.starts,
        past=on.past,
        longest=on.settings.longest_window_days,
        trend=trend,
    )


class _Window:
    """All windows of one length after the past: how far off they are."""

    def __init__(self, made: Forecast, figure: Figure, often: BoolArray, exposure: FloatArray, length: int) -> None:
        self.figure, self.often, self.length, self.made = figure, often, length, made
        self.observed, self.expected, self.chance, self.rows = (
            windows(running(x), length) for x in (made.observed, made.expected, made.variance, exposure)
        )
        usual = np.maximum(made.usual[:, [length - 1]], 1e-9)
        grown = np.maximum(1.0, self.expected / usual) if figure.type == "rows" else 1.0
        self.dispersion = np.broadcast_to(made.dispersion[:, [length - 1]] * grown, self.observed.shape)
        self.variance = self.chance * self.dispersion
        self.rest = self.observed - self.expected

    def suspect(self, settings: Judging) -> BoolArray:
        """Windows that changed by as much as matters, and that are not near."""
        off = np.abs(self.rest)
        if self.figure.type == "rows":
            enough = off >= np.maximum(settings.least_change * self.expected, LEAST_ROWS)
        elif self.figure.type == "share":
            enough = off >= np.maximum(settings.least_share * self.rows, LEAST_ROWS)
        else:
            one_row = np.sqrt(self.chance / np.maximum(self.rows, 1e-9))
            enough = (off >= settings.least_shift * self.rows * one_row) & (self.rows >= self.figure.least_rows)
        less = (self.rest < 0) ^ self.often[:, None]
        changed: BoolArray = enough & ~(less & self.figure.only_more) & (self.rest**2 > _NEAR**2 * self.variance)
        return changed

    def still_off(self, on: Bench) -> BoolArray:
        """Windows to be looked at: those that began before the first day judged are still off in the days since."""
        begin, first = np.arange(self.rest.shape[1]), on.first - on.past
        rest, chance = (running(x) for x in (self.made.observed - self.made.expected, self.made.variance))
        new, end = np.maximum(begin, first), begin + self.length
        since, spread = rest[:, end] - rest[:, new], np.maximum(chance[:, end] - chance[:, new], 0.0)
        still = since * np.sign(self.rest) > 2 * np.sqrt(spread * self.made.dispersion[:, [0]])
        relevant: BoolArray = (end > first) & ((begin >= first) | still)
        return relevant

    def log_p(self, place: int, start: int) -> float:
        """Logarithm of the chance of a window so far off, on either side."""
        from scipy.special import stdtr  # noqa: PLC0415 - slow to import; many a command judges nothing

        observed, expected = self.observed[place, start], self.expected[place, start]
        if self.figure.type == "mean":
            off = abs(observed - expected) / np.sqrt(self.variance[place, start])
            return _log_of_both(stdtr(_FREEDOM, -off))
        return log_p_of_count(observed, expected, self.dispersion[place, start])

    def hit(self, place: int, start: int, past: int, log_p: float) -> Hit:
        """The window, with its figure as a person reads it, and its place among all days."""
        divisor = 1.0 if self.figure.type == "rows" else max(self.rows[place, start], 1e-9)
        observed, expected = (float(x[place, start] / divisor) for x in (self.observed, self.expected))
        if self.often[place]:
            observed, expected = 1 - observed, 1 - expected
        spread = float(np.sqrt(self.variance[place, start]) / divisor)
        begin = past + start
        return Hit(place, self.figure, begin, begin + self.length, observed, expected, spread, log_p)


def log_p_of_count(observed: float, expected: float, dispersion: float) -> float:
    """Logarithm of the chance of a negative binomial count so far off, on either side.

    Examples
    --------
    >>> round(log_p_of_count(150.0, 100.0, 4.0), 2), log_p_of_count(100.0, 100.0, 4.0) > -1
    (-3.7, True)
    """
    from scipy.special import betainc, betaincc  # noqa: PLC0415 - slow to import; many a command judges nothing

    spread = max(dispersion, 1.0 + 1e-6)
    size, chance = max(expected, _LEAST_EXPECTED) / (spread - 1), 1 / spread
    more, fewer = (betaincc(size, observed, chance), betainc(size, observed + 1, chance))
    return _log_of_both(more if observed > expected else fewer)


def _log_of_both(p: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(2) + np.log(p))


def change_of(on: Bench, hit: Hit, place: int) -> float:
    """How far a series is off in the window of a hit: rows in parts of the expected, others in those of all rows."""
    made, often = expected_of(on, hit.figure)
    rows = made.expected if hit.figure.type == "rows" else hit.figure.exposure(on.panel.named())
    rest = (made.observed - made.expected)[place, hit.begin : hit.end].sum()
    sign = -1.0 if often[place] else 1.0
    return float(sign * rest / max(rows[place, hit.begin : hit.end].sum(), 1e-9))


def share_of_rows(on: Bench, whole: int, parts: Iterable[int]) -> float:
    """Share of the rows of a series that parts of it brought in the past."""
    rows: IntArray = on.panel.delivered[:, : on.past].sum(axis=1)
    return float(rows[list(parts)].sum() / max(rows[whole], 1))
