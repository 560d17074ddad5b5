"""Commands for reviewers: the cases that wait, and what is said of them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from limitlens.data.calendar import format_time
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    NOTHING_TO_DO,
    IdKeyOption,
    JsonOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    cents,
    moment,
    patient,
    predict_only,
    print_json,
    print_table,
)
from limitlens.pipeline.pages.amounts import money

if TYPE_CHECKING:
    from limitlens.limits.rates import Rate

review_app = typer.Typer(help="Deal out the cases that ask for a person, and record what reviewers say of them.")


app.add_typer(review_app, name="review", no_args_is_help=True)

ReviewerOption = Annotated[str, typer.Option("--by", help="Name of the reviewer.")]
AtOption = Annotated[datetime | None, typer.Option(parser=moment, help="When; default: now.")]


@review_app.command("next")
def next_cases(
    reviewer: ReviewerOption = "",
    head: Annotated[int, typer.Option(min=1, help="Cases to show.")] = 10,
    at: AtOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the cases that wait, in the order of the policy; the exit code is 7 when none does.

    Example: limitlens review next --by "Chen Wei"
    """
    from rich.table import Table

    from limitlens.pipeline.reviewing.cases import cases
    from limitlens.pipeline.workspace import Workspace

    waiting = cases(Workspace(workspace), at or datetime.now(UTC), reviewer)
    lines = waiting.lines
    if as_json:
        print_json({"cases": lines.to_dict("records"), "set_aside": waiting.set_aside.to_dict("records")})
    elif len(lines):
        shown = Table("place", "account", "since", "state", "PD", "limit", "avoidable loss", "fired rules", box=None)
        for row in lines.head(head).to_dict("records"):
            amounts = [money(row[name]) for name in ("limit_cents", "avoidable_loss_cents")]
            state = f"{row['state']}{', by lot' if row['drawn'] else ''}"
            since = format_time(row["since"].to_pydatetime())
            fired = ", ".join(row["fired_rules"])
            shown.add_row(str(row["place"]), row["account_id"], since, state, f"{row['pd']:.2%}", *amounts, fired)
        print_table(shown, "fired rules")
    if not as_json:
        later = int((~lines["within_capacity"]).sum())
        typer.echo(
            f"{len(lines):,} cases, {waiting.policy.reviews.capacity_per_day:,} a day: {later:,} wait longer; "
            f"{len(waiting.set_aside):,} set aside"
        )
    if lines.empty:
        raise typer.Exit(NOTHING_TO_DO)


@review_app.command()
def show(
    account: Annotated[str, typer.Argument(help="Account id.")],
    reviewer: ReviewerOption = "",
    at: AtOption = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the case of a line: why it is here, what was said of it, and why it was decided so.

    Example: limitlens review show A004242
    """
    predict_only()
    from limitlens.pipeline.answers.why import why
    from limitlens.pipeline.answers.why_text import render
    from limitlens.pipeline.reviewing.cases import cases
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account = account_in(space, account, id_key)
    waiting = cases(space, at or datetime.now(UTC), reviewer)
    case = waiting.lines[waiting.lines["account_id"] == account]
    blind = len(case) and case["state"].iloc[0] == "blind"
    spoken = space.ledger.verdicts()
    spoken = spoken[(spoken["account_id"] == account) & ~spoken["blind"]].iloc[: 0 if blind else None]
    answer = why(space, account, case["as_of"].iloc[0].to_pydatetime() if len(case) else None)
    if as_json:
        print_json({"case": case.to_dict("records"), "verdicts": spoken.to_dict("records"), "why": answer.to_dict()})
        return
    for row in case.to_dict("records"):
        since = format_time(row["since"].to_pydatetime())
        typer.echo(f"case {row['state']} since {since}, place {row['place']} of {len(waiting.lines):,}\n")
    for row in waiting.set_aside[waiting.set_aside["account_id"] == account].to_dict("records"):
        typer.echo(f"set aside: {row['why']}\n")
    for row in spoken.to_dict("records"):
        time = format_time(row["at"].to_pydatetime())
        order = f", orders {row['action']}" if row["action"] else ""
        typer.echo(f"{time}  {row['actor']}: {row['verdict']} ({row['code']}){order}: {row['words']}")
    typer.echo(render(answer))


@review_app.command()
def decide(
    account: Annotated[str, typer.Argument(help="Account id.")],
    verdict: Annotated[str, typer.Argument(help="uphold, overturn, ask or wrong_data.")],
    code: Annotated[str, typer.Option(help="Why, in a word; a wrong one lists those there are.")],
    words: Annotated[str, typer.Option(help="What was seen.")],
    reviewer: Annotated[str, typer.Option("--by", help="Name of the reviewer.")],
    limit: Annotated[int | None, typer.Option(parser=cents, metavar="AMOUNT", help="Order a limit.")] = None,
    action: Annotated[str, typer.Option(help="In place of a limit, with uphold: freeze or close.")] = "",
    at: AtOption = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Record a verdict; what it orders holds from then on, and the next decision starts from it.

    Example: limitlens review decide A004242 overturn --code explained --words "moved house" --by "Chen Wei"
    """
    from limitlens.pipeline.reviewing.judge import judge
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account = account_in(space, account, id_key)
    order = "limit" if limit is not None else action
    with patient(wait):
        done = judge(
            space,
            account,
            verdict,
            code,
            words,
            actor=reviewer,
            at=at or datetime.now(UTC),
            action=order,
            limit_cents=limit,
        )
    if done.blind:
        typer.echo(f"{account}: {verdict} by {reviewer}, as a second look; it orders nothing")
    elif verdict == "ask":
        typer.echo(f"{account}: {reviewer} asks the customer; the case comes back when the time to answer is over")
    elif done.settles:
        typer.echo(f"{account}: {verdict} by {reviewer}, {done.action} as of {format_time(done.at)}")
    else:
        typer.echo(f"{account}: {verdict} by {reviewer}; {done.needed} reviewers have to agree, nothing is ordered yet")


@review_app.command()
def stats(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Say what reviewers found: how often each rule sent a case without need, and how far reviewers agree.

    Example: limitlens review stats
    """
    from limitlens.pipeline.reviewing.stats import review_stats
    from limitlens.pipeline.workspace import Workspace

    counts = review_stats(Workspace(workspace))
    if as_json:
        print_json(counts.to_dict())
        return
    typer.echo(", ".join(f"{name} {count:,}" for name, count in counts.verdicts.items()))
    typer.echo(
        f"{counts.settled:,} cases of {counts.customers:,} customers settled, {counts.again:,} of them more than once"
    )
    for name, rate in counts.in_favour.items():
        typer.echo(f"  in favour of the customer, {name}: {_rate(rate)}")
    for name, rate in counts.by_reviewer.items():
        typer.echo(f"  in favour of the customer, settled by {name}: {_rate(rate)}")
    double = counts.double
    if double.pairs:
        low, high = double.interval
        kappa = f"kappa {double.kappa:.2f} [{low:.2f}, {high:.2f}]"
        typer.echo(f"judged twice: {double.alike:,} of {double.pairs:,} alike, {kappa}")


def _rate(rate: "Rate") -> str:
    low, high = rate.interval
    return f"{rate.count:,} of {rate.of:,}: {rate.share:.1%} [{low:.1%}, {high:.1%}]" if rate.of else "none"
