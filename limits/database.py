"""The SQLite file of a workspace: the chain of the ledger, policies, models, promotions. The one door to SQLite."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection
from urllib.parse import quote

from limitlens.data.damage import damaged
from limitlens.data.disk import no_room, not_writable, writable
from limitlens.data.errors import WorkspaceError

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, as_of TEXT NOT NULL, model_version TEXT NOT NULL, model_digest TEXT NOT NULL,
    policy_digest TEXT NOT NULL, backtest INTEGER NOT NULL, decisions TEXT NOT NULL, decisions_sha256 TEXT NOT NULL,
    attributions TEXT NOT NULL, attributions_sha256 TEXT NOT NULL, head TEXT NOT NULL, mlflow_run_id TEXT);
CREATE TABLE IF NOT EXISTS overrides (
    id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, at TEXT NOT NULL, action TEXT NOT NULL,
    limit_before_cents INTEGER NOT NULL, limit_cents INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    runs_before INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS revisions (
    run_id TEXT PRIMARY KEY REFERENCES runs, known_by TEXT NOT NULL, known_rows INTEGER NOT NULL,
    late_rows INTEGER NOT NULL, attributions TEXT NOT NULL, attributions_sha256 TEXT NOT NULL,
    links_before INTEGER NOT NULL, head TEXT NOT NULL, mlflow_run_id TEXT);
CREATE TABLE IF NOT EXISTS holds (
    hold INTEGER PRIMARY KEY, source TEXT NOT NULL, kind TEXT NOT NULL, slice_column TEXT NOT NULL,
    slice_value TEXT NOT NULL, fault TEXT NOT NULL, since TEXT NOT NULL, opened_at TEXT NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL,
    links_before INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS releases (
    hold INTEGER PRIMARY KEY REFERENCES holds, verdict TEXT NOT NULL, released_at TEXT NOT NULL, actor TEXT NOT NULL,
    reason TEXT NOT NULL, links_before INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS restorations (
    id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, at TEXT NOT NULL, limit_before_cents INTEGER NOT NULL,
    limit_cents INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL, restores TEXT NOT NULL,
    hold INTEGER NOT NULL, can_draw INTEGER NOT NULL, pd_ref REAL, changed_at TEXT, adverse_at TEXT,
    links_before INTEGER NOT NULL, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ticks (
    tick INTEGER PRIMARY KEY, as_of TEXT NOT NULL, model_version TEXT NOT NULL, model_digest TEXT NOT NULL,
    policy_digest TEXT NOT NULL, decisions TEXT NOT NULL, links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL,
    run_id TEXT REFERENCES runs);
CREATE TABLE IF NOT EXISTS verdicts (
    verdict_no INTEGER PRIMARY KEY, account_id TEXT NOT NULL, since TEXT NOT NULL, as_of TEXT NOT NULL,
    at TEXT NOT NULL, verdict TEXT NOT NULL, code TEXT NOT NULL, words TEXT NOT NULL, actor TEXT NOT NULL,
    action TEXT NOT NULL, limit_cents INTEGER, needed INTEGER NOT NULL, blind INTEGER NOT NULL,
    settles INTEGER NOT NULL, override INTEGER REFERENCES overrides, links_before INTEGER NOT NULL UNIQUE,
    head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS records (
    record INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS signers (
    signer INTEGER PRIMARY KEY, person TEXT NOT NULL, os_user TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    public_key TEXT NOT NULL, signature TEXT NOT NULL, links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS legal_holds (
    id INTEGER PRIMARY KEY, account_id TEXT NOT NULL, action TEXT NOT NULL, at TEXT NOT NULL, actor TEXT NOT NULL,
    reason TEXT NOT NULL, links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS erasures (
    erasure INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    accounts INTEGER NOT NULL, mark TEXT NOT NULL, mark_sha256 TEXT NOT NULL, links_before INTEGER NOT NULL UNIQUE,
    head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS notices (
    batch INTEGER PRIMARY KEY, at TEXT NOT NULL, count INTEGER NOT NULL, letters TEXT NOT NULL,
    letters_sha256 TEXT NOT NULL, links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sendings (
    sending INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES notices, letters TEXT NOT NULL,
    status TEXT NOT NULL, at TEXT NOT NULL, actor TEXT NOT NULL, note TEXT NOT NULL,
    links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS exchanges (
    step_no INTEGER PRIMARY KEY, exchange TEXT NOT NULL, lender TEXT NOT NULL, step TEXT NOT NULL, at TEXT NOT NULL,
    actor TEXT NOT NULL, ids INTEGER NOT NULL, listed INTEGER NOT NULL, hits INTEGER NOT NULL, sha256 TEXT NOT NULL,
    links_before INTEGER NOT NULL UNIQUE, head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS policies (policy_digest TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS models (
    model_version TEXT PRIMARY KEY, model_digest TEXT NOT NULL, policy_digest TEXT NOT NULL, folder TEXT NOT NULL,
    mlflow_run_id TEXT NOT NULL, developer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS promotions (
    id INTEGER PRIMARY KEY, model_version TEXT NOT NULL, reviewer TEXT NOT NULL, kind TEXT NOT NULL,
    promoted_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS promotion_reasons (
    promotion INTEGER PRIMARY KEY REFERENCES promotions (id), approver TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS withdrawals (
    model_version TEXT PRIMARY KEY, actor TEXT NOT NULL, reason TEXT NOT NULL, withdrawn_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stress_tests (
    made_at TEXT PRIMARY KEY, as_of TEXT NOT NULL, run_id TEXT NOT NULL, inputs TEXT NOT NULL,
    inputs_sha256 TEXT NOT NULL, results_sha256 TEXT NOT NULL, summary TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sign_offs (
    id INTEGER PRIMARY KEY, model_version TEXT NOT NULL, sha256 TEXT NOT NULL, verdict TEXT NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, signed_at TEXT NOT NULL);
"""

#: The disk is full; a quota or a limit on the size of files is reached.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}

#: Not SQLite, damaged, or without a table or column of ours.
_DAMAGED = {
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_MISMATCH,
}

#: More than one transaction of ours ever writes, with the journal.
_TRANSACTION_BYTES = 1 << 20

#: The folder cannot hold what readers of a journal share: a read-only disk, or a full one.
_NO_PLACE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}

__all__ = ["Connection", "connect", "opened", "reading", "replace_words", "scrub"]


@contextmanager
def connect(workspace: Path) -> Iterator[Connection]:
    """One transaction on the file of a workspace: committed at the end, rolled back on an error.

    Raises
    ------
    WorkspaceError
        The disk is full, or may not be written to.
    IntegrityError
        The file is damaged, or a cell is none that was written.
    """
    with opened(workspace / "ledger.sqlite", _TABLES) as connection:
        connection.execute("BEGIN IMMEDIATE")  # a link rests on the one before it
        yield connection


@contextmanager
def opened(path: Path, statements: str) -> Iterator[Connection]:
    """One transaction on an SQLite file of our own, as :func:`connect` has one on that of the ledger.

    Parameters
    ----------
    path : Path
        Its folder is created.
    statements : str
        Make its tables, where they are not there yet.
    """
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _naming_file_errors(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(statements)
        with connection:
            yield connection


def scrub(path: Path) -> None:
    """Leave nothing in an SQLite file, or beside it, of what was deleted or changed.

    Raises
    ------
    WorkspaceError
        Another process reads it, so that its journal cannot be emptied; or the disk is full.
    IntegrityError
        As :func:`connect`.
    """
    with _naming_file_errors(path), closing(sqlite3.connect(path)) as connection:
        try:
            connection.execute("VACUUM")
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not busy:
                raise
    if busy:
        raise WorkspaceError(f"{path}: another process reads it; end that, then run limitlens erase --resume.")


def replace_words(path: Path, changed: Callable[[str], str]) -> int:
    """Change every text of an SQLite file that is not ours, such as MLflow's; return how many were.

    Parameters
    ----------
    path : Path
    changed : callable
        Takes a text and gives what is to stand there.
    """
    count = 0
    with _naming_file_errors(path), closing(sqlite3.connect(path)) as connection, connection:
        connection.create_function("changed", 1, changed, deterministic=True)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                name = '"' + column.replace('"', '""') + '"'
                is_other = f"typeof({name}) = 'text' AND changed({name}) <> {name}"
                count += connection.execute(f'UPDATE "{table}" SET {name} = changed({name}) WHERE {is_other}').rowcount
    return count


@contextmanager
def reading(workspace: Path) -> Iterator[Connection]:
    """What the file of a workspace holds; nothing is written, and a workspace without one is empty.

    Raises
    ------
    WorkspaceError
        A run that was killed left a journal, and it cannot be taken in on a read-only disk.
    IntegrityError
        As :func:`connect`.
    """
    path = workspace / "ledger.sqlite"
    with _naming_file_errors(path), closing(_opened(path)) as connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for statement in _TABLES.split(";")[:-1]:
            if statement.split()[5] not in there:  # a file of an earlier version, or none
                connection.execute(statement.replace("CREATE TABLE", "CREATE TEMP TABLE"))
        connection.execute("BEGIN")
        yield connection


def _opened(path: Path) -> Connection:
    if not path.exists():
        return sqlite3.connect(":memory:")
    address = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master")
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF not in _NO_PLACE:
            raise
        journal = path.with_name(f"{path.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise WorkspaceError(
                f"{journal}: left by a run that was killed, and cannot be read here ({error}); "
                "make the disk writable or free some room, or copy the workspace to another."
            ) from error
        return sqlite3.connect(f"{address}?immutable=1", uri=True)
    return connection


@contextmanager
def _naming_file_errors(path: Path) -> Iterator[None]:
    """What can go wrong with the file, in one line."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _NO_ROOM:
            raise no_room(path, _TRANSACTION_BYTES) from error
        if code & 0xFF == sqlite3.SQLITE_READONLY:
            raise not_writable(path, error) from error
        if code & 0xFF in _DAMAGED:
            raise damaged(path, error) from error
        raise
    except (ValueError, TypeError) as error:  # what is read in this block are cells
        raise damaged(path, error) from error
