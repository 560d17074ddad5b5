"""Inside behaviour: which group of features moved the limit, by Owen values on the limit itself.

The groups are the event sources and the attributes. Wherever behaviour takes its step, its groups take theirs in
every order (Owen, "Values of games with a priori unions", 1977). On the limit, not on the score: rules and steps
decide, and the group that moved the score most need not be the one that moved the limit.
"""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, IntArray
from limitlens.features.declarations import FeatureSet
from limitlens.limits.attribution import ORDERS, behaviour_contexts
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import in_contexts, rows_differ

ATTRIBUTES = "attributes"


def behaviour_groups(features: FeatureSet) -> tuple[str, ...]:
    """Names of the groups: the sources the set reads, then the attributes of the account."""
    return (*features.sources, ATTRIBUTES)


def mix(features: FeatureSet, old: pd.DataFrame, new: pd.DataFrame, moved: frozenset[str]) -> pd.DataFrame:
    """The old table with the columns of some groups taken from the new one, ratios computed afresh."""
    moving = [name for group in behaviour_groups(features) if group in moved for name in group_columns(features, group)]
    mixed = pd.concat([old.drop(columns=moving), new[moving].set_index(old.index)], axis=1)[list(old.columns)]
    return with_ratios(features, mixed)


def group_columns(features: FeatureSet, group: str) -> list[str]:
    """Columns that move with a group; ratios are no columns of their own, they follow those they divide."""
    if group == ATTRIBUTES:
        return ["segment", *(name for name, _ in features.attributes)]
    positions = [position.name for position in features.positions if position.source == group]
    return positions + [name for a in features.aggregates if a.source == group for name in a.column_names()]


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
    sets = {side.model.features.digest: side.model.features for side in sides}
    groups = tuple(dict.fromkeys(name for features in sets.values() for name in behaviour_groups(features)))
    size = len(groups)
    values = _mixes(sides, sets, groups, tables, states)
    phi = np.zeros((len(old_state), size), np.int64)
    for j, group in enumerate(groups):
        for moved, value in values.items():
            if group not in moved:
                weight = factorial(len(moved)) * factorial(size - len(moved) - 1)
                step = (values[moved | {group}] - value) * behaviour_contexts()
                phi[:, j] += weight * step.sum(axis=(1, 2, 3))
    return groups, phi, ORDERS * factorial(size)


def _mixes(
    sides: tuple[Iteration, Iteration],
    sets: Mapping[str, FeatureSet],
    groups: tuple[str, ...],
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    states: tuple[pd.DataFrame, pd.DataFrame],
) -> dict[frozenset[str], IntArray]:
    """Limits in each context, of shape (n, 2, 2, 2), for every set of groups that moved.

    A mix is decided only for the accounts of which every group in it differs; the others have that of a smaller set.
    """
    differs = {group: _group_differs(sets, group, tables) for group in groups}
    values: dict[frozenset[str], IntArray] = {}
    for moved in (frozenset(chosen) for k in range(len(groups) + 1) for chosen in combinations(groups, k)):
        value = np.empty((len(states[0]), 2, 2, 2), np.int64)
        for group in moved:
            value[~differs[group]] = values[moved - {group}][~differs[group]]
        rows = np.flatnonzero(np.all([np.ones(len(value), bool), *(differs[group] for group in moved)], axis=0))
        if len(rows):
            some = {
                digest: mix(features, tables[digest][0].iloc[rows], tables[digest][1].iloc[rows], moved)
                for digest, features in sets.items()
            }
            value[rows], _ = in_contexts(sides, some, (states[0].iloc[rows], states[1].iloc[rows]))
        values[moved] = value
    return values


def _group_differs(
    sets: Mapping[str, FeatureSet], group: str, tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
) -> BoolArray:
    """Of which accounts any column of a group moved between C0 and C1."""
    by_set = []
    for digest, features in sets.items():
        names = group_columns(features, group) if group in behaviour_groups(features) else []
        old, new = (table[names] for table in tables[digest])
        by_set.append(rows_differ(old, new))
    different: BoolArray = np.any(by_set, axis=0)
    return different
