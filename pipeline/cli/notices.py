"""Commands about letters to customers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limitlens.data.calendar import format_time
from limitlens.data.errors import ConfigError, InputError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    NOTHING_TO_DO,
    IdKeyOption,
    JsonOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    key_for,
    moment,
    patient,
    predict_only,
    print_json,
    print_table,
    progress,
)

if TYPE_CHECKING:
    from limitlens.pipeline.workspace import Workspace

notices_app = typer.Typer(
    help="Write letters to customers about what was decided against them, and log what becomes of them."
)


app.add_typer(notices_app, name="notices", no_args_is_help=True)


@notices_app.command()
def write(
    out: Annotated[Path, typer.Argument(help="Folder for the letters; each batch becomes a folder in it.")],
    since: Annotated[
        datetime | None, typer.Option(parser=moment, help="Nothing older gets a letter; default: all of the ledger.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder with templates in place of ours.")
    ] = None,
    sender: Annotated[Path | None, typer.Option(help="Who writes and how to reach them (TOML).")] = None,
    ids: Annotated[
        Path | None, typer.Option(help="Text file with an account id a line, as delivered: letters name them.")
    ] = None,
    again: Annotated[int | None, typer.Option(min=1, help="Put this batch out once more, and nothing else.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a letter for everything decided against a customer, or made good, that has none: HTML, JSON and CSV.

    A second call writes nothing and ends with 7. Letters name an account as the workspace does: by its pseudonym, or,
    with --ids and the key, as the lender does.

    Example: limitlens notices write letters --sender bank.toml --ids accounts.txt
    """
    predict_only()
    from limitlens.pipeline.notices.words import Stationery, read_senders
    from limitlens.pipeline.notices.write import write_letters
    from limitlens.pipeline.workspace import Workspace

    space, stationery = Workspace(workspace), Stationery(read_senders(sender), templates)
    with patient(wait):
        done = write_letters(
            space,
            out,
            stationery,
            at=datetime.now(UTC),
            accounts=_names(space, ids, id_key, out) if ids else {},
            since=since,
            again=again,
            progress=progress,
        )
    if as_json:
        folders = {batch: str(path) for batch, path in done.folders.items()}
        print_json({"recorded": done.recorded, "folders": folders, "unnamed": done.unnamed})
    else:
        typer.echo(f"{done.recorded:,} letters recorded")
        for batch, folder in done.folders.items():
            typer.echo(f"batch {batch:04d} in {folder}")
        if ids and done.unnamed:
            typer.echo(f"{done.unnamed:,} of these letters name an account that is not in {ids} by its pseudonym")
    if not done.folders:
        raise typer.Exit(NOTHING_TO_DO)


def _names(space: "Workspace", listed: Path, id_key: Path | None, out: Path) -> dict[str, str]:
    """Ids as delivered, by what the workspace calls them."""
    import pyarrow as pa

    from limitlens.data.delivery import whole_text
    from limitlens.data.id_key import expect_ids, expect_outside

    key = key_for(space, id_key)
    if key is None:
        raise ConfigError(f"{space.root}: its ids are as delivered, and letters name them; leave out --ids.")
    expect_ids(space.events, key)
    expect_outside(out, space.root)
    if not listed.is_file():
        raise InputError(f"{listed}: no such file; name a text file with an id a line.")
    lines = [line for line in whole_text(listed, str(listed)).decode("utf-8-sig").splitlines() if line]
    return dict(zip(key.pseudonyms("account", pa.chunked_array([lines], pa.string())).to_pylist(), lines, strict=True))


@notices_app.command("list")
def list_letters(
    account: Annotated[str | None, typer.Option(help="Only letters to this account.")] = None,
    status: Annotated[
        Literal["recorded", "written", "sent", "failed", "returned"] | None, typer.Option(help="Only these.")
    ] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List letters: about what, which reasons were told, and what became of each.

    Example: limitlens notices list --status failed
    """
    from rich.table import Table

    from limitlens.pipeline.notices.write import listed
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    rows = listed(space)
    if account:
        rows = rows[rows["account_id"] == account_in(space, account, id_key)]
    if status:
        rows = rows[rows["status"] == status]
    if as_json:
        print_json(rows.to_dict("records"))
        return
    shown = Table("letter", "account", "about", "of", "reasons", "status", "since", "by", box=None)
    for row in rows.to_dict("records"):
        at, since = (format_time(row[name].replace(microsecond=0)) for name in ("at", "status_at"))
        about = row["kind"] if row["kind"] in (row["action"], "conditions") else f"{row['kind']}: {row['action']}"
        by = " ".join(filter(None, (row["actor"], row["note"])))
        cells = (row["reference"], row["account_id"], about, at, ", ".join(row["reasons"]), row["status"], since, by)
        shown.add_row(*cells)
    print_table(shown, "reasons", "by")
    counts = rows["status"].value_counts()
    typer.echo(f"{len(rows):,} letters" + "".join(f", {count:,} {name}" for name, count in counts.items()))


@notices_app.command()
def sent(
    letters: Annotated[list[str], typer.Argument(help="Letters (0001-000012), or batches (0001).")],
    actor: Annotated[str, typer.Option("--by", help="Who says so.")],
    status: Annotated[Literal["sent", "failed", "returned"], typer.Option(help="What became of them.")] = "sent",
    note: Annotated[str, typer.Option(help="By which channel, or what went wrong.")] = "",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record what the lender's own channels did with letters: a link of the chain.

    Example: limitlens notices sent 0001 --by "Chen Wei" --note "app"
    """
    from limitlens.pipeline.notices.write import mark
    from limitlens.pipeline.workspace import Workspace

    with patient(wait):
        count = mark(Workspace(workspace), tuple(letters), status, at=datetime.now(UTC), actor=actor, note=note)
    if as_json:
        print_json({"letters": count, "status": status})
        return
    typer.echo(f"{count:,} letters {status}, says {actor}")


@notices_app.command()
def announce(
    policy: Annotated[Path, typer.Argument(help="Policy file that is going to hold.")],
    holds_from: Annotated[datetime, typer.Option("--from", parser=moment, help="From when on.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record a letter for each line of today's book that another policy decides otherwise; write puts them out.

    Example: limitlens notices announce stricter.toml --from 2026-09-01
    """
    predict_only()
    from limitlens.limits.policy_file import read_policy
    from limitlens.pipeline.notices.write import announce as announce_to
    from limitlens.pipeline.workspace import Workspace

    new = read_policy(policy)
    with patient(wait):
        count = announce_to(Workspace(workspace), new, holds_from, at=datetime.now(UTC), progress=progress)
    if as_json:
        print_json({"recorded": count})
    else:
        typer.echo(f"{count:,} letters recorded; limitlens notices write puts them out")
    if not count:
        raise typer.Exit(NOTHING_TO_DO)
