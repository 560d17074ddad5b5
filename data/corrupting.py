"""A folder of event tables copied with faults in it, one file at a time, and the truth about what was touched."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from limitlens.data.contracts import SOURCES, Column, Source
from limitlens.data.damage import parquet_sql
from limitlens.data.delivery import ENDINGS, ROW, DeliveredFile, Delivery, find_delivery, read_delivered
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError
from limitlens.data.events import ARROW_TYPES
from limitlens.data.faults import TOUCHED, Fault, apply_faults
from limitlens.data.progress import Progress, silent
from limitlens.data.quoting import quoted
from limitlens.data.rules import cast_sql
from limitlens.data.storage import parquet_stream, write_parquet


@dataclass(frozen=True)
class CorruptedCount:
    """What became of one source: rows before and after; rows and accounts touched; touched rows that are repaired."""

    rows_in: int
    rows_out: int
    touched: int
    accounts: int
    repaired: int


@dataclass(frozen=True)
class CorruptReport:
    """What was written.

    Parameters
    ----------
    sources : dict of str to CorruptedCount
        The sources that have a fault.
    copied : tuple of str
        The sources whose files were copied as they are.
    """

    sources: dict[str, CorruptedCount]
    copied: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        return [
            *(
                f"{name:<12} {c.rows_in:>12,} rows in, {c.rows_out:,} out: {c.touched:,} touched "
                f"of {c.accounts:,} accounts, {c.repaired:,} repaired"
                for name, c in self.sources.items()
            ),
            *(f"{name:<12} copied as it is" for name in self.copied),
        ]


def _silent(_: str) -> None:
    pass


def corrupt(source_dir: Path, out: Path, faults: Sequence[Fault], progress: Progress = silent) -> CorruptReport:
    """Copy a folder of event tables, with faults in it.

    Parameters
    ----------
    source_dir : Path
        One folder a source, any number of Parquet, CSV or gzipped CSV files in each.
    out : Path
        Gets the same files, those of a source with a fault as Parquet and in the columns of the contract, and
        ``truth/faults.parquet``. It appears when all is written, or not at all. A ``truth`` of the input stays behind.
    faults : sequence of Fault
        Applied to each file one after the other. Versions of an event that stand in another file are not seen.
    progress : callable
        Told the name and the rows of each file.

    Returns
    -------
    CorruptReport

    Raises
    ------
    InputError
        ``out`` is not empty or lies inside the input, a source has no file, or a file cannot be read or holds a
        value that is not of its type.
    ConfigError
        A file lacks a column that a fault needs.
    """
    delivery = find_delivery(source_dir)
    _expect_place(source_dir, out)
    struck = [name for name in delivery.files if any(fault.source == name for fault in faults)]
    for fault in faults:
        if fault.source not in delivery.files:
            raise InputError(f"{source_dir / fault.source}: no file found, which {fault.name} needs; deliver one.")
    final = out.resolve()
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        rows = _write(delivery, temporary, struck, faults, progress)
        touched = _touched(temporary / "truth" / "faults.parquet")
        temporary.replace(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    counts = {name: CorruptedCount(*rows[name], *touched.get(name, (0, 0, 0))) for name in struck}
    return CorruptReport(counts, tuple(name for name in delivery.files if name not in struck))


def _expect_place(source_dir: Path, out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; name a new folder.")
    if out.resolve().is_relative_to(source_dir.resolve()):
        raise InputError(f"{out}: lies inside the input {source_dir}; name a folder beside it.")


def _write(
    delivery: Delivery, out: Path, struck: Sequence[str], faults: Sequence[Fault], progress: Progress
) -> dict[str, tuple[int, int]]:
    """Write every file and the truth; rows in and out of each source with a fault."""
    rows = dict.fromkeys(struck, (0, 0))
    with parquet_stream(TOUCHED, out / "truth" / "faults.parquet") as tell:
        for name, paths in delivery.files.items():
            (out / name).mkdir()
            for path in paths:
                if name not in struck:
                    shutil.copyfile(path, out / name / path.name)
                    continue
                before = _read(path, delivery.name(path), SOURCES[name])
                corrupted = apply_faults(faults, name, before)
                table = corrupted.table
                tell(corrupted.touched)
                stem = next(path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending))
                target = out / name / f"{stem}.parquet"
                if target.exists():
                    raise InputError(f"{delivery.name(path)}: another file becomes {target.name} too; rename one.")
                write_parquet(table, target)
                progress(f"{delivery.name(path)}: {len(before):,} rows in, {len(table):,} out")
                rows[name] = (rows[name][0] + len(before), rows[name][1] + len(table))
    return rows


def _read(path: Path, name: str, source: Source) -> pa.Table:
    """One file in the columns and types of the contract, as the check reads it."""
    delivered = read_delivered(path, name, source)
    if delivered.ragged:
        row, _ = delivered.ragged[0]
        raise InputError(f"{name}, row {row}: wrong number of fields, expected those of the header; mend the row.")
    values = {column.name: cast_sql(column, delivered.is_text) for column in source.columns}
    typed = ", ".join(f"{value} AS {quoted(name)}" for name, value in values.items())
    schema = pa.schema([(column.name, ARROW_TYPES[column.dtype]) for column in source.columns])
    for column in (column for column in source.columns if column.dtype != "string"):
        _expect_readable(delivered, column, values[column.name])
    return run_sql(f"SELECT {typed} FROM delivered", {"delivered": delivered.table}).cast(schema)


def _expect_readable(delivered: DeliveredFile, column: Column, value: str) -> None:
    text = f"CAST({quoted(column.name)} AS VARCHAR)"
    wrong = f"({value} IS NULL AND {text} <> '')"
    if column.dtype in ("cents", "integer"):
        wrong += f" OR {value} <> TRUNC({value}) OR ABS({value}) > 9e18"
    sql = f"SELECT {ROW} AS row, {text} AS got FROM delivered WHERE {wrong} LIMIT 1"
    for cell in run_sql(sql, {"delivered": delivered.table}).to_pylist():
        place = f"{delivered.name}, row {cell['row']}"
        raise InputError(f"{place}: {column.name} is {cell['got']!r}, expected {column.dtype}; mend the cell.")


def _touched(truth: Path) -> dict[str, tuple[int, int, int]]:
    """Rows and accounts touched, and rows repaired, by source."""
    sql = f"""SELECT source, COUNT(*) AS touched, COUNT(DISTINCT account_id) AS accounts, COUNT(repaired_at) AS repaired
        FROM {parquet_sql([truth])} GROUP BY source"""
    return {row["source"]: (row["touched"], row["accounts"], row["repaired"]) for row in run_sql(sql).to_pylist()}
