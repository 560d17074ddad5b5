"""Commands about decisions and why they came out as they did."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limitlens.data.resources import MEMORY_LIMIT
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    NOTHING_TO_DO,
    EngineOption,
    IdKeyOption,
    JsonOption,
    LakeOption,
    LangOption,
    MemoryOption,
    PolicyOption,
    ProcessesOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    expect_spark,
    moment,
    page_name,
    patient,
    policy_in,
    predict_only,
    print_json,
    progress,
)
from limitlens.pipeline.pages.amounts import money

if TYPE_CHECKING:
    from limitlens.pipeline.deciding.decide import DecideParts
    from limitlens.pipeline.deciding.record import Decided
    from limitlens.pipeline.workspace import Workspace


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the simulated events, the workspace and the report.")] = Path(
        "demo"
    ),
    accounts: Annotated[int, typer.Option(min=500, help="Lines to simulate.")] = 1_500,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 7,
    watched: Annotated[
        bool, typer.Option("--watch", help="Show two days of new lines under limitlens watch, hour by hour.")
    ] = False,
    threads: ThreadsOption = None,
) -> None:
    """Run the whole job on a simulated portfolio: events in, limit changes explained out.

    Example: limitlens demo
    """
    from limitlens.pipeline import demo as demo_job
    from limitlens.pipeline import demo_watch

    run = demo_watch.run if watched else demo_job.run
    run(out, accounts=accounts, seed=seed, now=datetime.now(UTC), progress=progress, show=typer.echo)


@app.command()
def decide(
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, help="Decide the whole book at this time only.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=moment, help="Last date of the calendar; needed beyond 62 days.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model version; default: the champion.")] = None,
    policy: PolicyOption = None,
    engine: EngineOption = "duckdb",
    lake: LakeOption = None,
    processes: ProcessesOption = 1,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    memory: MemoryOption = MEMORY_LIMIT,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Decide limits and attribute every change; default: up to the last month start most sources reach.

    The book is decided at month starts; daily, lines under a week old and those that [daily] of the policy names.
    The first call begins at the last month start but one. The exit code is 7 when nothing is left to decide.

    Example: limitlens decide --as-of 2026-07-01
    """
    expect_spark(engine, lake)
    given = policy_in(policy)
    predict_only()
    from limitlens.data.engine import limit_memory
    from limitlens.pipeline.deciding.decide import decide as decide_limits
    from limitlens.pipeline.workspace import Workspace

    limit_memory(memory)

    space = Workspace(workspace)
    with patient(wait), _parts_decided(space, engine, lake, processes) as decide_parts:
        decided = decide_limits(
            space,
            as_of=as_of,
            until=until,
            model_version=model,
            policy=given,
            decide_parts=decide_parts,
            progress=progress,
        )
    if as_json:
        print_json(vars(decided))
    else:
        for line in decision_lines(decided):
            typer.echo(line)
    if not decided.decisions:
        raise typer.Exit(NOTHING_TO_DO)
    if not as_json:
        typer.echo("next: limitlens why ACCOUNT, limitlens report")


@contextmanager
def _parts_decided(space: "Workspace", engine: str, lake: str | None, processes: int) -> "Iterator[DecideParts]":
    """What decides the parts of the book."""
    if engine == "duckdb":
        from limitlens.pipeline.deciding.decide import decided_here

        yield partial(decided_here, processes=processes)
        return
    from limitlens.pipeline.deciding.decide_on_spark import decided_on_spark

    with decided_on_spark(space, lake) as decide_parts:
        yield decide_parts


def decision_lines(decided: "Decided") -> list[str]:
    """What a call decided, for a terminal."""
    from limitlens.models.default_risk import LEVEL_BOUNDS
    from limitlens.pipeline.deciding.first_decisions import first_lines

    if not decided.decisions:
        return ["nothing to decide: every date the data reach is decided already"]
    lines = [
        f"{decided.decisions:,} decisions at {len(decided.dates)} dates, {decided.dates[0]} to {decided.dates[-1]}, "
        f"by version {decided.model_version} and policy {decided.policy_digest[:8]}"
        f"{', as a backtest' if decided.backtest else ''}",
        "  ".join(f"{action} {count:,}" for action, count in sorted(decided.actions.items())),
        f"{decided.changed:,} limits changed, {decided.changed - decided.split:,} of them at first decisions",
        *first_lines(decided.first_decisions),
        f"{decided.attributed:,} attributed, {decided.split:,} limits changed since the one before, by cause:",
    ]
    lines += [f"  {player:<10} {money(cents, signed=True):>18}" for player, cents in decided.shares_cents.items()]
    if decided.cancelled:
        lines.append(f"{decided.cancelled:,} more limits stayed as they were because causes cancelled each other out")
    low, high = LEVEL_BOUNDS
    if not low * decided.learned_share <= decided.mean_pd <= high * decided.learned_share:
        lines.append(
            f"warning: the mean PD of the lines decided is {decided.mean_pd:.2%}; of those the model learned from "
            f"{decided.learned_share:.2%} went bad: see whether a source stopped or the book is another"
        )
    if decided.limit_zero:
        lines.append(f"note: {decided.limit_zero:,} lines have limit 0, stand in no book and were not decided")
    if decided.without_limit:
        lines.append(f"note: {decided.without_limit:,} lines came without a limit: scored, never decided")
    if decided.absent:
        balances = "" if decided.knows_balances else "; balances are not known and count as 0"
        lines.append(f"note: decided without {', '.join(decided.absent)}: never delivered{balances}")
    if decided.without_reason:
        lines.append(
            f"note: {decided.without_reason:,} adverse decisions have no reason a customer could be told: "
            "no behaviour that speaks against these lines is known"
        )
    lines += [f"note: {name} cannot act: its source is absent" for name in decided.inactive_rules]
    lines += [f"warning: {hold}; see limitlens holds list" for hold in decided.holds]
    return lines


@app.command()
def reconcile(
    processes: ProcessesOption = 1,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    memory: MemoryOption = MEMORY_LIMIT,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make every split final whose 30 days have passed: what came late then counts as data, not as behaviour.

    Run it after decide; a split is due once a decision was made 30 days after it. The exit code is 7 when none is.

    Example: limitlens reconcile
    """
    predict_only()
    from limitlens.data.engine import limit_memory
    from limitlens.pipeline.deciding.reconcile import reconcile as reconcile_splits
    from limitlens.pipeline.workspace import Workspace

    limit_memory(memory)
    with patient(wait):
        done = reconcile_splits(Workspace(workspace), progress, processes=processes)
    if as_json:
        print_json(vars(done))
    else:
        for line in done.lines():
            typer.echo(line)
    if not done.dates:
        raise typer.Exit(NOTHING_TO_DO)


@app.command()
def why(
    account: Annotated[str, typer.Argument(help="Account id.")],
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, help="Time of the decision; default: the last that mattered.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the answer as a page to this file.")] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Show every decision since opening.")] = False,
    lang: Annotated[
        Literal["en", "zh"] | None,
        typer.Option(help="Language of the page, and of the customer's words; default: English, and both."),
    ] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Say why a limit changed, to the cent; the answer is replayed from the events first.

    Of a line without a limit, which is never decided: why its PD is what it is.

    Example: limitlens why A004242 --as-of 2026-06-14 --html card.html
    """
    predict_only()
    from limitlens.data.storage import write_text
    from limitlens.pipeline.answers.customer import LANGUAGES
    from limitlens.pipeline.answers.why import never_limited
    from limitlens.pipeline.answers.why import why as explain
    from limitlens.pipeline.answers.why_pd import pd_lines, why_pd
    from limitlens.pipeline.answers.why_text import render
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account = account_in(space, account, id_key)
    if html is None and never_limited(space, account) and (scored := why_pd(space, account, as_of)):
        if as_json:
            print_json(scored.to_dict())
        else:
            typer.echo("\n".join(pd_lines(scored)))
        return
    answer = explain(space, account, as_of)
    if html is not None:
        from limitlens.pipeline.answers.why_card import card

        write_text(card(answer, lang or "en"), html)
    if as_json:
        print_json(answer.to_dict())
        return
    typer.echo(render(answer, languages=(lang,) if lang else LANGUAGES, whole_timeline=timeline))
    if html is not None:
        typer.echo(f"open {html}")


@app.command()
def report(
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file; default: report.html, or report.zh-CN.html, in the workspace."),
    ] = None,
    lang: LangOption = "en",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the report: one HTML file with plots, readable without a network.

    Example: limitlens report --out report.html --lang zh
    """
    predict_only()
    from limitlens.pipeline.answers.report import report as write_report
    from limitlens.pipeline.workspace import Workspace

    path = write_report(Workspace(workspace), out or workspace / page_name("report", lang), progress, language=lang)
    typer.echo(f"open {path}")
