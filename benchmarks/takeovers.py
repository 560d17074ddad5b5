"""How soon takeovers are stopped, and whom it costs: `python -m benchmarks.takeovers [--accounts 2200 --seeds 5]`.

Honest worlds, each decided by the rules of the shipped policy at a PD that asks for nothing, from the second month on:
at month starts, as `decide` does without `[daily]`; with the lines daily that had a new phone in a new city; and the
same with the rules on takeovers as soft evidence, so that they pause lines instead of freezing them. Rows are those
known at each date, late postings and all, and states are carried on. There is no dead band, so that a frozen line may
draw again at its first decision after the cool-off: a PD that moves little would keep it frozen for longer.

An episode is stopped when a rule on takeovers freezes or pauses its line within a week of its first sign-in. Its cash
is what is drawn in the six days after that sign-in. Customers do what they did.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import add_months, days
from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.world import START, named_world, simulate
from limitlens.features import CATALOGUE, FeatureSet, build_table
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Condition, Daily, Policy, SecondLook
from limitlens.limits.rates import Rate
from limitlens.limits.state import first_state, next_state, state_at
from limitlens.pipeline.deciding.held_lines import HeldLines, with_holds
from limitlens.pipeline.deciding.plan import plan_lines
from limitlens.pipeline.deciding.point_in_time import Tables
from limitlens.pipeline.workspace import Workspace, default_policy

RULES = ("takeover_signs", "takeover_passed_on")
CAUSES = ("takeover", "travel", "innocent_device")
DAILY = Daily((Condition("new_device_and_city_count_7d", "at_least", 1.0),))
DAY, WEEK, CASH_DAYS = timedelta(days=1), timedelta(days=7), timedelta(days=6)

#: Above the cut-off of a raise, below that of a review.
_CALM_PD = 0.05


def calendars() -> dict[str, Policy]:
    """The shipped policy on each calendar."""
    shipped = default_policy()
    timers = replace(shipped.timers, dead_band_log_odds=0.0)
    monthly = replace(shipped, timers=timers, daily=None, second_look=None)
    daily = replace(monthly, daily=DAILY)
    return {
        "month starts": monthly,
        "signed in anew: daily": daily,
        "the same, a pause": replace(daily, second_look=SecondLook(10, RULES)),
    }


@dataclass(frozen=True)
class World:
    """What struck whom in a world, and what was drawn then.

    Parameters
    ----------
    episodes : DataFrame with ``episode, account_id, cause, begins``
    draws : DataFrame with ``episode, drawn, cents``
        Of the days after each episode began.
    good : set of str
        Accounts that are in default at no time.
    """

    episodes: pd.DataFrame
    draws: pd.DataFrame
    good: frozenset[str]


def planned(workspace: Workspace, policy: Policy, since: datetime, until: datetime) -> pd.DataFrame:
    """When `decide` decides which line; a daily one also on the day after, as a paused one is."""
    relations, any_of = workspace.events.relations(), policy.decided_daily
    dates = days(since, until)
    lines = plan_lines(dates, None, relations, whole_book=False, features=CATALOGUE, any_of=any_of)
    after = lines[lines["as_of"].dt.day > 1].assign(as_of=lambda rows: rows["as_of"].dt.normalize() + DAY)
    after = after[after["as_of"] <= until]
    every = pd.concat([lines, after], ignore_index=True) if any_of else lines
    return every.drop_duplicates(["account_id", "as_of"]).sort_values(["account_id", "as_of"], ignore_index=True)


class RulesAlone(Iteration):
    """An iteration whose PD asks for nothing."""

    def score(self, table: pd.DataFrame, state: pd.DataFrame) -> FloatArray:
        """The same PD for everybody."""
        return np.full(len(table), _CALM_PD)


def decisions(
    lines: pd.DataFrame,
    table: pd.DataFrame,
    features: FeatureSet,
    policy: Policy,
    *,
    held: HeldLines | None = None,
    tables: Tables | None = None,
) -> pd.DataFrame:
    """Every decision, each from the state that the one before it left: the first of all lines, then the second.

    Parameters
    ----------
    lines : DataFrame of n rows with ``account_id, as_of, opened_at, limit_cents, watched``
        By account and time.
    table : DataFrame of n rows
        Features.
    held : HeldLines, optional
        Which holds touch which decisions; default: none.
    tables : mapping of feature set digest to feature table, optional
        Those of the decisions and of the moments before the holds.
    """
    iteration = RulesAlone(SimpleNamespace(features=features), policy, "rules alone")
    parts, after = [], pd.DataFrame()
    for turn, rows in lines.groupby(lines.groupby("account_id").cumcount()):
        left = after.loc[rows["account_id"]].set_index(rows.index) if turn else None
        nobody = np.zeros(len(rows), bool)
        state = first_state(rows, nobody) if left is None else state_at(left, rows["as_of"])
        state = state.assign(watched=rows["watched"])
        found = iteration.decide(table.loc[rows.index], state)
        if held is not None and tables is not None:
            plain, of_rows, before = (part.reset_index(drop=True) for part in (found, rows, state))
            found = with_holds(plain, of_rows, before, held, now=iteration, tables=tables).set_axis(rows.index)
        after = next_state(state, found, rows["as_of"]).set_axis(rows["account_id"])
        could = pd.DataFrame({"state.can_draw": state["can_draw"]})
        parts.append(pd.concat([rows[["account_id", "as_of"]], found, could], axis=1))
    return pd.concat(parts)


def stops(decided: pd.DataFrame, rules: Sequence[str] = RULES) -> pd.DataFrame:
    """When a rule stopped a line, and when it could draw again (``account_id, stopped, again``).

    ``again`` is null where it never could.
    """
    ordered = decided.sort_values(["account_id", "as_of"])
    ruled = ordered["fired_rules"].map(lambda fired: bool({*rules} & {*fired}))
    begin = ordered[ruled & ordered["action"].isin(["freeze", "pause", "close"]) & ordered["state.can_draw"]]
    opened = ordered.loc[ordered["can_draw"], ["account_id", "as_of"]].rename(columns={"as_of": "again"})
    found = begin[["account_id", "as_of"]].rename(columns={"as_of": "stopped"}).sort_values("stopped")
    return pd.merge_asof(
        found, opened.sort_values("again"), left_on="stopped", right_on="again", by="account_id", direction="forward"
    )


def judged(world: World, stopped: pd.DataFrame, causes: Sequence[str] = CAUSES) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every episode with its first stop, and every stop with its episode.

    Returns
    -------
    DataFrame with ``cause, stopped, first_cash, cents, saved_cents``, a row an episode
    DataFrame with ``cause`` (``other``: no episode), ``good, days``, a row a stop
    """
    pairs = stopped.reset_index(names="stop").merge(world.episodes, on="account_id")
    pairs = pairs[(pairs["stopped"] > pairs["begins"]) & (pairs["stopped"] <= pairs["begins"] + WEEK)]
    episodes = world.episodes.set_index("episode")
    first = pairs.groupby("episode")["stopped"].min().reindex(episodes.index)
    draws = world.draws.assign(late=world.draws["drawn"] >= world.draws["episode"].map(first))
    by_episode = draws.groupby("episode")
    found = episodes.assign(
        stopped=first,
        first_cash=by_episode["drawn"].min(),
        cents=by_episode["cents"].sum(),
        saved_cents=draws[draws["late"]].groupby("episode")["cents"].sum(),
    ).fillna({"cents": 0, "saved_cents": 0})
    order = {cause: rank for rank, cause in enumerate(causes)}
    cause = pairs.sort_values("cause", key=lambda names: names.map(order)).drop_duplicates("stop").set_index("stop")
    told = stopped.assign(
        cause=cause["cause"].reindex(stopped.index).fillna("other"),
        good=stopped["account_id"].isin(world.good),
        days=(stopped["again"] - stopped["stopped"]) / DAY,
    )
    return found, told


def struck(folder: Path, workspace: Workspace, causes: Sequence[str] = CAUSES) -> World:
    """The truth of a world beside what its events say was drawn."""
    sql = """
    SELECT account_id, MIN(event_time) AS drawn, ARG_MAX(amount_cents, known_time) AS cents FROM consumption
    WHERE kind = 'draw' GROUP BY account_id, event_id HAVING NOT BOOL_OR(COALESCE(retracted, FALSE))
    """
    draws = run_sql(sql, {"consumption": workspace.events.relation("consumption")}).to_pandas()
    episodes = pd.read_parquet(folder / "truth" / "episodes.parquet")
    episodes = episodes.loc[episodes["cause"].isin(causes), ["account_id", "cause", "begins"]].reset_index(drop=True)
    episodes = episodes.assign(episode=episodes.index)
    drawn = episodes.merge(draws, on="account_id")
    drawn = drawn[(drawn["drawn"] >= drawn["begins"]) & (drawn["drawn"] < drawn["begins"] + CASH_DAYS)]
    lines = pd.read_parquet(folder / "truth" / "lines.parquet")
    return World(episodes, drawn[["episode", "drawn", "cents"]], frozenset(lines.loc[lines["good"], "account_id"]))


def world_under_each(seed: int, accounts: int, months: int) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """What :func:`judged` says of one world, by calendar."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "world", accounts=accounts, months=months, seed=seed, world=named_world("honest"), futures=1)
        workspace = Workspace(folder / "work")
        check_events(folder / "world", workspace.events)
        world, policies = struck(folder / "world", workspace), calendars()
        features = CATALOGUE.only(set().union(*(p.columns for p in policies.values())) & set(CATALOGUE.declaration_of))
        relations, found = workspace.events.relations(), {}
        for what, policy in policies.items():
            lines = planned(workspace, policy, add_months(START, 1), add_months(START, months))
            table = build_table(features, lines[["account_id", "as_of"]].assign(known_by=lines["as_of"]), relations)
            found[what] = judged(world, stops(decisions(lines, table, features, policy)))
        return found


def report(episodes: pd.DataFrame, stopped: pd.DataFrame) -> dict[str, str]:
    """One column of the table."""
    taken = episodes[episodes["cause"] == "takeover"]
    seen = taken[taken["stopped"].notna()]
    with_cash = taken["first_cash"].notna()
    soon = taken["stopped"] <= taken["first_cash"] + DAY
    innocent = stopped[stopped["cause"] != "takeover"]
    found = {
        "takeovers stopped": rate(taken["stopped"].notna()),
        "of those with cash, within a day of the first": rate(soon[with_cash]),
        "days from the sign-in to the stop, median": median((seen["stopped"] - seen["begins"]) / DAY),
        "days from the first cash, median": median((seen["stopped"] - seen["first_cash"]) / DAY),
        "their cash": f"{taken['cents'].sum() / 100:,.0f}",
        "of it, not drawn yet at the stop": f"{taken['saved_cents'].sum() / taken['cents'].sum():.1%}",
    }
    for cause in CAUSES[1:]:
        found[f"`{cause}` stopped"] = rate(episodes.loc[episodes["cause"] == cause, "stopped"].notna())
    other = innocent["cause"] == "other"
    found["other stops, of them of good lines"] = f"{other.sum():,}, {(other & innocent['good']).sum():,}"
    found["days an innocent line is stopped, median"] = median(innocent["days"])
    never = innocent["again"].isna()
    found["innocent lines stopped until the end"] = f"{never.sum():,} of {len(innocent):,}"
    return found


def rate(seen: pd.Series) -> str:
    """How many of how many, with the interval."""
    seen_rate = Rate(int(seen.sum()), len(seen))
    low, high = seen_rate.interval
    counts = f"{seen_rate.count:,} of {seen_rate.of:,}: {seen_rate.share:.1%}"
    return f"{counts} [{low:.1%}, {high:.1%}]" if seen_rate.of else "none"


def median(values: pd.Series) -> str:
    """The median, or a dash where there is none."""
    return f"{values.median():.1f}" if values.notna().any() else "–"


Found = tuple[pd.DataFrame, pd.DataFrame]


def run(
    arguments: Sequence[str] | None,
    description: str | None,
    of_world: Callable[[int, int, int], dict[str, Found]],
    column: Callable[[pd.DataFrame, pd.DataFrame], dict[str, str]],
) -> None:
    """Print a table of the worlds that the command line names: a column a calendar.

    Parameters
    ----------
    arguments : sequence of str, optional
    description : str, optional
        For the help.
    of_world : callable
        Takes seed, accounts and months; gives what :func:`judged` says, by calendar.
    column : callable
        One column of the table, out of all episodes and stops of a calendar.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=2_200)
    parser.add_argument("--months", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5])
    chosen = parser.parse_args(arguments)
    printed([of_world(seed, chosen.accounts, chosen.months) for seed in chosen.seeds], column)


def printed(
    worlds: Sequence[Mapping[str, Found]], column: Callable[[pd.DataFrame, pd.DataFrame], dict[str, str]]
) -> None:
    """Print the table of some worlds."""
    columns = {}
    for what in worlds[0]:
        episodes, stopped = (pd.concat([one[what][k] for one in worlds], ignore_index=True) for k in (0, 1))
        columns[what] = column(episodes, stopped)
    print(f"| | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for row in next(iter(columns.values())):
        print(f"| {row} | {' | '.join(cells[row] for cells in columns.values())} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    run(arguments, __doc__, world_under_each, report)


if __name__ == "__main__":
    main()
