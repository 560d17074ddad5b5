"""Faithfulness of reasons: whether what a customer is told is what counted.

Four questions, each against another measure than the one the reasons come from (path-dependent SHAP): do the reasons
told push the PD up against the account's own past row, and against its peers (interventional SHAP, one baseline row
each); does the PD fall once they are taken away, and by more than once others are; are they the same under a little
noise, and by other members (Alvarez-Melis & Jaakkola, "On the robustness of interpretability
methods", 2018; Jacovi & Goldberg, "Towards faithfully interpretable NLP systems", 2020, for the terms).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import limit_and_age
from limitlens.models.change import change_of_score
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.models.explanation import reason_codes, shap_values

#: Noise on each count, sum and share, as a share of it.
NOISE = 0.05

#: Reason codes of some lines.
Codes = Sequence[Sequence[str]]


def columns_of(features: FeatureSet, code: str) -> list[str]:
    """Columns of the feature table behind a reason; of a share of the line the column it is made of."""
    made_of = {share.name: share.column for share in features.shares}
    names = [made_of.get(name, name) for name, one in features.declaration_of.items() if one.reason == code]
    return sorted(set(names))


def codes_told(model: DefaultRiskModel, rows: pd.DataFrame) -> list[list[str]]:
    """Reasons that the score of each line gives, without rules."""
    limit, age = limit_and_age(rows)
    return reason_codes(model, shap_values(model, rows, limit, age), [[]] * len(rows), age)


def pushes(model: DefaultRiskModel, baseline: pd.DataFrame, rows: pd.DataFrame, codes: Codes) -> float:
    """Share of the reasons told that push the score up against a baseline row of each line.

    Parameters
    ----------
    model : DefaultRiskModel
    baseline, rows : DataFrame of n rows
        Feature tables with the facts of the line; those of ``rows`` count for both.
    codes : n sequences of str
    """
    limit, age = limit_and_age(rows)
    change = change_of_score(model, baseline.assign(account_id=rows["account_id"]), rows, limit, age)
    declared = model.features.declaration_of
    behind = {
        code: [name for name in change.columns if name in declared and declared[name].reason == code]
        for code in {code for mine in codes for code in mine}
    }
    up = [change.iloc[place][behind[code]].sum() > 0 for place, mine in enumerate(codes) for code in mine]
    return float(np.mean(up)) if up else float("nan")


def without(features: FeatureSet, rows: pd.DataFrame, baseline: pd.DataFrame, codes: Codes) -> pd.DataFrame:
    """The lines with the columns behind some reasons as in their baseline rows."""
    changed = rows.copy()
    for code in sorted({code for mine in codes for code in mine}):
        mine = np.array([code in one for one in codes])
        for name in columns_of(features, code):
            if name in changed and name in baseline:
                changed[name] = changed[name].astype(np.float64).mask(mine, baseline[name].astype(np.float64))
    return changed


def log_odds_of(model: DefaultRiskModel, rows: pd.DataFrame) -> FloatArray:
    """Log-odds of the PDs of some lines."""
    limit, age = limit_and_age(rows)
    pd_ = predict_pd(model, rows, limit, age)
    odds: FloatArray = np.log(pd_ / (1 - pd_))
    return odds


def overlap(one: Codes, other: Codes) -> float:
    """Mean share of the reasons that two explanations of the same lines have in common, of all that either has.

    Examples
    --------
    >>> overlap([["a", "b"], ["c"]], [["b", "a"], ["d"]])
    0.5
    """
    shares = [len({*a} & {*b}) / len({*a} | {*b}) for a, b in zip(one, other, strict=True) if a or b]
    return float(np.mean(shares)) if shares else float("nan")


def jittered(features: FeatureSet, rows: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """The lines with every number of the feature table off by :data:`NOISE` at most; what is 0 or missing stays."""
    random, noisy = np.random.default_rng(seed), rows.copy()
    names = [name for name in features.columns if name in rows and pd.api.types.is_numeric_dtype(rows[name])]
    for name in names:
        noisy[name] = rows[name].astype(np.float64) * (1 + NOISE * random.uniform(-1, 1, len(rows)))
    return noisy


def halves(model: DefaultRiskModel) -> tuple[DefaultRiskModel, DefaultRiskModel] | None:
    """The model by every other turn of its members, and by the rest; None: it has one turn."""
    turns = sorted({member.turn for scorer in model.scorers.values() for member in scorer.members})
    if len(turns) < 2:
        return None
    first, second = ({*turns[::2]}, {*turns[1::2]})
    parts = _by_turns(model, first), _by_turns(model, second)
    return parts if all(scorer.members for part in parts for scorer in part.scorers.values()) else None


def _by_turns(model: DefaultRiskModel, turns: set[int]) -> DefaultRiskModel:
    book, new_lines = (
        scorer and replace(scorer, members=tuple(one for one in scorer.members if one.turn in turns))
        for scorer in (model.book, model.new_lines)
    )
    return replace(model, book=book or model.book, new_lines=new_lines)
