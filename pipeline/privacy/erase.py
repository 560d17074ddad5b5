"""Erase: everything held about an account goes, the chain goes on to hold, and a later delivery does not bring it back.

What was recorded about others stays as it is, to the last bit. First a plan is written, then it is carried out step by
step; each step can be repeated, so whoever finds a plan finishes it.
"""

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.calendar import format_time
from limitlens.data.contracts import ACCOUNTS
from limitlens.data.engine import run_sql
from limitlens.data.erasures import KEY, KEY_BYTES, ErasedAccounts, keyed, mark_of
from limitlens.data.errors import WorkspaceError
from limitlens.data.events import QUARANTINE
from limitlens.data.lock import ERASE, UNFINISHED_ERASURE, exclusive, nobody_building
from limitlens.data.profile_columns import COMMON, PROFILE
from limitlens.data.progress import Progress, silent
from limitlens.data.rewriting import (
    Change,
    names_among_figures,
    names_any,
    names_one,
    rewrite,
    spellings,
    with_links,
    without,
)
from limitlens.data.storage import file_sha256, write_text
from limitlens.limits.database import replace_words, scrub
from limitlens.limits.erasing import count_erasures, legal_holds, record_erasure
from limitlens.pipeline import tracking
from limitlens.pipeline.check_delivery import JUDGED, fold, take_over_journal
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.privacy.access import held_accounts
from limitlens.pipeline.privacy.erasure_plan import (
    BUILT,
    Older,
    Plan,
    held_before,
    make_plan,
    names_in,
    noted_at,
    plan_text,
    reason_in,
    unfinished,
)
from limitlens.pipeline.workspace import Workspace

#: The log of the desk.
AUDIT = "audit.jsonl"

#: How names of files end in which each line is about one thing.
LINES = {".csv", ".jsonl", ".log"}

NOTHING = Older()

#: Figures of a profile over fewer rows could be those of one account.
FEWEST_ROWS = 10


@dataclass(frozen=True)
class Erased:
    """What one call erased.

    Parameters
    ----------
    accounts : int
    files : int
        Recorded files that were written again.
    named : int
        Rows of other accounts that name one of them, as the payee of a transfer: records about those others, which
        stay.
    """

    accounts: int
    files: int
    named: int


def erase(
    workspace: Workspace,
    accounts: Collection[str],
    *,
    at: datetime,
    actor: str,
    reason: str,
    older: Older = NOTHING,
    progress: Progress = silent,
) -> Erased:
    """Erase everything that is held about some accounts.

    Parameters
    ----------
    workspace : Workspace
    accounts : collection of str
        Those that were erased before are passed over.
    at : datetime
        Now.
    actor, reason : str
        Who orders it, and why; neither may name an account.
    older : Older, optional
        What goes besides because it is old.
    progress : callable

    Raises
    ------
    WorkspaceError
        A legal hold keeps one of them, nothing is held about one, a name or reason is missing or names an account, or
        a run is in progress.
    IntegrityError
        Something recorded is damaged; nothing is erased.
    """
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("an erasure needs the name of a person and a reason.")
    if names_any(accounts).search(f"{actor} {reason}"):
        raise WorkspaceError("name and reason of an erasure are kept; they may not name the account.")
    resume(workspace, progress)
    take_over_journal(workspace, progress=progress)
    with exclusive(workspace.root, ERASE), nobody_building(workspace.root):
        if plan := unfinished(workspace.root):
            _finish(workspace, plan, progress)
        fold(workspace)
        wanted = _wanted(workspace, accounts)
        if not wanted and older == NOTHING:
            return Erased(0, 0, 0)
        expect_intact(workspace)
        _make_key(workspace.root)
        order = count_erasures(workspace.root) + 1, at.isoformat(), actor, reason
        plan = make_plan(workspace, order, wanted, older)
        write_text(plan_text(plan), workspace.root / UNFINISHED_ERASURE)
        return _finish(workspace, plan, progress)


def resume(workspace: Workspace, progress: Progress = silent) -> Erased | None:
    """Finish an erasure that was killed; None: there is none.

    Raises
    ------
    WorkspaceError
        A run is in progress.
    """
    with exclusive(workspace.root, ERASE), nobody_building(workspace.root):
        plan = unfinished(workspace.root)
        return _finish(workspace, plan, progress) if plan else None


def _wanted(workspace: Workspace, accounts: Collection[str]) -> list[str]:
    """Those of some accounts about which something is held."""
    erased, holds = ErasedAccounts(workspace.root), legal_holds(workspace.root)
    for account in sorted(set(accounts) & holds.keys()):
        hold = holds[account]
        raise WorkspaceError(
            f"account {account} may not be erased: {hold.actor} ordered on {format_time(hold.at)} that it is kept "
            f"({hold.reason}); limitlens erase {account} --lift ends that."
        )
    left = [account for account in set(accounts) if account not in erased]
    held = held_accounts(workspace, left)
    if unknown := sorted(set(left) - held):
        raise WorkspaceError(
            f"nothing is held about {', '.join(unknown)}: see that the id is right; nothing was erased."
        )
    return sorted(held)


def _make_key(root: Path) -> None:
    if not (root / KEY).exists():
        write_text(secrets.token_hex(KEY_BYTES), root / KEY)


def _finish(workspace: Workspace, plan: Plan, progress: Progress) -> Erased:
    """Carry out what is left of a plan."""
    root = workspace.root
    for number, (path, before) in enumerate(plan.files.items(), 1):
        progress(f"writing {path} again, {number:,} of {len(plan.files):,}")
        if file_sha256(root / path) == before:
            if path.startswith("loads/"):
                _rewrite_mark(root / path, plan)
            else:
                rewrite(root / path, _change(workspace, plan, path))
    for folder in BUILT:
        shutil.rmtree(root / folder, ignore_errors=True)
    for path in plan.tables:
        rewrite(root / path, without(plan.names))
    _rewrite_texts(root, plan)
    if plan.older.audit and (root / AUDIT).is_file():
        _rewrite(root / AUDIT, lambda line: "" if noted_at(line) < plan.older.audit else line)
    if Journal(root).exists():
        Journal(root).forget(list(plan.names))
        scrub(Journal(root).path)
    progress("recording it")
    _record(root, plan)
    scrub(root / "ledger.sqlite")
    _strip_mlflow(workspace, plan)
    _keep_judged(workspace, plan)
    with tracking.recorded_run(workspace.mlflow, ERASE, {tracking.HEAD: workspace.ledger.head()}, once=tracking.HEAD):
        pass
    named = _named_by_others(workspace, plan.names)
    (root / UNFINISHED_ERASURE).unlink()
    return Erased(len(plan.names), len(plan.files), named)


def _change(workspace: Workspace, plan: Plan, path: str) -> Change:
    """What becomes of the rows of a file."""
    folder, _, name = path.rpartition("/")
    source = folder.removeprefix("events/")
    if source in plan.links:
        links = plan.links[source]
        names = {(account, value): other for account, value, other in links.names}
        return with_links(plan.names, links.column, names, links.numbers, links.stale)
    if folder == "profiles":
        return _without_figures(plan, name.removesuffix(".parquet"))
    if folder == "quarantine":
        lines = run_sql("SELECT DISTINCT account_id FROM lines", {"lines": workspace.events.relation(ACCOUNTS.name)})
        named = names_one(plan.names, frozenset(lines["account_id"].to_pylist()).__contains__)
        young = f"SELECT * FROM held WHERE ({held_before(workspace.events, plan.older)}) IS NOT TRUE"
        return lambda rows: run_sql(young, {"held": rows.filter(pc.invert(named(rows)))}).cast(QUARANTINE)
    return without(plan.names)


def _without_figures(plan: Plan, load: str) -> Change:
    """Profiles without figures in which an account could be seen, and without values that were its own."""
    alone = [
        (source, column, value)
        for source, one in plan.alone.items()
        for column, values in one.items()
        for value in values
    ]
    tables = {
        "days": pa.Table.from_pylist(
            [{"source": source, "kind": kind, "day": day} for source, kind, day in plan.days.get(load, ())],
            schema=pa.schema([(name, pa.string()) for name in ("source", "kind", "day")]),
        ),
        "alone": pa.table(
            {
                name: pa.array(cells, pa.string())
                for name, cells in zip(
                    ("source", "column", "value"), zip(*alone, strict=True) if alone else ((), (), ()), strict=True
                )
            }
        ),
    }
    lone = "(SELECT value FROM alone WHERE alone.source IN (figures.source, 'accounts') AND alone.column = '{name}')"
    commonest = ", ".join(
        f"CASE WHEN commonest_{name} NOT IN {lone.format(name=name)} THEN commonest_{name} END AS commonest_{name}"
        for name in COMMON
    )
    sql = f"""
    SELECT * REPLACE ({commonest}) FROM figures
    WHERE NOT (rows + quarantined < {FEWEST_ROWS}
            AND (source, kind, CAST(day AS VARCHAR)) IN (SELECT (source, kind, day) FROM days))
        AND NOT EXISTS (FROM alone WHERE alone.source IN (figures.source, 'accounts')
            AND (alone.column = slice_column AND value = slice_value OR alone.column = 'kind' AND value = kind))
    """

    def change(rows: pa.Table) -> pa.Table:
        return run_sql(sql, {**tables, "figures": rows}).cast(PROFILE)

    return change


def _renamed(plan: Plan, names_some: Callable[[Collection[str]], re.Pattern[str]]) -> Callable[[str], str]:
    """Puts the names for nobody in place of the ids in a text."""
    pattern = names_some(plan.names)
    names = {spelling: name for account, name in plan.names.items() for spelling in spellings(account)}
    return lambda text: pattern.sub(lambda match: names[match.group()], text)


def _rewrite_texts(root: Path, plan: Plan) -> None:
    """Pages that name an account go, and lines of tables and logs; elsewhere a name for nobody stands in its place."""
    renamed = _renamed(plan, names_among_figures)
    for name in plan.texts:
        path = root / name
        if path.suffix == ".html":
            path.unlink(missing_ok=True)
            continue
        _rewrite(path, _without_lines(path, plan) if path.suffix in LINES and name != AUDIT else renamed)


def _rewrite_mark(path: Path, plan: Plan) -> None:
    """The mark of a load with names for nobody in the reason of its withdrawal."""
    mark = json.loads(path.read_text(encoding="utf-8"))
    mark["withdrawal"]["reason"] = _renamed(plan, names_any)(reason_in(mark))
    write_text(json.dumps(mark, indent=1) + "\n", path)


def _without_lines(path: Path, plan: Plan) -> Callable[[str], str]:
    pattern = names_in(path, plan.names)
    return lambda line: "" if pattern.search(line) else line


def _rewrite(path: Path, changed: Callable[[str], str]) -> None:
    """Write a text again, changed line by line."""
    with path.open("rb") as old:
        lines = old.read().decode(errors="replace").splitlines(keepends=True)
        write_text("".join(map(changed, lines)), path)
        if since := old.read().decode(errors="replace"):  # somebody wrote a line to it in the meantime
            with path.open("a", encoding="utf-8") as new:
                new.write("".join(map(changed, since.splitlines(keepends=True))))


def _record(root: Path, plan: Plan) -> None:
    """The mark and the link of the erasure."""
    key = bytes.fromhex((root / KEY).read_text("ascii"))

    def write_mark(links: Mapping[str, str]) -> tuple[str, str]:
        mark = mark_of(plan.number)
        body = {
            "erasure": plan.number,
            "accounts": sorted(keyed(account, key) for account in plan.names),
            "key": hashlib.sha256(key).hexdigest(),
            "files": {path: [before, file_sha256(root / path)] for path, before in plan.files.items()},
            "links": dict(links),
        }
        write_text(json.dumps(body, indent=1) + "\n", root / mark)
        return mark, file_sha256(root / mark)

    order = plan.number, datetime.fromisoformat(plan.at), plan.actor, plan.reason
    record_erasure(root, order, plan.names, _renamed(plan, names_any), write_mark)


def _strip_mlflow(workspace: Workspace, plan: Plan) -> None:
    database = workspace.mlflow / "mlflow.db"
    files = [path for path in (database, database.with_name(f"{database.name}-wal")) if path.is_file()]
    named = any(
        one.encode() in path.read_bytes() for path in files for account in plan.names for one in spellings(account)
    )
    if named:
        replace_words(database, _renamed(plan, names_among_figures))
        scrub(database)


def _keep_judged(workspace: Workspace, plan: Plan) -> None:
    """What was judged stays judged: the rows of the others are the same."""
    path = workspace.root / JUDGED
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if plan.digest in text:
            write_text(text.replace(plan.digest, workspace.events.digest()), path)


def _named_by_others(workspace: Workspace, accounts: Collection[str]) -> int:
    sql = "SELECT COUNT(*) AS n FROM payment WHERE counterparty = ANY($accounts)"
    with_rows = {"payment": workspace.events.relation("payment")}
    return int(run_sql(sql, with_rows, {"accounts": list(accounts)})["n"][0].as_py())
