"""Split: each decision against the one before it, or against the one that stood before a pause."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.features.table import Shared
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.second_look import last_settled, split_against
from limitlens.limits.state import unpacked
from limitlens.pipeline.deciding.attribute import attribute_all
from limitlens.pipeline.deciding.decide_batch import paused_lines
from limitlens.pipeline.deciding.point_in_time import (
    RelationsOf,
    Tables,
    change_moments,
    is_missing,
    joined,
    tables_from,
)
from limitlens.pipeline.deciding.replay import recorded_table
from limitlens.pipeline.workspace import Workspace


def stood_before(workspace: Workspace, latest: pd.DataFrame) -> pa.Table:
    """The decision that stood before each pause that goes on after the last decision of each account."""
    waiting = list(paused_lines(latest)["account_id"])
    if not waiting:
        return DECISIONS.empty_table()
    recorded = recorded_table(workspace, waiting)
    return recorded.take(last_settled(unpacked(recorded)).index.to_numpy(np.int64))


def with_stood_before(latest: pd.DataFrame, stood: pa.Table) -> pd.DataFrame:
    """The last decision of each account, and what :func:`stood_before` gives."""
    return pd.concat([latest, unpacked(stood) if len(stood) else latest.iloc[:0]], ignore_index=True)


def split(
    before: pd.DataFrame,
    decided: pd.DataFrame,
    sides: Mapping[str, Iteration],
    tables: Tables,
    relations_of: RelationsOf,
    *,
    shared: Shared | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split decisions that are not recorded yet.

    Parameters
    ----------
    before : DataFrame
        As :func:`with_stood_before` gives it.
    decided : DataFrame
        Decisions with ``run_id`` and their state as ``state.*``, in any order, several of an account.
    sides : mapping of run id to Iteration
        Of both.
    tables : mapping of feature set digest to feature table
        What is built already, or nothing; the rest is.
    relations_of : callable
        Events of at least these accounts.
    shared : dict, optional
        As :func:`limitlens.features.table.build_table` takes it.

    Returns
    -------
    (DataFrame, DataFrame) of n rows each
        The decisions that have one to be split against, by account and time; and their attributions.
    """
    previous, changes = split_against(before, decided)
    changes = changes.assign(known_by=changes["as_of"])
    moments = change_moments(previous, changes)
    late = moments[is_missing(moments, next(iter(tables.values())))] if tables else moments
    sets = {iteration.model.features for iteration in sides.values()}
    if len(late):
        built = tables_from(late, sets, relations_of, shared)
        tables = joined(tables, built) if tables else built
    return changes, attribute_all(previous, changes, sides, tables)
