"""Explanations: which features speak for and against an account, by SHAP on the log-odds of the model.

Path-dependent TreeSHAP (Lundberg et al., "From local explanations to global understanding", 2020): exact and
additive for tree ensembles, categoricals and missing values included. LightGBM computes them itself, which is
also what the SHAP library asks it for. Every validation report says how well they add up.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.features.reasons import MAX_REASONS
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.scorer import Scorer

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def shap_values(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    *,
    out_of_fold: bool = False,
) -> pd.DataFrame:
    """SHAP values of each row, in calibrated log-odds.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Feature table of the model.
    limit_cents, line_age_days : int64 arrays of shape (n,)
    out_of_fold : bool
        Explain the members that never saw the account.

    Returns
    -------
    DataFrame of float64, shape (n, number of model columns)
        A positive value raises the PD. Rows and the base value sum to the log-odds of the PD.
    """
    inputs = model.inputs(table, limit_cents, line_age_days)
    fold = model.fold(table["account_id"]) if out_of_fold else None
    values = np.empty(inputs.shape)
    for scorer, rows in model.routed(line_age_days):
        values[rows] = _scorer_shap(scorer, inputs[rows], fold[rows] if fold is not None else None)
    return pd.DataFrame(values, columns=list(model.columns), index=table.index)


def _scorer_shap(scorer: Scorer, inputs: FloatArray, fold: IntArray | None) -> FloatArray:
    """SHAP values of the mean of the members, stretched as the calibration stretches their sum."""
    values, base = np.empty(inputs.shape), np.empty(len(inputs))
    for k in [None] if fold is None else np.unique(fold):
        rows = np.ones(len(inputs), bool) if fold is None else fold == k
        mine = [member for member in scorer.members if k is None or member.fold == k]
        found = np.mean([member.raw(inputs[rows], pred_contrib=True) for member in mine], axis=0)
        values[rows], base[rows] = found[:, :-1], found[:, -1]
    raw = values.sum(axis=1)
    calibrated = scorer.calibration.log_odds(base + raw) - scorer.calibration.log_odds(base)
    stretch = np.divide(calibrated, raw, out=np.ones_like(raw), where=np.abs(raw) > 1e-9)
    found_values: FloatArray = values * stretch[:, None]
    return found_values


def additivity_error(
    model: DefaultRiskModel, table: pd.DataFrame, limit_cents: IntArray, line_age_days: IntArray
) -> float:
    """By how much the SHAP values of a member and its base value miss its score at most, in log-odds.

    Parameters
    ----------
    table, limit_cents, line_age_days
        As in :func:`shap_values`.
    """
    inputs, found = model.inputs(table, limit_cents, line_age_days), 0.0
    for scorer, rows in model.routed(line_age_days):
        for member in scorer.members:
            summed = member.raw(inputs[rows], pred_contrib=True).sum(axis=1)
            found = max(found, float(np.abs(summed - member.raw(inputs[rows])).max()))
    return found


def reason_codes(model: DefaultRiskModel, shap: pd.DataFrame, evidence: Sequence[Sequence[str]]) -> list[list[str]]:
    """At most four reason codes of each row: those of the rules that fired, then the strongest against the account.

    Limit, age of the line, segment and static attributes have no code: a customer is told only what the customer
    did.

    Parameters
    ----------
    shap : DataFrame of shape (n, number of model columns)
    evidence : sequence of n sequences of str
        Reason codes of the fired rules.
    """
    declared = model.features.declaration_of
    code_of = {name: declared[name].reason for name in shap.columns if name in declared}
    codes = sorted(set(code_of.values()))
    strength = np.empty((len(shap), len(codes)))  # without events there is no code
    for place, code in enumerate(codes):
        strength[:, place] = shap[[n for n, c in code_of.items() if c == code]].sum(axis=1)
    order = np.argsort(-strength, axis=1, kind="stable")
    return [
        list(dict.fromkeys([*evidence[i], *(codes[j] for j in order[i] if strength[i, j] > 0)]))[:MAX_REASONS]
        for i in range(len(shap))
    ]
