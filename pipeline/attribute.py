"""Attribute: the changes between two decisions of the same accounts, from their four rebuilt data states."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.limits.entries import provisional_entries
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import check_recorded, evaluate
from limitlens.limits.state import STATE_COLUMNS, unpack_state
from limitlens.pipeline.moments import Tables, rows_at


def unpacked(decisions: pa.Table) -> pd.DataFrame:
    """Decisions of the ledger with the columns of their state beside them, as ``state.*``."""
    state = unpack_state(decisions["state"]).add_prefix("state.")
    plain: pd.DataFrame = decisions.drop_columns(["state"]).to_pandas()
    return pd.concat([plain, state], axis=1)


def state_before(decisions: pd.DataFrame) -> pd.DataFrame:
    """State of each line before its decision, out of the ``state.*`` columns."""
    columns = decisions[[f"state.{name}" for name in STATE_COLUMNS]]
    return columns.set_axis(list(STATE_COLUMNS), axis=1).reset_index(drop=True)


def data_states(
    old: Iteration, new: Iteration, previous: pd.DataFrame, changes: pd.DataFrame, tables: Tables
) -> Mapping[tuple[str, str], pd.DataFrame]:
    """The states O0, C0, C1 and O1 of each account for the feature sets of both iterations.

    Provisional: what was known at t1 is the best there is, so C1 is O1.
    """
    accounts, t0, t1 = changes["account_id"], previous["as_of"], changes["as_of"]
    states: dict[tuple[str, str], pd.DataFrame] = {}
    for digest in {old.model.features.digest, new.model.features.digest}:
        now = rows_at(tables[digest], accounts, t1, t1)
        states |= {("C1", digest): now, ("O1", digest): now}
        states["O0", digest] = rows_at(tables[digest], accounts, t0, t0)
        states["C0", digest] = rows_at(tables[digest], accounts, t0, t1)
    return states


def attribute_changes(
    old: Iteration, new: Iteration, previous: pd.DataFrame, changes: pd.DataFrame, tables: Tables
) -> pd.DataFrame:
    """Attribute the changes between two decisions of the same accounts, made under two iterations.

    Parameters
    ----------
    old, new : Iteration
    previous, changes : DataFrame of n rows
        Decisions at t0 and t1 with their ``state.*`` columns.
    tables : mapping of feature set digest to feature table
        Indexed by ``account_id, as_of, known_by``.

    Raises
    ------
    IntegrityError
        A recorded limit is not what the tables, models and policies give.
    """
    accounts, t0, t1 = changes["account_id"], previous["as_of"], changes["as_of"]
    states = data_states(old, new, previous, changes, tables)
    lattice = evaluate(old, new, states, state_before(previous), state_before(changes))
    recorded = (previous["limit_cents"].to_numpy(np.int64), changes["limit_cents"].to_numpy(np.int64))
    check_recorded(lattice, accounts, *recorded)
    return provisional_entries(lattice, accounts, t1, t0, changes["limit_before_cents"].to_numpy(np.int64))
