"""Explanations: which features speak for and against an account, by SHAP on the log-odds of the model.

Path-dependent TreeSHAP (Lundberg et al., "From local explanations to global understanding", 2020): exact and
additive for tree ensembles, categoricals and missing values included. LightGBM computes them itself, which is
also what the SHAP library asks it for. Every validation report says how well they add up.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.features.reasons import MAX_REASONS, NOT_BEFORE_DAYS
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import account_numbers
from limitlens.models.scorer import AccountArray, Member, Scorer, mean_over


def shap_values(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> pd.DataFrame:
    """SHAP values of each row, in calibrated log-odds, of the members that score it.

    Parameters
    ----------
    model : DefaultRiskModel
    table : DataFrame of shape (n, ...)
        Feature table of the model.
    limit_cents, line_age_days : int64 arrays of shape (n,)

    Returns
    -------
    DataFrame of float64, shape (n, number of model columns)
        A positive value raises the PD. Rows and the base value sum to the log-odds of the PD.
    """
    inputs = model.inputs(table, limit_cents, line_age_days)
    account = account_numbers(table["account_id"])
    values = np.empty(inputs.shape)
    for scorer, rows in model.routed(line_age_days):
        values[rows] = _scorer_shap(scorer, inputs[rows], account[rows])
    return pd.DataFrame(values, columns=list(model.columns), index=table.index)


def _scorer_shap(scorer: Scorer, inputs: FloatArray, account: AccountArray) -> FloatArray:
    """SHAP values of the mean of the members, stretched as the calibration stretches their sum."""
    contributions = mean_over(scorer.members, inputs, account, _contributions)
    values, base = contributions[:, :-1], contributions[:, -1]
    raw = values.sum(axis=1)
    calibrated = scorer.calibration.log_odds(base + raw) - scorer.calibration.log_odds(base)
    stretch = np.divide(calibrated, raw, out=np.ones_like(raw), where=np.abs(raw) > 1e-9)
    stretched: FloatArray = values * stretch[:, None]
    return stretched


def _contributions(member: Member, inputs: FloatArray) -> FloatArray:
    """SHAP values of one member, and its base value in a column of its own."""
    return member.raw(inputs, pred_contrib=True)


def additivity_error(
    model: DefaultRiskModel, table: pd.DataFrame, limit_cents: IntArray, line_age_days: IntArray
) -> float:
    """By how much the SHAP values of a member and its base value miss its score at most, in log-odds.

    Parameters
    ----------
    table, limit_cents, line_age_days
        As in :func:`shap_values`.
    """
    inputs, worst = model.inputs(table, limit_cents, line_age_days), 0.0
    for scorer, rows in model.routed(line_age_days):
        for member in scorer.members:
            summed = _contributions(member, inputs[rows]).sum(axis=1)
            worst = max(worst, float(np.abs(summed - member.raw(inputs[rows])).max()))
    return worst


def reason_codes(
    model: DefaultRiskModel, shap: pd.DataFrame, evidence: Sequence[Sequence[str]], line_age_days: IntArray
) -> list[list[str]]:
    """At most four reason codes of each row: those of the rules that fired, then the strongest against the account.

    Limit, age of the line, segment and static attributes have no code: a customer is told only what the customer
    did, and nothing that could not be otherwise yet.

    Parameters
    ----------
    model : DefaultRiskModel
    shap : DataFrame of shape (n, number of model columns)
    evidence : sequence of n sequences of str
        Reason codes of the fired rules.
    line_age_days : int64 array of shape (n,)
    """
    declared = model.features.declaration_of
    code_of = {name: declared[name].reason for name in shap.columns if name in declared}
    codes = sorted(set(code_of.values()))
    strength = np.empty((len(shap), len(codes)))  # without events there is no code
    for place, code in enumerate(codes):
        strength[:, place] = shap[[n for n, c in code_of.items() if c == code]].sum(axis=1)
    too_young = line_age_days[:, None] < np.array([NOT_BEFORE_DAYS.get(code, 0) for code in codes])
    strength = np.where(too_young, 0.0, strength)
    order = np.argsort(-strength, axis=1, kind="stable")
    return [
        list(dict.fromkeys([*evidence[i], *(codes[j] for j in order[i] if strength[i, j] > 0)]))[:MAX_REASONS]
        for i in range(len(shap))
    ]
