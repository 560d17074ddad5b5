"""Whether the PDs of the riskiest lines are true, out of time, in simulated books that nothing was chosen on.

Prints observed by expected bads of the riskiest 1, 5 and 10% and of the lines by days past due, of a model as it
ships; how far a book of the size of the demo is off at its first training, and at the second. Example:

    python -m benchmarks.tail --accounts 2000 --seeds 61 62 --trainings demo
    python -m benchmarks.tail --accounts 60000 --seeds 51 52
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score

from limitlens.data.calendar import DAY, add_months, last_decision_dates
from limitlens.data.world import simulate
from limitlens.limits.tail import SHARES
from limitlens.models.label_choice import bucket_of
from limitlens.pipeline import Workspace, check, default_policy, default_settings
from limitlens.pipeline.training.judged import Judged, judge
from limitlens.pipeline.training.train import fit_iteration


def trainings(workspace: Workspace, which: str) -> dict[str, datetime | None]:
    """Until when each training knows: of everything, or as early as the two trainings of the demo."""
    if which == "all":
        return {"all": None}
    first, last, _ = last_decision_dates(workspace.events.known_until(), 3)
    return {"first": add_months(first, -1), "second": last + DAY * 12}


def judged(workspace: Workspace, until: datetime | None) -> Judged:
    """A model as it ships, on the rows it is judged on."""
    model, table = fit_iteration(workspace, default_settings(), until, None)
    return judge(model, default_policy(), table, workspace)


def figures(one: Judged) -> dict[str, str]:
    """Observed by expected bads of the riskiest lines, and bads observed and expected by days past due."""
    order, found = np.argsort(-one.pd_, kind="stable"), {}
    for share in SHARES:
        rows = order[: round(len(order) * share)]
        found[f"riskiest {share:.0%}"] = f"{one.bad[rows].sum() / one.pd_[rows].sum():.2f}"
    by_bucket = (
        pd.DataFrame({"bad": one.bad, "pd": one.pd_}).groupby(bucket_of(one.rows["dpd_days"]), observed=True).sum()
    )
    found |= {f"{bucket} dpd": f"{row.bad:,.0f} / {row.pd:,.1f}" for bucket, row in by_bucket.iterrows()}
    return found | {"AUC": f"{roc_auc_score(one.bad, one.pd_):.4f}", "log loss": f"{log_loss(one.bad, one.pd_):.4f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[61, 62, 63, 64, 65])
    parser.add_argument("--trainings", choices=["all", "demo"], default="all")
    given = parser.parse_args()
    rows = []
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            events, workspace = Path(folder) / "events", Workspace(Path(folder) / "work")
            simulate(events, accounts=given.accounts, seed=seed, futures=0)
            check(workspace, events)
            for name, until in trainings(workspace, given.trainings).items():
                rows.append({"seed": seed, "training": name, **figures(judged(workspace, until))})
                print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
