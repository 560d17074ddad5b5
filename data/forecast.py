"""What a slice should bring: its own past, by day of the month and of the week, with its trend and its spread.

Everything is an array of series × days. Days before ``past`` teach; no later day changes what is expected.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from limitlens.data.arrays import BoolArray, FloatArray, IntArray

#: Days after which a day of the past counts half.
HALF_LIFE_DAYS = 45

#: First days of a series, on which its level is not known well enough to say how far a day may be from it.
WARM_UP_DAYS = 21

#: Days of past from which the spread is taken.
SPREAD_DAYS = 200

#: What stays out of the past for longer is the new usual.
LONGEST_FAULT_DAYS = 28

#: A series that was struck more often is like that.
MOST_FAULTS = 3

#: So many rows of what is expected stand behind a factor of the calendar until it is told otherwise.
_PRIOR_ROWS = 20.0

#: Half of the width of the moving level by which the calendar is found.
_HALF_WIDTH = 28

#: A day so many standard deviations off, taken from three in four days, is no past.
_OUTLIER = 6.0

#: Three in four squares of a standard normal number are smaller.
_THREE_QUARTERS = 1.323

#: Nine in ten are smaller.
_NINE_IN_TEN = 1.645**2

#: A count of what hardly ever comes is as spread as one row is.
_LEAST_VARIANCE = 1.0

#: The farthest window of the past counts as so many standard deviations off.
_FARTHEST = 4.0

_CLASSES = 31

#: Times that week, month and level are found in turn.
_ROUNDS = 3


@dataclass(frozen=True)
class Forecast:
    """What was expected, and how far from it the past was.

    Parameters
    ----------
    observed, expected : array (series, days)
    variance : array (series, days)
        By chance alone.
    dispersion : array (series, longest window)
        How many times as much the windows of so many days had in the past.
    usual : array (series, longest window)
        What such a window was expected to bring in the past, on average.
    """

    observed: FloatArray
    expected: FloatArray
    variance: FloatArray
    dispersion: FloatArray
    usual: FloatArray

    def since(self, day: int) -> "Forecast":
        """The days from a place on; what the past says stays."""
        return replace(
            self,
            observed=self.observed[:, day:],
            expected=self.expected[:, day:],
            variance=self.variance[:, day:],
        )


def calendar(days: npt.NDArray[np.datetime64], *, from_end: bool = True) -> tuple[IntArray, IntArray]:
    """Day of the week, and day of the month from 0 to 27 or, for the last three days of a month, from 28 to 30.

    Not ``from_end``: plain days of the month. In a short month nobody knows which of the two a lender goes by, so of
    both the one counts that is nearer to what came.

    Examples
    --------
    >>> weekday, place = calendar(np.array(["2026-02-01", "2026-02-28", "2026-03-28", "2026-03-31"], "datetime64[D]"))
    >>> weekday.tolist(), place.tolist()
    ([6, 5, 5, 1], [0, 30, 27, 30])
    """
    months = days.astype("datetime64[M]")
    day = (days - months.astype("datetime64[D]")).astype(int)
    left = ((months + 1).astype("datetime64[D]") - days).astype(int)
    return (days.astype(int) + 3) % 7, np.where(from_end & (left <= 3), _CLASSES - left, day)


def forecast(
    observed: FloatArray,
    exposure: FloatArray,
    unit_variance: FloatArray | None,
    *,
    days: npt.NDArray[np.datetime64],
    starts: IntArray,
    past: int,
    longest: int,
    trend: bool,
) -> Forecast:
    """Learn each series from its own past, and say what all of its days should have brought.

    Parameters
    ----------
    observed : array (series, days)
        Counts, or sums of a value over rows.
    exposure : array (series, days)
        What the observed is in proportion to: 1 a day, rows, what is expected of the whole.
    unit_variance : array (series,) or None
        Variance of the value of one row, for means; None: the observed are counts.
    days : array of datetime64[D]
    starts : array (series,)
        Place of the first day of each series.
    past : int
        Number of days that teach.
    longest : int
        Days of the longest window.
    trend : bool
        The level may grow.

    Returns
    -------
    Forecast
    """
    inside = np.arange(observed.shape[1]) >= starts[:, None]
    taught = inside & (np.arange(observed.shape[1]) < past)
    given = _Given(observed, exposure, unit_variance, calendar(days))
    season, level = _fitted(given, taught)
    kept = taught & ~_outliers(given, taught, season, level, longest)
    if len(again := np.flatnonzero((kept != taught).any(axis=1))):
        season[again], level[again] = _fitted(given.some(again), kept[again])
    expected = _expected(given, kept, season, level, past=past, gap=longest, trend=trend)
    counted = replace(given, calendar=calendar(days, from_end=False))
    if (differ := counted.calendar[1] != given.calendar[1]).any():
        other = _expected(counted, kept, *_fitted(counted, kept), past=past, gap=longest, trend=trend)
        nearer = differ & (np.abs(observed - other) < np.abs(observed - expected))
        expected = np.where(nearer, other, expected)
    variance = expected.copy() if unit_variance is None else exposure * unit_variance[:, None]
    made = Forecast(observed, expected, variance, np.empty(0), np.empty(0))
    spread = kept & (np.arange(observed.shape[1]) >= starts[:, None] + WARM_UP_DAYS)
    late = max(past - SPREAD_DAYS, 0)
    dispersion, usual = _dispersion(
        made.since(late), spread[:, late:], kept.sum(axis=1), longest, counts=unit_variance is None
    )
    return replace(made, dispersion=dispersion, usual=usual)


@dataclass(frozen=True)
class _Given:
    observed: FloatArray
    exposure: FloatArray
    unit_variance: FloatArray | None
    calendar: tuple[IntArray, IntArray]

    def some(self, places: IntArray) -> "_Given":
        unit = None if self.unit_variance is None else self.unit_variance[places]
        return _Given(self.observed[places], self.exposure[places], unit, self.calendar)

    def taught(self, taught: BoolArray) -> tuple[FloatArray, FloatArray]:
        return np.where(taught, self.observed, 0.0), np.where(taught, self.exposure, 0.0)


def _fitted(given: _Given, taught: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Factors (for means: differences) of the calendar, and the level around each day."""
    y, e = given.taught(taught)
    counts = given.unit_variance is None
    level = _moving(y, e)
    season = np.ones_like(y) if counts else np.zeros_like(y)
    for _ in range(_ROUNDS):
        for classes, number in zip(given.calendar, (7, _CLASSES), strict=True):
            one_hot = np.eye(number)[classes]
            if counts:
                whole = e * level * season
                heard = _heard(whole) if number == 7 else np.ones_like(whole)
                observed = (y * heard) @ one_hot + _PRIOR_ROWS
                season = season * (observed / ((whole * heard) @ one_hot + _PRIOR_ROWS))[:, classes]
            else:
                rest = (y - e * (level + season)) @ one_hot
                season = season + (rest / (e @ one_hot + _PRIOR_ROWS))[:, classes]
        level = _moving(y, e * season) if counts else _moving(y - e * season, e)
    return season, level


def _expected(
    given: _Given, kept: BoolArray, season: FloatArray, level: FloatArray, *, past: int, gap: int, trend: bool
) -> FloatArray:
    """What each day should have brought, by the days before it alone."""
    y, e = given.taught(kept)
    if given.unit_variance is not None:
        return given.exposure * (season + level_before(y - e * season, e, past, gap, trend=trend))
    heard = _heard(e * season * level)
    ahead = level_before(y * heard, e * season * heard, past, gap, trend=trend)
    return given.exposure * season * np.maximum(ahead, 0.0)


def _heard(expected: FloatArray) -> FloatArray:
    """Weights by which no day, such as one on which all fees fall, speaks for more than three usual ones."""
    roots, there = np.sqrt(np.maximum(expected, 0.0)), np.maximum((expected > 0).sum(axis=1, keepdims=True), 1)
    usual = (roots.sum(axis=1, keepdims=True) / there) ** 2
    weights: FloatArray = np.minimum(1.0, 3 * usual / np.maximum(expected, 1e-9))
    return weights


def _moving(y: FloatArray, e: FloatArray) -> FloatArray:
    """Level around each day."""
    overall = y.sum(axis=1, keepdims=True) / np.maximum(e.sum(axis=1, keepdims=True), 1e-9)
    daily = e.sum(axis=1, keepdims=True) / np.maximum((e > 0).sum(axis=1, keepdims=True), 1)
    near_y, near_e = (_around(x) for x in (y, e))
    level: FloatArray = (near_y + daily * overall) / np.maximum(near_e + daily, 1e-9)
    return level


def _around(x: FloatArray) -> FloatArray:
    return windows(running(np.pad(x, ((0, 0), (_HALF_WIDTH, _HALF_WIDTH)))), 2 * _HALF_WIDTH + 1)


def level_before(y: FloatArray, e: FloatArray, past: int, gap: int, *, trend: bool) -> FloatArray:
    """Level of each day by the days at least ``gap`` before it; of the days after the past, by all of the past."""
    taught, day = np.arange(past)[:, None], np.arange(y.shape[1])
    age = day - taught
    faded = 0.5 ** (np.arange(past) / HALF_LIFE_DAYS)
    weights = faded[np.maximum(np.minimum(day, past) - taught - gap, 0)]
    weights[(day < past) & (age < gap)] = 0.0
    y, e = y[:, :past], e[:, :past]
    overall = y.sum(axis=1, keepdims=True) / np.maximum(e.sum(axis=1, keepdims=True), 1e-9)
    daily = np.maximum(e.sum(axis=1, keepdims=True) / len(day), 1e-9)
    weight, rows = e @ weights, y @ weights
    mean: FloatArray = (rows + daily * overall) / (weight + daily)
    if not trend:
        return mean
    aged, squared, aged_rows = e @ (weights * age), e @ (weights * age**2), y @ (weights * age)
    steady = weight**2 * HALF_LIFE_DAYS**2 / 4
    slope = (weight * aged_rows - aged * rows) / np.maximum(weight * squared - aged**2 + steady, 1e-9)
    slope *= np.abs(rows) / (np.abs(rows) + 50)
    older = aged / np.maximum(weight, 1e-9)
    level: FloatArray = np.clip(mean - slope * older, np.minimum(mean / 3, 3 * mean), np.maximum(mean / 3, 3 * mean))
    return level


def running(x: FloatArray) -> FloatArray:
    """Sums over the days before each day, and over all of them at the end."""
    sums = np.zeros((x.shape[0], x.shape[1] + 1))
    np.cumsum(x, axis=1, out=sums[:, 1:])
    return sums


def windows(total: FloatArray, length: int) -> FloatArray:
    """Sums over every run of so many days, from running sums; the first run begins on the first day."""
    sums: FloatArray = total[:, length:] - total[:, :-length]
    return sums


def _outliers(given: _Given, taught: BoolArray, season: FloatArray, level: FloatArray, longest: int) -> BoolArray:
    """Days of the past that an earlier fault struck: far off beside three in four, and not for long."""
    far, counts = np.zeros_like(taught), given.unit_variance is None
    near = given.exposure * (season * level if counts else season + level)
    spread = near if counts else given.exposure * np.asarray(given.unit_variance)[:, None]
    least = _LEAST_VARIANCE if counts else 1e-9
    totals = [running(np.where(taught, x, 0.0)) for x in (given.observed - near, spread, near)]
    for length in sorted({1, min(3, longest), longest}):
        rest, chance, around = (windows(total, length) for total in totals)
        off = np.where(chance > 0, rest**2 / np.maximum(chance, least), np.nan)
        usual = np.maximum(_quantiles(off, 0.75)[0] / _THREE_QUARTERS, 1.0)
        struck = (off > _OUTLIER**2 * usual[:, None]) & (np.abs(rest) > 0.2 * np.abs(around))
        for shift in range(length):
            far[:, shift : shift + struck.shape[1]] |= struck
    begins = far & ~np.pad(far, ((0, 0), (1, 0)))[:, :-1]
    run = np.cumsum(begins).reshape(far.shape)
    days_of = np.bincount(run.ravel(), far.ravel())
    outliers: BoolArray = far & (days_of[run] <= LONGEST_FAULT_DAYS) & (begins.sum(axis=1) <= MOST_FAULTS)[:, None]
    return outliers


def _quantiles(values: FloatArray, *shares: float) -> list[FloatArray]:
    """Quantiles of each row without the missing values; 0 where all are missing."""
    ordered, there = np.sort(values, axis=1), np.isfinite(values).sum(axis=1)
    places = (np.clip(np.ceil(share * there).astype(int) - 1, 0, values.shape[1] - 1) for share in shares)
    return [np.where(there > 0, ordered[np.arange(len(values)), place], 0.0) for place in places]


def _dispersion(
    made: Forecast, kept: BoolArray, taught: IntArray, longest: int, *, counts: bool
) -> tuple[FloatArray, FloatArray]:
    rest = np.where(kept, made.observed - made.expected, 0.0)
    chance, expected = np.where(kept, made.variance, 0.0), np.where(kept, made.expected, 0.0)
    learned = np.where(taught > 80, taught / np.maximum(taught - 38, 1), 2.0)
    least = _LEAST_VARIANCE if counts else 1e-9
    dispersion, usual = np.ones((len(rest), longest)), np.zeros((len(rest), longest))
    highest = np.ones(len(rest))
    totals = [running(x) for x in (kept.astype(float), rest, chance, expected)]
    for length in range(1, longest + 1):
        days, rests, chances, expectations = (windows(total, length) for total in totals)
        whole = days == length
        off = np.where(whole & (chances > 0), rests**2 / np.maximum(chances, least), np.nan)
        high, farthest = _quantiles(off, 0.9, 1.0)
        high = np.maximum(high / _NINE_IN_TEN, 1.0) * learned
        highest = np.maximum.reduce([highest, high, farthest / _FARTHEST**2])
        dispersion[:, length - 1] = highest
        usual[:, length - 1] = (expectations * whole).sum(axis=1) / np.maximum(whole.sum(axis=1), 1)
    return dispersion, usual
