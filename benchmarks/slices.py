"""Whom the groups of flagged lines hold: `python -m benchmarks.slices [--accounts 3000 --seeds 24 25 26]`.

Honest worlds, a model trained on the first twelve months, and the next six decided by the shipped policy as if at
once. Groups are found among the lines flagged in all worlds, each at its first flag, as the reports find them; those
that are good more often than the others are told. Then the truth is asked: of the flagged lines that were good and had
an innocent cause in the 90 days before, how many are in such a group, and how many lines of the group are good.
Beside them plain slices: new lines, and lines by the rule that spoke. Counted on the half of the accounts
that made no group.
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
from limitlens.data.arrays import BoolArray
from limitlens.data.world.settings import TRAPS
from limitlens.features.line import limit_and_age
from limitlens.limits.archetypes import find_archetypes
from limitlens.limits.policy import FLAGGED
from limitlens.limits.policy_file import at_once
from limitlens.limits.rates import Rate
from limitlens.limits.state import state_before
from limitlens.models.inputs import account_numbers, fold_of, text_columns
from limitlens.pipeline import default_policy
from limitlens.pipeline.deciding.point_in_time import rows_at
from limitlens.pipeline.release.simulate_policy import simulate as simulate_past

#: As in the truth of the world: an innocent cause is one of the days before.
RECENT = pd.Timedelta(days=90)

NEW_DAYS = 90


def flagged_lines(seed: int, accounts: int) -> pd.DataFrame:
    """Every line of a world at its first flag: inputs of the model, ``bad``, ``innocent``, ``rule``, ``age_days``."""
    with tempfile.TemporaryDirectory() as name:
        space, past = honest_past(Path(name), seed, accounts)
        policy = at_once(default_policy())
        decided = simulate_past(replace(past.iteration, policy=policy), past.planned, past.tables, space)
        decided = decided[decided["action"].isin(FLAGGED)].sort_values(["as_of", "account_id"])
        first = decided.drop_duplicates("account_id").reset_index(drop=True)
        first = first[first["account_id"].isin(past.bad.index)].reset_index(drop=True)
        episodes = pd.read_parquet(Path(name) / "world" / "truth" / "episodes.parquet")
        model, state = past.iteration.model, state_before(first)
        rows = rows_at(past.tables[model.features.digest], first["account_id"], first["as_of"], first["as_of"])
        inputs = pd.DataFrame(model.inputs(rows, *limit_and_age(state)), columns=list(model.columns))
        texts = {name: rows[name] for name in text_columns(model.features)}
        asked = {rule.name: rule.action for rule in policy.evidence}
        named = [[name for name in fired if asked.get(name) in FLAGGED] for fired in first["fired_rules"]]
        found = inputs.assign(
            **texts,
            account_id=first["account_id"] + f"-{seed}",
            bad=first["account_id"].map(past.bad).to_numpy(bool),
            innocent=_innocent(first, episodes),
            rule=[names[0] if names else "PD" for names in named],
            age_days=state["line_age_days"],
        )
    innocent = int((found["innocent"] & ~found["bad"]).sum())
    print(f"world {seed}: {len(found)} flagged, {innocent} good with an innocent cause", file=sys.stderr, flush=True)
    return found


def _innocent(first: pd.DataFrame, episodes: pd.DataFrame) -> BoolArray:
    traps = first[["account_id", "as_of"]].reset_index().merge(episodes[episodes["cause"].isin(TRAPS)], on="account_id")
    recent = traps[(traps["begins"] < traps["as_of"]) & (traps["ends"] >= traps["as_of"] - RECENT)]
    return first.index.isin(recent["index"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[24, 25, 26])
    chosen = parser.parse_args(arguments)
    lines = pd.concat([flagged_lines(seed, chosen.accounts) for seed in chosen.seeds], ignore_index=True)
    bad, judging = lines["bad"].to_numpy(bool), fold_of(account_numbers(lines["account_id"]), 2, 0) == 0
    inputs = lines.drop(columns=["account_id", "bad", "innocent", "rule", "age_days"])
    groups = find_archetypes(inputs, lines["account_id"], bad)
    told = [one for one in groups.significant if one.good.share > groups.good.share]
    slices = {f"group: {one.words}": one.holds(inputs) for one in told}
    slices["all groups told as good more often"] = np.any([np.zeros(len(lines), bool), *slices.values()], axis=0)
    slices[f"lines under {NEW_DAYS} days old"] = (lines["age_days"] < NEW_DAYS).to_numpy()
    slices |= {f"rule: {rule}": (lines["rule"] == rule).to_numpy() for rule in sorted(set(lines["rule"]))}
    slices["all flagged lines"] = np.ones(len(lines), bool)
    innocent = lines["innocent"].to_numpy() & ~bad
    print("| slice | innocent causes in it | good lines in it |")
    print("|---|---|---|")
    for name, among in slices.items():
        held = Rate(int((innocent & among & judging).sum()), int((innocent & judging).sum()))
        good = Rate(int((~bad & among & judging).sum()), int((among & judging).sum()))
        print(f"| {name} | {_percent(held)} | {_percent(good)} |")


def _percent(rate: Rate) -> str:
    if not rate.of:
        return "none"
    low, high = rate.interval
    return f"{rate.share:.0%} [{low:.0%}, {high:.0%}] of {rate.of}"


if __name__ == "__main__":
    main()
