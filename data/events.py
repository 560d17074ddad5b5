"""The accepted events of a workspace: immutable files, and one mark a load that makes them visible.

::

    <root>/events/<source>/<load>.parquet   accepted rows, ordered by account and time
    <root>/protected/<load>.parquet         protected attributes of the accounts
    <root>/quarantine/<load>.parquet        rows held back, with the rule that held them
    <root>/loads/<load>.json                written last: names and sha256 of the files above, and the report

A file that no mark names does not exist for a reader, so a load is visible as a whole or not at all. A mark never
changes: what an erasure made of its files stands in :mod:`limitlens.data.erasures`.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.calendar import reach_of_most
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, FEEDS, OUTCOMES, SOURCES, Dtype
from limitlens.data.damage import naming_damage, parquet_sql, read_json
from limitlens.data.engine import run_sql
from limitlens.data.erasures import Erasure, erasures, followed
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.frames import to_arrow
from limitlens.data.profile_columns import PROFILE
from limitlens.data.quoting import quoted
from limitlens.data.storage import file_sha256, parquet_stream, write_text

UTC_TIME = pa.timestamp("us", tz="UTC")

#: How a declared type is stored.
ARROW_TYPES: dict[Dtype, pa.DataType] = {
    "string": pa.string(),
    "timestamp": UTC_TIME,
    "cents": pa.int64(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
}

#: How an attribute of the accounts is stored.
ATTRIBUTE_TYPES: dict[str, pa.DataType] = {"number": pa.float64(), "text": pa.string(), "boolean": pa.bool_()}

PROTECTED_KEYS = pa.schema([("account_id", pa.string()), ("known_time", UTC_TIME), ("delivered_known_time", UTC_TIME)])

QUARANTINE = pa.schema(
    [
        ("load", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("rule", pa.string()),
        ("account_id", pa.string()),
        ("event_id", pa.string()),
        ("known_time", UTC_TIME),
        ("row_json", pa.string()),
    ]
)


#: What a mark says of ids that stand as they were delivered.
PLAIN = "plain"

#: What a mark counts of each source.
_COUNTS = ("files", "rows_in", "accepted", "quarantined", "deduplicated")

#: What the mark of a withdrawal says.
_WITHDRAWAL = ("withdraws", "actor", "reason", "withdrawn_at")

#: What the store adds to an event: its number, shared by its versions, and whether this is a later one of them.
NUMBERED = (("event_no", pa.int64()), ("correction", pa.bool_()))


def stored_schema(source: str) -> pa.Schema:
    """Declared columns of a source as they are stored, ``delivered_known_time`` and, for events, :data:`NUMBERED`."""
    declared = [(column.name, ARROW_TYPES[column.dtype]) for column in SOURCES[source].columns]
    numbered = NUMBERED if source in EVENT_SOURCES else ()
    return pa.schema([*declared, ("delivered_known_time", UTC_TIME), *numbered])


@dataclass(frozen=True)
class EventStore:
    """The accepted events under a workspace folder.

    Parameters
    ----------
    root : Path
        Workspace folder; it need not exist before the first load.
    first_loads : int, optional
        See only so many loads, as a job does that began before the others came; default: all there are.
    """

    root: Path
    first_loads: int | None = None

    def relation(self, source: str, loads: Collection[str] | None = None) -> str:
        """SQL of every accepted row of a source.

        Parameters
        ----------
        source : str
            A name in :data:`limitlens.data.contracts.SOURCES`.
        loads : collection of str, optional
            Only rows that these loads brought; default: of outcomes those that were not withdrawn, of the others all.

        Returns
        -------
        str
            A DuckDB SELECT with the columns of :func:`stored_schema` (nulls where an optional one was not
            delivered) and, for accounts, the attributes of all loads; no rows before the first load.
        """
        if source == OUTCOMES.name and loads is None:
            loads = self.standing_loads()
        return self._relation(source, loads)

    def _relation(self, source: str, loads: Collection[str] | None) -> str:
        schema = stored_schema(source)
        attributes = self.attributes() if source == ACCOUNTS.name else {}
        paths = self._committed(f"events/{source}")
        chosen = paths if loads is None else [path for path in paths if path.stem in loads]
        lacking = attributes.keys() - _attributes(chosen, schema.names) if attributes and loads is not None else ()
        return _select(chosen, _with_attributes(schema, attributes), lacking)

    def relations(self) -> dict[str, str]:
        """:meth:`relation` of every source, by name."""
        return {source: self.relation(source) for source in SOURCES}

    def spark_relations(self, at: str | None = None) -> dict[str, str]:
        """:meth:`relations` in Spark SQL, which reads the same files; without protected attributes.

        Parameters
        ----------
        at : str, optional
            Address of a copy of the workspace folder, as Spark names it; default: the folder itself.
        """
        relations = {}
        for source in SOURCES:
            attributes = self.attributes() if source == ACCOUNTS.name else {}
            schema = _with_attributes(stored_schema(source), attributes)
            paths = self._committed(f"events/{source}")
            if source == OUTCOMES.name:
                paths = [path for path in paths if path.stem in self.standing_loads()]
            relations[source] = _spark_select(self._addressed(paths, at), schema)
        return relations

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of each committed file in a folder, by its name below that of the workspace."""
        names = (name for name in self._files() if name.startswith(f"{folder}/"))
        return {name: (self.root / name).stat().st_size for name in names}

    def _addressed(self, paths: Iterable[Path], at: str | None) -> list[tuple[Path, str]]:
        return [(path, f"{at}/{path.relative_to(self.root)}" if at else str(path.resolve())) for path in paths]

    def present(self) -> tuple[str, ...]:
        """Sources of which at least one file was ever delivered, in the contract's order."""
        delivered = {name for load in self.loads() for name, count in load["sources"].items() if count["files"]}
        return tuple(source for source in SOURCES if source in delivered)

    def reach(self) -> dict[str, datetime]:
        """Latest known time, as delivered, of each event source that has a row; where none has, of the outcomes.

        Loads that were taken back do not count.

        Raises
        ------
        WorkspaceError
            Neither an event nor an outcome was accepted yet.
        """
        standing = self.standing_loads()
        ends = " UNION ALL ".join(
            f"SELECT '{s}' AS source, MAX(delivered_known_time) AS t FROM ({self.relation(s, standing)})"
            for s in (*FEEDS, OUTCOMES.name)
        )
        latest = {row["source"]: row["t"] for row in run_sql(f"SELECT * FROM ({ends}) WHERE t IS NOT NULL").to_pylist()}
        if not latest:
            raise WorkspaceError(f"{self.root}: no events yet; run limitlens check INPUT first.")
        return {s: t for s, t in latest.items() if s in FEEDS} or latest

    def reach_by_load(self) -> list[dict[str, datetime]]:
        """Latest known time of each event source after each load that brought events and was not taken back."""
        reaches: list[dict[str, datetime]] = []
        standing = self.standing_loads()
        for load in (one for one in self.loads() if one["load"] in standing):
            reach = {source: datetime.fromisoformat(time) for source, time in load.get("reach", {}).items()}
            before = reaches[-1] if reaches else {}
            if reach:
                reaches.append(before | {s: max(time, before.get(s, time)) for s, time in reach.items()})
        return reaches

    def known_until(self) -> datetime:
        """How far most sources of events reach, by which a job goes that was given no date.

        See :func:`limitlens.data.calendar.reach_of_most`.
        """
        return reach_of_most(self.reach().values())

    def latest_known(self) -> datetime:
        """Latest known time of any event; no date can be asked for that lies beyond it."""
        return max(self.reach().values())

    def attributes(self) -> dict[str, str]:
        """Attributes of the accounts beyond the contract, each ``number``, ``text`` or ``boolean``."""
        return _attributes(self._committed(f"events/{ACCOUNTS.name}"), stored_schema(ACCOUNTS.name).names)

    def values_of(self, attributes: Collection[str]) -> dict[str, int]:
        """Number of different values of some attributes of the accounts."""
        if not attributes:
            return {}
        counts = ", ".join(f"COUNT(DISTINCT {quoted(name)}) AS {quoted(name)}" for name in sorted(attributes))
        table = run_sql(f"SELECT {counts} FROM accounts", {"accounts": self.relation(ACCOUNTS.name)})
        return {str(name): int(count) for name, count in table.to_pylist()[0].items()}

    def protected_attributes(self) -> dict[str, str]:
        """Protected attributes, typed as in :meth:`attributes`; for fairness tests only."""
        return _attributes(self._committed("protected"), PROTECTED_KEYS.names)

    def protected(self) -> pa.Table:
        """Protected attributes, one row a version of an account.

        Returns
        -------
        pyarrow.Table
            ``account_id``, ``known_time``, ``delivered_known_time`` and the attributes.
        """
        return run_sql(self._protected())

    def protected_at(self, points: pd.DataFrame) -> pd.DataFrame:
        """Protected attributes of accounts as they were known at a time; for fairness tests only.

        Parameters
        ----------
        points : DataFrame with ``account_id, as_of``

        Returns
        -------
        DataFrame of the attributes, indexed and ordered like ``points``; missing where nothing was known
        """
        names = sorted(self.protected_attributes())
        if not names:
            return pd.DataFrame(index=points.index)
        sql = f"""
        SELECT point.row, {", ".join(f"protected.{quoted(name)}" for name in names)}
        FROM points AS point LEFT JOIN protected
            ON protected.account_id = point.account_id AND protected.known_time < point.as_of
        QUALIFY ROW_NUMBER() OVER (
            PARTITION BY point.row ORDER BY protected.known_time DESC, protected.delivered_known_time DESC
        ) = 1
        ORDER BY point.row
        """
        rows = to_arrow(
            points[["account_id", "as_of"]].assign(row=range(len(points))),
            pa.schema([("account_id", pa.string()), ("as_of", pa.timestamp("us", tz="UTC")), ("row", pa.int64())]),
        )
        attributes: pd.DataFrame = run_sql(sql, {"points": rows, "protected": self._protected()}).to_pandas()
        return attributes.drop(columns="row").set_index(points.index)

    def versions(self, source: str, loads: Collection[str] | None = None) -> str:
        """SQL like :meth:`relation`, with the protected attributes and all outcomes: what a delivery is compared to."""
        relation, protected = self._relation(source, loads), self.protected_attributes()
        if source != ACCOUNTS.name or not protected:
            return relation
        return f"""SELECT accounts.*, {", ".join(map(quoted, protected))} FROM ({relation}) AS accounts
            LEFT JOIN ({self._protected()}) AS protected USING (account_id, known_time, delivered_known_time)"""

    def spark_versions(self, at: str | None = None) -> dict[str, str]:
        """:meth:`versions` of every source in Spark SQL; parameters as in :meth:`spark_relations`."""
        relations, protected = self.spark_relations(at), self.protected_attributes()
        if protected:
            paths = self._addressed(self._committed("protected"), at)
            apart = _spark_select(paths, _with_attributes(PROTECTED_KEYS, protected))
            relations[ACCOUNTS.name] = f"""SELECT accounts.*, {", ".join(f"protected.`{name}`" for name in protected)}
                FROM ({relations[ACCOUNTS.name]}) AS accounts
                LEFT JOIN ({apart}) AS protected USING (account_id, known_time, delivered_known_time)"""
        return relations

    def quarantine(self) -> str:
        """SQL of every row ever held back; columns as in :data:`QUARANTINE`."""
        return _select(self._committed("quarantine"), QUARANTINE)

    def quarantine_counts(self) -> list[dict[str, Any]]:
        """Rows ever held back by source, column and rule, the most frequent first: ``source, column, rule, rows``."""
        sql = f"""SELECT source, "column", rule, COUNT(*) AS rows FROM ({self.quarantine()})
            GROUP BY ALL ORDER BY rows DESC, source, "column", rule"""
        counts: list[dict[str, Any]] = run_sql(sql).to_pylist()
        return counts

    def profiles(self) -> str:
        """SQL of the profiles of all loads, columns as in :data:`limitlens.data.profiles.PROFILE`.

        A load taken in before there were profiles has none: its days are no past, and its slices are learning. Nor
        has one that was withdrawn.
        """
        standing = self.standing_loads()
        return _select([path for path in self._committed("profiles") if path.stem in standing], PROFILE)

    def segments(self) -> dict[str, str]:
        """Segment of each account, by its latest version."""
        sql = (
            f"SELECT account_id, ARG_MAX(segment, known_time) AS segment FROM ({self.relation('accounts')}) GROUP BY 1"
        )
        table = run_sql(sql)
        return dict(zip(table["account_id"].to_pylist(), table["segment"].to_pylist(), strict=True))

    def digest(self) -> str:
        """Sha256 over the names and contents of all committed files, and over the erasures that made them so."""
        return _digest(self.loads(), erasures(self.root))

    def first_loads_of(self, digest: str) -> int | None:
        """How many of the first loads have a digest of :meth:`digest`, the most if several have; None: no number."""
        loads, done = self.loads(), erasures(self.root)
        counts = range(len(loads), 0, -1)
        return next((count for count in counts if _digest(loads[:count], done) == digest), None)

    def verify(self) -> None:
        """Read every committed file again.

        Raises
        ------
        IntegrityError
            A file is missing, or neither the one that was recorded nor what an erasure made of it.
        """
        done = erasures(self.root)
        for name, sha256 in self._files().items():
            path = self.root / name
            if not path.is_file() or file_sha256(path) != followed(name, sha256, done):
                raise IntegrityError(f"{path}: missing or changed since it was accepted; restore it from a backup.")

    def loads(self) -> list[dict[str, Any]]:
        """The marks of all committed loads, oldest first."""
        marks = sorted((self.root / "loads").glob("*.json"))
        return [read_json(path, _checked_mark) for path in marks[: self.first_loads]]

    def withdrawals(self) -> dict[str, dict[str, Any]]:
        """Loads that were taken back, each with what the mark of its withdrawal says."""
        return {load["withdrawal"]["withdraws"]: load["withdrawal"] for load in self.loads() if "withdrawal" in load}

    def ids(self) -> str | None:
        """Whose pseudonyms its ids are: the fingerprint of a key, or :data:`PLAIN`; None: no load yet.

        A load taken in before there were pseudonyms does not say.
        """
        marks = self.loads()
        return str(marks[0].get("ids", PLAIN)) if marks else None

    def last_version(self) -> datetime:
        """The latest moment at which any version of a row is known, those that take a load back among them."""
        sources = (ACCOUNTS.name, *EVENT_SOURCES)
        ends = " UNION ALL ".join(f"SELECT MAX(known_time) AS t FROM ({self.relation(s)})" for s in sources)
        latest: datetime = run_sql(f"SELECT MAX(t) AS t FROM ({ends})")["t"][0].as_py()
        return latest

    def standing_loads(self) -> list[str]:
        """Loads that brought rows and were not taken back."""
        gone = self.withdrawals()
        return [load["load"] for load in self.loads() if "withdrawal" not in load and load["load"] not in gone]

    def next_load(self) -> str:
        """Number of the load to come; files an interrupted load left under it are overwritten."""
        return f"{len(self.loads()) + 1:04d}"

    def write(self, load: str, folder: str, pieces: Iterable[pa.Table]) -> list[str]:
        """Write the rows of one folder, and return the name of the file, or none if there is no row.

        A reader does not see it before :meth:`commit`.
        """
        filled = (piece for piece in pieces if len(piece))
        if (first := next(filled, None)) is None:
            return []
        name = f"{folder}/{load}.parquet"
        with parquet_stream(first.schema, self.root / name) as write:
            for piece in itertools.chain([first], filled):
                write(piece)
        return [name]

    def commit(self, load: str, names: Sequence[str], report: Mapping[str, Any]) -> None:
        """Make the files of a load visible, all at once."""
        files = {name: file_sha256(self.root / name) for name in names}
        write_text(json.dumps({**report, "files": files}, indent=1) + "\n", self.root / "loads" / f"{load}.json")

    def _protected(self) -> str:
        schema = _with_attributes(PROTECTED_KEYS, self.protected_attributes())
        return _select(self._committed("protected"), schema)

    def _files(self) -> dict[str, str]:
        return _files_of(self.loads())

    def _committed(self, folder: str) -> list[Path]:
        return [self.root / name for name in self._files() if name.rpartition("/")[0] == folder]


def _files_of(loads: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {name: sha256 for load in loads for name, sha256 in load["files"].items()}


def _digest(loads: Sequence[Mapping[str, Any]], done: Sequence[Erasure]) -> str:
    files = _files_of(loads)
    basis = [files, [asdict(erasure) for erasure in done]] if done else files
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()


def _checked_mark(mark: dict[str, Any]) -> dict[str, Any]:
    """The mark, if all that is read of it is there."""
    texts = [mark["load"], *mark["files"], *mark["files"].values()]
    counts = [mark["sources"][source][name] for source in mark["sources"] for name in _COUNTS]
    texts += [mark["withdrawal"][name] for name in _WITHDRAWAL] if "withdrawal" in mark else []
    if not (all(isinstance(text, str) for text in texts) and all(isinstance(count, int) for count in counts)):
        raise TypeError("a name or number is none")
    return mark


def _with_attributes(schema: pa.Schema, attributes: Mapping[str, str]) -> pa.Schema:
    return pa.schema([*schema, *((name, ATTRIBUTE_TYPES[kind]) for name, kind in attributes.items())])


def _attributes(paths: Iterable[Path], declared: Sequence[str]) -> dict[str, str]:
    kinds = {arrow: kind for kind, arrow in ATTRIBUTE_TYPES.items()}
    fields = [field for path in paths for field in _schema(path)]
    return {field.name: kinds[field.type] for field in fields if field.name not in declared}


def _schema(path: Path) -> pa.Schema:
    with naming_damage((OSError, pa.ArrowException), lambda: [path]):
        return pq.read_schema(path)


_SQL_TYPES = {
    pa.string(): "VARCHAR",
    UTC_TIME: "TIMESTAMPTZ",
    pa.int64(): "BIGINT",
    pa.date32(): "DATE",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
}


def _select(paths: Sequence[Path], schema: pa.Schema, lacking: Collection[str] = ()) -> str:
    """Columns of a schema; null are those that none of the files has."""
    columns = ", ".join(
        f"CAST(NULL AS {_SQL_TYPES[field.type]}) AS {quoted(field.name)}"
        if not paths or field.name in lacking
        else quoted(field.name)
        for field in schema
    )
    return f"SELECT {columns} FROM {parquet_sql(paths, by_name=True)}" if paths else f"SELECT {columns} WHERE FALSE"


_SPARK_TYPES = {**_SQL_TYPES, pa.string(): "STRING", UTC_TIME: "TIMESTAMP"}


def _spark_select(paths: Sequence[tuple[Path, str]], schema: pa.Schema) -> str:
    """Every file by its own branch: one that lacks an optional column has nulls there."""
    if not paths:
        nulls = ", ".join(f"CAST(NULL AS {_SPARK_TYPES[field.type]}) AS `{field.name}`" for field in schema)
        return f"SELECT {nulls} WHERE FALSE"
    return " UNION ALL ".join(_spark_branch(path, address, schema) for path, address in paths)


def _spark_branch(path: Path, address: str, schema: pa.Schema) -> str:
    there = set(_schema(path).names)
    columns = [
        f"CAST({f'`{field.name}`' if field.name in there else 'NULL'} AS {_SPARK_TYPES[field.type]}) AS `{field.name}`"
        for field in schema
    ]
    return f"SELECT {', '.join(columns)} FROM parquet.`{address.replace('`', '``')}`"
