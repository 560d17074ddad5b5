"""The true causes of every limit change: the decision is made again in worlds in which a cause never was.

Nothing here uses the attribution, its lattice or its data states. A cause is taken out where it arises: behaviour by
letting every customer repeat the month before the first decision, data by never running the operators of the feed,
model and policy by not releasing them, state by deciding again with the state before the first decision; and a planted
cause (a burst, a takeover, a late batch) by simulating the same world without it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.proving import (
    FINAL,
    T0,
    T1,
    Decided,
    Ground,
    Iterations,
    decide_mixed,
    features_at,
    repeated_store,
)
from limitlens.limits.state import next_state, state_at

PLAYERS = ("behaviour", "data", "model", "policy", "state")

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """True causes of n changes.

    Parameters
    ----------
    without, alone : DataFrame of int64, shape (n, 5)
        The change in cents had the cause not been there; and had no other been there.
    change : int64 array of shape (n,)
        What did change, in cents.
    """

    without: pd.DataFrame
    alone: pd.DataFrame
    change: Ints

    @property
    def necessary(self) -> pd.DataFrame:
        """Without the cause there would have been no change."""
        return self.without == 0

    @property
    def sufficient(self) -> pd.DataFrame:
        """The cause alone makes the same change."""
        return self.alone.eq(self.change, axis=0)

    @property
    def single(self) -> pd.Series:
        """Name of the one cause of each change, null where there are several or none.

        It is necessary and sufficient; no other cause alone would have done anything, and taking any other away
        changes nothing.
        """
        found = pd.Series(None, self.without.index, dtype=object)
        for player in PLAYERS:
            others = [name for name in PLAYERS if name != player]
            idle = (self.alone[others] == 0).all(axis=1) & self.without[others].eq(self.change, axis=0).all(axis=1)
            found[self.necessary[player] & self.sufficient[player] & idle] = player
        return found


def true_causes(ground: Ground, iterations: Iterations, decided: Decided) -> Truth:
    """Take each of the five players out, and leave each alone."""
    accounts, model, policy = decided.accounts, decided.model, decided.policy
    old = np.zeros(len(accounts), bool)
    clean0 = features_at(ground.clean, accounts, T0, FINAL)
    clean1 = features_at(ground.clean, accounts, T1, FINAL)
    repeated = features_at(repeated_store(ground, accounts), accounts, T1, T1)
    s0, s1 = decided.state0, decided.state1

    def limit(table: pd.DataFrame, m: Bools, p: Bools, state: pd.DataFrame) -> Ints:
        return decide_mixed(iterations, table, m, p, state)[0]

    start, change = limit(clean0, old, old, s0), decided.limit1 - decided.limit0
    never_faulty = _state_after(iterations, clean0, old, s0)
    without = {
        "behaviour": limit(repeated, model, policy, s1) - decided.limit0,
        "data": limit(clean1, model, policy, never_faulty) - start,
        "model": limit(decided.x1, old, policy, s1) - decided.limit0,
        "policy": limit(decided.x1, model, old, s1) - decided.limit0,
        "state": limit(decided.x1, model, policy, s0) - decided.limit0,
    }
    alone = {
        "behaviour": limit(clean1, old, old, s0) - start,
        "data": limit(repeated, old, old, s0) - decided.limit0,
        "model": limit(clean0, model, old, s0) - start,
        "policy": limit(clean0, old, policy, s0) - start,
        "state": limit(clean0, old, old, s1) - start,
    }
    return Truth(pd.DataFrame(without), pd.DataFrame(alone), change)


def _state_after(iterations: Iterations, table: pd.DataFrame, old: Bools, state: pd.DataFrame) -> pd.DataFrame:
    """State before the second decision, had the first been made on these features."""
    decided = decide_mixed(iterations, table, old, old, state)[1]
    at0 = pd.Series(pd.Timestamp(T0), state.index).dt.as_unit("us")
    at1 = pd.Series(pd.Timestamp(T1), state.index).dt.as_unit("us")
    return state_at(next_state(state, decided, at0), at1)
