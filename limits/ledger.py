"""The ledger: what was decided, why, by whom; it only grows.

Decisions and attributions are immutable Parquet files, one of each for an as-of time. A file counts once its
sha256 stands in the SQLite run table, chained to what was recorded before; a file that was renamed but not recorded
is written again, byte for byte, when the run is repeated. Overrides are rows of SQLite, links of the same chain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time, parse_time
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.storage import file_sha256, read_parquet, write_parquet
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.chain import last_head, links, next_head
from limitlens.limits.database import Connection, connect
from limitlens.limits.override import Override
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


RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("as_of", _TIME),
        ("model_version", pa.string()),
        ("model_digest", pa.string()),
        ("policy_digest", pa.string()),
        ("backtest", pa.bool_()),
        ("head", pa.string()),
        ("mlflow_run_id", pa.string()),
    ]
)

OVERRIDES = pa.schema(
    [
        ("id", pa.int64()),
        ("account_id", pa.string()),
        ("at", _TIME),
        ("action", pa.string()),
        ("limit_before_cents", pa.int64()),
        ("limit_cents", pa.int64()),
        ("actor", pa.string()),
        ("reason", pa.string()),
    ]
)

#: Every decision with its latest attribution, over the relations of the ledger.
_CURRENT = """
SELECT decision.*, attribution.* EXCLUDE (account_id, as_of)
FROM decisions AS decision LEFT JOIN (
    SELECT * FROM attributions QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id, as_of ORDER BY revision DESC) = 1
) AS attribution USING (account_id, as_of)
"""


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
            return _runs(connection, "TRUE")

    def waiting(self) -> list[Run]:
        """Runs that no MLflow run names: those of a call that has not ended, or never will."""
        with connect(self.workspace) as connection:
            return _runs(connection, "mlflow_run_id IS NULL")

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
        WorkspaceError
            The disk is full; nothing of the run is recorded.
        """
        name = f"{format_time(run.as_of).replace(':', '')}-{run.run_id[:12]}.parquet"
        tables = {Path("decisions") / name: decisions, Path("attributions") / name: attributions}
        if any(known.run_id == run.run_id for known in self.runs()):
            if not all(read_parquet(self.workspace / path).equals(table) for path, table in tables.items()):
                raise IntegrityError(f"run {run.run_id[:12]}: recorded before with other content; run ledger verify.")
            return
        cells: list[str | int] = [
            run.run_id, run.as_of.isoformat(), run.model_version, run.model_digest, run.policy_digest, int(run.backtest)
        ]  # fmt: skip
        for path, table in tables.items():
            write_parquet(table, self.workspace / path)
            cells += [path.as_posix(), file_sha256(self.workspace / path)]
        with connect(self.workspace) as connection:
            head = next_head(last_head(connection), ["run", *cells])
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", [*cells, head])

    def sweep(self) -> None:
        """Remove the files a run that was interrupted left behind; the caller holds the workspace."""
        for path in self._unrecorded("*"):
            if path.suffix in {".parquet", ".tmp"}:
                path.unlink()

    def record_override(self, override: Override) -> None:
        """Record what a person ordered; the next decision of the line starts from it."""
        with connect(self.workspace) as connection:
            number, runs_before = connection.execute(
                "SELECT (SELECT COALESCE(MAX(id), 0) + 1 FROM overrides), (SELECT COUNT(*) FROM runs)"
            ).fetchone()
            cells = [number, override.account_id, override.at.isoformat(), override.action,
                     override.limit_before_cents, override.limit_cents, override.actor, override.reason,
                     runs_before]  # fmt: skip
            head = next_head(last_head(connection), ["override", *cells])
            connection.execute("INSERT INTO overrides VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])

    def overrides(self) -> pd.DataFrame:
        """What persons ordered, in the order of recording; columns of :data:`OVERRIDES`."""
        found: pd.DataFrame = self._overrides().to_pandas()
        return found

    def head(self) -> str:
        """Hash of the whole chain; empty before the first run."""
        with connect(self.workspace) as connection:
            return last_head(connection)

    def heads(self) -> dict[str, str]:
        """Hash of the chain after each run, by run id."""
        with connect(self.workspace) as connection:
            return dict(connection.execute("SELECT run_id, head FROM runs"))

    def verify(self) -> int:
        """Check every row, every file and every link, in the order of recording; return the number of links.

        Raises
        ------
        IntegrityError
            Names the first link that is broken, or a file that no run recorded.
        """
        with connect(self.workspace) as connection:
            found = links(connection)
        head = ""
        for link in found:
            head = next_head(head, link.content)
            if head != link.head:
                raise IntegrityError(
                    f"{self.workspace / 'ledger.sqlite'}: {link.name} is the first broken link: its row was "
                    "changed, or one before it was changed or removed; restore the file from a backup."
                )
            for path, sha256 in link.files:
                full = self.workspace / path
                if not full.is_file() or file_sha256(full) != sha256:
                    raise IntegrityError(
                        f"{full}: the first broken link; the file is missing or was changed; restore it from a backup."
                    )
        for extra in self._unrecorded("[!.]*"):
            raise IntegrityError(
                f"{extra}: no run has recorded this file; if a run was interrupted, limitlens decide mends it."
            )
        return len(found)

    def verify_anchors(self, anchors: Mapping[str, str]) -> None:
        """Compare the chain with the heads that were noted elsewhere: it may be longer, but none may be gone.

        Parameters
        ----------
        anchors : mapping of MLflow run id to head

        Raises
        ------
        IntegrityError
            The chain was cut off or written anew, or an MLflow run that it names is gone.
        """
        with connect(self.workspace) as connection:
            known = {link.head for link in links(connection)}
            linked = connection.execute(
                "SELECT run_id, mlflow_run_id FROM runs WHERE mlflow_run_id IS NOT NULL ORDER BY rowid"
            ).fetchall()
        for mlflow_run_id, head in anchors.items():
            if head not in known:
                raise IntegrityError(
                    f"{self.workspace / 'ledger.sqlite'}: the chain does not hold the head {head[:12]} that MLflow run "
                    f"{mlflow_run_id} recorded; its last runs were removed, or it was written anew."
                )
        for run_id, mlflow_run_id in linked:
            if mlflow_run_id not in anchors:
                raise IntegrityError(
                    f"run {run_id[:12]}: its MLflow run {mlflow_run_id} is gone or records no head; restore mlflow/."
                )

    def relation(self, table: str) -> str:
        """SQL over the recorded files of ``decisions`` or ``attributions``.

        Raises
        ------
        WorkspaceError
            Nothing has been decided yet.
        IntegrityError
            A recorded name leads out of its folder.
        """
        with connect(self.workspace) as connection:
            paths = [Path(row[0]) for row in connection.execute(f"SELECT {table} FROM runs ORDER BY rowid")]
        if not paths:
            raise WorkspaceError(f"{self.workspace}: nothing has been decided yet; run limitlens decide first.")
        if strange := [path for path in paths if path.parent != Path(table)]:
            raise IntegrityError(f"{strange[0]}: not a file of {self.workspace / table}; run limitlens ledger verify.")
        files = ", ".join("'" + str(self.workspace / path).replace("'", "''") + "'" for path in paths)
        return f"SELECT * FROM read_parquet([{files}])"

    def query(self, sql: str) -> pd.DataFrame:
        """Run DuckDB SQL over the ledger; for notebooks.

        Parameters
        ----------
        sql : str
            May name ``decisions``, ``attributions``, ``current`` (every decision with its latest attribution, null
            where there is none), ``runs`` and ``overrides``.

        Returns
        -------
        DataFrame

        Raises
        ------
        WorkspaceError
            Nothing has been decided yet.
        """
        found: pd.DataFrame = self.table(sql).to_pandas()
        return found

    def table(self, sql: str) -> pa.Table:
        """:meth:`query` as an Arrow table, with types that do not depend on what is null."""
        files = {name: self.relation(name) for name in ("decisions", "attributions")}
        views: dict[str, str | pa.Table] = {**files, "current": _CURRENT}
        return run_sql(sql, views | {"runs": self._run_table(), "overrides": self._overrides()})

    def current(self, account_id: str | None = None) -> pd.DataFrame:
        """Every decision with its latest attribution (null where there is none), by account and time.

        Parameters
        ----------
        account_id : str, optional
            Only this account.
        """
        where = "WHERE account_id = '" + account_id.replace("'", "''") + "'" if account_id else ""
        return self.query(f"SELECT * FROM current {where} ORDER BY account_id, as_of")

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

    def _unrecorded(self, pattern: str) -> list[Path]:
        """Files in the folders of the ledger that no run has recorded."""
        with connect(self.workspace) as connection:
            recorded = {self.workspace / path for link in links(connection) for path, _ in link.files}
        folders = (self.workspace / name for name in ("decisions", "attributions"))
        return sorted(path for folder in folders for path in folder.glob(pattern) if path not in recorded)

    def _run_table(self) -> pa.Table:
        with connect(self.workspace) as connection:
            rows = connection.execute(f"SELECT {', '.join(RUNS.names)} FROM runs ORDER BY rowid").fetchall()
        return _arrow(rows, RUNS)

    def _overrides(self) -> pa.Table:
        with connect(self.workspace) as connection:
            rows = connection.execute(f"SELECT {', '.join(OVERRIDES.names)} FROM overrides ORDER BY id").fetchall()
        return _arrow(rows, OVERRIDES)


def _runs(connection: Connection, where: str) -> list[Run]:
    found = connection.execute(
        "SELECT run_id, as_of, model_version, model_digest, policy_digest, backtest FROM runs "
        f"WHERE {where} ORDER BY rowid"
    )
    return [
        Run(run, parse_time(as_of), version, model, policy, bool(b)) for run, as_of, version, model, policy, b in found
    ]


def _arrow(rows: Sequence[Sequence[str | int | None]], schema: pa.Schema) -> pa.Table:
    """Rows of SQLite with the types of a schema: times are ISO text there, booleans 0 and 1."""
    read: dict[pa.DataType, Callable[[Any], Any]] = {_TIME: parse_time, pa.bool_(): bool}
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array([read[field.type](cell) if field.type in read else cell for cell in column], field.type)
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
