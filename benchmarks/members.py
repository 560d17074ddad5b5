"""How many folds and rounds: `python -m benchmarks.members DATA_FOLDER [--seeds 1 2 3] [--ways 3x5 5x2 2x10]`.

What is judged is what a line of the book gets: accounts are scored by the members that never saw them. On superlender
in and out of time and on Give Me Some Credit the AUC, on the splits of `benchmarks.models`; on Give Me Some Credit also
the churn of a second training (another seed, a tenth of the rows dropped, a bootstrap) among the riskiest 5%, anew and
with the champion's newest rounds. Seconds are those of one training on half of Give Me Some Credit.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.models import Set, churn, gmsc, in_time, splits, superlender_out_of_time
from limitlens.data.arrays import IntArray
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.inputs import account_numbers
from limitlens.models.scorer import Scorer
from limitlens.pipeline.workspace import default_settings

Rows = IntArray

#: Folds and rounds of each way, and how many rounds stay beside a champion.
WAYS = {
    "5x2": (5, 2, 1),
    "5x5": (5, 5, 3),
    "3x3": (3, 3, 2),
    "3x5": (3, 5, 3),
    "3x10": (3, 10, 6),
    "2x5": (2, 5, 3),
    "2x10": (2, 10, 6),
}


def fitted(data: Set, rows: Rows, seed: int, way: str, champion: Scorer | None = None) -> Scorer:
    """The shipped settings with other folds and rounds."""
    folds, rounds, carried = WAYS[way]
    counts = {"folds": folds, "rounds": rounds, "carried_rounds": carried, "seed": seed}
    settings = default_settings().classifier_parameters() | counts
    model = DefaultRiskClassifier(**settings, **data.columns)
    period = data.period[rows] if data.period is not None else None
    found = model.fit(data.inputs[rows], data.bad[rows], account=data.account[rows], period=period, champion=champion)
    return found.scorer_


def auc(data: Set, seed: int, way: str) -> float:
    """Of rows that were held out, by the members a known account would be scored by."""
    scores, numbers = np.full(len(data.bad), np.nan), account_numbers(pd.Series(data.account))
    for train, test in splits(data, seed):
        scores[test] = fitted(data, train, seed, way).scores(data.inputs[test], numbers[test])
    seen = ~np.isnan(scores)
    return float(roc_auc_score(data.bad[seen], scores[seen]))


def churns(data: Set, way: str) -> dict[str, str]:
    """Share of closed lines that a second training would not close; in brackets with the champion."""
    order = np.random.default_rng(0).permutation(len(data.bad))
    test, train = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    rng, numbers = np.random.default_rng(0), account_numbers(pd.Series(data.account))[test]
    changed = {
        "other seed": train,
        "10% dropped": train[rng.random(len(train)) > 0.1],
        "bootstrap": np.sort(train[rng.integers(0, len(train), len(train))]),
    }
    begun = time.process_time()
    first = fitted(data, train, 0, way)
    found = {"train CPU s": f"{time.process_time() - begun:.0f}"}
    old = first.scores(data.inputs[test], numbers)
    for k, (what, rows) in enumerate(changed.items()):
        news = (fitted(data, rows, 1 + k, way, champion) for champion in (None, first))
        alone, beside = (churn(old, new.scores(data.inputs[test], numbers)) for new in news)
        found[what] = f"{alone:.1%} ({beside:.1%})"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with gmsc and superlender")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sets = [
            (in_time("superlender", given.data, Path(temporary)), given.seeds),
            (superlender_out_of_time(given.data, Path(temporary) / "earlier"), given.seeds),
            (gmsc(given.data), given.seeds[:1]),
        ]
    table = {}
    for way in given.ways:
        row = {}
        for data, seeds in sets:
            found = [auc(data, seed, way) for seed in seeds]
            row[data.name] = f"{np.mean(found):.4f}" + (f" ±{np.std(found):.4f}" if len(found) > 1 else "")
        table[way] = row | churns(sets[-1][0], way)
        print(f"{way} done", file=sys.stderr, flush=True)
    pd.set_option("display.width", 200)
    print(pd.DataFrame(table).T.to_string())


if __name__ == "__main__":
    main()
