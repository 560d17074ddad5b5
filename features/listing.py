"""What the catalogue holds, one line a column: for the command line and for ``docs/features.md``."""

from dataclasses import dataclass
from typing import Literal

from limitlens.features.declarations import ZERO_WHEN_EMPTY, Aggregate, FeatureSet, LineShare, Position, Ratio
from limitlens.features.rows import ROW_SETS, Layer

Silence = Literal["0", "null", "stays", "grows"]

#: Columns of rows that grow with the as-of time.
_AGES = frozenset({"days_late", "known_days"})


@dataclass(frozen=True)
class Listed:
    """One feature as it is shown.

    Parameters
    ----------
    name, source, layer, measures, unit, why, reason
        ``measures`` says in words how it is computed; ``reason`` is the code of the reason given to the customer.
    monotone : {-1, 0, 1}
        Direction in which default risk moves with it; 0: none is imposed.
    silence : {"0", "null", "stays", "grows"}
        What becomes of it when no row comes for longer than its window.
    """

    name: str
    source: str
    layer: Layer
    measures: str
    unit: str
    why: str
    reason: str
    monotone: int
    silence: Silence

    def matches(self, text: str) -> bool:
        """Whether some word of it contains the text."""
        words = (self.name, self.source, self.layer, self.unit, self.why, self.reason)
        return any(text.lower() in word.lower() for word in words)


def listed(features: FeatureSet) -> list[Listed]:
    """Every column of a set and every share of the line, in order.

    Examples
    --------
    >>> from limitlens.features.catalogue import CATALOGUE
    >>> [entry] = [one for one in listed(CATALOGUE) if one.name == "draw_count_7d"]
    >>> entry.measures
    'count of consumption rows (draw), 7 days'
    """
    return [
        Listed(
            name=name,
            source=declared.source,
            layer=declared.layer if isinstance(declared, Aggregate) else "account",
            measures=_measures(name, declared),
            unit=declared.unit,
            why=declared.why,
            reason=declared.reason,
            monotone=declared.monotone,
            silence=_silence(features, name),
        )
        for name, declared in features.declaration_of.items()
    ]


def _silence(features: FeatureSet, name: str) -> Silence:
    declared = features.declaration_of[name]
    if isinstance(declared, LineShare):
        return _silence(features, declared.column)
    if isinstance(declared, Ratio):
        below = _silence(features, declared.denominator)
        return "null" if below in {"0", "null"} else _silence(features, declared.numerator)
    if isinstance(declared, Position):
        return "grows" if declared.name == "dpd_days" else "stays"
    if declared.column_name(0) == name:
        return "grows" if declared.how.startswith("days_since") or declared.column in _AGES else "stays"
    return "0" if declared.how in ZERO_WHEN_EMPTY else "null"


def _measures(name: str, declared: Aggregate | Ratio | Position | LineShare) -> str:
    if isinstance(declared, Ratio):
        return f"{declared.numerator} / {declared.denominator}"
    if isinstance(declared, LineShare):
        return f"{declared.column} / {'limit' if declared.by == 'limit' else 'days on book'}"
    return "position at the as-of time" if isinstance(declared, Position) else _aggregated(name, declared)


def _aggregated(name: str, declared: Aggregate) -> str:
    window = next(window for window in declared.windows if declared.column_name(window) == name)
    chosen = ", ".join([*declared.kinds, *filter(None, [declared.only])])
    rows = f"{declared.rows} rows ({chosen})" if chosen else f"{declared.rows} rows"
    value = f"{declared.column} of {rows}" if declared.column else rows
    how = declared.how.replace("_", " ")
    amount = f"{how} by {declared.layer}, {value}" if declared.per else f"{how} of {value}"
    return f"{amount}, {f'{window} days' if window else 'whole history'}"


def row_sets(features: FeatureSet) -> dict[str, str]:
    """Meaning of every set of rows that a feature set reads, by name."""
    used = {a.rows for a in features.aggregates}
    return {name: row_set.meaning for name, row_set in ROW_SETS.items() if name in used}
