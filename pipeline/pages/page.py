"""Pages from templates: what is filled in is escaped, except the plots."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd

from limitlens.limits.finding import Finding, Level, level_of
from limitlens.pipeline.pages.amounts import money, value, with_sign
from limitlens.pipeline.pages.small_cells import published


@dataclass(frozen=True)
class Section:
    """One section: a heading, what it says in words, a table whose cells are shown as they print, plots by caption.

    ``findings``: what is outside of its bounds; none: all is within, None: the section has no bound. ``names`` are
    columns of the table that hold names: they stay as they are on the Chinese page, for which every other text needs
    its line in ``templates/chinese.toml``.
    """

    title: str
    text: str
    table: pd.DataFrame | None = None
    plots: Sequence[tuple[str, str]] = ()
    findings: Sequence[Finding] | None = None
    names: Sequence[str] = ()

    @property
    def level(self) -> Level | None:
        """The worst of its findings; None of a section without a bound."""
        return None if self.findings is None else level_of(self.findings)

    def numeric(self) -> list[bool]:
        """Which columns are set as numbers, one below the other: those of short cells, one of them a number.

        Examples
        --------
        >>> cells = {"a": ["1.2%", "under 10"], "b": ["kept", "–"], "c": ["3 lines were closed at once", ""]}
        >>> Section("", "", pd.DataFrame(cells)).numeric()
        [True, False, False]
        """
        cells = [] if self.table is None else [[str(cell) for cell in column] for _, column in self.table.items()]
        return [any(map(_is_number, one)) and max(map(len, one)) <= _SHORT for one in cells]


#: Letters of a cell that may stand in a column of numbers.
_SHORT = 24


def _is_number(cell: str) -> bool:
    return cell[:1] in {*"0123456789+-−"}


def verdict_of(sections: Sequence[Section]) -> dict[str, Any]:
    """The verdict of a report and of each of its sections, as plain data.

    Parameters
    ----------
    sections : sequence of Section

    Returns
    -------
    dict
        ``level``, and ``sections``: of each its ``title``, ``level`` (null: it has no bound) and ``findings``.
    """
    return {
        "level": level_of(finding for section in sections for finding in section.findings or ()),
        "sections": [
            {
                "title": section.title,
                "level": section.level,
                "findings": [asdict(finding) for finding in section.findings or ()],
            }
            for section in sections
        ],
    }


def titled(plot: str, title: str) -> str:
    """A plot as a picture with a title, for whoever does not see it.

    Examples
    --------
    >>> titled('<svg width="9"><g/></svg>', "PD < 5%")
    '<svg role="img" width="9"><title>PD &lt; 5%</title><g/></svg>'
    """
    head, _, body = plot.partition(">")
    picture = head.replace("<svg", '<svg role="img"', 1)
    return f"{picture}><title>{escape(title)}</title>{body}"


def render(template: str, context: dict[str, Any]) -> str:
    """Fill in a template of this package; a name that is missing is an error.

    Parameters
    ----------
    template : str
        File below ``templates``; a page in HTML is escaped.
    context : dict
    """
    return _environment(template.endswith(".html.j2")).get_template(template).render(context)


def render_in_pieces(template: str, context: dict[str, Any]) -> Iterator[str]:
    """:func:`render` piece by piece: what an iterator in the context has not said yet holds up only what follows."""
    return _environment(template.endswith(".html.j2")).get_template(template).generate(context)


@cache
def _environment(html: bool) -> jinja2.Environment:
    """Templates of one kind, HTML or text; each is read and compiled once."""
    folder = files("limitlens.pipeline.pages") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        autoescape=html,  # noqa: S701 - what is no HTML is text for a terminal or a file
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=not html,
    )
    environment.filters |= {
        "money": money,
        "signed": lambda cents: money(cents, signed=True),
        "value": value,
        "count": lambda number: f"{number:,}",
        "with_sign": with_sign,
        "clock": lambda time: time.replace("T", " ")[:16],
        "published": published,
        "percent": lambda share: f"{share:.2%}",
        "titled": titled,
    }
    return environment
