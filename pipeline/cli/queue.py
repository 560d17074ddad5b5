"""The command about the review queue."""

from datetime import datetime
from typing import Annotated

import typer

from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    app,
    moment,
    print_json,
    print_table,
)
from limitlens.pipeline.pages.amounts import money


@app.command()
def queue(
    date: Annotated[datetime | None, typer.Option(parser=moment, help="Date of the run; default: the last.")] = None,
    head: Annotated[int, typer.Option(min=1, help="Lines to show.")] = 20,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show the lines that wait for a review, in the order of the policy.

    Example: limitlens queue --date 2026-07-01
    """
    from rich.table import Table

    from limitlens.pipeline.deciding.review_queue import queue as review_queue
    from limitlens.pipeline.workspace import Workspace

    reviews = review_queue(Workspace(workspace), date)
    if as_json:
        print_json(reviews.to_dict())
        return
    shown = Table("place", "account", "PD", "limit", "avoidable loss", "fired rules", box=None)
    for row in reviews.lines.head(head).to_dict("records"):
        cents = [money(row[name]) for name in ("limit_cents", "avoidable_loss_cents")]
        shown.add_row(str(row["place"]), row["account_id"], f"{row['pd']:.2%}", *cents, ", ".join(row["fired_rules"]))
    print_table(shown, "fired rules")
    for text, count in reviews.lines["jumped_with"][reviews.lines["jumped_with"] != ""].value_counts().items():
        typer.echo(f"{count:,} of these: {text}; look at the data first")
    waiting = int((~reviews.lines["within_capacity"]).sum())
    typer.echo(
        f"{len(reviews.lines):,} reviews of {reviews.date}, {reviews.capacity_per_day:,} a day: {waiting:,} wait longer"
    )
