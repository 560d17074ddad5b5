"""Who is right about the cause of a limit change: `python -m benchmarks.attribution --help`.

Every change between two decisions of a simulated book has known true causes (`benchmarks/truth.py`). The table says how
often the cause with the largest share is the true one: for the attribution limitlens ships, and for what people do
instead.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    decide_twice,
    features_at,
    train_both,
)
from benchmarks.truth import PLAYERS, Truth, true_causes
from limitlens.data.arrays import BoolArray, IntArray
from limitlens.features.line import LINE_FACTS
from limitlens.limits.attribution import PLAYERS as SHIPPED_PLAYERS
from limitlens.limits.attribution import attribute, order_matters
from limitlens.limits.lattice import Lattice, evaluate
from limitlens.models.explanation import shap_values

Shares = pd.DataFrame

#: Orders of the waterfall that people use. The three legs of data (old window repaired, behaviour, new window as
#: delivered) can only be walked in their order.
_LEGS = ("leg", "leg", "leg")
WATERFALLS = {
    "waterfall: data first": (*_LEGS, "model", "policy", "state"),
    "waterfall: releases first": ("model", "policy", *_LEGS, "state"),
    "waterfall: state first": ("state", *_LEGS, "policy", "model"),
    "waterfall: data last": ("policy", "state", "model", *_LEGS),
}
OURS = "limitlens: Shapley under precedence"
RECALLS = (1.0, 0.95, 0.8, 0.5, 0.0)


def lattice_of(ground: Ground, iterations: Iterations, decided: Decided) -> Lattice:
    """Every mix of old and new, with the data states as known when reconciliation is complete."""
    accounts = decided.accounts
    states = {"O0": decided.x0, "O1": decided.x1}
    states |= {name: features_at(ground.delivered, accounts, when, FINAL) for name, when in (("C0", T0), ("C1", T1))}
    limit = np.empty((len(accounts), 4, 2, 2, 2), np.int64)
    action = np.empty(limit.shape, np.int8)
    old = iterations.iteration(0, 0)
    for m in (0, 1):
        for p in (0, 1):
            rows = np.flatnonzero((decided.model == bool(m)) & (decided.policy == bool(p)))
            new = iterations.iteration(m, p)
            tables = {
                (name, digest): table.iloc[rows]
                for name, table in states.items()
                for digest in {old.model.features.digest, new.model.features.digest}
            }
            found = evaluate(old, new, tables, decided.state0.iloc[rows], decided.state1.iloc[rows])
            limit[rows], action[rows] = found.limit_cents, found.action
    return Lattice(limit, action)


def ours(limit: IntArray) -> Shares:
    return pd.DataFrame(attribute(limit), columns=list(SHIPPED_PLAYERS))[list(PLAYERS)]


def waterfall(limit: IntArray, order: tuple[str, ...]) -> Shares:
    """Move one player after the other from old to new."""
    shares = pd.DataFrame(0, range(len(limit)), list(PLAYERS), dtype=np.int64)
    point, value = dict.fromkeys(("leg", "model", "policy", "state"), 0), limit[:, 0, 0, 0, 0]
    for step in order:
        player = ("data", "behaviour", "data")[point["leg"]] if step == "leg" else step
        point[step] += 1
        after = limit[:, *point.values()]
        shares[player] += after - value
        value = after
    return shares


def one_at_a_time(limit: IntArray) -> Shares:
    """Each player alone moved from old to new."""
    start = limit[:, 0, 0, 0, 0]
    return pd.DataFrame(
        {
            "behaviour": limit[:, 2, 0, 0, 0] - limit[:, 1, 0, 0, 0],
            "data": limit[:, 1, 0, 0, 0] - start + limit[:, 3, 0, 0, 0] - limit[:, 2, 0, 0, 0],
            "model": limit[:, 0, 1, 0, 0] - start,
            "policy": limit[:, 0, 0, 1, 0] - start,
            "state": limit[:, 0, 0, 0, 1] - start,
        }
    )


def drop_one(limit: IntArray) -> Shares:
    """Each player alone moved back from new to old."""
    end = limit[:, 3, 1, 1, 1]
    return pd.DataFrame(
        {
            "behaviour": limit[:, 2, 1, 1, 1] - limit[:, 1, 1, 1, 1],
            "data": limit[:, 1, 1, 1, 1] - limit[:, 0, 1, 1, 1] + end - limit[:, 2, 1, 1, 1],
            "model": end - limit[:, 3, 0, 1, 1],
            "policy": end - limit[:, 3, 1, 0, 1],
            "state": end - limit[:, 3, 1, 1, 0],
        }
    )


def shap_of_the_score(iterations: Iterations, decided: Decided) -> Shares:
    """The strongest feature of the new score: behaviour, unless it is the line's own limit or age."""
    shares = pd.DataFrame(0.0, range(len(decided.accounts)), list(PLAYERS))
    for m in (0, 1):
        rows = np.flatnonzero(decided.model == bool(m))
        state = decided.state1.iloc[rows]
        limit, age = (state[name].to_numpy(np.int64) for name in ("limit_cents", "line_age_days"))
        shap = shap_values(iterations.models[m], decided.x1.iloc[rows], limit, age)
        of_line = shap.abs().idxmax(axis=1).isin(LINE_FACTS).to_numpy()
        shares.loc[rows, "state"], shares.loc[rows, "behaviour"] = 1.0 * of_line, 1.0 * ~of_line
    return shares


def release_calendar(decided: Decided) -> Shares:
    """Whatever was released for the account; else the customer."""
    shares = pd.DataFrame(0, range(len(decided.accounts)), list(PLAYERS))
    shares["model"] = 2 * decided.model
    shares["policy"] = 1 * decided.policy
    shares["behaviour"] = (~decided.model & ~decided.policy).astype(int)
    return shares


def answers(iterations: Iterations, decided: Decided, limit: IntArray) -> dict[str, Shares]:
    """Every method's shares of the same changes."""
    falls = {name: waterfall(limit, order) for name, order in WATERFALLS.items()}
    return {
        OURS: ours(limit),
        **falls,
        "one at a time, from old": one_at_a_time(limit),
        "drop one, from new": drop_one(limit),
        "SHAP of the new score": shap_of_the_score(iterations, decided),
        "release calendar": release_calendar(decided),
    }


def blamed(shares: Shares) -> pd.Series:
    """The player with the largest share either way; null where every share is zero."""
    top = shares.abs().idxmax(axis=1)
    return top.where(shares.abs().max(axis=1) > 0)


@dataclass(frozen=True)
class Judged:
    """Changes of one seed: the truth of each, every method's answer, and what kind of change it is."""

    truth: Truth
    blamed: dict[str, pd.Series]
    cut: BoolArray
    ambiguous: BoolArray


def judge(ground: Ground, iterations: Iterations, say: Callable[[str], None]) -> Judged:
    """Decide, find the true causes of every change, and ask every method."""
    decided = decide_twice(ground, iterations, say)
    decided = decided.rows(decided.limit0 != decided.limit1)
    say(f"{len(decided.accounts):,} limits changed; finding their true causes")
    truth = true_causes(ground, iterations, decided)
    say("attributing")
    limit = lattice_of(ground, iterations, decided).limit_cents
    recorded = (limit[:, 0, 0, 0, 0] == decided.limit0).all() and (limit[:, 3, 1, 1, 1] == decided.limit1).all()
    assert recorded, "the ends of the lattice are not what was decided"
    found = {name: blamed(shares) for name, shares in answers(iterations, decided, limit).items()}
    return Judged(truth, found, decided.limit1 < decided.limit0, order_matters(limit))


def scores(judged: Judged) -> pd.DataFrame:
    """One row a method: how often it is right, by kind of change; ``cases`` first.

    Single causes by player; then changes of other kinds, in which right is who blames a necessary cause: exactly one
    was necessary although others would have done something too, or several were.
    """
    single, necessary = judged.truth.single, judged.truth.necessary
    rest, count = single.isna(), necessary.sum(axis=1)
    kinds = {"single": ~rest, **{player: single == player for player in PLAYERS}, "cuts": ~rest & judged.cut}
    loose = {"one necessary": rest & (count == 1), "several": rest & (count > 1)}
    rows = {"cases": {name: float(chosen.sum()) for name, chosen in (kinds | loose).items()}}
    for name, answer in judged.blamed.items():
        right = (answer == single).to_numpy()
        true = pd.DataFrame({p: (answer == p) & necessary[p] for p in PLAYERS}).any(axis=1).to_numpy()
        found = {kind: _share(right[chosen]) for kind, chosen in kinds.items()}
        found |= {kind: _share(true[chosen]) for kind, chosen in loose.items()}
        rows[name] = found | {"average": float(np.mean([found[player] for player in PLAYERS]))}
    columns = ["single", *PLAYERS, "average", "cuts", *loose]
    return pd.DataFrame.from_dict(rows, orient="index")[columns]


def _share(right: BoolArray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def shown(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Mean over the seeds, and the spread (largest less smallest) behind it; cases are summed."""
    stacked = pd.concat(tables, keys=range(len(tables)))
    mean, spread = (stacked.groupby(level=1, sort=False).agg(how) for how in ("mean", np.ptp))
    text = mean.map(lambda v: f"{v:.3f}") + spread.map(lambda v: f" ±{v / 2:.3f}")
    total = stacked.xs("cases", level=1).sum()
    text.loc["cases"] = [f"{total[c]:,.0f}" if c != "average" else "" for c in text.columns]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=40_000, help="lines in each book (default 40,000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--recalls", type=float, nargs="*", default=list(RECALLS), help="shares of rows repaired")
    given = parser.parse_args()
    found: dict[float, list[pd.DataFrame]] = {recall: [] for recall in given.recalls}
    matters: list[tuple[float, float]] = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            iterations = None
            for recall in given.recalls:
                ground = Ground(seed, given.accounts, Path(folder), recall)
                iterations = iterations or train_both(ground)
                judged = judge(ground, iterations, say_where(f"seed {seed}, recall {recall}"))
                found[recall].append(scores(judged))
                if recall == given.recalls[0]:
                    several = judged.truth.single.isna().to_numpy()
                    matters.append((judged.ambiguous.mean(), judged.ambiguous[several].mean()))
                print(found[recall][-1].round(3).to_string(), file=sys.stderr, flush=True)
    pd.set_option("display.width", 200)
    print(f"{given.accounts:,} lines, seeds {given.seeds}; mean ± half the spread over the seeds; cases are summed\n")
    print(shown(found[given.recalls[0]]).to_string())
    one, several = np.mean(matters, axis=0)
    print(f"\na waterfall's answer depends on its order in {one:.1%} of all changes, {several:.1%} of those of several")
    print("\nthe attribution by the share of touched rows that is ever repaired")
    print(pd.concat({f"{r:.0%}": shown(found[r]).loc[OURS] for r in given.recalls}, axis=1).T.to_string())


def say_where(where: str) -> Callable[[str], None]:
    """Progress on the standard error, with the place and the seconds since."""
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{where} · {time.monotonic() - begun:4.0f} s · {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    main()
