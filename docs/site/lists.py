"""Pages that list others: their bullets are the site's table of contents, and plain links on GitHub."""

import re

from sphinx.application import Sphinx

#: Where they stand; one a language.
LISTS = re.compile(r"docs/(?:(?:how-to|reference|zh)/)?(?:index|tutorial|how-to|reference|explanation|project)")

_BULLET = re.compile(r"^- \[([^\]]+)\]\(([^)#:]+)\.md\)", re.MULTILINE)


def with_contents(text: str) -> str:
    r"""The page, with the pages of its bullets as its contents.

    Examples
    --------
    >>> with_contents("# A\n\n- [Why](why.md): how to read it\n")
    '# A\n\n- [Why](why.md): how to read it\n\n```{toctree}\n:hidden:\n\nWhy <why>\n```\n'
    """
    entries = "".join(f"{title} <{page}>\n" for title, page in _BULLET.findall(text))
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{entries}```\n"


def _read(_: Sphinx, page: str, content: list[str]) -> None:
    if LISTS.fullmatch(page):
        content[0] = with_contents(content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Join in."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
