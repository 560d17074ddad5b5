"""The lattice of one change: what would have been decided with each mix of old and new data, model, policy, state."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.extensions import ExtensionArray
from pandas.arrays import NumpyExtensionArray

from limitlens.data.arrays import BoolArray, IntArray
from limitlens.data.errors import IntegrityError
from limitlens.limits.attribution import LATTICE
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS

#: Data states in the order of the chain.
CHAIN = ("O0", "C0", "C1", "O1")


#: Each state that is decided for every account, and the one that is decided again only where it differs.
_NEAR = {"O0": "C0", "O1": "C1"}


@dataclass(frozen=True)
class Lattice:
    """What would be decided for n accounts at every point.

    Parameters
    ----------
    limit_cents : int64 array of shape (n, 4, 2, 2, 2)
    action : int8 array of shape (n, 4, 2, 2, 2)
        Places in :data:`limitlens.limits.policy.ACTIONS`, which stand in the order of severity.
    """

    limit_cents: IntArray
    action: npt.NDArray[np.int8]

    @property
    def outcome(self) -> IntArray:
        """Codes of the shape of the limits; equal codes mean equal (action, limit)."""
        return self.limit_cents * len(ACTIONS) + self.action


def evaluate(
    old: Iteration,
    new: Iteration,
    tables: Mapping[tuple[str, str], pd.DataFrame],
    old_state: pd.DataFrame,
    new_state: pd.DataFrame,
) -> Lattice:
    """Decide n accounts at all 32 points of the lattice.

    Few records come late: C0 is decided where it differs from O0, and C1 where it differs from O1.

    Parameters
    ----------
    old, new : Iteration
        In force at t0 and at t1.
    tables : mapping of (data state, feature set digest) to DataFrame of n rows
        O0, C0, C1, O1 for the feature set of each iteration; the same object may stand for equal states.
    old_state, new_state : DataFrame of n rows
        State of the line before the decision at t0 and before the one at t1.

    Returns
    -------
    Lattice
    """
    sides, states = (old, new), (old_state, new_state)
    digests = {side.model.features.digest for side in sides}
    limit = np.empty((len(old_state), *LATTICE), np.int64)
    action = np.empty(limit.shape, np.int8)
    for whole, near in _NEAR.items():
        d, e = CHAIN.index(whole), CHAIN.index(near)
        limit[:, d], action[:, d] = in_contexts(sides, {digest: tables[whole, digest] for digest in digests}, states)
        limit[:, e], action[:, e] = limit[:, d], action[:, d]
        rows = np.flatnonzero(
            np.any([rows_differ(tables[whole, digest], tables[near, digest]) for digest in digests], axis=0)
        )
        if len(rows):
            some = {digest: tables[near, digest].iloc[rows] for digest in digests}
            limit[rows, e], action[rows, e] = in_contexts(sides, some, (old_state.iloc[rows], new_state.iloc[rows]))
    return Lattice(limit, action)


def in_contexts(
    sides: tuple[Iteration, Iteration], tables: Mapping[str, pd.DataFrame], states: tuple[pd.DataFrame, pd.DataFrame]
) -> tuple[IntArray, npt.NDArray[np.int8]]:
    """Decide one data state of n accounts with each mix of old and new model, policy and state.

    Parameters
    ----------
    sides : (Iteration, Iteration)
        Old and new.
    tables : mapping of feature set digest to DataFrame of n rows
    states : (DataFrame, DataFrame)
        Old and new, n rows each.

    Returns
    -------
    (int64 array, int8 array)
        Limits in cents and places in :data:`limitlens.limits.policy.ACTIONS`, of shape (n, 2, 2, 2).
    """
    limit = np.empty((len(states[0]), *LATTICE[1:]), np.int64)
    action = np.empty(limit.shape, np.int8)
    same_model = sides[0].model.digest == sides[1].model.digest
    same_policy = sides[0].policy.digest == sides[1].policy.digest
    same_rules = same_policy and sides[0].model.features.digest == sides[1].model.features.digest
    for m, s in product((0, 1), (0, 1)):
        if m and same_model:
            limit[:, m, :, s], action[:, m, :, s] = limit[:, 0, :, s], action[:, 0, :, s]
            continue
        pd_ = sides[m].score(tables[sides[m].model.features.digest], states[s])
        for p in (0, 1):
            if p and same_rules:
                limit[:, m, p, s], action[:, m, p, s] = limit[:, m, 0, s], action[:, m, 0, s]
                continue
            decided = sides[p].rules(tables[sides[p].model.features.digest], pd_, states[s])
            limit[:, m, p, s] = decided["limit_cents"]
            action[:, m, p, s] = pd.Categorical(decided["action"], categories=list(ACTIONS)).codes
    return limit, action


def rows_differ(table: pd.DataFrame, other: pd.DataFrame) -> BoolArray:
    """Where two tables of the same accounts and as-of times differ in what a decision reads.

    Parameters
    ----------
    table, other : DataFrame of n rows
        With the same columns; ``known_by`` may differ, and two missing values are equal.

    Returns
    -------
    bool array of shape (n,)

    Examples
    --------
    >>> one = pd.DataFrame({"known_by": 1, "draws": [2.0, np.nan, 3.0, np.nan, 3.0]})
    >>> other = pd.DataFrame({"known_by": 2, "draws": [2.0, np.nan, 4.0, 4.0, np.nan]})
    >>> rows_differ(one, other).tolist()
    [False, False, True, True, True]
    """
    differs = np.zeros(len(table), bool)
    if table is other:
        return differs
    for name in table.columns.drop("known_by", errors="ignore"):
        a, b = table[name].array, other[name].array
        if _same_memory(a, b):
            continue
        differs |= np.asarray(~((a == b) | (pd.isna(a) & pd.isna(b))), bool)
    return differs


def _same_memory(a: ExtensionArray, b: ExtensionArray) -> bool:
    """Whether two columns are views of the same numbers, as of a table and a copy with some other columns."""
    if not isinstance(a, NumpyExtensionArray) or not isinstance(b, NumpyExtensionArray):
        return False
    one, other = (column.to_numpy().__array_interface__ for column in (a, b))
    return one == other


def check_recorded(lattice: Lattice, account_ids: pd.Series, recorded_old: IntArray, recorded_new: IntArray) -> None:
    """Refuse a lattice whose ends are not what the ledger recorded.

    Raises
    ------
    IntegrityError
        Names the first account whose old or new limit cannot be reproduced.
    """
    ends = ((lattice.limit_cents[:, 0, 0, 0, 0], recorded_old), (lattice.limit_cents[:, 3, 1, 1, 1], recorded_new))
    for when, (replayed, recorded) in zip(("old", "new"), ends, strict=True):
        wrong = np.flatnonzero(replayed != recorded)
        if len(wrong):
            first = wrong[0]
            raise IntegrityError(
                f"account {account_ids.iloc[first]}: the {when} limit is recorded as {recorded[first]} cents, but "
                f"replays as {replayed[first]}; {len(wrong)} of {len(replayed)} entries refused."
            )
