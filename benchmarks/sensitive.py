"""What it costs to use neither places nor devices: `python -m benchmarks.sensitive [--accounts 6000] [--seeds 7 8 9]`.

For each seed a world is simulated and a model is trained twice on it, with all features and without those that are made
of columns which the contract calls sensitive. Both are judged on the same held-out months: the AUC of each, and what
leaving out costs, with the 95% interval of DeLong for paired scores.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from limitlens.data.check import check_events
from limitlens.data.world import simulate
from limitlens.models.settings import SENSITIVE
from limitlens.models.validation import measure, paired_auc_gain
from limitlens.pipeline import Workspace, default_policy, default_settings
from limitlens.pipeline.training.judged import Judged, judge
from limitlens.pipeline.training.train import fit_iteration


def judged_without(workspace: Workspace, without: tuple[str, ...]) -> Judged:
    """A model with some features left out, judged."""
    model, table = fit_iteration(workspace, replace(default_settings(), without=without), None, None)
    return judge(model, default_policy(), table, workspace)


def row(folder: Path, accounts: int, seed: int) -> str:
    """The row of one world."""
    simulate(folder / "events", accounts=accounts, seed=seed, futures=0)
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events)
    every, less = (judged_without(workspace, without) for without in ((), (SENSITIVE,)))
    counts = [len(one.model.features.columns) for one in (every, less)]
    aucs = [measure(one.bad, one.pd_).auc for one in (every, less)]
    cost, low, high = paired_auc_gain(every.bad, every.pd_, less.pd_)
    return (
        f"| {seed} | {len(every.bad):,} | {every.bad.sum():,} | {counts[0]} | {counts[1]} | {aucs[0]:.4f} | "
        f"{aucs[1]:.4f} | {cost:+.4f} ({low:+.4f} to {high:+.4f}) |"
    )


def main() -> None:
    """Print a row a world."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--accounts", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    given = parser.parse_args()
    print("| seed | lines | bad | features | without | AUC | without | cost |\n|---|---|---|---|---|---|---|---|")
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as name:
            print(row(Path(name), given.accounts, seed), flush=True)


if __name__ == "__main__":
    main()
