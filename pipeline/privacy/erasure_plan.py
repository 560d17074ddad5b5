"""The plan of an erasure: which files hold rows of some accounts, and what has to stay of them for others.

It is written before anything changes, and read by whoever finishes an erasure that was killed. It names the accounts,
and goes with the last step.
"""

import json
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES
from limitlens.data.damage import read_json
from limitlens.data.engine import run_sql
from limitlens.data.events import EventStore, stored_schema
from limitlens.data.lock import UNFINISHED_ERASURE
from limitlens.data.quoting import quoted
from limitlens.data.rewriting import names_among_figures, names_any
from limitlens.data.storage import file_sha256
from limitlens.features.rows.network import LINKS
from limitlens.pipeline.workspace import Workspace

#: Which rows of a source link accounts, in SQL; at which moment they count is left open.
_LINKING = {"device": "TRUE", "payment": "kind = 'transfer_out'"}

#: Folders of tables that are built again when they are needed.
BUILT = ("features", "staging", "tables")

#: How names of files end in which an id can be read as text.
_TEXTS = {".csv", ".html", ".json", ".jsonl", ".log", ".md", ".toml", ".txt"}

#: How names of files end that can be made again: one line or page too many does no harm.
_MADE_AGAIN = {".csv", ".html", ".log"}


@dataclass(frozen=True)
class Links:
    """What stays of the rows of one source; see :func:`limitlens.data.rewriting.with_links`.

    Parameters
    ----------
    column : str
        What links accounts.
    names : tuple of (account, value, name)
    numbers : tuple of int
        Events that stay as bare links.
    stale : tuple of int
        Bare links of earlier erasures that link nobody any more.
    """

    column: str
    names: tuple[tuple[str, str, str], ...]
    numbers: tuple[int, ...]
    stale: tuple[int, ...]


@dataclass(frozen=True)
class Older:
    """What goes besides accounts, because it is old: before which time, ISO 8601; empty: none of it.

    Parameters
    ----------
    held : str
        Rows of the quarantine.
    audit : str
        Lines of the log of the desk.
    """

    held: str = ""
    audit: str = ""


@dataclass(frozen=True)
class Plan:
    """An erasure that has begun.

    Parameters
    ----------
    number : int
        From 1.
    at : str
        ISO 8601.
    actor, reason : str
    names : mapping of str to str
        What stands in place of each account in rows that keep their place.
    files : mapping of path to str
        Tables, and marks of loads, that were recorded and are to be written again, with their sha256 before.
    texts : tuple of path
        Files that name an account in a text.
    tables : tuple of path
        Tables that nobody recorded, with rows of the accounts.
    links : mapping of source to Links
    days : mapping of load to tuple of (source, kind, day)
        On which a load brought rows of the accounts.
    alone : mapping of source to mapping of column to tuple of str
        Values that only rows of the accounts had.
    digest : str
        Of the accepted events before.
    older : Older
    """

    number: int
    at: str
    actor: str
    reason: str
    names: Mapping[str, str]
    files: Mapping[str, str]
    texts: tuple[str, ...]
    tables: tuple[str, ...]
    links: Mapping[str, Links]
    days: Mapping[str, tuple[tuple[str, str, str], ...]]
    alone: Mapping[str, Mapping[str, tuple[str, ...]]]
    digest: str
    older: Older


def make_plan(workspace: Workspace, order: tuple[int, str, str, str], accounts: Collection[str], older: Older) -> Plan:
    """Look where rows of some accounts lie; the caller holds the workspace.

    Parameters
    ----------
    workspace : Workspace
    order : (int, str, str, str)
        Number of the erasure, when, by whom, and why.
    accounts : collection of str
    older : Older
    """
    store, root = workspace.events, workspace.root
    links = {link.source: _links(store, link.source, link.column, accounts) for link in LINKS.values()}
    recorded = _recorded(workspace)
    holding = [path for path in recorded if _holds(root / path, accounts)]
    aged = [path for path in recorded if path.startswith("quarantine/") and _has_older(store, root / path, older)]
    bare = {path for path in recorded for source, one in links.items() if _has_stale(root, path, source, one.stale)}
    days = _days(store, holding, accounts)
    profiles = {f"profiles/{load}.parquet" for load in days} & set(recorded)
    named = names_any(accounts)
    marks = [f"loads/{load['load']}.json" for load in store.loads() if named.search(reason_in(load))]
    return Plan(
        *order,
        names={account: _nobody() for account in sorted(accounts)},
        files={path: file_sha256(root / path) for path in sorted({*holding, *bare, *profiles, *aged, *marks})},
        texts=tuple(_texts(workspace, accounts)),
        tables=tuple(_tables(root, recorded, accounts)),
        links=links,
        days=days,
        alone={source: _alone(store, source, accounts) for source in (ACCOUNTS.name, *EVENT_SOURCES)},
        digest=store.digest(),
        older=older,
    )


def reason_in(mark: Mapping[str, Any]) -> str:
    """What a person wrote in the mark of a load: the reason of a withdrawal."""
    return str(mark.get("withdrawal", {}).get("reason", ""))


def plan_text(plan: Plan) -> str:
    """The plan as it is written."""
    return json.dumps(asdict(plan), ensure_ascii=False, indent=1) + "\n"


def unfinished(root: Path) -> Plan | None:
    """The plan of an erasure that is not finished, if there is one.

    Raises
    ------
    IntegrityError
        It is damaged.
    """
    path = root / UNFINISHED_ERASURE
    return read_json(path, _shaped) if path.exists() else None


def _shaped(body: Any) -> Plan:
    links = {
        source: Links(
            one["column"],
            tuple(map(tuple, one["names"])),
            tuple(map(int, one["numbers"])),
            tuple(map(int, one["stale"])),
        )
        for source, one in body["links"].items()
    }
    days = {load: tuple(map(tuple, keys)) for load, keys in body["days"].items()}
    return Plan(**{**body, "links": links, "days": days, "older": Older(**body["older"])})


def _nobody() -> str:
    """A name for nobody."""
    return f"erased-{secrets.token_hex(8)}"


def _recorded(workspace: Workspace) -> list[str]:
    """Parquet files that a load or a link of the chain names."""
    accepted = [path for load in workspace.events.loads() for path in load["files"]]
    return [*accepted, *workspace.ledger.recorded_files()]


def _holds(path: Path, accounts: Collection[str]) -> bool:
    """Whether a recorded file has rows of some accounts, or rows held back that name one."""
    if path.parent.name == "profiles":
        return False
    if path.parent.name != "quarantine":
        return _holds_rows(path, accounts)
    pattern = names_any(accounts)
    held = pq.read_table(path, columns=["account_id", "event_id", "row_json"]).to_pylist()
    return any(pattern.search(" ".join(map(str, row.values()))) for row in held)


def _holds_rows(path: Path, accounts: Collection[str]) -> bool:
    ids = pq.read_table(path, columns=["account_id"])
    sql = "SELECT COUNT(*) AS n FROM ids WHERE account_id = ANY($accounts)"
    return bool(run_sql(sql, {"ids": ids}, {"accounts": list(accounts)})["n"][0].as_py())


def held_before(store: EventStore, older: Older) -> str:
    """SQL condition of the rows of the quarantine that are old: by their known time, or by the end of their load."""
    ends = {str(load["load"]): max(load.get("reach", {}).values(), default="") for load in store.loads()}
    cases = " ".join(f"WHEN '{load}' THEN TIMESTAMPTZ '{end}'" for load, end in ends.items() if end)
    of_load = f"CASE load {cases} END" if cases else "NULL"
    return f"COALESCE(known_time, {of_load}) < TIMESTAMPTZ '{older.held}'" if older.held else "FALSE"


def noted_at(line: str) -> str:
    """When a line of the log of the desk was written, ISO 8601; one that cannot be read is as young as can be."""
    try:
        return str(json.loads(line)["at"])
    except (ValueError, KeyError, TypeError):
        return "9"


def _has_older(store: EventStore, path: Path, older: Older) -> bool:
    sql = f"SELECT COUNT(*) AS n FROM held WHERE {held_before(store, older)}"
    return bool(older.held and run_sql(sql, {"held": pq.read_table(path)})["n"][0].as_py())


def _has_stale(root: Path, path: str, source: str, stale: Collection[int]) -> bool:
    if not stale or not path.startswith(f"events/{source}/"):
        return False
    numbers = pq.read_table(root / path, columns=["event_no"])
    sql = "SELECT COUNT(*) AS n FROM numbers WHERE event_no = ANY($stale)"
    return bool(run_sql(sql, {"numbers": numbers}, {"stale": list(stale)})["n"][0].as_py())


def _links(store: EventStore, source: str, column: str, accounts: Collection[str]) -> Links:
    """Rows of the accounts, and bare links of earlier erasures, beside what other lines have."""
    name, linking = quoted(column), _LINKING[source]
    relations = {
        "events": f"SELECT account_id, event_no, {name} AS value, {linking} AND {name} IS NOT NULL AS links "
        f"FROM ({store.relation(source)})",
        "lines": f"SELECT DISTINCT account_id FROM ({store.relation(ACCOUNTS.name)})",
    }
    sql = """
    WITH marked AS (
        SELECT *, account_id = ANY($accounts) AS gone, account_id NOT IN (SELECT account_id FROM lines) AS bare
        FROM events
    ), others AS (SELECT DISTINCT value FROM marked WHERE links AND NOT gone AND NOT bare),
    mine AS (SELECT *, links AND value IN (SELECT value FROM others) AS shared FROM marked WHERE gone OR bare),
    needed AS (SELECT event_no, BOOL_OR(shared) AS stays FROM mine GROUP BY event_no)
    SELECT DISTINCT account_id, event_no, gone, stays, CASE WHEN shared THEN value END AS value
    FROM mine JOIN needed USING (event_no) ORDER BY ALL
    """
    rows = run_sql(sql, relations, {"accounts": list(accounts)}).to_pylist()
    stay = [row for row in rows if row["gone"] and row["stays"]]
    pairs = sorted(
        {(row["account_id"], row["value"] or "") for row in stay} | {(row["account_id"], "") for row in stay}
    )
    return Links(
        column,
        tuple((account, value, _nobody()) for account, value in pairs),
        tuple(sorted({row["event_no"] for row in stay})),
        tuple(sorted({row["event_no"] for row in rows if not row["gone"] and not row["stays"]})),
    )


def _days(
    store: EventStore, holding: Collection[str], accounts: Collection[str]
) -> dict[str, tuple[tuple[str, str, str], ...]]:
    """Kinds and days of the rows of the accounts, by the load that brought them."""
    days: dict[str, list[tuple[str, str, str]]] = {}
    sql = "SELECT DISTINCT kind, CAST(CAST(delivered_known_time AS DATE) AS VARCHAR) AS day FROM events"
    for path in holding:
        folder, _, name = path.rpartition("/")
        source = folder.removeprefix("events/")
        if source in EVENT_SOURCES:
            load = name.removesuffix(".parquet")
            of_load = f"{sql} WHERE account_id = ANY($accounts) ORDER BY ALL"
            rows = run_sql(
                of_load, {"events": store.relation(source, [load])}, {"accounts": list(accounts)}
            ).to_pylist()
            days.setdefault(load, []).extend((source, row["kind"], row["day"]) for row in rows)
    return {load: tuple(keys) for load, keys in days.items()}


def _alone(store: EventStore, source: str, accounts: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Texts of each column that only rows of the accounts have."""
    schema, values = stored_schema(source), {"accounts": list(accounts)}
    texts = [
        field.name for field in schema if str(field.type) == "string" and field.name not in ("account_id", "event_id")
    ]
    if source == ACCOUNTS.name:
        texts += [name for name, kind in store.attributes().items() if kind == "text"]
    alone = {}
    with_rows = {"events": store.relation(source)}
    for name in texts:
        sql = f"""SELECT DISTINCT {quoted(name)} AS value FROM events WHERE account_id = ANY($accounts)
            EXCEPT SELECT {quoted(name)} FROM events WHERE NOT account_id = ANY($accounts) ORDER BY ALL"""
        alone[name] = tuple(v for v in run_sql(sql, with_rows, values)["value"].to_pylist() if v is not None)
    return {name: lone for name, lone in alone.items() if lone}


def names_in(path: Path, accounts: Collection[str]) -> re.Pattern[str]:
    """Finds some ids in a text; where it cannot be made again, only what can be no figure."""
    return (names_any if path.suffix in _MADE_AGAIN else names_among_figures)(accounts)


def _texts(workspace: Workspace, accounts: Collection[str]) -> Iterator[str]:
    """Texts that name an account; those of loads, models and erasures apart, which are recorded.

    Of those a mark alone can name one, in the reason of a withdrawal.
    """
    root = workspace.root
    models = [root / model.folder for model in workspace.registry.models()]
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        apart = inside.parts[0] in {"loads", "erasures", *BUILT} or inside.as_posix() == UNFINISHED_ERASURE
        is_text = path.suffix in _TEXTS and path.is_file() and not apart
        if not is_text or any(path.is_relative_to(folder) for folder in models):
            continue
        if names_in(path, accounts).search(path.read_text(encoding="utf-8", errors="replace")):
            yield inside.as_posix()


def _tables(root: Path, recorded: Collection[str], accounts: Collection[str]) -> Iterator[str]:
    """Parquet files that nobody recorded and that hold rows of an account, such as scores that were written here."""
    for path in sorted(root.rglob("*.parquet")):
        name = path.relative_to(root).as_posix()
        if name in recorded or name.partition("/")[0] in BUILT:
            continue
        with suppress(OSError, pa.ArrowException):  # not ours, and not to be read
            if "account_id" in pq.read_schema(path).names and _holds_rows(path, accounts):
                yield name
