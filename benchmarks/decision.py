"""How many accounts a second the policy decides: `python -m benchmarks.decision [--rows 2000000] [--runs 7]`.

A synthetic book with the columns the shipped policy reads, everything in memory; PDs are given, nothing is scored.
Printed are the median of the runs, the slowest and the fastest, and the peak memory of the process; then the same
policy carried out one account at a time by `DataFrame.apply`, on the first rows, with the same answers.
"""

import argparse
import resource
import time
from statistics import median

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.limits.decision import decide
from limitlens.limits.policy import Policy
from limitlens.limits.state import NEVER_DAYS
from limitlens.pipeline.workspace import default_policy
from tests.decision_oracle import decide_one

#: Rows that are decided one by one.
SAMPLE = 20_000

Book = tuple[pd.DataFrame, FloatArray, pd.DataFrame]


def synthetic_book(rows: int, seed: int = 1) -> Book:
    """Features, PDs and states of so many lines; every action and every rule of the shipped policy occurs."""
    rng = np.random.default_rng(seed)
    limit = rng.integers(5, 1_000, rows) * 100_00
    since = np.where(rng.random(rows) < 0.5, NEVER_DAYS, rng.integers(0, 400, rows))
    adverse = np.where(rng.random(rows) < 0.2, since, NEVER_DAYS)
    age = rng.integers(0, 1_500, rows)
    table = pd.DataFrame(
        {
            "segment": rng.choice(np.array(["salaried", "student", "self_employed", "gig"], object), rows),
            "balance_cents": (limit * rng.random(rows) * 1.05).astype(np.int64),
            "dpd_days": np.where(rng.random(rows) < 0.9, 0, rng.integers(0, 150, rows)),
            "transfer_in_sum_90d": rng.integers(0, 3_000_000, rows),
            "transfer_in_days_since_ever": np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows) * 60),
            "draw_share_2d": rng.random(rows) ** 4,
            "draw_count_2d": rng.integers(0, 6, rows),
            "transfer_out_of_draw_2d": np.where(rng.random(rows) < 0.5, np.nan, rng.random(rows)),
            "new_device_and_city_count_7d": rng.integers(0, 2, rows),
            "draw_share_7d": rng.random(rows) ** 3,
            "purchase_count_7d": rng.integers(0, 4, rows),
            "passed_on_count_7d": rng.integers(0, 2, rows),
            "line_age_days": age.astype(np.float64),
        }
    )
    pd_ = np.clip(rng.beta(0.4, 6.0, rows), 1e-4, 1 - 1e-4)
    state = pd.DataFrame(
        {
            "limit_cents": limit,
            "can_draw": rng.random(rows) < 0.97,
            "closed": rng.random(rows) < 0.01,
            "holdout": rng.random(rows) < 0.02,
            "pd_ref": np.where(since < NEVER_DAYS, np.clip(pd_ * rng.lognormal(0, 0.5, rows), 1e-4, 0.99), np.nan),
            "line_age_days": age,
            "days_since_change": since,
            "days_since_adverse": adverse,
            "days_since_pause": NEVER_DAYS,
            "watched": False,
        }
    )
    return table, pd_, state


def seconds(book: Book, policy: Policy, runs: int) -> list[float]:
    """Wall time of each run, after one that does not count."""
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        decide(*book, policy)
        taken.append(time.perf_counter() - start)
    return taken[1:]


def one_by_one(book: Book, policy: Policy) -> float:
    """Seconds of the first rows by `DataFrame.apply`, which must answer the same."""
    table, pd_, state = book[0].head(SAMPLE), book[1][:SAMPLE], book[2].head(SAMPLE)
    rows = pd.concat([table.drop(columns="line_age_days"), state], axis=1).assign(pd=pd_)
    start = time.perf_counter()
    apart = rows.apply(lambda row: decide_one(row, policy), axis=1, result_type="expand")
    taken = time.perf_counter() - start
    together = decide(table, pd_, state, policy)
    for place, name in enumerate(("action", "limit_cents", "can_draw", "fired_rules")):
        if apart[place].tolist() != together[name].tolist():
            raise SystemExit(f"{name}: the two ways do not agree")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=7)
    given = parser.parse_args()
    book, policy = synthetic_book(given.rows), default_policy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = seconds(book, policy, given.runs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    middle, spread = median(taken), f"{min(taken):.3f} to {max(taken):.3f}"
    print(
        f"decide          {given.rows / middle:>12,.0f} accounts/s  median of {given.runs}: {middle:.3f} s ({spread})"
    )
    print(f"                peak {peak / 1e6:.2f} GB, of it {before / 1e6:.2f} before the first run")
    alone = SAMPLE / one_by_one(book, policy)
    print(f"DataFrame.apply {alone:>12,.0f} accounts/s  {SAMPLE:,} rows, the same answers")


if __name__ == "__main__":
    main()
