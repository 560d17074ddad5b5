"""A change of the score, split among the columns that changed: the account's new row against its own old one.

Interventional SHAP with one baseline row (Lundberg et al., "From local explanations to global understanding", Nature
Machine Intelligence 2, 2020, algorithm 3): the Shapley values of the game in which a set of columns has its new value
and all others keep the old one. Nothing is estimated and nobody else's row is read. Categories and missing values go
the way LightGBM sends them. Few rows are walked one by one with a stack, many by a kernel.
"""

from math import factorial

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import account_numbers
from limitlens.models.member import AccountArray, mean_over
from limitlens.models.scorer import Scorer
from limitlens.models.together import CHANGES_WORTH, mean_changes, naming_accounts, together
from limitlens.models.trees import Trees, read_trees


def change_of_score(
    model: DefaultRiskModel,
    old: pd.DataFrame,
    new: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> pd.DataFrame:
    """Split the change of each account's log-odds among the columns of the model.

    Parameters
    ----------
    model : DefaultRiskModel
    old, new : DataFrame of shape (n, ...)
        Feature table of the model before and after; the same accounts in the same order.
    limit_cents, line_age_days : int64 arrays of shape (n,)
        State of each line, the same for both.

    Returns
    -------
    DataFrame of float64, shape (n, number of model columns), indexed like ``new``
        Calibrated log-odds. Rows sum to the log-odds of the new row less those of the old one; a column that did not
        change has 0. A calibration stretches all columns of a row alike.

    Raises
    ------
    ValueError
        A member has linear trees.
    """
    before, after = (model.inputs(table, limit_cents, line_age_days) for table in (old, new))
    account = account_numbers(new["account_id"])
    values = np.empty(after.shape)
    for scorer, rows in model.routed(line_age_days):
        with naming_accounts(new["account_id"].iloc[rows]):
            values[rows] = _scorer_change(scorer, before[rows], after[rows], account[rows])
    return pd.DataFrame(values, columns=list(model.columns), index=new.index)


def _scorer_change(scorer: Scorer, before: FloatArray, after: FloatArray, account: AccountArray) -> FloatArray:
    """Mean of the members, stretched as the calibration stretches their sum."""
    able = together(scorer.members, after, CHANGES_WORTH)
    values = mean_changes(able, before, after, account) if able else _mean_changes(scorer, before, after, account)
    raw = values.sum(axis=1)
    calibrated = scorer.log_odds(after, account) - scorer.log_odds(before, account)
    stretch = np.divide(calibrated, raw, out=np.ones_like(raw), where=np.abs(raw) > 1e-9)
    stretched: FloatArray = values * stretch[:, None]
    return stretched


def _mean_changes(scorer: Scorer, before: FloatArray, after: FloatArray, account: AccountArray) -> FloatArray:
    """Mean of the members, row by row."""
    trees = [read_trees(member.text) for member in scorer.members]
    return mean_over(
        scorer.members,
        len(after),
        account,
        lambda place, rows: np.array([tree_changes(trees[place], before[row], after[row]) for row in rows]),
    )


def tree_changes(trees: Trees, before: FloatArray, after: FloatArray) -> FloatArray:
    """Split the change of the summed leaves between two rows among their columns.

    A leaf is reached by the rows that mix old and new values so that a set U of columns is new and a set V is old;
    it pays |V|! (|U| − 1)! / (|U| + |V|)! of its value to each of U, and takes |U|! (|V| − 1)! / (|U| + |V|)! of it
    from each of V.

    Parameters
    ----------
    trees : Trees
    before, after : float64 arrays of shape (columns,)

    Returns
    -------
    float64 array of shape (columns,)
        In log-odds of the member; the sum is the new prediction less the old one.
    """
    changes = np.zeros(len(after))
    old_left, new_left = trees.goes_left(before).tolist(), trees.goes_left(after).tolist()
    feature, left, right = trees.feature.tolist(), trees.left.tolist(), trees.right.tolist()
    nothing: frozenset[int] = frozenset()
    stack = [(root, nothing, nothing) for root in trees.roots]
    while stack:
        node, new, old = stack.pop()
        if node < 0:
            _pay(changes, trees.leaf[~node], new, old)
            continue
        column = feature[node]
        new_child, old_child = (left[node] if goes[node] else right[node] for goes in (new_left, old_left))
        if new_child == old_child:
            stack.append((new_child, new, old))
            continue
        if column not in old:
            stack.append((new_child, new | {column}, old))
        if column not in new:
            stack.append((old_child, new, old | {column}))
    return changes


def _pay(changes: FloatArray, value: float, new: frozenset[int], old: frozenset[int]) -> None:
    u, v = len(new), len(old)
    for column in new:
        changes[column] += value * factorial(u - 1) * factorial(v) / factorial(u + v)
    for column in old:
        changes[column] -= value * factorial(u) * factorial(v - 1) / factorial(u + v)
