"""The state of lines before a decision, from their last one in the ledger and what persons ordered since."""

import pandas as pd

from limitlens.data.frames import is_among
from limitlens.limits.override import overridden
from limitlens.limits.policy import Policy
from limitlens.limits.state import first_state, in_holdout, next_state, state_at, state_before


def states_before(lines: pd.DataFrame, latest: pd.DataFrame, overrides: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """State of each line before its decision: from its last one and the overrides since, else as it was taken over.

    Parameters
    ----------
    lines : DataFrame with ``account_id, as_of, opened_at, limit_cents``
    latest : DataFrame
        Last decision of each account, as :func:`limitlens.limits.state.unpacked` gives it.
    overrides : DataFrame
        As :meth:`limitlens.limits.ledger.Ledger.overrides` gives them; one as of the decision itself comes after it.
    policy : Policy
        Chooses the holdout of lines without a decision.

    Returns
    -------
    DataFrame of :data:`limitlens.limits.state.STATE_COLUMNS`, indexed like ``lines``
    """
    place = pd.Index(latest["account_id"]).get_indexer(pd.Index(lines["account_id"]))
    known = place >= 0
    old = carried(latest.take(place[known]).reset_index(drop=True), lines.loc[known, "as_of"], overrides)
    old = old.set_axis(lines.index[known])
    return old if known.all() else pd.concat([_taken_over(lines[~known], policy), old]).loc[lines.index]


def _taken_over(fresh: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """State of lines without a decision."""
    held_out = in_holdout(fresh["account_id"], policy.holdout.share, policy.holdout.salt)
    if most := policy.holdout.max_limit_cents:
        held_out &= fresh["limit_cents"].to_numpy() <= most
    return first_state(fresh, held_out)


def carried(last: pd.DataFrame, as_of: pd.Series, overrides: pd.DataFrame) -> pd.DataFrame:
    """State of n lines after their last decision and the overrides since, with its days counted up to ``as_of``.

    Parameters
    ----------
    last : DataFrame of n rows with a plain index
        Decisions with their ``state.*`` columns.
    as_of : Series of n times
    overrides : DataFrame
        Of any lines.
    """
    state = next_state(state_before(last), last, last["as_of"])
    ordered = overrides[is_among(overrides["account_id"], last["account_id"])]
    return state_at(_after_orders(state, last, as_of, ordered) if len(ordered) else state, as_of)


def _after_orders(state: pd.DataFrame, last: pd.DataFrame, as_of: pd.Series, overrides: pd.DataFrame) -> pd.DataFrame:
    """State after what persons ordered between the last decision and ``as_of``, one order after the other."""
    times = {"since": last["as_of"], "until": as_of.set_axis(last.index)}
    between = pd.DataFrame({"account_id": last["account_id"], "row": last.index, **times})
    due = overrides.merge(between, on="account_id")
    due = due[(due["at"] >= due["since"]) & (due["at"] < due["until"])].sort_values(["row", "at", "id"])
    for _, turn in due.groupby(due.groupby("row").cumcount()):
        ordered = turn.set_index("row")
        after = overridden(state.loc[ordered.index], ordered, last.loc[ordered.index, "pd"])
        state = pd.concat([state.drop(index=after.index), after]).sort_index()
    return state
