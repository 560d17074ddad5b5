"""PDs of models that chance could have made: the turns of a model drawn with replacement.

The members of a model are trained in turns, each with folds dealt and rows sampled anew. A draw with replacement of as
many turns is a model that differs from the one in use by nothing but chance (bootstrap over turns; Efron 1979). What
another sample of customers would change is in it as far as each turn leaves rows out, and no more.
"""

from itertools import groupby

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.calibration import to_pd
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import account_numbers
from limitlens.models.member import AccountArray
from limitlens.models.scorer import Scorer
from limitlens.models.together import mean_scores


def drawn_pds(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    *,
    draws: int,
    seed: int,
) -> list[FloatArray]:
    """PDs of some lines by models whose turns are drawn from those of one model.

    Parameters
    ----------
    model : DefaultRiskModel
    table : DataFrame of shape (n, ...)
        Feature table of ``model.features``.
    limit_cents, line_age_days : int64 arrays of shape (n,)
    draws : int
        How many models are drawn; the same turns for every line.
    seed : int

    Returns
    -------
    list of ``draws`` float64 arrays of shape (n,)
    """
    inputs = model.inputs(table, limit_cents, line_age_days)
    account = account_numbers(table["account_id"])
    pds = [np.empty(len(table)) for _ in range(draws)]
    for scorer, rows in model.routed(line_age_days):
        scores = _by_turn(scorer, inputs[rows], account[rows])
        rng = np.random.default_rng([seed, len(scores)])
        for pd_ in pds:
            chosen = scores[rng.integers(0, len(scores), len(scores))].mean(axis=0)
            pd_[rows] = to_pd(scorer.calibration.log_odds(chosen))
    return pds


def _by_turn(scorer: Scorer, inputs: FloatArray, account: AccountArray) -> FloatArray:
    """Scores of each turn alone, by the member that never saw the account; of shape (turns, n)."""
    turns = [list(members) for _, members in groupby(scorer.members, key=lambda member: member.turn)]
    return np.array([mean_scores(members, inputs, account) for members in turns])
