"""What a feature is: a declaration, not code. A feature set is a list of them with a digest."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

How = Literal["count", "sum", "mean", "max", "min", "distinct", "last", "days_since_last"]
Monotone = Literal[-1, 0, 1]

#: Aggregations whose value over no rows is 0; all others are null there.
ZERO_WHEN_EMPTY = frozenset({"count", "sum", "distinct"})


@dataclass(frozen=True)
class Aggregate:
    """A windowed aggregate over the rows of one source; one column for each window.

    Parameters
    ----------
    name : str
        Stem of the column names: ``draw_count`` with window 7 is ``draw_count_7d``, with 0 ``draw_count_ever``.
    source : str
        ``consumption``, ``payment`` or ``device``.
    how : str
        Aggregation; ``days_since_last`` and ``last`` look at the latest row by (event_time, event_id).
    windows : tuple of int
        Window lengths in days, counted back from the as-of time; 0 is the whole history.
    kinds : tuple of str
        Kinds of row that count; empty: all.
    column : str
        Aggregated column; empty for ``count`` and ``days_since_last``.
    only : str
        Boolean column of the source's enriched rows that must be true; empty: no condition.
    unit, why : str
        Unit of the value; what it tells about risk.
    reason : str
        Code of the reason a customer is given when it counts against the account.
    monotone : {-1, 0, 1}
        Direction in which theory says default risk moves with it.
    """

    name: str
    source: str
    how: How
    windows: tuple[int, ...]
    kinds: tuple[str, ...] = ()
    column: str = ""
    only: str = ""
    unit: str = "count"
    why: str = ""
    reason: str = ""
    monotone: Monotone = 0

    def column_name(self, window: int) -> str:
        """Name of the column for one window."""
        return f"{self.name}_{window}d" if window else f"{self.name}_ever"

    def column_names(self) -> list[str]:
        """Names of all columns of this declaration."""
        return [self.column_name(window) for window in self.windows]


@dataclass(frozen=True)
class Ratio:
    """One column divided by another, null where the divisor is zero or null."""

    name: str
    numerator: str
    denominator: str
    source: str
    why: str = ""
    reason: str = ""
    monotone: Monotone = 0
    unit: str = "ratio"


@dataclass(frozen=True)
class Position:
    """Where the account stands at the as-of time: ``dpd_days``, ``past_due_cents`` or ``balance_cents``."""

    name: Literal["dpd_days", "past_due_cents", "balance_cents"]
    source: str
    unit: str
    why: str
    reason: str
    monotone: Monotone = 0


@dataclass(frozen=True)
class LineShare:
    """A column of the table as a share of the limit in force; computed inside the decision, from its state."""

    name: str
    column: str
    source: str
    why: str
    reason: str
    monotone: Monotone = 0
    unit: str = "share of the limit"


@dataclass(frozen=True)
class FeatureSet:
    """A version of the feature table: its declarations, the attributes it carries, its time zone.

    Parameters
    ----------
    aggregates, ratios, positions, shares
        The declarations.
    attributes : tuple of (name, kind)
        Static attributes of ``accounts``; kind is ``number``, ``text`` or ``boolean``.
    timezone : str
        IANA name; hours and weekdays are read in it.
    """

    aggregates: tuple[Aggregate, ...]
    ratios: tuple[Ratio, ...] = ()
    positions: tuple[Position, ...] = ()
    shares: tuple[LineShare, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    timezone: str = "UTC"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Numeric columns of the table, in order, without the attributes."""
        return (
            *(p.name for p in self.positions),
            *(name for a in self.aggregates for name in a.column_names()),
            *(r.name for r in self.ratios),
        )

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Event sources that the declarations read."""
        return tuple(sorted({a.source for a in self.aggregates} | {p.source for p in self.positions}))

    def for_sources(self, present: tuple[str, ...]) -> "FeatureSet":
        """The same set without the declarations whose source is absent."""
        kept = replace(
            self,
            aggregates=tuple(a for a in self.aggregates if a.source in present),
            positions=tuple(p for p in self.positions if p.source in present),
            ratios=(),
            shares=(),
        )
        ratios = tuple(r for r in self.ratios if {r.numerator, r.denominator} <= set(kept.columns))
        kept = replace(kept, ratios=ratios)
        return replace(kept, shares=tuple(s for s in self.shares if s.column in kept.columns))

    @cached_property
    def declaration_of(self) -> dict[str, Aggregate | Ratio | Position | LineShare]:
        """Declaration behind each column, line shares included."""
        found: dict[str, Aggregate | Ratio | Position | LineShare] = {}
        for aggregate in self.aggregates:
            found |= dict.fromkeys(aggregate.column_names(), aggregate)
        found |= {position.name: position for position in self.positions}
        found |= {ratio.name: ratio for ratio in self.ratios}
        return found | {share.name: share for share in self.shares}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> "FeatureSet":
        """The set that :meth:`to_dict` wrote."""
        return cls(
            aggregates=tuple(
                Aggregate(**{**a, "windows": tuple(a["windows"]), "kinds": tuple(a["kinds"])})
                for a in body["aggregates"]
            ),
            ratios=tuple(Ratio(**r) for r in body["ratios"]),
            positions=tuple(Position(**p) for p in body["positions"]),
            shares=tuple(LineShare(**s) for s in body["shares"]),
            attributes=tuple((name, kind) for name, kind in body["attributes"]),
            timezone=body["timezone"],
        )

    @cached_property
    def digest(self) -> str:
        """Sha256 over the declarations; every table built from the set carries it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()
