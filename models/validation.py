"""Validation: how well the model ranks, and how true its probabilities are."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Metrics:
    """Figures of one set of rows.

    Parameters
    ----------
    rows, bads : int
        Counts of rows and of bad rows.
    auc, gini, ks, brier : float
        Ranking power, 2·AUC − 1, largest gap between the two score distributions, mean squared error.
    observed_share, expected_share : float
        Share of bads, and mean PD.
    """

    rows: int
    bads: int
    auc: float
    gini: float
    ks: float
    brier: float
    observed_share: float
    expected_share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(bad: BoolArray, pd_: FloatArray) -> Metrics:
    """Measure predictions against outcomes.

    Parameters
    ----------
    bad : bool array of shape (n,)
        Both classes must occur.
    pd_ : float64 array of shape (n,)

    Examples
    --------
    >>> measure(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])).auc
    0.75
    """
    auc = float(roc_auc_score(bad, pd_))
    false_share, true_share, _ = roc_curve(bad, pd_)
    return Metrics(
        rows=len(bad),
        bads=int(bad.sum()),
        auc=auc,
        gini=2 * auc - 1,
        ks=float(np.max(true_share - false_share)),
        brier=float(brier_score_loss(bad, pd_)),
        observed_share=float(bad.mean()),
        expected_share=float(pd_.mean()),
    )


def calibration_table(bad: BoolArray, pd_: FloatArray, bins: int = 10) -> pd.DataFrame:
    """Mean PD beside the observed share of bads, in bins of equal size.

    Returns
    -------
    DataFrame with ``rows, bads, expected_share, observed_share``, lowest PD first
    """
    order = np.argsort(pd_, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return pd.DataFrame(
        {
            "rows": [len(part) for part in parts],
            "bads": [int(bad[part].sum()) for part in parts],
            "expected_share": [float(pd_[part].mean()) for part in parts],
            "observed_share": [float(bad[part].mean()) for part in parts],
        }
    )
