"""Overrides: a person changes a line, outside the five causes."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from limitlens.limits.state import next_state, state_at

#: What a person can order: a limit, or one of the actions that need none.
OVERRIDE_ACTIONS = ("limit", "freeze", "unfreeze", "close", "keep")


@dataclass(frozen=True)
class Override:
    """What a person ordered for one line.

    Parameters
    ----------
    account_id : str
    at : datetime
        When it holds from; a decision as of this very moment does not know it yet.
    action : str
        One of :data:`OVERRIDE_ACTIONS`.
    limit_before_cents, limit_cents : int
        In force when it was ordered, and ordered.
    actor, reason : str
        Who, and why.
    """

    account_id: str
    at: datetime
    action: str
    limit_before_cents: int
    limit_cents: int
    actor: str
    reason: str


@dataclass(frozen=True)
class Restoration:
    """A decision that is made good: the line is as it was before it.

    Parameters
    ----------
    account_id : str
    at : datetime
        When it holds from; a decision as of this very moment does not know it yet.
    restores : datetime
        As-of time of the decision.
    hold : int
        The hold whose data it suffered from.
    limit_before_cents : int
        In force when it was ordered.
    limit_cents, can_draw, pd_ref, changed_at, adverse_at
        State before the decision (:data:`limitlens.limits.state.STATE_COLUMNS`); the last three None where there was
        nothing.
    actor, reason : str
        Who, and why.
    """

    account_id: str
    at: datetime
    restores: datetime
    hold: int
    limit_before_cents: int
    limit_cents: int
    can_draw: bool
    pd_ref: float | None
    changed_at: datetime | None
    adverse_at: datetime | None
    actor: str
    reason: str


#: What a restoration puts back, besides that the line is open.
_RESTORED = ["limit_cents", "can_draw", "pd_ref", "changed_at", "adverse_at"]


def overridden(state: pd.DataFrame, overrides: pd.DataFrame, pd_: pd.Series) -> pd.DataFrame:
    """State of n lines after one override each: a decision by a person, so the timers move as after any other.

    What a person orders ends a pause, but ``keep``.

    Parameters
    ----------
    state : DataFrame of :data:`limitlens.limits.state.STATE_COLUMNS`
        State before; a closed line stays closed, unless it is restored.
    overrides : DataFrame with ``at, action, limit_cents``, and what a restoration puts back
    pd_ : Series of shape (n,)
        PD of the last decision, which the person knew.
    """
    action = overrides["action"].where(~state["closed"], "keep")
    limit = state["limit_cents"].where(action != "limit", overrides["limit_cents"]).where(action != "close", 0)
    judged = (action == "unfreeze") | ((action == "limit") & state["paused_at"].notna())  # a person has looked
    can_draw = (state["can_draw"] | judged) & ~action.isin(["freeze", "close"])
    lowered = np.where(limit < state["limit_cents"], "decrease", "increase")
    decided = pd.DataFrame(
        {
            "action": action.where(action != "limit", pd.Series(lowered, index=state.index)),
            "limit_cents": limit.astype(np.int64),
            "can_draw": can_draw.astype(bool),
            "pd": pd_,
        }
    )
    after = next_state(state, decided, overrides["at"])
    rows = overrides.index[overrides["action"] == "restore"]
    if not len(rows):
        return after
    restored = overrides.loc[rows, _RESTORED].astype(after[_RESTORED].dtypes).assign(closed=False)
    as_before = after.loc[rows].assign(**{str(name): restored[name] for name in restored})
    as_before["paused_at"] = after["paused_at"].mask(after["paused_at"].notna())
    return pd.concat([after.drop(index=rows), state_at(as_before, overrides.loc[rows, "at"])]).loc[after.index]
