"""The plan: which lines are decided at which date."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd

from limitlens.data.calendar import (
    DAY,
    NEW_LINE_DAILY_DAYS,
    data_end,
    days,
    format_time,
    last_decision_dates,
    midnight,
    reach_of_most,
)
from limitlens.data.engine import Relations
from limitlens.data.errors import InputError, WorkspaceError
from limitlens.features.declarations import FeatureSet
from limitlens.features.spine import Undecidable, book, lines_at, opened_between, undecidable, with_limit
from limitlens.limits.policy import Condition
from limitlens.pipeline.deciding.daily_lines import daily_lines

#: From one month start to the next but one; a calendar that would go on for longer is asked for.
LONGEST_JUMP = DAY * 62

_WEEK = DAY * NEW_LINE_DAILY_DAYS


#: A line to be decided at a time, the date of the run that decides it, and whether that is within the day.
PLANNED = ("account_id", "as_of", "opened_at", "limit_cents", "date", "watched")


def decision_dates(
    reach: Mapping[str, datetime], decided_until: datetime | None, as_of: datetime | None, until: datetime | None
) -> list[datetime]:
    """Dates to decide: ``as_of`` alone, or every day after the last decided one up to ``until``.

    Parameters
    ----------
    reach : mapping of source to datetime
        Latest known time of each source of events. The calendar ends where most of them end; a date that is given may
        lie as far ahead as any of them reaches.
    decided_until : datetime or None
        Without earlier decisions the calendar begins one month start before the last.
    as_of, until : datetime or None

    Raises
    ------
    WorkspaceError
        The data do not reach the date, it is decided already, or it lies more than :data:`LONGEST_JUMP` after the last
        decision and was not given.
    """
    last = as_of or until or last_decision_dates(reach_of_most(reach.values()))[-1]
    latest = max(reach.values())
    if last > data_end(latest):
        raise WorkspaceError(
            f"cannot decide as of {format_time(last)}: the data end at {format_time(latest)}; deliver more first."
        )
    if decided_until and not (as_of or until) and last > decided_until + LONGEST_JUMP:
        raise WorkspaceError(
            f"decided up to {format_time(decided_until)}, and the data reach {format_time(last)}: see that no load in "
            f"between is missing and no time is wrong, then name the last date with --until {format_time(last)}."
        )
    if as_of is None:
        first = midnight(decided_until) + DAY if decided_until else last_decision_dates(last - DAY * 2)[-1]
        return days(first, last)
    if decided_until and as_of <= decided_until:
        raise WorkspaceError(
            f"decided up to {format_time(decided_until)}, and the ledger only grows; choose a later date."
        )
    return [as_of]


def plan_lines(
    dates: Sequence[datetime],
    decided_until: datetime | None,
    relations: Relations,
    *,
    whole_book: bool,
    features: FeatureSet,
    any_of: Sequence[Condition] = (),
    again: Sequence[str] = (),
) -> pd.DataFrame:
    """Lines of each date that have a limit: the whole book at month starts (or always), else those decided daily.

    Daily are those under a week old, and those for which a condition of the policy holds.

    Parameters
    ----------
    dates : sequence of datetime
    decided_until : datetime or None
        Lines opened since then are decided at their opening first.
    relations : mapping of source to pyarrow.Table or SQL text
        ``accounts``, and what the conditions read.
    whole_book : bool
        Decide every line at every date.
    features : FeatureSet
        With the columns of the conditions.
    any_of : sequence of Condition
        Lines for which one holds at a date, as known then, are decided at it.
    again : sequence of str
        Accounts that are due at the first date whatever the calendar says: what held them is over.

    Returns
    -------
    DataFrame with the columns :data:`PLANNED`
        ``date`` is one of the dates. A line opened since the one before is decided at its own opening first.
    """
    first = decided_until or dates[0]
    daily = [date for date in dates if not (whole_book or date.day == 1)]
    opened = opened_between(min(first, dates[0] - _WEEK), dates[-1], relations)
    at_opening = opened[opened["opened_at"] >= first].assign(as_of=lambda rows: rows["opened_at"])
    released = _at(again, daily[:1] if daily[:1] == dates[:1] else [])
    due_daily = _young(opened, daily), released, daily_lines(daily, any_of, features, relations)
    points = pd.concat([at_opening, *due_daily], ignore_index=True).drop_duplicates(["account_id", "as_of"])
    lines = with_limit(lines_at(points.assign(known_by=points["as_of"]), relations)).reset_index(drop=True)
    new = lines["as_of"] == lines["opened_at"]
    books = with_limit(book([date for date in dates if date not in daily], relations))
    due = pd.concat([lines[~new], books], ignore_index=True)
    planned = pd.concat([_by_run(lines[new], first, dates), due.assign(date=due["as_of"])], ignore_index=True)
    if planned.empty:
        expect_limits(dates[-1], relations)
    return planned.assign(watched=False)[list(PLANNED)]


def _by_run(opened: pd.DataFrame, first: datetime, dates: Sequence[datetime]) -> pd.DataFrame:
    """Lines that open from ``first`` on, with the first date after their opening."""
    moments = pd.DatetimeIndex(list(dates)).as_unit("us")
    place = moments.searchsorted(opened["as_of"], side="right")
    due = (opened["as_of"] >= first) & (place < len(moments))
    return opened[due].assign(date=moments[place[due]])


def expect_limits(as_of: datetime, relations: Relations) -> None:
    """Refuse to decide a book in which no line has a limit.

    Raises
    ------
    InputError
        Lines were delivered, and none of them can be decided.
    """
    lost = undecidable(as_of, relations)
    if lost == Undecidable(0, 0) or len(with_limit(book([as_of], relations))):
        return
    counts = {"came without a limit": lost.without_limit, "have limit 0": lost.limit_zero}
    listed = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    raise InputError(
        f"no line can be decided as of {format_time(as_of)}: {listed}; deliver limit_cents of accounts, the limit in "
        "force in whole cents. PDs need no limit: limitlens score."
    )


def _at(accounts: Sequence[str], dates: Sequence[datetime]) -> pd.DataFrame:
    moments = pd.DataFrame({"as_of": pd.Series(list(dates), dtype="datetime64[us, UTC]")})
    return pd.DataFrame({"account_id": pd.Series(list(accounts), dtype=str)}).merge(moments, how="cross")


def _young(opened: pd.DataFrame, dates: Sequence[datetime]) -> pd.DataFrame:
    """Accounts at each date of their first week."""
    moments = pd.DataFrame({"as_of": pd.Series(list(dates), dtype="datetime64[us, UTC]")})
    pairs = opened.merge(moments, how="cross")
    age = pairs["as_of"] - pairs["opened_at"]
    return pairs[(age > pd.Timedelta(0)) & (age <= _WEEK)]
