"""Recorded files written again without the rows of some accounts; what other accounts' features count of them stays.

How many accounts use a device, or send money to a payee, is a feature of each of them. So a row of an erased account
that links it to another one stays as a bare link: when, and to what, under a name that stands for nobody and for one
device or payee only. All else of it goes.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.damage import naming_damage
from limitlens.data.storage import ROW_GROUP_ROWS, parquet_stream

#: What a bare link keeps, besides the column that links and its name.
KEPT = ("event_time", "known_time", "delivered_known_time", "kind", "retracted", "event_no", "correction")

#: Takes some rows of a file and gives what is left of them.
Change = Callable[[pa.Table], pa.Table]


def rewrite(path: Path, change: Change) -> None:
    """Write a Parquet file again, changed row by row; a reader sees the old one or the new one.

    Raises
    ------
    IntegrityError
        It is missing or damaged.
    WorkspaceError
        The disk is full.
    """
    with naming_damage((OSError, pa.ArrowException), lambda: [path]):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    schema = file.schema_arrow.remove_metadata() if b"pandas" in (file.schema_arrow.metadata or {}) else None
    with file, parquet_stream(schema or file.schema_arrow, path, max(groups, default=ROW_GROUP_ROWS)) as write:
        for piece in _pieces(file, path):
            write(change(piece).cast(schema or file.schema_arrow))


def _pieces(file: pq.ParquetFile, path: Path) -> Iterator[pa.Table]:
    with naming_damage((OSError, pa.ArrowException), lambda: [path]):
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def without(accounts: Collection[str]) -> Change:
    """Rows of all other accounts."""
    return lambda rows: rows.filter(pc.invert(_is_any(rows["account_id"], accounts)))


def with_links(
    accounts: Collection[str],
    column: str,
    names: Mapping[tuple[str, str], str],
    numbers: Collection[int],
    stale: Collection[int],
) -> Change:
    """Rows of all other accounts, and bare links of these.

    Parameters
    ----------
    accounts : collection of str
    column : str
        What links accounts.
    names : mapping of (account, value of the column) to str
        Who stands there in place of the account; of an event that has no such value by now, the name of an empty one.
    numbers : collection of int
        ``event_no`` of the events that stay; a version of them whose value is none of these stays without one.
    stale : collection of int
        ``event_no`` of bare links that go.
    """

    def change(rows: pa.Table) -> pa.Table:
        if stale:
            rows = rows.filter(pc.invert(pc.is_in(rows["event_no"], pa.array(sorted(stale), pa.int64()))))
        mine = _is_any(rows["account_id"], accounts)
        if not pc.any(mine).as_py():
            return rows
        stays = pc.and_(mine, pc.is_in(rows["event_no"], pa.array(sorted(numbers), pa.int64())))
        keep = pc.or_(pc.invert(mine), stays)
        bare, left = pc.filter(stays, keep).to_numpy(zero_copy_only=False), rows.filter(keep)
        return _stripped(left, bare, column, names) if bare.any() else left

    return change


def _stripped(rows: pa.Table, bare: np.ndarray, column: str, names: Mapping[tuple[str, str], str]) -> pa.Table:
    """Rows of which some are bare links."""
    places = np.flatnonzero(bare)
    old = {name: rows[name].to_pylist() for name in ("account_id", "event_id", column)}
    for place in places:
        value = old[column][place]
        name = names.get((old["account_id"][place], value))
        old[column][place] = value if name else None
        old["account_id"][place] = name or names[old["account_id"][place], ""]
        old["event_id"][place] = f"{old['account_id'][place]}-{rows['event_no'][int(place)].as_py()}"
    mask = pa.array(bare)
    for index, field in enumerate(rows.schema):
        if field.name in old:
            rows = rows.set_column(index, field, pa.array(old[field.name], field.type))
        elif field.name not in KEPT:
            rows = rows.set_column(index, field, pc.if_else(mask, pa.scalar(None, field.type), rows[field.name]))
    return rows


def spellings(account_id: str) -> tuple[str, str]:
    r"""An id as it is, and as JSON may write it.

    Examples
    --------
    >>> spellings("户1")
    ('户1', '\\u62371')
    """
    return account_id, json.dumps(account_id)[1:-1]


def names_any(accounts: Collection[str]) -> re.Pattern[str]:
    """Finds one of some ids in a text, where it stands for itself and is not part of a longer one.

    Examples
    --------
    >>> bool(names_any(["A1"]).search('{"account_id": "A1"}')), bool(names_any(["A1"]).search("A12"))
    (True, False)
    """
    if not accounts:
        return _NOTHING
    return re.compile(rf"(?<![^\W_]){_one_of(accounts)}(?![^\W_])")


def names_among_figures(accounts: Collection[str]) -> re.Pattern[str]:
    """:func:`names_any` for a text with figures in it: an id that could be one of them counts between quotes only.

    Examples
    --------
    >>> pattern = names_among_figures(["10", "A1"])
    >>> [bool(pattern.search(text)) for text in ('{"account": "10"}', "num_leaves=10", "A1 called")]
    [True, False, True]
    """
    figures = {account for account in accounts if _FIGURE.fullmatch(account)}
    if not figures:
        return names_any(accounts)
    quoted = f'(?<="){_one_of(figures)}(?=")'
    return re.compile(f"{names_any(set(accounts) - figures).pattern}|{quoted}")


#: An id that could be a figure.
_FIGURE = re.compile(r"[\d.,+-]+")

_NOTHING = re.compile(r"(?!)")


def _one_of(accounts: Collection[str]) -> str:
    spelt = {spelling for account in accounts for spelling in spellings(account)}
    return f"(?:{'|'.join(re.escape(one) for one in sorted(spelt, key=lambda one: (-len(one), one)))})"


def names_one(accounts: Collection[str], others: Callable[[str], bool]) -> Callable[[pa.Table], pa.Array]:
    """Finds the rows of a quarantine that name one of some accounts: by their id, or anywhere in what was delivered.

    Parameters
    ----------
    accounts : collection of str
    others : callable
        Whether an id is that of another line: a row that it was delivered with is that line's.

    Returns
    -------
    callable
        Takes rows of the quarantine and gives a boolean for each.
    """
    pattern = names_any(accounts)

    def names(account: str | None, event: str | None, text: str) -> bool:
        if (account or "").strip() in accounts:
            return True
        return not (account is not None and others(account)) and bool(pattern.search(f"{event} {text}"))

    def find(rows: pa.Table) -> pa.Array:
        columns = (rows[name].to_pylist() for name in ("account_id", "event_id", "row_json"))
        return pa.array([names(*cells) for cells in zip(*columns, strict=True)], pa.bool_())

    return find


def _is_any(ids: pa.ChunkedArray, accounts: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(ids, pa.array(sorted(accounts), pa.string()))
