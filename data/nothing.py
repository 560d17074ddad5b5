"""Words for nothing: what systems write where a value is missing, and what would pass for a value."""

#: As they are written; in an id in small or capital letters alike, in a description only so (Nan is a town).
WORDS = (
    "NULL",
    "Null",
    "null",
    "(null)",
    "None",
    "none",
    "NaN",
    "nan",
    "NaT",
    "N/A",
    "n/a",
    "NA",
    "#N/A",
    "<NA>",
    "nil",
    "undefined",
)

#: Further ones that no id is.
_ID_WORDS = (*WORDS, "unknown", "missing")

#: Nothing but zeros and dashes, as in a device id that was withheld, or -1: codes where customers share an id.
_CODES = r"[0\-]+|-1"


def said_nothing(sql: str) -> str:
    """SQL condition: a description is empty or a word for nothing."""
    listed = ", ".join(f"'{word}'" for word in ("", *WORDS))
    return f"{sql} IN ({listed})"


def names_nothing(sql: str, *, shared: bool) -> str:
    """SQL condition: an id is a word for nothing.

    Parameters
    ----------
    sql : str
        The id.
    shared : bool
        Customers may have it in common, so that a code for nothing would tie all of them together.
    """
    words = "|".join(sorted({word.lower() for word in _ID_WORDS}))
    words = words.replace("(", "[(]").replace(")", "[)]")
    return rf"regexp_full_match({sql}, '(?i)[\s\p{{Z}}]*({words}{'|' + _CODES if shared else ''})[\s\p{{Z}}]*')"
