"""The command that takes a delivery back."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from limitlens.data.calendar import format_time
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ReasonOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    app,
    patient,
    predict_only,
    print_json,
)
from limitlens.pipeline.pages.amounts import money


@app.command("withdraw-load")
def withdraw_load(
    load: Annotated[str, typer.Argument(help="Its number, such as 0003; limitlens check printed it.")],
    actor: Annotated[str, typer.Option("--by", help="Who orders it.")],
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a delivery back: nothing is deleted, decisions to come do not see it, and those that stood on it are listed.

    Example: limitlens withdraw-load 0003 --by "Chen Wei" --reason "the file of another year"
    """
    predict_only()
    from dataclasses import asdict

    from limitlens.pipeline.deciding.stood_on import stood_on
    from limitlens.pipeline.withdraw_load import withdraw_load as withdraw
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    with patient(wait):
        done = withdraw(space, load, at=datetime.now(UTC), actor=actor, reason=reason)
    decisions = stood_on(space, done.holds)
    if as_json:
        rows = decisions.astype(object).where(decisions.notna(), None).to_dict("records")
        print_json(asdict(done) | {"decisions": rows})
        return
    rows_by_source = ", ".join(f"{count:,} of {source}" for source, count in done.rows.items()) or "no rows"
    typer.echo(f"load {done.withdraws} taken back by load {done.load}: {rows_by_source}")
    for row in decisions.to_dict("records"):
        typer.echo(
            f"{format_time(row['as_of'].to_pydatetime())}  {row['account_id']}  {row['action']:<8}  "
            f"{money(row['limit_before_cents'])} → {money(row['limit_cents'])}  without the load: "
            f"{row['known_now_action']}, {money(row['known_now_limit_cents'])}"
        )
    typer.echo(f"{len(decisions):,} decisions would have been others")
    for hold in done.holds if len(decisions) else ():
        if not done.released:
            typer.echo(f"hold {hold} waits for the person whom the policy names: limitlens holds release {hold}")
        typer.echo(f"made good where they did harm: limitlens holds restore {hold} --by NAME --reason TEXT")
