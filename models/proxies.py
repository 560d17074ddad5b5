"""Proxies: how well the inputs of a model tell a protected attribute that it does not read.

Barocas, S., Selbst, A. D. (2016). Big data's disparate impact. *California Law Review* 104, 671-732.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.models.fairness import FEW, NOT_KNOWN
from limitlens.models.inputs import fold_of
from limitlens.models.member import AccountArray

ObjectArray = npt.NDArray[np.object_]

#: From this AUC on the inputs stand for the attribute.
AUC_TOLD = 0.75

#: Accounts are dealt to so many folds; each is told by models that never saw it.
_FOLDS = 3
_TREES = 25
_FEATURES = 5
_PARAMS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 8,
    "learning_rate": 0.2,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "max_bin": 63,
    "num_threads": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True)
class Proxy:
    """How well one attribute is told.

    Parameters
    ----------
    group : str
        The group that is told best from all others.
    rows : int
        Rows whose group is known.
    auc : float
        Of that group against the others, on accounts the models never saw.
    features : tuple of str
        The inputs that tell it best, by gain.
    correlation : float
        Of the PD with the attribute: correlation ratio, from 0 (the groups have one mean PD) to 1; of two groups the
        absolute correlation.
    """

    group: str
    rows: int
    auc: float
    features: tuple[str, ...]
    correlation: float


def find_proxy(
    group: ObjectArray,
    inputs: FloatArray,
    columns: Sequence[str],
    *,
    categorical: Sequence[int],
    account: AccountArray,
    pd_: FloatArray,
) -> Proxy | None:
    """Learn to tell the groups of a protected attribute from the inputs of a model.

    Parameters
    ----------
    group : object array of shape (n,)
        As :func:`limitlens.models.fairness.groups_of` gives it; small groups and missing values are left out.
    inputs : float64 array of shape (n, columns)
    columns : sequence of str
    categorical : sequence of int
        Columns that hold codes.
    account : uint64 array of shape (n,)
    pd_ : float64 array of shape (n,)

    Returns
    -------
    Proxy or None
        None: fewer than two groups are large enough.
    """
    known = ~np.isin(group, [NOT_KNOWN, FEW])
    group, inputs, account, pd_ = group[known], inputs[known], account[known], pd_[known]
    names = sorted(set(group))
    if len(names) < 2:
        return None
    fold = fold_of(account, _FOLDS, 0)
    data = lgb.Dataset(inputs, categorical_feature=list(categorical), params=_PARAMS, free_raw_data=False).construct()
    asked = names[1:] if len(names) == 2 else names
    candidates = [(name, *_separation(data, inputs, group == name, fold)) for name in asked]
    best, auc, gain = max(candidates, key=lambda one: one[1])
    strongest = [place for place in np.argsort(-gain, kind="stable")[:_FEATURES] if gain[place] > 0]
    return Proxy(str(best), len(group), auc, tuple(columns[k] for k in strongest), _correlation_ratio(group, pd_))


def _separation(data: lgb.Dataset, inputs: FloatArray, is_it: BoolArray, fold: IntArray) -> tuple[float, FloatArray]:
    """Mean AUC over the folds in which there are both, and the gain of each input."""
    aucs, gain = [], np.zeros(inputs.shape[1])
    for held in range(_FOLDS):
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        if len(set(is_it[train])) < 2 or len(set(is_it[test])) < 2:
            continue
        part = data.subset(train).construct()
        part.set_label(is_it[train].astype(np.float64))
        booster = lgb.train(_PARAMS, part, num_boost_round=_TREES)
        aucs.append(float(roc_auc_score(is_it[test], booster.predict(inputs[test], num_threads=1))))
        gain += booster.feature_importance("gain")
    return (float(np.mean(aucs)) if aucs else 0.5), gain


def _correlation_ratio(group: ObjectArray, values: FloatArray) -> float:
    """Square root of the share of the variance that lies between the groups."""
    centred = values - values.mean()
    whole = float(centred @ centred)
    between = sum(float((group == name).sum()) * float(centred[group == name].mean()) ** 2 for name in set(group))
    return float(np.sqrt(between / whole)) if whole > 0 else 0.0
