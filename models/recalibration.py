"""The level of the PDs after the youngest label: read from early arrears, which are known months before defaults are.

An economy that multiplies the odds of the one multiplies those of the other by about as much. So if lines of the same
score fall behind early more rarely than those the model has learned from, all log-odds of default move by as much as
those of falling behind early. Only the level moves; no line overtakes another.

The early sign is that of vintage analysis (Siddiqi, Intelligent Credit Scoring, 2017).
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

#: A line fell behind early when it came to be so many days past due within so many months.
EARLY_DPD_DAYS = 30
EARLY_MONTHS = 2

#: With fewer lines that fell behind, chance alone would move the level by 0.05 or more.
MIN_EARLY = 400


def recalibration_shift(learned: pd.DataFrame, recent: pd.DataFrame) -> float:
    """By how much the log-odds of falling behind early have moved, at equal scores.

    Parameters
    ----------
    learned, recent : DataFrame with ``log_odds`` (float64, of default, by models that never saw the account), ``early``
        Lines a model has learned from, and later ones; ``early`` (bool): fell behind early.

    Returns
    -------
    float
        To be added to log-odds; 0 where fewer than :data:`MIN_EARLY` lines of either fell behind, or did not.
    """
    if any((rows["early"] == fell).sum() < MIN_EARLY for rows in (learned, recent) for fell in (True, False)):
        return 0.0
    fit = LogisticRegression(C=np.inf, max_iter=1_000).fit(learned[["log_odds"]].to_numpy(), learned["early"])
    expected = fit.intercept_[0] + fit.coef_[0, 0] * recent["log_odds"].to_numpy()
    fallen = int(recent["early"].sum())
    return float(brentq(lambda shift: expit(expected + shift).sum() - fallen, -20, 20))
