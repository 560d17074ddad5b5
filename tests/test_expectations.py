"""The judgement itself: by the past alone, corrected for comparisons, explained by the narrowest slice."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom

from limitlens.data.expectations import judge
from limitlens.data.forecast import HALF_LIFE_DAYS, forecast, level_before
from limitlens.data.profile_columns import COUNTS
from limitlens.data.quality_settings import default_quality
from limitlens.data.unusual import log_p_of_count

JUDGING = default_quality().judging
T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, CITIES = 200, ("a", "b", "c", "d")


def day(number: int) -> datetime:
    return T0 + timedelta(days=number)


def profiles(rows: np.ndarray, kind: str = "draw") -> pd.DataFrame:
    """Rows by day and city as the profiles of a source."""
    parts = []
    for column, value, counts in [("", "", rows.sum(axis=1)), *(("city", c, rows[:, n]) for n, c in enumerate(CITIES))]:
        days = np.flatnonzero(counts)
        part = pd.DataFrame({"day": [day(int(d)).date() for d in days], "rows": counts[days].astype(float)})
        parts.append(part.assign(source="consumption", kind=kind, slice_column=column, slice_value=value))
    found = pd.concat(parts, ignore_index=True)
    return found.assign(**dict.fromkeys(set(COUNTS) - {"rows"}, 0.0))


def quiet(seed: int = 1, mean: float = 40.0) -> np.ndarray:
    """Rows that follow the week and the month, and grow."""
    days = np.arange(DAYS)
    fourth = np.array([day(number).day == 4 for number in days.tolist()])
    season = np.where(days % 7 < 5, 1.2, 0.5) * np.where(fourth, 4.0, 1.0) * (1 + days / DAYS)
    return np.random.default_rng(seed).poisson(mean * season[:, None] * np.array([0.4, 0.3, 0.2, 0.1]))


@pytest.mark.parametrize("seed", range(3))
def test_a_quiet_source_is_left_alone(seed: int) -> None:
    assert judge(profiles(quiet(seed)), JUDGING, day(DAYS - 40), day(DAYS)) == []


def test_a_single_day_is_found_and_told_with_its_day() -> None:
    rows = quiet()
    rows[195] = 0
    [found] = judge(profiles(rows), JUDGING, day(190), day(DAYS))
    assert (found.since, found.until, found.figure, found.state) == (day(195), day(196), "rows", "hold")
    assert found.scope == ("consumption", "", "", "")
    assert found.observed == 0
    assert found.low > 0


def test_a_slow_leak_over_ten_days_is_found() -> None:
    rows = quiet(mean=120)
    rows[190:] = np.random.default_rng(2).binomial(rows[190:], 0.6)
    [found] = judge(profiles(rows), JUDGING, day(190), day(DAYS))
    assert (found.state, found.slice_column) == ("hold", "")
    assert (found.until - found.since).days >= 8


def test_one_slice_is_told_and_not_the_whole() -> None:
    rows = quiet()
    rows[190:, 1] = 0
    [found] = judge(profiles(rows), JUDGING, day(190), day(DAYS))
    assert found.scope[2:] == ("city", "b")


def test_two_slices_are_told_apart() -> None:
    rows = quiet()
    rows[190:, [1, 3]] = 0
    found = judge(profiles(rows), JUDGING, day(190), day(DAYS))
    assert {one.slice_value for one in found} == {"b", "d"}


def test_a_small_slice_needs_a_large_swing() -> None:
    rows = quiet(mean=2.0)
    rows[199, 3] = 0
    assert judge(profiles(rows), JUDGING, day(199), day(DAYS)) == []


def test_what_comes_later_changes_no_earlier_judgement() -> None:
    rows = quiet()
    rows[190:, 1] = 0
    later = rows.copy()
    later[195:] *= 50
    until = day(195)
    assert judge(profiles(rows), JUDGING, day(190), until) == judge(profiles(later), JUDGING, day(190), until)


def test_an_earlier_fault_is_no_past() -> None:
    rows, clean = quiet(), quiet()
    rows[150:160] = 0
    rows[190:], clean[190:] = 0, 0
    [after_fault], [without] = (judge(profiles(r), JUDGING, day(190), day(DAYS)) for r in (rows, clean))
    assert after_fault.expected == pytest.approx(without.expected, rel=0.1)


def test_a_new_usual_is_learned() -> None:
    rows = quiet()
    rows[100:] *= 3
    assert judge(profiles(rows), JUDGING, day(DAYS - 5), day(DAYS)) == []


def test_too_little_past_is_learning() -> None:
    rows = quiet()
    rows[50:] = 0
    assert judge(profiles(rows), JUDGING, day(50), day(60)) == []


def test_a_source_of_which_only_days_to_come_are_known_is_left_alone() -> None:
    assert judge(profiles(quiet()), JUDGING, day(-20), day(-10)) == []


def test_a_source_that_stays_out_is_judged_by_zeros() -> None:
    found = judge(profiles(quiet()), JUDGING, day(DAYS), day(DAYS + 2))
    assert [(one.since, one.until, one.observed) for one in found] == [(day(DAYS), day(DAYS + 2), 0)]


def test_the_calendar_of_a_monthly_spike_is_learned() -> None:
    days = np.arange(np.datetime64("2025-01-01"), np.datetime64("2026-01-01"))
    spike = (days.astype("datetime64[M]").astype("datetime64[D]") == days) * 1000.0
    observed = np.random.default_rng(1).poisson(spike + 1.0)[None].astype(float)
    made = forecast(
        observed, np.ones_like(observed), None, days=days, starts=np.array([0]), past=330, longest=10, trend=True
    )
    first = np.flatnonzero(days == np.datetime64("2025-12-01"))[0]
    assert made.expected[0, first] == pytest.approx(1000, rel=0.15)
    assert made.expected[0, first + 1 :].max() < 20


def level_of_one_day(y: np.ndarray, e: np.ndarray, day: int, past: int, gap: int, *, trend: bool) -> float:
    """The same as a loop: days of the past by their age, each with half the weight after the half-life."""
    weight = aged = squared = rows = aged_rows = 0.0
    for taught in range(past if day >= past else max(day - gap + 1, 0)):
        age = day - taught
        w = 0.5 ** (max(min(day, past) - taught - gap, 0) / HALF_LIFE_DAYS)
        weight, aged, squared = weight + w * e[taught], aged + w * e[taught] * age, squared + w * e[taught] * age**2
        rows, aged_rows = rows + w * y[taught], aged_rows + w * y[taught] * age
    usual = e.sum() / len(e)
    mean = (rows + usual * y.sum() / e.sum()) / (weight + usual)
    if not trend or weight == 0:
        return float(mean)
    steady = weight**2 * HALF_LIFE_DAYS**2 / 4
    slope = (weight * aged_rows - aged * rows) / (weight * squared - aged**2 + steady) * abs(rows) / (abs(rows) + 50)
    return float(np.clip(mean - slope * aged / weight, min(mean / 3, 3 * mean), max(mean / 3, 3 * mean)))


@pytest.mark.parametrize("trend", [False, True])
def test_the_level_is_that_of_the_days_before_by_age(trend: bool) -> None:
    past, gap, luck = 45, 7, np.random.default_rng(3)
    y, e = luck.poisson(20 + np.arange(60.0), (2, 60)).astype(float), luck.uniform(0.5, 2.0, (2, 60))
    y[:, past:] = e[:, past:] = 0.0
    found = level_before(y, e, past, gap, trend=trend)
    slow = [[level_of_one_day(y[n], e[n], day, past, gap, trend=trend) for day in range(60)] for n in range(2)]
    np.testing.assert_allclose(found, slow, rtol=1e-9)


@pytest.mark.parametrize("from_end", [True, False], ids=["last days of the month", "plain days"])
def test_the_end_of_february_alarms_neither_who_goes_by_the_end_nor_who_by_plain_days(from_end: bool) -> None:
    """Rows stop on the last three days of a month, or on the 29th to the 31st; February has 28 days."""
    days = np.arange(np.datetime64("2025-08-01"), np.datetime64("2026-03-01"))
    months = days.astype("datetime64[M]")
    left = ((months + 1).astype("datetime64[D]") - days).astype(int)
    none = left <= 3 if from_end else (days - months.astype("datetime64[D]")).astype(int) >= 28
    rows = np.random.default_rng(5).poisson(np.where(none, 0.3, 30.0)[:, None] * np.array([0.4, 0.3, 0.2, 0.1]))
    told = profiles(rows).replace({"day": {day(k).date(): d for k, d in enumerate(days.tolist())}})
    end = datetime(2026, 3, 1, tzinfo=UTC)
    assert judge(told, JUDGING, end - timedelta(days=10), end) == []


def test_faults_of_two_kinds_at_once_are_two_incidents() -> None:
    """Of four kinds one stays out for ten days and another brings thrice as much for three: neither hides the other."""
    missing, more = quiet(2), quiet(3)
    missing[190:], more[197:] = 0, more[197:] * 3
    kinds = {"draw": missing, "purchase": more, "fee": quiet(4), "refund": quiet(5)}
    parts = [profiles(rows, kind) for kind, rows in kinds.items()]
    together = profiles(np.sum(list(kinds.values()), axis=0), "")
    found = judge(pd.concat([*parts, together], ignore_index=True), JUDGING, day(190), day(DAYS))
    assert [(one.kind, one.since, one.state) for one in sorted(found, key=lambda one: one.kind)] == [
        ("draw", day(190), "hold"),
        ("purchase", day(197), "hold"),
    ]


@given(st.integers(0, 5_000), st.floats(0.6, 5_000), st.floats(1.01, 50))
def test_the_chance_of_a_count_is_the_tail_of_the_negative_binomial(seen: int, expected: float, spread: float) -> None:
    size, chance = expected / (spread - 1), 1 / spread
    tail = nbinom.sf(seen - 1, size, chance) if seen > expected else nbinom.cdf(seen, size, chance)
    assert np.exp(log_p_of_count(seen, expected, spread)) == pytest.approx(2 * tail, rel=1e-8, abs=1e-300)
