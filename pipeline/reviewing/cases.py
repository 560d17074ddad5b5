"""Cases: lines whose decisions ask for a person, one case each until somebody has settled it."""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from limitlens.data.errors import WorkspaceError
from limitlens.limits.cases import QUEUED, asks, open_cases, to_judge_twice
from limitlens.limits.ledger import Run
from limitlens.limits.policy import Policy
from limitlens.limits.queue import review_queue
from limitlens.limits.similar import similar
from limitlens.limits.verdict import drawn
from limitlens.pipeline.deciding.joint_jumps import joint_jumps
from limitlens.pipeline.deciding.outcomes import outcomes_of
from limitlens.pipeline.deciding.point_in_time import table_at
from limitlens.pipeline.workspace import Workspace

#: Settled cases that are shown beside one that waits.
MOST_SIMILAR = 5

#: Every decision of accounts whose last one may ask for a person, or about which one has spoken.
_HISTORY_SQL = """
SELECT account_id, as_of, action, state.paused_at AS paused_at, limit_cents, pd, fired_rules, reasons
FROM decisions SEMI JOIN (
    SELECT account_id FROM decisions WHERE $account IN ('', account_id)
    GROUP BY account_id HAVING ARG_MAX(state.paused_at IS NOT NULL OR list_contains($asking, action), as_of)
    OR account_id IN (SELECT account_id FROM verdicts)
) USING (account_id) ORDER BY account_id, as_of
"""


@dataclass(frozen=True)
class Sent:
    """What the runs so far have sent to people; it is the same until the next run.

    Parameters
    ----------
    run : Run
        That of the last date.
    policy : Policy
        Of that run: it says what comes first.
    decisions : DataFrame
        As :func:`history` gives them.
    facts : DataFrame
        ``segment, balance_cents, jumped_with`` by ``account_id`` and ``as_of``: of the last decision of each account
        that asks for a person, and of those about which one has spoken.
    settled : DataFrame
        ``account_id, as_of, outcome`` of the decisions in whose cases a verdict had settled: what became of the line.
    """

    run: Run
    policy: Policy
    decisions: pd.DataFrame
    facts: pd.DataFrame
    settled: pd.DataFrame


@dataclass(frozen=True)
class Cases:
    """What waits for a reviewer at a moment.

    Parameters
    ----------
    at : datetime
    policy : Policy
        That of the last run.
    lines : DataFrame
        One row a case, in the order in which they are dealt out: ``place`` (int64) from 1 on, ``account_id``,
        ``since`` and ``as_of`` (datetime64[us, UTC]): of the decision that opened the case, and of the last one;
        ``action``, ``segment``, ``pd``, ``limit_cents``, ``balance_cents``, ``avoidable_loss_cents``,
        ``avoidable_harm_cents``, ``evidence``, ``within_capacity``, ``fired_rules``, ``reasons``, ``jumped_with`` as
        in the queue of one date; ``paused`` (bool): drawing is; ``drawn`` (bool): first by lot; ``state`` (str):
        ``open``, ``second`` (another reviewer has to agree) or ``blind`` (it is settled, and looked at once more by
        someone who is not shown how).
    set_aside : DataFrame
        Cases that are not dealt out: ``account_id``, ``since``, ``as_of``, and why in words (``why``).
    """

    at: datetime
    policy: Policy
    lines: pd.DataFrame
    set_aside: pd.DataFrame


def cases(workspace: Workspace, at: datetime, reviewer: str = "") -> Cases:
    """The cases that wait at a moment.

    Parameters
    ----------
    workspace : Workspace
    at : datetime
        Now.
    reviewer : str
        Who asks: whoever has spoken in a case is not asked again. Without a name no case is judged twice.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    """
    return dealt(sent(workspace), workspace.ledger.verdicts(), at, reviewer)


def last_run(workspace: Workspace) -> Run:
    """The run of the last date.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    """
    runs = workspace.ledger.runs()
    if not runs:
        raise WorkspaceError("nothing has been decided yet; run limitlens decide first.")
    return max(runs, key=lambda run: run.as_of)


def history(workspace: Workspace, account_id: str = "") -> pd.DataFrame:
    """Every decision of the accounts whose last one may ask for a person, or about which one has spoken.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
        Only of this account; empty: of all.

    Returns
    -------
    DataFrame with ``account_id, as_of, action, paused_at, limit_cents, pd, fired_rules, reasons``, by account and time
    """
    return workspace.ledger.query(_HISTORY_SQL, {"asking": [*sorted(QUEUED), "pause"], "account": account_id})


def sent(workspace: Workspace) -> Sent:
    """What the runs so far have sent to people.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    """
    last, decisions = last_run(workspace), history(workspace)
    policy = workspace.policy(last.policy_digest)
    spoken = workspace.ledger.verdicts()[["account_id", "as_of"]].assign(judged=True).drop_duplicates()
    judged = decisions[["account_id", "as_of"]].merge(spoken, how="left")["judged"].notna().to_numpy()
    newest = ~decisions["account_id"].duplicated(keep="last").to_numpy()
    asked = decisions[(asks(decisions, policy) & newest) | judged].reset_index(drop=True)
    features = workspace.iteration(last.model_version).model.features
    features = features.only({"balance_cents"} & set(features.columns))
    moments = asked[["account_id", "as_of"]].assign(known_by=asked["as_of"])
    table = table_at(features, moments, workspace.relations(features)).reset_index(drop=True)
    facts = asked[["account_id", "as_of"]].assign(segment=table["segment"], balance_cents=table.get("balance_cents", 0))
    at_last = facts["as_of"] == pd.Timestamp(last.as_of)
    jumps = joint_jumps(facts[at_last], workspace, last.as_of) if at_last.any() else {}
    unusual = {account: jump.text for account, jump in jumps.items() if jump.unusual}
    facts["jumped_with"] = facts["account_id"].where(at_last, "").map(lambda account: unusual.get(account, ""))
    return Sent(last, policy, decisions, facts, _settled(workspace, last))


def _settled(workspace: Workspace, last: Run) -> pd.DataFrame:
    """What became of the lines whose cases were settled."""
    verdicts = workspace.ledger.verdicts()
    points = verdicts.loc[verdicts["settles"], ["account_id", "as_of"]].drop_duplicates(ignore_index=True)
    return points.assign(outcome=outcomes_of(workspace, points, last) if len(points) else "")


def settled_like(waiting: Sent, verdicts: pd.DataFrame, account_id: str) -> pd.DataFrame:
    """Cases that were settled and are most like the last decision of an account.

    Parameters
    ----------
    waiting : Sent
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
    account_id : str

    Returns
    -------
    DataFrame with ``account_id, as_of, pd, limit_cents, fired_rules, verdict, code, actor, outcome``
        At most :data:`MOST_SIMILAR`; none where the account has no case. ``outcome`` is empty for what was settled
        since the last run.
    """
    own = waiting.decisions[waiting.decisions["account_id"] == account_id]
    others = verdicts[verdicts["settles"] & (verdicts["account_id"] != account_id)]
    judged = waiting.decisions.merge(others[["account_id", "as_of", "verdict", "code", "actor"]])
    judged = judged.merge(waiting.settled, how="left").fillna({"outcome": ""})
    if own.empty:
        return judged.iloc[:0]
    last = own.iloc[-1]
    return similar(float(last["pd"]), last["fired_rules"], judged, MOST_SIMILAR)


def dealt(waiting: Sent, verdicts: pd.DataFrame, at: datetime, reviewer: str = "") -> Cases:
    """The cases of :func:`cases`, given what was sent and said.

    Parameters
    ----------
    waiting : Sent
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
    at : datetime
    reviewer : str
    """
    policy = waiting.policy
    every = open_cases(waiting.decisions, verdicts, policy, at, reviewer)
    aside = every.loc[every["state"] == "", ["account_id", "since", "as_of", "why"]].reset_index(drop=True)
    lines = every[every["state"] != ""]
    if reviewer:
        lines = pd.concat([lines, to_judge_twice(waiting.decisions, verdicts, policy, at, reviewer)])
    lines = lines.drop(columns="why").merge(waiting.facts, on=["account_id", "as_of"]).reset_index(drop=True)
    lines = lines.assign(**{name: lines[name].map(list) for name in ("fired_rules", "reasons")})
    keys = list(zip(lines["account_id"], lines["since"].dt.to_pydatetime(), strict=True))
    lines["drawn"] = drawn(keys, policy.dealing.random_share, f"{policy.dealing.salt}:random")
    rules = replace(policy.reviews, order=policy.dealing.order)
    ordered = pd.concat([lines, review_queue(lines, replace(policy, reviews=rules))], axis=1)
    ordered["later"] = (ordered["state"] == "blind").astype(int) - ordered["drawn"].astype(int)
    ordered = ordered.sort_values(["later", "place"], kind="stable", ignore_index=True).drop(columns="later")
    ordered["place"] = np.arange(1, len(ordered) + 1)
    ordered["within_capacity"] = ordered["place"] <= policy.reviews.capacity_per_day
    return Cases(at, policy, ordered, aside)
