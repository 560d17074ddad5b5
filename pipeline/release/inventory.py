"""Inventory: every model version with its policy, who owns and who reviewed it, where it stands, the next review."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from limitlens.data.calendar import DAY, format_time, months_later
from limitlens.limits.names import as_read
from limitlens.limits.registry import Promotion, RegisteredModel
from limitlens.pipeline.release.sign_off import standing
from limitlens.pipeline.workspace import Workspace

State = Literal["develop", "test", "review", "live", "replaced", "withdrawn"]


@dataclass(frozen=True)
class InventoryRow:
    """One version, with the policy it was released with.

    Parameters
    ----------
    model_version, policy, policy_digest, developer : str
    owner : str
        Who answers for it by its policy; empty: nobody is named.
    tier : int
        How much hangs on it by its policy, 1 most; 0: nobody has said.
    state : {"develop", "test", "review", "live", "replaced", "withdrawn"}
    promoted_by, promoted : str
        Who stands behind the last promotion, and its day; empty before one.
    reviewer, reviewed : str
        Who promoted it or approved what is there last and is not the developer, and the day; empty: nobody did.
    review_due : str
        Day by which a live version is to be reviewed again; empty for any other.
    sign_offs : tuple of str
        When, how, by whom and why, in order.
    overdue : bool
        That day is past.
    """

    model_version: str
    policy: str
    policy_digest: str
    developer: str
    owner: str
    tier: int
    state: State
    promoted_by: str
    promoted: str
    reviewer: str
    reviewed: str
    review_due: str
    sign_offs: tuple[str, ...]
    overdue: bool


def inventory(workspace: Workspace, at: datetime) -> list[InventoryRow]:
    """Every version, oldest first, as the registry has it at this moment.

    Parameters
    ----------
    workspace : Workspace
        It need not exist.
    at : datetime
        Now; a review is overdue after its day.
    """
    registry = workspace.registry
    promotions, withdrawn = registry.promotions(), registry.withdrawn()
    return [
        _row(workspace, model, [one for one in promotions if one.model_version == model.model_version], state, at)
        for model in registry.models()
        for state in [
            state_of(
                model.model_version,
                promotions,
                withdrawn,
                signed=bool(registry.sign_offs(model.model_version)),
                blocked=_blocked(workspace, model),
            )
        ]
    ]


def _blocked(workspace: Workspace, model: RegisteredModel) -> bool:
    """Whether its validation blocks a version, or is not there."""
    path = workspace.root / model.folder / "validation.json"
    return not path.is_file() or bool(workspace.validation(model.model_version)["doubts"])


def state_of(
    version: str, promotions: Sequence[Promotion], withdrawn: Container[str], *, signed: bool, blocked: bool
) -> State:
    """Where a version stands, by what is recorded of all.

    Parameters
    ----------
    version : str
    promotions : sequence of Promotion
        In order.
    withdrawn : container of str
        Withdrawn versions.
    signed : bool
        A reviewer approved or rejected it.
    blocked : bool
        Its validation blocks it.

    Returns
    -------
    {"develop", "test", "review", "live", "replaced", "withdrawn"}
        Of what was never promoted: ``develop``, what its validation blocks; ``test``, what it does not; ``review``,
        what a reviewer signed. ``replaced``: another one was promoted after it. What was withdrawn is not live, even
        before another is promoted.
    """
    if version in withdrawn:
        return "withdrawn"
    champions = [promotion.model_version for promotion in promotions]
    if version not in champions:
        return "review" if signed else "develop" if blocked else "test"
    return "live" if champions[-1] == version else "replaced"


def _row(
    workspace: Workspace, model: RegisteredModel, own: Sequence[Promotion], state: State, at: datetime
) -> InventoryRow:
    policy = workspace.policy(model.policy_digest)
    signed = workspace.registry.sign_offs(model.model_version).values()
    reviews = _reviews(workspace, model, own)
    reviewed, reviewer = max(reviews, default=(None, ""))
    begun = [datetime.fromisoformat(one.promoted_at) for one in own if one.kind != "rollback"]
    begun += [when for when, _ in reviews]
    due = months_later(max(begun), policy.release.review_months) if state == "live" else None
    return InventoryRow(
        model_version=model.model_version,
        policy=policy.name,
        policy_digest=model.policy_digest,
        developer=model.developer,
        owner=policy.release.owner,
        tier=policy.release.tier,
        state=state,
        promoted_by=own[-1].approver or own[-1].reviewer if own else "",
        promoted=own[-1].promoted_at[:10] if own else "",
        reviewer=reviewer,
        reviewed=f"{reviewed:%Y-%m-%d}" if reviewed else "",
        review_due=format_time(due) if due else "",
        sign_offs=tuple(f"{one.signed_at[:10]} {one.verdict} by {one.actor}: {one.reason}" for one in signed),
        overdue=due is not None and at >= due + DAY,
    )


def _reviews(workspace: Workspace, model: RegisteredModel, own: Sequence[Promotion]) -> list[tuple[datetime, str]]:
    """When somebody other than the developer looked at a version, and who; going back to it is no look at it."""
    promoted = [(one.promoted_at, one.reviewer) for one in own if one.kind != "rollback"]
    signed = [(one.signed_at, one.actor) for one in standing(workspace, model)]
    return [
        (datetime.fromisoformat(when), who)
        for when, who in (*promoted, *signed)
        if as_read(who) != as_read(model.developer)
    ]
