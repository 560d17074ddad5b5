"""The true causes of every limit change: the decision is made again in worlds in which a cause never was.

Nothing here uses the attribution, its lattice or its data states. A cause is taken out where it arises: behaviour by
letting every customer repeat the month before the first decision, data by never running the operators of the feed,
model and policy by not releasing them, state by deciding again with the state before the first decision; and a planted
cause (a burst, a takeover, a late batch) by simulating the same world without it.

`python -m benchmarks.truth OUT [--accounts N] [--seed S]` writes one row for each limit change and cause.
"""

import argparse
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.proving import (
    FINAL,
    T0,
    T1,
    Decided,
    Ground,
    Iterations,
    decide_mixed,
    decide_twice,
    features_at,
    repeated_store,
    train_both,
)
from limitlens.data.arrays import BoolArray, IntArray
from limitlens.data.contracts import FEEDS
from limitlens.data.world.settings import CAUSES, PlannedFault, WorldSettings
from limitlens.features.spine import book
from limitlens.limits.state import next_state, state_at

PLAYERS = ("behaviour", "data", "model", "policy", "state")


@dataclass(frozen=True)
class Truth:
    """True causes of n changes, among the players or among the sources of what the customer did.

    Parameters
    ----------
    without, alone : DataFrame of int64, shape (n, causes)
        The change in cents had the cause not been there; and had no other been there.
    change : int64 array of shape (n,)
        What did change, in cents.
    """

    without: pd.DataFrame
    alone: pd.DataFrame
    change: IntArray

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
        for player in self.without.columns:
            others = [name for name in self.without.columns if name != player]
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

    def limit(table: pd.DataFrame, m: BoolArray, p: BoolArray, state: pd.DataFrame) -> IntArray:
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


def true_groups(ground: Ground, iterations: Iterations, decided: Decided) -> Truth:
    """Which source of events it was that the customer changed: each repeats the month before, and each alone does not.

    Accounts have one version in the world, so the attributes are never a cause. The whole book lives in every world:
    some features look at other accounts.
    """
    accounts, model, policy = decided.accounts, decided.model, decided.policy
    old, everyone = np.zeros(len(accounts), bool), book([T1], ground.clean.relations())["account_id"]
    start = decide_mixed(iterations, features_at(ground.clean, accounts, T0, FINAL), old, old, decided.state0)[0]
    without, alone = {}, {}
    for source in FEEDS:
        others = [name for name in FEEDS if name != source]
        still = features_at(repeated_store(ground, everyone, [source]), accounts, T1, T1)
        moved = features_at(repeated_store(ground, everyone, others, struck=False), accounts, T1, FINAL)
        without[source] = decide_mixed(iterations, still, model, policy, decided.state1)[0] - decided.limit0
        alone[source] = decide_mixed(iterations, moved, old, old, decided.state0)[0] - start
    return Truth(pd.DataFrame(without), pd.DataFrame(alone), decided.limit1 - decided.limit0)


def _state_after(iterations: Iterations, table: pd.DataFrame, old: BoolArray, state: pd.DataFrame) -> pd.DataFrame:
    """State before the second decision, had the first been made on these features."""
    decided = decide_mixed(iterations, table, old, old, state)[1]
    at0 = pd.Series(pd.Timestamp(T0), state.index).dt.as_unit("us")
    at1 = pd.Series(pd.Timestamp(T1), state.index).dt.as_unit("us")
    return state_at(next_state(state, decided, at0), at1)


def planted_causes(
    ground: Ground, iterations: Iterations, decided: Decided, *, causes: Collection[str] | None = None
) -> pd.DataFrame:
    """Which planted causes, and which faults of the feed, were necessary or sufficient for each change.

    Necessary: the same world without it, decided twice again, has no change. Sufficient: the world in which nothing
    else strikes (ordinary life goes on), under the old model, policy and state, has the same change.

    Parameters
    ----------
    causes : collection of str, optional
        Only these; default: all that struck.

    Returns
    -------
    DataFrame with ``account_id, cause, necessary, sufficient``
        One row for each change and each cause that struck the account within 90 days before the second decision.
    """
    struck = _struck(ground)
    struck = struck[struck["account_id"].isin(decided.accounts) & struck["cause"].isin(causes or struck["cause"])]
    parts = [_tried(ground, iterations, decided, str(cause), rows) for cause, rows in struck.groupby("cause")]
    return pd.concat(parts, ignore_index=True)


def _struck(ground: Ground) -> pd.DataFrame:
    """Accounts by planted cause: ``account_id, cause``."""
    truth = ground.folder / f"delivered-{ground.recall}" / "events" / "truth"
    episodes = pd.read_parquet(truth / "episodes.parquet")
    recent = episodes[(episodes["begins"] < T1) & (episodes["ends"] >= T1 - timedelta(days=90))]
    touched = pd.read_parquet(truth / "faults")
    touched = touched[touched["known_time"].between(T1 - timedelta(days=90), T1)].rename(columns={"fault": "cause"})
    swings = {fault.name for fault in ground.world.faults if fault.before_months}
    both = pd.concat([recent, touched[touched["cause"].isin(swings)]])
    return both[["account_id", "cause"]].drop_duplicates()


def _tried(ground: Ground, iterations: Iterations, decided: Decided, cause: str, struck: pd.DataFrame) -> pd.DataFrame:
    mine = decided.rows(decided.accounts.isin(struck["account_id"]).to_numpy())
    number = mine.accounts.str.slice(1).astype(int).to_numpy() - 1
    every = frozenset(CAUSES)
    worlds = {
        "without": (_faults(ground.world, lambda fault: fault.name != cause), every & {cause}),
        "alone": (_faults(ground.world, lambda fault: fault.name == cause), every - {cause}),
    }
    found = {}
    for name, (world, without) in worlds.items():
        store = ground.store(f"{name}-{cause}", world, accounts=number, without=without)
        x0, x1 = (features_at(store, mine.accounts, when, when) for when in (T0, T1))
        old = np.zeros(len(number), bool)
        before = decide_mixed(iterations, x0, old, old, mine.state0)[0]
        if name == "without":
            state1 = _state_after(iterations, x0, old, mine.state0)
            after = decide_mixed(iterations, x1, mine.model, mine.policy, state1)[0]
        else:
            after = decide_mixed(iterations, x1, old, old, mine.state0)[0]
        found[name] = after - before
    change = mine.limit1 - mine.limit0
    return pd.DataFrame(
        {
            "account_id": mine.accounts,
            "cause": cause,
            "necessary": found["without"] == 0,
            "sufficient": found["alone"] == change,
        }
    )


def _faults(world: WorldSettings, strikes: Callable[[PlannedFault], bool]) -> WorldSettings:
    """The world in which only some faults strike; the others keep their place, and with it their luck."""
    return replace(world, faults=tuple(f if strikes(f) else replace(f, share=0.0) for f in world.faults))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="Parquet file")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(given.seed, given.accounts, Path(folder))
        iterations = train_both(ground)
        decided = decide_twice(ground, iterations, print)
        decided = decided.rows(decided.limit0 != decided.limit1)
        truth = true_causes(ground, iterations, decided)
        players = [
            pd.DataFrame(
                {
                    "account_id": decided.accounts,
                    "cause": player,
                    "necessary": truth.necessary[player],
                    "sufficient": truth.sufficient[player],
                }
            )
            for player in PLAYERS
        ]
        found = pd.concat([*players, planted_causes(ground, iterations, decided)], ignore_index=True)
    found.sort_values(["account_id", "cause"]).to_parquet(given.out, index=False)
    counts = found.groupby("cause", sort=False)[["necessary", "sufficient"]].agg(["size", "sum"])
    counts = counts.droplevel(0, axis=1).iloc[:, [0, 1, 3]].set_axis(["changes", "necessary", "sufficient"], axis=1)
    print(f"{len(decided.accounts):,} changes of {given.accounts:,} lines, seed {given.seed}")
    print(counts.to_string())


if __name__ == "__main__":
    main()
