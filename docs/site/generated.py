"""What is written by nobody: the help of every command, and the words that customers and reviewers read."""

import importlib
from collections.abc import Callable, Iterable, Sequence

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from limitlens.features.reasons import REASONS
from limitlens.limits.verdict import VERDICT_CODES
from limitlens.pipeline.answers.customer import MOVE_WORDS, OUTCOME_WORDS
from limitlens.pipeline.answers.why_text import VERBS
from limitlens.pipeline.cli import app as command_line
from limitlens.pipeline.serving.words import CODES_ZH, verb

logger = logging.getLogger(__name__)

#: Packages that hand out names.
PACKAGES = [f"limitlens.{name}" for name in ("data", "data.world", "features", "models", "limits", "pipeline")]

_Command = TyperCommand | TyperGroup


class Commands(SphinxDirective):
    """``{commands}``: a section a command, as its ``--help`` says it."""

    def run(self) -> list[nodes.Node]:
        """Sections in the order of ``limitlens --help``."""
        return [_command("limitlens", name, command) for name, command in get_command(command_line).commands.items()]


def _command(parent: str, name: str, command: _Command) -> nodes.section:
    path = f"{parent} {name}"
    section = nodes.section("", nodes.title("", path), ids=[path.replace(" ", "-")], names=[path])
    context = command.make_context(path, [], resilient_parsing=True)
    section += [_paragraph(part) for part in (command.help or "").split("\n\n")]
    section += nodes.literal_block("", f"{path} {' '.join(command.collect_usage_pieces(context))}", language="none")
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    if records:
        section += nodes.definition_list("", *(_definition(*record) for record in records))
    section += [_command(path, inner, one) for inner, one in getattr(command, "commands", {}).items()]
    return section


def _paragraph(text: str) -> nodes.Element:
    """A paragraph, its example as code."""
    words = " ".join(text.split())
    if words.startswith("Example: "):
        example = words.removeprefix("Example: ")
        return nodes.literal_block(example, example, language="console")
    return nodes.paragraph("", words)


def _definition(term: str, meaning: str) -> nodes.definition_list_item:
    return nodes.definition_list_item(
        "", nodes.term("", "", nodes.literal("", term)), nodes.definition("", nodes.paragraph("", meaning))
    )


class Words(SphinxDirective):
    """``{words} KIND``: what is said, in both languages, beside the code that stands in the record."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One table."""
        rows = [(_code(code), *map(_paragraph, words)) for code, *words in _WORDS[self.arguments[0]]()]
        head = tuple(map(_paragraph, ("code", "English", "简体中文")))
        return [_table(head, rows)]


def _code(text: str) -> nodes.Element:
    return nodes.paragraph("", "", nodes.literal("", text))


def _table(head: Sequence[nodes.Element], rows: Iterable[Sequence[nodes.Element]]) -> nodes.table:
    def row(cells: Sequence[nodes.Element]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", cell) for cell in cells))

    widths = (nodes.colspec(colwidth=1) for _ in head)
    body = nodes.tbody("", *map(row, rows))
    return nodes.table("", nodes.tgroup("", *widths, nodes.thead("", row(head)), body, cols=len(head)))


_Rows = Iterable[tuple[str, str, str]]

#: Kind → its rows: code, English, 简体中文.
_WORDS: dict[str, Callable[[], _Rows]] = {
    "reasons": lambda: ((code, *words) for code, words in REASONS.items()),
    "moves": lambda: ((stem, english, f"{does}{what}") for stem, (english, does, what) in MOVE_WORDS.items()),
    "outcomes": lambda: ((action, *words) for action, words in OUTCOME_WORDS.items()),
    "actions": lambda: ((action, verb(action, "en"), verb(action, "zh")) for action in VERBS),
    "verdicts": lambda: (
        (f"{verdict}: {code}", english, CODES_ZH[code])
        for verdict, codes in VERDICT_CODES.items()
        for code, english in codes.items()
    ),
}


def _check_exports(_: Sphinx, env: BuildEnvironment) -> None:
    """Warn of names that a package hands out and no page describes."""
    described = {name.rpartition(".")[2] for name in env.domains.python_domain.objects}
    for package in PACKAGES:
        for name in set(importlib.import_module(package).__all__) - described:
            logger.warning("%s.%s stands on no page", package, name, location="docs/reference/python")


def setup(app: Sphinx) -> dict[str, bool]:
    """Join in."""
    app.connect("env-check-consistency", _check_exports)
    app.add_directive("commands", Commands)
    app.add_directive("words", Words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
