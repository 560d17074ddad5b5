"""False positives beside true positives: good and bad accounts that were acted on alike, and what drove each.

Outcomes are known only where nothing was cut yet, so the contrast is drawn on the validation rows: lines as the
lender left them, decided on paper with out-of-sample PDs.
"""

import pandas as pd

from limitlens.data.arrays import BoolArray


def contrast(shap: pd.DataFrame, bad: BoolArray, reason_of: dict[str, str]) -> pd.DataFrame:
    """Compare what drove the flags of good and of bad accounts.

    Parameters
    ----------
    shap : DataFrame of shape (n, columns)
        SHAP values of the flagged accounts, in log-odds.
    bad : bool array of shape (n,)
        Matured outcomes.
    reason_of : mapping of column to reason code

    Returns
    -------
    DataFrame with ``feature, reason, false_positive_mean, true_positive_mean, difference``
        Means are 0 where a side is empty; ordered by the largest absolute mean of either side.

    Examples
    --------
    >>> import numpy as np
    >>> shap = pd.DataFrame({"dpd_days": [0.2, 1.0], "login_count_2d": [0.8, 0.1]})
    >>> contrast(shap, np.array([False, True]), {})["feature"].tolist()
    ['dpd_days', 'login_count_2d']
    """
    sides = {"false_positive_mean": shap[~bad], "true_positive_mean": shap[bad]}
    found = pd.DataFrame({name: rows.mean().fillna(0.0) for name, rows in sides.items()})
    found["difference"] = found["false_positive_mean"] - found["true_positive_mean"]
    found.insert(0, "reason", [reason_of.get(str(name), "") for name in found.index])
    largest = found[list(sides)].abs().max(axis=1).sort_values(ascending=False, kind="stable")
    return found.loc[largest.index].rename_axis("feature").reset_index()
