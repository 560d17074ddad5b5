"""Explanations: which features speak for and against an account, by SHAP on the log-odds of the model.

Path-dependent TreeSHAP (Lundberg et al., "From local explanations to global understanding", 2020): exact and
additive for tree ensembles, categoricals and missing values included. LightGBM computes them itself, which is
also what the SHAP library asks it for; of many rows a kernel computes them (:mod:`limitlens.models.together`). Reason
codes are those of LightGBM's values to the last bit. Every validation report says how well they add up.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.features.reasons import MAX_REASONS, NOT_BEFORE_DAYS
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import account_numbers
from limitlens.models.member import Member
from limitlens.models.scorer import Scorer
from limitlens.models.together import lightgbm_contributions, mean_contributions, naming_accounts

#: Strengths closer than this may stand in another order by another way of adding up.
_CLOSE = 1e-7


def shap_values(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    *,
    by_lightgbm: bool = False,
) -> pd.DataFrame:
    """SHAP values of each row, in calibrated log-odds, of the members that score it.

    Parameters
    ----------
    model : DefaultRiskModel
    table : DataFrame of shape (n, ...)
        Feature table of the model.
    limit_cents, line_age_days : int64 arrays of shape (n,)
    by_lightgbm : bool, default False
        However many rows there are.

    Returns
    -------
    DataFrame of float64, shape (n, number of model columns)
        A positive value raises the PD. Rows and the base value sum to the log-odds of the PD.
    """
    inputs = model.inputs(table, limit_cents, line_age_days)
    account = account_numbers(table["account_id"])
    values = np.empty(inputs.shape)
    for scorer, rows in model.routed(line_age_days):
        with naming_accounts(table["account_id"].iloc[rows]):
            contributions = (lightgbm_contributions if by_lightgbm else mean_contributions)(
                scorer.members, inputs[rows], account[rows]
            )
        values[rows] = _stretched(scorer, contributions)
    return pd.DataFrame(values, columns=list(model.columns), index=table.index)


def _stretched(scorer: Scorer, contributions: FloatArray) -> FloatArray:
    """SHAP values of the mean of the members, stretched as the calibration stretches their sum."""
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


def shap_for_reasons(
    model: DefaultRiskModel, table: pd.DataFrame, limit_cents: IntArray, line_age_days: IntArray
) -> pd.DataFrame:
    """SHAP values whose reason codes are those of LightGBM's own: it does the rows where rounding could decide.

    Parameters
    ----------
    model, table, limit_cents, line_age_days
        As in :func:`shap_values`.

    Returns
    -------
    DataFrame of float64, shape (n, number of model columns)
    """
    shap = shap_values(model, table, limit_cents, line_age_days)
    _, strength = _strengths(model, shap, line_age_days)
    ranked = -np.sort(-np.column_stack([strength, np.zeros(len(strength))]), axis=1)
    upper, lower = ranked[:, :-1], ranked[:, 1:]
    close = np.flatnonzero(((upper - lower < _CLOSE) & (upper > -_CLOSE) & ((upper != 0) | (lower != 0))).any(axis=1))
    if len(close):
        few = table.iloc[close], limit_cents[close], line_age_days[close]
        shap.iloc[close] = shap_values(model, *few, by_lightgbm=True).to_numpy()
    return shap


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
    codes, strength = _strengths(model, shap, line_age_days)
    order = np.argsort(-strength, axis=1, kind="stable")
    return [
        list(dict.fromkeys([*evidence[i], *(codes[j] for j in order[i] if strength[i, j] > 0)]))[:MAX_REASONS]
        for i in range(len(shap))
    ]


def _strengths(model: DefaultRiskModel, shap: pd.DataFrame, line_age_days: IntArray) -> tuple[list[str], FloatArray]:
    """Reason codes, and how much each speaks against each row; nothing for what could not be otherwise yet."""
    declared = model.features.declaration_of
    code_of = {name: declared[name].reason for name in shap.columns if name in declared}
    codes = sorted(set(code_of.values()))
    strength = np.empty((len(shap), len(codes)))  # without events there is no code
    for place, code in enumerate(codes):
        strength[:, place] = shap[[n for n, c in code_of.items() if c == code]].sum(axis=1)
    too_young = line_age_days[:, None] < np.array([NOT_BEFORE_DAYS.get(code, 0) for code in codes])
    strength = np.where(too_young, 0.0, strength)
    return codes, strength
