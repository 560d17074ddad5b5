"""Decide: new limits at each date of the plan, every change split among its causes, all of it in the ledger."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import perf_counter

import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time
from limitlens.data.engine import Relations
from limitlens.data.errors import WorkspaceError
from limitlens.data.frames import is_among
from limitlens.data.lock import exclusive
from limitlens.data.processes import in_processes
from limitlens.data.progress import Part, Progress, silent
from limitlens.features.table import Shared
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Run
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import Policy
from limitlens.limits.state import unpacked
from limitlens.pipeline.check_delivery import fold, take_over_journal
from limitlens.pipeline.deciding.attribute import attribution_table
from limitlens.pipeline.deciding.decide_batch import Known, decide_lines, paused_lines
from limitlens.pipeline.deciding.decision_table import decision_table, reasons_of
from limitlens.pipeline.deciding.held_lines import held_lines, released_lines, with_moments
from limitlens.pipeline.deciding.parts import LINES_TOGETHER, Book, book_of, lines_together, parts_of
from limitlens.pipeline.deciding.plan import decision_dates, plan_lines
from limitlens.pipeline.deciding.point_in_time import (
    feature_moments,
    tables_at,
)
from limitlens.pipeline.deciding.record import Decided, decided_by, record_decisions
from limitlens.pipeline.deciding.replay import iterations
from limitlens.pipeline.deciding.run_ids import run_id
from limitlens.pipeline.deciding.split import split, with_stood_before
from limitlens.pipeline.deciding.take_in_ticks import take_in_ticks
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.workspace import Workspace

#: Run of decisions that are made and not recorded yet.
_NOT_YET = ""


def decide(
    workspace: Workspace,
    *,
    as_of: datetime | None = None,
    until: datetime | None = None,
    model_version: str | None = None,
    policy: Policy | None = None,
    processes: int = 1,
    progress: Progress = silent,
) -> Decided:
    """Decide the calendar, or the whole book at one date.

    The calendar is every month start for the whole book and every day for lines under a week old, for paused ones, and
    for those that ``[daily]`` of the policy names. A call that was killed is made up for by the next one: it decides
    what is missing, and answers as if it had never been interrupted.

    Parameters
    ----------
    workspace : Workspace
    as_of : datetime, optional
        Decide the whole book at this moment only.
    until : datetime, optional
        Last date of the calendar; default: the last month start that most sources of events reach.
    model_version : str, optional
        Default: the champion.
    policy : Policy, optional
        Default: the policy the model was released with.
    processes : int
        Processes that share the lines; what is decided is the same to the last bit.
    progress : callable

    Raises
    ------
    ConfigError
        A rule of the policy names a column that does not exist.
    WorkspaceError
        No champion, a date that is already decided, one the data do not reach, a jump of more than two months that
        nobody asked for, no room on the disk, or a process was killed.
    IntegrityError
        A file that was accepted or recorded is damaged, or a recorded limit cannot be reproduced; nothing of that date
        is recorded.
    """
    ledger, registry = workspace.ledger, workspace.registry
    take_over_journal(workspace, progress=progress)
    began = perf_counter()
    with exclusive(workspace.root, "decide"):
        ledger.sweep()
        expect_intact(workspace)
        version = model_version or registry.champion()
        if version is None:
            raise WorkspaceError("no champion to decide with; run limitlens promote first, or name one with --model.")
        fold(workspace)  # what the watch took in since
        if policy is not None:
            workspace.check_rules(policy, workspace.iteration(version).model.features)
            registry.record_policy(policy.digest, policy.text)
        new = workspace.scoring(version, policy.digest if policy else None)
        relations = workspace.relations(new.model.features)
        if as_of is None or not any(run.as_of == as_of and decided_by(run, new) for run in ledger.waiting()):
            dates = decision_dates(workspace.events.reach(), ledger.decided_until(), as_of, until)
            if dates:
                planned = _plan(workspace, new, dates, relations, whole_book=as_of is not None)
                for chunk in _until_the_whole_book(dates):
                    take_in_ticks(workspace, chunk[-1])
                    mine = planned[planned["date"].isin(chunk)]
                    _decide_dates(workspace, new, chunk, mine, processes=processes, progress=progress)
        return record_decisions(workspace, new, began)


def _plan(
    workspace: Workspace, new: Iteration, dates: Sequence[datetime], relations: Relations, *, whole_book: bool
) -> pd.DataFrame:
    return plan_lines(
        dates,
        workspace.ledger.decided_until(),
        relations,
        whole_book=whole_book,
        features=new.model.features,
        any_of=new.policy.decided_daily,
        again=released_lines(workspace, dates[0]),
    )


def _until_the_whole_book(dates: Sequence[datetime]) -> list[list[datetime]]:
    """Dates that are decided and recorded together: up to a month start, at which every line is due."""
    chunks: list[list[datetime]] = []
    for place, date in enumerate(dates):
        if not place or dates[place - 1].day == 1:
            chunks.append([])
        chunks[-1].append(date)
    return chunks


#: Decisions and attributions of each date, without the run they are of.
_ByDate = dict[datetime, tuple[pa.Table, pa.Table]]


def _decide_dates(
    workspace: Workspace,
    new: Iteration,
    dates: Sequence[datetime],
    planned: pd.DataFrame,
    *,
    processes: int,
    progress: Progress,
) -> None:
    """Decide, split and record some dates, the lines of the book in parts."""
    size = lines_together(len(planned), processes)
    cut = list(parts_of(planned, _last_decisions(workspace, planned["account_id"]), size))
    apart = min(processes, len(cut))
    if apart > 1:
        progress(f"{len(planned):,} decisions in {len(cut)} parts, by {apart} processes")
        one = (book_of(workspace), new.model_version, new.policy.digest, tuple(dates))
        tasks = (_Apart(*one, lines, last) for lines, last in cut)
        made: Iterable[_ByDate] = in_processes(_decided_apart, tasks, apart)
    else:
        of_all: Shared = {}
        made = (
            _decided(workspace, new, dates, lines, unpacked(last), of_all=of_all, progress=progress)
            for lines, last in cut
        )
    parts = []
    for place, part in enumerate(made):
        parts.append(part)
        progress(Part(f"part {place + 1} of {len(cut)}", place + 1, len(cut)))
    for date in dates:
        decisions = pa.concat_tables([DECISIONS.empty_table(), *(part[date][0] for part in parts if date in part)])
        if len(decisions):
            attributions = pa.concat_tables([part[date][1] for part in parts if date in part])
            progress(f"{format_time(date)}: {len(decisions):,} decisions, {len(attributions):,} attributed")
            _record(workspace, new, date, decisions, attributions)


def _last_decisions(workspace: Workspace, planned: pd.Series) -> pa.Table:
    """The last decision of each planned line and of each that may be paused; of all where that is quicker."""
    ledger = workspace.ledger
    mine = {*planned, *ledger.accounts_with("pause")}
    return ledger.last_decisions(sorted(mine) if len(mine) < LINES_TOGETHER else None)


@dataclass(frozen=True)
class _Apart:
    """Lines that another process decides."""

    book: Book
    model_version: str
    policy_digest: str
    dates: tuple[datetime, ...]
    planned: pd.DataFrame
    last: pa.Table


def _decided_apart(part: _Apart) -> _ByDate:
    workspace, new, of_all = _opened(part.book, part.model_version, part.policy_digest)
    return _decided(workspace, new, part.dates, part.planned, unpacked(part.last), of_all=of_all, progress=silent)


@lru_cache(maxsize=1)
def _opened(book: Book, model_version: str, policy_digest: str) -> tuple[Workspace, Iteration, Shared]:
    workspace = book.opened()
    return workspace, workspace.scoring(model_version, policy_digest), {}


def _decided(
    workspace: Workspace,
    new: Iteration,
    dates: Sequence[datetime],
    planned: pd.DataFrame,
    latest: pd.DataFrame,
    *,
    of_all: Shared,
    progress: Progress,
) -> _ByDate:
    """Decisions and attributions of each date at which one of some lines is due, without the run they are of."""
    latest, planned = _without_later(latest, planned, dates[-1])
    if planned.empty and paused_lines(latest).empty:
        return {}
    before = with_stood_before(workspace, latest)
    sides = iterations(workspace, set(before["run_id"])) | {_NOT_YET: new}
    sets = {iteration.model.features for iteration in sides.values()}

    def known_of(lines: pd.DataFrame, last: pd.DataFrame) -> Known:
        held = held_lines(lines, workspace)
        moments = with_moments(feature_moments(lines, last), held)
        progress(f"features of {len(moments):,} rows at {moments['as_of'].nunique():,} moments")
        return Known(tables_at(moments, sets, workspace, of_all), held)

    decided, known = decide_lines(planned, latest, workspace.ledger.overrides(), new, known_of, dates=dates)
    decided = decided.assign(reasons=reasons_of(new, known.tables, decided), run_id=_NOT_YET)
    changes, attributions = split(workspace, before, decided, sides, known.tables, of_all=of_all)
    made_by = {"model_version": new.model_version, "policy_digest": new.policy.digest}
    return {
        date: (
            decision_table(decided[decided["date"] == date].assign(**made_by)),
            attribution_table(attributions[changes["date"] == date]),
        )
        for date in dates
        if (decided["date"] == date).any()
    }


def _without_later(latest: pd.DataFrame, planned: pd.DataFrame, last: datetime) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What is decided after what the watch decided, which did not know it; its line waits for the next date."""
    ahead = latest.loc[latest["as_of"] >= last, "account_id"]
    latest, planned = (rows[~is_among(rows["account_id"], ahead)] for rows in (latest, planned))
    decided = latest.set_index("account_id")["as_of"].reindex(planned["account_id"]).set_axis(planned.index)
    return latest.reset_index(drop=True), planned[~(planned["as_of"] <= decided)]


def _record(workspace: Workspace, new: Iteration, date: datetime, decisions: pa.Table, attributions: pa.Table) -> None:
    run = _run(workspace, new, date)
    place = DECISIONS.get_field_index("run_id")
    of_run = pa.array([run.run_id] * len(decisions), DECISIONS.field(place).type)
    workspace.ledger.append(run, decisions.set_column(place, DECISIONS.field(place), of_run), attributions)


def _run(workspace: Workspace, new: Iteration, date: datetime) -> Run:
    """The run of one date, named by everything that goes into it."""
    backtest = date < datetime.fromisoformat(new.model.labels_end)
    stands_on = (workspace.events.digest(), workspace.ledger.inputs_head())
    name = run_id((date, new.digest, new.model_version, backtest), stands_on)
    return Run(name, date, new.model_version, new.model.digest, new.policy.digest, backtest)
