"""Commands about who answers for a version: the inventory, and what a reviewer signs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ReasonOption,
    SignKeyOption,
    WaitOption,
    WorkspaceOption,
    app,
    patient,
    pem,
    predict_only,
    print_json,
    print_table,
)


@app.command()
def inventory(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List every version with its policy, developer, reviewer and state, and when it is to be reviewed next.

    The exit code is 3 when the review of the live version is overdue.

    Example: limitlens inventory --json
    """
    from rich.table import Table

    from limitlens.pipeline.release.inventory import inventory as versions_of
    from limitlens.pipeline.workspace import Workspace

    rows = versions_of(Workspace(workspace), datetime.now(UTC))
    overdue = [row for row in rows if row.overdue]
    if as_json:
        print_json([asdict(row) for row in rows])
    elif not rows:
        typer.echo("no version yet\nnext: limitlens train")
    else:
        shown = Table("version", "state", "policy", "developer", "promoted", "reviewer", "next review", box=None)
        for row in rows:
            promoted = f"{row.promoted} by {row.promoted_by}" if row.promoted else ""
            reviewer = f"{row.reviewer}, {row.reviewed}" if row.reviewer else "nobody"
            due = f"{row.review_due}{', OVERDUE' if row.overdue else ''}"
            policy = f"{row.policy} {row.policy_digest[:8]}"
            shown.add_row(row.model_version, row.state, policy, row.developer, promoted, reviewer, due)
        print_table(shown, "promoted", "reviewer")
        for row in rows:
            for signed in row.sign_offs:
                typer.echo(f"version {row.model_version}: {signed}")
        for row in overdue:
            typer.echo(f"the review of version {row.model_version} was due by {row.review_due}")
    if overdue:
        raise typer.Exit(3)


@app.command("sign-off")
def sign_off(
    version: Annotated[str, typer.Argument(help="Model version.")],
    by: Annotated[str, typer.Option("--by", help="Who reviewed it; not the developer.")],
    verdict: Annotated[Literal["approve", "reject"], typer.Option(help="What the review came to.")],
    reason: ReasonOption,
    sign_key: SignKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign what is recorded of a version: its model, its policy and its validation.

    With sign_off in [release] of the policy, promote asks for it. The same call again records nothing.

    Example: limitlens sign-off 2 --by "Chen Wei" --verdict approve --reason "report read, tail in order"
    """
    predict_only()
    from limitlens.pipeline.release.sign_off import sign_off as sign_version_off
    from limitlens.pipeline.workspace import Workspace

    with patient(wait):
        signed = sign_version_off(
            Workspace(workspace), version, by, verdict, reason, at=datetime.now(UTC), key=pem(sign_key)
        )
    if as_json:
        print_json(asdict(signed))
        return
    typer.echo(f"version {version}: {verdict} by {signed.actor}, of what has the sha256 {signed.sha256}")
    if verdict == "approve":
        typer.echo(f"next: limitlens promote {version} --reviewer NAME")
