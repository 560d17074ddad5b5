"""Access: everything that is held about one account, as the customer may ask for it."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.contracts import ACCOUNTS, SOURCES
from limitlens.data.damage import parquet_sql
from limitlens.data.engine import Values, run_sql
from limitlens.data.erasures import ErasedAccounts
from limitlens.data.errors import WorkspaceError
from limitlens.data.rewriting import names_one
from limitlens.limits.erasing import legal_holds
from limitlens.limits.notices import letter_log
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.privacy.erasure_plan import BUILT
from limitlens.pipeline.workspace import Workspace

#: Rows by what they are: one list of rows for each part of the workspace.
Held = dict[str, list[dict[str, Any]]]

#: Columns that number rows for the store and say nothing about anybody.
_OURS = {"event_no", "correction"}


def access(workspace: Workspace, account_id: str) -> Held:
    """Every row that is held about an account.

    Parameters
    ----------
    workspace : Workspace
    account_id : str

    Returns
    -------
    dict of str to list of rows
        ``accounts`` and the other sources (accepted rows, as they came, in all versions), ``protected``,
        ``quarantine`` (rows held back that name it), ``journal`` (rows that came since the last load), ``decisions``,
        ``attributions``, ``ticks`` (decisions within the day that no run has taken in yet), ``overrides``
        (restorations too), ``verdicts``, ``letters``, ``legal_holds``, ``holds`` that name it, ``features`` (of the
        tables that are kept), and ``audit`` (lines of the log of the desk). Empty where there is none.

    Raises
    ------
    WorkspaceError
        Nothing is held about it.
    """
    held = dict(_parts(workspace, account_id))
    if not any(held.values()):
        erased = account_id in ErasedAccounts(workspace.root)
        why = "it was erased" if erased else "see that the id is right"
        raise WorkspaceError(f"{workspace.root}: nothing is held about account {account_id}: {why}.")
    return held


def held_accounts(workspace: Workspace, accounts: Collection[str]) -> set[str]:
    """Those of some accounts about which anything is held."""
    wanted = {"accounts": list(accounts)}
    relations = [workspace.events.relation(source) for source in SOURCES]
    if workspace.ledger.runs():
        relations.append(workspace.ledger.relation("decisions"))
    parts = " UNION ".join(
        f"SELECT DISTINCT account_id FROM ({sql}) WHERE account_id = ANY($accounts)" for sql in relations
    )
    held = set(run_sql(parts, values=wanted)["account_id"].to_pylist())
    rest = [account for account in accounts if account not in held]
    return held | {account for account in rest if any(dict(_parts(workspace, account)).values())}


def _parts(workspace: Workspace, account_id: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    store, ledger = workspace.events, workspace.ledger
    of_account: Values = {"account": account_id}

    def mine(sql: str) -> list[dict[str, Any]]:
        rows = run_sql(f"SELECT * FROM ({sql}) WHERE account_id = $account", values=of_account)
        return _rows(rows.drop_columns([name for name in rows.column_names if name in _OURS]))

    for source in SOURCES:
        yield source, mine(store.relation(source))
    yield "protected", _rows(store.protected().filter(pc.equal(store.protected()["account_id"], account_id)))
    yield "quarantine", _held_back(workspace, account_id)
    yield "journal", list(_journaled(workspace, account_id))
    decided = bool(ledger.runs())
    for table in ("decisions", "attributions"):
        yield table, mine(ledger.relation(table)) if decided else []
    ticks = [row for tick in ledger.pending_ticks() for row in tick.decisions.to_pylist()]
    yield "ticks", [row for row in ticks if row["account_id"] == account_id]
    for table, rows in (("overrides", ledger.overrides()), ("verdicts", ledger.verdicts())):
        yield table, _records(rows[rows["account_id"] == account_id])
    yield "letters", [row for row in letter_log(workspace.root) if row["account_id"] == account_id]
    yield "legal_holds", [vars(hold) for account, hold in legal_holds(workspace.root).items() if account == account_id]
    holds = ledger.holds()
    yield "holds", _records(holds[(holds["slice_column"] == "account_id") & (holds["slice_value"] == account_id)])
    yield "features", list(_features(workspace.root, account_id))
    yield "audit", list(_audit(workspace.root / "audit.jsonl", account_id))


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in rows.to_dict("records")]


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _held_back(workspace: Workspace, account_id: str) -> list[dict[str, Any]]:
    lines = run_sql(f"SELECT DISTINCT account_id FROM ({workspace.events.relation(ACCOUNTS.name)})")
    known = frozenset(lines["account_id"].to_pylist())
    held = run_sql(workspace.events.quarantine())
    return _rows(held.filter(names_one([account_id], known.__contains__)(held)))


def _journaled(workspace: Workspace, account_id: str) -> Iterator[dict[str, Any]]:
    journal = Journal(workspace.root)
    for source, came in (journal.journaled() if journal.exists() else {}).items():
        mine = came.clean.filter(pc.equal(came.clean["account_id"], account_id))
        yield from ({"source": source, **row} for row in mine.to_pylist())
        yield from ({"source": source, **row} for row in came.held.to_pylist() if row["account_id"] == account_id)


def _features(root: Path, account_id: str) -> Iterator[dict[str, Any]]:
    for folder in BUILT:
        for path in sorted((root / folder).glob("*/*.parquet")):
            if "account_id" in pq.read_schema(path).names:
                sql = f"SELECT * FROM {parquet_sql([path])} WHERE account_id = $account"
                yield from _rows(run_sql(sql, values={"account": account_id}))


def _audit(path: Path, account_id: str) -> Iterator[dict[str, Any]]:
    if path.is_file():
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        yield from (line for line in lines if line.get("account") == account_id)
