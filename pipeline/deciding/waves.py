"""Waves: parts of a book that Spark works on together, whose results wait in a folder until all of them are there.

A task has one part. Its rows are sealed (:mod:`limitlens.pipeline.deciding.seals`) and lie in the folder as Parquet; a
call that was killed is made up for by the next one, which takes the waves that are whole.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

import limitlens
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress
from limitlens.data.spark import PART, SparkTasks, spark_tasks
from limitlens.pipeline.deciding.part_rows import Reads, given_of, queries_of, relations_of
from limitlens.pipeline.deciding.seals import Kinds, Result, opened, row_schema
from limitlens.pipeline.workspace import Workspace

#: Accounts of one task; where the book is small, so many fewer that every slot has work, but not fewer than the latter.
LINES_A_TASK, FEWEST = 5_000, 500

#: Tasks of a wave, for each that runs at once.
TASKS_A_SLOT = 2

#: Parts whose rows come to the driver at once.
PARTS_READ = 32

_Part = TypeVar("_Part")
_Basis = TypeVar("_Basis")


@dataclass(frozen=True)
class Staging:
    """Spark, the folder in which results wait, and the address at which the events are copied, if they are.

    Parameters
    ----------
    spark : SparkTasks
    folder : str
        As Spark names it; nothing beside it is touched.
    events : str or None
        None: the executors read the workspace.
    """

    spark: SparkTasks
    folder: str
    events: str | None

    def sizes(self, accounts: int, lines_a_task: int | None = None) -> tuple[int, int]:
        """Accounts of a task, :data:`LINES_A_TASK` where nobody says how many, and tasks of a wave."""
        tasks = self.spark.slots() * TASKS_A_SLOT
        return lines_a_task or min(max(-(-accounts // tasks), FEWEST), LINES_A_TASK), tasks


@contextmanager
def staging(workspace: Workspace, command: str, lake: str | None = None) -> Iterator[Staging]:
    """Open Spark, with a folder for the results of a command; leaving the block without an error removes it.

    Parameters
    ----------
    workspace : Workspace
    command : str
    lake : str, optional
        Address of this workspace alone, as Spark names it; default: its folder ``staging``. If it has a copy of the
        folder ``events``, the executors read it there, and with it ``protected`` if features name such attributes.
        Otherwise they see the workspace, under the same path as the driver.
    """
    default, lake = workspace.root / "staging", lake.rstrip("/") if lake else None
    folder = f"{lake or default.resolve().as_uri()}/limitlens-staging-{command}"
    with spark_tasks() as spark:
        yield Staging(spark, folder, lake if lake and "events" in spark.folders(lake) else None)
        spark.remove(folder)
    with suppress(OSError):  # not there, or another command has results in it
        default.rmdir()


@dataclass(frozen=True)
class Wave(Generic[_Basis]):
    """What the tasks of a wave are given.

    Parameters
    ----------
    basis : object
        The same for each, of plain values.
    reads : Reads
    tables : sequence of mapping of str to pyarrow.Table
    accounts : sequence of pyarrow.Array
        As :func:`limitlens.pipeline.deciding.part_rows.given_of` takes them.
    """

    basis: _Basis
    reads: Reads
    tables: Sequence[Mapping[str, pa.Table]]
    accounts: Sequence[pa.Array]


@dataclass(frozen=True)
class Job(Generic[_Part, _Basis]):
    """Work on the parts of a book.

    Parameters
    ----------
    name : str
        As :func:`job_name` gives it.
    task : callable
        Takes the basis and the rows of a part, and seals its result; runs where a task runs.
    kinds : mapping of str to pyarrow.Schema
        Tables of a result.
    parts : sequence
    at_once : int
        Parts of a wave.
    wave_of : callable
        Reads what the tasks of some parts are given.
    """

    name: str
    task: Callable[[_Basis, pa.Table], pa.Table]
    kinds: Kinds
    parts: Sequence[_Part]
    at_once: int
    wave_of: Callable[[Sequence[_Part]], Wave[_Basis]]


def job_name(workspace: Workspace, *stands_on: object) -> str:
    """Digest of everything that the results of a job stand on, besides events and limitlens itself."""
    basis = [limitlens.__version__, workspace.events.digest(), *stands_on]
    return hashlib.sha256(json.dumps(basis).encode()).hexdigest()


def results(place: Staging, workspace: Workspace, job: Job[_Part, _Basis], progress: Progress) -> Iterator[Result]:
    """The result of each part, in order; waves that are there are not computed again.

    Raises
    ------
    IntegrityError
        A part is not there once, or its rows are not those that were sealed.
    WorkspaceError
        The copy of the events is not whole, or Spark failed.
    """
    spark, count = place.spark, len(job.parts)
    for other in set(spark.folders(place.folder)) - {job.name}:
        spark.remove(f"{place.folder}/{other}")
    for first in range(0, count, job.at_once):
        parts, folder = job.parts[first : first + job.at_once], f"{place.folder}/{job.name}/{first:06d}"
        if not spark.finished(folder):
            progress(f"parts {first + 1} to {first + len(parts)} of {count} on Spark")
            _run(place, workspace, job, job.wave_of(parts), folder)
        yield from _read(spark, folder, len(parts), job.kinds)


def _run(place: Staging, workspace: Workspace, job: Job[_Part, _Basis], wave: Wave[_Basis], folder: str) -> None:
    for copied in ("events", *(["protected"] if wave.reads.protected else [])) if place.events else ():
        expect_copy(workspace, place.spark, str(place.events), copied)
    given = given_of(wave.tables, wave.accounts)
    place.spark.run(
        job.task,
        wave.basis,
        queries_of(wave.reads, given["mine"]["account_id"]),
        {**relations_of(workspace, wave.reads, place.events), **given},
        schema=row_schema(job.kinds),
        parts=len(wave.tables),
        folder=folder,
    )


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


def _read(spark: SparkTasks, folder: str, parts: int, kinds: Kinds) -> Iterator[Result]:
    for first in range(0, parts, PARTS_READ):
        end = min(first + PARTS_READ, parts)
        rows = spark.rows(folder, first, end)
        for part in range(first, end):
            yield opened(kinds, rows.filter(pc.equal(rows[PART], part)), f"part {part} in {folder}")
