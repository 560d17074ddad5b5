"""Commands about events and feature tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from limitlens.data.calendar import add_months, data_end, format_time
from limitlens.data.contracts import MAX_QUARANTINED_SHARE
from limitlens.data.errors import InputError, LimitlensError, WorkspaceError
from limitlens.data.fault_operators import OPERATORS
from limitlens.data.resources import MEMORY_LIMIT
from limitlens.data.world.settings import FUTURES
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    INCIDENT,
    NOTHING_TO_DO,
    AnyWorkspaceOption,
    ConfigOption,
    IdKeyOption,
    JsonOption,
    MemoryOption,
    NewWorkspaceOption,
    QualityOption,
    ThreadsOption,
    UntilOption,
    WaitOption,
    WithoutOption,
    WorkspaceOption,
    app,
    key_for,
    moment,
    patient,
    print_json,
    print_table,
    progress,
    quality_in,
    settings_in,
)

if TYPE_CHECKING:
    from limitlens.data.pseudonyms import IdKey
    from limitlens.features.table import Engine
    from limitlens.models.settings import TrainSettings
    from limitlens.pipeline.workspace import Workspace


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder for the event tables.")],
    accounts: Annotated[int, typer.Option(min=1, help="Lines to simulate.")] = 6_000,
    months: Annotated[int, typer.Option(min=2, help="Months of history.")] = 18,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files, byte for byte.")] = 7,
    world: Annotated[
        str, typer.Option(help="first, honest, or a TOML file with causes, faults and their rates.")
    ] = "first",
    without: Annotated[
        list[str] | None, typer.Option(help="A cause that does not strike, such as takeover; may be repeated.")
    ] = None,
    decisions: Annotated[
        Path | None,
        typer.Option(help="What the lender decided, as limitlens ledger export writes it: customers react to it."),
    ] = None,
    futures: Annotated[int, typer.Option(min=0, help="Futures drawn for each true PD; 0: no true PD.")] = FUTURES,
) -> None:
    """Write a simulated portfolio as event tables, and what truly happened beside them under OUT/truth.

    Example: limitlens simulate events --accounts 6000 --months 18 --seed 7
    """
    from limitlens.data.world import named_world, read_decisions
    from limitlens.data.world import simulate as simulate_portfolio
    from limitlens.data.world.simulation import START

    report = simulate_portfolio(
        out,
        accounts=accounts,
        months=months,
        seed=seed,
        world=named_world(world),
        without=without or (),
        decisions=read_decisions(decisions) if decisions else None,
        futures=futures,
        progress=progress,
    )
    for name, rows in report.rows.items():
        typer.echo(f"{name:<16} {rows:>12,} rows")
    for cause, count in report.episodes.items():
        typer.echo(f"{cause:<16} {count:>12,} episodes")
    end = add_months(START, months)
    ahead = f" --loaded-at {format_time(end)}" if end > datetime.now(UTC) else ""
    typer.echo(f"next: limitlens check {out}{ahead}")


@app.command("import")
def import_files(
    src: Annotated[Path, typer.Argument(help="Folder with the delivered files.")],
    out: Annotated[
        Path | None, typer.Argument(help="Folder for the event tables; with --draft a file for the mapping.")
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(help="TOML file that says what the files mean, or a data set: gmsc, superlender, taiwan."),
    ] = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Write a first mapping from what the files look like.")
    ] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Say what each number means that was written.")] = False,
    memory: MemoryOption = MEMORY_LIMIT,
) -> None:
    """Turn files of any shape into event tables, as a mapping says; every row of them is accounted for.

    Example: limitlens import --mapping taiwan data/taiwan taiwan-events
    """
    from limitlens.data.engine import limit_memory
    from limitlens.data.importing import import_files as import_delivered
    from limitlens.data.meanings import meanings, written
    from limitlens.data.shipped_mappings import read_mapping

    limit_memory(memory)
    if draft:
        _draft(src, out)
        return
    if mapping is None or out is None:
        raise typer.BadParameter("expected --mapping FILE SRC OUT, or --draft SRC for a first mapping.")
    chosen = read_mapping(mapping)
    report = import_delivered(chosen, src, out, progress)
    for line in report.lines():
        typer.echo(line)
    if sample:
        for line in meanings(written(out, chosen.name), chosen.currency):
            typer.echo(f"means   {line}")
    typer.echo(f"next: limitlens check {out}")


def _draft(src: Path, out: Path | None) -> None:
    from limitlens.data.draft import draft_mapping
    from limitlens.data.storage import write_text

    text = draft_mapping(src)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise WorkspaceError(f"{out}: is there already; name another file for the draft.")
    write_text(text, out)
    typer.echo(
        f"mapping: {out}; read every line that says guess\nnext: limitlens import --mapping {out} {src} OUT --sample"
    )


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
        datetime | None, typer.Option("--from", parser=moment, help="Only rows known from then on.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", parser=moment, help="Only rows known before.")] = None,
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
    from limitlens.data.corrupting import corrupt as corrupt_events
    from limitlens.data.faults import Fault

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
    for line in corrupt_events(source, out, [chosen], progress).lines():
        typer.echo(line)
    typer.echo(f"next: limitlens check {out}")


@app.command()
def shard(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Folder with one folder a source.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for one delivery a shard: OUT/0, OUT/1, …")],
    shards: Annotated[int, typer.Option("--of", min=2, help="Into how many it is split, by account.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Split a delivery, or new files for a watch, by account: each shard is checked, watched and decided by itself.

    The workspace has the champion: where its features link accounts by devices or payees, each shard gets all rows of
    those sources, and the accounts of the others with limit 0, which are never decided.

    Example: limitlens shard delivery shards --of 4
    """
    from limitlens.data.shards import split_delivery
    from limitlens.features.rows.network import links_of
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    version = space.registry.champion()
    if version is None:
        raise WorkspaceError("no champion to shard for; run limitlens promote first.")
    aggregates = space.iteration(version).model.features.aggregates
    linked = {link.source for link in links_of(one.rows for one in aggregates)}
    for number, rows in enumerate(split_delivery(source, out, shards, linked)):
        typer.echo(f"{out / str(number)}: {rows:,} rows")


@app.command()
def check(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder with one folder a source.")],
    workspace: NewWorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    memory: MemoryOption = MEMORY_LIMIT,
    max_quarantined_share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Refuse the load when more of the rows of a source break the contract."),
    ] = MAX_QUARANTINED_SHARE,
    loaded_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, help="Time of the load, default: now; what is known only later is held back."),
    ] = None,
    quality: QualityOption = None,
    id_key: IdKeyOption = None,
    plain_ids: Annotated[
        bool, typer.Option("--plain-ids", help="Keep ids as delivered; for a new workspace, and for good.")
    ] = False,
    sample: Annotated[bool, typer.Option("--sample", help="Say what each number means that was accepted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read event tables into the workspace; what breaks the contract is quarantined, with file, row and rule.

    Ids become pseudonyms before anything is written. The first call makes their key, a file beside the workspace, to be
    kept apart and backed up.

    The days that came are judged by those before them. The exit code is 8 when a slice of them is unusual enough to
    hold decisions, 7 when all of it is known already.

    Example: limitlens check events
    """
    from limitlens.data.engine import limit_memory
    from limitlens.data.id_key import expect_outside
    from limitlens.data.meanings import meanings
    from limitlens.pipeline.check_delivery import check as check_delivery
    from limitlens.pipeline.workspace import Workspace

    settings = quality_in(quality)
    limit_memory(memory)
    space = Workspace(workspace)
    if key := None if plain_ids else _key_of_check(space, source, id_key):
        expect_outside(source, workspace)
    with patient(wait):
        report = check_delivery(
            space,
            source,
            progress,
            loaded_at=loaded_at or datetime.now(UTC),
            max_quarantined_share=max_quarantined_share,
            quality=settings,
            key=key,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            typer.echo(line)
    if report.load is None:
        raise typer.Exit(NOTHING_TO_DO)
    if sample and not as_json:
        came = [source for source, count in report.sources.items() if count.accepted]
        accepted = {source: space.events.relation(source, [report.load]) for source in came}
        for line in meanings(accepted, space.policy_in_force().currency):
            typer.echo(f"means   {line}")
    if not as_json:
        typer.echo("next: limitlens quality, limitlens holds list" if report.held else "next: limitlens build")
    if report.held:
        raise typer.Exit(INCIDENT)


def _key_of_check(space: "Workspace", source: Path, given: Path | None) -> "IdKey | None":
    """The key a delivery is taken in by; a new workspace gets one."""
    from limitlens.data.delivery import find_delivery
    from limitlens.data.id_key import default_key_path, new_key

    if space.events.ids() is not None:
        return key_for(space, given)
    find_delivery(source)  # no key is made for what is no delivery
    path = given or default_key_path(space.root)
    if not path.exists():
        new_key(path, space.root)
    progress(f"ids become pseudonyms by the key in {path}: keep it apart from the workspace, and a backup of it")
    return key_for(space, path)


@app.command()
def ids(
    listed: Annotated[Path, typer.Argument(metavar="FILE", help="Text file with an id a line, as delivered.")],
    kind: Annotated[
        Literal["account", "event", "device", "counterparty", "instalment"], typer.Option(help="What they stand for.")
    ] = "account",
    out: Annotated[Path | None, typer.Option(help="CSV file for the answer, outside the workspace.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Print the pseudonym of each of some ids as CSV, to join decisions with customers; it needs the key.

    Example: limitlens ids accounts.txt --out pseudonyms.csv
    """
    import pyarrow as pa

    from limitlens.data.delivery import whole_text
    from limitlens.data.id_key import expect_ids, expect_outside
    from limitlens.data.spreadsheet import csv_text
    from limitlens.data.storage import write_text
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    key = key_for(space, id_key)
    if key is None:
        raise WorkspaceError(f"{workspace}: its ids are as delivered; there is nothing to look up.")
    expect_ids(space.events, key)
    if not listed.is_file():
        raise InputError(f"{listed}: no such file; name a text file with an id a line.")
    lines = whole_text(listed, str(listed)).decode("utf-8-sig").splitlines()
    column = pa.chunked_array([[line for line in lines if line]], pa.string())
    text = csv_text(pa.table({"delivered": column, "pseudonym": key.pseudonyms(kind, column)}))
    if out is None:
        typer.echo(text, nl=False)
        return
    expect_outside(out, workspace)
    write_text(text, out)
    typer.echo(f"{len(column):,} pseudonyms in {out}")


@app.command()
def status(workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show what the workspace holds, how far it has come, what waits, what failed, and the next step; reads only.

    Example: limitlens status
    """
    from limitlens.pipeline.answers.status import status as looked_at
    from limitlens.pipeline.workspace import Workspace

    seen = looked_at(Workspace(workspace), datetime.now(UTC))
    if as_json:
        print_json(seen.to_dict())
        return
    for line in seen.lines():
        typer.echo(line)


@app.command()
def quality(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    source: Annotated[str | None, typer.Option(help="Only this source: consumption, payment or device.")] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(parser=moment, help="What day it is: all before it should have come; default: as far as it came."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the curves, too.")] = None,
    settings: Annotated[Path | None, typer.Option("--quality", help="As for limitlens check.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what state the sources and their slices are in: ok, warn, hold or learning, and what is unusual.

    The exit code is 8 when something is a reason to hold decisions.

    Example: limitlens quality --html quality.html
    """
    chosen = quality_in(settings)
    from limitlens.pipeline.answers.quality import quality as judged
    from limitlens.pipeline.answers.quality import write_quality_page
    from limitlens.pipeline.workspace import Workspace

    status = judged(Workspace(workspace), chosen, as_of=as_of, source=source)
    if html:
        write_quality_page(status, html)
    if as_json:
        print_json(status.to_dict())
    else:
        for line in status.lines():
            typer.echo(line)
        if html:
            typer.echo(f"page: {html}")
    if status.held:
        raise typer.Exit(INCIDENT)


@app.command()
def build(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    config: ConfigOption = None,
    until: UntilOption = None,
    without: WithoutOption = None,
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, help="Build only the features of the whole book at this time.")
    ] = None,
    engine: Annotated[Literal["duckdb", "spark"], typer.Option(help="What computes the features.")] = "duckdb",
    memory: MemoryOption = MEMORY_LIMIT,
    as_json: JsonOption = False,
) -> None:
    """Build the point-in-time training table: features, state and label at every matured month.

    What stands there already is brought up to date: after a further load, only the lines it touched are computed.

    Example: limitlens build
    """
    settings = settings_in(config, without)
    from rich.table import Table

    from limitlens.data.engine import limit_memory
    from limitlens.pipeline.training.training_table import build_training_table
    from limitlens.pipeline.workspace import Workspace

    limit_memory(memory)
    space = Workspace(workspace)
    with _engine(engine) as chosen:
        if as_of:
            _build_book(space, settings, as_of, chosen, as_json)
            return
        table = build_training_table(space, settings, until, progress, engine=chosen)
    counts = table.rows.groupby(["as_of", "split"])["bad"].agg(["size", "sum"]).reset_index()
    body = [
        {"as_of": str(row["as_of"]), "split": row["split"], "rows": int(row["size"]), "bads": int(row["sum"])}
        for row in counts.to_dict("records")
    ]
    if as_json:
        print_json({"features": len(table.features.columns), "digest": table.features.digest, "as_ofs": body})
        return
    shown = Table("as of", "split", "lines", "bads", box=None)
    for row in body[:40]:
        shown.add_row(row["as_of"][:10], row["split"], f"{row['rows']:,}", f"{row['bads']:,}")
    print_table(shown)
    if len(body) > 40:
        typer.echo(f"… and {len(body) - 40:,} more as-of times")
    typer.echo(f"{len(table.rows):,} rows × {len(table.features.columns)} features\nnext: limitlens train")


@contextmanager
def _engine(name: str) -> "Iterator[Engine]":
    from limitlens.data.spark import spark_sql
    from limitlens.features.table import DUCKDB, Engine

    if name == "duckdb":
        yield DUCKDB
        return
    with spark_sql() as prepare:
        yield Engine("spark", prepare)


def _build_book(
    space: "Workspace", settings: "TrainSettings", as_of: datetime, engine: "Engine", as_json: bool
) -> None:
    from limitlens.pipeline.training.feature_tables import feature_tables

    known_until = space.events.latest_known()
    if as_of > data_end(known_until):
        raise WorkspaceError(
            f"no features as of {format_time(as_of)}: the data end at {format_time(known_until)}; deliver more first."
        )
    chosen = space.feature_set(settings)
    relations = space.events.spark_relations() if engine.dialect == "spark" else None
    [path] = feature_tables(space, chosen, [as_of], relations=relations, engine=engine, progress=progress)
    if as_json:
        print_json({"features": len(chosen.columns), "digest": chosen.digest, "path": str(path)})
        return
    typer.echo(f"{len(chosen.columns)} features in {path}")


@app.command()
def features(
    words: Annotated[
        list[str] | None, typer.Argument(help="Only features that contain every word: draw, network, late_payments.")
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the query that computes them.")] = False,
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, help="As-of time of the query; default: today.")
    ] = None,
    engine: Annotated[Literal["duckdb", "spark"], typer.Option(help="Dialect of the query.")] = "duckdb",
    workspace: AnyWorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List the features, or print the SQL that computes them; with a workspace it runs by hand as it is.

    Example: limitlens features draw 30d --sql
    """
    from rich.table import Table

    from limitlens.features.catalogue import CATALOGUE
    from limitlens.features.listing import listed
    from limitlens.features.script import sql_script
    from limitlens.pipeline.workspace import Workspace, default_settings

    matching = [one for one in listed(CATALOGUE) if all(one.matches(word) for word in words or ())]
    if not matching:
        raise LimitlensError(f"no feature contains {' and '.join(words or ())!r}; limitlens features lists all.")
    if sql:
        chosen = replace(CATALOGUE.only([one.name for one in matching]), timezone=default_settings().timezone)
        store = Workspace(workspace).events
        relations = store.relations() if engine == "duckdb" and store.loads() else None
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        typer.echo(sql_script(chosen, as_of or today, relations=relations, dialect=engine), nl=False)
        return
    if as_json:
        print_json([asdict(one) for one in matching])
        return
    shown = Table("feature", "layer", "measures", "unit", "why", box=None)
    for one in matching:
        shown.add_row(one.name, one.layer, one.measures, one.unit, one.why)
    print_table(shown, "measures", "why")
    typer.echo(f"{len(matching):,} of {len(listed(CATALOGUE)):,} features")
