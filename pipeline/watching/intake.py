"""Intake: what one tick takes in, judged by the contract and compared with all that is known."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.attributes import kind_of, misfits, typed_attributes
from limitlens.data.check import HELD, held_back, judged_rows, without_further_ids
from limitlens.data.contracts import ACCOUNTS, Source
from limitlens.data.delivery import ROW, DeliveredFile, read_delivered
from limitlens.data.engine import prepared
from limitlens.data.erasures import ErasedAccounts
from limitlens.data.errors import InputError
from limitlens.data.events import EventStore, stored_schema
from limitlens.data.pseudonyms import IdKey
from limitlens.data.rules import BROKEN, LINES
from limitlens.data.versions import FILE, FLOOR, add_clean, placed_in, resolve
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.line import taken_names
from limitlens.pipeline.journal import Journal, Taken

#: How the names of files begin that are made of messages.
MESSAGES = "kafka-"


@dataclass(frozen=True)
class Moment:
    """A tick: its number, the time that rows are judged at, and before when no row may say it was known."""

    tick: int
    at: datetime
    floor: datetime | None


@dataclass(frozen=True)
class Refused:
    """A file of which nothing is taken in, and why."""

    path: Path
    reason: str


def take_in_files(
    source: Source,
    paths: Sequence[tuple[str, Path]],
    moment: Moment,
    journal: Journal,
    store: EventStore,
    *,
    new_lines: pa.Table,
    key: IdKey | None = None,
) -> tuple[Taken, pa.Table, list[Refused]]:
    """Read, judge and compare the files of one source.

    Parameters
    ----------
    source : Source
    paths : sequence of (name, Path)
        How the quarantine calls each file, and where it is.
    moment : Moment
    journal : Journal
        Holds all that is known.
    store : EventStore
        Knows the kinds of the attributes.
    new_lines : pyarrow.Table
        Accounts that came in the same tick; columns of :data:`limitlens.data.rules.LINES`.
    key : IdKey, optional
        Of the pseudonyms that take the place of ids; default: ids stay as delivered.

    Returns
    -------
    (Taken, pyarrow.Table, list of Refused)
        What is accepted; what is held back, with the columns of :data:`limitlens.data.check.HELD`; and the files that
        cannot be read or break the contract as a whole.
    """
    kinds = (
        {**journal.attributes(), **store.attributes(), **store.protected_attributes()} if source.open_columns else {}
    )
    clean, held, refused, rows = list[pa.Table](), [HELD.empty_table()], list[Refused](), 0
    begins, erased, gone = dict[str, int](), ErasedAccounts(store.root, key), 0
    for name, path in paths:
        try:
            file, left_out = erased.without(read_delivered(path, name, source), source)
            file = without_further_ids(file, source, key)
            accounts = file.table["account_id"]
            lines = _known_lines(source, key.pseudonyms("account", accounts) if key else accounts, journal, new_lines)
            delivered, odd = (
                _without_misfits(source, file, kinds, lines, moment=moment, key=key)
                if is_messages(path)
                else (file, [])
            )
            attributes = typed_attributes(delivered, source, kinds, taken_names(CATALOGUE))
            sound, back = judged_rows(source, delivered, attributes, lines, moment.at, key=key)
        except InputError as error:
            refused.append(Refused(path, str(error)))
            continue
        kinds |= {column: kind_of(values) for column, values in attributes.items()}
        clean.append(sound.set_column(sound.column_names.index(ROW), ROW, pc.add(sound[ROW], rows)))
        held += [back, *odd]
        begins[name] = rows
        rows += file.rows
        gone += left_out
    if not clean:
        return Taken(None, 0, 0), HELD.empty_table(), refused
    whole = placed_in(pa.concat_tables(clean, promote_options="default"), moment.tick, moment.floor)
    accepted, conflicts = _compared(source, whole, journal, withdrawn=bool(store.withdrawals()))
    back = pa.concat_tables([*held, _in_their_files(source, conflicts, begins)])
    return Taken(accepted, rows + gone, rows + gone - len(accepted) - len(back)), back, refused


def is_messages(path: Path) -> bool:
    """Whether a file was made of messages, of which each is judged by itself."""
    return path.name.startswith(MESSAGES)


def _without_misfits(
    source: Source,
    file: DeliveredFile,
    kinds: Mapping[str, str],
    lines: pa.Table,
    *,
    moment: Moment,
    key: IdKey | None,
) -> tuple[DeliveredFile, list[pa.Table]]:
    """The messages of a file whose attributes are of the kinds they had before, and the others for the quarantine."""
    left, held = file, list[pa.Table]()
    for column, wrong in misfits(file, source, kinds).items():
        odd = pc.is_in(left.table[ROW], file.table.filter(wrong)[ROW])
        mine, left = (replace(left, table=left.table.filter(rows)) for rows in (odd, pc.invert(odd)))
        texts = {
            name: mine.table[name] for name in mine.table.column_names if name not in (ROW, *source.column_names())
        }
        sound, back = judged_rows(source, mine, texts, lines, moment.at, key=key)
        kept = key.replaced(mine.table, source) if key else mine.table
        delivered = {row.pop(ROW): json.dumps(row, ensure_ascii=False) for row in kept.to_pylist()}
        why = {"column": column, "rule": f"no {kinds[column]} as before"}
        broken = [row | why | {"row": row[ROW], "row_json": delivered[row[ROW]]} for row in sound.to_pylist()]
        names = pa.array([file.name] * len(broken), pa.string())
        held += [back, held_back(source, names, pa.Table.from_pylist(broken, schema=BROKEN))]
    return left, held


def _in_their_files(source: Source, conflicts: pa.Table, begins: Mapping[str, int]) -> pa.Table:
    """Rows for the quarantine, numbered in the file that each came in; ``begins``: rows of the tick before the file."""
    starts, rows = np.array(list(begins.values())), conflicts["row"].to_numpy()
    place = np.searchsorted(starts, rows, side="left") - 1  # rows are numbered from 1
    numbered = conflicts.set_column(conflicts.column_names.index("row"), "row", pa.array(rows - starts[place]))
    return held_back(source, pa.array(list(begins), pa.string()).take(pa.array(place)), numbered)


def _known_lines(source: Source, accounts: pa.ChunkedArray, journal: Journal, new: pa.Table) -> pa.Table:
    """Those of some accounts that are known, and the new ones."""
    if source is ACCOUNTS:
        return LINES.empty_table()
    asked = [str(one) for one in pc.unique(accounts.cast(pa.string())).drop_null().to_pylist()]
    known = [table["account_id"] for table in journal.rows(ACCOUNTS.name, "account_id", asked)]
    return pa.table({"account_id": pa.chunked_array([pc.unique(ids) for ids in (*known, new["account_id"])])})


def _attributes(source: Source, rows: pa.Table) -> list[str]:
    """Columns of rows of a source, of the store or of the journal, that are none of the contract or of ours."""
    ours = {*source.column_names(), *stored_schema(source.name).names, FILE, ROW, FLOOR}
    return [name for name in rows.column_names if name not in ours]


def _compared(source: Source, clean: pa.Table, journal: Journal, *, withdrawn: bool) -> tuple[pa.Table, pa.Table]:
    """The rows that are neither known already nor in conflict with what is, and those that are in conflict."""
    key = source.key[0]
    stored, fresh = journal.rows(source.name, key, pc.unique(clean[key]).to_pylist())
    if not len(stored) and not len(fresh) and pc.count_distinct(clean[key]).as_py() == len(clean):
        return clean, BROKEN.empty_table()
    known = pa.concat_tables([stored, _as_stored(fresh)], promote_options="default")
    with prepared({"stored": known}) as run:
        add_clean(run, clean)
        run("CREATE TEMP TABLE came AS SELECT * FROM clean", {})
        resolved = resolve(run, source, _attributes(source, known), withdrawn=withdrawn)
        accepted = run(f"SELECT * FROM came ANTI JOIN others USING ({FILE}, {ROW}) ORDER BY {FILE}, {ROW}", {})
    return accepted.cast(clean.schema), resolved.conflicts.select(BROKEN.names)


def _as_stored(fresh: pa.Table) -> pa.Table:
    """Rows of the journal with what they are compared by: neither a stamp nor a number of the event."""
    return fresh.drop_columns([FILE, ROW, FLOOR]).append_column("delivered_known_time", fresh["known_time"])


def known_rows(source: Source, column: str, values: Sequence[str], journal: Journal) -> pa.Table:
    """Rows of the store and of the journal with one of some values in a column, as the store will have them all.

    Events that came since the last load are numbered as the load that takes them over will number them: after all
    others, and among themselves in the same order.
    """
    stored, fresh = journal.rows(source.name, column, values)
    if not len(fresh):
        return stored
    with prepared({"stored": stored}) as run:
        add_clean(run, fresh)
        resolved = resolve(run, source, _attributes(source, stored))
        placed = pa.concat_tables([*resolved.pieces()])
    return pa.concat_tables([stored, placed], promote_options="default")
