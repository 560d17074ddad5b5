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


def overridden(state: pd.DataFrame, overrides: pd.DataFrame, pd_: pd.Series) -> pd.DataFrame:
    """State of n lines after one override each: a decision by a person, so the timers move as after any other.

    Parameters
    ----------
    state : DataFrame of :data:`limitlens.limits.state.STATE_COLUMNS`
        State before; a closed line stays closed.
    overrides : DataFrame with ``at, action, limit_cents``
    pd_ : Series of shape (n,)
        PD of the last decision, which the person knew.
    """
    action = overrides["action"].where(~state["closed"], "keep")
    limit = state["limit_cents"].where(action != "limit", overrides["limit_cents"]).where(action != "close", 0)
    can_draw = (state["can_draw"] | (action == "unfreeze")) & ~action.isin(["freeze", "close"])
    lowered = np.where(limit < state["limit_cents"], "decrease", "increase")
    decided = pd.DataFrame(
        {
            "action": action.where(action != "limit", pd.Series(lowered, index=state.index)),
            "limit_cents": limit.astype(np.int64),
            "can_draw": can_draw.astype(bool),
            "pd": pd_,
        }
    )
    return next_state(state_at(state, overrides["at"]), decided, overrides["at"])
