"""Commands about the quarantine."""

from pathlib import Path
from typing import Annotated

import typer

from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WorkspaceOption,
    app,
    print_json,
    print_table,
)

quarantine_app = typer.Typer(help="List, show and export rows that were held back, to mend and deliver them again.")


app.add_typer(quarantine_app, name="quarantine", no_args_is_help=True)

SourceOption = Annotated[str | None, typer.Option(help="Only this source.")]
RuleOption = Annotated[str | None, typer.Option(help="Only rows that broke this rule.")]


@quarantine_app.command("list")
def list_rules(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List what is held back, by load, file and rule, and how many of the rows came mended since.

    Example: limitlens quarantine list
    """
    from rich.table import Table

    from limitlens.data.quarantine import quarantine_table
    from limitlens.pipeline.workspace import Workspace

    counts = quarantine_table(Workspace(workspace).events)
    if as_json:
        print_json(counts.astype(object).where(counts.notna(), None).to_dict("records"))
        return
    shown = Table("load", "source", "file", "column", "rule", "rows", "mended since", box=None)
    for row in counts.to_dict("records"):
        named = [str(row[name] or "") for name in ("load", "source", "file", "column", "rule")]
        shown.add_row(*named, f"{row['rows']:,}", f"{row['mended']:,}")
    print_table(shown, "rule")


@quarantine_app.command()
def show(
    source: SourceOption = None,
    rule: RuleOption = None,
    head: Annotated[int, typer.Option(min=1, help="Rows to show.")] = 20,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show rows that are held back and did not come mended, as they were delivered.

    Example: limitlens quarantine show --source payment
    """
    from limitlens.data.quarantine import quarantine_rows
    from limitlens.pipeline.workspace import Workspace

    rows = quarantine_rows(Workspace(workspace).events, source=source, rule=rule)
    if as_json:
        print_json(rows.to_pylist())
        return
    for row in rows.slice(0, head).to_pylist():
        where = f"{row['file']}, row {row['row']}"
        typer.echo(f"{where}: {' '.join(filter(None, (row['column'], row['rule'])))}: {row['row_json']}")
    typer.echo(f"{len(rows):,} rows to mend: limitlens quarantine export FILE --source SOURCE")


@quarantine_app.command()
def export(
    out: Annotated[Path, typer.Argument(help="File that ends in .parquet or .csv.")],
    source: Annotated[str, typer.Option(help="The source.")],
    rule: RuleOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write rows that are held back as a file to mend; in a folder of its source, `check` takes it in again.

    Where ids are pseudonyms it says instead which rows of the delivered files are to be mended.

    In CSV, text that a spreadsheet would run as a formula gets a leading apostrophe.

    Example: limitlens quarantine export mended/payment/rows.csv --source payment
    """
    from limitlens.data.quarantine import export_quarantine
    from limitlens.pipeline.workspace import Workspace

    count = export_quarantine(Workspace(workspace).events, out, source=source, rule=rule)
    typer.echo(f"{count:,} rows in {out}")
