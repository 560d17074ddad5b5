"""Validation: how well the model ranks, and how true its probabilities are.

Whether a PD is true is tested by the Jeffreys test (ECB, Instructions for reporting the validation results of internal
models, 2019, section 2.5.3.1).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import beta as beta_distribution
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.models.default_risk import LEVEL_BOUNDS


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


#: Fewer bads than this teach a model little: the standard error of an AUC of 0.7 is then above 0.06 (Hanley & McNeil,
#: Radiology 143, 1982).
MIN_BADS = 20


#: By chance, by :func:`jeffreys_test`.
_CHANCE = 0.01


def data_doubts(learned_rows: int, learned_bads: int) -> list[str]:
    """What the rows a model learned from say against using it; nothing if nothing does.

    Examples
    --------
    >>> data_doubts(300, 8)
    ['it learned from 8 bad and 292 good lines, fewer than 20 of a kind: calibrated by its level alone']
    """
    if min(learned_bads, learned_rows - learned_bads) >= MIN_BADS:
        return []
    return [
        f"it learned from {learned_bads:,} bad and {learned_rows - learned_bads:,} good lines, fewer than "
        f"{MIN_BADS} of a kind: calibrated by its level alone"
    ]


def ranking_doubts(metrics: Metrics) -> list[str]:
    """Whether a model ranks rows it has not seen worse than chance.

    Examples
    --------
    >>> ranking_doubts(measure(np.array([False, True]), np.array([0.2, 0.1])))
    ['it ranks worse than a coin: AUC 0.000']
    """
    return [f"it ranks worse than a coin: AUC {metrics.auc:.3f}"] if metrics.auc < 0.5 else []


def level_doubts(metrics: Metrics) -> list[str]:
    """Whether half or twice the bads came that were expected, or fewer or more, and not by chance.

    Examples
    --------
    >>> level_doubts(Metrics(1_000, 50, 0.7, 0.4, 0.3, 0.1, 0.05, 0.024))
    ['its PDs are off: 5.00% went bad, 2.40% were expected']
    """
    ratio = metrics.observed_share / metrics.expected_share
    too_low = jeffreys_test(metrics.bads, metrics.rows, metrics.expected_share)
    if LEVEL_BOUNDS[0] <= ratio <= LEVEL_BOUNDS[1] or _CHANCE <= too_low <= 1 - _CHANCE:
        return []
    return [f"its PDs are off: {metrics.observed_share:.2%} went bad, {metrics.expected_share:.2%} were expected"]


def roc_of(bad: BoolArray, pd_: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of the good rows, and of the bad ones, with at least the PD of each cut-off; from (0, 0) to (1, 1).

    Examples
    --------
    >>> [values.tolist() for values in roc_of(np.array([False, True]), np.array([0.1, 0.9]))]
    [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    false_share, true_share, _ = roc_curve(bad, pd_)
    return false_share, true_share


def gains_curve(bad: BoolArray, pd_: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of all rows, the riskiest first, and the share of the bads among them; from (0, 0) to (1, 1).

    Examples
    --------
    >>> [values.tolist() for values in gains_curve(np.array([False, True]), np.array([0.1, 0.9]))]
    [[0.0, 0.5, 1.0], [0.0, 1.0, 1.0]]
    """
    among = np.cumsum(bad[np.argsort(-pd_, kind="stable")]) / bad.sum()
    return np.linspace(0, 1, len(bad) + 1), np.concatenate([[0.0], among])


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


def calibration_line(bad: BoolArray, pd_: FloatArray) -> tuple[float, float]:
    """Intercept and slope of outcomes on the log-odds of the PD: (0, 1) when the PDs are true (Cox 1958)."""
    fit = LogisticRegression(C=np.inf).fit(logit(pd_).reshape(-1, 1), bad)
    return float(fit.intercept_[0]), float(fit.coef_[0, 0])


def jeffreys_test(bads: int, rows: int, expected_share: float) -> float:
    """Probability that the true share of bads is at most the expected one: below 0.05 the PD is too low.

    Parameters
    ----------
    bads, rows : int
        Observed.
    expected_share : float
        Mean PD.

    Examples
    --------
    >>> round(jeffreys_test(10, 100, 0.05), 3)
    0.018
    """
    return float(beta_distribution.cdf(expected_share, bads + 0.5, rows - bads + 0.5))


def calibration_by(group: pd.Series, bad: BoolArray, pd_: FloatArray) -> pd.DataFrame:
    """Observed beside expected bads in each group, with the Jeffreys test.

    Parameters
    ----------
    group : Series of shape (n,)
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
        Predicted probabilities of default.

    Returns
    -------
    DataFrame with ``group, rows, bads, observed_share, expected_share, ratio, riskiest_ratio, jeffreys``
        ``ratio``: observed by expected; ``riskiest_ratio``: the same among the riskiest 5% of the group.
    """
    rows = []
    for name, at in group.reset_index(drop=True).groupby(group.to_numpy()).groups.items():
        bads, expected = int(bad[at].sum()), float(pd_[at].mean())
        riskiest = at[np.argsort(-pd_[at], kind="stable")[: max(1, round(len(at) * 0.05))]]
        observed = bads / len(at)
        rows.append(
            {
                "group": str(name),
                "rows": len(at),
                "bads": bads,
                "observed_share": observed,
                "expected_share": expected,
                "ratio": observed / expected,
                "riskiest_ratio": float(bad[riskiest].sum() / pd_[riskiest].sum()),
                "jeffreys": jeffreys_test(bads, len(at), expected),
            }
        )
    return pd.DataFrame(rows)


def auc_interval(bad: BoolArray, pd_: FloatArray) -> tuple[float, float]:
    """The 95% interval of the AUC: of its gain on a coin, where that is the mean of its placements.

    Examples
    --------
    >>> line = np.arange(200)
    >>> [round(end, 3) for end in auc_interval(line % 2 == 0, line / 200)]
    [0.415, 0.575]
    """
    _, low, high = paired_auc_gain(bad, pd_, np.zeros(len(pd_)))
    return 0.5 + low, 0.5 + high


def tail_table(
    bad: BoolArray, pd_: FloatArray, shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2)
) -> pd.DataFrame:
    """What lies in the riskiest share of the rows: where a policy acts.

    Returns
    -------
    DataFrame with ``share, rows, bads, observed_share, expected_share, lift, caught_share``
        ``lift``: share of bads by that of all rows; ``caught_share``: of all bads.

    Examples
    --------
    >>> tail_table(np.array([False, False, False, True]), np.array([0.1, 0.1, 0.2, 0.7]), (0.25,))["lift"].tolist()
    [4.0]
    """
    order = np.argsort(-pd_, kind="stable")
    rows = []
    for share in shares:
        chosen = order[: max(1, round(len(order) * share))]
        bads = int(bad[chosen].sum())
        rows.append(
            {
                "share": share,
                "rows": len(chosen),
                "bads": bads,
                "observed_share": bads / len(chosen),
                "expected_share": float(pd_[chosen].mean()),
                "lift": bads / len(chosen) / float(bad.mean()),
                "caught_share": bads / int(bad.sum()),
            }
        )
    return pd.DataFrame(rows)


def paired_auc_gain(bad: BoolArray, better: FloatArray, base: FloatArray) -> tuple[float, float, float]:
    """AUC of one model less that of another on the same rows, with its 95% interval.

    The variance takes the pairing into account (DeLong, DeLong & Clarke-Pearson, Biometrics 44, 1988).

    Parameters
    ----------
    bad : bool array of shape (n,)
    better, base : float64 arrays of shape (n,)
        Scores of the two models.

    Returns
    -------
    gain, low, high : float

    Examples
    --------
    >>> bad = np.array([False, False, True, True])
    >>> paired_auc_gain(bad, np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.1, 0.2, 0.3, 0.4]))
    (0.0, 0.0, 0.0)
    """
    of_bad, of_good = zip(*(_placements(bad, scores) for scores in (better, base)), strict=True)
    gain = float(of_bad[0].mean() - of_bad[1].mean())
    spread = [np.var(first - second, ddof=1) / len(first) for first, second in (of_bad, of_good)]
    margin = 1.959964 * float(np.sqrt(sum(spread)))
    return gain, gain - margin, gain + margin


def _placements(bad: BoolArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each bad row the share of good rows below it, and for each good row the share of bad rows above it."""
    ranks, bad_ranks, good_ranks = rankdata(scores), rankdata(scores[bad]), rankdata(scores[~bad])
    return (ranks[bad] - bad_ranks) / (~bad).sum(), 1.0 - (ranks[~bad] - good_ranks) / bad.sum()
