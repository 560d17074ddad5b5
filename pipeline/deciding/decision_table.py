"""Decisions as the ledger stores them, with the reasons that a customer is told."""

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.frames import to_arrow
from limitlens.limits.hold import DATA_INCIDENT
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.policy import FLAGGED
from limitlens.limits.state import pack_state, state_before
from limitlens.models.explanation import reason_codes, shap_for_reasons
from limitlens.pipeline.deciding.point_in_time import Tables, rows_at

#: Actions whose reasons are worked out: the adverse ones, and those a person will look at.
_EXPLAINED = FLAGGED | {"review"}


def reasons_of(new: Iteration, tables: Tables, decided: pd.DataFrame) -> pd.Series:
    """Reason codes of adverse decisions, pauses, reviews and holds; nothing for the others.

    Parameters
    ----------
    new : Iteration
        Which decided.
    tables : mapping of feature set digest to feature table
    decided : DataFrame
        As :func:`limitlens.pipeline.deciding.decide_batch.decide_step` gives it.

    Returns
    -------
    Series of list of str, indexed like ``decided``
    """
    held = decided["action"] == "hold"
    reasons: list[list[str]] = [[DATA_INCIDENT] if one else [] for one in held]
    rows = np.flatnonzero(decided["action"].isin(_EXPLAINED))
    if len(rows):
        chosen = decided.iloc[rows]
        table = rows_at(tables[new.model.features.digest], chosen["account_id"], chosen["as_of"], chosen["as_of"])
        limit, age = (chosen[f"state.{name}"].to_numpy(np.int64) for name in ("limit_cents", "line_age_days"))
        shap = shap_for_reasons(new.model, table, limit, age)
        reason_of = {rule.name: rule.reason for rule in new.policy.evidence}
        evidence = [[reason_of[rule] for rule in fired if rule in reason_of] for fired in chosen["fired_rules"]]
        for row, codes in zip(rows, reason_codes(new.model, shap, evidence, age), strict=True):
            reasons[row] = codes
    return pd.Series(reasons, decided.index, dtype=object)


def decision_table(decisions: pd.DataFrame) -> pa.Table:
    """Decisions with their state as ``state.*`` as the ledger stores them, by account and time."""
    state = pack_state(state_before(decisions))
    plain = to_arrow(decisions, pa.schema([field for field in DECISIONS if field.name != "state"]))
    table = plain.append_column("state", state).select(DECISIONS.names)
    return table.sort_by([("account_id", "ascending"), ("as_of", "ascending")])
