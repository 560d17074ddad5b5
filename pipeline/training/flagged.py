"""What the policy would flag among the rows a model is judged on, and what tells the good ones of them from the bad."""

from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.protected import is_place, is_protected
from limitlens.features.line import limit_and_age
from limitlens.limits.archetypes import Archetypes, find_archetypes
from limitlens.limits.rates import Rate
from limitlens.models.explanation import shap_values
from limitlens.models.false_positives import Contrast, contrast
from limitlens.models.inputs import account_numbers, text_columns
from limitlens.pipeline.training.judged import Judged

#: At most so many flagged accounts are compared, those whose id has the smallest hash.
_MOST = 20_000


def flagged(judged: Judged) -> dict[str, Any]:
    """Counts, what differs at equal PD, and archetypes, as plain data; each account once, at its first flag.

    Parameters
    ----------
    judged : Judged
    """
    cut, bad = judged.cut, judged.bad
    counts = {
        "flagged": int(cut.sum()),
        "false_positives": int((cut & ~bad).sum()),
        "true_positives": int((cut & bad).sum()),
        "missed": int((~cut & bad).sum()),
        "rows": len(bad),
    }
    compared, archetypes = Contrast(0, 0, 0, None, [], []), Archetypes(Rate(0, 0), 0, ())
    if cut.any():
        rows, places = _first_flags(judged)
        compared, archetypes = _contrast_and_groups(judged, rows, bad[places], judged.pd_[places])
    return {**counts, "at_equal_pd": compared.to_dict(), "archetypes": archetypes.to_dict()}


def _first_flags(judged: Judged) -> tuple[pd.DataFrame, Any]:
    """The row of each account at its first flag, and where it stands."""
    keys = judged.rows[["account_id", "as_of"]].reset_index(drop=True)[judged.cut]
    first = keys.sort_values(["as_of", "account_id"]).drop_duplicates("account_id")
    places = first.index.to_numpy()[np.argsort(account_numbers(first["account_id"]), kind="stable")[:_MOST]]
    return judged.rows.iloc[places].reset_index(drop=True), places


def _contrast_and_groups(judged: Judged, rows: pd.DataFrame, bad: Any, pd_: Any) -> tuple[Contrast, Archetypes]:
    model = judged.model
    shap = shap_values(model, rows, *limit_and_age(rows))
    values = pd.DataFrame(model.inputs(rows, *limit_and_age(rows)), columns=list(model.columns))
    texts = text_columns(model.features)
    reasons = {name: declared.reason for name, declared in model.features.declaration_of.items()}
    compared = contrast(shap, values.assign(**dict.fromkeys(texts, np.nan)), bad, pd_, reasons)
    known = values.assign(**{name: rows[name] for name in texts})
    personal = [name for name, _ in model.features.attributes if is_place(name) or is_protected(name)]
    return compared, find_archetypes(known.drop(columns=personal), rows["account_id"], bad)
