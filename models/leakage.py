"""Target leakage: an input that knows the outcome, by how well it alone ranks and by its share of what a model learned.

Kaufman, S., Rosset, S., Perlich, C., Stitelman, O. (2012). Leakage in data mining: formulation, detection, and
avoidance. *ACM Transactions on Knowledge Discovery from Data* 6(4).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.validation import measure, paired_auc_gain

#: An input that ranks as well alone is nothing a lender could know before.
AUC_ALONE = 0.95

#: An input of which a model takes more of its gain has little beside it.
GAIN_SHARE = 0.8


def suspects(
    inputs: FloatArray, columns: Sequence[str], bad: BoolArray, pd_: FloatArray, gain: FloatArray
) -> pd.DataFrame:
    """How well each input tells the outcome alone, and which of them are suspect.

    Parameters
    ----------
    inputs : float64 array of shape (n, columns)
        Of rows the model has not seen; a category stands by a number, as :func:`category_shares` gives it.
    columns : sequence of str
    bad : bool array of shape (n,)
        Both classes must occur.
    pd_ : float64 array of shape (n,)
        What the whole model says.
    gain : float64 array of shape (columns,)
        Share of the gain of the model, as :func:`gain_shares` gives it.

    Returns
    -------
    DataFrame with ``feature, auc, gain_share, suspicion``, the suspect ones first, then by AUC
        ``suspicion`` is empty, or says which bound is exceeded; to beat the model is to beat it by more than chance
        (95% interval of the paired difference). A model that ranks worse than a coin is taken the other way round:
        that anything beats it says nothing of the inputs.

    Examples
    --------
    >>> bad = np.arange(200) % 5 == 0
    >>> known = np.column_stack([np.where(bad, 9.0, np.nan), np.arange(200.0)])
    >>> suspects(known, ["written_off", "row"], bad, np.arange(200) / 200, np.array([0.9, 0.1]))["suspicion"].tolist()
    ['AUC alone at or above 0.95; better than the whole model; above 80% of the gain', '']
    """
    whole, rows = measure(bad, pd_).auc, []
    model = pd_ if whole >= 0.5 else -pd_
    for place, name in enumerate(columns):
        score, auc = _best_order(inputs[:, place], bad)
        beats = auc > max(whole, 1 - whole) and paired_auc_gain(bad, score, model)[1] > 0
        why = {
            f"AUC alone at or above {AUC_ALONE}": auc >= AUC_ALONE,
            "better than the whole model": beats,
            f"above {GAIN_SHARE:.0%} of the gain": gain[place] > GAIN_SHARE,
        }
        suspicion = "; ".join(reason for reason, holds in why.items() if holds)
        rows.append({"feature": name, "auc": auc, "gain_share": float(gain[place]), "suspicion": suspicion})
    table = pd.DataFrame(rows, columns=["feature", "auc", "gain_share", "suspicion"])
    order = np.lexsort((table["feature"], -table["auc"], table["suspicion"] == ""))
    return table.iloc[order].reset_index(drop=True)


def _best_order(values: FloatArray, bad: BoolArray) -> tuple[FloatArray, float]:
    """An input as a score and its AUC, in the direction, and with what is missing at the end, that tell most."""
    missing, orders = np.isnan(values), []
    for end in (-np.inf, np.inf) if missing.any() else (0.0,):
        ranks = rankdata(np.where(missing, end, values))
        auc = _auc(ranks, bad)
        orders += [(ranks, auc), (-ranks, 1 - auc)]
    return max(orders, key=lambda one: one[1])


def _auc(ranks: FloatArray, bad: BoolArray) -> float:
    """AUC of mean ranks (Mann-Whitney)."""
    bads = int(bad.sum())
    return (float(ranks[bad].sum()) - bads * (bads + 1) / 2) / (bads * (len(bad) - bads))


def category_shares(
    known: IntArray, known_bad: BoolArray, known_fold: IntArray, asked: IntArray, asked_fold: IntArray
) -> FloatArray:
    """Share of bads of each category among the rows to learn from, never from the account's own fold.

    Parameters
    ----------
    known, known_bad, known_fold : arrays of shape (m,)
        Codes of the rows to learn from, a missing value with a code of its own; their outcomes and folds.
    asked, asked_fold : arrays of shape (n,)

    Returns
    -------
    float64 array of shape (n,)
        The share of all for a category that was not seen.

    Examples
    --------
    >>> codes, bad, fold = np.array([0, 0, 1, 1]), np.array([True, False, False, False]), np.array([0, 1, 0, 1])
    >>> category_shares(codes, bad, fold, codes, fold).tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    encoded = np.empty(len(asked))
    for fold in np.unique(asked_fold):
        others, mine = known_fold != fold, asked_fold == fold
        shares = pd.Series(known_bad[others]).groupby(known[others]).mean()
        encoded[mine] = pd.Series(asked[mine]).map(shares).fillna(known_bad[others].mean()).to_numpy(np.float64)
    return encoded


def gain_shares(model: DefaultRiskModel) -> FloatArray:
    """Share of each input in the gain of the trees, the largest over the scorers of a model.

    Returns
    -------
    float64 array of shape (columns,)
    """
    shares = np.zeros(len(model.columns))
    for scorer in model.scorers.values():
        gain = sum((member.booster.feature_importance("gain") for member in scorer.members), np.zeros(len(shares)))
        shares = np.maximum(shares, gain / max(float(gain.sum()), 1e-12))
    return shares
