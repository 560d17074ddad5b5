"""Sign-off: a reviewer, who is not the developer, signs what is recorded of a version; a promotion may ask for it."""

from datetime import datetime
from typing import Literal

from limitlens.data.errors import GateError, WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.limits.keys import public_of
from limitlens.limits.names import as_read
from limitlens.limits.policy import Budget
from limitlens.limits.records import expect_recorded
from limitlens.limits.registry import RegisteredModel, SignOff
from limitlens.limits.signed import signable
from limitlens.limits.signers import expect_signers, os_user, signed_by
from limitlens.pipeline.workspace import Workspace

Verdict = Literal["approve", "reject"]


def sign_off(
    workspace: Workspace,
    version: str,
    reviewer: str,
    verdict: Verdict,
    reason: str,
    *,
    at: datetime,
    key: bytes | None = None,
) -> SignOff:
    """Sign what is recorded of a version: its model, its policy, its validation and its card.

    Parameters
    ----------
    workspace : Workspace
    version, reviewer : str
    verdict : {"approve", "reject"}
    reason : str
    at : datetime
    key : bytes, optional
        Private key of the reviewer, as PEM.

    Returns
    -------
    SignOff
        The last of this reviewer, where it says the same of the same with the same key: nothing is recorded twice.

    Raises
    ------
    GateError
        The reviewer trained the version, or the policy wants another user of the machine.
    WorkspaceError
        The version does not exist or was withdrawn, or a name or reason is missing.
    IntegrityError
        What is there is not what was recorded.
    """
    if not (as_read(reviewer) and reason.strip()):
        raise WorkspaceError("a sign-off needs the name of a person and a reason.")
    with exclusive(workspace.root, "sign-off"):
        model = workspace.registry.model(version)
        workspace.scoring(version)
        expect_recorded(workspace.root, workspace.first_loads, running=True)
        expect_other_person(workspace, reviewer, model, judging(workspace, version))
        signed = SignOff(
            version, signable(workspace.root, model), verdict, reviewer.strip(), reason.strip(), at.isoformat()
        )
        earlier = _last_of_each(workspace, version).get(as_read(reviewer))
        if earlier and _same(workspace, earlier, signed, key):
            return earlier[1]
        workspace.registry.record_sign_off(signed, key)
    return signed


def judging(workspace: Workspace, version: str) -> Budget:
    """Section ``[release]`` that a version has to pass: of the champion's policy; before there is one, of its own."""
    judge = workspace.registry.model(workspace.registry.champion() or version)
    return workspace.policy(judge.policy_digest).release


def expect_other_person(workspace: Workspace, reviewer: str, model: RegisteredModel, release: Budget) -> None:
    """Four eyes: whoever trained a version does not review it, however the name is spelled.

    Raises
    ------
    GateError
    """
    if as_read(reviewer) == as_read(model.developer):
        raise GateError(f"{reviewer} trained this version; somebody else has to review it.")
    trained_by = {user for _, user, _ in signed_by(workspace.root, ("model", model.model_version))}
    if release.other_os_user and os_user() in trained_by:
        raise GateError(
            f"user {os_user()} of this machine trained version {model.model_version}; the policy wants "
            "another user to review it."
        )


def expect_sign_off(workspace: Workspace, model: RegisteredModel) -> None:
    """Refuse a version that nobody signed off as it is now, or that a reviewer rejected.

    Raises
    ------
    GateError
    IntegrityError
        A sign-off, or what it is about, is not what was recorded.
    """
    expect_recorded(workspace.root, workspace.first_loads, running=True)
    expect_signers(workspace.root)
    if missing := missing_sign_off(workspace, model):
        raise GateError(missing)


def missing_sign_off(workspace: Workspace, model: RegisteredModel) -> str:
    """What a version lacks of being signed off as it is now, and how to mend it; empty: nothing.

    Parameters
    ----------
    workspace : Workspace
    model : RegisteredModel
    """
    version = model.model_version
    signed = [one for _, one in _last_of_each(workspace, version).values()]
    if rejected := [one for one in signed if one.verdict == "reject"]:
        return (
            f"{rejected[0].actor} rejected version {version} on {rejected[0].signed_at[:10]}: {rejected[0].reason}; "
            "only who rejected a version may approve it after all."
        )
    if not signed:
        return (
            f"nobody signed version {version} off, and the policy asks for it: "
            f"limitlens sign-off {version} --by NAME --verdict approve --reason TEXT."
        )
    if not standing(workspace, model):
        return (
            f"what {signed[-1].actor} signed of version {version} is not what is there: its model, policy, "
            "validation or card is another one; have it signed off again."
        )
    return ""


def standing(workspace: Workspace, model: RegisteredModel) -> list[SignOff]:
    """The last sign-off of each reviewer, where it approves what is there now; in the order of recording."""
    signed = [one for _, one in sorted(_last_of_each(workspace, model.model_version).values(), key=lambda one: one[0])]
    return [one for one in signed if one.verdict == "approve" and one.sha256 == signable(workspace.root, model)]


def _last_of_each(workspace: Workspace, version: str) -> dict[tuple[str, ...], tuple[int, SignOff]]:
    """The last sign-off of a version by each person, with its number."""
    return {as_read(one.actor): (number, one) for number, one in workspace.registry.sign_offs(version).items()}


def _same(workspace: Workspace, earlier: tuple[int, SignOff], signed: SignOff, key: bytes | None) -> bool:
    """Whether two sign-offs of one person say the same of the same, signed with the same key."""
    number, before = earlier
    [(_, _, public)] = signed_by(workspace.root, ("sign-off", str(number)))
    content = [(one.sha256, one.verdict, one.reason) for one in (before, signed)]
    return content[0] == content[1] and public == (public_of(key) if key else "")
