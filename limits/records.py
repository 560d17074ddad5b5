"""Records: what the chain holds beside decisions and orders.

Loads of events, policies, models, promotions, withdrawals, sign-offs, stress tests, and tables of features that later
jobs believe: each is a link with the sha256 of what it was when it was made.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from limitlens.data.erasures import erasures, followed
from limitlens.data.errors import IntegrityError
from limitlens.data.storage import file_sha256
from limitlens.limits.chain import Cell, count_links, last_head, next_head
from limitlens.limits.database import Connection, connect, reading

#: Rows of the registry by kind: the key, and a SELECT of it with all cells that never change.
_ROWS = {
    "policy": "SELECT policy_digest, policy_digest, text FROM policies ORDER BY rowid",
    "model": """SELECT model_version, model_version, model_digest, policy_digest, folder, mlflow_run_id, developer
        FROM models ORDER BY rowid""",
    "promotion": """SELECT id, id, model_version, reviewer, kind, promoted_at, approver, reason
        FROM promotions LEFT JOIN promotion_reasons ON promotion = id ORDER BY id""",
    "withdrawal": "SELECT model_version, model_version, actor, reason, withdrawn_at FROM withdrawals ORDER BY rowid",
    "stress test": """SELECT made_at, made_at, as_of, run_id, inputs, inputs_sha256, results_sha256, summary
        FROM stress_tests ORDER BY rowid""",
    "sign-off": "SELECT id, id, model_version, sha256, verdict, actor, reason, signed_at FROM sign_offs ORDER BY id",
}

#: A thing that is recorded: its kind and its name.
Named = tuple[str, str]


def record(connection: Connection, workspace: Path, *kinds: str, names: Sequence[str] | None = None) -> None:
    """Make things links of the chain, in the transaction of whoever made them.

    Parameters
    ----------
    connection : Connection
    workspace : Path
    *kinds : {"load", "policy", "model", "files of model", "promotion", "withdrawal", "stress test", "sign-off"}
    names : sequence of str, optional
        Default: all of these kinds that are no links yet.
    """
    record_earlier(connection, workspace)
    known = _recorded(connection)
    for (of_kind, name), sha256 in _things(connection, workspace).items():
        if of_kind in kinds and (names is None or name in names) and (of_kind, name) not in known:
            _link(connection, of_kind, name, sha256)


def record_earlier(connection: Connection, workspace: Path) -> None:
    """Make everything that is there links of the chain, where there is no record at all: of an earlier version.

    It comes before the first record or signer of any kind, so that none of it seems made by hand or without a signer.
    """
    if connection.execute("SELECT 1 FROM records").fetchone() is None:
        for (of_kind, name), sha256 in _things(connection, workspace).items():
            _link(connection, of_kind, name, sha256)


def record_loads(workspace: Path, *, anew: bool = False) -> None:
    """Make loads that are no links of the chain yet some; those of a call that was killed among them.

    ``anew``: all of them, where the chain of another workspace was copied before anything was decided, as for a shard.
    """
    with connect(workspace) as connection:
        record(connection, workspace, "load")
        known = _recorded(connection)
        for (kind, name), sha256 in _things(connection, workspace).items():
            if anew and kind == "load" and known[kind, name] != sha256:
                _link(connection, kind, name, sha256)


def record_tables(workspace: Path, tables: Mapping[str, str]) -> None:
    """Make tables of features links of the chain, so that later jobs believe them.

    Parameters
    ----------
    workspace : Path
    tables : mapping of str to str
        Sha256 by path below the workspace.
    """
    with connect(workspace) as connection:
        record_earlier(connection, workspace)
        known = _recorded(connection)
        for name, sha256 in tables.items():
            if known.get(("table", name)) != sha256:
                _link(connection, "table", name, sha256)


def believed_tables(workspace: Path) -> dict[str, str]:
    """Sha256 of every table of features ever recorded, by path below the workspace; it need not be there any more."""
    with reading(workspace) as connection:
        return {name: sha256 for (kind, name), sha256 in _recorded(connection).items() if kind == "table"}


def expect_recorded(workspace: Path, first_loads: int | None = None, *, running: bool = False) -> None:
    """Compare what is there with the links of the chain: nothing may be gone, changed, or there without a link.

    Parameters
    ----------
    workspace : Path
    first_loads : int, optional
        Look at so many loads only; default: at all.
    running : bool
        Loads after the last linked one may have no link yet: they come in at this moment, or a command was killed.

    Raises
    ------
    IntegrityError
        Names what is gone, was changed, or was not recorded.
    """
    with reading(workspace) as connection:
        known, things = _recorded(connection), _things(connection, workspace)
    done = erasures(workspace)
    known |= {one: followed(_mark_name(one[1]), sha256, done) for one, sha256 in known.items() if one[0] == "load"}
    loads = [name for kind, name in things if kind == "load"]
    late = set(loads[first_loads:] if first_loads is not None else [])
    if running:
        linked = [place for place, name in enumerate(loads) if ("load", name) in known]
        late |= set(loads[max(linked, default=-1) + 1 :])
    if not known:  # of an earlier version, or nothing was ever made
        return
    for named, sha256 in known.items():
        if named[0] != "table" and things.get(named) != sha256:
            state = "was changed since it was recorded" if named in things else "is gone, and the chain holds it"
            raise IntegrityError(f"{_place(workspace, named)} {state}; restore it from a backup.")
    for named in things.keys() - known.keys() - {("load", name) for name in late}:
        mend = "run limitlens check again" if named[0] == "load" else "restore ledger.sqlite from a backup"
        raise IntegrityError(
            f"{_place(workspace, named)} is in no link of the chain: the command that made it was killed, or it was "
            f"made by hand; {mend}."
        )


def _place(workspace: Path, named: Named) -> str:
    kind, name = named
    return f"{_mark(workspace, name)}: the load" if kind == "load" else f"{workspace}: {kind} {name[:12]}"


def _mark(workspace: Path, name: str) -> Path:
    return workspace / _mark_name(name)


def _mark_name(name: str) -> str:
    return f"loads/{name}.json"


def _recorded(connection: Connection) -> dict[Named, str]:
    """Sha256 of everything recorded; of what was recorded again the last."""
    rows = connection.execute("SELECT kind, name, sha256 FROM records ORDER BY record")
    return {(kind, name): sha256 for kind, name, sha256 in rows}


def _things(connection: Connection, workspace: Path) -> dict[Named, str]:
    """Sha256 of everything that is there and has to be recorded: loads by their marks, the others by their rows."""
    things = {("load", path.stem): file_sha256(path) for path in sorted(_mark(workspace, "").parent.glob("*.json"))}
    for kind, sql in _ROWS.items():
        things |= {(kind, str(name)): _sha256(cells) for name, *cells in connection.execute(sql)}
    folders = connection.execute("SELECT model_version, folder FROM models ORDER BY rowid")
    return things | {("files of model", version): _sha256(_files(workspace / folder)) for version, folder in folders}


def _files(folder: Path) -> list[Cell]:
    """Name and sha256 of each file below a folder: a model, how it was validated, and what it was released with."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [cell for path in paths for cell in (path.relative_to(folder).as_posix(), file_sha256(path))]


def _sha256(cells: Sequence[Cell]) -> str:
    return hashlib.sha256(json.dumps(cells, ensure_ascii=False).encode()).hexdigest()


def _link(connection: Connection, kind: str, name: str, sha256: str) -> None:
    (number,) = connection.execute("SELECT COALESCE(MAX(record), 0) + 1 FROM records").fetchone()
    cells: list[Cell] = [number, kind, name, sha256, count_links(connection)]
    head = next_head(last_head(connection), ["record", *cells])
    connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", [*cells, head])
