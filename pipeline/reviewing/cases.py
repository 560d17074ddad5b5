"""Cases: lines whose decisions ask for a person, one case each until somebody has settled it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from limitlens.data.errors import WorkspaceError
from limitlens.limits.cases import QUEUED, open_cases
from limitlens.limits.ledger import Run
from limitlens.limits.policy import Desk, Policy
from limitlens.limits.queue import review_queue
from limitlens.limits.verdict import drawn
from limitlens.pipeline.deciding.joint_jumps import joint_jumps
from limitlens.pipeline.deciding.point_in_time import table_at
from limitlens.pipeline.workspace import Workspace

#: So long after a verdict a case that is drawn for it is judged a second time.
_DOUBLE_WITHIN = timedelta(days=14)

#: Every decision of the accounts whose last one asks for a person.
_QUEUED_SQL = """
SELECT account_id, as_of, action, limit_cents, pd, fired_rules, reasons
FROM decisions SEMI JOIN (
    SELECT account_id FROM decisions WHERE $account IN ('', account_id)
    GROUP BY account_id HAVING list_contains($queued, ARG_MAX(action, as_of))
) USING (account_id) ORDER BY account_id, as_of
"""

_JUDGED_SQL = """
SELECT account_id, as_of, action, limit_cents, pd, fired_rules, reasons
FROM decisions SEMI JOIN (SELECT UNNEST($accounts) AS account_id, UNNEST($times) AS as_of) USING (account_id, as_of)
"""


@dataclass(frozen=True)
class Cases:
    """What waits for a reviewer at a moment.

    Parameters
    ----------
    at : datetime
    policy : Policy
        That of the last run: it says what comes first.
    lines : DataFrame
        One row a case, in the order in which they are dealt out: ``place`` (int64) from 1 on, ``account_id``,
        ``since`` and ``as_of`` (datetime64[us, UTC]): of the decision that opened the case, and of the last one;
        ``action``, ``segment``, ``pd``, ``limit_cents``, ``balance_cents``, ``avoidable_loss_cents``, ``evidence``,
        ``within_capacity``, ``fired_rules``, ``reasons``, ``jumped_with`` as in the queue of one date; ``drawn``
        (bool): first by lot; ``state`` (str): ``open``, ``second`` (another reviewer has to agree) or ``blind`` (it is
        settled, and looked at once more by someone who is not shown how).
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
    last, policy = last_run(workspace)
    every = cases_of(workspace, policy, at, reviewer)
    aside = every.loc[every["state"] == "", ["account_id", "since", "as_of", "why"]].reset_index(drop=True)
    waiting = every[every["state"] != ""].drop(columns="why").reset_index(drop=True)
    return Cases(at, policy, _placed(workspace, waiting, last, policy), aside)


def last_run(workspace: Workspace) -> tuple[Run, Policy]:
    """The run of the last date, and its policy.

    Raises
    ------
    WorkspaceError
        Nothing has been decided yet.
    """
    runs = workspace.ledger.runs()
    if not runs:
        raise WorkspaceError("nothing has been decided yet; run limitlens decide first.")
    last = max(runs, key=lambda run: run.as_of)
    return last, workspace.policy(last.policy_digest)


def cases_of(
    workspace: Workspace, policy: Policy, at: datetime, reviewer: str = "", account_id: str = ""
) -> pd.DataFrame:
    """Cases in no order: :func:`limitlens.limits.cases.open_cases` of the ledger, then those to be judged twice.

    Parameters
    ----------
    workspace : Workspace
    policy : Policy
    at : datetime
    reviewer : str
    account_id : str
        Only of this account; empty: of all.
    """
    verdicts = workspace.ledger.verdicts()
    rows = workspace.ledger.query(_QUEUED_SQL, {"queued": sorted(QUEUED), "account": account_id})
    every = open_cases(rows, verdicts, policy, at, reviewer)
    own = verdicts[verdicts["account_id"] == account_id] if account_id else verdicts
    twice = _to_judge_twice(workspace, own, policy.dealing, at, reviewer) if reviewer else None
    return every if twice is None else pd.concat([every, twice], ignore_index=True)


def _to_judge_twice(
    workspace: Workspace, verdicts: pd.DataFrame, desk: Desk, at: datetime, reviewer: str
) -> pd.DataFrame | None:
    """Settled cases that are drawn for a second look by someone who has not spoken in them, if there are any."""
    settled = verdicts[verdicts["settles"] & (verdicts["at"] > pd.Timestamp(at) - _DOUBLE_WITHIN)]
    keys = list(zip(settled["account_id"], settled["since"].dt.to_pydatetime(), strict=True))
    settled = settled[np.array(drawn(keys, desk.double_share, f"{desk.salt}:double"), bool)]
    case = ["account_id", "since"]
    spoken = verdicts[verdicts["blind"] | (verdicts["actor"] == reviewer)][case].drop_duplicates()
    fresh = settled[[*case, "as_of"]].merge(spoken, on=case, how="left", indicator="spoken")
    judged = fresh.loc[fresh["spoken"] == "left_only", [*case, "as_of"]]
    if judged.empty:
        return None
    keys_of = {"accounts": judged["account_id"].tolist(), "times": judged["as_of"].dt.to_pydatetime().tolist()}
    rows = workspace.ledger.query(_JUDGED_SQL, keys_of)
    return rows.merge(judged, on=["account_id", "as_of"]).assign(state="blind", why="")


def _placed(workspace: Workspace, lines: pd.DataFrame, last: Run, policy: Policy) -> pd.DataFrame:
    """Cases in the order in which they are dealt out."""
    features = workspace.iteration(last.model_version).model.features
    features = features.only({"balance_cents"} & set(features.columns))
    moments = lines[["account_id", "as_of"]].assign(known_by=lines["as_of"])
    table = table_at(features, moments, workspace.relations(features)).reset_index(drop=True)
    lines = lines.assign(segment=table["segment"], balance_cents=table.get("balance_cents", 0))
    lines = lines.assign(**{name: lines[name].map(list) for name in ("fired_rules", "reasons")})
    of_last = lines[lines["as_of"] == pd.Timestamp(last.as_of)]
    jumps = joint_jumps(of_last, workspace, last.as_of) if len(of_last) else {}
    unusual = {account: jump.text for account, jump in jumps.items() if jump.unusual}
    at_last = set(of_last["account_id"])
    lines["jumped_with"] = [unusual.get(name, "") if name in at_last else "" for name in lines["account_id"]]
    desk = policy.dealing
    keys = list(zip(lines["account_id"], lines["since"].dt.to_pydatetime(), strict=True))
    lines["drawn"] = drawn(keys, desk.random_share, f"{desk.salt}:random")
    ordered = pd.concat([lines, review_queue(lines, policy)], axis=1)
    ordered["later"] = (ordered["state"] == "blind").astype(int) - ordered["drawn"].astype(int)
    ordered = ordered.sort_values(["later", "place"], kind="stable", ignore_index=True).drop(columns="later")
    ordered["place"] = np.arange(1, len(ordered) + 1)
    return ordered.assign(within_capacity=ordered["place"] <= policy.reviews.capacity_per_day)
