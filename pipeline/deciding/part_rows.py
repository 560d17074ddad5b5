"""Rows of a part: what its task is given, its events, and those that link its accounts to others, from Spark."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES
from limitlens.data.engine import Relations
from limitlens.data.protected import is_protected
from limitlens.data.spark import PART, spark_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import Link, links_of
from limitlens.pipeline.workspace import Workspace

_SOURCES = (ACCOUNTS.name, *EVENT_SOURCES)


@dataclass(frozen=True)
class Reads:
    """What tasks read of the events.

    Parameters
    ----------
    sources : tuple of str
    links : tuple of Link
        What brings in events of other accounts.
    protected : bool
        Whether protected attributes are among those of the accounts.
    """

    sources: tuple[str, ...]
    links: tuple[Link, ...]
    protected: bool


def reads_of(sets: Collection[FeatureSet], *more: str) -> Reads:
    """What some feature sets read, and further sources."""
    read = {ACCOUNTS.name, *more, *(source for features in sets for source in features.sources)}
    links = links_of(one.rows for features in sets for one in features.aggregates)
    return Reads(
        tuple(name for name in _SOURCES if name in read),
        tuple(sorted(links, key=lambda link: link.source)),
        any(is_protected(name) for features in sets for name, _ in features.attributes),
    )


def relations_of(workspace: Workspace, reads: Reads, at: str | None = None) -> Relations:
    """Events of all accounts, ``every_<source>``, in Spark SQL; of the workspace or of its copy at an address."""
    relations = workspace.events.spark_versions(at) if reads.protected else workspace.events.spark_relations(at)
    return {f"every_{source}": relations[source] for source in reads.sources}


def given_of(tables: Sequence[Mapping[str, pa.Table]], accounts: Sequence[pa.Array]) -> dict[str, pa.Table]:
    """Relations of the parts themselves: ``given``, a row a part, and ``mine``, the accounts with their part.

    Parameters
    ----------
    tables : sequence of mapping of str to pyarrow.Table
        What the task of each part is given besides events: the same names for all, none that of a source.
    accounts : sequence of pyarrow.Array of str
        Of each part.
    """
    numbers = pa.array(range(len(tables)), pa.int32())
    streams = {name: pa.array([_stream(one[name]) for one in tables], pa.binary()) for name in tables[0]}
    mine = pa.concat_arrays([pa.repeat(number, len(one)) for number, one in zip(numbers, accounts, strict=True)])
    return {
        "given": pa.table({PART: numbers, **streams}),
        "mine": pa.table({"account_id": pa.concat_arrays(accounts), PART: mine}),
    }


def queries_of(reads: Reads, accounts: pa.ChunkedArray) -> list[str]:
    """Rows of each part: what it is given, its events, and those of others that link its accounts.

    Between the first account of a wave and the last, files skip most other rows.
    """
    first, last = (spark_text(end.as_py()) for end in pc.min_max(accounts).values())
    own = [
        f"SELECT /*+ BROADCAST(mine) */ mine.{PART}, STRUCT(event.*) AS {source} "
        f"FROM every_{source} AS event JOIN mine USING (account_id) WHERE event.account_id BETWEEN {first} AND {last}"
        for source in reads.sources
    ]
    return ["SELECT * FROM given", *own, *(_linked(link) for link in reads.links)]


def _linked(link: Link) -> str:
    """All versions of the events of other accounts that in one of them link an account to the part.

    A salary links nobody, though one employer pays it to many. They have only the columns that are read of them; Spark
    fills the others with nulls.
    """
    source, column = link.source, link.column
    read = ", ".join(f"event.{name}" for name in link.columns)
    return f"""WITH shared AS (
        SELECT /*+ BROADCAST(mine) */ DISTINCT mine.{PART}, event.{column}
        FROM every_{source} AS event JOIN mine USING (account_id) WHERE {link.ever}
    ), numbers AS (
        SELECT DISTINCT shared.{PART}, event.event_no
        FROM every_{source} AS event JOIN shared USING ({column}) WHERE {link.ever}
    )
    SELECT /*+ BROADCAST(mine) */ numbers.{PART}, STRUCT({read}) AS {source}
    FROM every_{source} AS event JOIN numbers USING (event_no)
    LEFT ANTI JOIN mine ON mine.account_id = event.account_id AND mine.{PART} = numbers.{PART}"""


@dataclass(frozen=True)
class PartRows:
    """What a task has of its part.

    Parameters
    ----------
    part : int
    given : mapping of str to pyarrow.Table
    events : mapping of source to pyarrow.Table
    """

    part: int
    given: Mapping[str, pa.Table]
    events: Mapping[str, pa.Table]


def received(rows: pa.Table) -> PartRows:
    """What a task has, from the rows of its part."""
    names = [name for name in rows.column_names if name not in {PART, *_SOURCES}]
    given = {name: _streamed(rows[name].drop_null()[0].as_py()) for name in names}
    return PartRows(rows[PART][0].as_py(), given, events_of(rows))


def events_of(rows: pa.Table) -> dict[str, pa.Table]:
    """Events by source, from the rows of a part."""
    sources = [name for name in _SOURCES if name in rows.column_names]
    return {name: pa.Table.from_struct_array(rows[name].drop_null().combine_chunks()) for name in sources}


def _stream(table: pa.Table) -> bytes:
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table)
    content: bytes = written.getvalue().to_pybytes()
    return content


def _streamed(content: bytes) -> pa.Table:
    with pa.ipc.open_stream(content) as stream:
        return stream.read_all()
