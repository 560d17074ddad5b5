"""Decide on Spark: executors read the events and decide, the driver plans, and keeps the ledger.

A task has one part of the book: its planned lines, their last decisions, all their events, and those of others that
link them. It runs what one machine runs (:mod:`limitlens.pipeline.deciding.decide_part`), so its rows are the same,
and seals them with a sha256. Several parts are a wave, whose rows lie in a staging folder as Parquet; a call that was
killed is made up for by the next one, which takes the waves that are whole. The ledger takes all of a date or nothing,
and then the folder goes.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import limitlens
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES
from limitlens.data.engine import Relations
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.frames import to_arrow
from limitlens.data.progress import Progress
from limitlens.data.protected import is_protected
from limitlens.data.spark import PART, SparkTasks, spark_tasks, spark_text
from limitlens.data.storage import table_sha256, write_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import links_of
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS, TIME
from limitlens.limits.policy_file import parse_policy
from limitlens.models.default_risk import load_model
from limitlens.pipeline.deciding.decide import DecideParts, last_decisions
from limitlens.pipeline.deciding.decide_part import DecidedPart, Part, StandsOn, decided_part, read_part
from limitlens.pipeline.deciding.held_lines import InForce, in_force
from limitlens.pipeline.deciding.parts import parts_of
from limitlens.pipeline.workspace import Workspace

#: Accounts of one task; where the book is small, so many fewer that every slot has work, but not fewer than the latter.
LINES_A_TASK, FEWEST = 5_000, 500

#: Tasks of a wave, for each that runs at once.
TASKS_A_SLOT = 2

#: Parts whose rows come to the driver at once.
PARTS_READ = 32

#: Folder below the address that was given; nothing else of it is touched.
STAGING = "limitlens-staging"

_PLANNED = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", TIME),
        ("opened_at", TIME),
        ("limit_cents", pa.int64()),
        ("date", TIME),
        ("watched", pa.bool_()),
    ]
)

#: What a task is given of its part besides events, each as an Arrow stream.
_GIVEN = ("planned", "last", "stood")

_DECISION, _ATTRIBUTION = pa.struct(list(DECISIONS)), pa.struct(list(ATTRIBUTIONS))

#: Rows of a result: a decision or an attribution of a date, or the seal of the part over both.
RESULT = pa.schema(
    [
        (PART, pa.int32()),
        ("date", TIME),
        ("decision", _DECISION),
        ("attribution", _ATTRIBUTION),
        ("sha256", pa.string()),
    ]
)


@dataclass(frozen=True)
class Recipe:
    """An iteration as plain texts, with the digests that they must have."""

    version: str
    model_digest: str
    policy_digest: str
    files: tuple[tuple[str, str], ...]
    policy: str


@dataclass(frozen=True)
class Basis:
    """What every task of a wave is given."""

    new: Recipe
    sides: Mapping[str, Recipe]
    overrides: pd.DataFrame
    holds: InForce
    dates: tuple[datetime, ...]


@contextmanager
def decided_on_spark(
    workspace: Workspace, lake: str | None = None, *, lines_a_task: int | None = None
) -> Iterator[DecideParts]:
    """Open Spark to decide parts.

    Parameters
    ----------
    workspace : Workspace
    lake : str, optional
        Address of this workspace alone, as Spark names it, at which results wait for the ledger; default: its folder
        ``staging``. If it has a copy of the folder ``events``, the executors read it there, and with it ``protected``
        if features name such attributes. Otherwise they see the workspace, under the same path as the driver.
    lines_a_task : int, optional
        Default: :data:`LINES_A_TASK`.

    Yields
    ------
    callable
        For :func:`limitlens.pipeline.deciding.decide.decide`; leaving the block without an error removes what waited.
    """
    default = workspace.root / "staging"
    if lake is None:
        default.mkdir(parents=True, exist_ok=True)
    lake = lake.rstrip("/") if lake else None
    folder = f"{lake or default.resolve().as_uri()}/{STAGING}"
    with spark_tasks() as spark:
        events = lake if lake and "events" in spark.folders(lake) else None

        def decide_parts(
            space: Workspace, new: Iteration, dates: Sequence[datetime], planned: pd.DataFrame, progress: Progress
        ) -> Iterator[DecidedPart]:
            last = last_decisions(space, planned["account_id"])
            size = spark.slots() * TASKS_A_SLOT
            lines = lines_a_task or min(max(-(-max(len(last), len(planned)) // size), FEWEST), LINES_A_TASK)
            name = _name(space, new, dates, planned, (lines, size))
            for other in set(spark.folders(folder)) - {name}:
                spark.remove(f"{folder}/{other}")
            parts = [part for part in parts_of(planned, last, lines) if any(map(len, part))]
            for first in range(0, len(parts), size):
                wave, staged = parts[first : first + size], f"{folder}/{name}/{first:06d}"
                if not spark.finished(staged):
                    progress(f"deciding parts {first + 1} to {first + len(wave)} of {len(parts)} on Spark")
                    basis, queries, relations = _read_wave(space, new, dates, wave, spark=spark, at=events)
                    spark.run(decide_rows, basis, queries, relations, schema=RESULT, parts=len(wave), folder=staged)
                yield from decided_wave(spark, staged, len(wave))

        yield decide_parts
        spark.remove(folder)
    if lake is None:
        shutil.rmtree(default, ignore_errors=True)


def _name(
    workspace: Workspace, new: Iteration, dates: Sequence[datetime], planned: pd.DataFrame, sizes: tuple[int, int]
) -> str:
    """Digest of everything that the decisions of a call stand on, and of how they are cut into waves."""
    stands_on = [workspace.events.digest(), workspace.ledger.inputs_head(), new.digest, new.model_version]
    plan = [date.isoformat() for date in dates], table_sha256(to_arrow(planned, _PLANNED))
    basis = [limitlens.__version__, *stands_on, *plan, *sizes]
    return hashlib.sha256(json.dumps(basis).encode()).hexdigest()


def expect_copy(workspace: Workspace, spark: SparkTasks, at: str, folder: str) -> None:
    """Refuse to read a folder at an address that has not all its files, with as many bytes.

    Raises
    ------
    WorkspaceError
        Names the first.
    """
    for name, size in workspace.events.sizes(folder).items():
        copied = spark.size(f"{at}/{name}")
        if copied != size:
            raise WorkspaceError(
                f"{at}/{name}: {'not there' if copied is None else f'{copied:,} bytes, expected {size:,}'}; copy "
                f"{workspace.root / folder} there, or remove {at}/events."
            )


def _read_wave(
    workspace: Workspace,
    new: Iteration,
    dates: Sequence[datetime],
    wave: Sequence[tuple[pd.DataFrame, pa.Table]],
    *,
    spark: SparkTasks,
    at: str | None,
) -> tuple[Basis, list[str], Relations]:
    """What the tasks of a wave are given: the same for all, and by queries over relations."""
    parts = [read_part(workspace, dates, lines, last) for lines, last in wave]
    basis = _basis(workspace, new, parts, dates)
    sets = {new.model.features, *(iteration_of(side).model.features for side in basis.sides.values())}
    for folder in ("events", *(["protected"] if _read_protected(sets) else [])) if at else ():
        expect_copy(workspace, spark, str(at), folder)
    given = _given(parts)
    return basis, queries_of(sets, given["mine"]["account_id"]), {**relations_of(workspace, sets, at), **given}


def _basis(workspace: Workspace, new: Iteration, parts: Sequence[Part], dates: Sequence[datetime]) -> Basis:
    before = set[str]().union(*(part.run_ids() for part in parts))
    made_by = {
        run.run_id: (run.model_version, run.policy_digest) for run in workspace.ledger.runs() if run.run_id in before
    }
    wanted = {(new.model_version, new.policy.digest), *made_by.values()}
    recipes = {one: recipe_of(workspace, *one) for one in wanted}
    return Basis(
        recipes[new.model_version, new.policy.digest],
        {run_id: recipes[one] for run_id, one in made_by.items()},
        workspace.ledger.overrides(),
        in_force(workspace),
        tuple(dates),
    )


def recipe_of(workspace: Workspace, version: str, policy_digest: str) -> Recipe:
    """The texts of a registered model and a recorded policy, as they stand; whoever reads them checks the digests."""
    registered = workspace.registry.model(version)
    folder = workspace.root / registered.folder
    paths = [folder / "model.json", *sorted(folder.glob("*.txt"))]
    files = tuple((path.name, path.read_text(encoding="utf-8")) for path in paths)
    return Recipe(version, registered.model_digest, policy_digest, files, workspace.registry.policy_text(policy_digest))


@lru_cache(maxsize=8)
def iteration_of(recipe: Recipe) -> Iteration:
    """The iteration of some texts.

    Raises
    ------
    IntegrityError
        A text is not the one that was recorded.
    """
    with TemporaryDirectory(prefix="limitlens-model-") as folder:
        for name, text in recipe.files:
            write_text(text, Path(folder) / name)
        model = load_model(Path(folder), digest=recipe.model_digest)
    policy = parse_policy(recipe.policy)
    if policy.digest != recipe.policy_digest:
        raise IntegrityError(f"policy {recipe.policy_digest[:12]} is not the policy that was recorded; restore it.")
    return Iteration(model, policy, recipe.version)


def _sources(sets: Collection[FeatureSet]) -> list[str]:
    """What decisions read: the accounts, the sources of some feature sets, and payments for lines that fell silent."""
    read = {ACCOUNTS.name, "payment", *(source for features in sets for source in features.sources)}
    return [name for name in (ACCOUNTS.name, *EVENT_SOURCES) if name in read]


def _read_protected(sets: Collection[FeatureSet]) -> bool:
    return any(is_protected(name) for features in sets for name, _ in features.attributes)


def relations_of(workspace: Workspace, sets: Collection[FeatureSet], at: str | None = None) -> Relations:
    """Events of all accounts, ``every_<source>``, in Spark SQL; of the workspace or of its copy at an address."""
    relations = workspace.events.spark_versions(at) if _read_protected(sets) else workspace.events.spark_relations(at)
    return {f"every_{source}": relations[source] for source in _sources(sets)}


def queries_of(sets: Collection[FeatureSet], accounts: pa.ChunkedArray) -> list[str]:
    """Rows of each part: what it is given, its events, and those of others that link its accounts.

    Between the first account of a wave and the last, files skip most other rows.
    """
    first, last = (spark_text(end.as_py()) for end in pc.min_max(accounts).values())
    own = [
        f"SELECT /*+ BROADCAST(mine) */ mine.{PART}, STRUCT(event.*) AS {source} "
        f"FROM every_{source} AS event JOIN mine USING (account_id) WHERE event.account_id BETWEEN {first} AND {last}"
        for source in _sources(sets)
    ]
    links = links_of(one.rows for features in sets for one in features.aggregates)
    linked = [_linked(link.source, link.column) for link in sorted(links, key=lambda link: link.source)]
    return [f"SELECT {PART}, {', '.join(_GIVEN)} FROM given", *own, *linked]


def _linked(source: str, column: str) -> str:
    """All versions of the events of other accounts that ever had a value in common with the part."""
    return f"""WITH shared AS (
        SELECT /*+ BROADCAST(mine) */ DISTINCT mine.{PART}, event.{column}
        FROM every_{source} AS event JOIN mine USING (account_id) WHERE event.{column} IS NOT NULL
    ), numbers AS (
        SELECT DISTINCT shared.{PART}, event.event_no FROM every_{source} AS event JOIN shared USING ({column})
    )
    SELECT /*+ BROADCAST(mine) */ numbers.{PART}, STRUCT(event.*) AS {source}
    FROM every_{source} AS event JOIN numbers USING (event_no)
    LEFT ANTI JOIN mine ON mine.account_id = event.account_id AND mine.{PART} = numbers.{PART}"""


def _given(parts: Sequence[Part]) -> dict[str, pa.Table]:
    numbers = pa.array(range(len(parts)), pa.int32())
    tables = [(to_arrow(part.planned, _PLANNED), part.last, part.stood) for part in parts]
    streams = [pa.array([_stream(table) for table in one], pa.binary()) for one in zip(*tables, strict=True)]
    accounts = [part.accounts() for part in parts]
    mine = pa.concat_arrays([pa.repeat(number, len(one)) for number, one in zip(numbers, accounts, strict=True)])
    return {
        "given": pa.table([numbers, *streams], names=[PART, *_GIVEN]),
        "mine": pa.table([pa.concat_arrays(accounts), mine], names=["account_id", PART]),
    }


def _stream(table: pa.Table) -> bytes:
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table)
    content: bytes = written.getvalue().to_pybytes()
    return content


def _streamed(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()


def decide_rows(basis: Basis, rows: pa.Table) -> pa.Table:
    """Decide the part that some rows are of; runs where a task runs.

    Parameters
    ----------
    basis : Basis
    rows : pyarrow.Table
        Of one part: what it is given, and a row an event, in the column of its source.

    Returns
    -------
    pyarrow.Table of schema :data:`RESULT`
    """
    [given] = rows.filter(pc.is_valid(rows["planned"])).select([PART, *_GIVEN]).to_pylist()
    planned, last, stood = (_streamed(given[name]) for name in _GIVEN)
    events = events_of(rows)
    sides = {run_id: iteration_of(recipe) for run_id, recipe in basis.sides.items()}
    stands_on = StandsOn(iteration_of(basis.new), sides, basis.overrides, basis.holds)
    part = Part(planned.to_pandas(), last, stood)
    return sealed(given[PART], decided_part(part, stands_on, basis.dates, lambda _: events))


def events_of(rows: pa.Table) -> dict[str, pa.Table]:
    """Events by source, from the rows of a part."""
    sources = [name for name in rows.column_names if name not in {PART, *_GIVEN}]
    return {name: pa.Table.from_struct_array(rows[name].drop_null().combine_chunks()) for name in sources}


def sealed(part: int, decided: DecidedPart) -> pa.Table:
    """The rows of a part, and a seal over them."""
    pieces = [RESULT.empty_table()]
    for date, (decisions, attributions) in decided.items():
        pieces += [_rows(part, date, "decision", decisions), _rows(part, date, "attribution", attributions)]
    seal = pa.table({PART: pa.array([part], pa.int32()), "sha256": [_digest(decided)]})
    return pa.concat_tables([*pieces, _filled(seal)])


def _rows(part: int, date: datetime, name: str, table: pa.Table) -> pa.Table:
    count, of = len(table), RESULT.field(name).type
    numbers, dates = pa.repeat(pa.scalar(part, pa.int32()), count), pa.repeat(pa.scalar(date, TIME), count)
    columns = [column.combine_chunks() for column in table.combine_chunks().columns]
    structs = pa.StructArray.from_arrays(columns, fields=list(of))
    return _filled(pa.table({PART: numbers, "date": dates, name: structs}))


def _filled(rows: pa.Table) -> pa.Table:
    """Rows with nulls in the columns that they lack."""
    nulls = {field.name: pa.nulls(len(rows), field.type) for field in RESULT}
    return pa.table([rows[name] if name in rows.column_names else nulls[name] for name in RESULT.names], schema=RESULT)


def _digest(decided: DecidedPart) -> str:
    """Sha256 over the tables of each date."""
    digests = [[date.isoformat(), *map(table_sha256, tables)] for date, tables in sorted(decided.items())]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def decided_wave(spark: SparkTasks, folder: str, parts: int) -> Iterator[DecidedPart]:
    """The parts of a wave, in order.

    Raises
    ------
    IntegrityError
        A part is not there once, or its rows are not those that were sealed.
    """
    for first in range(0, parts, PARTS_READ):
        end = min(first + PARTS_READ, parts)
        rows = spark.rows(folder, first, end)
        for part in range(first, end):
            yield opened(rows.filter(pc.equal(rows[PART], part)), f"part {part} in {folder}")


def opened(rows: pa.Table, name: str) -> DecidedPart:
    """What :func:`sealed` was made of, from its rows in any order.

    Raises
    ------
    IntegrityError
        The seal is missing or does not fit; the message begins with the name.
    """
    decisions, attributions = (rows.filter(pc.is_valid(rows[of])) for of in ("decision", "attribution"))
    dates = sorted(pc.unique(decisions["date"]).to_pylist())
    decided = {
        date: (_table(decisions, date, "decision", DECISIONS), _table(attributions, date, "attribution", ATTRIBUTIONS))
        for date in dates
    }
    if rows["sha256"].drop_null().to_pylist() != [_digest(decided)]:
        raise IntegrityError(
            f"{name}: not the rows that its task sealed, or by another version of limitlens or pyarrow; remove the "
            "folder and decide again."
        )
    return decided


def _table(rows: pa.Table, date: datetime, name: str, schema: pa.Schema) -> pa.Table:
    """Rows of a date as the ledger stores them, by account and time."""
    mine = rows.filter(pc.equal(rows["date"], pa.scalar(date, TIME)))[name].combine_chunks()
    return pa.Table.from_struct_array(mine).cast(schema).sort_by([("account_id", "ascending"), ("as_of", "ascending")])
