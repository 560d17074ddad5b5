"""The command line; the one room that reads the clock and prints."""

import sys

from rich.text import Text

from limitlens.data.errors import LimitlensError
from limitlens.pipeline.cli.common import app, progress, stderr

# ruff: isort: split
# In the order in which --help lists them.
from limitlens.pipeline.cli import data  # isort: split

from limitlens.pipeline.cli import models  # isort: split

from limitlens.pipeline.cli import policy  # isort: split

from limitlens.pipeline.cli import limits  # isort: split

from limitlens.pipeline.cli import queue  # isort: split

from limitlens.pipeline.cli import ledger

__all__ = ["app", "data", "ledger", "limits", "main", "models", "policy", "queue"]


def main() -> None:
    """Run the command line; an error that a user can mend becomes one line, with the exit code of its kind."""
    try:
        app()
    except LimitlensError as error:
        progress.end()
        stderr.print(Text.assemble(("error", "bold red"), " ", str(error)), soft_wrap=True)
        sys.exit(error.exit_code)
