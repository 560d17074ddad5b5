"""The lattice of one change: what would have been decided with each mix of old and new data, model, policy, state."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.errors import IntegrityError
from limitlens.limits.attribution import LATTICE
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ACTIONS

IntArray = npt.NDArray[np.int64]

#: Data states in the order of the chain.
CHAIN = ("O0", "C0", "C1", "O1")


@dataclass(frozen=True)
class Lattice:
    """Limits and outcomes of n accounts at every point.

    Parameters
    ----------
    limit_cents : int64 array of shape (n, 4, 2, 2, 2)
    outcome : int64 array of shape (n, 4, 2, 2, 2)
        Equal codes mean equal (action, limit).
    """

    limit_cents: IntArray
    outcome: IntArray


def evaluate(
    old: Iteration,
    new: Iteration,
    tables: Mapping[tuple[str, str], pd.DataFrame],
    old_state: pd.DataFrame,
    new_state: pd.DataFrame,
) -> Lattice:
    """Decide n accounts at all 32 points of the lattice.

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
    scores: dict[tuple[int, tuple[str, bool], int], npt.NDArray[np.float64]] = {}
    decided: dict[tuple[int, int, tuple[str, bool], str, int], tuple[IntArray, IntArray]] = {}
    limit = np.empty((len(old_state), *LATTICE), np.int64)
    outcome = np.empty_like(limit)
    for d, m, p, s in product(range(4), (0, 1), (0, 1), (0, 1)):
        read = tables[CHAIN[d], sides[m].model.features.digest]
        ruled = tables[CHAIN[d], sides[p].model.features.digest]
        model = (sides[m].model.digest, sides[m].backtest)
        scored = (id(read), model, s)
        if scored not in scores:
            scores[scored] = sides[m].score(read, states[s])
        point = (id(read), id(ruled), model, sides[p].policy.digest, s)
        if point not in decided:
            decided[point] = _limit_and_outcome(sides[p].rules(ruled, scores[scored], states[s]))
        limit[:, d, m, p, s], outcome[:, d, m, p, s] = decided[point]
    return Lattice(limit, outcome)


def _limit_and_outcome(decisions: pd.DataFrame) -> tuple[IntArray, IntArray]:
    limit = decisions["limit_cents"].to_numpy(np.int64)
    action = pd.Categorical(decisions["action"], categories=list(ACTIONS)).codes
    return limit, limit * len(ACTIONS) + action


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
