"""Commands about the ledger."""

from typing import Annotated

import typer

from limitlens.pipeline import replay as replaying
from limitlens.pipeline.cli.common import DEFAULT_WORKSPACE, WorkspaceOption, app, progress
from limitlens.pipeline.workspace import Workspace

ledger_app = typer.Typer(help="Check the ledger: its chain of hashes, and that every decision can be replayed.")


app.add_typer(ledger_app, name="ledger", no_args_is_help=True)


@ledger_app.command()
def verify(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Check every file and every link of the chain; name the first that is broken.

    Example: limitlens ledger verify
    """
    space = Workspace(workspace)
    space.events.verify()
    typer.echo(f"{space.ledger.verify():,} runs, every link holds")


@ledger_app.command()
def replay(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Rebuild recorded decisions from the events as they were known, and compare them to the last bit.

    Example: limitlens ledger replay
    """
    count = replaying.replay(Workspace(workspace), progress, account)
    typer.echo(f"{count:,} decisions replayed, all equal")
