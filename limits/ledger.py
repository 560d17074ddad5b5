"""The ledger: what was decided, why, by whom; it only grows.

Decisions and attributions are immutable Parquet files, one of each for an as-of time. A file counts once its
sha256 stands in the SQLite run table, chained to the run before; a file that was renamed but not recorded is
written again, byte for byte, when the run is repeated.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time, parse_time
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.storage import file_sha256, write_parquet
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.database import Connection, connect
from limitlens.limits.state import STATE_TYPE

_TIME = pa.timestamp("us", tz="UTC")

DECISIONS = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", _TIME),
        ("action", pa.string()),
        ("limit_before_cents", pa.int64()),
        ("limit_cents", pa.int64()),
        ("can_draw", pa.bool_()),
        ("pd", pa.float64()),
        ("fired_rules", pa.list_(pa.string())),
        ("reasons", pa.list_(pa.string())),
        ("state", STATE_TYPE),
        ("run_id", pa.string()),
        ("model_version", pa.string()),
        ("policy_digest", pa.string()),
    ]
)

ATTRIBUTIONS = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", _TIME),
        ("revision", pa.int64()),
        ("status", pa.string()),
        ("previous_as_of", _TIME),
        *((f"phi_{player}", pa.int64()) for player in PLAYERS),
        *((f"share_cents_{player}", pa.int64()) for player in PLAYERS),
        *((f"necessary_{player}", pa.bool_()) for player in PLAYERS),
        *((f"sufficient_{player}", pa.bool_()) for player in PLAYERS),
    ]
)


@dataclass(frozen=True)
class Run:
    """One as-of time that was decided; ``run_id`` is the digest of everything that went in."""

    run_id: str
    as_of: datetime
    model_version: str
    model_digest: str
    policy_digest: str
    backtest: bool


@dataclass(frozen=True)
class Ledger:
    """The ledger of one workspace folder."""

    workspace: Path

    def runs(self) -> list[Run]:
        """Every recorded run, in the order of recording."""
        with connect(self.workspace) as connection:
            found = connection.execute(
                "SELECT run_id, as_of, model_version, model_digest, policy_digest, backtest FROM runs ORDER BY rowid"
            ).fetchall()
        return [
            Run(run, parse_time(as_of), version, model, policy, bool(b))
            for run, as_of, version, model, policy, b in found
        ]

    def decided_until(self) -> datetime | None:
        """The latest decided as-of time, or None before the first."""
        return max((run.as_of for run in self.runs()), default=None)

    def append(self, run: Run, decisions: pa.Table, attributions: pa.Table) -> None:
        """Record one run; recording it again changes nothing.

        Parameters
        ----------
        run : Run
        decisions : pyarrow.Table of schema :data:`DECISIONS`
        attributions : pyarrow.Table of schema :data:`ATTRIBUTIONS`

        Raises
        ------
        IntegrityError
            The same run was recorded with other content.
        """
        name = f"{format_time(run.as_of).replace(':', '')}-{run.run_id[:12]}.parquet"
        paths = [Path("decisions") / name, Path("attributions") / name]
        for path, table in zip(paths, (decisions, attributions), strict=True):
            write_parquet(table, self.workspace / path)
        hashes = [file_sha256(self.workspace / path) for path in paths]
        with connect(self.workspace) as connection:
            known = connection.execute(
                "SELECT decisions_sha256, attributions_sha256 FROM runs WHERE run_id = ?", [run.run_id]
            ).fetchone()
            if known:
                if list(known) != hashes:
                    raise IntegrityError(
                        f"run {run.run_id[:12]}: recorded before with other content; run ledger checks."
                    )
                return
            head = _chain(_head(connection), hashes)
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                [run.run_id, run.as_of.isoformat(), run.model_version, run.model_digest, run.policy_digest,
                 int(run.backtest), str(paths[0]), hashes[0], str(paths[1]), hashes[1], head],
            )  # fmt: skip

    def head(self) -> str:
        """Hash of the whole chain; empty before the first run."""
        with connect(self.workspace) as connection:
            return _head(connection)

    def verify(self) -> int:
        """Check every file and every link; return the number of runs.

        Raises
        ------
        IntegrityError
            Names the first file that is missing or not the one recorded, or the first broken link.
        """
        with connect(self.workspace) as connection:
            found = connection.execute(
                "SELECT decisions, decisions_sha256, attributions, attributions_sha256, head FROM runs ORDER BY rowid"
            ).fetchall()
        head = ""
        for decisions, decisions_hash, attributions, attributions_hash, recorded in found:
            for path, expected in ((decisions, decisions_hash), (attributions, attributions_hash)):
                full = self.workspace / path
                if not full.exists() or file_sha256(full) != expected:
                    raise IntegrityError(f"{full}: the first broken link; the file is missing or was changed.")
            head = _chain(head, [decisions_hash, attributions_hash])
            if head != recorded:
                raise IntegrityError(f"{self.workspace / decisions}: the chain of the run table is broken here.")
        return len(found)

    def relation(self, table: str) -> str:
        """SQL over the recorded files of ``decisions`` or ``attributions``; empty but typed before the first run."""
        with connect(self.workspace) as connection:
            paths = [row[0] for row in connection.execute(f"SELECT {table} FROM runs ORDER BY rowid")]
        if not paths:
            raise WorkspaceError(f"{self.workspace}: nothing has been decided yet; run limitlens decide first.")
        files = ", ".join("'" + str(self.workspace / path).replace("'", "''") + "'" for path in paths)
        return f"SELECT * FROM read_parquet([{files}])"

    def current(self, account_id: str | None = None) -> pd.DataFrame:
        """Every decision with its latest attribution (null where there is none), by account and time.

        Parameters
        ----------
        account_id : str, optional
            Only this account.
        """
        where = "WHERE account_id = '" + account_id.replace("'", "''") + "'" if account_id else ""
        sql = f"""
        SELECT decision.*, attribution.* EXCLUDE (account_id, as_of)
        FROM decisions AS decision LEFT JOIN (
            SELECT * FROM attributions
            QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id, as_of ORDER BY revision DESC) = 1
        ) AS attribution USING (account_id, as_of)
        {where} ORDER BY account_id, as_of
        """
        tables = {name: self.relation(name) for name in ("decisions", "attributions")}
        found: pd.DataFrame = run_sql(sql, tables).to_pandas()
        return found

    def last_decisions(self) -> pa.Table:
        """The latest decision of every account, of schema :data:`DECISIONS`; empty before the first run."""
        if not self.runs():
            return DECISIONS.empty_table()
        sql = """
        SELECT * FROM decisions
        QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY as_of DESC) = 1 ORDER BY account_id
        """
        return run_sql(sql, {"decisions": self.relation("decisions")})

    def last_mlflow_run(self) -> str | None:
        """Id of the MLflow run that recorded the last decisions."""
        with connect(self.workspace) as connection:
            row = connection.execute("SELECT mlflow_run_id FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def link_mlflow(self, run_ids: Sequence[str], mlflow_run_id: str) -> None:
        """Name the MLflow run that recorded these runs; ids of MLflow stand nowhere else."""
        with connect(self.workspace) as connection:
            connection.executemany(
                "UPDATE runs SET mlflow_run_id = ? WHERE run_id = ?", [(mlflow_run_id, run_id) for run_id in run_ids]
            )


def _chain(head: str, hashes: Sequence[str]) -> str:
    return hashlib.sha256(":".join((head, *hashes)).encode()).hexdigest()


def _head(connection: Connection) -> str:
    row = connection.execute("SELECT head FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
    return row[0] if row else ""
