"""What was asked for at the end of a pause: the decision as it would have been without waiting.

A pause only puts an adverse action off. When it is carried out, the customer is told why it was asked for, and not that
the days ran out: so it is split against the last decision that stood before the pause, and both are taken as if nobody
had waited.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.calendar import DAY, format_time, midnight
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import ADVERSE, Policy
from limitlens.limits.state import NEVER_DAYS
from limitlens.limits.watched import looked_at_alike


def carried_out(decisions: pd.DataFrame) -> BoolArray:
    """Which decisions are adverse actions on lines that were paused; decisions with ``action`` and ``state.*``."""
    adverse: BoolArray = (decisions["state.paused_at"].notna() & decisions["action"].isin(ADVERSE)).to_numpy(bool)
    return adverse


def settled(decisions: pd.DataFrame) -> BoolArray:
    """Which decisions stand: neither a pause, nor one that leaves it as it is or lifts it."""
    waits = (decisions["action"] == "pause") | (decisions["state.paused_at"].notna() & ~carried_out(decisions))
    return ~waits.to_numpy(bool)


def last_settled(decisions: pd.DataFrame) -> pd.DataFrame:
    """The last decision of each account that stands, out of many in any order."""
    return decisions[settled(decisions)].sort_values("as_of").drop_duplicates("account_id", keep="last")


def split_against(earlier: pd.DataFrame, decisions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The decision that each of some decisions is split against.

    Parameters
    ----------
    earlier : DataFrame
        Decisions before them with their state as ``state.*``, in any order: of each account the last one, and of one
        that is paused the last that stood, too (:func:`last_settled`).
    decisions : DataFrame
        In any order, several of an account.

    Returns
    -------
    (DataFrame, DataFrame) of n rows each with a plain index, by account and time
        Where a pause is carried out the one that stood before it, otherwise the last; and the decision itself. First
        decisions have none and are left out, and so is the end of a pause that a first decision began: it belongs to
        that.
    """
    parts = [earlier.assign(splits=False), decisions.assign(splits=True)]
    rows = pd.concat(parts).sort_values(["account_id", "as_of"], ignore_index=True)
    place, account = pd.Series(rows.index, dtype="Int64"), rows["account_id"]
    last = place.groupby(account).shift()
    stood = place.where(settled(rows)).groupby(account).ffill().groupby(account).shift()
    against = last.where(~carried_out(rows), stood)
    chosen = rows["splits"] & against.notna()
    changes = rows[chosen].drop(columns="splits").reset_index(drop=True)
    return rows.take(against[chosen].to_numpy(np.int64)).drop(columns="splits").reset_index(drop=True), changes


def as_asked(
    sides: tuple[Iteration, Iteration], previous: pd.DataFrame, changes: pd.DataFrame
) -> tuple[tuple[Iteration, Iteration], pd.DataFrame, pd.DataFrame]:
    """Iterations and decisions of changes as if nobody had waited, and none been looked at in another way.

    Parameters
    ----------
    sides : (Iteration, Iteration)
        Of the previous decisions, and of the changes.
    previous, changes : DataFrame of n rows with ``action`` and ``state.*``
        All of them carry out a pause that another decision stood before, or none does (:func:`ends_a_pause`).
    """
    ends = ends_a_pause(previous, changes).any()
    previous, changes = looked_at_alike(previous, changes)
    if not ends:
        return sides, previous, changes
    old, new = (replace(side, policy=replace(side.policy, second_look=None)) for side in sides)
    return (old, new), without_pause(previous), without_pause(changes)


def ends_a_pause(previous: pd.DataFrame, changes: pd.DataFrame) -> BoolArray:
    """Which of n changes carry out a pause that another decision stood before."""
    return carried_out(changes) & settled(previous)


def without_pause(decisions: pd.DataFrame) -> pd.DataFrame:
    """The state before as if the line had never been paused: only lines that can draw are."""
    paused = decisions["state.paused_at"].notna()
    unpaused = decisions.assign(**{"state.can_draw": decisions["state.can_draw"] | paused})
    unpaused["state.paused_at"] = decisions["state.paused_at"].mask(paused)
    unpaused["state.days_since_pause"] = NEVER_DAYS
    return unpaused


def second_look_at(decision: pd.Series, policy: Policy) -> str | None:
    """The date by which a line that was just paused is looked at again; None: the decision is no pause.

    Parameters
    ----------
    decision : Series with ``action, as_of`` and ``state.watched``
    policy : Policy
        Which decided.
    """
    if decision["action"] != "pause":
        return None
    if decision["state.watched"] or policy.second_look is None:
        return format_time(midnight(decision["as_of"].to_pydatetime()) + DAY)
    due = decision["as_of"] + pd.Timedelta(days=policy.second_look.after_days)
    return format_time(midnight(due.to_pydatetime()))
