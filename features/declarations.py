"""What a feature is: a declaration, not code. A feature set is a list of them with a digest."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from limitlens.features.rows import ROW_SETS, Layer

How = Literal[
    "count",
    "sum",
    "mean",
    "std",
    "max",
    "min",
    "last",
    "days_since_last",
    "days_since_first",
    "distinct",
    "entropy",
    "shift",
]
Monotone = Literal[-1, 0, 1]

#: Aggregations whose value over no rows is 0; all others are null there.
ZERO_WHEN_EMPTY = frozenset({"count", "sum", "distinct"})

#: Aggregations over the values of a column; the key of a group rather than a number.
OF_KEYS = frozenset({"distinct", "entropy", "shift"})

#: ``shift`` compares a window with this many days.
SHIFT_DAYS = 180

_PERIODS: dict[int, Layer] = {1: "day", 7: "week", 30: "month"}
_OVER_PERIODS = frozenset({"count", "max", "std"})

#: Kinds of payment that neither raise nor lower a debt, and the rows that know of debts only.
_TRANSFERS = frozenset({"transfer_in", "transfer_out"})
_OF_DEBT = frozenset({"instalment", "flow"})


@dataclass(frozen=True)
class Aggregate:
    """A windowed aggregate over one set of rows; one column for each window.

    Parameters
    ----------
    name : str
        Stem of the column names: ``draw_count`` with window 7 is ``draw_count_7d``, with 0 ``draw_count_ever``.
    rows : str
        A name in :data:`limitlens.features.rows.ROW_SETS`.
    how : str
        ``count``, ``sum``, ``mean``, ``std`` (of the population), ``max``, ``min``; ``last``: the latest value that is
        not null, by time and, within one microsecond, by order of acceptance; ``days_since_last``,
        ``days_since_first``: of the rows in the window; ``distinct``: how many values; ``entropy`` of the values
        (Shannon 1948, in nats, to nine decimals); ``shift``: 1 − cosine of the counts by value in the window and in
        the last 180 days, to nine decimals.
    windows : tuple of int
        Window lengths in days, counted back from the as-of time; 0 is the whole history.
    kinds : tuple of str
        Kinds of row that count; empty: all.
    column : str
        Aggregated column; empty for ``count`` and the days.
    only : str
        Boolean column of the rows that must be true; empty: no condition.
    per : {0, 1, 7, 30}
        Length in days of the periods, counted back from the as-of time, over which ``count`` (periods with a row),
        ``max`` and ``std`` (of the sum of ``column``, or of the number of rows; empty periods are zeros) are taken.
    unit, why : str
        Unit of the value; what it tells about risk.
    reason : str
        Code of the reason a customer is given when it counts against the account.
    monotone : {-1, 0, 1}
        Direction in which theory says default risk moves with it.

    Raises
    ------
    ValueError
        The rows do not exist or do not reach back a window, or the aggregation does not go with the other fields.
    """

    name: str
    rows: str
    how: How
    windows: tuple[int, ...]
    kinds: tuple[str, ...] = ()
    column: str = ""
    only: str = ""
    per: int = 0
    unit: str = "count"
    why: str = ""
    reason: str = ""
    monotone: Monotone = 0

    def __post_init__(self) -> None:
        wrong = self._wrong()
        if wrong:
            raise ValueError(f"feature {self.name}: {wrong}.")

    def _wrong(self) -> str:
        if self.rows not in ROW_SETS:
            return f"no rows are called {self.rows!r}; expected one of {', '.join(ROW_SETS)}"
        reach = ROW_SETS[self.rows].reach_days
        if reach and not all(0 < window <= reach for window in self.windows):
            return f"{self.rows} rows reach back {reach} days, got windows {self.windows}"
        if self.per and (
            self.per not in _PERIODS
            or self.how not in _OVER_PERIODS
            or any(w == 0 or w % self.per for w in self.windows)
        ):
            return "per takes 1, 7 or 30 with count, max or std, and windows that are whole periods"
        if self.how == "shift" and not all(0 < window < SHIFT_DAYS for window in self.windows):
            return f"shift compares with {SHIFT_DAYS} days, so its windows must be shorter, got {self.windows}"
        if self.how == "last" and len(self.kinds) > 1:
            return "last takes one kind of row"
        return self._wrong_column()

    def _wrong_column(self) -> str:
        if self.how in {"sum", "mean", "std"} and self.column in ROW_SETS[self.rows].fractions:
            return f"{self.how} takes whole numbers, and {self.column} is a fraction"
        counted = self.how in {"count", "days_since_last", "days_since_first"} or self.per
        return "" if self.column or counted else f"{self.how} needs a column"

    @property
    def source(self) -> str:
        """Source whose behaviour it shows."""
        return ROW_SETS[self.rows].source

    @property
    def needs(self) -> frozenset[str]:
        """Sources it reads."""
        return frozenset({self.source, *ROW_SETS[self.rows].needs})

    def reads(self, source: str, kind: str = "") -> bool:
        """Whether rows of a source, or of one kind of it, have a part in it; where that is not known, they have.

        Examples
        --------
        >>> salary = Aggregate("transfer_in_count", "payment", "count", (30,), ("transfer_in",))
        >>> salary.reads("payment"), salary.reads("payment", "repayment"), salary.reads("device")
        (True, False, False)
        """
        if source not in self.needs:
            return False
        if self.rows == source and self.kinds:
            return not kind or kind in self.kinds
        return self.rows not in _OF_DEBT or kind not in _TRANSFERS

    def is_made_of(self, columns: Collection[tuple[str, str]]) -> bool:
        """Whether one of some columns, each a source and a name, says which rows it counts or what of them."""
        read = {*ROW_SETS[self.rows].made_of, self.column}
        return any((self.source, name) in columns for name in read)

    @property
    def layer(self) -> Layer:
        """Layer of behaviour it shows."""
        return _PERIODS[self.per] if self.per else ROW_SETS[self.rows].layer

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
    """Where the account stands at the as-of time."""

    name: Literal["dpd_days", "past_due_cents", "balance_cents", "balance_mean_90d_cents"]
    source: str
    unit: str
    why: str
    reason: str
    monotone: Monotone = 0

    @property
    def needs(self) -> frozenset[str]:
        """Sources it reads: a balance knows what was paid."""
        return frozenset({self.source, "payment"})


@dataclass(frozen=True)
class LineShare:
    """A column of the table by the limit in force, or by days on book; computed inside the decision, from its state."""

    name: str
    column: str
    source: str
    why: str
    reason: str
    monotone: Monotone = 0
    by: Literal["limit", "age"] = "limit"

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return "share of the limit" if self.by == "limit" else "per day on book"


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

    def columns_reading(self, source: str, kind: str = "") -> tuple[str, ...]:
        """Columns of the table that rows of a source, or of one kind of it, have a part in.

        Parameters
        ----------
        source : str
            One of events, or ``accounts``: its attributes.
        kind : str
            Default: any.

        Examples
        --------
        >>> from limitlens.features.catalogue import CATALOGUE
        >>> salary = CATALOGUE.columns_reading("payment", "transfer_in")
        >>> "transfer_in_sum_90d" in salary, "dpd_days" in salary, "dpd_days" in CATALOGUE.columns_reading("payment")
        (True, False, True)
        """
        if source == "accounts":
            return tuple(name for name, _ in self.attributes)
        names: list[str] = [p.name for p in self.positions if source in p.needs and kind not in _TRANSFERS]
        names += [name for a in self.aggregates if a.reads(source, kind) for name in a.column_names()]
        for ratio in self.ratios:
            names += [ratio.name] if {ratio.numerator, ratio.denominator} & set(names) else []
        return tuple(names)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Event sources that the declarations read."""
        needs = [*(a.needs for a in self.aggregates), *(p.needs for p in self.positions)]
        return tuple(sorted(frozenset().union(*needs)))

    def for_sources(self, present: tuple[str, ...]) -> "FeatureSet":
        """The same set without the declarations whose source is absent."""
        kept = replace(
            self,
            aggregates=tuple(a for a in self.aggregates if a.needs <= set(present)),
            positions=tuple(p for p in self.positions if p.needs <= set(present)),
            ratios=(),
            shares=(),
        )
        ratios = tuple(r for r in self.ratios if {r.numerator, r.denominator} <= set(kept.columns))
        kept = replace(kept, ratios=ratios)
        return replace(kept, shares=tuple(s for s in self.shares if s.column in kept.columns))

    def only(self, columns: Collection[str]) -> "FeatureSet":
        """The same set with some of its columns and what they are ratios of.

        Raises
        ------
        ValueError
            A column is not in the set.

        Examples
        --------
        >>> from limitlens.features.catalogue import CATALOGUE
        >>> CATALOGUE.only(["draw_count_7d", "utilisation"]).columns
        ('balance_cents', 'draw_count_7d')
        """
        if unknown := sorted(set(columns) - set(self.declaration_of)):
            raise ValueError(f"no feature is called {', '.join(unknown)}; limitlens features lists them.")
        ratios = tuple(r for r in self.ratios if r.name in columns)
        shares = tuple(s for s in self.shares if s.name in columns)
        wanted = {
            *columns,
            *(name for r in ratios for name in (r.numerator, r.denominator)),
            *(s.column for s in shares),
        }
        trimmed = [
            replace(a, windows=tuple(w for w in a.windows if a.column_name(w) in wanted)) for a in self.aggregates
        ]
        return replace(
            self,
            aggregates=tuple(a for a in trimmed if a.windows),
            positions=tuple(p for p in self.positions if p.name in wanted),
            ratios=ratios,
            shares=shares,
        )

    def columns_made_of(self, columns: Collection[tuple[str, str]]) -> tuple[str, ...]:
        """Columns of the table that would be others without some columns of the sources, each a source and a name.

        Examples
        --------
        >>> from limitlens.features.catalogue import CATALOGUE
        >>> places = CATALOGUE.columns_made_of([("device", "city")])
        >>> "city_distinct_30d" in places, "device_distinct_30d" in places, "login_count_30d" in places
        (True, False, False)
        """
        names = [name for a in self.aggregates if a.is_made_of(columns) for name in a.column_names()]
        names += [r.name for r in self.ratios if {r.numerator, r.denominator} & set(names)]
        return tuple(names + [s.name for s in self.shares if s.column in names])

    def without(self, columns: Collection[tuple[str, str]]) -> "FeatureSet":
        """The same set without :meth:`columns_made_of` some columns of the sources."""
        gone = set(self.columns_made_of(columns))
        return self.only([name for name in self.declaration_of if name not in gone]) if gone else self

    @cached_property
    def declaration_of(self) -> dict[str, Aggregate | Ratio | Position | LineShare]:
        """Declaration behind each column, line shares included."""
        declarations: dict[str, Aggregate | Ratio | Position | LineShare] = {}
        for aggregate in self.aggregates:
            declarations |= dict.fromkeys(aggregate.column_names(), aggregate)
        declarations |= {position.name: position for position in self.positions}
        declarations |= {ratio.name: ratio for ratio in self.ratios}
        return declarations | {share.name: share for share in self.shares}

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
