"""Feature rows at the moments that decisions and attributions need, found by (account, as-of, known-by)."""

from collections.abc import Callable, Iterable, Mapping

import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.engine import Relations
from limitlens.data.frames import is_among
from limitlens.features.declarations import FeatureSet
from limitlens.features.table import Shared, build_table
from limitlens.pipeline.workspace import Workspace

_KEYS = ["account_id", "as_of", "known_by"]

#: Feature tables by the digest of their set, indexed by account, as-of and known-by.
Tables = Mapping[str, pd.DataFrame]

#: Gives the events that a feature set reads: those of the book, or of at least the accounts that are asked about.
RelationsOf = Callable[[FeatureSet], Relations]


def feature_moments(planned: pd.DataFrame, latest: pd.DataFrame) -> pd.DataFrame:
    """Every (account, as-of, known-by) that planned decisions need: each, and the one before it, as known then.

    Parameters
    ----------
    planned, latest : DataFrame with ``account_id, as_of``
        Decisions to come, and the last one of each account before them.

    Returns
    -------
    DataFrame with ``account_id, as_of, known_by``, no repeats
    """
    before = latest.loc[is_among(latest["account_id"], planned["account_id"]), ["account_id", "as_of"]]
    decided = [before, planned[["account_id", "as_of"]]]
    moments = pd.concat(decided).sort_values(["account_id", "as_of"], ignore_index=True)
    old = moments.assign(known_by=moments["as_of"], as_of=moments.groupby("account_id")["as_of"].shift())
    own = moments.assign(known_by=moments["as_of"])
    return pd.concat([own, old.dropna()], ignore_index=True).drop_duplicates(ignore_index=True)


def change_moments(previous: pd.DataFrame, changes: pd.DataFrame) -> pd.DataFrame:
    """Every (account, as-of, known-by) that the four data states of some changes need.

    Parameters
    ----------
    previous, changes : DataFrame of n rows with ``account_id, as_of``
        Decisions at t0 and t1; ``known_by`` of the changes is the time of reconciliation k*.

    Returns
    -------
    DataFrame with ``account_id, as_of, known_by``, no repeats
    """
    points = [rows[["account_id", "as_of"]] for rows in (previous, changes)]
    own = [point.assign(known_by=point["as_of"]) for point in points]
    later = [point.assign(known_by=changes["known_by"].to_numpy()) for point in points]
    return pd.concat([*own, *later], ignore_index=True).drop_duplicates(ignore_index=True)


def tables_at(
    moments: pd.DataFrame, sets: Iterable[FeatureSet], workspace: Workspace, shared: Shared | None = None
) -> Tables:
    """Build the feature rows of every moment for each feature set; ``shared`` as :func:`build_table` takes it."""
    return tables_from(moments, sets, workspace.relations, shared)


def tables_from(
    moments: pd.DataFrame, sets: Iterable[FeatureSet], relations_of: RelationsOf, shared: Shared | None = None
) -> Tables:
    """:func:`tables_at` from given events."""
    return {one.digest: table_at(one, moments, relations_of(one), shared) for one in sets}


def table_at(
    features: FeatureSet, moments: pd.DataFrame, relations: Relations, shared: Shared | None = None
) -> pd.DataFrame:
    """Build the feature rows of every moment, indexed by account, as-of and known-by."""
    return by_moment(build_table(features, moments, relations, shared=shared))


def by_moment(table: pd.DataFrame) -> pd.DataFrame:
    """A feature table, indexed by account, as-of and known-by."""
    return table.set_index(pd.MultiIndex.from_frame(table[_KEYS]))


def joined(tables: Tables, more: Tables) -> Tables:
    """The rows of both, each moment once."""
    both = {digest: pd.concat([table, more[digest]]) for digest, table in tables.items()}
    return {digest: table[~table.index.duplicated()] for digest, table in both.items()}


def is_missing(moments: pd.DataFrame, table: pd.DataFrame) -> BoolArray:
    """Which of some moments one table does not have."""
    unknown: BoolArray = table.index.get_indexer(pd.MultiIndex.from_frame(moments[_KEYS])) < 0
    return unknown


def rows_at(table: pd.DataFrame, accounts: pd.Series, as_of: pd.Series, known_by: pd.Series) -> pd.DataFrame:
    """Rows of one table at given moments, in their order, with a plain index."""
    index = pd.MultiIndex.from_arrays([accounts, as_of, known_by], names=_KEYS)
    return table.loc[index].reset_index(drop=True)
