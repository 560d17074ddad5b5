"""Attribute: the changes between two decisions of the same accounts, from their four rebuilt data states."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.frames import to_arrow
from limitlens.features.line import DATA_HOLD
from limitlens.limits.entries import attribution_entries
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import check_recorded, evaluate
from limitlens.limits.ledger_tables import ATTRIBUTIONS
from limitlens.limits.second_look import as_asked, ends_a_pause
from limitlens.limits.state import state_before
from limitlens.pipeline.deciding.point_in_time import Tables, rows_at


def data_states(
    old: Iteration, new: Iteration, previous: pd.DataFrame, changes: pd.DataFrame, tables: Tables
) -> Mapping[tuple[str, str], pd.DataFrame]:
    """The states O0, C0, C1 and O1 of each account for the feature sets of both iterations.

    A hold is a matter of the data: the decisions that were held have it in O0 and O1, and reconciled data never do.
    """
    accounts, t0, t1, known_by = changes["account_id"], previous["as_of"], changes["as_of"], changes["known_by"]
    provisional = bool((known_by == t1).all())
    holds = {"O0": previous["action"] == "hold", "O1": changes["action"] == "hold"}
    states: dict[tuple[str, str], pd.DataFrame] = {}
    for digest in {old.model.features.digest, new.model.features.digest}:
        now = rows_at(tables[digest], accounts, t1, t1)
        states["O0", digest] = rows_at(tables[digest], accounts, t0, t0)
        states["C0", digest] = rows_at(tables[digest], accounts, t0, known_by)
        states["C1", digest] = now if provisional else rows_at(tables[digest], accounts, t1, known_by)
        states["O1", digest] = now
    if not any(held.any() for held in holds.values()):
        return states
    return {(at, digest): table.assign(**{DATA_HOLD: holds.get(at, False)}) for (at, digest), table in states.items()}


def attribute_changes(
    old: Iteration, new: Iteration, previous: pd.DataFrame, changes: pd.DataFrame, tables: Tables
) -> pd.DataFrame:
    """Attribute the changes between two decisions of the same accounts, made under two iterations.

    Parameters
    ----------
    old, new : Iteration
    previous, changes : DataFrame of n rows with a plain index
        Decisions at t0 and t1 with their ``state.*`` columns; ``known_by`` of the changes is the time of
        reconciliation k*: t1 gives the provisional split, a later time the final one. Pauses that are carried out are
        split apart from all others (:mod:`limitlens.limits.second_look`).
    tables : mapping of feature set digest to feature table
        Indexed by ``account_id, as_of, known_by``.

    Raises
    ------
    IntegrityError
        A recorded limit is not what the tables, models and policies give.
    """
    states = data_states(old, new, previous, changes, tables)
    sides, before, after = as_asked((old, new), previous, changes)
    lattice = evaluate(*sides, states, state_before(before), state_before(after))
    recorded = (before["limit_cents"].to_numpy(np.int64), changes["limit_cents"].to_numpy(np.int64))
    check_recorded(lattice, changes["account_id"], *recorded)
    return attribution_entries(lattice, changes.assign(previous_as_of=previous["as_of"]))


def attribute_all(
    previous: pd.DataFrame, changes: pd.DataFrame, iterations: Mapping[str, Iteration], tables: Tables
) -> pd.DataFrame:
    """:func:`attribute_changes` for decisions of any runs; those made by the same two iterations are split together.

    Parameters
    ----------
    previous, changes : DataFrame of n rows with a plain index
    iterations : mapping of run id to Iteration
    tables : mapping of feature set digest to feature table

    Returns
    -------
    DataFrame of n rows in the schema :data:`limitlens.limits.ledger_tables.ATTRIBUTIONS`, in the order of the changes
    """
    if changes.empty:
        nothing: pd.DataFrame = ATTRIBUTIONS.empty_table().to_pandas()
        return nothing
    names = {run_id: iteration.digest for run_id, iteration in iterations.items()}
    sides = previous["run_id"].map(names) + changes["run_id"].map(names)
    entries = []
    for rows in sides.groupby([sides, ends_a_pause(previous, changes)]).indices.values():
        before, after = (frame.iloc[rows].reset_index(drop=True) for frame in (previous, changes))
        old, new = (iterations[frame["run_id"].iloc[0]] for frame in (before, after))
        entries.append(attribute_changes(old, new, before, after, tables).set_index(rows))
    return pd.concat(entries).sort_index()


def attribution_table(attributions: pd.DataFrame) -> pa.Table:
    """Attributions as the ledger stores them."""
    return to_arrow(attributions, ATTRIBUTIONS).sort_by([("account_id", "ascending"), ("as_of", "ascending")])
