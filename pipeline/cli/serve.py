"""The commands that serve pages: the reviewer's desk, and MLflow's."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limitlens.data.lock import expect_workspace
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    AnyWorkspaceOption,
    IdKeyOption,
    WorkspaceOption,
    app,
    key_for,
    predict_only,
    progress,
)

if TYPE_CHECKING:
    from limitlens.data.pseudonyms import IdKey
    from limitlens.pipeline.workspace import Workspace


@app.command()
def serve(
    people: Annotated[
        Path | None, typer.Option("--reviewers", help="TOML file of people; without it all read and nobody writes.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen at.")] = 8_420,
    name: Annotated[
        list[str] | None, typer.Option(help="Name under which a proxy hands it on; may be given again.")
    ] = None,
    key: Annotated[bool, typer.Option("--new-key", help="Print a key for a person, and end.")] = False,
    id_key: IdKeyOption = None,
    workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Serve the reviewer's desk: cases, lines, verdicts and holds as pages, on this machine alone.

    Example: limitlens serve --reviewers people.toml
    """
    from limitlens.pipeline.serving.people import digest_of, new_key, read_people

    if key:
        made = new_key()
        typer.echo(f'key, for the person alone: {made}\nkey_sha256 = "{digest_of(made)}"')
        return
    expect_workspace(workspace)
    known = read_people(people) if people else {}
    predict_only()
    import uvicorn

    from limitlens.pipeline.reviewing.cases import last_run
    from limitlens.pipeline.serving.app import desk_app
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    last_run(space)  # there is something to show
    hosts = ["localhost", "127.0.0.1", "[::1]", host, *(name or ())]
    served = desk_app(space, known, lambda: datetime.now(UTC), hosts, id_key=_id_key(space, id_key))
    progress(f"http://{host}:{port}, for {f'{len(known)} people' if known else 'everybody on this machine, read only'}")
    uvicorn.run(served, host=host, port=port, log_level="warning", server_header=False)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen at.")] = 5_000,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Serve MLflow's pages of the workspace, on this machine alone: runs, curves, reports, versions.

    Who can reach the port can also rename and delete runs there; the ledger is not affected.

    Example: limitlens ui
    """
    import os

    from limitlens.pipeline.tracking import page_address, server_command
    from limitlens.pipeline.workspace import Workspace

    store = Workspace(workspace).mlflow
    command = server_command(store, port)
    progress(page_address(store, port))
    os.execv(command[0], command)  # noqa: S606 (our own interpreter; whoever ends this command ends the server)


def _id_key(space: "Workspace", given: Path | None) -> "IdKey | None":
    """The key by which a search finds the pseudonym of an id, if it is at hand."""
    from limitlens.data.events import PLAIN
    from limitlens.data.id_key import default_key_path, expect_ids

    if space.events.ids() == PLAIN or not (given or default_key_path(space.root)).exists():
        return None
    if key := key_for(space, given):
        expect_ids(space.events, key)
    return key
