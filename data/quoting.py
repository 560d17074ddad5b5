"""Names and texts in SQL."""


def quoted(name: str) -> str:
    """A column name as SQL reads it."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(value: str) -> str:
    """A text as SQL reads it, for views, in which DuckDB takes no values."""
    return "'" + value.replace("'", "''") + "'"
