"""The command line; the one room that reads the clock and prints."""

import codecs
import io
import sys

from rich.text import Text

from limitlens.data.errors import LimitlensError
from limitlens.pipeline.cli.common import app, progress, stderr

# ruff: isort: split
# In the order in which --help lists them.
from limitlens.pipeline.cli import data  # isort: split

from limitlens.pipeline.cli import quarantine  # isort: split

from limitlens.pipeline.cli import withdraw  # isort: split

from limitlens.pipeline.cli import models  # isort: split

from limitlens.pipeline.cli import inventory  # isort: split

from limitlens.pipeline.cli import policy  # isort: split

from limitlens.pipeline.cli import limits  # isort: split

from limitlens.pipeline.cli import watch  # isort: split

from limitlens.pipeline.cli import queue  # isort: split

from limitlens.pipeline.cli import review  # isort: split

from limitlens.pipeline.cli import serve  # isort: split

from limitlens.pipeline.cli import holds  # isort: split

from limitlens.pipeline.cli import notices  # isort: split

from limitlens.pipeline.cli import false_positives  # isort: split

from limitlens.pipeline.cli import stress  # isort: split

from limitlens.pipeline.cli import monitor  # isort: split

from limitlens.pipeline.cli import ledger  # isort: split

from limitlens.pipeline.cli import privacy  # isort: split

from limitlens.pipeline.cli import share

__all__ = [
    "app",
    "data",
    "false_positives",
    "holds",
    "inventory",
    "ledger",
    "limits",
    "main",
    "models",
    "monitor",
    "notices",
    "policy",
    "privacy",
    "quarantine",
    "queue",
    "review",
    "serve",
    "share",
    "stress",
    "watch",
    "withdraw",
]


#: What stands for a letter of ours that an encoding lacks; a minus must not become a question mark.
_PLAIN = {"−": "-", "–": "-", "→": "->", "·": "-", "×": "x", "…": "...", "≤": "<=", "≥": ">="}


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Letters an encoding lacks: those of :data:`_PLAIN`, or their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, c.encode("ascii", "backslashreplace").decode()) for c in lacking), error.end


def main() -> None:
    """Run the command line; an error that a user can mend becomes one line, with the exit code of its kind.

    It prints in whatever encoding the terminal has: GBK lacks the minus sign, Latin-1 all of Chinese.
    """
    codecs.register_error("limitlens", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="limitlens")
    try:
        app()
    except LimitlensError as error:
        progress.end()
        stderr.print(Text.assemble(("error", "bold red"), " ", str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
