"""Holds: a slice of the data that is suspect, and the lines that stay as they are until a person has judged it."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.incident import Fault, Scope

#: What a release says about the slice: its rows were mended, or they were right from the beginning.
VERDICTS = ("repaired", "true")

#: Reason of a decision that was held.
DATA_INCIDENT = "data_incident"

_OUTCOME = ("action", "limit_cents", "can_draw")


@dataclass(frozen=True)
class Hold:
    """A slice of a source that no decision may rely on alone.

    Parameters
    ----------
    source : str
        A source of the contract.
    since : datetime
        The last moment before the fault; decisions after it are touched.
    kind : str
        Kind of event; empty: all.
    slice_column, slice_value : str
        A column of the source or of the accounts, and its value; empty: the source as a whole.
    opened_at : datetime
    actor, reason : str
        Who opened it, and the evidence.
    fault : {"missing", "excess", "other"}
        Rows did not come, more came than could, or what came says something else.
    """

    source: str
    since: datetime
    opened_at: datetime
    actor: str
    reason: str
    kind: str = ""
    slice_column: str = ""
    slice_value: str = ""
    fault: Fault = "other"

    @property
    def scope(self) -> Scope:
        """What is suspect, since whenever."""
        return self.source, self.kind, self.slice_column, self.slice_value


def held(
    as_known: pd.DataFrame,
    before_fault: pd.DataFrame,
    except_rules: tuple[str, ...],
    *,
    always: BoolArray | None = None,
) -> BoolArray:
    """Where two decisions of the same lines differ, so that the one thing certain is that nothing should be done.

    Parameters
    ----------
    as_known, before_fault : DataFrame of n rows
        As :func:`limitlens.limits.decision.decide` gives them: with the features as they are, and with those that read
        held rows as they were before the fault.
    except_rules : tuple of str
        Rules that act in spite of a hold: where one fired, the decision as known stands.
    always : bool array of shape (n,), optional
        Lines of which too little is known to tell a difference.

    Returns
    -------
    bool array of shape (n,)
    """
    differs = np.zeros(len(as_known), bool) if always is None else always.copy()
    for name in _OUTCOME:
        differs |= as_known[name].to_numpy() != before_fault[name].to_numpy()
    excepted = [bool(set(except_rules) & set(fired)) for fired in as_known["fired_rules"]]
    on_hold: BoolArray = differs & ~np.array(excepted, bool)
    return on_hold
