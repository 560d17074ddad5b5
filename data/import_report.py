"""What an import read, wrote, left out and held back: every row is counted once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TableRows:
    """Rows of the files of one table: ``rows`` = those read + ``held_back``."""

    table: str
    files: int
    rows: int
    held_back: int


@dataclass(frozen=True)
class RowsAlone:
    """Rows of a table, and those whose key the joined table lacks: its columns are empty there."""

    table: str
    other: str
    rows: int
    alone: int


@dataclass(frozen=True)
class WrittenRows:
    """What became of the rows of a table: ``rows`` = ``written`` + ``left_out`` + ``held_back``."""

    source: str
    table: str
    rows: int
    written: int
    left_out: int
    held_back: int


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote.

    Parameters
    ----------
    data_set : str
        Name of the mapping.
    rows : dict of str to int
        Rows written to each source.
    notes : tuple of str
        What stands in for what was not delivered.
    read : tuple of TableRows
    alone : tuple of RowsAlone
        One for each join that some rows have no partner in.
    written : tuple of WrittenRows
        One for each ``[[write]]``.
    unused : dict of str to tuple of str
        Columns of each file that the mapping does not name.
    beside : tuple of str
        Files of the folder that other mappings wrote, or this one under another name.
    """

    data_set: str
    rows: dict[str, int]
    notes: tuple[str, ...]
    read: tuple[TableRows, ...]
    alone: tuple[RowsAlone, ...]
    written: tuple[WrittenRows, ...]
    unused: dict[str, tuple[str, ...]]
    beside: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [
            f"read    {one.table:<14} {one.rows:>12,} rows of {one.files} files"
            + (f", {one.held_back:,} held back" if one.held_back else "")
            for one in self.read
        ]
        for join in self.alone:
            rows = f"{join.alone:>12,} of {join.rows:,} rows without one of {join.other}"
            lines.append(f"joined  {join.table:<14} {rows}")
        for one in self.written:
            rest = [f"{one.left_out:,} left out by when"] if one.left_out else []
            rest += [f"{one.held_back:,} held back"] if one.held_back else []
            beside = f" ({', '.join(rest)})" if rest else ""
            lines.append(f"wrote   {one.source:<14} {one.written:>12,} of {one.rows:,} rows of {one.table}{beside}")
        lines += [f"unused  {file}: {', '.join(names)}" for file, names in self.unused.items()]
        lines += [f"beside  {path}: of another mapping; limitlens check reads it too" for path in self.beside]
        return [*lines, *(f"note: {note}" for note in self.notes)]
