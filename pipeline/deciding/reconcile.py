"""Reconcile: split recorded changes once more, with what became known in the 30 days after the decision."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.arrivals import count_arrivals
from limitlens.data.calendar import DAY, format_time
from limitlens.data.html_table import html_table
from limitlens.data.lock import exclusive
from limitlens.data.processes import in_processes
from limitlens.data.progress import Part, Progress, silent
from limitlens.features.table import Shared
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Ledger, Run
from limitlens.limits.policy import ADVERSE
from limitlens.limits.state import unpacked
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.attribute import attribute_all, attribution_table
from limitlens.pipeline.deciding.parts import Book, book_of, lines_together
from limitlens.pipeline.deciding.point_in_time import change_moments, tables_at
from limitlens.pipeline.deciding.replay import iterations
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.workspace import Workspace

#: A split is final when this much time has passed since the decision.
RECONCILED_AFTER = 30 * DAY

#: Splits that are rebuilt together, at most, where they are of several runs.
BATCH_SPLITS = 50_000

#: Decisions to be made good that are named.
_MOST_NAMED = 5


@dataclass(frozen=True)
class Reconciled:
    """What one call made final.

    ``revised`` counts the attributions whose shares are other than the provisional ones, ``known_rows`` and
    ``late_rows`` the records about the accounts before the decisions that were known at them, and that came later.
    ``provisional`` counts attributions that are not final yet; ``next_at`` is when the first of them can be.
    ``to_make_good``: account and date of adverse decisions that would have been milder with all records in time.
    """

    dates: tuple[str, ...]
    attributions: int
    revised: int
    known_rows: int
    late_rows: int
    moved_cents: dict[str, int]
    provisional: int
    next_at: str | None
    to_make_good: tuple[tuple[str, str], ...]

    def _repr_html_(self) -> str:
        """Counts, what moved between causes and the first decisions to make good, for a notebook."""
        rows = [("revised", f"{self.revised:,}"), ("provisional", f"{self.provisional:,}")]
        rows += [(player, money(cents, signed=True)) for player, cents in self.moved_cents.items()]
        rows += [("to make good", f"{account}, {date}") for account, date in self.to_make_good[:_MOST_NAMED]]
        return html_table(f"{self.attributions:,} splits are final", rows)

    def lines(self) -> list[str]:
        """What a call made final, for a terminal."""
        rest = f"{self.provisional:,} splits are provisional" if self.provisional else "every split is final"
        due = f"; the next can be final once a decision of {self.next_at} or later is made" if self.next_at else ""
        if not self.dates:
            return [f"nothing to reconcile: {rest}{due}"]
        rows, share = self.known_rows + self.late_rows, self.known_rows / max(self.known_rows + self.late_rows, 1)
        moved = {player: cents for player, cents in self.moved_cents.items() if self.revised}
        differ = "differs" if self.revised == 1 else "differ"
        return [
            f"{self.attributions:,} splits, {self.dates[0]} to {self.dates[-1]}, are final",
            f"{self.revised:,} {differ} from the provisional split; moved between causes:",
            *(f"  {player:<10} {money(cents, signed=True):>18}" for player, cents in moved.items()),
            f"{share:.2%} of {rows:,} records about the time before the decisions were known at them, "
            f"{self.late_rows:,} came late",
            *self._harmed(),
            f"{rest}{due}",
        ]

    def _harmed(self) -> list[str]:
        if not self.to_make_good:
            return []
        named = [f"{account} {date}" for account, date in self.to_make_good[:_MOST_NAMED]]
        rest = len(self.to_make_good) - len(named)
        return [
            f"{len(self.to_make_good):,} adverse decisions would have been milder with all records in time, "
            f"to be made good: {', '.join(named)}{f' and {rest:,} more' if rest else ''}",
            "  limitlens holds list --all, limitlens holds harmed HOLD; where nothing was held: limitlens holds open",
        ]


def reconcile(workspace: Workspace, progress: Progress = silent, *, processes: int = 1) -> Reconciled:
    """Make every split final whose 30 days have passed, and keep the counts as one MLflow run.

    The passing of time is that of the ledger: k* = t1 + 30 days must not be after the latest decided date, because what
    was known before that date never changes any more. A call that was killed is made up for by the next one.

    Parameters
    ----------
    workspace : Workspace
    progress : callable
    processes : int
        Processes that share the splits; what is recorded is the same to the last bit.

    Raises
    ------
    IntegrityError
        A file that was accepted or recorded is damaged, or a recorded limit cannot be reproduced; nothing of the dates
        rebuilt with it is made final.
    WorkspaceError
        A run is in progress, the disk is full, or a process was killed.
    """
    ledger, began = workspace.ledger, perf_counter()
    with exclusive(workspace.root, "reconcile"):
        ledger.sweep()
        expect_intact(workspace)
        for runs in _batches(due(ledger), ledger):
            _reconcile_batch(workspace, runs, processes, progress)
        return _record(workspace, began)


def due(ledger: Ledger) -> list[Run]:
    """Runs with splits that are not final and can be."""
    decided_until = ledger.decided_until()
    open_runs = set(ledger.query("SELECT DISTINCT run_id FROM current WHERE status = 'provisional'")["run_id"])
    return [
        run
        for run in ledger.runs()
        if run.run_id in open_runs and decided_until and run.as_of + RECONCILED_AFTER <= decided_until
    ]


def _batches(runs: list[Run], ledger: Ledger) -> Iterator[list[Run]]:
    """Consecutive runs whose splits are few enough to be rebuilt together; a large run stands alone."""
    counted = ledger.query(
        "SELECT run_id, COUNT(*) AS splits FROM current WHERE status = 'provisional' GROUP BY run_id"
    )
    splits = counted.set_index("run_id")["splits"]
    batch: list[Run] = []
    for run in runs:
        if batch and splits[[each.run_id for each in (*batch, run)]].sum() > BATCH_SPLITS:
            yield batch
            batch = []
        batch.append(run)
    if batch:
        yield batch


def _reconcile_batch(workspace: Workspace, runs: list[Run], processes: int, progress: Progress) -> None:
    """Make the splits of some runs final, those of some accounts after the others."""
    run_ids = tuple(run.run_id for run in runs)
    cut = list(_ranges(workspace.ledger, run_ids, processes))
    book = book_of(workspace)
    tasks = (_Accounts(book, run_ids, *ends) for ends in cut)
    parts = []
    for part in in_processes(_reconciled, tasks, min(processes, len(cut))):
        parts.append(part)
        progress(Part(f"part {len(parts)} of {len(cut)}", len(parts), len(cut)))
    for run in runs:
        mine = [part[run.run_id] for part in parts if run.run_id in part]
        splits = pa.concat_tables([one.splits for one in mine])
        workspace.ledger.append_revision(
            run,
            run.as_of + RECONCILED_AFTER,
            splits,
            known_rows=sum(one.known_rows for one in mine),
            late_rows=sum(one.late_rows for one in mine),
        )
        progress(f"{format_time(run.as_of)}: {len(splits):,} splits as known {RECONCILED_AFTER.days} days later")


@dataclass(frozen=True)
class _Accounts:
    """Accounts whose splits are rebuilt together."""

    book: Book
    run_ids: tuple[str, ...]
    first: str
    last: str


@dataclass(frozen=True)
class _Final:
    """Final splits of one run, and the records about their accounts."""

    splits: pa.Table
    known_rows: int
    late_rows: int


def _ranges(ledger: Ledger, run_ids: tuple[str, ...], processes: int) -> Iterator[tuple[str, str]]:
    """The first and the last account of each part of the splits of some runs."""
    sql = """
    SELECT account_id FROM decisions JOIN attributions USING (account_id, as_of)
    WHERE run_id = ANY($runs) AND revision = 0 ORDER BY account_id
    """
    accounts = ledger.table(sql, {"runs": list(run_ids)})["account_id"]
    begins = list(dict.fromkeys(accounts[:: lines_together(len(accounts), processes)].to_pylist()))
    places = pc.index_in(pa.array(begins), accounts.combine_chunks()).to_pylist()
    for place, following in zip(places, [*places[1:], len(accounts)], strict=True):
        yield accounts[place].as_py(), accounts[following - 1].as_py()


def _reconciled(these: _Accounts) -> dict[str, _Final]:
    workspace, made_by, of_all = _opened(these.book, these.run_ids)
    changes, previous = (_decisions(workspace.ledger, these, at) for at in ("as_of", "previous_as_of"))
    changes = changes.assign(known_by=changes["as_of"] + RECONCILED_AFTER)
    moments = change_moments(previous, changes)
    tables = tables_at(moments, {iteration.model.features for iteration in made_by.values()}, workspace, of_all)
    final = attribute_all(previous, changes, made_by, tables)
    arrived = count_arrivals(changes[["account_id", "as_of", "known_by"]], workspace.events.relations())
    return {
        str(run_id): _Final(attribution_table(final.iloc[rows]), *map(int, arrived.iloc[rows].sum()))
        for run_id, rows in changes.groupby("run_id").indices.items()
    }


@lru_cache(maxsize=1)
def _opened(book: Book, run_ids: tuple[str, ...]) -> tuple[Workspace, dict[str, Iteration], Shared]:
    """A workspace with the iterations of some runs and of those before them, and what their parts share."""
    workspace = book.opened()
    sql = """
    SELECT DISTINCT before.run_id FROM decisions AS change JOIN attributions AS split USING (account_id, as_of)
        JOIN decisions AS before ON before.account_id = split.account_id AND before.as_of = split.previous_as_of
    WHERE change.run_id = ANY($runs) AND split.revision = 0
    """
    before = workspace.ledger.table(sql, {"runs": list(run_ids)})["run_id"].to_pylist()
    return workspace, iterations(workspace, {*run_ids, *before}), {}


def _decisions(ledger: Ledger, these: _Accounts, at: str) -> pd.DataFrame:
    """The decisions of some runs that have a split, or (``previous_as_of``) those before them, row by row."""
    sql = f"""
    SELECT decided.* FROM decisions AS change JOIN attributions AS split USING (account_id, as_of)
        JOIN decisions AS decided ON decided.account_id = split.account_id AND decided.as_of = split.{at}
    WHERE change.run_id = ANY($runs) AND split.revision = 0 AND change.account_id BETWEEN $first AND $last
    ORDER BY split.account_id, split.as_of
    """
    return unpacked(ledger.table(sql, {"runs": list(these.run_ids), "first": these.first, "last": these.last}))


def _record(workspace: Workspace, began: float) -> Reconciled:
    """Keep the counts of the revisions that no MLflow run names yet; the link comes last."""
    ledger = workspace.ledger
    revisions = ledger.revisions()
    waiting = revisions[revisions["mlflow_run_id"].isna()]
    counts = _counted(ledger, waiting)
    if len(waiting):
        tags = {tracking.HEAD: str(waiting["head"].iloc[-1])}
        metrics = {name: getattr(counts, name) for name in ("attributions", "revised", "known_rows", "late_rows")}
        metrics |= {f"moved_cents.{player}": cents for player, cents in counts.moved_cents.items()}
        days = sorted({date[:10] for date in counts.dates})
        name = f"reconcile {days[0]}" if len(days) == 1 else f"reconcile {days[0]} to {days[-1]}"
        recorded = tracking.recorded_run(
            workspace.mlflow, "reconcile", tags, name=name, once=tracking.HEAD, began=began
        )
        with recorded as (mlflow, mlflow_run_id):
            tracking.log_values(mlflow, mlflow_run_id, {"dates": ", ".join(counts.dates)}, metrics)
        ledger.link_revisions(mlflow_run_id)
    return counts


def _counted(ledger: Ledger, revisions: pd.DataFrame) -> Reconciled:
    """What some revisions changed, and what is left."""
    moved = {player: f"final.share_cents_{player} - first.share_cents_{player}" for player in PLAYERS}
    runs = list(revisions["run_id"])
    sql = f"""
    SELECT COUNT(*) AS attributions, COUNT(*) FILTER ({" OR ".join(f"{m} <> 0" for m in moved.values())}) AS revised,
        {", ".join(f"COALESCE(SUM({m}), 0)::BIGINT AS {player}" for player, m in moved.items())}
    FROM attributions AS first JOIN attributions AS final USING (account_id, as_of)
        JOIN decisions USING (account_id, as_of)
    WHERE first.revision = 0 AND final.revision = 1 AND run_id = ANY($runs)
    """
    counts = ledger.table(sql, {"runs": runs}).to_pylist()[0]
    rest = ledger.query("SELECT as_of FROM current WHERE status = 'provisional'")["as_of"]
    return Reconciled(
        dates=tuple(format_time((known_by - RECONCILED_AFTER).to_pydatetime()) for known_by in revisions["known_by"]),
        attributions=counts["attributions"],
        revised=counts["revised"],
        known_rows=int(revisions["known_rows"].sum()),
        late_rows=int(revisions["late_rows"].sum()),
        moved_cents={player: counts[player] for player in PLAYERS},
        provisional=len(rest),
        next_at=format_time((rest.min() + RECONCILED_AFTER).to_pydatetime()) if len(rest) else None,
        to_make_good=_harmed(ledger, runs),
    )


def _harmed(ledger: Ledger, runs: list[str]) -> tuple[tuple[str, str], ...]:
    """Adverse decisions of some runs that the data made adverse, and nobody made good so far."""
    adverse = ", ".join(f"'{action}'" for action in sorted(ADVERSE))
    sql = f"""
    SELECT account_id, as_of FROM attributions JOIN decisions USING (account_id, as_of)
    WHERE revision = 1 AND run_id = ANY($runs) AND action IN ({adverse})
        AND necessary_data AND (share_cents_data < 0 OR severity_phi_data > 0)
        AND (account_id, as_of) NOT IN (SELECT (account_id, restores) FROM overrides WHERE restores IS NOT NULL)
    ORDER BY as_of, account_id
    """
    harmed = ledger.query(sql, {"runs": runs})
    return tuple(zip(harmed["account_id"], harmed["as_of"].map(lambda t: format_time(t.to_pydatetime())), strict=True))
