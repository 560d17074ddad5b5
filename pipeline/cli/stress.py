"""The command that stresses the book."""

from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limitlens.data.errors import WorkspaceError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    ThreadsOption,
    WorkspaceOption,
    app,
    moment,
    predict_only,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from rich.table import Table

    from limitlens.pipeline.stressing.answer import Stressed
    from limitlens.pipeline.workspace import Workspace


@app.command()
def stress(
    scenarios: Annotated[
        Path | None, typer.Option(help="Scenarios (TOML); default: conf/stress.toml as it ships.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Name of one scenario.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, help="Decisions to stress; default: the last of the whole book.")
    ] = None,
    economy: Annotated[
        Path | None, typer.Option(help="CSV file with macro series: a column month, and one of numbers each.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Page for a committee; in Chinese beside it, as NAME.zh-CN.html.")] = Path(
        "stress.html"
    ),
    periodic: Annotated[
        bool, typer.Option("--periodic", help="Only say whether a stress test is due; exit code 1 when it is.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the book again under each scenario: lines moved, credit removed, expected loss before and after.

    What came out is recorded in the ledger and in MLflow with the digests of all it stood on; no line is changed.

    Example: limitlens stress --out stress.html
    """
    from limitlens.limits.stress_scenarios import read_scenarios
    from limitlens.pipeline.workspace import default_scenarios

    chosen = scenarios or default_scenarios()
    asked = () if periodic else read_scenarios(chosen, only)
    if not any(one.resample == "customers" for one in asked):
        predict_only()
    from limitlens.pipeline.stressing.stress import record
    from limitlens.pipeline.stressing.stress import stress as stressed_by
    from limitlens.pipeline.stressing.stress_report import write_stress_report
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    if periodic:
        _remind(space)
        return
    began = perf_counter()
    stressed = stressed_by(space, asked, folder=chosen.parent, as_of=as_of, economy=economy, progress=progress)
    pages = write_stress_report(stressed, space.policy(stressed.policy_digest), out)
    record(space, stressed, datetime.now(UTC), pages, began=began)
    if as_json:
        print_json(stressed.to_dict())
        return
    typer.echo(
        f"{stressed.lines:,} lines decided as of {stressed.as_of:%Y-%m-%d} by version {stressed.model_version}; "
        "without any shock every decision is the ledger's"
    )
    print_table(_table(stressed))
    for answer in stressed.answers:
        if counts := answer.by_chance():
            typer.echo(_chance(answer.scenario.name, len(answer.closed_in) - 1, counts))
    for name, why in stressed.refused.items():
        typer.echo(f"{name}: {why}")
    typer.echo(f"open {out}")


def _remind(space: "Workspace") -> None:
    from limitlens.limits.stress_tests import overdue, stress_tests

    tests, every_days = stress_tests(space.root), space.policy_in_force().stressing.every_days
    if due := overdue(tests, datetime.now(UTC), every_days):
        raise WorkspaceError(f"{due}; run limitlens stress.")
    typer.echo(f"the last stress test, of {tests[-1].made_at[:10]}, is less than {every_days + 1:,} days old")


def _severity(kind: str, severity: float) -> str:
    if severity and kind in {"iteration", "outage"}:
        return "a draw" if kind == "iteration" else "no holds" if severity == 1 else "holds"
    return f"{severity:g}"


def _chance(name: str, draws: int, counts: dict[str, Any]) -> str:
    share = f"; a draw closes {counts['closing_share']:.0%} of them" if counts["closed"] else ""
    return (
        f"{name}: the model in use closes {counts['closed']:,} lines, and fewer than half of {draws} draws "
        f"{counts['closed_by_fewer']:,} of these{share}. Lines it does not close: {counts['newly_closed']:,} closed in "
        f"the middle draw, {counts['newly_closed_most']:,} at most, {counts['others_by_half']:,} in half of the draws "
        "or more"
    )


def _table(stressed: "Stressed") -> "Table":
    from rich.table import Table

    from limitlens.pipeline.pages.amounts import money

    heads = ("severity", "closed", "frozen", "cut", "credit removed", "loss before", "unanswered", "answered")
    table = Table("scenario", box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, justify="right")
    for answer in stressed.answers:
        drawn = answer.scenario.kind == "iteration"
        for row in answer.totals("end"):
            if drawn and row["severity"] not in (0.0, answer.typical):
                continue
            amounts = ("credit_removed_cents", "loss_before_cents", "loss_unanswered_cents", "loss_after_cents")
            table.add_row(
                answer.scenario.name,
                _severity(answer.scenario.kind, row["severity"]),
                *(f"{row[name]:,}" for name in ("closed", "frozen", "cut")),
                *(money(row[name]) for name in amounts),
            )
    return table
