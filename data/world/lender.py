"""What the lender does to lines, and how their customers answer.

A decision acts from its moment on: nothing is drawn or bought above the new limit any more. The customer answers from
the next month on, or at once where the month begins with it. Answers follow from the latent state and from chance that
belongs to customer and month, so that the same world without an action is its counterfactual.
"""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.errors import InputError
from limitlens.data.world.fortune import STRESS_WEIGHT, Fortune, Payment, sigmoid
from limitlens.data.world.people import People
from limitlens.data.world.scene import Month, Scene

#: What a customer may do, in the order of the shares of an answer.
ANSWERS = ("leaves", "in_need", "pays", "draws_less")

_SCHEMA = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("action", pa.string()),
        ("limit_cents", pa.int64()),
        ("can_draw", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Line:
    """What the lender lets n customers do, and what became of their wish to; arrays of shape (n,).

    ``appetite``: how much they use the line, 1 as ever. ``left``: they went to another lender.
    """

    limit_cents: IntArray
    can_draw: BoolArray
    appetite: FloatArray
    left: BoolArray

    def some(self, chosen: IntArray) -> "Line":
        """Those at some places."""
        return Line(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})


def first_line(people: People) -> Line:
    """Lines as they were opened."""
    count = len(people.number)
    return Line(people.limit_cents, np.ones(count, bool), np.ones(count), np.zeros(count, bool))


def read_decisions(path: Path) -> pd.DataFrame:
    """Decisions of a lender, as `limitlens ledger export FILE.parquet` writes them.

    Returns
    -------
    DataFrame with ``account_id, as_of, action, limit_cents, can_draw``

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, or has a cell that is empty or of another type.
    """
    mend = "take the file that limitlens ledger export FILE.parquet writes"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet file; {mend}.") from error
    if missing := [name for name in _SCHEMA.names if name not in table.column_names]:
        raise InputError(f"{path}: no column {missing[0]}; {mend}.")
    try:
        table = table.select(_SCHEMA.names).cast(_SCHEMA)
    except pa.ArrowException as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; {mend}.") from error
    found: pd.DataFrame = table.to_pandas()
    for name in found:
        if (empty := found[name].isna().to_numpy()).any():
            raise InputError(f"{path}: row {empty.argmax() + 1}, column {name}: an empty cell; {mend}.")
    return found


def lender_actions(decisions: pd.DataFrame | None, numbers: IntArray, start: datetime, end: datetime) -> pd.DataFrame:
    """Decisions as the world takes them.

    Parameters
    ----------
    decisions : DataFrame with ``account_id, as_of, action, limit_cents, can_draw``, or None
    numbers : int64 array
        Numbers of the customers there are.
    start, end : datetime
        Of the world.

    Returns
    -------
    DataFrame with ``number, day`` (since the start), ``action, limit_cents, can_draw``
        By day.

    Raises
    ------
    InputError
        An account is none of the world's, or a decision is not within its time.
    """
    if decisions is None:
        decisions = _SCHEMA.empty_table().to_pandas()
    number = pd.to_numeric(decisions["account_id"].str.extract(r"^A(\d{6,12})$", expand=False)).fillna(0) - 1
    for column, wrong, mend in (
        ("account_id", ~number.isin(numbers), "simulate as many accounts as there were"),
        ("as_of", (decisions["as_of"] < start) | (decisions["as_of"] > end), "simulate as many months as there were"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            got = decisions[column].iloc[row]
            raise InputError(f"decisions: row {row + 1}, column {column}: {got} is not in this world; {mend}.")
    found = decisions[["action", "limit_cents", "can_draw"]].assign(
        number=number.astype(np.int64), day=(decisions["as_of"] - pd.Timestamp(start)) / pd.Timedelta(days=1)
    )
    return found.sort_values(["day", "number"], ignore_index=True, kind="stable")


def owned(people: People, actions: pd.DataFrame) -> pd.DataFrame:
    """Actions on some people that change something: ``owner`` (index into people) beside, and which are ``adverse``."""
    place = pd.Series(np.arange(len(people.number)), people.number)
    mine = actions[actions["number"].isin(place.index)].reset_index(drop=True)
    mine = mine.assign(owner=place.reindex(mine["number"]).to_numpy(np.int64))
    before = mine.groupby("owner")[["limit_cents", "can_draw"]].shift()
    first = pd.DataFrame({"limit_cents": people.limit_cents[mine["owner"]], "can_draw": True}, mine.index)
    limit = before["limit_cents"].fillna(first["limit_cents"]).astype(np.int64)
    could_draw = before["can_draw"].where(before["can_draw"].notna(), True).astype(bool)
    worse = (mine["limit_cents"] < limit) | (could_draw & ~mine["can_draw"])
    moved = (mine["limit_cents"] != limit) | (could_draw != mine["can_draw"])
    return mine.assign(adverse=worse)[moved].reset_index(drop=True)


@dataclass(frozen=True)
class Answered:
    """What the answers of a month change, and ``rows``: ``owner, day`` of the action, ``answer``.

    ``settles``: who pays all that is due this month.
    """

    fortune: Fortune
    able: FloatArray
    line: Line
    settles: BoolArray
    rows: pd.DataFrame


def answer(
    scene: Scene, fortune: Fortune, line: Line, acted: pd.DataFrame, *, able: FloatArray, owing: BoolArray
) -> Answered:
    """Let customers answer what was done to them since the month before began, up to the beginning of this one.

    Parameters
    ----------
    acted : DataFrame
        Those actions, as :func:`owned` gives them; of several the last adverse one is answered.
    able : float64 array of shape (n,)
    owing : bool array of shape (n,)
        Who has a balance: nobody else can be in need of the line.
    """
    struck = acted[acted["adverse"] & acted["action"].isin(scene.world.reactions)]
    struck = struck.drop_duplicates("owner", keep="last")
    owner = struck["owner"].to_numpy(np.int64)
    here = (fortune.gone_from[owner] > scene.month.index) & ~line.left[owner]
    struck, owner = struck[here], owner[here]
    found = [scene.world.reactions[action] for action in struck["action"]]
    shares = np.array([[getattr(each, name) for name in ANSWERS] for each in found]).reshape(-1, len(ANSWERS))
    shares[:, 0] *= 2 * sigmoid(able[owner])
    shares[:, 1] *= 2 * sigmoid(-able[owner]) * owing[owner]
    luck = scene.chance.uniform("answers", scene.number[owner], scene.month.index)
    which = (luck[:, None] >= shares.cumsum(axis=1)).sum(axis=1)
    leaves, needs, pays, less = (which == k for k in range(len(ANSWERS)))
    trouble, appetite, left = np.zeros(len(able)), line.appetite.copy(), line.left.copy()
    trouble[owner] = np.array([each.stress for each in found]) * needs
    appetite[owner] *= np.where(less, [each.appetite for each in found], 1.0)
    left[owner] |= leaves
    settles = left.copy()
    settles[owner] |= pays
    settles &= fortune.gone_from > scene.month.index
    rows = struck[["owner", "day"]].assign(answer=np.array([*ANSWERS, "nothing"], object)[which])
    return Answered(
        replace(fortune, stress=fortune.stress + trouble),
        able - STRESS_WEIGHT * trouble,
        replace(line, appetite=appetite, left=left),
        settles,
        rows,
    )


def settled(payment: Payment, fortune: Fortune, settles: BoolArray) -> Payment:
    """Payments of a month in which some pay all that is due."""
    return replace(
        payment,
        missed=payment.missed & ~settles,
        cures=payment.cures | (settles & (fortune.unpaid > 0)),
        catches_up=payment.catches_up & ~settles,
    )


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
        Actions of the month by day, as :func:`owned` gives them. What one gives back counts from the next month on.
    balance_cents : int64 array of shape (n,)
        At the start of the month.
    """
    stopped = np.zeros(len(bought), bool)
    spends = bought["kind"].isin(["draw", "purchase"]).to_numpy() & bought["owner"].isin(acted["owner"]).to_numpy()
    turn = acted.groupby("owner").cumcount()
    for k in range(int(turn.max()) + 1 if len(turn) else 0):
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


def between(acted: pd.DataFrame, month: Month, before_first: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Actions to be answered this month (after the first moment of the one before), and actions in it."""
    day = acted["day"]
    answered = acted[(day > before_first) & (day <= month.first)]
    return answered, acted[(day >= month.first) & (day < month.first + month.days)]
