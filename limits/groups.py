"""Inside behaviour: which group of features moved the limit, by Owen values on the limit itself.

The groups are the event sources and the attributes. Wherever behaviour takes its step, its groups take theirs in
every order (Owen, "Values of games with a priori unions", 1977). On the limit, not on the score: rules and steps
decide, and the group that moved the score most need not be the one that moved the limit.
"""

from collections.abc import Mapping
from itertools import combinations, product
from math import factorial

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.features.declarations import FeatureSet
from limitlens.limits.attribution import ORDERS, behaviour_contexts
from limitlens.limits.iteration import Iteration

IntArray = npt.NDArray[np.int64]

ATTRIBUTES = "attributes"


def behaviour_groups(features: FeatureSet) -> tuple[str, ...]:
    """Names of the groups: the sources the set reads, then the attributes of the account."""
    return (*features.sources, ATTRIBUTES)


def mix(features: FeatureSet, old: pd.DataFrame, new: pd.DataFrame, moved: frozenset[str]) -> pd.DataFrame:
    """The old table with the columns of some groups taken from the new one, ratios computed afresh."""
    moving: list[str] = [position.name for position in features.positions if position.source in moved]
    moving += [name for a in features.aggregates if a.source in moved for name in a.column_names()]
    if ATTRIBUTES in moved:
        moving += ["segment", *(name for name, _ in features.attributes)]
    mixed = pd.concat([old.drop(columns=moving), new[moving].set_index(old.index)], axis=1)[list(old.columns)]
    return with_ratios(features, mixed)


def with_ratios(features: FeatureSet, table: pd.DataFrame) -> pd.DataFrame:
    """The table with its ratios computed afresh from the columns they divide."""
    ratios = {}
    for ratio in features.ratios:
        divisor = table[ratio.denominator].astype(np.float64)
        ratios[ratio.name] = table[ratio.numerator].astype(np.float64) / divisor.where(divisor != 0)
    return table.assign(**ratios)


def split_behaviour(
    old: Iteration,
    new: Iteration,
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    old_state: pd.DataFrame,
    new_state: pd.DataFrame,
) -> tuple[tuple[str, ...], IntArray, int]:
    """Split the behaviour share of n accounts among the groups.

    Parameters
    ----------
    old, new : Iteration
    tables : mapping of feature set digest to (DataFrame, DataFrame)
        C0 and C1 for the feature set of each iteration, n rows each.
    old_state, new_state : DataFrame of n rows

    Returns
    -------
    groups : tuple of str
    phi : int64 array of shape (n, groups)
        Rows sum to ``unit`` / 120 times the behaviour share of :func:`limitlens.limits.attribution.attribute`.
    unit : int
        Shares are in 1/unit cents.
    """
    sides, states = (old, new), (old_state, new_state)
    sets = {side.model.features for side in sides}
    groups = tuple(dict.fromkeys(name for side in sides for name in behaviour_groups(side.model.features)))
    size = len(groups)
    values: dict[frozenset[str], IntArray] = {}
    for moved in (frozenset(chosen) for k in range(size + 1) for chosen in combinations(groups, k)):
        mixed = {features.digest: mix(features, *tables[features.digest], moved) for features in sets}
        values[moved] = _contexts(sides, mixed, states)
    phi = np.zeros((len(old_state), size), np.int64)
    for j, group in enumerate(groups):
        for moved, value in values.items():
            if group not in moved:
                weight = factorial(len(moved)) * factorial(size - len(moved) - 1)
                step = (values[moved | {group}] - value) * behaviour_contexts()
                phi[:, j] += weight * step.sum(axis=(1, 2, 3))
    return groups, phi, ORDERS * factorial(size)


def _contexts(
    sides: tuple[Iteration, Iteration], mixed: Mapping[str, pd.DataFrame], states: tuple[pd.DataFrame, pd.DataFrame]
) -> IntArray:
    """Limits of one mix of old and new behaviour under each (model, policy, state): shape (n, 2, 2, 2)."""
    limits = np.empty((len(states[0]), 2, 2, 2), np.int64)
    for m, s in product((0, 1), (0, 1)):
        pd_ = sides[m].score(mixed[sides[m].model.features.digest], states[s])
        for p in (0, 1):
            ruled = mixed[sides[p].model.features.digest]
            limits[:, m, p, s] = sides[p].rules(ruled, pd_, states[s])["limit_cents"]
    return limits
