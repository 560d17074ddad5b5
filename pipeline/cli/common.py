"""What every command shares: the application, options, progress on the error stream."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from limitlens.data.calendar import parse_time
from limitlens.limits.policy import Policy, read_policy
from limitlens.models.settings import TrainSettings, read_settings
from limitlens.pipeline.workspace import default_settings

app = typer.Typer(
    help="Credit limits whose every change is split, to the cent, into behaviour, data, model, policy and time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: Without markup: paths, ids and names of sections may hold brackets.
stdout, stderr = Console(markup=False), Console(stderr=True, markup=False)


def moment(text: str) -> datetime:
    """A date or time given as an option."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date or time; expected 2026-03-01 or 2026-03-01T10:30.") from error


WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder that holds everything of a project.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
UntilOption = Annotated[datetime | None, typer.Option(parser=moment, help="Use only what was known before this time.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file; default: the one that was released.")]
ConfigOption = Annotated[Path | None, typer.Option(help="Training settings; default: those that ship with limitlens.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]

DEFAULT_WORKSPACE = Path("limitlens-work")


def progress(text: str) -> None:
    """Tell on the error stream what is being done."""
    stderr.print(Text.assemble((f"{datetime.now(UTC):%H:%M:%S}", "dim"), "  ", text), soft_wrap=True)


def settings_in(config: Path | None) -> TrainSettings:
    """Training settings of a file, or those that ship."""
    return read_settings(config) if config else default_settings()


def policy_in(path: Path | None) -> Policy | None:
    """The policy of a file, if one is given."""
    return read_policy(path) if path else None


def print_json(body: Any) -> None:
    """JSON for programs."""
    typer.echo(json.dumps(body, indent=1, ensure_ascii=False, default=str))
