"""The state a line carries into a decision: its limit and its timers, as the ledger knows them.

One row a line. Moments are kept, and the elapsed days are counted at the decision, so that the state before an
old decision can be put into a new one with the days it had then.
"""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.arrays import BoolArray, IntArray
from limitlens.data.frames import to_arrow
from limitlens.limits.policy import ADVERSE

#: Elapsed days of something that never happened.
NEVER_DAYS = 99_999

_TIME = pa.timestamp("us", tz="UTC")
_DAY_MICROSECONDS = 86_400_000_000

STATE_TYPE = pa.struct(
    [
        ("limit_cents", pa.int64()),
        ("can_draw", pa.bool_()),
        ("closed", pa.bool_()),
        ("holdout", pa.bool_()),
        ("pd_ref", pa.float64()),
        ("opened_at", _TIME),
        ("changed_at", _TIME),
        ("adverse_at", _TIME),
        ("line_age_days", pa.int64()),
        ("days_since_change", pa.int64()),
        ("days_since_adverse", pa.int64()),
        ("paused_at", _TIME),
        ("days_since_pause", pa.int64()),
        ("watched", pa.bool_()),
    ]
)
STATE_COLUMNS = tuple(STATE_TYPE.field(i).name for i in range(STATE_TYPE.num_fields))


def in_holdout(account_ids: pd.Series, share: float, salt: str) -> BoolArray:
    """Choose the do-not-cut holdout by a salted hash, so that a line is in or out for good."""
    marks = [int(hashlib.sha256(f"{salt}:{a}".encode()).hexdigest()[:8], 16) / 16**8 for a in account_ids]
    return np.array(marks, np.float64) < share


def first_state(lines: pd.DataFrame, holdout: BoolArray) -> pd.DataFrame:
    """State of lines that have no decision yet: the delivered limit, no timer running.

    Parameters
    ----------
    lines : DataFrame with ``limit_cents, opened_at, as_of``
    holdout : bool array of shape (n,)
    """
    nothing = pd.Series(pd.NaT, index=lines.index, dtype="datetime64[us, UTC]")
    state = pd.DataFrame(
        {
            "limit_cents": lines["limit_cents"].astype(np.int64),
            "can_draw": True,
            "closed": False,
            "holdout": holdout,
            "pd_ref": np.nan,
            "opened_at": lines["opened_at"],
            "changed_at": nothing,
            "adverse_at": nothing,
            "paused_at": nothing,
            "watched": False,
        },
        index=lines.index,
    )
    return state_at(state, lines["as_of"])


def state_at(state: pd.DataFrame, as_of: pd.Series) -> pd.DataFrame:
    """The same state with its days counted up to ``as_of``, row by row (whole days, rounded down)."""
    return state.assign(
        line_age_days=_elapsed(state["opened_at"], as_of),
        days_since_change=_elapsed(state["changed_at"], as_of),
        days_since_adverse=_elapsed(state["adverse_at"], as_of),
        days_since_pause=_elapsed(state["paused_at"], as_of),
    )[list(STATE_COLUMNS)]


def next_state(state: pd.DataFrame, decisions: pd.DataFrame, as_of: pd.Series) -> pd.DataFrame:
    """State after a decision, at the same moment.

    Parameters
    ----------
    state : DataFrame of :data:`STATE_COLUMNS`
        State before the decision.
    decisions : DataFrame with ``action, limit_cents, can_draw, pd``
    as_of : Series of times
    """
    paused, action = state["paused_at"].notna(), decisions["action"]
    moved = (decisions["limit_cents"] != state["limit_cents"]) | (decisions["can_draw"] != state["can_draw"])
    # A pause moves no timer: nothing was decided yet. Its end moves that of the last change, and no dead band.
    lifted = paused & moved & (action == "unfreeze")
    changed = (moved & ~lifted & ~(action == "pause")) | (paused & action.isin(ADVERSE))
    adverse = changed & action.isin(ADVERSE)
    goes_on = paused & ~changed & ~lifted
    after = state.assign(
        limit_cents=decisions["limit_cents"],
        can_draw=decisions["can_draw"],
        closed=state["closed"] | (decisions["action"] == "close"),
        pd_ref=decisions["pd"].where(changed, state["pd_ref"]),
        changed_at=as_of.where(changed | lifted, state["changed_at"]),
        adverse_at=as_of.where(adverse, state["adverse_at"]),
        paused_at=as_of.where(action == "pause", state["paused_at"].where(goes_on)),
        watched=False,
    )
    return state_at(after, as_of)


def _elapsed(since: pd.Series, as_of: pd.Series) -> IntArray:
    """Whole days of each row; pandas' own subtraction costs ten times as much for a handful of rows."""
    elapsed = as_of.to_numpy("datetime64[us]") - since.to_numpy("datetime64[us]")
    days: IntArray = np.where(np.isnat(elapsed), NEVER_DAYS, elapsed.view(np.int64) // _DAY_MICROSECONDS)
    return days


def pack_state(state: pd.DataFrame) -> pa.StructArray:
    """One struct a row, as the ledger stores it."""
    table = to_arrow(state, pa.schema(list(STATE_TYPE))).combine_chunks()
    columns = [column.combine_chunks() for column in table.columns]
    return pa.StructArray.from_arrays(columns, fields=list(STATE_TYPE))


def unpack_state(packed: pa.ChunkedArray) -> pd.DataFrame:
    """The table :func:`pack_state` packed; an older one knew no pause, and no watch."""
    whole = packed.combine_chunks()
    there = {field.name: column for field, column in zip(whole.type, whole.flatten(), strict=True)}
    columns = [there.get(field.name, pa.nulls(len(whole), field.type)) for field in STATE_TYPE]
    state: pd.DataFrame = pa.Table.from_arrays(columns, schema=pa.schema(list(STATE_TYPE))).to_pandas()
    return state.assign(
        days_since_pause=state["days_since_pause"].fillna(NEVER_DAYS).astype(np.int64),
        watched=state["watched"].fillna(value=False).astype(bool),
    )


def unpacked(decisions: pa.Table) -> pd.DataFrame:
    """Decisions of the ledger with the columns of their state beside them, as ``state.*``."""
    state = unpack_state(decisions["state"]).add_prefix("state.")
    plain: pd.DataFrame = decisions.drop_columns(["state"]).to_pandas()
    return pd.concat([plain, state], axis=1)


def state_before(decisions: pd.DataFrame) -> pd.DataFrame:
    """State of each line before its decision, out of the ``state.*`` columns."""
    columns = decisions[[f"state.{name}" for name in STATE_COLUMNS]]
    return columns.set_axis(list(STATE_COLUMNS), axis=1).reset_index(drop=True)
