"""Commands about what is held of a customer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from limitlens.data.errors import ConfigError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    IdKeyOption,
    JsonOption,
    WaitOption,
    WorkspaceOption,
    account_in,
    app,
    patient,
    progress,
)


@app.command()
def access(
    account: Annotated[str, typer.Argument(help="Account id.")],
    out: Annotated[Path | None, typer.Option(help="JSON file to write; default: print how much is held.")] = None,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Give out everything that is held about one account: rows, decisions with their causes, orders, verdicts.

    Example: limitlens access A004242 --out A004242.json
    """
    import json

    from limitlens.data.storage import write_text
    from limitlens.pipeline.privacy.access import access as everything
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    account = account_in(space, account, id_key)
    held = everything(space, account)
    text = json.dumps({"account_id": account, **held}, indent=1, ensure_ascii=False, default=str) + "\n"
    if out:
        write_text(text, out)
    if as_json:
        typer.echo(text, nl=False)
        return
    for part, rows in held.items():
        if rows:
            typer.echo(f"{part:<12} {len(rows):>9,} rows")
    typer.echo(f"all of it: {out}" if out else f"next: limitlens access {account} --out {account}.json")


@app.command()
def erase(
    accounts: Annotated[list[str] | None, typer.Argument(help="Account ids.")] = None,
    listed: Annotated[Path | None, typer.Option("--list", help="File with an account id a line.")] = None,
    actor: Annotated[str, typer.Option("--by", help="Who orders it.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")] = "",
    legal_hold: Annotated[bool, typer.Option(help="Erase nothing: keep these accounts from being erased.")] = False,
    lift: Annotated[bool, typer.Option(help="Erase nothing: end the legal hold of these accounts.")] = False,
    resume: Annotated[bool, typer.Option(help="Finish an erasure that was interrupted.")] = False,
    id_key: IdKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Erase everything held about accounts; the record of all others goes on to hold, to the last bit.

    A delivery that names them later does not bring them back. A legal hold keeps an account from being erased.

    Example: limitlens erase A004242 --by "Chen Wei" --reason "request of 2026-07-02"
    """
    from limitlens.data.toml_reader import read_small
    from limitlens.pipeline.privacy import erase as erasing
    from limitlens.pipeline.privacy.legal_hold import hold_legally
    from limitlens.pipeline.workspace import Workspace

    space, now = Workspace(workspace), datetime.now(UTC)
    lines = read_small(listed, "a list of accounts").splitlines() if listed else []
    named = dict.fromkeys([*(accounts or []), *filter(None, map(str.strip, lines))])
    wanted = [account_in(space, account, id_key) for account in named]
    if resume == bool(wanted) or legal_hold + lift + resume > 1:
        raise ConfigError(
            "name accounts or --list FILE, with one of --legal-hold and --lift at most; or --resume alone."
        )
    with patient(wait):
        if legal_hold or lift:
            for account in wanted:
                hold_legally(space, account, at=now, actor=actor, reason=reason, lift=lift)
                typer.echo(f"{account}: {'the legal hold is lifted' if lift else 'kept'} by {actor}")
            return
        done = (
            erasing.resume(space, progress)
            if resume
            else erasing.erase(space, wanted, at=now, actor=actor, reason=reason, progress=progress)
        )
    if done is None:
        typer.echo("no erasure was interrupted")
        return
    typer.echo(f"erased: {done.accounts:,} accounts; {done.files:,} recorded files written again, the chain holds")
    if done.named:
        typer.echo(f"{done.named:,} transfers of other accounts name them as the payee; those are the others' records")
    typer.echo("next: limitlens ledger verify")


@app.command()
def retain(
    rules: Annotated[Path, typer.Argument(help="How long what is kept, and what for (TOML).")],
    apply: Annotated[bool, typer.Option("--apply", help="Erase it; without this nothing is written.")] = False,
    actor: Annotated[str, typer.Option("--by", help="Who orders it.")] = "",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
) -> None:
    """Say what is older than its purpose needs, or erase it; a legal hold keeps an account.

    Example: limitlens retain conf/retention.toml --apply --by "Chen Wei"
    """
    from limitlens.pipeline.privacy import retain as retaining
    from limitlens.pipeline.workspace import Workspace

    space, now, kept_for = Workspace(workspace), datetime.now(UTC), retaining.read_retention(rules)
    old = retaining.due(space, kept_for, now)
    counts = {"closed_lines": len(old.accounts), "quarantine": old.held, "audit": old.audit}
    for rule in kept_for:
        typer.echo(f"{rule.table:<12} {counts[rule.table]:>9,} older than {rule.days:,} days, kept {rule.purpose}")
    if old.kept:
        typer.echo(f"{len(old.kept):,} closed lines stay under a legal hold")
    if not apply:
        typer.echo("nothing was written" + ("" if old.nothing else "; --apply --by NAME erases it"))
        return
    with patient(wait):
        done = retaining.retain(space, kept_for, at=now, actor=actor, progress=progress)
    typer.echo(f"erased: {done.accounts:,} accounts; {done.files:,} recorded files written again, the chain holds")
