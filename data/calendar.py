"""All date arithmetic of limitlens: months, elapsed days, the decision calendar. Every time is UTC."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

#: Lines younger than this are decided daily.
NEW_LINE_DAILY_DAYS = 7

DAY = timedelta(days=1)


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is UTC.

    Raises
    ------
    ValueError
        The text is not a date or time.

    Examples
    --------
    >>> parse_time("2026-03-01")
    datetime.datetime(2026, 3, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def format_time(time: datetime) -> str:
    """Write a time for people and file names: the date alone at midnight.

    Examples
    --------
    >>> format_time(parse_time("2026-03-01")), format_time(parse_time("2026-03-01T10:30"))
    ('2026-03-01', '2026-03-01T10:30:00')
    """
    midnight = time.time() == datetime.min.time()
    return time.strftime("%Y-%m-%d") if midnight else time.replace(tzinfo=None).isoformat()


def midnight(time: datetime) -> datetime:
    """The midnight that begins the day of ``time``."""
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(time: datetime) -> datetime:
    """The midnight that begins the month of ``time``."""
    return midnight(time).replace(day=1)


def add_months(time: datetime, months: int) -> datetime:
    """Move a month start by whole months.

    Raises
    ------
    ValueError
        ``time`` is not on the first of a month, where adding months would be ambiguous.

    Examples
    --------
    >>> format_time(add_months(parse_time("2025-11-01"), 3))
    '2026-02-01'
    """
    if time.day != 1:
        raise ValueError(f"Got {format_time(time)}, but months are added to the first of a month only.")
    index = time.year * 12 + time.month - 1 + months
    return time.replace(year=index // 12, month=index % 12 + 1)


def months_later(time: datetime, months: int) -> datetime:
    """The midnight of the same day so many months later, or of the last day where that month is shorter.

    Examples
    --------
    >>> format_time(months_later(parse_time("2026-01-31T10:30"), 1))
    '2026-02-28'
    >>> format_time(months_later(parse_time("2026-03-05"), 12))
    '2027-03-05'
    """
    first = add_months(month_start(time), months)
    return first + min(midnight(time) - month_start(time), add_months(first, 1) - first - DAY)


def month_starts(first: datetime, last: datetime) -> list[datetime]:
    """Every month start in ``[first, last]``."""
    current = month_start(first)
    starts = []
    while current <= last:
        if current >= first:
            starts.append(current)
        current = add_months(current, 1)
    return starts


def days(first: datetime, last: datetime) -> list[datetime]:
    """Every midnight in ``[first, last]``."""
    begin = midnight(first) if first == midnight(first) else midnight(first) + DAY
    return [begin + DAY * i for i in range(max((last - begin).days + 1, 0))]


def matured_months(first_event: datetime, end: datetime, horizon_months: int) -> list[datetime]:
    """Month starts with a month of history behind them and a horizon that has fully elapsed at ``end``.

    Examples
    --------
    >>> months = matured_months(parse_time("2025-01-01"), parse_time("2026-01-01"), 6)
    >>> format_time(months[0]), format_time(months[-1])
    ('2025-02-01', '2025-07-01')
    """
    starts = month_starts(add_months(month_start(first_event), 1), end)
    return [t for t in starts if add_months(t, horizon_months) <= end]


def reach_of_most(reach: Iterable[datetime]) -> datetime:
    """The latest moment that more than half of the sources have reached.

    So neither a single row that is dated ahead nor one source of three that has ended moves it.

    Examples
    --------
    >>> ends = [parse_time(day) for day in ("2026-06-30", "2026-06-29", "2026-10-28")]
    >>> format_time(reach_of_most(ends)), format_time(reach_of_most(ends[1:]))
    ('2026-06-30', '2026-06-29')
    """
    latest_first = sorted(reach, reverse=True)
    return latest_first[len(latest_first) // 2]


def data_end(known_until: datetime) -> datetime:
    """The midnight after the last known row: the first moment at which all of it was known."""
    return midnight(known_until) + DAY


def last_decision_dates(known_until: datetime, count: int = 2) -> list[datetime]:
    """The last month starts at which everything before them was known.

    A month start counts when the data reach to the day before it.

    Examples
    --------
    >>> [format_time(t) for t in last_decision_dates(parse_time("2026-06-30T21:00"))]
    ['2026-06-01', '2026-07-01']
    """
    last = month_start(known_until + DAY)
    return [add_months(last, -k) for k in reversed(range(count))]
