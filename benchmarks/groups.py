"""Who names the group of features that moved a limit: `python -m benchmarks.groups --help`.

Among the limit changes of a simulated book that behaviour alone caused are those that one source of events alone
caused (`true_groups` in `benchmarks/truth.py`: the customer is made to repeat the month before in one source and not
in the others). The table says how often the largest share inside behaviour names that source: for the split limitlens
ships, and for what people do instead. The models are trained on the first of the books.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.attribution import blamed, say_where, shown
from benchmarks.proving import FINAL, T0, T1, Decided, Ground, Iterations, decide_twice, features_at, train_both
from benchmarks.truth import Truth, true_causes, true_groups
from limitlens.data.arrays import IntArray
from limitlens.data.contracts import FEEDS
from limitlens.features.line import LINE_FACTS
from limitlens.limits.groups import ATTRIBUTES, behaviour_groups, mix, split_behaviour
from limitlens.models.change import change_of_score
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.explanation import shap_values

Shares = pd.DataFrame

GROUPS = (*FEEDS, ATTRIBUTES)
OURS = "limitlens: Owen on the limit"


def by_mix(decided: Decided, shares_of: Callable[[int, int, IntArray], Shares]) -> Shares:
    """Shares of the rows of each mix of old and new model and policy, put together again."""
    parts = []
    for m in (0, 1):
        for p in (0, 1):
            rows = np.flatnonzero((decided.model == bool(m)) & (decided.policy == bool(p)))
            if len(rows):
                parts.append(shares_of(m, p, rows).set_axis(rows, axis=0))
    return pd.concat(parts).sort_index().reindex(columns=list(GROUPS), fill_value=0)


def owen(iterations: Iterations, decided: Decided, c0: pd.DataFrame, c1: pd.DataFrame) -> Shares:
    """The shipped split of the behaviour share."""
    old = iterations.iteration(0, 0)

    def shares_of(m: int, p: int, rows: IntArray) -> Shares:
        new = iterations.iteration(m, p)
        tables = {side.model.features.digest: (c0.iloc[rows], c1.iloc[rows]) for side in (old, new)}
        states = decided.state0.iloc[rows], decided.state1.iloc[rows]
        groups, phi, _ = split_behaviour(old, new, tables, *states)
        return pd.DataFrame(phi, columns=list(groups))

    return by_mix(decided, shares_of)


def one_at_a_time(iterations: Iterations, decided: Decided, c0: pd.DataFrame, c1: pd.DataFrame) -> Shares:
    """Each group alone moved, under the old model, policy and state."""
    old = iterations.iteration(0, 0)
    features = old.model.features

    def limit(moved: frozenset[str]) -> IntArray:
        return old.decide(mix(features, c0, c1, moved), decided.state0)["limit_cents"].to_numpy(np.int64)

    start = limit(frozenset())
    return pd.DataFrame({group: limit(frozenset({group})) - start for group in GROUPS})


def drop_one(iterations: Iterations, decided: Decided, c0: pd.DataFrame, c1: pd.DataFrame) -> Shares:
    """Each group alone moved back, under the new model, policy and state."""

    def shares_of(m: int, p: int, rows: IntArray) -> Shares:
        new = iterations.iteration(m, p)
        features, state = new.model.features, decided.state1.iloc[rows]
        every = frozenset(behaviour_groups(features))

        def limit(moved: frozenset[str]) -> IntArray:
            mixed = mix(features, c0.iloc[rows], c1.iloc[rows], moved)
            return new.decide(mixed, state)["limit_cents"].to_numpy(np.int64)

        end = limit(every)
        return pd.DataFrame({group: end - limit(every - {group}) for group in GROUPS})

    return by_mix(decided, shares_of)


def by_group(model: DefaultRiskModel, values: pd.DataFrame) -> Shares:
    """SHAP values of the columns summed by group, without the line's own."""
    declared = model.features.declaration_of
    group = {name: declared[name].source if name in declared else ATTRIBUTES for name in values.columns}
    return values.drop(columns=list(LINE_FACTS)).T.groupby(group).sum().T


def shap_of_the_score(iterations: Iterations, decided: Decided) -> Shares:
    """What speaks for and against the account in its new score."""

    def shares_of(m: int, p: int, rows: IntArray) -> Shares:
        model, state = iterations.models[m], decided.state1.iloc[rows]
        return by_group(model, shap_values(model, decided.x1.iloc[rows], *line_of(state)))

    return by_mix(decided, shares_of)


def shap_of_the_change(iterations: Iterations, decided: Decided, c0: pd.DataFrame, c1: pd.DataFrame) -> Shares:
    """What moved the new model's score from the account's own old features."""

    def shares_of(m: int, p: int, rows: IntArray) -> Shares:
        model, state = iterations.models[m], decided.state1.iloc[rows]
        return by_group(model, change_of_score(model, c0.iloc[rows], c1.iloc[rows], *line_of(state)))

    return by_mix(decided, shares_of)


def line_of(state: pd.DataFrame) -> tuple[IntArray, IntArray]:
    """Limit and age of each line."""
    return state["limit_cents"].to_numpy(np.int64), state["line_age_days"].to_numpy(np.int64)


def answers(ground: Ground, iterations: Iterations, decided: Decided) -> dict[str, Shares]:
    """Every method's shares of the same changes, from the data states of the lattice."""
    c0, c1 = (features_at(ground.delivered, decided.accounts, when, FINAL) for when in (T0, T1))
    return {
        OURS: owen(iterations, decided, c0, c1),
        "one at a time, from old": one_at_a_time(iterations, decided, c0, c1),
        "drop one, from new": drop_one(iterations, decided, c0, c1),
        "SHAP of the new score": shap_of_the_score(iterations, decided),
        "SHAP of the change of score": shap_of_the_change(iterations, decided, c0, c1),
    }


def caused_by_behaviour(ground: Ground, iterations: Iterations, say: Callable[[str], None]) -> tuple[Decided, Truth]:
    """The changes whose single cause is behaviour, and which source of events caused each."""
    decided = decide_twice(ground, iterations, say)
    decided = decided.rows(decided.limit0 != decided.limit1)
    say(f"{len(decided.accounts):,} limits changed; finding those behaviour alone caused")
    single = true_causes(ground, iterations, decided).single
    decided = decided.rows((single == "behaviour").to_numpy())
    say(f"{len(decided.accounts):,} of them; finding the sources")
    return decided, true_groups(ground, iterations, decided)


def scores(truth: pd.Series, found: dict[str, Shares]) -> pd.DataFrame:
    """One row a method: how often it names the one group that did it; ``cases`` first."""
    kinds = {"single": truth.notna(), **{group: truth == group for group in FEEDS}}
    rows = {"cases": {kind: float(chosen.sum()) for kind, chosen in kinds.items()}}
    for name, shares in found.items():
        right = blamed(shares) == truth
        by_kind = {kind: float(right[chosen].mean()) for kind, chosen in kinds.items()}
        rows[name] = by_kind | {"average": float(np.nanmean([by_kind[group] for group in FEEDS]))}
    return pd.DataFrame.from_dict(rows, orient="index")[["single", *FEEDS, "average"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=12_000, help="lines in each book (default 12,000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    tables, behaviour, iterations = [], 0, None
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            ground = Ground(seed, given.accounts, Path(folder))
            iterations = iterations or train_both(ground)
            decided, truth = caused_by_behaviour(ground, iterations, say_where(f"seed {seed}"))
            behaviour += len(decided.accounts)
            tables.append(scores(truth.single, answers(ground, iterations, decided)))
            print(tables[-1].round(3).to_string(), file=sys.stderr, flush=True)
    pd.set_option("display.width", 200)
    print(f"{given.accounts:,} lines, seeds {given.seeds}; mean ± half the spread over the seeds; cases are summed\n")
    print(shown(tables).to_string())
    print(f"\nof {behaviour:,} changes that behaviour alone caused")


if __name__ == "__main__":
    main()
