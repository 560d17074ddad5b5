"""Commands about the policy file."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limitlens.data.calendar import format_time
from limitlens.data.errors import ConfigError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    AnyWorkspaceOption,
    JsonOption,
    PolicyOption,
    ThreadsOption,
    WorkspaceOption,
    app,
    moment,
    policy_in,
    print_json,
    print_table,
    progress,
)
from limitlens.pipeline.pages.amounts import money

if TYPE_CHECKING:
    from rich.table import Table

    from limitlens.limits.policy import Policy
    from limitlens.pipeline.release.simulate_policy import Simulated, Simulation
    from limitlens.pipeline.workspace import Workspace

policy_app = typer.Typer(help="Check a policy file, show it in words, and say what another one would change.")


app.add_typer(policy_app, name="policy", no_args_is_help=True)

#: Heads of the tables by segment.
_HEADS = {
    "increase_below_pd": "raise",
    "review_above_pd": "review",
    "decrease_above_pd": "cut",
    "freeze_above_pd": "freeze",
    "close_above_pd": "close",
    "min_limit_cents": "least",
    "initial_limit_cents": "usual",
    "max_limit_cents": "most",
    "max_monthly_inflows": "inflows",
}


@policy_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Policy file.")], workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE
) -> None:
    """Refuse unknown keys, gaps, overlaps and contradictions, with the line.

    Example: limitlens policy check conf/policy.toml
    """
    from limitlens.features.catalogue import CATALOGUE
    from limitlens.features.line import line_column_names
    from limitlens.limits.policy_file import read_policy
    from limitlens.pipeline.workspace import Workspace, default_settings

    policy = read_policy(file)
    space = Workspace(workspace)
    if workspace.exists() and space.events.loads():
        space.check_rules(policy, space.feature_set(default_settings()))
    else:
        for column in sorted(policy.columns - {*CATALOGUE.columns, *line_column_names(CATALOGUE)}):
            typer.echo(f"note: {column} is not in the catalogue; an attribute of your accounts? give --workspace")
    typer.echo(
        f"policy {policy.name} ({policy.digest[:8]}) holds together: {len(policy.segments)} segments, "
        f"{len(policy.rules)} rules, {len(policy.delinquency)} buckets of days past due"
    )


@policy_app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[POLICY]", help="File or digest; default: the champion's, else the shipped."),
    ] = None,
    workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show a policy stage by stage: opening, behaviour, delinquency, and what holds for all.

    Example: limitlens policy show conf/policy.toml
    """
    from limitlens.limits.policy import SECTIONS
    from limitlens.pipeline.pages.policy_words import bucket_in_words, conditions_in_words, in_words
    from limitlens.pipeline.workspace import default_policy

    space = _workspace(workspace)
    policy = _named(name, space) if name else (space.policy_in_force() if space else default_policy())
    if as_json:
        print_json({key: value for key, value in asdict(policy).items() if key != "text"} | {"digest": policy.digest})
        return
    amounts = f", amounts in {policy.currency}" if policy.currency else ""
    typer.echo(f"policy {policy.name} ({policy.digest[:8]}){amounts}\n\nOpening: limits a line may be opened with")
    _show_segments({segment: asdict(policy.opening[segment]) for segment in policy.opening})
    for one in policy.disqualifiers:
        typer.echo(f"  {one.name}: does not qualify when {conditions_in_words(one.when)}")
    typer.echo("\nBehaviour: cut-offs on PD, limits, and the most average monthly inflows a limit is raised to")
    _show_segments({segment: asdict(policy.segments[segment]) for segment in policy.segments})
    for rule in policy.rules:
        new = "; new lines too" if rule.new_lines else ""
        typer.echo(f"  {rule.name}: {rule.action} when {conditions_in_words(rule.when)}{new}")
    typer.echo("\nDelinquency: past due")
    for bucket in policy.delinquency:
        typer.echo(f"  {bucket_in_words(bucket)}")
    if policy.decided_daily:
        typer.echo(f"\nDecided daily: new lines, and when {conditions_in_words(policy.decided_daily, 'any_of')}")
    if policy.watch:
        typer.echo(f"\nWatched: drawing is paused within the day by {', '.join(policy.watch.rules)}")
    for section in SECTIONS:
        typer.echo(f"\n{section}")
        for key, value in asdict(getattr(policy, section)).items():
            typer.echo(f"  {key:<30} {in_words(key, value)}")


def _show_segments(segments: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    from limitlens.pipeline.pages.policy_words import in_words

    shown = Table("segment", *(_HEADS[key] for key in segments["default"]), box=None)
    for segment, values in segments.items():
        shown.add_row(segment, *(in_words(key, value).removesuffix(".00") for key, value in values.items()))
    print_table(shown)


@policy_app.command()
def diff(
    policies: Annotated[
        list[str],
        typer.Argument(metavar="[OLD] NEW", help="Files, or digests of recorded policies; OLD: the champion's."),
    ],
    workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Say in words what a policy changes, and how many lines of today's book each change alone would move.

    Without a champion in the workspace only the words. Nothing is recorded.

    Example: limitlens policy diff conf/policy.toml tightened.toml
    """
    from limitlens.pipeline.release.policy_diff import diff_policies

    space = _workspace(workspace)
    if len(policies) > 2:
        raise ConfigError(f"got {len(policies)} policies; give OLD and NEW.")
    champions = _champions(space)
    new = _named(policies[-1], space)
    old = _named(policies[0], space) if len(policies) == 2 else champions
    if old is None:
        raise ConfigError(f"{workspace} has no champion whose policy could be the old one; give OLD and NEW.")
    changes = diff_policies(old, new, space if champions else None, progress=progress)
    if as_json:
        print_json(changes.to_dict())
        return
    for line in changes.lines():
        typer.echo(line)


@app.command("simulate-policy")
def simulate_policy(
    policies: Annotated[list[str], typer.Argument(metavar="A [B]", help="Files or digests of one policy or two.")],
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, help="Month start; default: the last with known defaults."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model version; default: the champion.")] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="SVG file: move all cut-offs on PD, draw good customers hit against bad caught.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide the past again under one policy or two: customers, credit, defaults and complaints beside each other.

    Events stay as they were: nobody reacts to another limit. Nothing is recorded.

    Example: limitlens simulate-policy conf/policy.toml tightened.toml --sweep frontier.svg
    """
    from limitlens.data.storage import write_text
    from limitlens.pipeline.pages.plots import frontier
    from limitlens.pipeline.release.simulate_policy import simulate_policies
    from limitlens.pipeline.workspace import Workspace

    if len(policies) > 2:
        raise ConfigError(f"got {len(policies)} policies; give A, or A and B.")
    space = Workspace(workspace)
    chosen = [_named(name, _workspace(workspace)) for name in policies]
    simulation = simulate_policies(
        space, chosen, model_version=model, since=since, sweep=sweep is not None, progress=progress
    )
    if sweep is not None:
        write_text(frontier({f"{one.name} ({one.digest[:8]})": one.frontier for one in simulation.policies}), sweep)
    if as_json:
        print_json(simulation.to_dict())
        return
    typer.echo(
        f"{format_time(simulation.since)} to {format_time(simulation.until)}, model version "
        f"{simulation.model_version}; what customers did stays as it was"
    )
    print_table(_beside(simulation))
    if sweep is not None:
        typer.echo(f"open {sweep}")


@app.command()
def mend(
    since: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, help="Month start; default: the last with known defaults."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the policies that are recommended, a file each.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try changes of the policy on the past: which spares good customers at equal bad ones caught.

    Nothing is recorded or released; try what is recommended as a policy of its own.

    Example: limitlens mend --out candidates
    """
    from limitlens.data.storage import write_text
    from limitlens.pipeline.release.mend import mend as try_mends
    from limitlens.pipeline.workspace import Workspace

    mends = try_mends(Workspace(workspace), since=since, progress=progress)
    files = []
    for one in mends.candidates:
        if out is not None and one.recommended:
            files.append(out / f"{one.name.replace(' ', '_')}.toml")
            write_text(one.text, files[-1])
    if as_json:
        print_json(mends.to_dict())
        return
    for line in [*mends.lines(), *(f"  limitlens policy diff {file}" for file in files)]:
        typer.echo(line)


def _beside(simulation: "Simulation") -> "Table":
    """Policies side by side."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for one in simulation.policies:
        table.add_column(f"{one.name} ({one.digest[:8]})", justify="right")
    for row in zip(*(_measures(one) for one in simulation.policies), strict=True):
        table.add_row(row[0][0], *(text for _, text in row))
    return table


def _measures(one: "Simulated") -> list[tuple[str, str]]:
    """What one policy did, in words."""
    o = one.outcome
    measures = [
        ("lines decided", f"{o.lines:,}"),
        ("stayed good", f"{o.good:,}"),
        ("  hit: cut, frozen or closed", f"{o.good_hit:,} ({o.good_hit_share:.2%})"),
        ("went bad", f"{o.bad:,}"),
        ("  caught before 30 days late", f"{o.bad_caught:,} ({o.bad_caught_share:.1%})"),
        ("limits at the end", money(o.limit_cents)),
        ("  of those who stayed good", money(o.good_limit_cents)),
        ("  of those who went bad, before", money(o.bad_limit_cents)),
    ]
    counted = [(c.what, f"{c.count:,} of {c.out_of:,} ({c.per_thousand:.1f} ‰)") for c in one.complaints]
    return [*measures, *counted]


def _workspace(folder: Path) -> "Workspace | None":
    from limitlens.pipeline.workspace import Workspace

    return Workspace(folder) if folder.exists() else None


def _champions(space: "Workspace | None") -> "Policy | None":
    """The policy of the champion, if there is one."""
    version = space.registry.champion() if space else None
    return space.policy(space.registry.model(version).policy_digest) if space and version else None


def _named(name: str, space: "Workspace | None") -> "Policy":
    """The policy of a file, else the recorded one whose digest begins so."""
    from limitlens.limits.policy_file import read_policy

    if not Path(name).exists() and space:
        digests = [digest for digest in space.registry.policies() if digest.startswith(name)]
        if len(digests) == 1:
            return space.policy(digests[0])
        if digests:
            raise ConfigError(f"{len(digests)} recorded policies begin with {name!r}; give more of the digest.")
    return read_policy(Path(name))


@app.command()
def qualify(
    applications: Annotated[Path, typer.Argument(help="CSV or Parquet file with a segment, attributes, a request.")],
    out: Annotated[Path, typer.Option(help="CSV file for the answers.")] = Path("qualified.csv"),
    policy: PolicyOption = None,
    workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Decide applications by the opening table of the policy: who qualifies, and with which limit.

    Every column comes back as it was delivered. A file with a wrong cell is refused, with its row and column.

    Example: limitlens qualify applications.csv --out qualified.csv
    """
    from limitlens.pipeline.deciding.applications import answer_applications
    from limitlens.pipeline.workspace import default_policy

    space = _workspace(workspace)
    chosen = policy_in(policy) or (space.policy_in_force() if space else default_policy())
    answers = answer_applications(applications, chosen, out)
    typer.echo(f"{len(answers):,} applications, {int(answers['qualifies'].sum()):,} qualify; answers in {out}")
