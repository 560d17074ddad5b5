"""A tick of the watch: what came is taken in, the lines it touched are looked at, and what is paused is noted."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.check import HELD
from limitlens.data.contracts import ACCOUNTS, SOURCES
from limitlens.data.errors import WorkspaceError
from limitlens.data.id_key import expect_ids
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress, silent
from limitlens.data.pseudonyms import IdKey
from limitlens.data.rules import LINES
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import Policy
from limitlens.limits.state import unpacked
from limitlens.pipeline.deciding.decide_batch import paused_lines
from limitlens.pipeline.deciding.decision_table import decision_table, reasons_of
from limitlens.pipeline.journal import FindStored, Journal, Taken
from limitlens.pipeline.watching.inbox import named, put_away, waiting_files
from limitlens.pipeline.watching.intake import Moment, Refused, take_in_files
from limitlens.pipeline.watching.look import look
from limitlens.pipeline.workspace import Workspace

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Standing:
    """What the ledger said last: its head, who decides, and which lines are paused since a watched rule fired."""

    head: str
    now: Iteration
    paused: frozenset[str]


@dataclass(frozen=True)
class Ticked:
    """What one tick did.

    Parameters
    ----------
    at : datetime
        What was known before it counts.
    standing : Standing
        For the next tick.
    decisions : DataFrame
        What was noted: ``account_id, as_of, action, fired_rules, reasons`` and more.
    rows, quarantined, deduplicated : int
        Rows that came, and those of them that were not accepted.
    touched : int
        Lines that were looked at.
    refused : tuple of Refused
        Files of which nothing was taken in.
    """

    at: datetime
    standing: Standing
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    rows: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    touched: int = 0
    refused: tuple[Refused, ...] = ()


def tick(
    workspace: Workspace,
    inbox: Path,
    at: datetime,
    before: Standing | None = None,
    *,
    policy: Policy | None = None,
    key: IdKey | None = None,
    find_stored: FindStored | None = None,
    progress: Progress = silent,
) -> Ticked:
    """Take in what lies in the inbox, and decide within the day the lines that it touches.

    A tick that was killed is made up for by the next one: a file is taken in once, and a line looked at at least once.

    Parameters
    ----------
    workspace : Workspace
    inbox : Path
        One folder a source, with files of any kind that a delivery may have.
    at : datetime
        Now. Where the ledger knows a later moment, the clock was set back, and the tick comes right after that.
    before : Standing, optional
        Of the last tick.
    policy : Policy, optional
        Default: the policy the champion was released with.
    key : IdKey, optional
        As :func:`limitlens.pipeline.check` takes it.
    find_stored : callable, optional
        As :class:`limitlens.pipeline.journal.Journal` takes it.
    progress : callable

    Raises
    ------
    WorkspaceError
        There is no champion, the policy has no section ``[watch]``, or another run is in progress.
    ConfigError
        A rule of the policy names a column that does not exist, or the ids of the workspace are of another key.
    """
    journal = Journal(workspace.root, find_stored)
    if before and not waiting_files(inbox) and not journal.touched(at):
        return Ticked(at, before)
    with exclusive(workspace.root, "watch"):
        if before is None:
            expect_ids(workspace.events, key)
        standing = standing_of(workspace, before, policy)
        journal.sync(workspace.events, progress)
        floor = workspace.ledger.last_moment()
        at = max(at, floor + _INSTANT) if floor else at
        ticked = _taken_in(workspace, journal, inbox, Moment(journal.last_tick() + 1, at, floor), standing, key=key)
        accounts = journal.touched(at)
        looked = look(workspace, journal, accounts, at, standing.now, paused=standing.paused) if accounts else None
        if looked:
            decided, known = looked
            decided = decided.assign(reasons=reasons_of(standing.now, known.tables, decided))
            standing = _noted(workspace, standing, at, decided)
            ticked = replace(ticked, standing=standing, decisions=decided)
        journal.looked(at)
    return replace(ticked, touched=len(accounts))


def standing_of(workspace: Workspace, before: Standing | None, policy: Policy | None = None) -> Standing:
    """What the ledger says now; asked anew only where it has changed since.

    Raises
    ------
    WorkspaceError
        There is no champion, or the policy has no section ``[watch]``.
    ConfigError
        A rule of the policy names a column that does not exist.
    """
    head, version = workspace.ledger.head(), workspace.registry.champion()
    if before and (before.head, before.now.model_version) == (head, version):
        return before
    if version is None:
        raise WorkspaceError("no champion to watch with; run limitlens promote first.")
    if policy:
        workspace.check_rules(policy, workspace.iteration(version).model.features)
        workspace.registry.record_policy(policy.digest, policy.text)
    now = workspace.scoring(version, policy.digest if policy else None)
    if not now.policy.watch:
        raise WorkspaceError(
            f"policy {now.policy.name!r} has no section [watch]: name a policy with --policy that has one, such as "
            'rules = ["cash_out"].'
        )
    return Standing(head, now, _paused_by_rules(workspace.ledger, now.policy))


def _paused_by_rules(ledger: Ledger, policy: Policy) -> frozenset[str]:
    """Paused lines for which a watched rule fired last: rows that come may speak for them."""
    watched = {rule.name for rule in policy.watched_rules}
    latest = unpacked(ledger.last_decisions(ledger.accounts_of(sorted(watched))))
    asked = latest.loc[[bool(watched & set(fired)) for fired in latest["fired_rules"]], "account_id"]
    return frozenset(paused_lines(latest)["account_id"]) & frozenset(asked)


def _taken_in(
    workspace: Workspace, journal: Journal, inbox: Path, moment: Moment, standing: Standing, *, key: IdKey | None
) -> Ticked:
    """The files of the inbox, in the journal and put away."""
    files = waiting_files(inbox)
    names = named(files)
    fresh = [(source, path) for source, path in files if not journal.has_taken(*names[path])]
    rows, held, refused, lines = dict[str, Taken](), [HELD.empty_table()], list[Refused](), LINES.empty_table()
    for source in SOURCES.values():
        paths = [(names[path][0], path) for name, path in fresh if name == source.name]
        if not paths:
            continue
        taken, back, wrong = take_in_files(source, paths, moment, journal, workspace.events, new_lines=lines, key=key)
        rows[source.name] = taken
        held.append(back)
        refused += wrong
        if source is ACCOUNTS and taken.clean is not None:
            lines = taken.clean.select(LINES.names)
    back = pa.concat_tables(held)
    if fresh:
        wrong_paths = {one.path for one in refused}
        sound = [names[path] for _, path in fresh if path not in wrong_paths]
        journal.take(moment.tick, moment.at, rows, back, sound)
    if files:
        put_away(inbox, [path for _, path in files], refused)
        journal.moved()
    return Ticked(
        moment.at,
        standing,
        rows=sum(taken.rows_in for taken in rows.values()),
        quarantined=len(back),
        deduplicated=sum(taken.deduplicated for taken in rows.values()),
        refused=tuple(refused),
    )


def _noted(workspace: Workspace, standing: Standing, at: datetime, decided: pd.DataFrame) -> Standing:
    """Decisions in the ledger, and what it says after them."""
    now = standing.now
    made_by = {"run_id": None, "model_version": now.model_version, "policy_digest": now.policy.digest}
    table = decision_table(decided.assign(**made_by))
    workspace.ledger.note(at, (now.model_version, now.model.digest, now.policy.digest), table)
    paused = set(decided.loc[decided["action"] == "pause", "account_id"])
    lifted = set(decided.loc[decided["action"] == "unfreeze", "account_id"])
    return Standing(workspace.ledger.head(), now, (standing.paused | paused) - lifted)
