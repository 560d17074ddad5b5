"""An incident: a slice of a source that looks as its own past does not allow."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from limitlens.data.calendar import format_time

#: What is wrong with a slice: rows did not come, more came than could, or what came says something else.
Fault = Literal["missing", "excess", "other"]

#: Source, kind, column and value of a slice; empty: all kinds, the source as a whole.
Scope = tuple[str, str, str, str]


def scope_text(scope: Scope) -> str:
    """A slice as a person names it.

    Examples
    --------
    >>> scope_text(("payment", "repayment", "city", "Wuhan")), scope_text(("device", "", "", ""))
    ('payment repayment, city Wuhan', 'device')
    """
    source, kind, column, value = scope
    named = " ".join(filter(None, (source, kind)))
    return f"{named}, {column} {value}" if column else named


@dataclass(frozen=True)
class Incident:
    """A slice that looked unusual.

    Parameters
    ----------
    source, kind : str
        An empty kind means all of them.
    slice_column, slice_value : str
        Empty: the source as a whole.
    since, until : datetime
        UTC midnights: first unusual day, and the end of the last one, exclusive.
    figure : str
        What is unusual: ``rows``, ``share quarantined``, ``mean log amount``, ...
    observed, expected, low, high : float
        The figure over these days, what the slice's own past lets expect, and the band it would almost never leave.
    p : float
        Chance of a figure so far off, times the number of comparisons made.
    state : {"warn", "hold"}
    """

    source: str
    kind: str
    slice_column: str
    slice_value: str
    since: datetime
    until: datetime
    figure: str
    observed: float
    expected: float
    low: float
    high: float
    p: float
    state: Literal["warn", "hold"]

    @property
    def scope(self) -> Scope:
        """What is unusual, whenever that is."""
        return self.source, self.kind, self.slice_column, self.slice_value

    @property
    def fault(self) -> Fault:
        """What is wrong with it."""
        if self.figure != "rows":
            return "other"
        return "missing" if self.observed < self.expected else "excess"

    @property
    def evidence(self) -> str:
        """What is unusual, in a sentence."""
        comparison = f"{self.figure} {_rounded(self.observed)}, expected {_rounded(self.expected)}"
        return f"{comparison} ({_rounded(self.low)} to {_rounded(self.high)}) until {format_time(self.until)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "since": self.since.isoformat(), "until": self.until.isoformat()}

    def lines(self, touched: int) -> list[str]:
        """The incident as a person reads it, with the number of lines it touches."""
        days = (self.until - self.since).days
        return [
            f"{self.state}: {scope_text(self.scope)}: {self.figure} {_rounded(self.observed)}, "
            f"expected {_rounded(self.expected)} ({_rounded(self.low)} to {_rounded(self.high)})",
            f"  since {format_time(self.since)}, {days} {'day' if days == 1 else 'days'}; chance of it among all "
            f"comparisons {'under 1e-12' if self.p < 1e-12 else format(self.p, '.0e')}; {touched:,} lines touched",
            f"  see: limitlens quality --source {self.source} --html quality.html",
        ]


def _rounded(number: float) -> str:
    """A figure with as many digits as matter.

    Examples
    --------
    >>> _rounded(12345.6), _rounded(12.345), _rounded(0.012345), _rounded(-0.0)
    ('12,346', '12.3', '0.0123', '0')
    """
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number + 0.0:.3g}"
