"""How a query reads the two clocks, and which rows it may see at all."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """How SQL reads the as-of time and the time up to which rows are known.

    Parameters
    ----------
    as_of_literal, known_by_literal : datetime or None
        Both given: one moment for the whole spine, written into the query (the fast path; rows are keyed by
        ``account_no``). Both None: the columns ``as_of`` and ``known_by`` of the spine (rows are keyed by ``line``,
        the number of the spine's row).
    """

    as_of_literal: datetime | None = None
    known_by_literal: datetime | None = None

    @property
    def as_of(self) -> str:
        """SQL of the as-of time."""
        return _literal(self.as_of_literal) if self.as_of_literal else "as_of"

    @property
    def known_by(self) -> str:
        """SQL of the time before which a row must be known."""
        return _literal(self.known_by_literal) if self.known_by_literal else "known_by"

    @property
    def key(self) -> str:
        """Column that identifies a row of the spine."""
        return "account_no" if self.as_of_literal else "line"

    @property
    def carried(self) -> str:
        """Columns of the spine that every row carries."""
        return "account_no" if self.as_of_literal else "line, account_no, as_of, known_by"

    @property
    def with_spine(self) -> str:
        """SQL that brings in the spine's row; with literals there is nothing to bring."""
        return "" if self.as_of_literal else "JOIN spine USING (account_no)"

    @property
    def texts(self) -> tuple[str, ...]:
        """The two literal times as SQL writes them inside its quotes; empty when there are none."""
        return tuple(_text(time) for time in (self.as_of_literal, self.known_by_literal) if time)

    def since(self, days: int) -> str:
        """SQL of the start of a window of so many days."""
        return f"{self.as_of} - INTERVAL '{days}' DAY"


def _literal(time: datetime) -> str:
    return f"CAST('{_text(time)}' AS TIMESTAMPTZ)"


def _text(time: datetime) -> str:
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}+00:00"


@dataclass(frozen=True)
class Scope:
    """What the tables of one query depend on.

    Parameters
    ----------
    clock : Clock
    timezone : str
        IANA name; hours and weekdays are read in it.
    """

    clock: Clock
    timezone: str = "UTC"


def microseconds_between(first: str, last: str) -> str:
    """SQL of the microseconds from one time to another; many times faster than a difference of times with a zone."""
    return f"(UNIX_MICROS({last}) - UNIX_MICROS({first}))"


def days_between(first: str, last: str) -> str:
    """SQL of the days from one time to another, with their fraction."""
    return f"CAST({microseconds_between(first, last)} AS DOUBLE) / 86400000000"


def whole_days_between(first: str, last: str) -> str:
    """SQL of the whole days from one time to another, rounded down."""
    return f"CAST(FLOOR({days_between(first, last)}) AS BIGINT)"


def at_night(timezone: str) -> str:
    """SQL of whether an event happened between midnight and six, local time."""
    if timezone == "UTC":  # no calendar is needed, and asking one costs more than all else about a row
        return "MOD(MOD(UNIX_MICROS(event_time), 86400000000) + 86400000000, 86400000000) < 21600000000"
    return f"EXTRACT(HOUR FROM {_local(timezone)}) < 6"


def at_weekend(timezone: str) -> str:
    """SQL of whether an event happened on a Saturday or Sunday, local time; 5 January 1970 was a Monday."""
    since_monday = f"DATE_DIFF('day', CAST('1970-01-05' AS DATE), CAST({_local(timezone)} AS DATE))"
    return f"MOD(MOD({since_monday}, 7) + 7, 7) >= 5"


def _local(timezone: str) -> str:
    return f"(event_time AT TIME ZONE '{timezone}')"
