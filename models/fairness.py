"""Fairness: how the groups of a protected attribute fare under the same PDs and the same policy.

The attribute is no input of the model; it is joined here and nowhere else. The one door to Fairlearn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.metrics import (
    MetricFrame,
    count,
    false_positive_rate,
    mean_prediction,
    selection_rate,
    true_positive_rate,
)

from limitlens.data.arrays import BoolArray, FloatArray

#: Smaller groups are taken together: their shares would be chance.
MIN_ROWS = 100

#: A smaller ratio of shares is taken for adverse impact ("four-fifths rule", 29 CFR 1607.4(D)).
FOUR_FIFTHS = 0.8

NOT_KNOWN = "not known"
FEW = f"groups with under {MIN_ROWS} lines"


@dataclass(frozen=True)
class Fairness:
    """The groups of one attribute.

    Parameters
    ----------
    groups : DataFrame, one row a group
        ``rows``, ``bad_share`` and ``mean_pd``, ``cut_share``, ``good_cut_share`` (of the good lines),
        ``bad_cut_share`` (of the bad ones).
    impact_ratio : float
        Smallest share of lines that are not cut by the largest, small groups left out; see :data:`FOUR_FIFTHS`.
    odds_difference : float
        Largest difference between groups in the share of good lines cut, or of bad lines cut (equalized odds: Hardt,
        Price & Srebro 2016).
    """

    groups: pd.DataFrame
    impact_ratio: float
    odds_difference: float


def fairness(attribute: pd.Series, bad: BoolArray, pd_: FloatArray, cut: BoolArray) -> Fairness:
    """Compare the groups of one protected attribute.

    Parameters
    ----------
    attribute : Series of shape (n,)
        Numbers are taken in quarters; missing values are a group.
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
    cut : bool array of shape (n,)
        Adverse action on paper.

    Examples
    --------
    >>> sex = pd.Series(["f", "m"] * 200)
    >>> cut = (sex == "m").to_numpy() & (np.arange(400) < 100)
    >>> fairness(sex, np.arange(400) % 5 == 0, np.full(400, 0.2), cut).impact_ratio
    0.75
    """
    group = groups_of(attribute)
    many = group != FEW if (group != FEW).any() else np.ones(len(group), bool)
    every = _measured(group, bad, pd_, cut)
    compared = every if many.all() else _measured(group[many], bad[many], pd_[many], cut[many])
    return Fairness(
        groups=pd.DataFrame(every.by_group).drop(columns="kept_share").rename_axis("group"),
        impact_ratio=float(compared.ratio(method="between_groups")["kept_share"]),
        odds_difference=float(compared.difference(method="between_groups")[["good_cut_share", "bad_cut_share"]].max()),
    )


def _measured(group: npt.NDArray[np.object_], bad: BoolArray, pd_: FloatArray, cut: BoolArray) -> MetricFrame:
    """All figures of all groups in one frame: making one costs more than any figure in it."""
    return MetricFrame(
        metrics={
            "rows": count,
            "bad_share": lambda y, _: float(np.mean(y)),
            "cut_share": selection_rate,
            "good_cut_share": false_positive_rate,
            "bad_cut_share": true_positive_rate,
            "mean_pd": lambda y, _, pd_: mean_prediction(y, pd_),
            "kept_share": lambda y, cut: selection_rate(y, ~cut),
        },
        y_true=bad,
        y_pred=cut,
        sensitive_features=group,
        sample_params={"mean_pd": {"pd_": pd_}},
    )


def groups_of(attribute: pd.Series) -> npt.NDArray[np.object_]:
    """Group of each line: the value itself, for numbers with many values the quarter it lies in.

    Examples
    --------
    >>> sorted(set(groups_of(pd.Series(range(20, 60)).repeat(20))))
    ['20 to 29.75', 'over 29.75 to 39.5', 'over 39.5 to 49.25', 'over 49.25 to 59']
    """
    if pd.api.types.is_numeric_dtype(attribute) and attribute.nunique() > 8:
        edges = np.unique(attribute.quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy(np.float64))
        quarter = np.searchsorted(edges[1:-1], attribute.to_numpy(np.float64), side="left")
        named = pd.Series(
            [f"{'over ' if k else ''}{edges[k]:g} to {edges[k + 1]:g}" for k in quarter],
            index=attribute.index,
            dtype=object,
        )
    else:
        named = attribute.astype(object)
    named = named.where(attribute.notna(), NOT_KNOWN).astype(str)
    sizes = named.map(named.value_counts())
    groups: npt.NDArray[np.object_] = named.where(sizes >= MIN_ROWS, FEW).to_numpy(object)
    return groups
