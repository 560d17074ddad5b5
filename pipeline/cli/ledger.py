"""Commands about the ledger."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from limitlens.data.calendar import format_time
from limitlens.data.errors import ConfigError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    IdKeyOption,
    JsonOption,
    ReasonOption,
    SignKeyOption,
    ThreadsOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    cents,
    moment,
    patient,
    pem,
    predict_only,
    print_json,
    progress,
)
from limitlens.pipeline.pages.amounts import money

ledger_app = typer.Typer(
    help="List and export decisions, change a line by hand, check the chain of hashes, replay every decision."
)


app.add_typer(ledger_app, name="ledger", no_args_is_help=True)


@ledger_app.command()
def verify(
    anchor: Annotated[Path | None, typer.Option(help="An anchor that was kept elsewhere.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="The public key that it was signed for.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Check every file, model, policy and link of the chain, and the heads in MLflow; name the first that is broken.

    Example: limitlens ledger verify --anchor anchor.json --public-key anchor.pub.pem
    """
    predict_only()
    from limitlens.data.toml_reader import read_small
    from limitlens.limits.anchor import checked
    from limitlens.pipeline.deciding import verify as verifying
    from limitlens.pipeline.workspace import Workspace

    if (anchor is None) != (public_key is None):
        raise ConfigError("an anchor is checked with both --anchor FILE and --public-key FILE.")
    known = None
    if anchor and public_key:
        known = checked(read_small(anchor, "an anchor"), read_small(public_key, "a public key").encode())
    with patient(wait):
        links, anchors = verifying.verify(Workspace(workspace), known)
    typer.echo(f"{links:,} links of the chain, every link holds; {anchors:,} heads in MLflow, all in the chain")
    if known:
        typer.echo(f"the {known.links:,} links of the anchor of {known.at} are as they were")


@ledger_app.command("new-key")
def new_key(
    name: Annotated[str, typer.Argument(help="Writes NAME.pem, which is kept secret, and NAME.pub.pem.")] = "anchor",
) -> None:
    """Make a key to sign anchors with; keep the private one where nobody who can write the workspace can read it.

    Example: limitlens ledger new-key anchor
    """
    from limitlens.limits.keys import new_key as made
    from limitlens.limits.keys import public_of

    private, public = made()
    for path, content, mode in ((Path(f"{name}.pub.pem"), public, 0o644), (Path(f"{name}.pem"), private, 0o600)):
        try:
            path.touch(mode, exist_ok=False)
            path.chmod(mode)
            path.write_bytes(content)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); give another name.") from error
    typer.echo(f"{name}.pem signs, {name}.pub.pem checks; a policy names it as {public_of(private)}")
    typer.echo(f"next: limitlens ledger anchor --key {name}.pem")


@ledger_app.command("anchor")
def anchor_now(
    key: Annotated[Path, typer.Option(help="Private key; limitlens ledger new-key makes one.")],
    out: Annotated[Path, typer.Option(help="Where the anchor goes: away from the workspace.")] = Path("anchor.json"),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Verify the workspace, and sign what it holds now, so that its past can be proved from outside.

    Example: limitlens ledger anchor --key anchor.pem --out 2026-07-01.json
    """
    from limitlens.data.storage import write_text
    from limitlens.data.toml_reader import read_small
    from limitlens.limits.anchor import signed
    from limitlens.pipeline.deciding.anchoring import anchor
    from limitlens.pipeline.deciding.verify import verify as verify_all
    from limitlens.pipeline.workspace import Workspace

    private = read_small(key, "a private key").encode()
    with patient(wait):
        verify_all(Workspace(workspace))
        now = anchor(Workspace(workspace), datetime.now(UTC))
    write_text(signed(now, private), out)
    typer.echo(f"{now.links:,} links, signed: {out}")


@ledger_app.command()
def replay(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    threads: ThreadsOption = None,
) -> None:
    """Rebuild recorded decisions from the events as they were known, and compare them to the last bit.

    Example: limitlens ledger replay
    """
    predict_only()
    from limitlens.pipeline.deciding import replay as replaying
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    count = replaying.replay(space, progress, account and account_in(space, account, id_key))
    typer.echo(f"{count:,} decisions replayed, all equal")


@ledger_app.command("list")
def list_decisions(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    since: Annotated[datetime | None, typer.Option("--from", parser=moment, help="From this time on.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", parser=moment, help="Before this time.")] = None,
    cause: Annotated[
        Literal["behaviour", "data", "model", "policy", "state"] | None,
        typer.Option(help="Only changes it has a share in."),
    ] = None,
    run: Annotated[str | None, typer.Option(help="Only this run; its first letters are enough.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as close.")] = None,
    version: Annotated[str | None, typer.Option(help="Only decisions of this model version.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 20,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List decisions with the share of each cause, the newest first.

    Example: limitlens ledger list --cause model --from 2026-06-01 --action close
    """
    from limitlens.pipeline.answers.history import Selection, decisions_of
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    chosen = Selection(account and account_in(space, account, id_key), since, until, cause, run, action, version)
    decisions = decisions_of(space, chosen, limit)
    if as_json:
        print_json(decisions.astype(object).where(decisions.notna(), None).to_dict("records"))
        return
    for row in decisions.to_dict("records"):
        typer.echo(decision_line(row))


def decision_line(row: Mapping[Any, Any]) -> str:
    """One decision for a terminal: what was decided, the causes that have a share, by what."""
    import pandas as pd

    from limitlens.limits.attribution import PLAYERS

    shares = {player: row[f"share_cents_{player}"] for player in PLAYERS}
    causes = [f"{player} {money(share, signed=True)}" for player, share in shares.items() if pd.notna(share) and share]
    parts = [
        format_time(row["as_of"].to_pydatetime()),
        row["account_id"],
        f"{row['action']:<8}",
        f"{money(row['limit_before_cents'])} → {money(row['limit_cents'])}",
        ", ".join(causes) or ("no cause moved it" if pd.notna(shares["state"]) else "first decision"),
        f"(version {row['model_version']}, run {row['run_id'][:12]})",
    ]
    return "  ".join(parts)


@ledger_app.command()
def overrides(
    account: Annotated[str | None, typer.Option(help="Only this account.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """List what persons changed by hand, in the order of recording.

    Example: limitlens ledger overrides --account A004242
    """
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account = account and account_in(space, account, id_key)
    recorded = space.ledger.overrides()
    rows = recorded[recorded["account_id"] == account] if account else recorded
    if as_json:
        print_json(rows.astype(object).where(rows.notna(), None).to_dict("records"))
        return
    for row in rows.to_dict("records"):
        limits = f"{money(row['limit_before_cents'])} → {money(row['limit_cents'])}"
        time = format_time(row["at"].to_pydatetime())
        typer.echo(f"{time}  {row['account_id']}  {row['action']:<8}  {limits}  by {row['actor']}: {row['reason']}")


@ledger_app.command()
def export(
    out: Annotated[Path, typer.Argument(help="File that ends in .parquet or .csv.")] = Path("ledger.parquet"),
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write every decision with its latest attribution and the facts of its run, as Parquet or CSV.

    In CSV, text that a spreadsheet would run as a formula gets a leading apostrophe; amounts are cents everywhere.

    Example: limitlens ledger export decisions.csv
    """
    from limitlens.pipeline.answers.history import export as export_decisions
    from limitlens.pipeline.workspace import Workspace

    typer.echo(f"{export_decisions(Workspace(workspace), out):,} decisions in {out}")


@ledger_app.command()
def override(
    account: Annotated[str, typer.Argument(help="Account id.")],
    actor: Annotated[str, typer.Option("--by", help="Who orders it.")],
    reason: ReasonOption,
    limit: Annotated[int | None, typer.Option(parser=cents, metavar="AMOUNT", help="New limit.")] = None,
    action: Annotated[str, typer.Option(help="In place of a limit: freeze, unfreeze, close or keep.")] = "limit",
    at: Annotated[datetime | None, typer.Option(parser=moment, help="From when on; default: now.")] = None,
    sign_key: SignKeyOption = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Change a line by hand, with name and reason; the next decision starts from it.

    Example: limitlens ledger override A004242 --limit 20000.00 --by "Chen Wei" --reason "salary slip seen"
    """
    from limitlens.pipeline.deciding.order_override import override as override_line
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account, key = account_in(space, account, id_key), pem(sign_key)
    when = at or datetime.now(UTC)
    with patient(wait):
        done = override_line(
            space, account, at=when, actor=actor, reason=reason, action=action, limit_cents=limit, key=key
        )
    limits = f"{money(done.limit_before_cents)} → {money(done.limit_cents)}"
    typer.echo(f"{account}: {done.action} by {actor} as of {format_time(when)}, limit {limits}")
