"""A verdict: what a reviewer says of a case; what it orders holds from then on, and the next decision starts there."""

from dataclasses import replace
from datetime import datetime

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.data.lock import exclusive
from limitlens.limits.cases import open_cases, to_judge_twice
from limitlens.limits.override import Override
from limitlens.limits.verdict import IN_FAVOUR, VERDICT_CODES, Verdict, agreeing
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.order_override import checked, state_of
from limitlens.pipeline.reviewing.cases import history, last_run
from limitlens.pipeline.workspace import Workspace

#: Orders with which a verdict against a customer is carried out.
_AGAINST = ("limit", "freeze", "close")


def judge(
    workspace: Workspace,
    account_id: str,
    verdict: str,
    code: str,
    words: str,
    *,
    actor: str,
    at: datetime,
    action: str = "",
    limit_cents: int | None = None,
    seen: datetime | None = None,
) -> Verdict:
    """Record a verdict on the case of a line, and what it orders once enough reviewers agree.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    verdict, code, words : str
        One of :data:`limitlens.limits.verdict.VERDICTS`, one of its codes, and what was seen.
    actor : str
        The reviewer.
    at : datetime
        Now.
    action : str
        An order: ``limit`` (a lower one), ``freeze`` or ``close`` with ``uphold``, which needs one; ``limit`` or none
        with ``overturn`` and ``wrong_data``: without one drawing is possible again; none with ``ask``.
    limit_cents : int, optional
        With the action ``limit``.
    seen : datetime, optional
        As-of time of the decision that the reviewer was shown.

    Returns
    -------
    Verdict
        As recorded.

    Raises
    ------
    WorkspaceError
        The line has no case for this reviewer (somebody was quicker, or has to speak first), it was decided anew since
        it was shown, the verdict, code, words or order do not fit, or a run is in progress.
    """
    actor = actor.strip()
    _expect_sense(verdict, code, words, actor, action)
    with exclusive(workspace.root, "review decide"):
        case, needed = _case(workspace, account_id, actor, at)
        if seen is not None and seen != case["as_of"]:
            raise WorkspaceError(
                f"account {account_id}: decided anew as of {format_time(case['as_of'].to_pydatetime())} since it was "
                "shown; look again."
            )
        times = (case["since"].to_pydatetime(), case["as_of"].to_pydatetime(), at)
        spoken = Verdict(account_id, *times, verdict, code, words, actor, action, limit_cents, needed)
        if case["state"] == "blind":
            spoken = replace(spoken, blind=True, settles=False)
            return _recorded(workspace, spoken, None)
        if verdict == "ask":
            return _recorded(workspace, replace(spoken, needed=1, settles=False), None)
        if verdict in IN_FAVOUR and not action:
            can_draw = bool(state_of(workspace, account_id, at)["can_draw"])
            spoken = replace(spoken, action="keep" if can_draw else "unfreeze")
        why = f"{verdict} ({code}): {words}"
        ordered = checked(workspace, account_id, at, spoken.action, limit_cents, actor=actor, reason=why)
        if verdict == "uphold" and ordered.limit_cents > ordered.limit_before_cents:
            raise WorkspaceError(f"account {account_id}: uphold raises no limit; overturn may.")
        verdicts = workspace.ledger.verdicts()
        own = verdicts[(verdicts["account_id"] == account_id) & (verdicts["since"] == case["since"])]
        settles = agreeing(spoken, own) >= needed
        return _recorded(workspace, replace(spoken, settles=settles), ordered if settles else None)


def _expect_sense(verdict: str, code: str, words: str, actor: str, action: str) -> None:
    if verdict not in VERDICT_CODES:
        raise WorkspaceError(f"unknown verdict {verdict!r}; expected one of {list(VERDICT_CODES)}.")
    if code not in VERDICT_CODES[verdict]:
        raise WorkspaceError(f"{code!r} is no code of {verdict!r}; expected one of {list(VERDICT_CODES[verdict])}.")
    if not (actor.strip() and words.strip()):
        raise WorkspaceError("a verdict needs the name of a reviewer, and words: what was seen.")
    allowed = {"uphold": _AGAINST, "ask": ("",)}.get(verdict, ("", "limit"))
    if action not in allowed:
        orders = " or ".join(order or "none" for order in allowed)
        raise WorkspaceError(f"{verdict} takes the order {orders}; got {action or 'none'}.")


def _case(workspace: Workspace, account_id: str, actor: str, at: datetime) -> tuple[pd.Series, int]:
    """The case of a line that waits for a reviewer, and how many have to agree on it."""
    policy, verdicts = workspace.policy(last_run(workspace).policy_digest), workspace.ledger.verdicts()
    decisions = history(workspace, account_id)
    every = open_cases(decisions, verdicts, policy, at, actor)
    own = pd.concat([every[every["state"] != ""], to_judge_twice(decisions, verdicts, policy, at, actor)])
    if len(own):
        second = policy.dealing.second_above_cents
        case = own.iloc[0]
        return case, 2 if second and case["limit_cents"] > second else 1
    if len(every):
        raise WorkspaceError(f"account {account_id}: no verdict is wanted now: {every['why'].iloc[0]}.")
    spoken = verdicts[(verdicts["account_id"] == account_id) & verdicts["settles"]]
    if len(spoken):
        last = spoken.iloc[-1]
        raise WorkspaceError(
            f"account {account_id}: {last['actor']} settled it on {format_time(last['at'].to_pydatetime())}: "
            f"{last['verdict']} ({last['code']})."
        )
    raise WorkspaceError(
        f"account {account_id}: no decision asks for a person; limitlens ledger override changes a line all the same."
    )


def _recorded(workspace: Workspace, verdict: Verdict, ordered: Override | None) -> Verdict:
    workspace.ledger.record_verdict(verdict, ordered)
    with tracking.recorded_run(workspace.mlflow, "verdict", {tracking.HEAD: workspace.ledger.head()}):
        return verdict
