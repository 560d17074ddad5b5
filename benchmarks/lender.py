"""A lender in a world that answers: `python -m benchmarks.lender [--accounts N] [--world honest]`.

The book is decided every week. Each time the world is simulated again with all that was decided until then, and what
became known since the last time is delivered; what was known before is the same, since a world before a decision is the
same with and without it. In the end the truth says of every adverse action whether the customer was good, what innocent
cause there was, and what would have become of the line without it.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.contracts import EVENT_SOURCES
from limitlens.data.storage import read_parquet, write_parquet
from limitlens.data.world import START, WorldSettings, named_world, simulate
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

MONTHS, TAUGHT_MONTHS = 15, 12
_EVERY = timedelta(days=7)
_MOVES = ["account_id", "as_of", "action", "limit_cents", "can_draw"]


def lend(folder: Path, accounts: int, seed: int, world: WorldSettings) -> pd.DataFrame:
    """Decide week by week in a world that answers.

    Returns
    -------
    DataFrame
        ``truth/actions.parquet`` of that world: its adverse actions.
    """
    workspace, decided, before = Workspace(folder / "work"), None, None
    for place, when in enumerate(_dates()):
        out = folder / f"world-{place}"
        simulate(out, accounts=accounts, months=MONTHS, seed=seed, world=world, decisions=decided, futures=0)
        deliver(out, folder / f"delivery-{place}", before, when)
        check_events(folder / f"delivery-{place}", workspace.events, decided_until=before)
        if before is None:
            small = replace(default_settings(), folds=3, rounds=1, carried_rounds=0)
            train(workspace, small, default_policy(), developer="developer")
            promote(workspace, None, when, override=Override("head of credit risk", "a benchmark"))
        decide(workspace, as_of=when)
        decided, before = workspace.decisions()[_MOVES], when
        print(f"{when:%Y-%m-%d}: {(decided['as_of'] == when).sum():,} lines decided", flush=True)
    simulate(folder / "last", accounts=accounts, months=MONTHS, seed=seed, world=world, decisions=decided, futures=0)
    return pd.read_parquet(folder / "last" / "truth" / "actions.parquet")


def _dates() -> Iterator[datetime]:
    when, end = add_months(START, TAUGHT_MONTHS), add_months(START, MONTHS)
    while when <= end:
        yield when
        when += _EVERY


def deliver(world: Path, out: Path, since: datetime | None, until: datetime) -> None:
    """What became known in a span of time; of the accounts, all that were known by its end."""
    for source in ("accounts", *EVENT_SOURCES):
        for path in sorted((world / source).glob("*.parquet")):
            table = read_parquet(path)
            known = pc.less(table["known_time"], until)
            if since is not None:
                known = pc.and_(known, pc.greater_equal(table["known_time"], since))
            write_parquet(table.filter(known), out / source / path.name)


def summary(actions: pd.DataFrame, by: str) -> pd.DataFrame:
    """Adverse actions by what they are: on whom, and what they led to."""
    harmed = actions["bad"] & ~actions["bad_without"]
    saved = ~actions["bad"] & actions["bad_without"]
    told = actions.assign(innocent_cause=actions["innocent"] != "", made_bad=harmed, made_good=saved)
    columns = ["good", "innocent_cause", "bad", "bad_without", "made_bad", "made_good"]
    found = told.groupby(by)[columns].sum()
    return pd.concat([told.groupby(by).size().rename("actions"), found], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--world", default="honest", help="first, honest or a TOML file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        actions = lend(Path(folder), given.accounts, given.seed, named_world(given.world))
    print(f"\n{len(actions):,} adverse actions on {actions['account_id'].nunique():,} lines")
    print(summary(actions, "action").to_string())
    print()
    print(summary(actions, "answer").to_string())
    causes = actions.assign(innocent=actions["innocent"].str.split(",")).explode("innocent")
    print()
    print(summary(causes[causes["innocent"] != ""], "innocent").to_string())


if __name__ == "__main__":
    main()
