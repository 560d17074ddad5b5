"""The ledger: what was decided, why, by whom; it only grows.

Decisions and attributions are immutable Parquet files, one of each for an as-of time. A file counts once its
sha256 stands in the SQLite run table, chained to what was recorded before; a file that was renamed but not recorded
is written again, byte for byte, when the run is repeated. Overrides are rows of SQLite, links of the same chain; so
are verdicts, and revisions, each with a file of its own: the attributions of a run once more, as known later.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import format_time, parse_time
from limitlens.data.damage import files_in, parquet_sql
from limitlens.data.engine import Values, run_sql
from limitlens.data.erasures import erasures, followed, mark_of
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.storage import file_sha256, read_parquet, write_parquet
from limitlens.limits.chain import Cell, count_links, heads_of, last_head, links, next_head
from limitlens.limits.database import Connection, connect, reading
from limitlens.limits.hold import Hold
from limitlens.limits.ledger_tables import (
    CURRENT,
    DECISIONS,
    HOLDS,
    LATER_COLUMNS,
    OVERRIDES,
    REVISIONS,
    RUNS,
    SINCE_OPENING,
    TIME,
    VERDICTS,
)
from limitlens.limits.override import Override, Restoration
from limitlens.limits.records import record_earlier
from limitlens.limits.signers import sign
from limitlens.limits.tick import Tick, as_text, from_text
from limitlens.limits.verdict import Verdict

#: Rows to a row group of decisions and attributions: one line is read from one group of each date.
GROUP_ROWS = 1 << 14


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
        with reading(self.workspace) as connection:
            return _runs(connection, "TRUE")

    def waiting(self) -> list[Run]:
        """Runs that no MLflow run names: those of a call that has not ended, or never will."""
        with reading(self.workspace) as connection:
            return _runs(connection, "mlflow_run_id IS NULL")

    def decided_until(self) -> datetime | None:
        """The latest as-of time that was decided by plan, or None before the first; ticks are by no plan."""
        with reading(self.workspace) as connection:
            return max((run.as_of for run in _runs(connection, _PLANNED)), default=None)

    def last_moment(self) -> datetime | None:
        """The latest as-of time of any decision, those of ticks included: nothing may change what was known then."""
        with reading(self.workspace) as connection:
            ticks = [parse_time(as_of) for (as_of,) in connection.execute("SELECT as_of FROM ticks")]
            return max((*(run.as_of for run in _runs(connection, "TRUE")), *ticks), default=None)

    def note(self, as_of: datetime, decided_by: Sequence[str], decisions: pa.Table) -> None:
        """Record what was decided within the day, before any run of a plan.

        Parameters
        ----------
        as_of : datetime
        decided_by : (str, str, str)
            Version and digest of the model, digest of the policy.
        decisions : pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.DECISIONS`
        """
        with connect(self.workspace) as connection:
            (number,) = connection.execute("SELECT COALESCE(MAX(tick), 0) + 1 FROM ticks").fetchone()
            cells: list[Cell] = [
                number, as_of.isoformat(), *decided_by, as_text(decisions), count_links(connection)
            ]  # fmt: skip
            head = next_head(last_head(connection), ["tick", *cells])
            connection.execute("INSERT INTO ticks VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", [*cells, head])

    def pending_ticks(self) -> list[Tick]:
        """Ticks that no run has taken in yet, in order."""
        return self._ticks("run_id IS NULL")

    def _pending_of(self, accounts: Sequence[str] | None) -> list[Tick]:
        """Pending ticks in whose text one of some accounts stands: a day of the watch has thousands of them."""
        if accounts is None or len(accounts) > _FEW:
            return self.pending_ticks()
        names = [json.dumps(account, ensure_ascii=False) for account in accounts]
        named = " OR ".join(["FALSE", *("instr(decisions, ?) > 0" for _ in names)])
        return self._ticks(f"run_id IS NULL AND ({named})", *names)

    def ticks_after(self, number: int) -> list[Tick]:
        """Ticks with a higher number, in order, whether or not a run has taken them in."""
        return self._ticks("tick > ?", number)

    def _ticks(self, where: str, *values: Cell) -> list[Tick]:
        columns = "tick, as_of, model_version, model_digest, policy_digest, decisions"
        with reading(self.workspace) as connection:
            rows = connection.execute(f"SELECT {columns} FROM ticks WHERE {where} ORDER BY tick", values)
            return [
                Tick(tick, parse_time(as_of), version, model, policy, from_text(text))
                for tick, as_of, version, model, policy, text in rows
            ]

    def append(self, run: Run, decisions: pa.Table, attributions: pa.Table, *, ticks: Sequence[int] = ()) -> None:
        """Record one run; recording it again changes nothing.

        Parameters
        ----------
        run : Run
        decisions : pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.DECISIONS`
        attributions : pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.ATTRIBUTIONS`
        ticks : sequence of int
            Those whose decisions it takes in.

        Raises
        ------
        IntegrityError
            The same run was recorded with other content.
        WorkspaceError
            The disk is full; nothing of the run is recorded.
        """
        name = f"{_file_stem(run)}.parquet"
        tables = {Path("decisions") / name: decisions, Path("attributions") / name: attributions}
        if any(known.run_id == run.run_id for known in self.runs()):
            self._check_repeated(f"run {run.run_id[:12]}", tables)
            return
        cells: list[str | int] = [
            run.run_id, run.as_of.isoformat(), run.model_version, run.model_digest, run.policy_digest, int(run.backtest)
        ]  # fmt: skip
        for path, table in tables.items():
            write_parquet(table, self.workspace / path, GROUP_ROWS)
            cells += [path.as_posix(), file_sha256(self.workspace / path)]
        with connect(self.workspace) as connection:
            head = next_head(last_head(connection), ["run", *cells])
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)", [*cells, head])
            taken = [(run.run_id, tick) for tick in ticks]
            connection.executemany("UPDATE ticks SET run_id = ? WHERE tick = ?", taken)

    def append_revision(
        self, run: Run, known_by: datetime, attributions: pa.Table, *, known_rows: int, late_rows: int
    ) -> None:
        """Record the attributions of a run as they are with later knowledge; recording them again changes nothing.

        Parameters
        ----------
        run : Run
            A recorded one.
        known_by : datetime
            The time of reconciliation k*.
        attributions : pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.ATTRIBUTIONS`
        known_rows, late_rows : int
            Records about the accounts before the run that were known then, and that came between then and k*.

        Raises
        ------
        IntegrityError
            The same revision was recorded with other content.
        WorkspaceError
            The disk is full; nothing of the revision is recorded.
        """
        path = Path("attributions") / f"{_file_stem(run)}-final.parquet"
        if run.run_id in set(self.revisions()["run_id"]):
            self._check_repeated(f"revision of run {run.run_id[:12]}", {path: attributions})
            return
        write_parquet(attributions, self.workspace / path, GROUP_ROWS)
        cells: list[str | int] = [run.run_id, known_by.isoformat(), known_rows, late_rows, path.as_posix()]
        cells.append(file_sha256(self.workspace / path))
        with connect(self.workspace) as connection:
            cells.append(count_links(connection))
            head = next_head(last_head(connection), ["revision", *cells])
            connection.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)", [*cells, head])

    def revisions(self) -> pd.DataFrame:
        """Every revision, in order; columns of :data:`limitlens.limits.ledger_tables.REVISIONS`."""
        rows: pd.DataFrame = self._rows("revisions", REVISIONS).to_pandas()
        return rows

    def _check_repeated(self, name: str, tables: Mapping[Path, pa.Table]) -> None:
        """Refuse to record something again with other content."""
        if not all(read_parquet(self.workspace / path).equals(table) for path, table in tables.items()):
            raise IntegrityError(f"{name}: recorded before with other content; run ledger verify.")

    def sweep(self) -> None:
        """Remove the files a run that was interrupted left behind; the caller holds the workspace."""
        for path in self._unrecorded("*"):
            if path.suffix in {".parquet", ".tmp"}:
                path.unlink()

    def record_override(self, override: Override, key: bytes | None = None) -> None:
        """Record what a person ordered; the next decision of the line starts from it."""
        with connect(self.workspace) as connection:
            record_earlier(connection, self.workspace)
            number = _insert_override(connection, override)
            sign(connection, override.actor, ("override", str(number)), key)

    def record_verdict(self, verdict: Verdict, override: Override | None) -> None:
        """Record what a reviewer said of a case and what that orders, both or neither."""
        with connect(self.workspace) as connection:
            record_earlier(connection, self.workspace)
            ordered = _insert_override(connection, override) if override else None
            (number,) = connection.execute("SELECT COALESCE(MAX(verdict_no), 0) + 1 FROM verdicts").fetchone()
            times = [time.isoformat() for time in (verdict.since, verdict.as_of, verdict.at)]
            cells: list[Cell] = [
                number, verdict.account_id, *times, verdict.verdict, verdict.code, verdict.words, verdict.actor,
                verdict.action, verdict.limit_cents, verdict.needed, int(verdict.blind), int(verdict.settles), ordered,
                count_links(connection),
            ]  # fmt: skip
            head = next_head(last_head(connection), ["verdict", *cells])
            places = ", ".join("?" * (len(cells) + 1))
            connection.execute(f"INSERT INTO verdicts VALUES ({places})", [*cells, head])
            sign(connection, verdict.actor, ("verdict", str(number)))

    def verdicts(self) -> pd.DataFrame:
        """What reviewers said, in order; columns of :data:`limitlens.limits.ledger_tables.VERDICTS`."""
        rows: pd.DataFrame = self._rows("verdicts", VERDICTS).to_pandas()
        return rows

    def record_restoration(self, restoration: Restoration) -> None:
        """Record that a decision is made good; the next decision of the line starts from the state before it."""
        with connect(self.workspace) as connection:
            (number,) = connection.execute(f"SELECT {_NEXT_ORDER}").fetchone()
            times = [time.isoformat() if time else None for time in (restoration.changed_at, restoration.adverse_at)]
            cells: list[Cell] = [
                number, restoration.account_id, restoration.at.isoformat(), restoration.limit_before_cents,
                restoration.limit_cents, restoration.actor, restoration.reason, restoration.restores.isoformat(),
                restoration.hold, int(restoration.can_draw), restoration.pd_ref, *times, count_links(connection),
            ]  # fmt: skip
            head = next_head(last_head(connection), ["restoration", *cells])
            places = ", ".join("?" * (len(cells) + 1))
            connection.execute(f"INSERT INTO restorations VALUES ({places})", [*cells, head])

    def open_hold(self, hold: Hold) -> int:
        """Record that a slice of the data is suspect; return the number of the hold."""
        with connect(self.workspace) as connection:
            (number,) = connection.execute("SELECT COALESCE(MAX(hold), 0) + 1 FROM holds").fetchone()
            cells: list[str | int] = [
                number, *hold.scope, hold.fault, hold.since.isoformat(), hold.opened_at.isoformat(), hold.actor,
                hold.reason, count_links(connection),
            ]  # fmt: skip
            head = next_head(last_head(connection), ["hold", *cells])
            connection.execute("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])
        return int(number)

    def release_hold(self, hold: int, verdict: str, at: datetime, actor: str, reason: str) -> None:
        """Record that a person judged the slice; from now on no decision is touched by the hold."""
        with connect(self.workspace) as connection:
            cells: list[str | int] = [hold, verdict, at.isoformat(), actor, reason, count_links(connection)]
            head = next_head(last_head(connection), ["release", *cells])
            connection.execute("INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?, ?)", [*cells, head])

    def holds(self) -> pd.DataFrame:
        """Every hold with its release, in order; columns of :data:`limitlens.limits.ledger_tables.HOLDS`."""
        rows: pd.DataFrame = self._rows("holds", HOLDS).to_pandas()
        return rows

    def holds_in_force(self) -> dict[int, Hold]:
        """Holds that nobody has released, by number."""
        released = self.holds().set_index("hold")["verdict"].notna()
        return {number: hold for number, hold in self.every_hold().items() if not released[number]}

    def every_hold(self) -> dict[int, Hold]:
        """All holds, those that were released too, by number."""
        names = [field.name for field in fields(Hold)]
        rows = self._rows("holds", HOLDS).to_pylist()
        return {row["hold"]: Hold(**{name: row[name] for name in names}) for row in rows}

    def overrides(self) -> pd.DataFrame:
        """What persons ordered, restorations too; columns of :data:`limitlens.limits.ledger_tables.OVERRIDES`."""
        rows: pd.DataFrame = self._rows("overrides", OVERRIDES).to_pandas()
        return rows

    def head(self) -> str:
        """Hash of the whole chain; empty before the first run."""
        with reading(self.workspace) as connection:
            return last_head(connection)

    def inputs_head(self) -> str:
        """Hash of the chain without :data:`_APART`: what decisions stand on, whoever recorded it when."""
        return reduce(next_head, self.inputs(), "")

    def inputs(self) -> list[tuple[Cell, ...]]:
        """Content of every link but exchanges, letters, records and signers, in the order of recording."""
        with reading(self.workspace) as connection:
            return [link.content for link in links(connection) if link.content[0] not in _APART]

    def runs_of_ticks(self) -> set[str]:
        """Ids of the runs that took in ticks."""
        with reading(self.workspace) as connection:
            return {run_id for (run_id,) in connection.execute(f"SELECT run_id FROM runs WHERE NOT ({_PLANNED})")}

    def heads(self) -> dict[str, str]:
        """Hash of the chain after each run, by run id."""
        with reading(self.workspace) as connection:
            return dict(connection.execute("SELECT run_id, head FROM runs"))

    def chain_heads(self) -> list[str]:
        """Hash of the chain after each link, in the order of recording, as the rows give it."""
        with reading(self.workspace) as connection:
            chain = links(connection)
        return list(heads_of(chain, self._erased_content()))

    def verify(self) -> int:
        """Check every row, every file and every link, in the order of recording; return the number of links.

        Raises
        ------
        IntegrityError
            Names the first link that is broken, or a file that no run recorded.
        """
        count = self.verify_recorded()
        for extra in self._unrecorded("[!.]*"):
            raise IntegrityError(
                f"{extra}: no run has recorded this file; if a run was interrupted, limitlens decide mends it."
            )
        return count

    def verify_recorded(self) -> int:
        """:meth:`verify` without files that an interrupted run left behind."""
        with reading(self.workspace) as connection:
            chain = links(connection)
        done = erasures(self.workspace)
        if strange := {mark_of(erasure.number) for erasure in done} - {
            path for link in chain for path, _ in link.files
        }:
            raise IntegrityError(f"{self.workspace / min(strange)}: no erasure has recorded this file; remove it.")
        for link, head in zip(chain, heads_of(chain, self._erased_content()), strict=True):
            if head != link.head:
                raise IntegrityError(
                    f"{self.workspace / 'ledger.sqlite'}: {link.name} is the first broken link: its row was "
                    "changed, or one before it was changed or removed; restore the file from a backup."
                )
            for path, sha256 in link.files:
                full = self.workspace / path
                if not full.is_file() or file_sha256(full) != followed(path, sha256, done):
                    raise IntegrityError(
                        f"{full}: the first broken link; the file is missing or was changed; restore it from a backup."
                    )
        return len(chain)

    def _erased_content(self) -> dict[str, str]:
        """Hash of what is left of each link that lost content, by its recorded one."""
        return {head: digest for erasure in erasures(self.workspace) for head, digest in erasure.links.items()}

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
        with reading(self.workspace) as connection:
            known = {link.head for link in links(connection)}
            linked = [
                row
                for table in ("runs", "revisions")
                for row in connection.execute(
                    f"SELECT run_id, mlflow_run_id FROM {table} WHERE mlflow_run_id IS NOT NULL ORDER BY rowid"
                )
            ]
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
        with reading(self.workspace) as connection:
            paths = [Path(row[0]) for row in connection.execute(f"SELECT {table} FROM runs ORDER BY rowid")]
            if paths and table == "attributions":
                revised = connection.execute("SELECT attributions FROM revisions ORDER BY rowid")
                paths += [Path(row[0]) for row in revised]
        if not paths:
            raise WorkspaceError(f"{self.workspace}: nothing has been decided yet; run limitlens decide first.")
        if strange := [path for path in paths if path.parent != Path(table)]:
            raise IntegrityError(f"{strange[0]}: not a file of {self.workspace / table}; run limitlens ledger verify.")
        recorded = [self.workspace / path for path in paths]
        files = parquet_sql(recorded, by_name=len({_columns_of(path) for path in recorded}) > 1)
        return f"SELECT * FROM {files} UNION ALL BY NAME SELECT {LATER_COLUMNS[table]} WHERE FALSE"

    def query(self, sql: str, values: Values | None = None) -> pd.DataFrame:
        """Run DuckDB SQL over the ledger, and over nothing else; for notebooks.

        Parameters
        ----------
        sql : str
            May name ``decisions``, ``attributions``, ``current`` (every decision with its latest attribution, null
            where there is none), ``since_opening`` (the same, summed over the life of the line), ``runs``,
            ``overrides``, ``verdicts``, ``holds`` and ``revisions``.
        values : mapping of str to object, optional
            What stands for each ``$name`` in it.

        Returns
        -------
        DataFrame

        Raises
        ------
        WorkspaceError
            Nothing has been decided yet.
        QueryError
            The query does more than read: it names a file, a setting or an extension, or writes.
        """
        table: pd.DataFrame = self.table(sql, values).to_pandas()
        return table

    def table(self, sql: str, values: Values | None = None, *, few: bool = False) -> pa.Table:
        """:meth:`query` as an Arrow table, with types that do not depend on what is null.

        ``few``: of few rows, by a SELECT that is planned once. Each view opens all its files where it is made, and
        again where it is used.
        """
        files = {name: self.relation(name) for name in ("decisions", "attributions")}
        views = {**files, "current": CURRENT, "since_opening": SINCE_OPENING}
        stored = {"runs": RUNS, "overrides": OVERRIDES, "verdicts": VERDICTS, "holds": HOLDS, "revisions": REVISIONS}
        rows = {name: self._rows(name, schema) for name, schema in stored.items()}
        readable = [path for relation in files.values() for path in files_in(relation)]
        if not few:
            return run_sql(sql, views | rows, values, only=readable)
        parts = (f"{name} AS NOT MATERIALIZED ({part})" for name, part in views.items())
        return run_sql(f"WITH {', '.join(parts)} {sql}", rows, values, few=True, only=readable)

    def current(self, account_id: str | None = None) -> pd.DataFrame:
        """Every decision with its latest attribution (null where there is none), by account and time.

        Parameters
        ----------
        account_id : str, optional
            Only this account.
        """
        where, values = ("WHERE account_id = $account", {"account": account_id}) if account_id else ("", None)
        sql = f"SELECT * FROM current {where} ORDER BY account_id, as_of"
        current: pd.DataFrame = self.table(sql, values, few=account_id is not None).to_pandas()
        return current

    def last_decisions(self, accounts: Sequence[str] | None = None) -> pa.Table:
        """The latest decision of every account, be it of a tick that no run has taken in yet; empty before the first.

        Parameters
        ----------
        accounts : sequence of str, optional
            Only these.

        Returns
        -------
        pyarrow.Table of schema :data:`limitlens.limits.ledger_tables.DECISIONS`
        """
        asked = {} if accounts is None else {"asked": pa.table({"account_id": pa.array(accounts, pa.string())})}
        sql = f"""
        SELECT * FROM every {"SEMI JOIN asked USING (account_id)" if asked else ""}
        QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY as_of DESC) = 1 ORDER BY account_id
        """
        return run_sql(sql, {**self._every(accounts), **asked})

    def accounts_with(self, action: str) -> list[str]:
        """Accounts for which an action was ever decided, be it in a tick that no run has taken in yet."""
        sql = "SELECT DISTINCT account_id FROM every WHERE action = $action ORDER BY account_id"
        accounts: list[str] = run_sql(sql, self._every(), {"action": action})["account_id"].to_pylist()
        return accounts

    def last_held(self) -> pa.Table:
        """The latest decision of each account for which that is a hold."""
        last = self.last_decisions(self.accounts_with("hold"))
        return last.filter(pc.equal(last["action"], "hold"))

    def accounts_of(self, rules: Sequence[str]) -> list[str]:
        """Accounts for which one of some rules ever fired, be it in a tick that no run has taken in yet."""
        sql = "SELECT DISTINCT account_id FROM every WHERE list_has_any(fired_rules, $rules) ORDER BY account_id"
        accounts: list[str] = run_sql(sql, self._every(), {"rules": list(rules)})["account_id"].to_pylist()
        return accounts

    def _every(self, accounts: Sequence[str] | None = None) -> dict[str, pa.Table | str]:
        """Decisions of all runs, and of ticks that none has taken in yet; of these some accounts suffice."""
        ticks = self._pending_of(accounts)
        pending = pa.concat_tables([DECISIONS.empty_table(), *(tick.decisions for tick in ticks)])
        if not self.runs():
            return {"every": pending}
        if not len(pending):
            return {"every": self.relation("decisions")}
        both = f"{self.relation('decisions')} UNION ALL BY NAME SELECT * FROM pending"
        return {"pending": pending, "every": both}

    def last_mlflow_run(self) -> str | None:
        """Id of the MLflow run that recorded the last decisions."""
        with reading(self.workspace) as connection:
            row = connection.execute("SELECT mlflow_run_id FROM runs ORDER BY rowid DESC LIMIT 1").fetchone()
        return row[0] if row else None

    def link_mlflow(self, run_ids: Sequence[str], mlflow_run_id: str) -> None:
        """Name the MLflow run that recorded these runs; ids of MLflow stand nowhere else."""
        with connect(self.workspace) as connection:
            connection.executemany(
                "UPDATE runs SET mlflow_run_id = ? WHERE run_id = ?", [(mlflow_run_id, run_id) for run_id in run_ids]
            )

    def link_revisions(self, mlflow_run_id: str) -> None:
        """Name the MLflow run that recorded the revisions which none has recorded yet."""
        with connect(self.workspace) as connection:
            connection.execute("UPDATE revisions SET mlflow_run_id = ? WHERE mlflow_run_id IS NULL", [mlflow_run_id])

    def recorded_files(self) -> list[str]:
        """Every table that a link names, by its path below the workspace."""
        with reading(self.workspace) as connection:
            paths = [path for link in links(connection) for path, _ in link.files]
        return [path for path in paths if path.endswith(".parquet")]

    def _unrecorded(self, pattern: str) -> list[Path]:
        """Files in the folders of the ledger that no run has recorded."""
        with reading(self.workspace) as connection:
            recorded = {self.workspace / path for link in links(connection) for path, _ in link.files}
        folders = (self.workspace / name for name in ("decisions", "attributions"))
        return sorted(path for folder in folders for path in folder.glob(pattern) if path not in recorded)

    def _rows(self, table: str, schema: pa.Schema) -> pa.Table:
        """Rows of SQLite in the order of recording."""
        with reading(self.workspace) as connection:
            rows = connection.execute(
                f"SELECT {', '.join(schema.names)} FROM {_JOINED.get(table, table)} ORDER BY rowid"
            ).fetchall()
            return _arrow(rows, schema)


#: Kinds of links that change no decision.
_APART = ("exchange", "record", "signer", "notice", "sending")

#: Accounts for which SQLite is asked one by one.
_FEW = 50

#: Runs of a plan, and not what took in ticks.
_PLANNED = "run_id NOT IN (SELECT run_id FROM ticks WHERE run_id IS NOT NULL)"


def _columns_of(path: Path) -> str:
    """Columns of a file and their types; where all files have the same, DuckDB opens one to plan a query, not all."""
    try:
        return _read_columns(path, path.stat().st_mtime_ns)
    except (OSError, pa.ArrowException):
        return str(path)  # the query says what is wrong with it


@lru_cache(maxsize=1 << 14)
def _read_columns(path: Path, _: int) -> str:
    return str(pq.read_schema(path).remove_metadata())


#: Number of the next order of a person.
_NEXT_ORDER = "(SELECT COALESCE(MAX(id), 0) + 1 FROM (SELECT id FROM overrides UNION ALL SELECT id FROM restorations))"

#: Tables that are shown with what belongs to them.
_JOINED = {
    "overrides": """(
        SELECT id AS rowid, id, account_id, at, action, limit_before_cents, limit_cents, actor, reason,
            NULL AS restores, NULL AS hold, NULL AS can_draw, NULL AS pd_ref, NULL AS changed_at, NULL AS adverse_at
        FROM overrides
        UNION ALL
        SELECT id, id, account_id, at, 'restore', limit_before_cents, limit_cents, actor, reason, restores,
            hold, can_draw, pd_ref, changed_at, adverse_at FROM restorations)""",
    "holds": """(
        SELECT holds.*, verdict, released_at, releases.actor AS released_by, releases.reason AS release_reason,
            holds.rowid AS rowid
        FROM holds LEFT JOIN releases ON releases.hold = holds.hold)""",
}


def _insert_override(connection: Connection, override: Override) -> int:
    """Add the link of an override; return its number."""
    number, runs_before = connection.execute(f"SELECT {_NEXT_ORDER}, (SELECT COUNT(*) FROM runs)").fetchone()
    cells = [number, override.account_id, override.at.isoformat(), override.action,
             override.limit_before_cents, override.limit_cents, override.actor, override.reason,
             runs_before]  # fmt: skip
    head = next_head(last_head(connection), ["override", *cells])
    connection.execute("INSERT INTO overrides VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [*cells, head])
    return int(number)


def _file_stem(run: Run) -> str:
    return f"{format_time(run.as_of).replace(':', '')}-{run.run_id[:12]}"


def _runs(connection: Connection, where: str) -> list[Run]:
    rows = connection.execute(
        "SELECT run_id, as_of, model_version, model_digest, policy_digest, backtest FROM runs "
        f"WHERE {where} ORDER BY rowid"
    )
    return [
        Run(run, parse_time(as_of), version, model, policy, bool(b)) for run, as_of, version, model, policy, b in rows
    ]


def _arrow(rows: Sequence[Sequence[Cell]], schema: pa.Schema) -> pa.Table:
    """Rows of SQLite with the types of a schema: times are ISO text there, booleans 0 and 1."""
    read: dict[pa.DataType, Callable[[Any], Any]] = {TIME: parse_time, pa.bool_(): bool}
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = []
    for field, column in zip(schema, columns, strict=True):
        cell = read.get(field.type, lambda one: one)
        arrays.append(pa.array([None if one is None else cell(one) for one in column], field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
