"""Commands about sharing risk lists with another lender."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limitlens.data.calendar import format_time
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    WaitOption,
    WorkspaceOption,
    app,
    patient,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from limitlens.pipeline.sharing.exchange import Side

share_app = typer.Typer(
    help="Learn which customers stand on another lender's risk list, and nothing else; it learns how many were asked "
    "about."
)

app.add_typer(share_app, name="share", no_args_is_help=True)

LenderOption = Annotated[
    str, typer.Option("--as", envvar="LIMITLENS_LENDER", help="This lender, as the secret calls it.")
]
SecretOption = Annotated[
    Path, typer.Option(envvar="LIMITLENS_SHARE_SECRET", help="File of the secret that both lenders have.")
]
SettingsOption = Annotated[
    Path | None, typer.Option(help="What the ids are, and how much may be asked (TOML); default: conf/share.toml.")
]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; it is recorded.")]


@share_app.command("new-secret")
def new_secret(
    one: Annotated[str, typer.Argument(help="Name of one lender: small letters, digits, hyphens.")],
    other: Annotated[str, typer.Argument(help="Name of the other.")],
    out: Annotated[Path, typer.Option(help="File to write; give a copy to the other lender, and to nobody else.")],
) -> None:
    """Make the secret of two lenders, which seals their messages and salts their exchanges.

    Example: limitlens share new-secret lender-a lender-b --out a-b.secret
    """
    from limitlens.pipeline.sharing import pair_secret

    pair_secret.new_secret(out, (one, other))
    typer.echo(f"{out}: give {other} a copy by hand, and keep both apart from the workspaces")


@share_app.command()
def request(
    customers: Annotated[Path, typer.Argument(help="CSV or Parquet with person_id and account_id; outside.")],
    out: Annotated[Path, typer.Option(help="Message for the other lender.")],
    lender: LenderOption,
    secret: SecretOption,
    actor: ByOption,
    settings: SettingsOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Ask the other lender which customers stand on its risk list; it learns how many are asked about.

    Example: limitlens share request customers.csv --out a.request --as lender-a --secret a-b.secret --by "Chen Wei"
    """
    from limitlens.pipeline.sharing import exchange

    with patient(wait):
        step = exchange.request(_side(workspace, lender, secret, settings, actor), customers, out, at=datetime.now(UTC))
    typer.echo(f"exchange {step.exchange[:12]}: {step.ids:,} customers; send {out} to {step.lender}")
    typer.echo(f"keep {exchange.own_path(out)} to yourself until the answer is received")


@share_app.command()
def answer(
    asked: Annotated[Path, typer.Argument(help="Request of the other lender.")],
    risk_list: Annotated[Path, typer.Argument(help="CSV or Parquet with person_id; outside the workspace.")],
    out: Annotated[Path, typer.Option(help="Message for the other lender.")],
    lender: LenderOption,
    secret: SecretOption,
    actor: ByOption,
    settings: SettingsOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Answer a request from the own risk list; the other lender learns how long it is, and which customers are on it.

    Example: limitlens share answer a.request list.csv --out a.answer --as lender-b --secret a-b.secret --by "Wang Fang"
    """
    from limitlens.pipeline.sharing import exchange

    with patient(wait):
        side = _side(workspace, lender, secret, settings, actor)
        step = exchange.answer(side, asked, risk_list, out, at=datetime.now(UTC))
    typer.echo(f"exchange {step.exchange[:12]}: {step.ids:,} customers of {step.lender} and {step.listed:,} listed ids")
    typer.echo(f"send {out} to {step.lender}")


@share_app.command()
def receive(
    asked: Annotated[Path, typer.Argument(help="The own request.")],
    answered: Annotated[Path, typer.Argument(help="Answer of the other lender.")],
    customers: Annotated[Path, typer.Argument(help="The file that was asked about, unchanged.")],
    out: Annotated[
        Path, typer.Option(help="File of hits for limitlens check, such as events/shared_risk/2026-07.csv.")
    ],
    lender: LenderOption,
    secret: SecretOption,
    actor: ByOption,
    settings: SettingsOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Read an answer, and write the lines of the customers who stand on the list as rows of shared_risk.

    Example: limitlens share receive a.request a.answer customers.csv --out events/shared_risk/2026-07.csv --as lender-a
    --secret a-b.secret --by "Chen Wei"
    """
    from limitlens.pipeline.sharing import exchange

    with patient(wait):
        side = _side(workspace, lender, secret, settings, actor)
        step = exchange.receive(side, asked, answered, customers, out, at=datetime.now(UTC))
    typer.echo(
        f"exchange {step.exchange[:12]}: {step.hits:,} of {step.ids:,} customers stand on the list of {step.lender}, "
        f"which has {step.listed:,} ids"
    )
    typer.echo(f"next: limitlens check {out.parent.parent}")


@share_app.command("log")
def log(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List every step of every exchange: when, with whom, by whom, about how many, and the digest of its message.

    Example: limitlens share log
    """
    from dataclasses import asdict

    from rich.table import Table

    from limitlens.limits.exchanges import exchanges

    steps = exchanges(workspace)
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    shown = Table("at", "exchange", "step", "with", "by", "ids", "listed", "hits", "sha256", box=None)
    for step in steps:
        counts = (f"{step.ids:,}", f"{step.listed:,}", f"{step.hits:,}")
        named = (format_time(step.at), step.exchange[:12], step.step, step.lender, step.actor)
        shown.add_row(*named, *counts, step.sha256[:12])
    print_table(shown)


def _side(workspace: Path, lender: str, secret: Path, settings: Path | None, actor: str) -> "Side":
    from limitlens.pipeline.sharing.exchange import Side
    from limitlens.pipeline.sharing.share_settings import default_share_settings, read_share_settings
    from limitlens.pipeline.workspace import Workspace

    read = read_share_settings(settings) if settings else default_share_settings()
    return Side(Workspace(workspace), lender, secret, read, actor)
