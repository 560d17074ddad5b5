"""Make good: adverse decisions that suffered from data which a hold later called suspect, and their reversal."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.data.frames import is_among
from limitlens.data.lock import exclusive
from limitlens.limits.hold import Hold
from limitlens.limits.override import Restoration
from limitlens.limits.policy import ACTIONS, ADVERSE
from limitlens.limits.state import state_before
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.held_lines import slice_accounts
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions
from limitlens.pipeline.workspace import Workspace


def harmed(workspace: Workspace, number: int) -> pd.DataFrame:
    """Adverse decisions after the fault of a hold that would be milder with all that is known today.

    Parameters
    ----------
    workspace : Workspace
    number : int
        Of a hold, in force or released. Rows that were mended count once they are delivered.

    Returns
    -------
    DataFrame
        ``account_id, as_of, action, limit_before_cents, limit_cents``, what would have been decided as
        ``known_now_action, known_now_limit_cents``, ``left_alone`` (a person ordered something for the line since,
        or a later adverse decision would be made today as well), and the state before the decision as ``state.*``;
        of one account the first such decision.

    Raises
    ------
    WorkspaceError
        There is no such hold.
    """
    every = workspace.ledger.every_hold()
    if number not in every:
        raise WorkspaceError(f"there is no hold {number}; expected one of {sorted(every)}.")
    decided = redecided(workspace, decisions_after(workspace, every[number], ADVERSE))
    if decided.empty:
        return decided.assign(left_alone=False)
    severity = {action: place for place, action in enumerate(ACTIONS)}
    worse = decided["action"].map(severity) > decided["known_now_action"].map(severity)
    lower = decided["limit_cents"] < decided["known_now_limit_cents"]
    harm = worse | lower
    first = decided[harm].sort_values(["account_id", "as_of"]).drop_duplicates("account_id")
    orders = workspace.ledger.overrides()[["account_id", "at"]]
    stand = decided.loc[~harm, ["account_id", "as_of"]].rename(columns={"as_of": "at"})
    since = first[["account_id", "as_of"]].merge(pd.concat([orders, stand]), on="account_id")
    left = since.loc[since["at"] >= since["as_of"], "account_id"]
    return first.assign(left_alone=is_among(first["account_id"], left)).reset_index(drop=True)


def redecided(workspace: Workspace, suspect: pd.DataFrame) -> pd.DataFrame:
    """Decide recorded decisions again, each by the iteration that made it, with all that is known today.

    Parameters
    ----------
    workspace : Workspace
    suspect : DataFrame
        As :func:`decisions_after` gives it.

    Returns
    -------
    DataFrame
        With ``known_now_action, known_now_limit_cents``.
    """
    if suspect.empty:
        return suspect.assign(known_now_action="", known_now_limit_cents=0)
    latest = workspace.events.last_version()
    latest = max(workspace.ledger.decided_until() or latest, latest)
    known_by = pd.Timestamp(latest + timedelta(microseconds=1))
    moments = suspect[["account_id", "as_of"]].assign(known_by=known_by)
    moments["known_by"] = moments["known_by"].astype(moments["as_of"].dtype)
    made_by = iterations(workspace, set(suspect["run_id"]))
    tables = tables_at(moments, {iteration.model.features for iteration in made_by.values()}, workspace)
    rounds = []
    for run_id, rows in suspect.groupby("run_id", sort=False):
        some, now = rows.reset_index(drop=True), made_by[str(run_id)]
        known = pd.Series(known_by, index=some.index).astype(some["as_of"].dtype)
        table = rows_at(tables[now.model.features.digest], some["account_id"], some["as_of"], known)
        again = now.decide(table, state_before(some))
        rounds.append(some.assign(known_now_action=again["action"], known_now_limit_cents=again["limit_cents"]))
    return pd.concat(rounds, ignore_index=True)


def restore(
    workspace: Workspace, number: int, *, at: datetime, actor: str, reason: str, accounts: Collection[str] = ()
) -> list[Restoration]:
    """Make good what :func:`harmed` finds: each line is as it was before the decision, timers too, and open.

    Parameters
    ----------
    workspace : Workspace
    number : int
        Of the hold.
    at : datetime
        When it holds from: after the last decided date.
    actor, reason : str
        Who, and why.
    accounts : collection of str
        Only these; default: all that are not ``left_alone``.

    Returns
    -------
    list of Restoration

    Raises
    ------
    WorkspaceError
        There is no such hold, a name or reason is missing, the time is not after what is recorded, an account was not
        harmed, or a run is in progress.
    """
    if not (actor.strip() and reason.strip()):
        raise WorkspaceError("a restoration needs the name of a person and a reason.")
    with exclusive(workspace.root, "holds restore"):
        decided, orders = workspace.ledger.last_moment(), workspace.ledger.overrides()
        if recorded := max((time for time in (decided, *orders["at"]) if time and time >= at), default=None):
            until = format_time(pd.Timestamp(recorded).to_pydatetime())
            raise WorkspaceError(f"it is recorded up to {until}; choose a later time than {format_time(at)}.")
        milder = harmed(workspace, number)
        if unharmed := sorted(set(accounts) - set(milder["account_id"])):
            raise WorkspaceError(f"hold {number} harmed no decision about {', '.join(unharmed)}.")
        chosen = milder[milder["account_id"].isin(list(accounts)) if accounts else ~milder["left_alone"]]
        done = [_restoration(row, number, at, actor, reason) for row in chosen.to_dict("records")]
        for restoration in done:
            workspace.ledger.record_restoration(restoration)
        if done:
            tags = {tracking.HEAD: workspace.ledger.head(), "limitlens.hold": str(number)}
            with tracking.recorded_run(workspace.mlflow, "restore", tags, name=f"restore after hold {number}"):
                pass
        return done


def decisions_after(workspace: Workspace, hold: Hold, actions: Collection[str] = ACTIONS) -> pd.DataFrame:
    """Recorded decisions of the slice of a hold after the fault; ``limit_now_cents`` is the limit the line has."""
    decisions = recorded_decisions(workspace)
    last = decisions.drop_duplicates("account_id", keep="last").set_index("account_id")["limit_cents"]
    rows = decisions[(decisions["as_of"] > pd.Timestamp(hold.since)) & decisions["action"].isin(list(actions))]
    if hold.slice_column:
        rows = rows[is_among(rows["account_id"], slice_accounts(hold, workspace))]
    return rows.assign(limit_now_cents=rows["account_id"].map(last)).reset_index(drop=True)


def _restoration(row: dict[Any, Any], hold: int, at: datetime, actor: str, reason: str) -> Restoration:
    changed, adverse = (
        None if pd.isna(row[f"state.{name}"]) else row[f"state.{name}"].to_pydatetime()
        for name in ("changed_at", "adverse_at")
    )
    return Restoration(
        account_id=row["account_id"],
        at=at,
        restores=row["as_of"].to_pydatetime(),
        hold=hold,
        limit_before_cents=int(row["limit_now_cents"]),
        limit_cents=int(row["state.limit_cents"]),
        can_draw=bool(row["state.can_draw"]) or not pd.isna(row["state.paused_at"]),
        pd_ref=None if pd.isna(row["state.pd_ref"]) else float(row["state.pd_ref"]),
        changed_at=changed,
        adverse_at=adverse,
        actor=actor,
        reason=reason,
    )
