"""Lines under the lender's decisions: from a decision on, nothing is drawn or bought above the new limit."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.world.people import People


@dataclass(frozen=True)
class Line:
    """What the lender lets n customers do, and what became of their wish to; arrays of shape (n,).

    ``appetite``: how much they use the line, 1 as ever. ``left``: they went to another lender.
    """

    limit_cents: IntArray
    can_draw: BoolArray
    appetite: FloatArray
    left: BoolArray


def first_line(people: People) -> Line:
    """Lines as they were opened."""
    count = len(people.number)
    return Line(people.limit_cents, np.ones(count, bool), np.ones(count), np.zeros(count, bool))


def after_actions(line: Line, acted: pd.DataFrame) -> Line:
    """Lines after the actions of a month."""
    last = acted.drop_duplicates("owner", keep="last")
    limit, can_draw = line.limit_cents.copy(), line.can_draw.copy()
    limit[last["owner"]], can_draw[last["owner"]] = last["limit_cents"], last["can_draw"]
    return replace(line, limit_cents=limit, can_draw=can_draw)


def refused(bought: pd.DataFrame, acted: pd.DataFrame, balance_cents: IntArray) -> BoolArray:
    """Which draws and purchases of a month an action before them leaves no room for, with their refunds.

    Parameters
    ----------
    bought : DataFrame
        Rows of consumption.
    acted : DataFrame
        Actions of the month by day, as :func:`limitlens.data.world.decisions.owned` gives them. What one gives back
        counts from the next month on.
    balance_cents : int64 array of shape (n,)
        At the start of the month.
    """
    stopped = np.zeros(len(bought), bool)
    if acted.empty:
        return stopped
    spends = bought["kind"].isin(["draw", "purchase"]).to_numpy() & bought["owner"].isin(acted["owner"]).to_numpy()
    turn = acted.groupby("owner").cumcount()
    for k in range(int(turn.max()) + 1):
        act = acted[turn == k].set_index("owner")
        rows = bought[spends & ~stopped].sort_values("day", kind="stable")
        rows = rows[rows["owner"].isin(act.index)]
        day = act["day"].reindex(rows["owner"]).to_numpy()
        amount, later = rows["amount_cents"], rows["day"].to_numpy() > day
        spent = amount.where(~later, 0).groupby(rows["owner"]).sum()
        room = np.where(act["can_draw"], act["limit_cents"], 0) - balance_cents[act.index]
        left = pd.Series(room, act.index) - spent.reindex(act.index, fill_value=0)
        reached = amount.where(later, 0).groupby(rows["owner"]).cumsum()
        stopped[rows.index[later & (reached.to_numpy() > left.reindex(rows["owner"]).to_numpy())]] = True
    lost = bought.loc[stopped & (bought["stream"] == "purchase"), ["owner", "place"]]
    refunds = (bought["stream"] == "refund").to_numpy()
    keys = pd.MultiIndex.from_frame(bought[["owner", "place"]])
    return stopped | (refunds & keys.isin(pd.MultiIndex.from_frame(lost)))


def not_passed_on(payments: pd.DataFrame, bought: pd.DataFrame, stopped: BoolArray) -> pd.DataFrame:
    """Payments without the money that would have been passed on out of refused draws."""
    lost = bought.loc[stopped & (bought["kind"] == "draw"), ["owner", "place", "stream"]]
    lost = lost.assign(stream=lost["stream"].str.replace("-draw", "-send"))
    keys = ["owner", "place", "stream"]
    return payments[~pd.MultiIndex.from_frame(payments[keys]).isin(pd.MultiIndex.from_frame(lost))]
