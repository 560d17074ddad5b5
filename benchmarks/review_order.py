"""Which order of reviews spares most: `python -m benchmarks.review_order [--accounts 4000 --seeds 51 52 53 54 55]`.

Honest worlds, a model trained on the first twelve months, and the next six decided by the shipped policy. Of the cases
that wait at a month start a share is reviewed (`--capacity`), in each order and without rules first, by a reviewer who
is always right: a good customer whose case would end in a cut, a freeze or a closure is spared, and so is the credit it
would take. Lines whose label is not known count as reviews and as nothing else. The past does not react. Sums over the
worlds, with the interval of a Poisson bootstrap of accounts; of a random order the expectation.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.second_look import honest_past
from limitlens.limits.cases import asks
from limitlens.limits.policy import ADVERSE, ORDERS, Policy
from limitlens.limits.queue import review_queue
from limitlens.pipeline.deciding.point_in_time import rows_at
from limitlens.pipeline.release.simulate_policy import simulate

_DRAWS = 1_000


def cases_of(seed: int, accounts: int) -> tuple[pd.DataFrame, Policy]:
    """Cases that wait at month starts of one world: the line then, its label, and how the case ended."""
    with tempfile.TemporaryDirectory() as name:
        space, past = honest_past(Path(name), seed, accounts)
        policy = past.iteration.policy
        decided = simulate(past.iteration, past.planned, past.tables, space)
    rows = decided.sort_values(["account_id", "as_of"], ignore_index=True)
    rows["asks"] = asks(rows.rename(columns={"state.paused_at": "paused_at"}), policy)
    rows["case"] = (~rows["asks"]).cumsum()  # what follows the same decision that does not ask
    ends = rows[~rows["asks"]].assign(case=lambda them: them["case"] - 1).set_index("case")
    ends = ends.reindex(rows["case"]).reset_index(drop=True)
    same = ends["account_id"] == rows["account_id"]
    rows["hit"] = same & ends["action"].isin(ADVERSE)
    rows["after_cents"] = ends["limit_cents"].where(ends["action"] == "decrease", 0.0)
    at_start = (rows["as_of"].dt.day == 1) & (rows["as_of"] == rows["as_of"].dt.normalize())
    waiting = rows[rows["asks"] & at_start].reset_index(drop=True)
    table = past.tables[past.iteration.model.features.digest]
    features = rows_at(table, waiting["account_id"], waiting["as_of"], waiting["as_of"])
    waiting["segment"], waiting["balance_cents"] = features["segment"], features["balance_cents"]
    undrawn = np.maximum(waiting["limit_cents"] - waiting["balance_cents"], 0)
    taken = np.minimum(waiting["limit_cents"] - waiting["after_cents"], undrawn).where(waiting["hit"], 0.0)
    label = past.bad.reindex(waiting["account_id"]).to_numpy(object)
    counted = waiting.assign(good=label == False, bad=label == True, taken=taken, world=seed, jumped_with="")  # noqa: E712 - null is neither
    hit = int((counted["good"] & counted["hit"]).sum())
    print(f"world {seed}: {len(counted):,} cases, {hit:,} of good customers who are hit", file=sys.stderr, flush=True)
    return counted, policy


def reviewed(cases: pd.DataFrame, policy: Policy, order: str, capacity: float) -> pd.Series:
    """Whether each case is reviewed, or the chance of it: of each date of each world the first share."""
    if order == "random":
        return pd.Series(capacity, cases.index)
    rules = replace(policy.reviews, order=order, rules_first=False)
    chosen = pd.Series(0.0, cases.index)
    for _, date in cases.groupby(["world", "as_of"]):
        place = review_queue(date, replace(policy, reviews=rules))["place"]
        chosen[date.index] = np.clip(capacity * len(date) - place + 1, 0, 1)  # the last one in part
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[51, 52, 53, 54, 55])
    parser.add_argument("--capacity", type=float, default=0.2)
    chosen = parser.parse_args(arguments)
    worlds = [cases_of(seed, chosen.accounts) for seed in chosen.seeds]
    cases, policy = pd.concat([one for one, _ in worlds], ignore_index=True), worlds[0][1]
    accounts = cases.groupby(["world", "account_id"]).ngroup().to_numpy()
    weights = np.random.default_rng(1).poisson(1.0, (_DRAWS, accounts.max() + 1))[:, accounts]
    spared = (cases["good"] & cases["hit"]).to_numpy(float)
    print(
        f"{len(cases):,} cases, {int(spared.sum()):,} of good customers who are hit, {chosen.capacity:.0%} reviewed\n"
    )
    print("| order | reviews | good spared per 100 | of the good hit | credit spared them | bad ones seen |")
    print("|---|---|---|---|---|---|")
    for order in ("random", *ORDERS):
        looked = reviewed(cases, policy, order, chosen.capacity).to_numpy()
        per_100 = 100 * (looked * spared).sum() / looked.sum()
        drawn = 100 * (weights @ (looked * spared)) / (weights @ looked)
        low, high = np.percentile(drawn, [2.5, 97.5])
        share, credit = (looked * spared).sum() / spared.sum(), (looked * spared * cases["taken"]).sum() / 100
        bad = (looked * cases["bad"]).sum()
        rate = f"{per_100:.1f} [{low:.1f}, {high:.1f}]"
        print(f"| `{order}` | {looked.sum():,.0f} | {rate} | {share:.1%} | {credit:,.0f} | {bad:,.0f} |")


if __name__ == "__main__":
    main()
