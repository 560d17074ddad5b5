"""Kernels beside LightGBM: `python -m benchmarks.kernels WORKSPACE [--rows 50000]`.

The members of the workspace's champion for lines with history, and rows drawn from its last table of features. Each way
scores or explains all rows, side by side in one process on one thread, five times in turn; printed are the median rows
a CPU-second, how that compares with LightGBM's, and the peak memory of a process that does nothing else; and first how
long it takes until the kernels are there. SHAP values
by LightGBM are taken of a fiftieth of the rows, changes row by row of a thousandth. An account is scored by the member
of each turn that never saw it, so by a third of the members; "all members" scores every row by every one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from limitlens.data.arrays import FloatArray
from limitlens.models.change import tree_changes
from limitlens.models.inputs import account_numbers
from limitlens.models.member import AccountArray, mean_over
from limitlens.models.together import (
    lightgbm_contributions,
    lightgbm_scores,
    mean_changes,
    mean_contributions,
    mean_scores,
    together,
)
from limitlens.models.trees import read_trees
from limitlens.pipeline.workspace import Workspace

#: Times each way runs, and rows of the slow ones as shares of all.
TIMES, FEWER, FEWEST = 5, 50, 1000

Rows = tuple[FloatArray, FloatArray, AccountArray | None]


class Ways:
    """What is measured, each over old rows, new rows and accounts."""

    def __init__(self, workspace: Path, rows: int) -> None:
        space = Workspace(workspace)
        model = space.scoring(str(space.registry.champion())).model
        self.members = model.book.members
        files = sorted((workspace / "features").rglob("*.parquet"))
        fits = [path for path in files if {*model.features.columns} <= {*pq.read_schema(path).names}]
        table = pq.read_table(fits[-1]).to_pandas()
        limit, age = np.full(len(table), 500_000), np.full(len(table), 400)
        inputs = model.inputs(table, limit, age)
        rng = np.random.default_rng(1)
        self.new, self.old = (inputs[rng.integers(0, len(inputs), rows)] for _ in range(2))
        same = rng.random(self.new.shape) < 0.5  # half of the columns did not change
        self.old[same] = self.new[same]
        drawn = table["account_id"].iloc[rng.integers(0, len(table), rows)].reset_index(drop=True)
        self.account = account_numbers(drawn + drawn.index.astype(str))

    def ways(self) -> dict[str, tuple[int, Callable[[Rows], FloatArray]]]:
        """Name, divisor of the rows, what is done."""
        members = self.members
        trees = [read_trees(member.text) for member in members]
        able = together(members, self.new, 1)
        assert able is not None

        def lightgbm(rows: Rows) -> FloatArray:
            return lightgbm_scores(members, *rows[1:])

        def walked(rows: Rows) -> FloatArray:
            old, new, account = rows
            return mean_over(
                members,
                len(new),
                account,
                lambda k, some: np.array([tree_changes(trees[k], old[row], new[row]) for row in some]),
            )

        def changed(rows: Rows) -> FloatArray:
            assert rows[2] is not None
            return mean_changes(able, rows[0], rows[1], rows[2])

        def alone(way: Callable[[Rows], FloatArray]) -> Callable[[Rows], FloatArray]:
            return lambda rows: way((rows[0], rows[1], None))

        return {
            "scores, LightGBM": (1, lightgbm),
            "scores, kernel": (1, lambda rows: mean_scores(members, *rows[1:])),
            "scores by all members, LightGBM": (1, alone(lightgbm)),
            "scores by all members, kernel": (1, alone(lambda rows: mean_scores(members, *rows[1:]))),
            "SHAP values, LightGBM": (FEWER, lambda rows: lightgbm_contributions(members, *rows[1:])),
            "SHAP values, kernel": (1, lambda rows: mean_contributions(members, *rows[1:])),
            "SHAP values by all members, LightGBM": (
                FEWER,
                alone(lambda rows: lightgbm_contributions(members, *rows[1:])),
            ),
            "SHAP values by all members, kernel": (1, alone(lambda rows: mean_contributions(members, *rows[1:]))),
            "changes, walked row by row": (FEWEST, walked),
            "changes, kernel": (1, changed),
        }

    def once(self, name: str) -> tuple[float, int, FloatArray]:
        """CPU-seconds, rows, and what came of it."""
        divisor, way = self.ways()[name]
        count = len(self.new) // divisor
        begun = time.process_time()
        values = way((self.old[:count], self.new[:count], self.account[:count]))
        return time.process_time() - begun, count, values


def speed(measured: Ways) -> dict[str, Any]:
    """Median rows a CPU-second of each way, how far each kernel is from LightGBM, and what was measured on."""
    names = list(measured.ways())
    last = {name: measured.once(name)[2] for name in names}  # loads what it needs, too
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(TIMES):
        for name in names:
            seconds, count, _ = measured.once(name)
            rates[name].append(count / seconds)
    pairs = zip(names[::2], names[1::2], strict=True)
    apart = {fast: float(np.abs(last[fast][: len(last[slow])] - last[slow]).max()) for slow, fast in pairs}
    trees = sum(len(read_trees(member.text).roots) for member in measured.members)
    head = f"{len(measured.members)} members, {trees} trees, {measured.new.shape[1]} columns"
    return {"head": head, "rates": {name: float(np.median(rates[name])) for name in names}, "apart": apart}


def peak(measured: Ways, name: str) -> dict[str, Any]:
    """Peak memory in MiB when the rows are there, and when they are done."""
    peaks = []
    for _ in range(2):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if len(peaks) == 1:
            measured.once(name)
    return {"before": peaks[0], "after": peaks[1]}


def ready(workspace: Path) -> dict[str, Any]:
    """CPU-seconds until kernels have scored and explained a few rows, numba's import in them."""
    measured = Ways(workspace, 64)
    begun = time.process_time()
    able = together(measured.members, measured.new, 1)
    assert able is not None
    able.scores(0, able.cells(measured.new), np.arange(64))
    able.add_contributions(measured.new, None, np.zeros((64, able.forest.columns + 1)))
    able.add_changes(measured.old, measured.new, None, np.zeros(measured.new.shape))
    return {"seconds": time.process_time() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way == "ready":
        print(json.dumps(ready(given.workspace)))
        return
    if given.way:
        measured = Ways(given.workspace, given.rows)
        print(json.dumps(speed(measured) if given.way == "speed" else peak(measured, given.way)))
        return

    def child(way: str, **environment: str) -> dict[str, Any]:
        # Whatever is started inherits the peak memory of who starts it, so this process stays small.
        command = [sys.executable, "-m", "benchmarks.kernels", *sys.argv[1:], "--way", way]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | environment)
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    with tempfile.TemporaryDirectory() as kept:
        first, second = (child("ready", NUMBA_CACHE_DIR=kept)["seconds"] for _ in range(2))
    print(
        f"ready after {first:.1f} CPU-seconds where all is compiled first, {second:.2f} in the next process\n",
        flush=True,
    )

    timed = child("speed")
    print(f"{timed['head']}, {given.rows:,} rows\n")
    print("| what, by | rows a CPU-second | times | difference | peak MiB | of it before |\n|---|---|---|---|---|---|")
    names = list(timed["rates"])
    for slow, fast in zip(names[::2], names[1::2], strict=True):
        for name in (slow, fast):
            rate, ratio, memory = timed["rates"][name], timed["rates"][name] / timed["rates"][slow], child(name)
            off = f"{timed['apart'][name]:.1e}" if name == fast else ""
            print(f"| {name} | {rate:,.0f} | {ratio:.1f} | {off} | {memory['after']:,.0f} | {memory['before']:,.0f} |")


if __name__ == "__main__":
    main()
