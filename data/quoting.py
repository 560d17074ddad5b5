"""Names and texts in SQL."""


def quoted(name: str) -> str:
    """A column name as SQL reads it."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(value: str) -> str:
    """A text as SQL reads it, for views, in which DuckDB takes no values."""
    return "'" + value.replace("'", "''") + "'"


def between(relation: str, first: str, last: str) -> str:
    """SELECT of the rows of a relation whose accounts lie between two; files skip most others.

    Examples
    --------
    >>> between("payment", "A1", "A2")
    "SELECT * FROM payment WHERE account_id BETWEEN 'A1' AND 'A2'"
    """
    return f"SELECT * FROM {relation} WHERE account_id BETWEEN {quoted_text(first)} AND {quoted_text(last)}"
