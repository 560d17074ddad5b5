"""Commands about who answers for a version: the inventory, its model card, and what a reviewer signs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from limitlens.data.errors import LimitlensError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    LangOption,
    ReasonOption,
    SignKeyOption,
    WaitOption,
    WorkspaceOption,
    app,
    page_name,
    patient,
    pem,
    predict_only,
    print_json,
    print_table,
)


@app.command()
def inventory(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List every version with its policy, owner, tier, developer, reviewer and state, and its next review.

    The exit code is 3 when the review of the live version is overdue.

    Example: limitlens inventory --json
    """
    from rich.table import Table

    from limitlens.pipeline.release.inventory import inventory as versions_of
    from limitlens.pipeline.workspace import Workspace

    rows = versions_of(Workspace(workspace), datetime.now(UTC))
    overdue = [row for row in rows if row.overdue]
    if as_json:
        print_json([asdict(row) for row in rows])
    elif not rows:
        typer.echo("no version yet\nnext: limitlens train")
    else:
        named = [name for name in ("owner", "tier") if any(getattr(row, name) for row in rows)]
        heads = ("version", "state", "policy", *named, "developer", "promoted", "reviewer", "next review")
        shown = Table(*heads, box=None)
        for row in rows:
            promoted = f"{row.promoted} by {row.promoted_by}" if row.promoted else ""
            reviewer = f"{row.reviewer}, {row.reviewed}" if row.reviewer else "nobody"
            due = f"{row.review_due}{', OVERDUE' if row.overdue else ''}"
            policy = f"{row.policy} {row.policy_digest[:8]}"
            of_policy = [str(getattr(row, name) or "") for name in named]
            shown.add_row(row.model_version, row.state, policy, *of_policy, row.developer, promoted, reviewer, due)
        print_table(shown, "promoted", "reviewer")
        for row in rows:
            for signed in row.sign_offs:
                typer.echo(f"version {row.model_version}: {signed}")
        for row in overdue:
            typer.echo(f"the review of version {row.model_version} was due by {row.review_due}")
    if overdue:
        raise typer.Exit(3)


@app.command("model-card")
def model_card(
    version: Annotated[str, typer.Argument(help="Model version.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="File: .html, .md or .json; default: model-card.html, or model-card.zh-CN.html, in the workspace."
        ),
    ] = None,
    lang: LangOption = "en",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write what is known of a version on one page: what it is for, data, figures, weaknesses, who answers for it.

    A reviewer signs it with limitlens sign-off.

    Example: limitlens model-card 2 --out card.html --lang zh
    """
    from limitlens.data.storage import write_text
    from limitlens.pipeline.release.model_card_page import model_card_of, rendered
    from limitlens.pipeline.workspace import Workspace

    known = model_card_of(Workspace(workspace), version, datetime.now(UTC))
    if as_json:
        print_json(known)
        return
    path = out or workspace / page_name("model-card", lang)
    kind = path.suffix[1:]
    if kind not in {"html", "md", "json"}:
        raise LimitlensError(f"{path}: a card is written as .html, .md or .json; name such a file.")
    write_text(json.dumps(known, indent=1) if kind == "json" else rendered(known, kind, lang), path)
    typer.echo(f"open {path}")
    typer.echo(f"next: limitlens sign-off {version} --by NAME --verdict approve --reason TEXT")


@app.command("sign-off")
def sign_off(
    version: Annotated[str, typer.Argument(help="Model version.")],
    by: Annotated[str, typer.Option("--by", help="Who reviewed it; not the developer.")],
    verdict: Annotated[Literal["approve", "reject"], typer.Option(help="What the review came to.")],
    reason: ReasonOption,
    sign_key: SignKeyOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Sign what is recorded of a version: its model, policy, validation and model card.

    With sign_off in [release] of the policy, promote asks for it. The same call again records nothing.

    Example: limitlens sign-off 2 --by "Chen Wei" --verdict approve --reason "report read, tail in order"
    """
    predict_only()
    from limitlens.limits.finding import recorded_findings
    from limitlens.pipeline.release.sign_off import sign_off as sign_version_off
    from limitlens.pipeline.workspace import Workspace

    space = Workspace(workspace)
    with patient(wait):
        signed = sign_version_off(space, version, by, verdict, reason, at=datetime.now(UTC), key=pem(sign_key))
    if as_json:
        print_json(asdict(signed))
        return
    for _, finding in recorded_findings(space.validation(version)):
        typer.echo(f"{'blocks' if finding.blocks else 'decided by it'}: {finding.text}")
    typer.echo(f"version {version}: {verdict} by {signed.actor}, of what has the sha256 {signed.sha256}")
    if verdict == "approve":
        typer.echo(f"next: limitlens promote {version} --reviewer NAME")
