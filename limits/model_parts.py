"""Inside model: what new members moved, and what their calibration did.

A calibration is fitted to the scores of the members it belongs to, so it steps after them: its part is what the share
of the model gains when the new members lose the calibration of the old ones and get their own. (The order is the
precedence of :mod:`limitlens.limits.attribution`; the other one, a calibration on scores it was not fitted to, means
nothing.) The level after the youngest label is part of the calibration.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import IntArray
from limitlens.limits.attribution import PLAYERS, attribute
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import evaluate
from limitlens.models.default_risk import calibrated_as

MODEL_PARTS = ("members", "calibration")


def split_model(
    old: Iteration,
    new: Iteration,
    tables: Mapping[tuple[str, str], pd.DataFrame],
    old_state: pd.DataFrame,
    new_state: pd.DataFrame,
) -> IntArray:
    """Split the model share of n accounts among members and calibration.

    Parameters
    ----------
    old, new : Iteration
    tables, old_state, new_state
        As in :func:`limitlens.limits.lattice.evaluate`.

    Returns
    -------
    int64 array of shape (n, 2)
        In 120ths of a cent, in the order of :data:`MODEL_PARTS`; rows sum to the model share of
        :func:`limitlens.limits.attribution.attribute`. Members that read other features than before move as one.
    """
    if old.model.digest == new.model.digest:
        return np.zeros((len(old_state), len(MODEL_PARTS)), np.int64)
    kept = replace(new, model=calibrated_as(new.model, old.model))
    members, whole = (
        attribute(evaluate(old, side, tables, old_state, new_state).limit_cents)[:, PLAYERS.index("model")]
        for side in (kept, new)
    )
    return np.column_stack([members, whole - members])
