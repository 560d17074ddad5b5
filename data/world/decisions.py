"""What the lender decided, as the world takes it: a table of actions by customer and day."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.arrays import IntArray
from limitlens.data.errors import InputError
from limitlens.data.world.people import People
from limitlens.data.world.scene import Month

_SCHEMA = pa.schema(
    [
        ("account_id", pa.string()),
        ("as_of", pa.timestamp("us", tz="UTC")),
        ("action", pa.string()),
        ("limit_cents", pa.int64()),
        ("can_draw", pa.bool_()),
    ]
)


def read_decisions(path: Path) -> pd.DataFrame:
    """Decisions of a lender, as `limitlens ledger export FILE.parquet` writes them.

    Parameters
    ----------
    path : Path
        Parquet.

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
    decisions: pd.DataFrame = table.to_pandas()
    for name in decisions:
        if (empty := decisions[name].isna().to_numpy()).any():
            raise InputError(f"{path}: row {empty.argmax() + 1}, column {name}: an empty cell; {mend}.")
    return decisions


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
    actions = decisions[["action", "limit_cents", "can_draw"]].assign(
        number=number.astype(np.int64), day=(decisions["as_of"] - pd.Timestamp(start)) / pd.Timedelta(days=1)
    )
    return actions.sort_values(["day", "number"], ignore_index=True, kind="stable")


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


def between(acted: pd.DataFrame, month: Month, before_first: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Actions to be answered this month (after the first moment of the one before), and actions in it."""
    day = acted["day"]
    answered = acted[(day > before_first) & (day <= month.first)]
    return answered, acted[(day >= month.first) & (day < month.first + month.days)]
