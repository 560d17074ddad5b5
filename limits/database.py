"""The SQLite file of a workspace: runs, overrides, revisions, policies, models, promotions. The one door to SQLite."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection

from limitlens.data.damage import damaged
from limitlens.data.disk import no_room

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
"""

#: The disk is full; a quota or a limit on the size of files is reached.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}

#: Not SQLite, damaged, or without a table or column of ours; a row breaks a constraint that rows of ours keep.
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

__all__ = ["Connection", "connect"]


@contextmanager
def connect(workspace: Path) -> Iterator[Connection]:
    """One transaction on the file of a workspace: committed at the end, rolled back on an error.

    Raises
    ------
    WorkspaceError
        The disk is full.
    IntegrityError
        The file is damaged, or a cell is none that was written.
    """
    workspace.mkdir(parents=True, exist_ok=True)
    path = workspace / "ledger.sqlite"
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
        with connection:
            yield connection
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if code in _NO_ROOM:
            raise no_room(path, _TRANSACTION_BYTES) from error
        if code & 0xFF in _DAMAGED:
            raise damaged(path, error) from error
        raise
    except (ValueError, TypeError) as error:  # what is read in this block are cells
        raise damaged(path, error) from error
    finally:
        connection.close()
