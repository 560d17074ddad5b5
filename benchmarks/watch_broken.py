"""What the watch does where a feed is broken: `python -m benchmarks.watch_broken [--accounts 1500 --seeds 5]`.

The worlds and calendars of `benchmarks.watch`. From the fourth month on one feed is broken on the first ten days of
every month: no repayment comes, devices have no id, no purchase comes, or all that is bought and drawn comes six days
late. What did not come or came wrong comes six days after the ten. Each of the ten days is judged by those before it,
none of which knows of an earlier fault, as `limitlens check` does with the delivery of a day: the source that is
broken, and of the feed that is whole all. What that holds is held from the midnight after the day until the rows have
come.

Counted are the episodes that begin, and the stops that come, within those sixteen days of a month; of the feed that is
whole in the same days. Decided by the daily job, by the watch without holds, and by the watch with them: a line for
which a hold makes a difference is left as it is.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmarks.takeovers import DAY, Found, decisions, judged, printed, stops, struck
from benchmarks.watch import GUILTY, INNOCENT, calendars, looked_at, report
from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.faults import Fault, apply_fault
from limitlens.data.incident import Incident
from limitlens.data.incidents import accounts_of, profiles_of
from limitlens.data.incidents import judged as judged_days
from limitlens.data.quality_settings import default_quality
from limitlens.data.storage import write_parquet
from limitlens.data.world import START, named_world, simulate
from limitlens.features import CATALOGUE, FeatureSet, build_table
from limitlens.limits.hold import Hold
from limitlens.limits.policy import Policy
from limitlens.pipeline.deciding.held_lines import SILENT, HeldLines, with_moments
from limitlens.pipeline.deciding.point_in_time import by_moment
from limitlens.pipeline.deciding.silent_lines import silent_lines
from limitlens.pipeline.workspace import Workspace, default_policy

#: What is broken in each feed.
FEEDS: Mapping[str, Fault | None] = {
    "whole": None,
    "no repayments": Fault("missing_batch", "payment", kinds=("repayment",)),
    "no device ids": Fault("nulls", "device"),
    "no purchases": Fault("missing_batch", "consumption", kinds=("purchase",)),
    "consumption late": Fault("late_batch", "consumption"),
}

#: Days at the beginning of a month on which a feed is broken, and until its rows have come.
BROKEN, MENDED = timedelta(days=10), timedelta(days=16)

#: The first month that has such days, counted from the first of the world.
FIRST_MONTH = 3


def begins(months: int) -> list[datetime]:
    """When each of the faults begins."""
    return [add_months(START, month) for month in range(FIRST_MONTH, months)]


def broken(world: Path, folder: Path, fault: Fault, months: int) -> Path:
    """A copy of a world of which one feed is broken."""
    shutil.copytree(world, folder)
    rows = pq.read_table(world / fault.source)
    for begin in begins(months):
        rows = apply_fault(replace(fault, start=begin, end=begin + BROKEN), rows).table
    shutil.rmtree(folder / fault.source)
    write_parquet(rows, folder / fault.source / "rows.parquet")
    return folder


def holds_of(workspace: Workspace, truth: Workspace, fault: Fault | None, months: int) -> list[tuple[Hold, datetime]]:
    """What the judgement of each day would hold, and until when; none knows of an earlier fault."""
    settings, store = default_quality().judging, workspace.events
    seen, whole = (profiles_of(one.events, settings, add_months(START, months)) for one in (workspace, truth))
    held = list[tuple[Hold, datetime]]()
    for begin in begins(months):
        past, since = (times["day"] < pd.Timestamp(begin.date()) for times in (whole, seen))
        profiles = pd.concat([whole[past], seen[~since]], ignore_index=True)
        profiles = profiles[profiles["source"] == fault.source] if fault else profiles
        for first in (begin + day * DAY for day in range(BROKEN.days)):
            for one in judged_days(profiles, store, settings, first, first + DAY):
                in_force = any(hold.scope == one.scope and first < until for hold, until in held)
                if one.state == "hold" and not in_force:
                    held.append((_hold(one), begin + MENDED))
    return held


def _hold(one: Incident) -> Hold:
    return Hold(
        one.source, one.since, one.until, "check", one.evidence, one.kind, one.slice_column, one.slice_value, one.fault
    )


def held_lines(lines: pd.DataFrame, holds: Sequence[tuple[Hold, datetime]], workspace: Workspace) -> HeldLines:
    """Which decisions the holds touch, each from its opening to its release; and lines whose own status stopped."""
    keys = ["account_id", "as_of"]
    pairs = [silent_lines(lines, workspace.events.relations()).assign(hold=SILENT)]
    for number, (hold, until) in enumerate(holds, 1):
        after = lines.loc[(lines["as_of"] > hold.opened_at) & (lines["as_of"] <= until), keys]
        if hold.slice_column:
            sql, values = accounts_of(hold.scope, hold.since, None, workspace.events)
            after = after[after["account_id"].isin(run_sql(sql, values=values)["account_id"].to_pylist())]
        pairs.append(after.assign(hold=number))
    return HeldLines({number: hold for number, (hold, _) in enumerate(holds, 1)}, pd.concat(pairs, ignore_index=True))


def in_those_days(found: Found, begin_column: pd.Series, months: int) -> Found:
    """The episodes that begin, and the stops that come, while a feed is broken or not mended yet."""
    episodes, stopped = found

    def within(times: pd.Series) -> pd.Series:
        return pd.concat([(times >= one) & (times < one + MENDED) for one in begins(months)], axis=1).any(axis=1)

    return episodes[within(begin_column).to_numpy()], stopped[within(stopped["stopped"])]


def under_each(delivery: Path, work: Path, world: Path, fault: Fault | None, months: int) -> dict[str, Found]:
    """What `benchmarks.takeovers.judged` says of one delivery, by who decides."""
    workspace = Workspace(work)
    check_events(delivery, workspace.events, max_quarantined_share=1.0)
    truth = Workspace(work.with_name("truth"))
    if not truth.root.exists():
        check_events(world, truth.events)
    episodes = struck(world, truth, (*GUILTY, *INNOCENT))
    policies, rules = calendars(), [rule.name for rule in default_policy().watched_rules]
    features = CATALOGUE.only(set().union(*(p.columns for p in policies.values())) & set(CATALOGUE.declaration_of))
    holds = holds_of(workspace, truth, fault, months)
    days = sorted({hold.opened_at.day - 1 for hold, _ in holds})
    print(f"{work.name}: {len(holds)} holds, on these days of a fault: {days}", file=sys.stderr)
    found = {}
    for who, policy, held in (
        ("daily job", policies["shipped calendar"], True),
        ("watched, no holds", policies["shipped calendar, watched"], False),
        ("watched", policies["shipped calendar, watched"], True),
    ):
        lines = looked_at(workspace, policy, add_months(START, 1), add_months(START, months))
        touched = held_lines(lines, holds, workspace) if held else None
        decided = _decided(lines, touched, features, policy, workspace)
        one = judged(episodes, stops(decided, rules), (*GUILTY, *INNOCENT))
        found[who] = in_those_days(one, episodes.episodes["begins"], months)
    return found


def _decided(
    lines: pd.DataFrame, held: HeldLines | None, features: FeatureSet, policy: Policy, workspace: Workspace
) -> pd.DataFrame:
    moments = lines[["account_id", "as_of"]].assign(known_by=lines["as_of"])
    asked = with_moments(moments, held) if held else moments
    table = build_table(features, asked, workspace.events.relations())
    tables = {features.digest: by_moment(table)}
    return decisions(lines, table.iloc[: len(lines)].set_axis(lines.index), features, policy, held=held, tables=tables)


def world_with_each(seed: int, accounts: int, months: int, feeds: Sequence[str]) -> dict[str, dict[str, Found]]:
    """One world, its feed broken in each of some ways."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        world = folder / "world"
        simulate(world, accounts=accounts, months=months, seed=seed, world=named_world("honest"), futures=1)
        found = {}
        for feed in feeds:
            fault = FEEDS[feed]
            delivery = broken(world, folder / feed, fault, months) if fault else world
            found[feed] = under_each(delivery, folder / f"work {feed}", world, fault, months)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1_500)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5])
    parser.add_argument("--feeds", nargs="+", choices=list(FEEDS), default=list(FEEDS))
    chosen = parser.parse_args()
    worlds = [world_with_each(seed, chosen.accounts, chosen.months, chosen.feeds) for seed in chosen.seeds]
    for feed in chosen.feeds:
        print(f"\n{feed}:\n")
        printed([one[feed] for one in worlds], report)


if __name__ == "__main__":
    main()
