"""Archetypes: recognisable groups of flagged lines that were good, or bad, more often than the others, in words.

A shallow tree finds the groups on half of the accounts, and they are measured on the other half: what chance made
look like a group in the one is none in the other.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.limits.rates import CONFIDENCE, Rate
from limitlens.models.inputs import account_numbers, fold_of

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

#: Of the tree: questions in a row, and lines in a leaf at least.
_DEPTH = 3
LEAF_LINES = 30


@dataclass(frozen=True)
class Archetype:
    """A leaf of the tree: what its lines have in common, and how many of those it was not made from were good.

    ``bounds``: of each column between which values its lines are, the lower one left out, and whether one that is
    missing belongs to it.
    """

    words: str
    good: Rate
    bounds: Mapping[str, tuple[float, float, bool]]

    def holds(self, inputs: pd.DataFrame) -> BoolArray:
        """Which lines belong to it, by what is known of them; columns as :func:`find_archetypes` took them."""
        numbers, among = _numbers(inputs), np.ones(len(inputs), bool)
        for name, (low, high, may_miss) in self.bounds.items():
            values = numbers[name].to_numpy(np.float32).astype(np.float64)  # as the tree compares
            among &= np.where(np.isnan(values), may_miss, (values > low) & (values <= high))
        return among

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {"words": self.words, **asdict(self.good), "interval": list(self.good.interval)}


@dataclass(frozen=True)
class Archetypes:
    """What was found.

    Parameters
    ----------
    good : Rate
        Good ones of all flagged lines on the half that measures.
    asked : int
        Leaves of the tree.
    significant : tuple of Archetype
        Those whose interval excludes the share of all, and by more than chance among so many leaves; good ones first.
    """

    good: Rate
    asked: int
    significant: tuple[Archetype, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        good = asdict(self.good) | {"interval": list(self.good.interval)}
        return {"good": good, "asked": self.asked, "told": [one.to_dict() for one in self.significant]}


def find_archetypes(inputs: pd.DataFrame, account_id: pd.Series, bad: BoolArray) -> Archetypes:
    """Find groups of flagged lines that were good more, or less, often than the others.

    Parameters
    ----------
    inputs : DataFrame of shape (n, columns)
        What is known of the flagged lines: numbers, where a missing one is NaN, and texts.
    account_id : Series of n str
        Its hash says which half an account is in.
    bad : bool array of shape (n,)
        Matured outcomes.

    Examples
    --------
    >>> inputs = pd.DataFrame({"age_days": np.arange(400) % 100, "segment": ["student", "salaried"] * 200})
    >>> bad = (inputs["age_days"] >= 40).to_numpy()
    >>> groups = find_archetypes(inputs, pd.Series([f"A{k}" for k in range(400)]), bad)
    >>> [(one.words, one.good.share) for one in groups.significant]
    [('age_days < 40', 1.0), ('age_days ≥ 40', 0.0)]
    """
    from scipy.stats import binomtest, false_discovery_control  # noqa: PLC0415 - slow to import; a report reads only words
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    numbers = _numbers(inputs)
    judging = fold_of(account_numbers(account_id), 2, 0) == 0
    good, half = Rate(int((~bad[judging]).sum()), int(judging.sum())), ~judging
    if half.sum() < 2 * LEAF_LINES or len(set(bad[half])) < 2:
        return Archetypes(good, 0, ())
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=LEAF_LINES, random_state=0)
    tree.fit(numbers[half].to_numpy(), bad[half])
    leaf = tree.apply(numbers[judging].to_numpy())
    leaves = _leaves(tree, numbers)
    rates = {place: Rate(int((~bad[judging])[leaf == place].sum()), int((leaf == place).sum())) for place in leaves}
    p = [binomtest(one.count, one.of, good.share).pvalue if one.of else 1.0 for one in rates.values()]
    significant = [
        Archetype(_words(numbers, leaves[place]), rate, leaves[place])
        for (place, rate), adjusted in zip(rates.items(), false_discovery_control(p), strict=True)
        if adjusted <= 1 - CONFIDENCE and not rate.interval[0] <= good.share <= rate.interval[1]
    ]
    return Archetypes(good, len(leaves), tuple(sorted(significant, key=lambda one: -one.good.share)))


def _numbers(inputs: pd.DataFrame) -> pd.DataFrame:
    """Texts as one column a value, of 1 and 0, named ``column = value``."""
    texts = [name for name in inputs if not pd.api.types.is_numeric_dtype(inputs[name])]
    columns = {str(name): inputs[name].astype(np.float64) for name in inputs if name not in texts}
    for name in texts:
        values = sorted(inputs[name].dropna().astype(str).unique())
        columns |= {f"{name} = {value}": (inputs[name] == value).astype(np.float64) for value in values}
    return pd.DataFrame(columns)


def _leaves(tree: "DecisionTreeClassifier", numbers: pd.DataFrame) -> dict[int, dict[str, tuple[float, float, bool]]]:
    """Bounds of each leaf, by the number of the leaf."""
    grown, bounds = tree.tree_, {}
    waiting: list[tuple[int, dict[str, tuple[float, float, bool]]]] = [(0, {})]
    while waiting:
        node, path = waiting.pop()
        if grown.children_left[node] == -1:
            bounds[node] = path
            continue
        name = str(numbers.columns[grown.feature[node]])
        cut, missing = float(grown.threshold[node]), bool(grown.missing_go_to_left[node])
        low, high, may_miss = path.get(name, (-np.inf, np.inf, True))
        right = (max(low, cut), high, may_miss and not missing)
        waiting.append((int(grown.children_right[node]), path | {name: right}))
        waiting.append((int(grown.children_left[node]), path | {name: (low, min(high, cut), may_miss and missing)}))
    return bounds


def _words(numbers: pd.DataFrame, bounds: Mapping[str, tuple[float, float, bool]]) -> str:
    """What the lines of a leaf have in common."""
    return " and ".join(_bounds(numbers[name], *ends) for name, ends in bounds.items()) or "all"


def _bounds(values: pd.Series, low: float, high: float, may_miss: bool) -> str:
    """One column between two cuts, as a person would say it: above ``low``, at most ``high``."""
    name = str(values.name)
    if " = " in name:
        return name if low > 0 else name.replace(" = ", " is not ", 1)
    whole = bool((values.dropna() % 1 == 0).all())
    ends = [f"≥ {np.floor(low) + 1:,.0f}" if whole else f"> {low:,.4g}"] if np.isfinite(low) else []
    ends += [f"< {np.floor(high) + 1:,.0f}" if whole else f"≤ {high:,.4g}"] if np.isfinite(high) else []
    return f"{name} {' and '.join(ends)}{' or not known' if may_miss and values.isna().any() else ''}"
