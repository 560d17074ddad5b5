"""How soon the rule on takeovers sees one: `python -m benchmarks.takeovers [--accounts 6000 --months 18 --seeds 31]`.

Honest worlds. From the first cash drawn after a takeover began, the line is decided by the shipped policy at PD 0, so
that its rules alone act: at the month start, if one comes within a day; at the next midnight; and at each draw, an hour
after it, within the day. The same of the innocent: who draws on a trip with a new phone, and who has a new phone. Rows
are those known at that moment, late postings and all. A rule that freezes pauses the same lines if it is soft.
"""

import argparse
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.world import named_world, simulate
from limitlens.features import CATALOGUE, build_table
from limitlens.features.spine import lines_at, with_limit
from limitlens.limits.decision import decide
from limitlens.limits.rates import Rate
from limitlens.limits.state import first_state
from limitlens.pipeline.workspace import Workspace, default_policy

RULE = "takeover_signs"
CAUSES = ("takeover", "travel", "innocent_device")
DAY, WEEK = timedelta(days=1), timedelta(days=7)
_KEYS = ["account_id", "as_of"]


def first_draws(workspace: Workspace, episodes: pd.DataFrame) -> pd.DataFrame:
    """Each episode (``episode, account_id, cause``) with every draw of the day after its first one (``drawn``).

    An episode without cash within a week has none.
    """
    sql = (
        "SELECT account_id, MIN(event_time) AS drawn FROM consumption WHERE kind = 'draw' GROUP BY account_id, event_id"
    )
    draws = run_sql(sql, {"consumption": workspace.events.relation("consumption")}).to_pandas()
    found = episodes.merge(draws, on="account_id")
    found = found[(found["drawn"] >= found["begins"]) & (found["drawn"] < found["begins"] + WEEK)]
    first = found.groupby("episode")["drawn"].transform("min")
    return found.assign(first=first)[found["drawn"] <= first + DAY]


def moments(draws: pd.DataFrame) -> pd.DataFrame:
    """When a line is decided within a day of the first draw (``episode, account_id, as_of, calendar``)."""
    first = draws.drop_duplicates("episode")
    midnight = first["first"].dt.floor("D") + DAY
    daily = first.assign(as_of=midnight, calendar="daily")
    month = daily[midnight.dt.day == 1].assign(calendar="monthly")
    event = draws.assign(as_of=draws["drawn"].dt.ceil("h") + timedelta(hours=1), calendar="events")
    columns = ["episode", *_KEYS, "calendar"]
    found: pd.DataFrame = pd.concat([month, daily, event], ignore_index=True)[columns]
    return found


def fires(workspace: Workspace, points: pd.DataFrame) -> pd.DataFrame:
    """The points at which the rule fires."""
    relations, policy = workspace.events.relations(), default_policy()
    asked = points[_KEYS].drop_duplicates().assign(known_by=lambda rows: rows["as_of"])
    lines = with_limit(lines_at(asked, relations)).reset_index(drop=True)
    table = build_table(CATALOGUE, lines[[*_KEYS, "known_by"]], relations)
    decided = decide(table, np.zeros(len(lines)), first_state(lines, np.zeros(len(lines), bool)), policy)
    seen = lines.loc[[RULE in fired for fired in decided["fired_rules"]], _KEYS]
    return points.merge(seen, on=_KEYS)


def world(seed: int, accounts: int, months: int) -> pd.DataFrame:
    """One row an episode: ``cause``, whether it ``draws`` cash, and whether the rule fires, by calendar."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "world", accounts=accounts, months=months, seed=seed, world=named_world("honest"), futures=0)
        workspace = Workspace(folder / "work")
        check_events(folder / "world", workspace.events)
        episodes = pd.read_parquet(folder / "world" / "truth" / "episodes.parquet")
        episodes = episodes[episodes["cause"].isin(CAUSES)].reset_index(drop=True)
        episodes = episodes.assign(episode=episodes.index)
        draws = first_draws(workspace, episodes)
        seen = fires(workspace, moments(draws))
    found = episodes[["cause"]].assign(draws=episodes["episode"].isin(draws["episode"]))
    calendars = {"monthly": ["monthly"], "daily": ["daily"], "events": ["events", "daily"]}
    return found.assign(
        **{
            name: episodes["episode"].isin(seen.loc[seen["calendar"].isin(parts), "episode"])
            for name, parts in calendars.items()
        }
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=6_000)
    parser.add_argument("--months", type=int, default=18)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31])
    chosen = parser.parse_args(arguments)
    found = pd.concat([world(seed, chosen.accounts, chosen.months) for seed in chosen.seeds], ignore_index=True)
    print("| episodes | with cash | month starts only | every midnight | an hour after each draw too |")
    print("|---|---|---|---|---|")
    for cause in CAUSES:
        rows = found[found["cause"] == cause]
        told = [_told(Rate(int(rows[name].sum()), len(rows))) for name in ("monthly", "daily", "events")]
        print(f"| {len(rows):,} `{cause}` | {rows['draws'].sum():,} | {' | '.join(told)} |")


def _told(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.count:,}: {rate.share:.1%} [{low:.1%}, {high:.1%}]" if rate.of else "none"


if __name__ == "__main__":
    main()
