"""What the watch is worth: `python -m benchmarks.watch [--accounts 2200 --seeds 5]`.

Honest worlds, each decided by the watched rules of the shipped policy at a PD that asks for nothing, from the second
month on: by the shipped calendar (month starts, new and paused lines daily); with the lines daily that had a new phone
in a new city, too; and by the shipped calendar with the watch, which looks at a line two seconds after each row about
it is known. A tick sees what the batch sees of that moment (tests/test_watch.py), so it is asked here for all moments
at once. Rows are those known then, late postings and all, and states are carried on.

An episode is stopped when a watched rule pauses, freezes or closes its line within a week of its beginning. Its cash is
what is drawn in the six days after it; what is drawn later than the stop would have been saved. Customers do what they
did.
"""

import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from benchmarks.takeovers import DAILY, DAY, Found, decisions, judged, median, planned, rate, run, stops, struck
from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.world import START, named_world, simulate
from limitlens.features import CATALOGUE, build_table
from limitlens.features.spine import lines_at, with_limit
from limitlens.limits.policy import Policy
from limitlens.pipeline.workspace import Workspace, default_policy

GUILTY, INNOCENT = ("takeover", "cash_out"), ("travel", "innocent_device", "first_need")

#: From a row to the look at its line.
TICK = timedelta(seconds=2)


def calendars() -> dict[str, Policy]:
    """The shipped policy on each calendar; no dead band, as in `benchmarks.takeovers`."""
    shipped = default_policy()
    plain = replace(shipped, timers=replace(shipped.timers, dead_band_log_odds=0.0), daily=None)
    return {
        "shipped calendar": replace(plain, watch=None),
        "signed in anew: daily": replace(plain, watch=None, daily=DAILY),
        "shipped calendar, watched": plain,
    }


def looked_at(workspace: Workspace, policy: Policy, since: datetime, until: datetime) -> pd.DataFrame:
    """When a line is decided: by plan, on each of ten days after a look that may pause it, and by the watch."""
    plan = planned(workspace, policy, since, until)
    if not policy.watch:
        return plan
    ticks = _ticks(workspace, since, until)
    days = [ticks[["account_id", "as_of"]].assign(as_of=ticks["as_of"].dt.normalize() + DAY * k) for k in range(1, 13)]
    points = pd.concat(days).drop_duplicates()
    points = points[points["as_of"] <= until]
    lines = with_limit(lines_at(points.assign(known_by=points["as_of"]), workspace.events.relations()))
    after = lines.assign(watched=False, date=lines["as_of"])
    every = pd.concat([plan, after[plan.columns], ticks[plan.columns]], ignore_index=True)
    return every.drop_duplicates(["account_id", "as_of"]).sort_values(["account_id", "as_of"], ignore_index=True)


def _ticks(workspace: Workspace, since: datetime, until: datetime) -> pd.DataFrame:
    """Moments just after a row came about a line to which a watched rule may apply.

    That is a line of under 31 days, or one with a new phone in a new city in the week before or the day after: no
    other can meet all conditions of a shipped rule.
    """
    relations = workspace.events.relations()
    signed = CATALOGUE.only(["new_device_and_city_count_7d"])
    rows = run_sql(
        """
        SELECT DISTINCT account_id, known_time FROM (
            SELECT account_id, known_time FROM consumption UNION ALL SELECT account_id, known_time FROM payment
            UNION ALL SELECT account_id, known_time FROM device
        ) WHERE known_time >= $since AND known_time < $until
        """,
        relations,
        {"since": since, "until": until},
    ).to_pandas()
    points = pd.DataFrame({"account_id": rows["account_id"], "as_of": (rows["known_time"] + TICK).dt.as_unit("us")})
    lines = with_limit(lines_at(points.assign(known_by=points["as_of"]), relations))
    young = lines["as_of"] - lines["opened_at"] < DAY * 31
    spine = lines[~young].assign(as_of=lines["as_of"].dt.normalize() + DAY)[["account_id", "as_of"]].drop_duplicates()
    table = build_table(signed, spine.assign(known_by=spine["as_of"]), relations)
    near = spine[table["new_device_and_city_count_7d"].to_numpy() >= 1]
    marked = lines.assign(day=lines["as_of"].dt.normalize() + DAY).merge(
        near.rename(columns={"as_of": "day"}), on=["account_id", "day"], how="left", indicator=True
    )
    chosen = lines[young.to_numpy() | (marked["_merge"] == "both").to_numpy()]
    return chosen.assign(watched=True, date=chosen["as_of"])


def world_under_each(seed: int, accounts: int, months: int) -> dict[str, Found]:
    """What `benchmarks.takeovers.judged` says of one world, by calendar."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "world", accounts=accounts, months=months, seed=seed, world=named_world("honest"), futures=1)
        workspace = Workspace(folder / "work")
        check_events(folder / "world", workspace.events)
        world, policies = struck(folder / "world", workspace, (*GUILTY, *INNOCENT)), calendars()
        features = CATALOGUE.only(set().union(*(p.columns for p in policies.values())) & set(CATALOGUE.declaration_of))
        rules = [rule.name for rule in default_policy().watched_rules]
        relations, found = workspace.events.relations(), {}
        for what, policy in policies.items():
            lines = looked_at(workspace, policy, add_months(START, 1), add_months(START, months))
            table = build_table(features, lines[["account_id", "as_of"]].assign(known_by=lines["as_of"]), relations)
            stopped = stops(decisions(lines, table, features, policy), rules)
            found[what] = judged(world, stopped, (*GUILTY, *INNOCENT))
        return found


def report(episodes: pd.DataFrame, stopped: pd.DataFrame) -> dict[str, str]:
    """One column of the table."""
    found = {}
    for cause in GUILTY:
        own = episodes[episodes["cause"] == cause]
        seen = own[own["stopped"].notna()]
        hours = (seen["stopped"] - seen["first_cash"]) / timedelta(hours=1)
        found[f"`{cause}` stopped"] = rate(own["stopped"].notna())
        found[f"`{cause}`: hours from the first cash to the stop, median"] = median(hours)
        saved = own["saved_cents"].sum() / max(own["cents"].sum(), 1)
        found[f"`{cause}`: cash saved"] = f"{saved:.1%} of {own['cents'].sum() / 100:,.0f}"
    for cause in INNOCENT:
        found[f"`{cause}` stopped"] = rate(episodes.loc[episodes["cause"] == cause, "stopped"].notna())
    innocent = stopped[~stopped["cause"].isin(GUILTY)]
    found["stops of good lines"] = f"{innocent['good'].sum():,} of {len(stopped):,}"
    found["days a good line is stopped, median"] = median(innocent.loc[innocent["good"], "days"])
    never = innocent["good"] & innocent["again"].isna()
    found["good lines stopped until the end"] = f"{never.sum():,}"
    return found


if __name__ == "__main__":
    run(None, __doc__, world_under_each, report)
