"""Commands about the default-risk model and its iterations."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limitlens.data.errors import LimitlensError
from limitlens.data.lock import expect_workspace
from limitlens.data.resources import MEMORY_LIMIT
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    AnyWorkspaceOption,
    ConfigOption,
    EngineOption,
    JsonOption,
    LakeOption,
    LangOption,
    MemoryOption,
    PolicyOption,
    ReasonOption,
    SignKeyOption,
    ThreadsOption,
    UntilOption,
    WaitOption,
    WithoutOption,
    WorkspaceOption,
    app,
    expect_spark,
    moment,
    page_name,
    patient,
    pem,
    policy_in,
    predict_only,
    print_json,
    print_table,
    progress,
    settings_in,
    stderr,
)
from limitlens.pipeline.pages.amounts import money

if TYPE_CHECKING:
    from rich.table import Table

    from limitlens.pipeline.deciding.score import ScoreLines
    from limitlens.pipeline.release.compare import Compared
    from limitlens.pipeline.workspace import Workspace


@app.command()
def labels(
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; default: labels.html, or labels.zh-CN.html, in the workspace."),
    ] = None,
    lang: LangOption = "en",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Justify the label: roll rates between buckets of days past due, and vintage curves, as tables and plots.

    Example: limitlens labels --out labels.html --lang zh
    """
    import pandas as pd
    from rich.table import Table

    from limitlens.pipeline.training.label_report import ROLL_MONTHS, write_label_report
    from limitlens.pipeline.workspace import Workspace

    path = out or workspace / page_name("labels", lang)
    rolls, vintages = write_label_report(Workspace(workspace), settings_in(config), path, progress, language=lang)
    if as_json:
        print_json({"roll_rates": rolls.reset_index().to_dict("records"), "vintages": vintages.to_dict()})
        return
    shown = Table(f"days past due, and {ROLL_MONTHS} months later", "lines", *rolls.columns[:-1], box=None)
    for name, row in rolls.iterrows():
        shares = ["–" if pd.isna(value) else f"{value:.1%}" for value in row.iloc[:-1]]
        shown.add_row(str(name), f"{row['lines']:,.0f}", *shares)
    print_table(shown)
    typer.echo(f"open {path}")


@app.command()
def train(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    config: ConfigOption = None,
    policy: PolicyOption = None,
    until: UntilOption = None,
    without: WithoutOption = None,
    developer: Annotated[str | None, typer.Option(help="Who trains; default: the user of the machine.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train and validate an iteration; it becomes the challenger.

    Meanwhile the book can be decided; only at the end another run in progress is waited for.

    Example: limitlens train --config conf/train.toml
    """
    settings, given = settings_in(config, without), policy_in(policy)
    from limitlens.pipeline.training.train import train as train_iteration
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    trained = train_iteration(
        space,
        settings,
        given or space.policy_in_force(),
        developer=developer or getpass.getuser(),
        until=until,
        progress=progress,
    )
    if as_json:
        print_json(vars(trained))
        return
    print_table(_validation_table(trained.validation))
    for doubt in trained.validation["doubts"]:
        stderr.print(f"warning: {doubt}", style="yellow", soft_wrap=True)
    typer.echo(f"version {trained.model_version} is @challenger")
    if trained.validation["doubts"]:
        typer.echo("next: deliver more history, or limitlens promote --override-by NAME --reason TEXT")
    else:
        typer.echo("next: limitlens promote --reviewer NAME")


@app.command()
def tune(
    out: Annotated[Path, typer.Option(help="TOML file for the best settings.")] = Path("tuned.toml"),
    trials: Annotated[int, typer.Option(min=1, help="Trials in all; a study that was interrupted goes on.")] = 30,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the settings of the model: by log loss on accounts it has not seen, in the latest month.

    Example: limitlens tune --trials 30 --out tuned.toml
    """
    settings = settings_in(config)
    from limitlens.pipeline.training.tune import tune as tune_settings
    from limitlens.pipeline.workspace import Workspace

    with patient(wait):
        tuned = tune_settings(Workspace(workspace), settings, trials, out, until=until, progress=progress)
    if as_json:
        print_json(asdict(tuned))
        return
    typer.echo(f"{tuned.trials:,} trials, {tuned.pruned:,} of them ended early; settings in {out}")
    typer.echo(f"log loss {tuned.loss:.5f}, with the settings it began with {tuned.first_loss:.5f}")
    typer.echo(f"next: limitlens train --config {out}")


def _validation_table(validation: dict[str, Any]) -> "Table":
    from rich.table import Table

    metrics = validation["metrics"]
    shown = Table(validation["kind"], "", box=None)
    for name in ("rows", "bads"):
        shown.add_row(name, f"{metrics[name]:,}")
    for name in ("auc", "ks", "gini", "brier"):
        shown.add_row(name.upper() if name != "brier" else "Brier", f"{metrics[name]:.4f}")
    shown.add_row("bad, observed", f"{metrics['observed_share']:.2%}")
    shown.add_row("bad, expected", f"{metrics['expected_share']:.2%}")
    flags = validation["false_positives"]
    shown.add_row("cut on paper", f"{flags['flagged']:,}, of them good {flags['false_positives']:,}")
    return shown


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="Model version; default: the one trained last.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who reviewed it; not the developer.")] = None,
    override_by: Annotated[
        str | None,
        typer.Option(help="Who lets it pass above the budget or in spite of doubts; the policy names one."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is recorded.")] = None,
    sign_key: SignKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion, unless it would move more than the policy allows.

    The first version of a workspace is recorded as bootstrap. A later one is compared with the champion on the whole
    book, as limitlens compare shows it.

    Example: limitlens promote 2 --reviewer "Chen Wei"
    """
    from limitlens.limits.finding import recorded_findings
    from limitlens.pipeline.release.promote import Override
    from limitlens.pipeline.release.promote import promote as promote_version
    from limitlens.pipeline.workspace import Workspace

    if override_by is not None and reason is None:
        raise LimitlensError("an override needs both --override-by NAME and --reason TEXT.")
    key, space = pem(sign_key), Workspace(workspace)
    override = Override(override_by, reason, key) if override_by and reason else None
    with patient(wait):
        chosen, kind = promote_version(
            space,
            reviewer,
            datetime.now(UTC),
            version,
            reason=reason,
            override=override,
            key=key,
            progress=progress,
        )
    decided = [finding.text for _, finding in recorded_findings(space.validation(chosen)) if not finding.blocks]
    if as_json:
        print_json({"model_version": chosen, "kind": kind, "decided": decided})
        return
    for text in decided:
        typer.echo(f"the promotion decides: {text}")
    typer.echo(f"version {chosen} is @champion ({kind})\nnext: limitlens decide")


@app.command()
def rollback(
    reviewer: Annotated[str, typer.Option(help="Who decides it.")],
    reason: ReasonOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Make the champion before this one the champion again.

    Example: limitlens rollback --reviewer "Chen Wei" --reason "closes good students"
    """
    from limitlens.pipeline.release.promote import rollback as roll_back
    from limitlens.pipeline.workspace import Workspace

    with patient(wait):
        version = roll_back(Workspace(workspace), reviewer, reason, datetime.now(UTC))
    typer.echo(f"version {version} is @champion again\nnext: limitlens decide")


@app.command()
def withdraw(
    version: Annotated[str, typer.Argument(help="Model version.")],
    reason: ReasonOption,
    actor: Annotated[
        str | None, typer.Option("--by", help="Who withdraws it; default: the user of the machine.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Take a version out of use: nothing is scored, decided or promoted with it any more.

    Example: limitlens withdraw 2 --reason "trained on a doubled feed"
    """
    from limitlens.pipeline.release.promote import withdraw as withdraw_version
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    with patient(wait):
        withdraw_version(space, version, actor or getpass.getuser(), reason, datetime.now(UTC))
    typer.echo(f"version {version} is withdrawn")
    if space.registry.champion() == version:
        typer.echo("it is the champion; next: limitlens rollback --reviewer NAME --reason TEXT")


@app.command()
def compare(
    old: Annotated[str, typer.Argument(help="Model version.")],
    new: Annotated[str, typer.Argument(help="Model version.")],
    policy: Annotated[Path | None, typer.Option(help="Policy file in place of the new version's.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the whole book under two versions: whose limits would move, who is newly cut, was it right, and why.

    Nothing is recorded. The exit code is 3 when the budget of the old version's policy is exceeded.

    Example: limitlens compare 1 2
    """
    from limitlens.pipeline.release.compare import compare as compare_versions
    from limitlens.pipeline.workspace import Workspace

    compared = compare_versions(Workspace(workspace), old, new, policy=policy_in(policy), progress=progress)
    if as_json:
        print_json(compared.to_dict())
    else:
        _show_comparison(compared)
    if compared.breaches:
        raise typer.Exit(3)


def _show_comparison(compared: "Compared") -> None:
    from rich.table import Table

    from limitlens.limits.comparison import WOULD_MOVE

    today, matured = f"{compared.today:%Y-%m-%d}", f"{compared.matured:%Y-%m-%d}"
    shown = Table(
        "segment", "lines", "would move", "raised", "cut", "closed early", "good", "newly cut", "no longer", box=None
    )
    for name, row in compared.comparison.segments.to_dict("index").items():
        moved = f"{row['moved']:,} ({row['moved_share']:.1%})"
        cut = f"{row['good_newly_cut']:,} ({row['good_newly_cut_share']:.2%})"
        raised, lowered = (money(int(row[f"{way}_cents"]), signed=True) for way in ("raised", "cut"))
        counts = [f"{row[name]:,}" for name in ("newly_closed_early", "good")]
        shown.add_row(
            str(name), f"{row['lines']:,}", moved, raised, lowered, *counts, cut, f"{row['good_no_longer_cut']:,}"
        )
    typer.echo(f"limits of {today} under version {compared.new} instead of {compared.old}; good lines of {matured}")
    typer.echo(f"{WOULD_MOVE} (moved since: limitlens iterations show {compared.new})")
    print_table(shown)
    swaps = Table(f"cut at {matured} by", "lines", "good", "bad", box=None)
    for name, row in compared.comparison.swaps.to_dict("index").items():
        swaps.add_row(str(name), *(f"{value:,}" for value in row.values()))
    print_table(swaps)
    by = compared.comparison.moved_by
    typer.echo(f"would move by the model alone {by['model']:,}, by the policy alone {by['policy']:,}")
    if len(compared.drivers):
        driving = ", ".join(f"{row.feature} {row.mean_change:+.3f}" for row in compared.drivers.head(6).itertuples())
        typer.echo(f"what moves them, in log-odds: {driving}")
    for breach in compared.breaches:
        typer.echo(f"over the budget: {breach}")
    if compared.breaches:
        typer.echo(f"only the {compared.approver} may promote it all the same")


iterations_app = typer.Typer(
    help="List versions with what each changed; show one; train one again from its record.", invoke_without_command=True
)


app.add_typer(iterations_app, name="iterations")


@iterations_app.callback()
def iterations(
    context: typer.Context, workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """List every version: what it changed, who promoted it, how many limits moved since.

    Example: limitlens iterations
    """
    from rich.table import Table

    from limitlens.pipeline.release.iterations import MOVED_SINCE, iterations_of
    from limitlens.pipeline.workspace import Workspace

    if context.invoked_subcommand:
        return
    expect_workspace(workspace)
    rows = iterations_of(Workspace(workspace))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        typer.echo("no version yet\nnext: limitlens train")
        return
    shown = Table("version", "status", "changed", "decisions", "moved since", box=None)
    for row in rows:
        moved = f"{row.changes:,} ({money(row.model_cents + row.policy_cents, signed=True)})"
        shown.add_row(row.model_version, row.status, ", ".join(row.changed), f"{row.decisions:,}", moved)
    print_table(shown, "changed")
    typer.echo(MOVED_SINCE)


@iterations_app.command("show")
def show_iteration(
    name: Annotated[str, typer.Argument(metavar="VERSION", help="Model version, or MLflow run that trained it.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show one version, with the limits moved since.

    Example: limitlens iterations show 2
    """
    from limitlens.pipeline.release.iterations import MOVED_SINCE, iteration_named
    from limitlens.pipeline.workspace import Workspace

    row = iteration_named(Workspace(workspace), name)
    if as_json:
        print_json(asdict(row))
        return
    typer.echo(f"version {row.model_version} {f'({row.status}) ' if row.status else ''}by {row.developer}")
    typer.echo(f"  MLflow run   {row.mlflow_run_id}")
    typer.echo(f"  changed      {', '.join(row.changed) or 'nothing before it'}")
    for promotion in row.promotions:
        typer.echo(f"  promoted     {promotion}")
    typer.echo(f"  decisions    {row.decisions:,}")
    typer.echo(f"  moved since  {row.changes:,}")
    typer.echo(f"    model      {money(row.model_cents, signed=True)}")
    typer.echo(f"    policy     {money(row.policy_cents, signed=True)}")
    typer.echo(f"{MOVED_SINCE} (would move: limitlens compare OLD {row.model_version})")


@iterations_app.command("repeat")
def repeat_iteration(
    name: Annotated[str, typer.Argument(metavar="VERSION", help="Model version, or MLflow run that trained it.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Train a version again from its MLflow record, and compare the models character by character.

    Nothing is recorded. The exit code is 3 when they differ.

    Example: limitlens iterations repeat 2
    """
    from limitlens.pipeline.release.iterations import repeat
    from limitlens.pipeline.workspace import Workspace

    if not repeat(Workspace(workspace), name, progress):
        typer.echo(f"the model is not the one of {name}: another LightGBM, or other hardware?")
        raise typer.Exit(3)
    typer.echo("the same model, to the last character")


@app.command()
def score(
    as_of: Annotated[datetime, typer.Option(parser=moment, help="Moment at which the book is scored.")],
    out: Annotated[Path, typer.Option(help="Parquet file for the scores.")] = Path("scores.parquet"),
    model: Annotated[str | None, typer.Option(help="Model version; default: the champion.")] = None,
    engine: EngineOption = "duckdb",
    lake: LakeOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    memory: MemoryOption = MEMORY_LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Write the PD of every line of the book, from file to file in bounded memory; nothing is decided.

    Executors of Spark give the same file: --engine spark --lake s3a://lender/limitlens.

    Example: limitlens score --as-of 2026-07-01 --out scores.parquet
    """
    expect_spark(engine, lake)
    predict_only()
    from limitlens.data.engine import limit_memory
    from limitlens.pipeline.deciding.score import score as score_book
    from limitlens.pipeline.workspace import Workspace

    limit_memory(memory)
    space = Workspace(workspace)
    with _lines_scored(space, engine, lake) as score_lines:
        scored = score_book(space, as_of, out, model_version=model, score_lines=score_lines, progress=progress)
    if as_json:
        print_json(asdict(scored))
        return
    how = ", as a backtest: the training labels reach past this date" if scored.backtest else ""
    typer.echo(f"{scored.rows:,} lines scored by version {scored.model_version}{how}, in {out}")
    if scored.limit_zero:
        typer.echo(f"note: {scored.limit_zero:,} lines have limit 0, stand in no book and were not scored")


@contextmanager
def _lines_scored(space: "Workspace", engine: str, lake: str | None) -> "Iterator[ScoreLines]":
    """What scores the lines of the book."""
    if engine == "duckdb":
        from limitlens.pipeline.deciding.score import scored_here

        yield scored_here
        return
    from limitlens.pipeline.deciding.score_on_spark import scored_on_spark

    with scored_on_spark(space, lake) as score_lines:
        yield score_lines
