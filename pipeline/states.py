"""The state of lines before a decision, from their last one in the ledger."""

import pandas as pd

from limitlens.limits.policy import Policy
from limitlens.limits.state import first_state, in_holdout, next_state, state_at
from limitlens.pipeline.attribute import state_before


def states_before(lines: pd.DataFrame, latest: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """State of each line before its decision: from its last one, else as it was taken over.

    Parameters
    ----------
    lines : DataFrame with ``account_id, as_of, opened_at, limit_cents``
    latest : DataFrame
        Last decision of each account, as :func:`limitlens.pipeline.attribute.unpacked` gives it.
    policy : Policy
        Chooses the holdout of lines without a decision.

    Returns
    -------
    DataFrame of :data:`limitlens.limits.state.STATE_COLUMNS`, indexed like ``lines``
    """
    known = lines["account_id"].isin(latest["account_id"])
    fresh = lines[~known]
    first = first_state(fresh, in_holdout(fresh["account_id"], policy.holdout.share, policy.holdout.salt))
    if not known.any():
        return first
    carried = _carried(pd.DataFrame(latest.set_index("account_id").loc[lines.loc[known, "account_id"]]), lines[known])
    return pd.concat([first, carried]).loc[lines.index] if len(first) else carried


def _carried(last: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """State after the last decision of each line, with its days counted up to this one."""
    last = last.reset_index()
    state = state_at(next_state(state_before(last), last, last["as_of"]), lines["as_of"].reset_index(drop=True))
    return state.set_index(lines.index)
