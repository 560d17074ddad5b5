"""The command line; the one place that reads the clock and prints."""

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import typer
from rich.console import Console
from rich.table import Column, Table

from limitlens.data.adapters import adapter
from limitlens.data.calendar import parse_time
from limitlens.data.check import check_events
from limitlens.data.corrupting import corrupt as corrupt_events
from limitlens.data.engine import MEMORY_LIMIT, limit_memory
from limitlens.data.errors import LimitlensError
from limitlens.data.fault_operators import OPERATORS
from limitlens.data.faults import Fault
from limitlens.data.spark import spark_sql
from limitlens.data.world import FUTURES, read_world
from limitlens.data.world import simulate as simulate_portfolio
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.listing import listed
from limitlens.features.script import sql_script
from limitlens.features.table import DUCKDB, Engine
from limitlens.limits.policy import Policy, read_policy
from limitlens.models.settings import TrainSettings, read_settings
from limitlens.pipeline import demo as demo_job
from limitlens.pipeline import replay as replaying
from limitlens.pipeline.compare import Compared
from limitlens.pipeline.compare import compare as compare_versions
from limitlens.pipeline.decide import Decided
from limitlens.pipeline.decide import decide as decide_limits
from limitlens.pipeline.feature_tables import feature_table
from limitlens.pipeline.iterations import iteration_named, iterations_of, repeat
from limitlens.pipeline.label_report import ROLL_MONTHS, write_label_report
from limitlens.pipeline.promote import Override
from limitlens.pipeline.promote import promote as promote_version
from limitlens.pipeline.promote import rollback as roll_back
from limitlens.pipeline.promote import withdraw as withdraw_version
from limitlens.pipeline.report import write_report
from limitlens.pipeline.score import score as score_book
from limitlens.pipeline.train import train as train_iteration
from limitlens.pipeline.training_table import build_training_table
from limitlens.pipeline.why import money, render
from limitlens.pipeline.why import why as explain
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

app = typer.Typer(
    help="Credit limits whose every change is split, to the cent, into behaviour, data, model, policy and time.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
ledger_app = typer.Typer(help="Check the ledger: its chain of hashes, and that every decision can be replayed.")
app.add_typer(ledger_app, name="ledger", no_args_is_help=True)

_stdout, _stderr = Console(), Console(stderr=True)


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a date or time; expected 2026-03-01 or 2026-03-01T10:30.") from error


WorkspaceOption = Annotated[Path, typer.Option("--workspace", "-w", help="Folder that holds everything of a project.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
UntilOption = Annotated[datetime | None, typer.Option(parser=_time, help="Use only what was known before this time.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy file; default: the one that was released.")]
ConfigOption = Annotated[Path | None, typer.Option(help="Training settings; default: those that ship with limitlens.")]

_DEFAULT_WORKSPACE = Path("limitlens-work")


def _progress(text: str) -> None:
    _stderr.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/dim]  {text}", highlight=False)


def _settings(config: Path | None) -> TrainSettings:
    return read_settings(config) if config else default_settings()


def _policy(path: Path | None) -> Policy | None:
    return read_policy(path) if path else None


def _print_json(body: Any) -> None:
    typer.echo(json.dumps(body, indent=1, ensure_ascii=False, default=str))


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the simulated events, the workspace and the report.")] = Path(
        "demo"
    ),
    accounts: Annotated[int, typer.Option(min=500, help="Lines to simulate.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 7,
) -> None:
    """Run the whole job on a simulated portfolio: events in, limit changes explained out.

    Example: limitlens demo
    """
    demo_job.run(out, accounts=accounts, seed=seed, now=datetime.now(UTC), progress=_progress, show=typer.echo)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the event tables.")],
    accounts: Annotated[int, typer.Option(min=1, help="Lines to simulate.")] = 6_000,
    months: Annotated[int, typer.Option(min=2, help="Months of history.")] = 18,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files, byte for byte.")] = 7,
    world: Annotated[
        Path | None, typer.Option(help="Causes, faults and their rates (TOML); default: conf/world.toml.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A cause that does not strike, such as takeover; may be repeated.")
    ] = None,
    futures: Annotated[int, typer.Option(min=0, help="Futures drawn for each true PD; 0: no true PD.")] = FUTURES,
) -> None:
    """Write a simulated portfolio as event tables, and what truly happened beside them under OUT/truth.

    Example: limitlens simulate events --accounts 6000 --months 18 --seed 7
    """
    report = simulate_portfolio(
        out,
        accounts=accounts,
        months=months,
        seed=seed,
        world=read_world(world) if world else None,
        without=without or (),
        futures=futures,
        progress=_progress,
    )
    for name, rows in report.rows.items():
        typer.echo(f"{name:<16} {rows:>12,} rows")
    for cause, count in report.episodes.items():
        typer.echo(f"{cause:<16} {count:>12,} episodes")
    typer.echo(f"next: limitlens check {out}")


@app.command("import")
def import_set(
    name: Annotated[str, typer.Argument(help="taiwan or superlender.")],
    src: Annotated[Path, typer.Argument(help="Folder with the files of the set.")],
    out: Annotated[Path, typer.Argument(help="Folder for the event tables.")],
) -> None:
    """Turn a public data set into event tables.

    Example: limitlens import taiwan data/taiwan taiwan-events
    """
    report = adapter(name)(src, out)
    for source, rows in report.rows.items():
        typer.echo(f"{source:<12} {rows:>12,} rows")
    for note in report.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"next: limitlens check {out}")


def _pair(text: str) -> tuple[str, str]:
    column, sign, value = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r} is not COLUMN=VALUE; expected something like channel=atm.")
    return column, value


_OPERATORS = "; ".join(f"{name}: {operator.meaning}" for name, operator in OPERATORS.items())


@app.command()
def corrupt(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with one folder a source.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the same tables with the fault in them.")],
    fault: Annotated[str, typer.Option(help=f"{_OPERATORS}.")],
    event_source: Annotated[str, typer.Option("--source", help="consumption, payment or device.")],
    share: Annotated[float, typer.Option(help="Share of the accounts, or of the rows, that are hit.")] = 1.0,
    by: Annotated[Literal["account", "row"], typer.Option(help="What the share counts.")] = "account",
    kinds: Annotated[list[str] | None, typer.Option("--kind", help="Only this kind; give it again for more.")] = None,
    only: Annotated[
        list[Any] | None,
        typer.Option(parser=_pair, metavar="COLUMN=VALUE", help="Only rows with this value; again: and with that."),
    ] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", parser=_time, help="Only rows known from then on.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", parser=_time, help="Only rows known before.")] = None,
    column: Annotated[
        str | None, typer.Option(help="Column that nulls, sentinel and category_recoded hit; default: the usual one.")
    ] = None,
    recall: Annotated[float, typer.Option(help="Share of the touched events that are repaired.")] = 1.0,
    repair_days: Annotated[
        float, typer.Option(help="Days from the end of the batch, or the row, to the repair.")
    ] = 6.0,
    seed: Annotated[int, typer.Option(help="Another seed hits others.")] = 0,
) -> None:
    """Copy event tables with a fault of the feed in them; OUT/truth names the touched rows. Several: call it again.

    Example: limitlens corrupt events broken --fault unit_x100 --source consumption --share 0.1 --kind draw
    """
    chosen = Fault(
        fault,
        event_source,
        share=share,
        by=by,
        kinds=tuple(kinds or ()),
        only=tuple(only or ()),
        start=start,
        end=end,
        column=column,
        recall=recall,
        repair_days=repair_days,
        seed=seed,
    )
    for line in corrupt_events(source, out, [chosen], _progress).lines():
        typer.echo(line)
    typer.echo(f"next: limitlens check {out}")


@app.command()
def check(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder with one folder a source.")],
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Read event tables into the workspace; what breaks the contract is quarantined, with file, row and rule.

    Example: limitlens check events
    """
    space = Workspace(workspace)
    report = check_events(source, space.events, decided_until=space.ledger.decided_until(), progress=_progress)
    if as_json:
        _print_json(report.to_dict())
        return
    for line in report.lines():
        typer.echo(line)
    typer.echo("next: limitlens build")


@app.command()
def build(
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    config: ConfigOption = None,
    until: UntilOption = None,
    as_of: Annotated[
        datetime | None, typer.Option(parser=_time, help="Build only the features of the whole book at this time.")
    ] = None,
    engine: Annotated[Literal["duckdb", "spark"], typer.Option(help="What computes the features.")] = "duckdb",
    memory: Annotated[str, typer.Option(help="DuckDB spills to disk above it.")] = MEMORY_LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Build the point-in-time training table: features, state and label at every matured month.

    What stands there already is brought up to date: after a further load, only the lines it touched are computed.

    Example: limitlens build
    """
    limit_memory(memory)
    space, settings = Workspace(workspace), _settings(config)
    with _engine(engine) as chosen:
        if as_of:
            _build_book(space, settings, as_of, chosen, as_json)
            return
        table = build_training_table(space, settings, until, _progress, engine=chosen)
    counts = table.rows.groupby(["as_of", "split"])["bad"].agg(["size", "sum"]).reset_index()
    body = [
        {"as_of": str(row["as_of"]), "split": row["split"], "rows": int(row["size"]), "bads": int(row["sum"])}
        for row in counts.to_dict("records")
    ]
    if as_json:
        _print_json({"features": len(table.features.columns), "digest": table.features.digest, "as_ofs": body})
        return
    shown = Table("as of", "split", "lines", "bads", box=None)
    for row in body[:40]:
        shown.add_row(row["as_of"][:10], row["split"], f"{row['rows']:,}", f"{row['bads']:,}")
    _stdout.print(shown)
    if len(body) > 40:
        typer.echo(f"… and {len(body) - 40:,} more as-of times")
    typer.echo(f"{len(table.rows):,} rows × {len(table.features.columns)} features\nnext: limitlens train")


@contextmanager
def _engine(name: str) -> Iterator[Engine]:
    if name == "duckdb":
        yield DUCKDB
        return
    with spark_sql() as run:
        yield Engine("spark", run)


def _build_book(space: Workspace, settings: TrainSettings, as_of: datetime, engine: Engine, as_json: bool) -> None:
    chosen = space.features(settings)
    relations = space.events.spark_relations() if engine.dialect == "spark" else None
    path = feature_table(space, chosen, as_of, relations=relations, engine=engine, progress=_progress)
    if as_json:
        _print_json({"features": len(chosen.columns), "digest": chosen.digest, "path": str(path)})
        return
    typer.echo(f"{len(chosen.columns)} features in {path}")


@app.command()
def features(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only features that contain every word: draw, network, late_payments.")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the query that computes them.")] = False,
    as_of: Annotated[
        datetime | None, typer.Option(parser=_time, help="As-of time of the query; default: today.")
    ] = None,
    engine: Annotated[Literal["duckdb", "spark"], typer.Option(help="Dialect of the query.")] = "duckdb",
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List the features, or print the SQL that computes them; with a workspace it runs by hand as it is.

    Example: limitlens features draw 30d --sql
    """
    found = [one for one in listed(CATALOGUE) if all(one.matches(word) for word in words or ())]
    if not found:
        raise LimitlensError(f"no feature contains {' and '.join(words or ())!r}; limitlens features lists all.")
    if sql:
        chosen = replace(CATALOGUE.only([one.name for one in found]), timezone=default_settings().timezone)
        store = Workspace(workspace).events
        relations = store.relations() if engine == "duckdb" and store.loads() else None
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        typer.echo(sql_script(chosen, as_of or today, relations=relations, dialect=engine), nl=False)
        return
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    shown = Table(Column("feature", no_wrap=True), "layer", "measures", "unit", "why", box=None)
    for one in found:
        shown.add_row(one.name, one.layer, one.measures, one.unit, one.why)
    _stdout.print(shown)
    typer.echo(f"{len(found):,} of {len(listed(CATALOGUE)):,} features")


@app.command()
def labels(
    out: Annotated[Path | None, typer.Option(help="HTML file; default: labels.html in the workspace.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Justify the label: roll rates between buckets of days past due, and vintage curves, as tables and plots.

    Example: limitlens labels --out labels.html
    """
    path = out or workspace / "labels.html"
    rolls, vintages = write_label_report(Workspace(workspace), _settings(config), path, _progress)
    if as_json:
        _print_json({"roll_rates": rolls.reset_index().to_dict("records"), "vintages": vintages.to_dict()})
        return
    shown = Table(f"days past due, and {ROLL_MONTHS} months later", "lines", *rolls.columns[:-1], box=None)
    for name, row in rolls.iterrows():
        shares = ["–" if pd.isna(value) else f"{value:.1%}" for value in row.iloc[:-1]]
        shown.add_row(str(name), f"{row['lines']:,.0f}", *shares)
    _stdout.print(shown)
    typer.echo(f"open {path}")


@app.command()
def train(
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    config: ConfigOption = None,
    policy: PolicyOption = None,
    until: UntilOption = None,
    developer: Annotated[str | None, typer.Option(help="Who trains; default: the user of the machine.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train and validate an iteration; it becomes the challenger.

    Example: limitlens train --config conf/train.toml
    """
    trained = train_iteration(
        Workspace(workspace),
        _settings(config),
        _policy(policy) or default_policy(),
        developer=developer or getpass.getuser(),
        until=until,
        progress=_progress,
    )
    if as_json:
        _print_json(vars(trained))
        return
    _stdout.print(_validation_table(trained.validation))
    typer.echo(f"version {trained.model_version} is @challenger\nnext: limitlens promote --reviewer NAME")


@app.command()
def tune(
    out: Annotated[Path, typer.Option(help="TOML file for the best settings.")] = Path("tuned.toml"),
    trials: Annotated[int, typer.Option(min=1, help="Trials in all; a study that was interrupted goes on.")] = 30,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    config: ConfigOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the settings of the model: by log loss on accounts it has not seen, in the latest month.

    Example: limitlens tune --trials 30 --out tuned.toml
    """
    from limitlens.pipeline.tune import tune as tune_settings  # noqa: PLC0415 - the search is slow to import

    tuned = tune_settings(Workspace(workspace), _settings(config), trials, out, until=until, progress=_progress)
    if as_json:
        _print_json(asdict(tuned))
        return
    typer.echo(f"{tuned.trials:,} trials, {tuned.pruned:,} of them ended early; settings in {out}")
    typer.echo(f"log loss {tuned.loss:.5f}, with the settings it began with {tuned.first_loss:.5f}")
    typer.echo(f"next: limitlens train --config {out}")


def _validation_table(validation: dict[str, Any]) -> Table:
    metrics = validation["metrics"]
    shown = Table(validation["kind"], "", box=None)
    for name in ("rows", "bads"):
        shown.add_row(name, f"{metrics[name]:,}")
    for name in ("auc", "ks", "gini", "brier"):
        shown.add_row(name.upper() if name != "brier" else "Brier", f"{metrics[name]:.4f}")
    shown.add_row("bad, observed", f"{metrics['observed_share']:.2%}")
    shown.add_row("bad, expected", f"{metrics['expected_share']:.2%}")
    found = validation["false_positives"]
    shown.add_row("cut on paper", f"{found['flagged']:,}, of them good {found['false_positives']:,}")
    return shown


ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="Model version; default: the one trained last.")] = None,
    reviewer: Annotated[str | None, typer.Option(help="Who reviewed it; not the developer.")] = None,
    override_by: Annotated[
        str | None, typer.Option(help="Who lets it move more than the budget of the policy; the policy says who may.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why the budget is overridden; it is recorded.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion, unless it would move more than the policy allows.

    The first version of a workspace is recorded as bootstrap. A later one is compared with the champion on the whole
    book, as limitlens compare shows it.

    Example: limitlens promote 2 --reviewer "Chen Wei"
    """
    if (override_by is None) != (reason is None):
        raise LimitlensError("an override needs both --override-by NAME and --reason TEXT.")
    override = Override(override_by, reason) if override_by and reason else None
    chosen, kind = promote_version(
        Workspace(workspace), reviewer, datetime.now(UTC), version, override=override, progress=_progress
    )
    if as_json:
        _print_json({"model_version": chosen, "kind": kind})
        return
    typer.echo(f"version {chosen} is @champion ({kind})\nnext: limitlens decide")


@app.command()
def rollback(
    reviewer: Annotated[str, typer.Option(help="Who decides it.")],
    reason: ReasonOption,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
) -> None:
    """Make the champion before this one the champion again.

    Example: limitlens rollback --reviewer "Chen Wei" --reason "closes good students"
    """
    version = roll_back(Workspace(workspace), reviewer, reason, datetime.now(UTC))
    typer.echo(f"version {version} is @champion again\nnext: limitlens decide")


@app.command()
def withdraw(
    version: Annotated[str, typer.Argument(help="Model version.")],
    reason: ReasonOption,
    actor: Annotated[
        str | None, typer.Option("--by", help="Who withdraws it; default: the user of the machine.")
    ] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
) -> None:
    """Take a version out of use: nothing is scored, decided or promoted with it any more.

    Example: limitlens withdraw 2 --reason "trained on a doubled feed"
    """
    space = Workspace(workspace)
    withdraw_version(space, version, actor or getpass.getuser(), reason, datetime.now(UTC))
    typer.echo(f"version {version} is withdrawn")
    if space.ledger.champion() == version:
        typer.echo("it is the champion; next: limitlens rollback --reviewer NAME --reason TEXT")


@app.command()
def compare(
    old: Annotated[str, typer.Argument(help="Model version.")],
    new: Annotated[str, typer.Argument(help="Model version.")],
    policy: Annotated[Path | None, typer.Option(help="Policy file in place of the new version's.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Decide the whole book under two versions: whose limits move, who is newly cut, was it right, and what drives it.

    Nothing is recorded. The exit code is 3 when the budget of the old version's policy is exceeded.

    Example: limitlens compare 1 2
    """
    compared = compare_versions(Workspace(workspace), old, new, policy=_policy(policy), progress=_progress)
    if as_json:
        _print_json(compared.to_dict())
    else:
        _show_comparison(compared)
    if compared.breaches:
        raise typer.Exit(3)


def _show_comparison(compared: Compared) -> None:
    today, matured = f"{compared.today:%Y-%m-%d}", f"{compared.matured:%Y-%m-%d}"
    shown = Table(
        "segment", "lines", "moved", "raised", "cut", "closed early", "good", "newly cut", "no longer", box=None
    )
    for name, row in compared.comparison.segments.iterrows():
        moved = f"{row['moved']:,} ({row['moved_share']:.1%})"
        cut = f"{row['good_newly_cut']:,} ({row['good_newly_cut_share']:.2%})"
        raised, lowered = (money(int(row[f"{way}_cents"]), signed=True) for way in ("raised", "cut"))
        counts = [f"{row[name]:,}" for name in ("newly_closed_early", "good")]
        shown.add_row(
            str(name), f"{row['lines']:,}", moved, raised, lowered, *counts, cut, f"{row['good_no_longer_cut']:,}"
        )
    _stdout.print(f"limits of {today} under version {compared.new} instead of {compared.old}; good lines of {matured}")
    _stdout.print(shown)
    swaps = Table(f"cut at {matured} by", "lines", "good", "bad", box=None)
    for name, row in compared.comparison.swaps.iterrows():
        swaps.add_row(str(name), *(f"{value:,}" for value in row))
    _stdout.print(swaps)
    by = compared.comparison.moved_by
    typer.echo(f"limits moved by the model alone {by['model']:,}, by the policy alone {by['policy']:,}")
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
    context: typer.Context, workspace: WorkspaceOption = _DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """List every version: what it changed, who promoted it, how many limits it moved.

    Example: limitlens iterations
    """
    if context.invoked_subcommand:
        return
    found = iterations_of(Workspace(workspace))
    if as_json:
        _print_json([asdict(row) for row in found])
        return
    shown = Table("version", Column("status", no_wrap=True), "changed", "decisions", "limits it moved", box=None)
    for row in found:
        moved = f"{row.changes:,} ({money(row.model_cents + row.policy_cents, signed=True)})"
        shown.add_row(row.model_version, row.status, ", ".join(row.changed), f"{row.decisions:,}", moved)
    _stdout.print(shown)


@iterations_app.command("show")
def show_iteration(
    name: Annotated[str, typer.Argument(metavar="VERSION", help="Model version, or MLflow run that trained it.")],
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show one version, with the limits that it moved.

    Example: limitlens iterations show 2
    """
    row = iteration_named(Workspace(workspace), name)
    if as_json:
        _print_json(asdict(row))
        return
    typer.echo(f"version {row.model_version} {f'({row.status}) ' if row.status else ''}by {row.developer}")
    typer.echo(f"  MLflow run   {row.mlflow_run_id}")
    typer.echo(f"  changed      {', '.join(row.changed) or 'nothing before it'}")
    for promotion in row.promotions:
        typer.echo(f"  promoted     {promotion}")
    typer.echo(f"  decisions    {row.decisions:,}")
    typer.echo(f"  limits moved {row.changes:,}")
    typer.echo(f"    model      {money(row.model_cents, signed=True)}")
    typer.echo(f"    policy     {money(row.policy_cents, signed=True)}")


@iterations_app.command("repeat")
def repeat_iteration(
    name: Annotated[str, typer.Argument(metavar="VERSION", help="Model version, or MLflow run that trained it.")],
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
) -> None:
    """Train a version again from its MLflow record, and compare the models character by character.

    Nothing is recorded. The exit code is 3 when they differ.

    Example: limitlens iterations repeat 2
    """
    if not repeat(Workspace(workspace), name, _progress):
        typer.echo(f"the model is not the one of {name}: another LightGBM, or other hardware?")
        raise typer.Exit(3)
    typer.echo("the same model, to the last character")


@app.command()
def score(
    as_of: Annotated[datetime, typer.Option(parser=_time, help="Moment at which the book is scored.")],
    out: Annotated[Path, typer.Option(help="Parquet file for the scores.")] = Path("scores.parquet"),
    model: Annotated[str | None, typer.Option(help="Model version; default: the champion.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write the PD of every line of the book, from file to file in bounded memory; nothing is decided.

    Example: limitlens score --as-of 2026-07-01 --out scores.parquet
    """
    scored = score_book(Workspace(workspace), as_of, out, model_version=model, progress=_progress)
    if as_json:
        _print_json(asdict(scored))
        return
    how = ", out of fold: the training labels reach past this date" if scored.backtest else ""
    typer.echo(f"{scored.rows:,} lines scored by version {scored.model_version}{how}, in {out}")


@app.command()
def decide(
    as_of: Annotated[
        datetime | None, typer.Option(parser=_time, help="Decide the whole book at this time only.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=_time, help="Last date of the calendar.")] = None,
    model: Annotated[str | None, typer.Option(help="Model version; default: the champion.")] = None,
    policy: PolicyOption = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Decide limits and attribute every change; default: up to the last month start the data reach.

    The book is decided at month starts, lines under a week old daily. The first call begins at the last month
    start but one.

    Example: limitlens decide --as-of 2026-07-01
    """
    decided = decide_limits(
        Workspace(workspace), as_of=as_of, until=until, model_version=model, policy=_policy(policy), progress=_progress
    )
    if as_json:
        _print_json(vars(decided))
        return
    for line in decision_lines(decided):
        typer.echo(line)
    typer.echo("next: limitlens why ACCOUNT, limitlens report")


def decision_lines(decided: Decided) -> list[str]:
    """What a call decided, for a terminal."""
    if not decided.decisions:
        return ["nothing to decide: every date the data reach is decided already"]
    lines = [
        f"{decided.decisions:,} decisions at {len(decided.dates)} dates, {decided.dates[0]} to {decided.dates[-1]}, "
        f"by version {decided.model_version} and policy {decided.policy_digest[:8]}"
        f"{', as a backtest' if decided.backtest else ''}",
        "  ".join(f"{action} {count:,}" for action, count in sorted(decided.actions.items())),
        f"{decided.changed:,} limits changed, {decided.changed - decided.split:,} of them at first decisions",
        f"{decided.attributed:,} attributed, {decided.split:,} limits changed since the one before, by cause:",
    ]
    lines += [f"  {player:<10} {money(cents, signed=True):>18}" for player, cents in decided.shares_cents.items()]
    lines += [f"note: rule {name} cannot fire: its source is absent" for name in decided.inactive_rules]
    return lines


@app.command()
def why(
    account: Annotated[str, typer.Argument(help="Account id.")],
    as_of: Annotated[
        datetime | None, typer.Option(parser=_time, help="Time of the decision; default: the last that mattered.")
    ] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Say why a limit changed, to the cent; the answer is replayed from the events first.

    Example: limitlens why A004242 --as-of 2026-06-14
    """
    answer = explain(Workspace(workspace), account, as_of)
    if as_json:
        _print_json(answer.to_dict())
    else:
        typer.echo(render(answer))


@app.command()
def report(
    out: Annotated[Path | None, typer.Option(help="HTML file; default: report.html in the workspace.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
) -> None:
    """Write the report: one HTML file with plots, readable without a network.

    Example: limitlens report --out report.html
    """
    path = write_report(Workspace(workspace), out or workspace / "report.html", _progress)
    typer.echo(f"open {path}")


@ledger_app.command()
def verify(workspace: WorkspaceOption = _DEFAULT_WORKSPACE) -> None:
    """Check every file and every link of the chain; name the first that is broken.

    Example: limitlens ledger verify
    """
    space = Workspace(workspace)
    space.events.verify()
    typer.echo(f"{space.ledger.verify():,} runs, every link holds")


@ledger_app.command()
def replay(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
) -> None:
    """Rebuild recorded decisions from the events as they were known, and compare them to the last bit.

    Example: limitlens ledger replay
    """
    count = replaying.replay(Workspace(workspace), _progress, account)
    typer.echo(f"{count:,} decisions replayed, all equal")


def main() -> None:
    """Run the command line; an error that a user can mend becomes one line and exit code 1."""
    try:
        app()
    except LimitlensError as error:
        _stderr.print(f"[bold red]error[/bold red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
