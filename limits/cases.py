"""Cases: which lines wait for a person, since when, and for whom; an account has one case at a time.

A case is opened by the first of the decisions that asked for a person one after the other, since one that did not, or
since a verdict that settled the case before.
"""

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.calendar import format_time
from limitlens.limits.names import as_read
from limitlens.limits.policy import Policy
from limitlens.limits.verdict import IN_FAVOUR, drawn

#: Actions that ask a person to look.
QUEUED = frozenset({"review", "hold"})

#: So long after a verdict a case that is drawn for it is judged a second time.
DOUBLE_WITHIN = timedelta(days=14)


def asks(decisions: pd.DataFrame, policy: Policy) -> BoolArray:
    """Which decisions ask for a person: reviews and holds, and pauses as long as they last if the desk looks at them.

    Parameters
    ----------
    decisions : DataFrame with ``action``, and ``paused_at``: since when drawing was paused before the decision
    policy : Policy
    """
    asked = decisions["action"].isin(QUEUED).to_numpy(bool)
    return asked | _paused(decisions) if policy.dealing.pauses else asked


def _paused(decisions: pd.DataFrame) -> BoolArray:
    """After which decisions drawing is paused."""
    goes_on = decisions["paused_at"].notna() & decisions["action"].isin(["keep", *QUEUED])
    paused: BoolArray = ((decisions["action"] == "pause") | goes_on).to_numpy(bool)
    return paused


def open_cases(
    decisions: pd.DataFrame, verdicts: pd.DataFrame, policy: Policy, at: datetime, reviewer: str = ""
) -> pd.DataFrame:
    """The cases that nobody has settled.

    Parameters
    ----------
    decisions : DataFrame
        Every decision of some accounts, by account and time, with ``account_id, as_of, action, paused_at,
        fired_rules``.
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
    policy : Policy
        Its ``[desk]`` says when a person is asked again.
    at : datetime
        Now.
    reviewer : str
        Who asks; empty: nobody in particular.

    Returns
    -------
    DataFrame with a plain index
        The last decision of each account that has a case, with ``since`` (datetime64[us, UTC]): of the decision that
        opened it; ``state`` (str): ``open``, ``second`` (another reviewer has to agree) or empty, where it is set
        aside; and ``why`` (str) it is.
    """
    waiting = _waiting(decisions, verdicts, policy)
    spoken = verdicts.merge(decisions[["account_id", "as_of", "fired_rules"]], how="left", on=["account_id", "as_of"])
    by_account = dict(list(spoken.groupby("account_id")))
    states = [
        _state(case, by_account[case["account_id"]], policy, at, reviewer)
        if case["account_id"] in by_account
        else ("open", "")
        for case in waiting.to_dict("records")
    ]
    return waiting.assign(state=[state for state, _ in states], why=[why for _, why in states])


def to_judge_twice(
    decisions: pd.DataFrame, verdicts: pd.DataFrame, policy: Policy, at: datetime, reviewer: str
) -> pd.DataFrame:
    """Settled cases that are drawn for a second look, by someone who has not spoken in them and is not shown how.

    Parameters
    ----------
    decisions, verdicts, policy, at
        As for :func:`open_cases`.
    reviewer : str
        Who asks.

    Returns
    -------
    DataFrame with a plain index
        The decision that was judged, with ``since``, and the ``state`` ``blind``; ``why`` is empty, ``paused`` false.
    """
    case, desk = ["account_id", "since"], policy.dealing
    settled = verdicts[verdicts["settles"] & (verdicts["at"] > pd.Timestamp(at) - DOUBLE_WITHIN)]
    keys = list(zip(settled["account_id"], settled["since"].dt.to_pydatetime(), strict=True))
    settled = settled[np.array(drawn(keys, desk.double_share, f"{desk.salt}:double"), bool)]
    own = [as_read(actor) == as_read(reviewer) for actor in verdicts["actor"]]
    spoken = verdicts[verdicts["blind"] | np.array(own, bool)][case].drop_duplicates()
    fresh = settled[[*case, "as_of"]].merge(spoken, on=case, how="left", indicator="spoken")
    judged = fresh.loc[fresh["spoken"] == "left_only", [*case, "as_of"]]
    again = decisions.merge(judged, on=["account_id", "as_of"])
    return again.assign(state="blind", why="", paused=False)


def _waiting(decisions: pd.DataFrame, verdicts: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """The last decision of each account that waits, with the time ``since`` its case is open."""
    settled = verdicts[verdicts["settles"]].groupby("account_id", as_index=False)["at"].max()
    settled_at = decisions[["account_id"]].merge(settled, how="left", on="account_id")["at"].set_axis(decisions.index)
    outside = ~asks(decisions, policy) | (decisions["as_of"] <= settled_at)
    barrier = decisions["as_of"].where(outside).groupby(decisions["account_id"]).transform("max")
    inside = decisions[barrier.isna() | (decisions["as_of"] > barrier)]
    since = inside.groupby("account_id")["as_of"].transform("min")
    waiting = inside.assign(since=since, paused=_paused(inside)).drop_duplicates("account_id", keep="last")
    return waiting.reset_index(drop=True)


def _state(
    case: Mapping[Hashable, Any], spoken: pd.DataFrame, policy: Policy, at: datetime, reviewer: str
) -> tuple[str, str]:
    """State of a case, and why it is set aside if it is."""
    before, own = spoken[spoken["since"] != case["since"]], spoken[spoken["since"] == case["since"]]
    if why := _judged_lately(case, before, policy):
        return "", why
    if own.empty:
        return "open", ""
    last = own.iloc[-1]
    if last["verdict"] == "ask":
        answered = last["at"] + timedelta(days=policy.dealing.ask_days)
        until = format_time(answered.to_pydatetime())
        why = f"{last['actor']} asked the customer ({last['code']}) until {until}"
        return ("", why) if at < answered else ("open", "")
    if as_read(reviewer) in set(own["actor"].map(as_read)):
        return "", f"{reviewer} has spoken; another reviewer has to agree"
    return "second", ""


def _judged_lately(case: Mapping[Hashable, Any], before: pd.DataFrame, policy: Policy) -> str:
    """Why a person need not look at a line again; empty where somebody should: a pause ends in an adverse action."""
    favour = before[before["verdict"].isin(IN_FAVOUR) & before["settles"]]
    if favour.empty or case["paused"]:
        return ""
    last = favour.iloc[-1]
    again = last["at"] + timedelta(days=policy.dealing.again_after_days)
    if case["since"] >= again or _on_evidence(case["fired_rules"], policy) - _on_evidence(last["fired_rules"], policy):
        return ""
    judged, until = (format_time(time.to_pydatetime()) for time in (last["at"], again))
    return f"{last['actor']} judged it on {judged}: {last['verdict']}; not again before {until}"


def _on_evidence(fired: Iterable[str], policy: Policy) -> set[str]:
    """Hard rules among those that fired."""
    return {rule.name for rule in policy.evidence} & set(fired)
