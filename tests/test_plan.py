"""The calendar: every month start and every day once, whatever the hour of the decision before."""

from datetime import UTC, datetime, timedelta

import pytest

from limitlens.pipeline.plan import decision_dates

KNOWN = datetime(2026, 6, 30, 21, tzinfo=UTC)


@pytest.mark.parametrize("hour", [0, 10, 23])
def test_no_day_is_skipped_after_a_decision_at_any_hour(hour: int) -> None:
    decided = datetime(2026, 5, 31, hour, tzinfo=UTC)
    dates = decision_dates(KNOWN, decided, None, None)
    assert dates[0] == datetime(2026, 6, 1, tzinfo=UTC)
    assert dates == [dates[0] + timedelta(days=k) for k in range(31)]


def test_the_first_calendar_begins_one_month_start_before_the_last() -> None:
    dates = decision_dates(KNOWN, None, None, None)
    assert (dates[0], dates[-1]) == (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
