"""The demo of the watch: two days in which new lines are drawn empty, hour by hour."""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import DAY, format_time
from limitlens.data.contracts import ACCOUNTS, FEEDS
from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress
from limitlens.data.world import simulate
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.check_delivery import check
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.watching.interceptions import interceptions
from limitlens.pipeline.watching.tick import Standing, tick
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

#: From one look to the next; the command looks every two seconds.
_STEP = timedelta(hours=1)

#: A tick comes so long before the hour: at midnight the day is decided.
_BEFORE = timedelta(minutes=1)

#: How long is watched, and how much later all is known of what would have been drawn.
_WATCHED = 2 * DAY

#: The day on which lines were opened that drew most cash in their first two days.
_BUSIEST = """
SELECT date_trunc('day', opened_at) AS day
FROM accounts JOIN consumption USING (account_id)
WHERE kind = 'draw' AND event_time < opened_at + INTERVAL 48 HOUR AND opened_at >= $since AND opened_at < $until
GROUP BY day ORDER BY SUM(amount_cents) DESC, day LIMIT 1
"""


@dataclass(frozen=True)
class _Pause:
    """When drawing was paused, and what the customer was told, by language."""

    at: datetime
    message: dict[str, str]


def run(out: Path, *, accounts: int, seed: int, now: datetime, progress: Progress, show: Progress) -> None:
    """Decide up to the day on which new lines drew most cash, watch what comes from then on, and explain a pause.

    Parameters
    ----------
    out : Path
        Gets ``events``, which :mod:`limitlens.pipeline.demo` has too, and ``watched``, which is made anew.
    accounts, seed : int
        Of the simulation.
    now : datetime
        Stamped on the promotion.
    progress, show : callable
        Told what is going on; told the results.

    Raises
    ------
    WorkspaceError
        No new line drew cash in the last two months.
    """
    events, stage = out / "events", out / "watched"
    show(f"limitlens demo --watch: {accounts:,} simulated credit lines, two days of them hour by hour, in {out}/\n")
    simulate(events, accounts=accounts, seed=seed, progress=progress)
    shutil.rmtree(stage, ignore_errors=True)
    start = _busiest_day(events)
    _deliver(events, stage / "before", None, start)
    workspace = Workspace(stage / "work")
    check(workspace, stage / "before", progress)
    policy = default_policy()
    trained = train(workspace, default_settings(), policy, developer="demo developer", progress=progress)
    approved = Override(policy.release.approver, "a demo on a young history") if trained.validation["doubts"] else None
    promote(workspace, "demo reviewer", now, trained.model_version, override=approved, progress=progress)
    decide(workspace, as_of=start, progress=progress)
    show(f"{format_time(start)}: the book is decided. From here on the rows of every hour are watched:\n")
    paused = _watch(stage, events, start, progress, show)
    saved = {account: _cash(events, account, pause.at) for account, pause in paused.items()}
    progress("the daily decision after it")
    decide(workspace, until=start + _WATCHED, progress=progress)
    if not saved:
        show("no watched rule fired in these two days: try another --seed.")
        return
    show("")
    for account, (later, every) in saved.items():
        show(f"  {account}  {money(later)} of {money(every)} in cash would have been drawn after the pause")
    account = max(saved, key=lambda one: saved[one][0])
    words = "\n  ".join(paused[account].message.values())
    show(f"\nTold to the customer of {account} at {format_time(paused[account].at)}:\n  {words}")
    show(f"\nThe daily decision goes on from there. Why, by limitlens why {account} --workspace {workspace.root}:\n")
    show(render(why(workspace, account)))


def _busiest_day(events: Path) -> datetime:
    """Midnight before the lines of the case were opened, in the last two months but for the days watched."""
    tables = {name: pq.read_table(events / name) for name in (ACCOUNTS.name, "consumption")}
    last = pc.max(tables["consumption"]["known_time"]).as_py() - _WATCHED
    days = run_sql(_BUSIEST, tables, {"since": last - 60 * DAY, "until": last}).to_pylist()
    if not days:
        raise WorkspaceError("no new line drew cash in the last two months: try another --seed or more --accounts.")
    return pd.Timestamp(days[0]["day"]).tz_convert("UTC").to_pydatetime()


def _watch(stage: Path, events: Path, start: datetime, progress: Progress, show: Progress) -> dict[str, _Pause]:
    """Tick by tick, each with an hour of rows; the first pause of each line."""
    workspace, inbox, paused = Workspace(stage / "work"), stage / "inbox", dict[str, _Pause]()
    standing: Standing | None = None
    noted, since = 0, start
    for at in pd.date_range(start + _STEP - _BEFORE, start + _WATCHED, freq=_STEP).to_pydatetime():
        rows = _deliver(events, inbox, since, at)
        since = at
        ticked = tick(workspace, inbox, at, standing)
        standing = ticked.standing
        progress(f"{format_time(at)}: {rows:,} rows, {ticked.touched:,} lines looked at")
        for one in workspace.ledger.ticks_after(noted):
            noted = one.tick
            for entry in interceptions(one):
                show(f"  {format_time(at)}  {entry['account_id']}  {entry['action']}: {', '.join(entry['rules'])}")
                if entry["action"] == "pause":
                    paused.setdefault(entry["account_id"], _Pause(at, entry["message"]))
    return paused


def _deliver(events: Path, to: Path, since: datetime | None, until: datetime) -> int:
    """Rows that became known in a span, a file a source; how many they are."""
    count = 0
    for source in (ACCOUNTS.name, *FEEDS):
        rows = pq.read_table(events / source)
        chosen = pc.less(rows["known_time"], until)
        if since is not None:
            chosen = pc.and_(chosen, pc.greater_equal(rows["known_time"], since))
        if len(came := rows.filter(chosen)):
            (to / source).mkdir(parents=True, exist_ok=True)
            pq.write_table(came, to / source / f"{until:%Y-%m-%dT%H}.parquet")
            count += len(came)
    return count


def _cash(events: Path, account: str, paused: datetime) -> tuple[int, int]:
    """Cents that the customer drew in cash after the pause, and ever."""
    rows = pq.read_table(events / "consumption", filters=[("account_id", "=", account), ("kind", "=", "draw")])
    after = rows.filter(pc.greater_equal(rows["event_time"], paused))
    later, every = (pc.sum(table["amount_cents"]).as_py() or 0 for table in (after, rows))
    return later, every
