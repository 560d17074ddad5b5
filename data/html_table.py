"""A short table as a notebook shows it."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(caption: str, rows: Iterable[Sequence[object]], titles: Sequence[str] = ()) -> str:
    """A table in HTML; whatever stands in it is text, also where it reads like markup.

    Parameters
    ----------
    caption : str
        What it is about, in one line.
    rows : iterable of sequences
        The first cell of each names the others.
    titles : sequence of str
        One a column; none where the rows speak for themselves.

    Examples
    --------
    >>> html_table("A1", [("limit", "<b>")])
    '<table><caption>A1</caption><tbody><tr><th>limit</th><td>&lt;b&gt;</td></tr></tbody></table>'
    """
    head = f"<thead><tr>{''.join(_cell('th', title) for title in titles)}</tr></thead>" if titles else ""
    body = "".join(f"<tr>{_cell('th', first)}{''.join(_cell('td', one) for one in rest)}</tr>" for first, *rest in rows)
    return f"<table><caption>{escape(caption)}</caption>{head}<tbody>{body}</tbody></table>"


def _cell(tag: str, content: object) -> str:
    return f"<{tag}>{escape(str(content))}</{tag}>"
