"""The calendar: every month start and every day once, whatever the hour of the decision before."""

from datetime import UTC, datetime, timedelta

import pytest

from limitlens.data.errors import WorkspaceError
from limitlens.pipeline.deciding.plan import decision_dates

KNOWN = {"payment": datetime(2026, 6, 30, 21, tzinfo=UTC)}


@pytest.mark.parametrize("hour", [0, 10, 23])
def test_no_day_is_skipped_after_a_decision_at_any_hour(hour: int) -> None:
    decided = datetime(2026, 5, 31, hour, tzinfo=UTC)
    dates = decision_dates(KNOWN, decided, None, None)
    assert dates[0] == datetime(2026, 6, 1, tzinfo=UTC)
    assert dates == [dates[0] + timedelta(days=k) for k in range(31)]


def test_the_first_calendar_begins_one_month_start_before_the_last() -> None:
    dates = decision_dates(KNOWN, None, None, None)
    assert (dates[0], dates[-1]) == (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize("ahead", [datetime(2026, 10, 28, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)])
def test_one_source_of_three_that_reaches_further_moves_no_date(ahead: datetime) -> None:
    reach = {**KNOWN, "consumption": KNOWN["payment"], "device": ahead}
    assert decision_dates(reach, datetime(2026, 6, 1, tzinfo=UTC), None, None)[-1] == datetime(2026, 7, 1, tzinfo=UTC)
    assert decision_dates(reach, None, ahead, None) == [ahead]


def test_a_long_jump_is_decided_only_when_its_end_is_named() -> None:
    decided, far = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    with pytest.raises(WorkspaceError, match=r"decided up to 2026-03-01, and the data reach .* --until 2026-07-01"):
        decision_dates(KNOWN, decided, None, None)
    assert decision_dates(KNOWN, decided, None, far)[-1] == far
