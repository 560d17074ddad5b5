"""Similar cases: which cases that were settled are most like one that waits."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from limitlens.limits.decision import log_odds


def similar(pd_: float, fired_rules: Collection[str], settled: pd.DataFrame, most: int) -> pd.DataFrame:
    """The settled cases that are most like a case.

    Parameters
    ----------
    pd_ : float
        Of the case.
    fired_rules : collection of str
    settled : DataFrame with ``account_id, pd, fired_rules``
    most : int

    Returns
    -------
    DataFrame
        Rows of ``settled``, at most ``most``: those that share the larger part of all rules that fired in either first
        (Jaccard 1912), then the nearest PD in log-odds.

    Examples
    --------
    >>> settled = pd.DataFrame({"account_id": ["A1", "A2", "A3"], "pd": [0.1, 0.3, 0.2]})
    >>> settled["fired_rules"] = [["pd_review"], ["pd_review", "past_due_1"], ["pd_review"]]
    >>> similar(0.2, ["pd_review", "past_due_1"], settled, 2)["account_id"].tolist()
    ['A2', 'A3']
    """
    own = set(fired_rules)
    shared = [len(own & set(fired)) / max(len(own | set(fired)), 1) for fired in settled["fired_rules"]]
    distance = np.abs(log_odds(settled["pd"].to_numpy(np.float64)) - log_odds(np.array([pd_])))
    keys = pd.DataFrame({"shared": shared, "distance": distance}, index=settled.index)
    order = keys.sort_values(["shared", "distance"], ascending=[False, True], kind="stable").index
    return settled.loc[order[:most]]
