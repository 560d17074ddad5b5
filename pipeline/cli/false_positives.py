"""The command about false positives."""

from pathlib import Path
from typing import Annotated

import typer

from limitlens.pipeline.cli.common import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, print_json


@app.command("false-positives")
def false_positives(
    horizon_months: Annotated[
        int | None, typer.Option(min=1, help="Months in which an outcome shows; default: that of the model's labels.")
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Write every flag with its outcome to this CSV file.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Measure how many good lines PD flags, on the holdout that is never cut, beside the naive figure.

    Example: limitlens false-positives --cases cases.csv
    """
    from limitlens.data.frames import to_arrow
    from limitlens.data.spreadsheet import write_csv
    from limitlens.pipeline.answers.false_positives import false_positives as measured
    from limitlens.pipeline.workspace import Workspace

    estimate = measured(Workspace(workspace), horizon_months)
    if cases is not None:
        write_csv(to_arrow(estimate.cases()), cases)
    if as_json:
        print_json(estimate.to_dict())
        return
    for line in estimate.lines():
        typer.echo(line)
    if cases is not None:
        typer.echo(f"{len(estimate.flags):,} flags: {cases}")
