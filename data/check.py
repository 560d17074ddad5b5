"""The way in: delivered files are checked against the contract, and what passes becomes one load of the store.

Every delivered row is accepted, quarantined with the rule that held it, or recognised as a repeat; none is lost.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from limitlens.data.attributes import kind_of, typed_attributes
from limitlens.data.calendar import format_time, reach_of_most
from limitlens.data.contracts import (
    ACCOUNTS,
    FEEDS,
    MAX_QUARANTINED_SHARE,
    SHARED_RISK,
    SOURCES,
    Source,
    contract_digest,
)
from limitlens.data.delivery import RAGGED, ROW, DeliveredFile, Delivery, find_delivery, read_delivered
from limitlens.data.engine import RunSql, prepared, run_sql
from limitlens.data.erasures import ErasedAccounts
from limitlens.data.errors import InputError
from limitlens.data.events import PROTECTED_KEYS, QUARANTINE, EventStore
from limitlens.data.html_table import html_table
from limitlens.data.id_key import expect_ids, ids_by
from limitlens.data.incident import Incident
from limitlens.data.lock import exclusive
from limitlens.data.profile_columns import PROFILE
from limitlens.data.profiles import line_slices, profile_load
from limitlens.data.progress import Progress, silent
from limitlens.data.protected import is_protected
from limitlens.data.pseudonyms import IdKey
from limitlens.data.quality_settings import Slices, default_quality
from limitlens.data.rules import BROKEN, LINES, judge
from limitlens.data.versions import FILE, Resolved, add_clean, placed_in, resolve
from limitlens.data.withdrawal import Withdrawal

#: Sources that reach so much further, or less far, than most are worth a look.
OUT_OF_STEP = timedelta(days=31)

#: So few rows may be held back at any share.
QUARANTINED_ROWS = 10


@dataclass(frozen=True)
class SourceCount:
    """Rows of one source in one delivery: ``rows_in == accepted + quarantined + deduplicated``.

    ``erased`` of the deduplicated are of accounts that were erased: nothing of them is kept.
    """

    files: int = 0
    rows_in: int = 0
    accepted: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    stamped: int = 0
    erased: int = 0


@dataclass(frozen=True)
class LoadReport:
    """What became of one delivery.

    Parameters
    ----------
    load : str or None
        Number of the load; None when nothing was new and nothing was written.
    sources : dict of str to SourceCount
        Every source of the contract.
    quarantine : dict of (source, column, rule) to int
        Rows held back; the column is empty where the row as a whole is wrong.
    unused_columns : dict of str to tuple of str
        Columns the contract does not know, by source.
    new_attributes : tuple of str
        Attributes of the accounts that earlier loads did not have; empty on the first load.
    protected : tuple of str
        Attributes of the accounts that are kept apart.
    empty_files, ignored : tuple of str
        Files without a row; entries that belong to no source.
    limit_zero, without_limit : int
        Accepted rows of the accounts with limit 0 and without a limit: while such a version counts, a line of limit 0
        stands in no book, one without a limit is scored and never decided.
    reach : dict of str to str
        Latest known time among the accepted rows of each source of events that has any, ISO 8601.
    incidents : tuple of Incident
        What is unusual in the days that came, the worst first; :func:`limitlens.pipeline.check` judges them.
    lines_touched : tuple of int
        How many lines each of them touches.
    """

    load: str | None
    sources: dict[str, SourceCount]
    quarantine: dict[tuple[str, str, str], int]
    unused_columns: dict[str, tuple[str, ...]]
    new_attributes: tuple[str, ...]
    protected: tuple[str, ...]
    empty_files: tuple[str, ...]
    ignored: tuple[str, ...]
    limit_zero: int
    without_limit: int
    reach: dict[str, str]
    incidents: tuple[Incident, ...] = ()
    lines_touched: tuple[int, ...] = ()

    def _repr_html_(self) -> str:
        """Rows of each source that came, for a notebook."""
        counts = ("rows_in", "accepted", "quarantined", "deduplicated")
        rows = [(name, *(f"{getattr(c, n):,}" for n in counts)) for name, c in self.sources.items() if c.files]
        state = f"load {self.load}" if self.load else "nothing was new"
        return html_table(state, rows, ("source", "rows in", *counts[1:]))

    @property
    def held(self) -> bool:
        """Whether an incident is a reason to hold decisions."""
        return any(incident.state == "hold" for incident in self.incidents)

    @property
    def absent(self) -> tuple[str, ...]:
        """Sources of which no file was delivered, but those that come now and then."""
        return tuple(name for name, count in self.sources.items() if not count.files and name != SHARED_RISK.name)

    @property
    def warnings(self) -> list[str]:
        """What a person should look at, one sentence each."""
        unused = [
            f"{s}: columns not used: {', '.join(names)}; scores unchanged" for s, names in self.unused_columns.items()
        ]
        fresh = [f"accounts: new attributes: {', '.join(self.new_attributes)}"] if self.new_attributes else []
        apart = [
            f"accounts: kept apart as protected: {', '.join(self.protected)}; [features] protected of the training "
            "settings switches them on by name"
        ]
        empty = [f"{name}: no rows" for name in self.empty_files]
        closed = f"accounts: {self.limit_zero:,} rows with limit 0, in no book while they count: never decided"
        loans = (
            f"accounts: {self.without_limit:,} rows without a limit: trained on and scored, never decided; "
            "limit_cents gives the limit of a line"
        )
        ignored = [f"{name}: ignored" for name in self.ignored]
        return [
            *unused,
            *fresh,
            *(apart if self.protected else []),
            *([closed] if self.limit_zero else []),
            *([loans] if self.without_limit else []),
            *self._out_of_step(),
            *empty,
            *ignored,
        ]

    def _out_of_step(self) -> list[str]:
        if not self.reach:
            return []
        reach = {source: datetime.fromisoformat(time) for source, time in self.reach.items()}
        most = reach_of_most(reach.values())
        return [
            f"{source}: known until {format_time(time)}, most until {format_time(most)}; see that both are right"
            for source, time in reach.items()
            if abs(time - most) > OUT_OF_STEP
        ]

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        came = [(name, count) for name, count in self.sources.items() if count.files]
        return [
            f"load {self.load}" if self.load else "nothing new, nothing written",
            *(
                f"{name:<12} {c.rows_in:>12,} rows: {c.accepted:,} accepted, {c.quarantined:,} quarantined, "
                f"{c.deduplicated:,} known already{_of_erased(c)}, {c.stamped:,} stamped"
                for name, c in came
            ),
            *(f"quarantined  {rows:>12,} rows: {' '.join(why)}" for why, rows in self.quarantine.items()),
            *(f"not delivered: {name}" for name in self.absent),
            *(f"warning: {warning}" for warning in self.warnings),
            *(
                line
                for incident, lines in zip(self.incidents, self.lines_touched, strict=True)
                for line in incident.lines(lines)
            ),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON writes it."""
        held = [
            {"source": source, "column": column, "rule": rule, "rows": rows}
            for (source, column, rule), rows in self.quarantine.items()
        ]
        noticed = [
            {**incident.to_dict(), "lines_touched": lines}
            for incident, lines in zip(self.incidents, self.lines_touched, strict=True)
        ]
        body = {name: value for name, value in asdict(self).items() if name != "lines_touched"}
        return {
            **body,
            "quarantine": held,
            "absent": self.absent,
            "warnings": self.warnings,
            "incidents": noticed,
        }


def _of_erased(count: SourceCount) -> str:
    return f" ({count.erased:,} of erased accounts)" if count.erased else ""


def check_events(
    input_dir: Path,
    store: EventStore,
    *,
    decided_until: datetime | None = None,
    loaded_at: datetime | None = None,
    taken: Collection[str] = (),
    max_quarantined_share: float = MAX_QUARANTINED_SHARE,
    slices: Slices | None = None,
    key: IdKey | None = None,
    progress: Progress = silent,
) -> LoadReport:
    """Take in a delivery: one folder a source, any number of Parquet, CSV or gzipped CSV files in each.

    Parameters
    ----------
    input_dir : Path
    store : EventStore
        Gains one load, or nothing at all when the delivery holds nothing new or is refused.
    decided_until : datetime, optional
        Latest moment decided so far. A row known before it, but delivered only now, gets it as ``known_time``.
    loaded_at : datetime, optional
        Now. A row that becomes known later is held back until it is delivered again when its time has come.
    taken : collection of str
        Names that no attribute of the accounts may have, in small letters: those of the features.
    max_quarantined_share : float
        The delivery is refused when more of the rows of a source, and at least :data:`QUARANTINED_ROWS`, are held back.
    slices : Slices, optional
        What is profiled by itself; default: as the settings that ship with limitlens say.
    key : IdKey, optional
        Of the pseudonyms that take the place of ids before anything is written; default: ids stay as delivered.
    progress : callable
        Told the name and the rows of each file.

    Returns
    -------
    LoadReport

    Raises
    ------
    InputError
        A file, or the delivery as a whole, breaks the contract.
    ConfigError
        Ids of earlier loads are not of this key, or are no pseudonyms.
    WorkspaceError
        Another run is in progress.
    """
    delivery = find_delivery(input_dir)

    erased = ErasedAccounts(store.root, key)

    def judged(source: Source, run: RunSql, lines: pa.Table) -> list[_JudgedFile]:
        read = _read(
            source, delivery, _earlier_attributes(source, store), taken, erased=erased, key=key, progress=progress
        )
        return _judged_files(source, read, lines, run, loaded_at=loaded_at, floor=decided_until, key=key)

    chosen = slices or default_quality().slices
    with exclusive(store.root, "check", begins=True):
        expect_ids(store, key)
        return _load(store, judged, max_quarantined_share, chosen, ids=ids_by(key), ignored=delivery.ignored)


@dataclass(frozen=True)
class Journaled:
    """Rows of one source that were judged as they came.

    Parameters
    ----------
    clean : pyarrow.Table
        As :func:`limitlens.data.versions.add_clean` takes them.
    held : pyarrow.Table
        Those for the quarantine; columns of :data:`HELD`.
    rows_in, deduplicated : int
        Rows that came, and those of them that were known already.
    """

    clean: pa.Table
    held: pa.Table
    rows_in: int
    deduplicated: int


def take_in(
    store: EventStore,
    journaled: Mapping[str, Journaled],
    *,
    slices: Slices | None = None,
    withdrawal: Withdrawal | None = None,
) -> LoadReport:
    """Make rows that were judged as they came one load of the store; the caller holds the workspace.

    Parameters
    ----------
    store : EventStore
        Gains one load, or nothing when it has all the rows.
    journaled : mapping of source to Journaled
    slices : Slices, optional
        As in :func:`check_events`.
    withdrawal : Withdrawal, optional
        The rows are the versions that take an earlier load back.
    """

    def judged(source: Source, run: RunSql, _: pa.Table) -> list[_JudgedFile]:
        if (rows := journaled.get(source.name)) is None:
            return []
        add_clean(run, _as_one_file(rows.clean))
        return [_JudgedFile(JOURNAL, rows.rows_in, (), rows.held, rows.deduplicated)]

    ids = store.ids() or ids_by(None)
    return _load(store, judged, 1.0, slices or default_quality().slices, ids=ids, withdrawal=withdrawal)


#: How reports call the rows that came one by one.
JOURNAL = "watch"


def _as_one_file(rows: pa.Table) -> pa.Table:
    """Rows of many ticks, placed as those of one file."""
    places = {FILE: np.zeros(len(rows), np.int64), ROW: np.arange(1, len(rows) + 1)}
    for name, values in places.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def _load(
    store: EventStore,
    judged: Callable[[Source, RunSql, pa.Table], Sequence["_JudgedFile"]],
    max_quarantined_share: float,
    slices: Slices,
    *,
    ids: str,
    ignored: tuple[str, ...] = (),
    withdrawal: Withdrawal | None = None,
) -> LoadReport:
    """Compare what was judged with what is known, source by source, and write what is new.

    ``ids``: whose pseudonyms its ids are, for the mark.
    """
    lines = of_lines = LINES.empty_table()
    names, load = [], store.next_load()
    parts, profiles = {name: _Part() for name in SOURCES}, [PROFILE.empty_table()]
    withdrawn, restating = bool(store.withdrawals()), withdrawal is not None
    for source in SOURCES.values():
        with prepared({"stored": store.versions(source.name)}) as run:
            known = run("SELECT DISTINCT account_id FROM stored", {}) if source is ACCOUNTS else lines
            if not (files := judged(source, run, known)):
                continue
            earlier = list(_earlier_attributes(source, store))
            resolved = resolve(run, source, earlier, withdrawn=withdrawn, restating=restating)
            parts[source.name] = _part(source, files, resolved, store)
            _expect_mostly_sound(source, parts[source.name], max_quarantined_share)
            for folder, pieces in _folders(source, resolved).items():
                names += store.write(load, folder, pieces)
            if source is ACCOUNTS:
                lines = resolved.accounts()
                of_lines = line_slices(run, slices)
            elif source.name in FEEDS and not restating:
                held = _fresh(parts[source.name].held, load, store)
                profiles.append(profile_load(run, source, slices, of_lines, held))
    held = pa.concat_tables(part.held for part in parts.values())
    names += store.write(load, "quarantine", [_fresh(held, load, store)])
    names += store.write(load, "profiles", [pa.concat_tables(profiles)])
    report = _report(load if names or restating else None, parts, held, ignored)
    if report.load:
        mark = {name: value for name, value in report.to_dict().items() if name != "incidents"}
        note = {"withdrawal": withdrawal.to_dict()} if withdrawal else {}
        store.commit(load, names, {"contract": contract_digest(), "ids": ids, **mark, **note})
    return report


#: A row held back, before the number of the load is known.
HELD = pa.schema([field for field in QUARANTINE if field.name != "load"])


@dataclass(frozen=True)
class _JudgedFile:
    """One file, its sound rows put aside: how many rows it had, and those that broke a rule of their own.

    ``deduplicated``: rows that were neither put aside nor held, since they were known already; ``erased`` of them are
    of accounts that were erased.
    """

    name: str
    rows: int
    unused: tuple[str, ...]
    held: pa.Table
    deduplicated: int = 0
    erased: int = 0


@dataclass(frozen=True)
class _Part:
    """What the report says about one source of the delivery, and its rows for the quarantine."""

    count: SourceCount = SourceCount()
    held: pa.Table = field(default_factory=HELD.empty_table)
    unused: tuple[str, ...] = ()
    new_attributes: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    limit_zero: int = 0
    without_limit: int = 0
    reach: datetime | None = None


def _read(
    source: Source,
    delivery: Delivery,
    earlier: Mapping[str, str],
    taken: Collection[str],
    *,
    erased: ErasedAccounts,
    key: IdKey | None,
    progress: Progress,
) -> Iterator[tuple[DeliveredFile, dict[str, pa.ChunkedArray], int]]:
    """Every file of a source with its attributes, which keep the kinds they had before.

    Rows of erased accounts are left out; the third is how many.
    """
    kinds = dict(earlier)
    for path in delivery.files.get(source.name, []):
        delivered = read_delivered(path, delivery.name(path), source)
        progress(f"{delivered.name}: {delivered.rows:,} rows")
        delivered, gone = erased.without(delivered, source)
        delivered = without_further_ids(delivered, source, key)
        attributes = typed_attributes(delivered, source, kinds, taken)
        kinds |= {name: kind_of(values) for name, values in attributes.items()}
        yield delivered, attributes, gone


def _judged_files(
    source: Source,
    files: Iterable[tuple[DeliveredFile, Mapping[str, pa.ChunkedArray], int]],
    lines: pa.Table,
    run: RunSql,
    *,
    loaded_at: datetime | None,
    floor: datetime | None,
    key: IdKey | None,
) -> list[_JudgedFile]:
    """Put the sound rows of every file aside, and return the others."""
    judged = []
    for number, (delivered, attributes, gone) in enumerate(files):
        clean, held = judged_rows(source, delivered, attributes, lines, loaded_at, key=key)
        add_clean(run, placed_in(clean, number, floor))
        judged.append(_JudgedFile(delivered.name, delivered.rows + gone, delivered.unused, held, gone, gone))
    return judged


def judged_rows(
    source: Source,
    delivered: DeliveredFile,
    attributes: Mapping[str, pa.ChunkedArray],
    lines: pa.Table,
    loaded_at: datetime | None,
    *,
    key: IdKey | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The rows of a file that keep every rule, as :func:`limitlens.data.rules.judge` gives them, and all others.

    Returns
    -------
    (pyarrow.Table, pyarrow.Table)
        The second with the columns of :data:`HELD`.

    Raises
    ------
    InputError
        As :func:`limitlens.data.rules.judge`.
    """
    clean, broken = judge(source, delivered, attributes, lines, loaded_at, key=key)
    held = pa.concat_tables([broken, _ragged(delivered, key)]).sort_by("row")
    return clean, held_back(source, pa.array(np.full(len(held), delivered.name), pa.string()), held)


def _part(source: Source, files: Sequence[_JudgedFile], resolved: Resolved, store: EventStore) -> _Part:
    names = pa.array([file.name for file in files])
    conflicts = held_back(source, names.take(resolved.conflicts[FILE]), resolved.conflicts)
    held = pa.concat_tables([*(file.held for file in files), conflicts])
    known = {*_earlier_attributes(source, store), *source.column_names(), FILE, ROW}
    return _Part(
        SourceCount(
            files=len(files),
            rows_in=sum(file.rows for file in files),
            accepted=resolved.accepted,
            quarantined=len(held),
            deduplicated=resolved.deduplicated + sum(file.deduplicated for file in files),
            stamped=resolved.stamped,
            erased=sum(file.erased for file in files),
        ),
        held,
        unused=tuple(dict.fromkeys(column for file in files for column in file.unused)),
        new_attributes=tuple(column for column in resolved.columns if store.present() and column not in known),
        protected=_apart(source, resolved),
        empty=tuple(file.name for file in files if not file.rows),
        limit_zero=resolved.accepted_where("limit_cents = 0") if source is ACCOUNTS else 0,
        without_limit=resolved.accepted_where("limit_cents IS NULL") if source is ACCOUNTS else 0,
        reach=resolved.known_until() if source.name in FEEDS else None,
    )


def _expect_mostly_sound(source: Source, part: _Part, most: float) -> None:
    held, rows = part.count.quarantined, part.count.rows_in
    if held < QUARANTINED_ROWS or held <= most * rows:
        return
    why = part.held.group_by(["column", "rule"], use_threads=False).aggregate(
        [([], "count_all"), ("file", "first"), ("row", "first")]
    )
    worst = why.sort_by([("count_all", "descending")]).slice(0, 1).to_pylist()[0]
    raise InputError(
        f"{source.name}: {held:,} of {rows:,} rows break the contract, {held / rows:.1%}, and {most:.1%} may; "
        f"most often {worst['column'] or 'the row'}: {worst['rule']} ({worst['count_all']:,} rows, the first is row "
        f"{worst['row_first']} of {worst['file_first']}); mend it, or allow it with --max-quarantined-share."
    )


def _earlier_attributes(source: Source, store: EventStore) -> dict[str, str]:
    return {**store.attributes(), **store.protected_attributes()} if source.open_columns else {}


def without_further_ids(delivered: DeliveredFile, source: Source, key: IdKey | None) -> DeliveredFile:
    """A file whose attributes that are ids by their name are pseudonyms."""
    return replace(delivered, table=key.replaced_further(delivered.table, source)) if key else delivered


def _ragged(delivered: DeliveredFile, key: IdKey | None) -> pa.Table:
    """Rows that cannot be read, whose ids nobody can tell from the rest: of their text there is a pseudonym only."""
    texts = [(row, key.pseudonym("row", text) if key else text) for row, text in delivered.ragged]
    rows = [
        {"row": row, "rule": RAGGED, "row_json": json.dumps({"text": text}, ensure_ascii=False)} for row, text in texts
    ]
    return pa.Table.from_pylist(rows, schema=BROKEN)


def held_back(source: Source, files: pa.Array, broken: pa.Table) -> pa.Table:
    """Rows for the quarantine with their source and file; columns of :data:`HELD`."""
    origin = {"source": pa.array(np.full(len(broken), source.name), pa.string()), "file": files}
    return pa.table({**origin, **{name: broken[name] for name in BROKEN.names}}, schema=HELD)


def _folders(source: Source, resolved: Resolved) -> dict[str, Iterator[pa.Table]]:
    """Accepted rows by the folder they belong in; protected attributes stand apart."""
    protected = _apart(source, resolved)
    events = (piece.drop_columns(protected) for piece in resolved.pieces())
    apart = (piece.select([*PROTECTED_KEYS.names, *protected]) for piece in resolved.pieces())
    return {f"events/{source.name}": events, **({"protected": apart} if protected else {})}


def _apart(source: Source, resolved: Resolved) -> tuple[str, ...]:
    """Protected attributes of a source."""
    return tuple(name for name in resolved.columns if source.open_columns and is_protected(name))


def _fresh(held: pa.Table, load: str, store: EventStore) -> pa.Table:
    """The rows that were not held back before, from the same place, for the same reason and with the same content."""
    sql = f"""
    SELECT '{load}' AS load, held.* FROM held ANTI JOIN earlier USING (source, file, row, rule, row_json)
    ORDER BY source, file, row
    """
    return run_sql(sql, {"held": held, "earlier": store.quarantine()}).cast(QUARANTINE)


def _report(load: str | None, parts: Mapping[str, _Part], held: pa.Table, ignored: tuple[str, ...]) -> LoadReport:
    counted = held.group_by(["source", "column", "rule"]).aggregate([([], "count_all")]).to_pylist()
    counts = {(row["source"], row["column"] or "", row["rule"]): row["count_all"] for row in counted}
    return LoadReport(
        load=load,
        sources={name: part.count for name, part in parts.items()},
        quarantine=dict(sorted(counts.items())),
        unused_columns={name: part.unused for name, part in parts.items() if part.unused},
        new_attributes=parts[ACCOUNTS.name].new_attributes,
        protected=parts[ACCOUNTS.name].protected,
        empty_files=tuple(name for part in parts.values() for name in part.empty),
        ignored=ignored,
        limit_zero=parts[ACCOUNTS.name].limit_zero,
        without_limit=parts[ACCOUNTS.name].without_limit,
        reach={name: part.reach.isoformat() for name, part in parts.items() if part.reach},
    )
