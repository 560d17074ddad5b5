"""Feature tables of the whole book, one file an as-of time, brought up to date when further loads have come in.

::

    <root>/features/<feature set>/<as-of>-<loads>.parquet   one row a line of the book, ordered by account
    <root>/features/<feature set>/<as-of>.json              then: that file with its sha256, and the loads it has read

A file is named by the loads that made it and never changes, so that a training, which reads what it saw when it began,
and the nightly job can build the same date at once. A file that no mark names does not exist for a reader, nor does a
mark that is no link of the chain: what was changed by hand is built again.

A row of the book depends on what was known before the as-of time about its account, and about accounts that share a
device or a payee with it. So after a further load only those accounts are computed again whose rows of that time are
new, or who share something with them; the file is byte for byte the one a full build writes. Where there are none, the
file gets another name.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.calendar import format_time
from limitlens.data.engine import Relations, run_sql
from limitlens.data.events import EventStore
from limitlens.data.lock import building
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import file_sha256, is_parquet, parquet_stream, write_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import LINKS
from limitlens.features.spine import book
from limitlens.features.table import DUCKDB, Engine, table_parts
from limitlens.limits.records import believed_tables, record_tables
from limitlens.pipeline.workspace import Workspace

_KEYS = ["account_id", "as_of", "known_by"]


#: Rows to a row group of these wide files, of which several are written at once.
GROUP_ROWS = 1 << 14

#: As-of times that are built together; events are read once for all of them.
TOGETHER = 12


def feature_tables(
    workspace: Workspace,
    features: FeatureSet,
    as_ofs: Sequence[datetime],
    *,
    relations: Relations | None = None,
    engine: Engine = DUCKDB,
    progress: Progress = silent,
) -> list[Path]:
    """Build the tables of the book at some as-of times, or what is out of date of them.

    Parameters
    ----------
    workspace : Workspace
    features : FeatureSet
    as_ofs : sequence of datetime
        Also the times before which rows are known.
    relations : mapping, optional
        Relations in the SQL of the engine; default: those of DuckDB.
    engine : Engine
    progress : callable
        Told how many lines are computed.

    Returns
    -------
    list of Path
        A Parquet file each: ``account_id, as_of, known_by, segment``, the columns of the set and its attributes.
    """
    with building(workspace.root):
        return _brought_up_to_date(workspace, features, as_ofs, relations, engine, progress=progress)


def _brought_up_to_date(
    workspace: Workspace,
    features: FeatureSet,
    as_ofs: Sequence[datetime],
    relations: Relations | None,
    engine: Engine,
    *,
    progress: Progress,
) -> list[Path]:
    marks = _marks(workspace, features, as_ofs)
    loads = [load["load"] for load in workspace.events.loads()]
    believed = believed_tables(workspace.root)
    before = {as_of: _intact(_marked(mark, believed.get(_name(workspace, mark)))) for as_of, mark in marks.items()}
    source = relations or workspace.relations(features)

    def fresh(points: pd.DataFrame, lines: int) -> Iterator[pa.Table]:
        _announce(points, lines, progress)
        yield from table_parts(features, points, source, engine=engine)

    def write(parts: Iterator[pa.Table], written: Sequence[datetime]) -> None:
        write_tables(parts, {as_of: _file(marks[as_of], loads) for as_of in written})
        mark({as_of: _file(marks[as_of], loads) for as_of in written})

    def mark(files: Mapping[datetime, Path]) -> None:
        texts = {as_of: _text(path, loads) for as_of, path in files.items()}
        digests = {_name(workspace, marks[as_of]): _sha256(text) for as_of, text in texts.items()}
        record_tables(workspace.root, digests)
        for as_of, text in texts.items():
            _mark(marks[as_of], text, files[as_of])

    def stands(as_of: datetime) -> _Marked | None:
        old = before[as_of]
        return old if old and old.loads == loads[: len(old.loads)] else None

    new = [as_of for as_of in as_ofs if not stands(as_of)]
    for start in range(0, len(new), TOGETHER):
        together = new[start : start + TOGETHER]
        points = book(together, workspace.relations(features))[_KEYS]
        write(fresh(points, len(points)), together)
    for as_of in as_ofs:
        old = stands(as_of)
        if old and old.loads != loads:
            lines = book([as_of], workspace.relations(features))[_KEYS]
            kept = _kept(lines, old.path, _changed(workspace.events, loads[len(old.loads) :], as_of, features))
            same = kept.all() and len(kept) == pq.read_metadata(old.path).num_rows
            if same and _also_named(old.path, _file(marks[as_of], loads)):
                mark({as_of: _file(marks[as_of], loads)})
                continue
            missing = iter(()) if kept.all() else fresh(lines[~kept], len(lines))
            write(_merged(pq.ParquetFile(old.path), lines["account_id"][kept], missing), [as_of])
    believed = believed_tables(workspace.root)
    built = (_marked(mark, believed.get(_name(workspace, mark))) for mark in marks.values())
    return [marked.path for marked in built if marked]


def opened_tables(
    workspace: Workspace,
    features: FeatureSet,
    as_ofs: Sequence[datetime],
    *,
    relations: Relations | None = None,
    engine: Engine = DUCKDB,
    progress: Progress,
) -> list[pq.ParquetFile]:
    """:func:`feature_tables`, opened: whatever else is built meanwhile, these are of the loads the workspace sees."""
    loads = [load["load"] for load in workspace.events.loads()]
    while True:
        feature_tables(workspace, features, as_ofs, relations=relations, engine=engine, progress=progress)
        believed = believed_tables(workspace.root)
        named = _marks(workspace, features, as_ofs).values()
        marks = [_marked(mark, believed.get(_name(workspace, mark))) for mark in named]
        with suppress(FileNotFoundError):  # replaced just now by a run that sees more loads
            seen = [one.path for one in marks if one and one.loads == loads]
            files = [pq.ParquetFile(path, page_checksum_verification=True) for path in seen]
            if len(files) == len(as_ofs):
                return files


def tables_aside(
    workspace: Workspace, features: FeatureSet, as_ofs: Sequence[datetime], folder: Path, *, progress: Progress
) -> list[pq.ParquetFile]:
    """:func:`opened_tables`, and the workspace stays as it is.

    Parameters
    ----------
    workspace : Workspace
    features : FeatureSet
    as_ofs : sequence of datetime
    folder : Path
        Empty; gets the tables that the workspace does not have of the loads it sees.
    progress : callable
    """
    loads, believed = [load["load"] for load in workspace.events.loads()], believed_tables(workspace.root)
    files = dict[datetime, pq.ParquetFile]()
    for as_of, mark in _marks(workspace, features, as_ofs).items():
        with suppress(FileNotFoundError):  # replaced just now by a run that sees other loads
            there = _intact(_marked(mark, believed.get(_name(workspace, mark))))
            if there and there.loads == loads:
                files[as_of] = pq.ParquetFile(there.path, page_checksum_verification=True)
    missing, relations = [as_of for as_of in as_ofs if as_of not in files], workspace.relations(features)
    for start in range(0, len(missing), TOGETHER):
        paths = {as_of: _file(folder / f"{as_of:%Y%m%dT%H%M%S}", loads) for as_of in missing[start : start + TOGETHER]}
        points = book(list(paths), relations)[_KEYS]
        _announce(points, len(points), progress)
        write_tables(table_parts(features, points, relations), paths)
        files |= {as_of: pq.ParquetFile(path, page_checksum_verification=True) for as_of, path in paths.items()}
    return [files[as_of] for as_of in as_ofs]


def _announce(points: pd.DataFrame, lines: int, progress: Progress) -> None:
    """Tell of which times features are computed, if of any."""
    times = [format_time(time.to_pydatetime()) for time in sorted(points["as_of"].unique())]
    if times:
        named = " to ".join(dict.fromkeys((times[0], times[-1])))
        progress(f"features of {named}: {len(points):,} of {lines:,} lines")


@dataclass(frozen=True)
class _Marked:
    """A file with its sha256, and the loads it has read."""

    path: Path
    sha256: str
    loads: list[str]


def _marks(workspace: Workspace, features: FeatureSet, as_ofs: Sequence[datetime]) -> dict[datetime, Path]:
    folder = workspace.root / "features" / features.digest[:16]
    return {as_of: folder / f"{as_of:%Y%m%dT%H%M%S}.json" for as_of in as_ofs}


def _file(mark: Path, loads: Sequence[str]) -> Path:
    digest = hashlib.sha256(json.dumps(list(loads)).encode()).hexdigest()[:8]
    return mark.with_name(f"{mark.stem}-{digest}.parquet")


def _name(workspace: Workspace, mark: Path) -> str:
    return mark.relative_to(workspace.root).as_posix()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _marked(mark: Path, recorded: str | None) -> _Marked | None:
    """What a mark says, if it is the recorded one and its file is there; any other stands for nothing."""
    read = _read(mark)
    if read is None:
        return None
    text, marked = read
    return marked if _sha256(text) == recorded and is_parquet(marked.path) else None


def _read(mark: Path) -> tuple[str, _Marked] | None:
    """A mark as it stands there, whoever wrote it."""
    try:
        text = mark.read_text(encoding="utf-8")
        body = json.loads(text)
        return text, _Marked(mark.with_name(body["file"]), body["sha256"], body["loads"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _intact(marked: _Marked | None) -> _Marked | None:
    return marked if marked and file_sha256(marked.path) == marked.sha256 else None


def _text(path: Path, loads: Sequence[str]) -> str:
    return json.dumps({"file": path.name, "sha256": file_sha256(path), "loads": list(loads)}) + "\n"


def _also_named(path: Path, name: Path) -> bool:
    """Give a file a further name, if the disk can."""
    try:
        name.hardlink_to(path)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _mark(mark: Path, text: str, path: Path) -> None:
    """Make a file the one of its as-of time.

    The one before it goes first: a call that is killed in between leaves a mark without a file, which is built again,
    and no file without a mark, which would stay.
    """
    before = _read(mark)
    if before and before[1].path != path and before[1].path.name.startswith(f"{mark.stem}-"):
        before[1].path.unlink(missing_ok=True)
    write_text(text, mark)


def _kept(lines: pd.DataFrame, path: Path, stale: pa.ChunkedArray) -> pd.Series:
    """Which lines of the book stand in a file and need not be computed again."""
    accounts = pa.array(lines["account_id"], pa.string())
    known = pc.is_in(accounts, pq.read_table(path, columns=["account_id"])["account_id"])
    return pd.Series(pc.and_not(known, pc.is_in(accounts, stale)).to_pandas(), index=lines.index)


def write_tables(parts: Iterable[pa.Table], paths: Mapping[datetime, Path]) -> None:
    """Write parts of feature tables to a file for each as-of time; every file is there, if without a row.

    A part is written while the next is computed.

    Parameters
    ----------
    parts : iterable of pyarrow.Table
        With ``as_of``; at least one. What is of one as-of time is in order.
    paths : mapping of datetime to Path
    """
    writes: dict[datetime, Callable[[pa.Table], None]] = {}

    def write(part: pa.Table) -> None:
        for as_of in part["as_of"].unique():
            writes[as_of.as_py()](part.filter(pc.equal(part["as_of"], as_of)).cast(schema))

    with ExitStack() as files, ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for part in parts:
            if not writes:
                schema = part.schema
                for as_of, path in paths.items():
                    writes[as_of] = files.enter_context(parquet_stream(schema, path, GROUP_ROWS))
            if writing:
                writing.result()
            writing = writer.submit(write, part)
        if writing:
            writing.result()


def _merged(old: pq.ParquetFile, kept: pd.Series, computed: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """What is kept of an old table with what is computed, both ordered by account, one row group after the other."""
    accounts, waiting = pa.array(kept, pa.string()), next(computed, None)
    for group in range(old.num_row_groups):
        rows = old.read_row_group(group)
        last, parts = rows["account_id"][-1], [rows.filter(pc.is_in(rows["account_id"], accounts))]
        while waiting is not None:
            due = pc.sum(pc.less_equal(waiting["account_id"], last)).as_py() or 0
            parts.append(waiting.slice(0, due).cast(rows.schema))
            if due < len(waiting):
                waiting = waiting.slice(due)
                break
            waiting = next(computed, None)
        yield pa.concat_tables(parts).sort_by("account_id")
    if waiting is not None:
        yield waiting
    yield from computed


def _changed(store: EventStore, loads: list[str], known_by: datetime, features: FeatureSet) -> pa.ChunkedArray:
    """Accounts of which the loads brought rows known before a time, and those that share something with such rows."""
    known = "known_time < $known_by"
    tables: dict[str, pa.Table | str] = {"new_accounts": store.relation("accounts", loads)}
    parts = [f"SELECT account_id FROM new_accounts WHERE {known}"]
    for source in features.sources:
        tables |= {f"new_{source}": store.relation(source, loads), source: store.relation(source)}
        parts.append(f"SELECT account_id FROM new_{source} WHERE {known}")
    for name in {a.rows for a in features.aggregates} & set(LINKS):
        source, column = LINKS[name].source, LINKS[name].column
        touched = f"SELECT event_no FROM new_{source} WHERE {known}"
        shared = f"SELECT {column} FROM {source} WHERE event_no IN ({touched}) AND NOT {column} IS NULL"
        parts.append(f"SELECT account_id FROM {source} WHERE {column} IN ({shared})")
    return run_sql(" UNION ".join(parts), tables, {"known_by": known_by})["account_id"]
