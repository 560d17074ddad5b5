"""Decide: new limits at each date of the plan, every change split among its causes, all of it in the ledger."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from time import perf_counter

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.calendar import format_time
from limitlens.data.engine import Relations
from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.data.processes import in_processes
from limitlens.data.progress import Part as Done
from limitlens.data.progress import Progress, silent
from limitlens.features.table import Shared
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Run
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import Policy
from limitlens.limits.state import unpacked
from limitlens.pipeline.check_delivery import fold, take_over_journal
from limitlens.pipeline.deciding.decide_batch import paused_lines
from limitlens.pipeline.deciding.decide_part import DecidedPart, StandsOn, decided_part, read_part
from limitlens.pipeline.deciding.held_lines import in_force, released_lines
from limitlens.pipeline.deciding.parts import Book, book_of, lines_together, parts_of
from limitlens.pipeline.deciding.plan import decision_dates, plan_lines
from limitlens.pipeline.deciding.record import Decided, decided_by, record_decisions
from limitlens.pipeline.deciding.replay import Loaded, iterations
from limitlens.pipeline.deciding.run_ids import run_id
from limitlens.pipeline.deciding.take_in_ticks import take_in_ticks
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.workspace import Workspace

#: Decides planned lines at some dates: part by part, all accounts of one before those of the next.
DecideParts = Callable[[Workspace, Iteration, Sequence[datetime], pd.DataFrame, Progress], Iterable[DecidedPart]]


def decide(
    workspace: Workspace,
    *,
    as_of: datetime | None = None,
    until: datetime | None = None,
    model_version: str | None = None,
    policy: Policy | None = None,
    decide_parts: DecideParts | None = None,
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
    decide_parts : callable, optional
        Default: :func:`decided_here`.
    progress : callable

    Raises
    ------
    ConfigError
        A rule of the policy names a column that does not exist.
    WorkspaceError
        No champion, a date that is already decided, one the data do not reach, a jump of more than two months that
        nobody asked for, or no room on the disk.
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
                    due = planned[planned["date"].isin(chunk)]
                    _decide_dates(workspace, new, chunk, due, decide_parts or decided_here, progress=progress)
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


def _decide_dates(
    workspace: Workspace,
    new: Iteration,
    dates: Sequence[datetime],
    planned: pd.DataFrame,
    decide_parts: DecideParts,
    *,
    progress: Progress,
) -> None:
    """Decide, split and record some dates, the lines of the book one part after the other."""
    parts = list(decide_parts(workspace, new, dates, planned, progress))
    for date in dates:
        decisions = pa.concat_tables([DECISIONS.empty_table(), *(part[date][0] for part in parts if date in part)])
        if len(decisions):
            attributions = pa.concat_tables([part[date][1] for part in parts if date in part])
            progress(f"{format_time(date)}: {len(decisions):,} decisions, {len(attributions):,} attributed")
            _record(workspace, new, date, decisions, attributions)


def decided_here(
    workspace: Workspace,
    new: Iteration,
    dates: Sequence[datetime],
    planned: pd.DataFrame,
    progress: Progress,
    *,
    processes: int = 1,
) -> Iterator[DecidedPart]:
    """Decide the parts on this machine: one after the other, or by several processes."""
    last = last_decisions(workspace, planned["account_id"])
    cut = list(parts_of(planned, last, lines_together(len(planned), processes)))
    apart = min(processes, len(cut))
    if apart > 1:
        progress(f"{len(planned):,} decisions in {len(cut)} parts, by {apart} processes")
        one = (book_of(workspace), new.model_version, new.policy.digest, tuple(dates))
        made: Iterable[DecidedPart] = in_processes(_decided_apart, (_Apart(*one, *part) for part in cut), apart)
    else:
        decided = _decider(workspace, new, dates, progress)
        made = (decided(*part) for part in cut)
    for place, part in enumerate(made, start=1):
        progress(Done(f"part {place} of {len(cut)}", place, len(cut)))
        yield part


def last_decisions(workspace: Workspace, planned: pd.Series) -> pa.Table:
    """The last decision of each planned line, and of each that waits for a second look."""
    ledger = workspace.ledger
    last = ledger.last_decisions([*planned, *ledger.accounts_with("pause")])
    mine = pc.is_in(last["account_id"], pa.array(planned, pa.string()))
    others = last.filter(pc.invert(mine))
    waiting = paused_lines(unpacked(others))["account_id"]
    return last.filter(pc.or_(mine, pc.is_in(last["account_id"], pa.array(waiting, pa.string()))))


def _decider(
    workspace: Workspace, new: Iteration, dates: Sequence[datetime], progress: Progress
) -> Callable[[pd.DataFrame, pa.Table], DecidedPart]:
    """Decides one part after the other; what they have in common is read once."""
    overrides, holds = workspace.ledger.overrides(), in_force(workspace)
    loaded: Loaded = {}
    shared: Shared = {}

    def decided(planned: pd.DataFrame, last: pa.Table) -> DecidedPart:
        part = read_part(workspace, dates, planned, last)
        stands_on = StandsOn(new, iterations(workspace, part.run_ids(), loaded), overrides, holds)
        return decided_part(part, stands_on, dates, workspace.relations, shared=shared, progress=progress)

    return decided


@dataclass(frozen=True)
class _Apart:
    """A part that another process decides."""

    book: Book
    model_version: str
    policy_digest: str
    dates: tuple[datetime, ...]
    planned: pd.DataFrame
    last: pa.Table


def _decided_apart(part: _Apart) -> DecidedPart:
    return _opened(part.book, part.model_version, part.policy_digest, part.dates)(part.planned, part.last)


@lru_cache(maxsize=1)
def _opened(
    book: Book, model_version: str, policy_digest: str, dates: tuple[datetime, ...]
) -> Callable[[pd.DataFrame, pa.Table], DecidedPart]:
    workspace = book.opened()
    return _decider(workspace, workspace.scoring(model_version, policy_digest), dates, silent)


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
