"""How long a stress test takes: `python -m benchmarks.stress WORKSPACE [--lines 1000000]`.

The last decided day of a workspace (`limitlens demo` makes one), its lines repeated under other ids until there are so
many, a batch at a time; ten scenarios of PDs, the economy, behaviour, policy and another training. Features are given:
what it takes to compute them is in docs/features.md, and outages and late inflows, which compute them again, are left
out. Printed are CPU and wall seconds, what each scenario took of the CPU, and the peak memory of the process.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.limits.stress_scenarios import Scenario, read_scenarios
from limitlens.pipeline.stressing.decided_day import BATCH_ROWS, Batch, DecidedDay, batch_of, batches, decided_day
from limitlens.pipeline.stressing.shocks import Given
from limitlens.pipeline.stressing.stress import Counting, without_shock
from limitlens.pipeline.workspace import Workspace, default_scenarios

#: Beside the shipped scenarios that need no events.
MORE = (
    Scenario("crisis", "crisis", "", 1, date(2026, 11, 30), "pd", log_odds={"default": 1.5}),
    Scenario("economy", "economy", "", 1, date(2026, 11, 30), "economy", path={"stress": (0.5,)}),
)


def tiled(day: DecidedDay, workspace: Workspace, lines: int) -> Iterator[Batch]:
    """Batches of the day's lines under other ids, scored anew: who never saw an account depends on its id."""
    columns = day.iteration.policy.columns
    whole = list(batches(day, workspace, columns, scored=True))
    features = pd.concat([one.features for one in whole], ignore_index=True)
    recorded = pd.concat([one.recorded for one in whole], ignore_index=True)
    for start in range(0, lines, BATCH_ROWS):
        rows = np.arange(start, min(start + BATCH_ROWS, lines))
        names = pd.Series([f"T{row}" for row in rows], dtype="str")
        table = features.iloc[rows % len(features)].reset_index(drop=True).assign(account_id=names)
        some = recorded.iloc[rows % len(recorded)].reset_index(drop=True).assign(account_id=names)
        batch = batch_of(day.iteration, day.iteration.model.features, table, some, frozenset(columns))
        pd_ = day.iteration.score(table, batch.lines.state)
        yield replace(batch, lines=replace(batch.lines, pd_=pd_))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    given = parser.parse_args()
    workspace = Workspace(given.workspace)
    day = decided_day(workspace)
    shipped = [s for s in read_scenarios(default_scenarios()) if s.kind != "outage" and not s.inflow_delay_days]
    needed = Given(day.run.as_of, day.iteration, {}, economy={"economy": 0.4})
    counting = [Counting(one, needed) for one in (*shipped, *MORE)]
    taken = dict.fromkeys((one.scenario.name for one in counting), 0.0)
    began, cpu = time.perf_counter(), time.process_time()
    for batch in tiled(day, workspace, given.lines):
        base = without_shock(batch, day.iteration.policy)
        for one in counting:
            before = time.process_time()
            one.count(batch, base)
            taken[one.scenario.name] += time.process_time() - before
    answers = [one.answer() for one in counting]
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    decided = sum(len(answer.severities) for answer in answers) * 2 * given.lines
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{given.lines:,} lines x {len(answers)} scenarios: {cpu:.0f} CPU s, {wall:.0f} s wall, peak {peak:.2f} GB")
    print(f"{decided:,} decisions; CPU s by scenario: " + ", ".join(f"{n} {s:.1f}" for n, s in taken.items()))


if __name__ == "__main__":
    main()
