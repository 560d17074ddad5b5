"""What verdicts teach: `python -m benchmarks.verdict_labels [--accounts 3000 --seeds 81 82 83 --right 0.8 0.9 0.95 1]`.

Honest worlds of 24 months. A model of the first twelve decides the next six by the shipped policy, and two reviewers
judge every case on its first day. They are right with a probability and err together, so all their cases count.
Then a model is trained as it ships, judged on the lines of month 18 with their outcomes of the six months after: on
outcomes alone, and with the verdicts at some weights. They fill the six months before the lines it is judged on, whose
outcomes it cannot know. Sums over the worlds; differences to the model without verdicts with the 95% interval of a
bootstrap of lines, in log loss and AUC of all lines, and in the log loss of the tenth that is riskiest without them.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.world import START, simulate
from limitlens.data.world.settings import named_world
from limitlens.limits.cases import asks
from limitlens.limits.ledger_tables import VERDICTS
from limitlens.models.outcomes import outcomes
from limitlens.pipeline import Workspace, default_policy, default_settings, promote, train
from limitlens.pipeline.release.promote import Override
from limitlens.pipeline.release.simulate_policy import past_of
from limitlens.pipeline.release.simulate_policy import simulate as simulate_past
from limitlens.pipeline.training.judged import judge
from limitlens.pipeline.training.train import fit_iteration

FIRST, HELD_OUT, MONTHS = add_months(START, 12), add_months(START, 18), 24
_DRAWS = 1_000


def lent(folder: Path, seed: int, accounts: int) -> tuple[Workspace, pd.DataFrame]:
    """A world, and the cases of its months 12 to 18 with what became of them."""
    simulate(folder / "world", accounts=accounts, months=MONTHS, seed=seed, world=named_world("honest"), futures=0)
    space = Workspace(folder / "work")
    check_events(folder / "world", space.events)
    train(space, default_settings(), default_policy(), developer="developer", until=FIRST)
    promote(space, None, HELD_OUT, override=Override("head of credit risk", "a benchmark"))
    past = past_of(space, since=FIRST)
    decided = simulate_past(past.iteration, past.planned, past.tables, space)
    rows = decided.sort_values(["account_id", "as_of"], ignore_index=True)
    waits = asks(rows.rename(columns={"state.paused_at": "paused_at"}), past.iteration.policy)
    before = pd.Series(waits).groupby(rows["account_id"]).shift(fill_value=False).to_numpy()
    cases = rows.loc[waits & ~before, ["account_id", "as_of"]].reset_index(drop=True)
    relations = space.relations(past.iteration.model.features)
    del relations["outcomes"]
    outcome = outcomes(cases, relations, default_settings(), known_by=add_months(START, MONTHS))
    return space, cases.assign(bad=outcome == "bad")


def verdicts_on(cases: pd.DataFrame, right: float, seed: int) -> pd.DataFrame:
    """What two reviewers say of each case, the same both."""
    bad = cases["bad"] ^ (np.random.default_rng(seed).random(len(cases)) >= right)
    spoken = cases[["account_id", "as_of"]].assign(since=cases["as_of"], verdict=np.where(bad, "uphold", "overturn"))
    first = spoken.assign(at=cases["as_of"] + timedelta(hours=9), actor="Chen Wei", blind=False, settles=True)
    second = spoken.assign(at=cases["as_of"] + timedelta(hours=10), actor="Li Na", blind=True, settles=False)
    return pd.concat([first, second], ignore_index=True).reindex(columns=VERDICTS.names)


def trained(seed: int, accounts: int, rights: Sequence[float], weights: Sequence[float]) -> Iterator[pd.DataFrame]:
    """PDs of the lines that are held out, one table for each training."""
    with tempfile.TemporaryDirectory() as name:
        space, cases = lent(Path(name), seed, accounts)
        ways = [(1.0, 0.0), *((right, weight) for right in rights for weight in weights)]
        for right, weight in ways:
            verdicts = verdicts_on(cases, right, seed)
            settings = replace(default_settings(), verdict_weight=weight)
            model, table = fit_iteration(space, settings, None, None, verdicts=verdicts)
            one = judge(model, default_policy(), table, space)
            taught, wrong = len(table.verdicts), 0
            if taught:
                beside = table.verdicts.merge(cases, on=["account_id", "as_of"], suffixes=("", "_truly"))
                wrong = int((beside["bad"] != beside["bad_truly"]).sum())
            print(f"world {seed}, right {right:g}, weight {weight:g}: {taught:,} rows", file=sys.stderr, flush=True)
            lines = pd.DataFrame({"world": seed, "right": right, "weight": weight, "bad": one.bad, "pd": one.pd_})
            yield lines.assign(taught=taught, wrong=wrong)


def figures(bad: np.ndarray, pd_: np.ndarray, riskiest: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Log loss and AUC of some lines, and the log loss of those that are riskiest."""
    loss = -np.log(np.where(bad, pd_, 1 - pd_))
    return np.array([(loss * drawn).sum() / drawn.sum(), roc_auc_score(bad, pd_, sample_weight=drawn),
                     (loss * drawn)[riskiest].sum() / drawn[riskiest].sum()])  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[81, 82, 83])
    parser.add_argument("--right", type=float, nargs="+", default=[0.8, 0.9, 0.95, 1.0])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.25, 1.0])
    given = parser.parse_args(arguments)
    every = pd.concat(
        [one for seed in given.seeds for one in trained(seed, given.accounts, given.right, given.weights)]
    )
    parts = {key: part.reset_index(drop=True) for key, part in every.groupby(["right", "weight"])}
    base = parts.pop((1.0, 0.0))
    bad, pd_ = base["bad"].to_numpy(bool), base["pd"].to_numpy()
    riskiest = pd_ >= base.groupby("world")["pd"].transform(lambda pds: pds.quantile(0.9)).to_numpy()
    drawn = np.vstack([np.ones(len(base)), np.random.default_rng(1).poisson(1.0, (_DRAWS, len(base)))])
    first = np.array([figures(bad, pd_, riskiest, one) for one in drawn])
    print(
        f"{len(base):,} lines, {bad.sum():,} bad; without verdicts log loss {first[0, 0]:.4f}, AUC {first[0, 1]:.4f},"
    )
    print(f"log loss of the riskiest tenth {first[0, 2]:.4f}\n")
    print("| right | weight | rows taught | wrong | log loss | AUC | log loss, riskiest tenth |")
    print("|---|---|---|---|---|---|---|")
    for (right, weight), part in parts.items():
        gain = np.array([figures(bad, part["pd"].to_numpy(), riskiest, one) for one in drawn]) - first
        low, high = np.percentile(gain[1:], [2.5, 97.5], axis=0)
        cells = [f"{g:+.4f} [{a:+.4f}, {b:+.4f}]" for g, a, b in zip(gain[0], low, high, strict=True)]
        counts = part.drop_duplicates("world")[["taught", "wrong"]].sum()
        print(f"| {right:.0%} | {weight:g} | {counts['taught']:,} | {counts['wrong']:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
