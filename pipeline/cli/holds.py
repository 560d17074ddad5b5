"""Commands about holds: slices of the data that are suspect."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import typer

from limitlens.data.calendar import format_time
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    IdKeyOption,
    JsonOption,
    ReasonOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    moment,
    patient,
    predict_only,
    print_json,
)
from limitlens.pipeline.pages.amounts import money

holds_app = typer.Typer(help="List, open and release holds: slices of the data that no decision may rely on alone.")


app.add_typer(holds_app, name="holds", no_args_is_help=True)

ActorOption = Annotated[str, typer.Option("--by", help="Who orders it.")]


@holds_app.command("list")
def list_holds(
    every: Annotated[bool, typer.Option("--all", help="Those that were released, too.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List holds: which slice, since when, why, and how many lines wait for it.

    Example: limitlens holds list --all
    """
    from limitlens.pipeline.holds import list_holds as holds_of
    from limitlens.pipeline.workspace import Workspace

    rows = holds_of(Workspace(workspace), released=every)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        state = f"released {row['released_at']} by {row['released_by']}: {row['verdict']}" if row["verdict"] else "open"
        typer.echo(
            f"{row['hold']}  {row['scope']}, suspect since {row['since']}  {row['lines']:,} lines held  {state}\n"
            f"   opened {row['opened_at']} by {row['actor']}: {row['reason']}"
        )
    if not rows:
        typer.echo("no hold is in force")


@holds_app.command("open")
def open_one(
    source: Annotated[str, typer.Argument(help="consumption, payment, device or accounts.")],
    since: Annotated[datetime, typer.Option(parser=moment, help="Last moment before the fault.")],
    actor: ActorOption,
    reason: ReasonOption,
    kind: Annotated[str, typer.Option(help="Only this kind of event.")] = "",
    slice_: Annotated[str, typer.Option("--slice", metavar="COLUMN=VALUE", help="Only this slice.")] = "",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Hold a slice of a source: lines for which its rows make a difference stay as they are until it is released.

    Example: limitlens holds open payment --kind repayment --since 2026-06-21 --by "Chen Wei" --reason "no file came"
    """
    from limitlens.data.incident import scope_text
    from limitlens.limits.hold import Hold
    from limitlens.pipeline.holds import open_hold
    from limitlens.pipeline.workspace import Workspace

    column, equals, value = slice_.partition("=")
    if bool(column) != bool(equals and value):
        raise typer.BadParameter(f"{slice_!r} is not a slice; expected one such as city=Wuhan.")
    hold = Hold(source, since, datetime.now(UTC), actor, reason, kind, column, value)
    with patient(wait):
        number = open_hold(Workspace(workspace), hold)
    typer.echo(f"hold {number}: {scope_text(hold.scope)}, suspect since {format_time(since)}")


@holds_app.command()
def release(
    hold: Annotated[int, typer.Argument(help="Number of the hold.")],
    verdict: Annotated[
        Literal["repaired", "true"], typer.Option(help="The rows were mended and delivered again, or they were right.")
    ],
    actor: ActorOption,
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Release a hold; the lines it kept are decided again at the next date.

    Example: limitlens holds release 1 --verdict repaired --by "Chen Wei" --reason "file delivered again"
    """
    from limitlens.pipeline.holds import release_hold
    from limitlens.pipeline.workspace import Workspace

    with patient(wait):
        lines = release_hold(Workspace(workspace), hold, verdict, at=datetime.now(UTC), actor=actor, reason=reason)
    typer.echo(f"hold {hold} released ({verdict}) by {actor}; {lines:,} lines are decided again at the next date")


@holds_app.command()
def harmed(
    hold: Annotated[int, typer.Argument(help="Number of the hold.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """List adverse decisions after the fault that would be milder with all that is known today.

    Example: limitlens holds harmed 1
    """
    predict_only()
    from limitlens.pipeline.deciding.make_good import harmed as harmed_by
    from limitlens.pipeline.workspace import Workspace

    decisions = harmed_by(Workspace(workspace), hold)
    shown = [name for name in decisions.columns if not name.startswith("state")]
    if as_json:
        print_json(decisions[shown].astype(object).where(decisions[shown].notna(), None).to_dict("records"))
        return
    for row in decisions.to_dict("records"):
        limits = f"{money(row['limit_before_cents'])} → {money(row['limit_cents'])}"
        known = f"{row['known_now_action']}, {money(row['known_now_limit_cents'])}"
        time = format_time(row["as_of"].to_pydatetime())
        typer.echo(
            f"{time}  {row['account_id']}  {row['action']:<8}  {limits}  with what is known today: {known}"
            f"{'  left alone: a person or a later decision stands' if row['left_alone'] else ''}"
        )
    left = int((~decisions["left_alone"]).sum())
    typer.echo(f"{left:,} decisions to be made good: limitlens holds restore {hold} --by NAME --reason TEXT")


@holds_app.command()
def restore(
    hold: Annotated[int, typer.Argument(help="Number of the hold.")],
    actor: ActorOption,
    reason: ReasonOption,
    account: Annotated[list[str] | None, typer.Option(help="Only this account; may be given again.")] = None,
    at: Annotated[datetime | None, typer.Option(parser=moment, help="From when on; default: now.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
) -> None:
    """Make good what `holds harmed` lists: each line is as it was before the decision, timers too; closed ones reopen.

    Example: limitlens holds restore 1 --by "Chen Wei" --reason "repayments came late"
    """
    predict_only()
    from limitlens.pipeline.deciding.make_good import restore as restore_lines
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    accounts = [account_in(space, one, id_key) for one in account or ()]
    with patient(wait):
        done = restore_lines(
            space,
            hold,
            at=at or datetime.now(UTC),
            actor=actor,
            reason=reason,
            accounts=accounts,
        )
    for one in done:
        typer.echo(f"{one.account_id}: limit {money(one.limit_before_cents)} → {money(one.limit_cents)}")
    typer.echo(f"{len(done):,} decisions made good by {actor}")
