"""The command that looks at a released model month by month."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from limitlens.pipeline.cli.common import (
    ALARM,
    DEFAULT_WORKSPACE,
    JsonOption,
    PolicyOption,
    ThreadsOption,
    WorkspaceOption,
    app,
    moment,
    policy_in,
    predict_only,
    print_json,
    progress,
)


@app.command()
def monitor(
    until: Annotated[
        datetime | None,
        typer.Option(parser=moment, help="The month that ended then or before; default: the last one decided."),
    ] = None,
    months: Annotated[int, typer.Option(min=1, max=60, help="Months to look back on.")] = 12,
    out: Annotated[Path | None, typer.Option(help="Write a page over time, too (HTML).")] = None,
    policy: PolicyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a released model: shifts, roll rates, expected and realised bads and AUC, overrides, complaints.

    The exit code is 9 when the last month raises an alarm, as the section monitoring of the policy says. Nothing is
    recorded.

    Example: limitlens monitor --out monitoring.html
    """
    given = policy_in(policy)
    predict_only()
    from limitlens.pipeline.answers.monitor import monitor as look
    from limitlens.pipeline.answers.monitor_page import write_monitoring
    from limitlens.pipeline.workspace import Workspace

    settings = given.alarms if given else None
    monitored = look(Workspace(workspace), until=until, months=months, settings=settings, progress=progress)
    if out:
        write_monitoring(monitored, out)
    if as_json:
        print_json(monitored.to_dict())
    else:
        for line in monitored.lines():
            typer.echo(line)
        if out:
            typer.echo(f"open {out}")
    if monitored.last.alarms:
        raise typer.Exit(ALARM)
