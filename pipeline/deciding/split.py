"""Split: each decision against the one before it, or against the one that stood before a pause."""

from collections.abc import Mapping

import pandas as pd

from limitlens.features.table import Shared
from limitlens.limits.iteration import Iteration
from limitlens.limits.second_look import last_settled, split_against
from limitlens.pipeline.deciding.attribute import attribute_all
from limitlens.pipeline.deciding.decide_batch import paused_lines
from limitlens.pipeline.deciding.point_in_time import Tables, change_moments, is_missing, joined, tables_at
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.workspace import Workspace


def with_stood_before(workspace: Workspace, latest: pd.DataFrame) -> pd.DataFrame:
    """The last decision of each account, and that which stood before each pause that goes on."""
    waiting = paused_lines(latest)["account_id"]
    stood = last_settled(recorded_decisions(workspace, list(waiting))) if len(waiting) else latest.iloc[:0]
    return pd.concat([latest, stood], ignore_index=True)


def split(
    workspace: Workspace,
    before: pd.DataFrame,
    decided: pd.DataFrame,
    sides: Mapping[str, Iteration],
    tables: Tables,
    *,
    of_all: Shared | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split decisions that are not recorded yet.

    Parameters
    ----------
    workspace : Workspace
    before : DataFrame
        As :func:`with_stood_before` gives it.
    decided : DataFrame
        Decisions with ``run_id`` and their state as ``state.*``, in any order, several of an account.
    sides : mapping of run id to Iteration
        Of both.
    tables : mapping of feature set digest to feature table
        What is built already, or nothing; the rest is.
    of_all : dict, optional
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
        built = tables_at(late, sets, workspace, of_all)
        tables = joined(tables, built) if tables else built
    return changes, attribute_all(previous, changes, sides, tables)
