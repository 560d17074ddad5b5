"""Persons: the ids by which two lenders know the same customer. They come from files, and are never stored."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from limitlens.data.contracts import Column, Source
from limitlens.data.delivery import read_delivered
from limitlens.data.errors import InputError

_PERSON = Column("person_id", "string", "identifies a customer at both lenders, such as a hashed number of an id card")

#: A file of the lender's own customers; one of several lines has a row for each.
CUSTOMERS = Source(
    "customers",
    "Who the lender's lines belong to.",
    (_PERSON, Column("account_id", "string", "the line, as it is delivered")),
    key=("person_id", "account_id"),
)

#: A file of the persons whom a lender warns of.
RISK_LIST = Source("risk_list", "Persons whom the lender warns of.", (_PERSON,), key=("person_id",))


def read_customers(path: Path) -> dict[str, list[str]]:
    """Accounts of each person of a file of :data:`CUSTOMERS`.

    Returns
    -------
    dict of str to list of str
        By id as :func:`canonical` gives it.

    Raises
    ------
    InputError
        The file cannot be read, or a row has no id or no account.
    """
    accounts: dict[str, list[str]] = {}
    persons, lines = _columns(path, CUSTOMERS)
    for person, account in zip(canonical(persons), lines, strict=True):
        accounts.setdefault(person, []).append(account)
    return accounts


def read_risk_list(path: Path) -> set[str]:
    """Ids of a file of :data:`RISK_LIST`, as :func:`canonical` gives them.

    Raises
    ------
    InputError
        The file cannot be read, or a row has no id.
    """
    [persons] = _columns(path, RISK_LIST)
    return set(canonical(persons))


def canonical(persons: Iterable[str]) -> list[str]:
    """Ids as both lenders write them: one form of each letter (Unicode NFKC), no space around them, capitals.

    Examples
    --------
    >>> canonical([" 11010519491231002x", "１１０１０５１９４９１２３１００２Ｘ"])
    ['11010519491231002X', '11010519491231002X']
    """
    return [unicodedata.normalize("NFKC", person).strip().upper() for person in persons]


def _columns(path: Path, source: Source) -> list[list[str]]:
    delivered = read_delivered(path, path.name, source)
    columns: list[list[str | None]] = [
        delivered.table[name].cast("string").to_pylist() for name in source.column_names()
    ]
    empty = sum(not all(cell and cell.strip() for cell in row) for row in zip(*columns, strict=True))
    if broken := empty + len(delivered.ragged):
        raise InputError(
            f"{path.name}: {broken:,} rows without a whole {' and '.join(source.column_names())}; fill or drop them."
        )
    return [[cell for cell in column if cell] for column in columns]
