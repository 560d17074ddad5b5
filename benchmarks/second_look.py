"""What a second look spares: `python -m benchmarks.second_look [--accounts 4000 --seeds 21 22 23 24 25 --days 2 5 10]`.

Honest worlds, a model trained on the first twelve months, and the next six decided by the shipped policy: without a
second look at several cut-offs, and with one after some days. The past does not react: customers do what they did
without decisions. Good lines hit and bad ones caught before they are 30 days late; at equal bads caught the hits of
the policy without a second look are those between its two nearest cut-offs.
Intervals are of a bootstrap of lines within each world.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.world import START, simulate
from limitlens.data.world.settings import named_world
from limitlens.limits.outcome import judged_lines
from limitlens.limits.policy import Policy, SecondLook, shifted
from limitlens.limits.policy_file import at_once
from limitlens.pipeline import Workspace, default_policy, default_settings, promote, train
from limitlens.pipeline.release.mend import SHIFTS, at_equal_bads, bootstrap
from limitlens.pipeline.release.promote import Override
from limitlens.pipeline.release.simulate_policy import Past, past_of
from limitlens.pipeline.release.simulate_policy import simulate as simulate_past

MONTHS, TRAINED = 18, 12
SINCE, UNTIL = add_months(START, TRAINED), add_months(START, MONTHS)


def policies(days: Sequence[int]) -> dict[str, Policy]:
    """The shipped policy at each cut-off, and with each second look."""
    base, shipped = at_once(default_policy()), default_policy().second_look
    soft = shipped.soft_rules if shipped else ()
    looks = {f"second look after {n} days": replace(base, second_look=SecondLook(n, soft)) for n in days}
    return {f"cut-offs {shift:+.2f}": shifted(base, shift) if shift else base for shift in SHIFTS} | looks


def honest_past(folder: Path, seed: int, accounts: int) -> tuple[Workspace, Past]:
    """The workspace of a world with a model of its first twelve months, and its next six, to be decided."""
    simulate(folder / "world", accounts=accounts, months=MONTHS, seed=seed, world=named_world("honest"), futures=0)
    space = Workspace(folder / "work")
    check_events(folder / "world", space.events)
    train(space, default_settings(), default_policy(), developer="developer", until=SINCE)
    promote(space, None, UNTIL, override=Override("head of credit risk", "a benchmark"))
    return space, past_of(space, since=SINCE)


def lines_of(seed: int, accounts: int, days: Sequence[int]) -> dict[str, pd.DataFrame]:
    """What each policy did to each line of one world."""
    with tempfile.TemporaryDirectory() as name:
        space, past = honest_past(Path(name), seed, accounts)
        found = {}
        for what, policy in policies(days).items():
            decided = simulate_past(replace(past.iteration, policy=policy), past.planned, past.tables, space)
            lines = judged_lines(decided, past.bad)
            good, gone = lines[~lines["bad"]], lines[lines["bad"]]
            found[what] = lines.assign(world=seed)
            paused = decided.loc[decided["action"] == "pause", "account_id"].nunique()
            told = f"{good['hit'].sum()} of {len(good)} good hit, {gone['hit'].sum()} of {len(gone)} bad caught"
            print(f"world {seed}, {what}: {told}, {paused} paused", file=sys.stderr, flush=True)
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[21, 22, 23, 24, 25])
    parser.add_argument("--days", type=int, nargs="+", default=[2, 5, 10])
    chosen = parser.parse_args(arguments)
    worlds = [lines_of(seed, chosen.accounts, chosen.days) for seed in chosen.seeds]
    pooled = {what: pd.concat([one[what] for one in worlds], ignore_index=True) for what in worlds[0]}
    sums, drawn = bootstrap(list(pooled.values()))
    bad = int(next(iter(pooled.values()))["bad"].sum())
    good = len(next(iter(pooled.values()))) - bad
    print("| policy | good hit | bad caught | good spared at equal bads caught | credit left to good | to bad |")
    print("|---|---|---|---|---|---|")
    for k, what in enumerate(pooled):
        spared = [at_equal_bads(one, k, len(SHIFTS))[0] for one in (sums, *drawn)]
        low, high = np.nanpercentile(spared[1:], [2.5, 97.5])
        told = f"{spared[0]:+.1%} [{low:+.1%}, {high:+.1%}]" if k >= len(SHIFTS) else ""
        counts = f"{int(sums[k, 0]):,} of {good:,} | {int(sums[k, 1]):,} of {bad:,}"
        print(f"| {what} | {counts} | {told} | {sums[k, 2] / 100:,.0f} | {sums[k, 3] / 100:,.0f} |")


if __name__ == "__main__":
    main()
