"""Promote: a reviewer, who is not the developer, makes a version the champion, if it does not move too many limits."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from limitlens.data.errors import GateError, WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.data.progress import Progress, silent
from limitlens.features.spine import has_limits
from limitlens.limits.keys import public_of
from limitlens.limits.policy import Budget
from limitlens.limits.registry import Promotion, RegisteredModel
from limitlens.pipeline import tracking
from limitlens.pipeline.release.compare import Compared, compare
from limitlens.pipeline.release.sign_off import expect_other_person, expect_sign_off, judging
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Override:
    """Who lets a version pass above the budget or in spite of doubts, why, and the private key to sign with, as PEM."""

    approver: str
    reason: str
    key: bytes | None = None


def _expect_approver(release: Budget, override: Override, what: str) -> None:
    """Refuse anybody but the approver of a policy, who signs where the policy names a key."""
    if release.approver != override.approver.strip():
        raise GateError(f"only the {release.approver} may promote {what}; got --override-by {override.approver!r}.")
    key = public_of(override.key) if override.key else ""
    if release.approver_key and key != release.approver_key:
        raise GateError(
            f"the policy asks for the signature of the {release.approver}: give --sign-key FILE with the private key "
            f"to {release.approver_key[:12]}."
        )


def promote(
    workspace: Workspace,
    reviewer: str | None,
    promoted_at: datetime,
    version: str | None = None,
    *,
    reason: str | None = None,
    override: Override | None = None,
    key: bytes | None = None,
    until: datetime | None = None,
    progress: Progress = silent,
) -> tuple[str, str]:
    """Make a version the champion and record who did it.

    A version that replaces a champion is compared with it first: over the budget of the champion's policy it is
    refused. Where no account has a limit it can move none. The comparison is stored with the MLflow run of the
    version. A call that was killed may be repeated: it goes on, or says that the version is the champion already.

    Parameters
    ----------
    workspace : Workspace
    reviewer : str, optional
        Name of the person who reviewed the version; the very first promotion may go without.
    promoted_at : datetime
    version : str, optional
        Default: the version trained last.
    reason : str, optional
        Why, in the words of the reviewer; an override has a reason of its own.
    override : Override, optional
        Promote above the budget, or in spite of doubts.
    key : bytes, optional
        Private key of the reviewer, as PEM: the promotion is signed.
    until : datetime, optional
        Compare with nothing but what was known before.
    progress : callable

    Returns
    -------
    (str, str)
        The version, and ``bootstrap`` for the first promotion of a workspace, ``review``, or ``override``.

    Raises
    ------
    GateError
        The version is the champion already, no reviewer is named, the developer is the reviewer, the policy asks for
        a sign-off and there is none of what is there, the budget is exceeded, or there are doubts about the version
        (:func:`limitlens.models.validation.doubts`).
    WorkspaceError
        Nothing was trained, or the version does not exist or was withdrawn.
    """
    with exclusive(workspace.root, "promote"):
        models = workspace.registry.models()
        if not models:
            raise WorkspaceError("nothing has been trained yet; run limitlens train first.")
        chosen = workspace.registry.model(version) if version else models[-1]
        workspace.scoring(chosen.model_version)
        champion = workspace.registry.champion()
        last = workspace.registry.promotions()[-1] if champion else None
        if last and last.model_version == chosen.model_version:
            raise GateError(
                f"version {last.model_version} is the champion already: {last.reviewer} promoted it on "
                f"{last.promoted_at[:10]}; train another version, or name one."
            )
        kind = "review" if champion else "bootstrap"
        if judging(workspace, chosen.model_version).sign_off:
            expect_sign_off(workspace, chosen)
        if champion:
            _check_reviewer(workspace, reviewer, chosen)
            if has_limits(workspace.events.relations()):
                compared = compare(workspace, champion, chosen.model_version, until=until, progress=progress)
                kind = _judged(workspace, compared, chosen, override)
        if doubts := workspace.validation(chosen.model_version)["doubts"]:
            kind = _doubted(workspace, champion or chosen.model_version, chosen.model_version, doubts, override)
        tracking.promote(workspace.mlflow, chosen.model_version)
        workspace.registry.record_promotion(
            chosen.model_version,
            reviewer or chosen.developer,
            kind,
            promoted_at,
            approver=override.approver if override and kind == "override" else reviewer,
            reason=override.reason if override and kind == "override" else reason,
            key=override.key if override and kind == "override" else key,
        )
    return chosen.model_version, kind


def _judged(workspace: Workspace, compared: Compared, chosen: RegisteredModel, override: Override | None) -> str:
    """Kind of the promotion, if it may go on."""
    tracking.attach_text(workspace.mlflow, chosen.mlflow_run_id, json.dumps(compared.to_dict(), indent=1), "gate.json")
    if not compared.breaches:
        return "review"
    if override is None:
        raise GateError(_refusal(compared))
    _expect_approver(workspace.iteration(compared.old).policy.release, override, "above the budget")
    return "override"


def _doubted(workspace: Workspace, judging: str, version: str, doubts: list[str], override: Override | None) -> str:
    """Kind of the promotion of a version that nobody should rely on; the policy in force says who may."""
    release = workspace.iteration(judging).policy.release
    approver = release.approver
    if override is None:
        raise GateError(
            f"version {version} is not fit to decide: {'; '.join(doubts)}. Deliver more history and train again; "
            f"the {approver} may promote it all the same with --override-by {approver!r} --reason TEXT."
        )
    _expect_approver(release, override, "it all the same")
    return "override"


def _refusal(compared: Compared) -> str:
    return (
        f"version {compared.new} moves more than the budget of the champion's policy allows: "
        f"{'; '.join(map(str, compared.breaches))}. See limitlens compare {compared.old} {compared.new}; "
        f"the {compared.approver} may override it with --override-by {compared.approver!r} --reason TEXT."
    )


def rollback(workspace: Workspace, reviewer: str, reason: str, promoted_at: datetime) -> str:
    """Make the champion before this one the champion again; returns its version.

    Parameters
    ----------
    workspace : Workspace
    reviewer : str
        Who answers for it.
    reason : str
    promoted_at : datetime
        UTC; recorded with it.

    Raises
    ------
    WorkspaceError
        There was none, or all of them were withdrawn.
    """
    with exclusive(workspace.root, "rollback"):
        withdrawn = workspace.registry.withdrawn()
        usable = [version for version in _champions(workspace.registry.promotions())[:-1] if version not in withdrawn]
        if not usable:
            raise WorkspaceError("no earlier champion to go back to; train another version and promote it.")
        workspace.scoring(usable[-1])
        tracking.promote(workspace.mlflow, usable[-1])
        workspace.registry.record_promotion(
            usable[-1], reviewer, "rollback", promoted_at, approver=reviewer, reason=reason
        )
    return usable[-1]


def _champions(promotions: Sequence[Promotion]) -> list[str]:
    """Champions in order, the present one last; what was rolled back is forgotten, so the next goes further back."""
    champions: list[str] = []
    for promotion in promotions:
        if promotion.kind == "rollback":
            champions = champions[: champions.index(promotion.model_version)]
        champions = [version for version in champions if version != promotion.model_version]
        champions.append(promotion.model_version)
    return champions


def withdraw(workspace: Workspace, version: str, actor: str, reason: str, withdrawn_at: datetime) -> None:
    """Take a version out of use; nothing can be scored, decided or promoted with it any more.

    Raises
    ------
    WorkspaceError
        The version does not exist.
    """
    with exclusive(workspace.root, "withdraw"):
        workspace.registry.model(version)
        workspace.registry.record_withdrawal(version, actor, reason, withdrawn_at)


def _check_reviewer(workspace: Workspace, reviewer: str | None, chosen: RegisteredModel) -> None:
    """Four eyes: a champion is replaced by somebody with a name, who did not train the next."""
    if reviewer is None or not reviewer.strip():
        raise GateError("this promotion replaces a champion and needs a review; give --reviewer NAME.")
    expect_other_person(workspace, reviewer, chosen, judging(workspace, chosen.model_version))
