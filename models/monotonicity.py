"""Whether the PD moves as the catalogue declares: every constrained column is swept over its range, line by line.

A constraint of the trainer can break without a word, so it is checked on the trained model, not trusted.
"""

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import monotone_directions

#: Values at which each column is tried.
_STEPS = 9


def monotonicity(model: DefaultRiskModel, inputs: FloatArray) -> pd.DataFrame:
    """Sweep every constrained column over quantiles of its values, all other columns of a line as they are.

    Parameters
    ----------
    model : DefaultRiskModel
    inputs : float64 array of shape (n, columns)
        As :meth:`DefaultRiskModel.inputs` gives them.

    Returns
    -------
    DataFrame with ``feature, direction, worst_step``
        ``worst_step``: largest move of the log-odds against the direction, over all scorers; 0 if there is none.
    """
    rows = []
    for k, direction in enumerate(monotone_directions(model.features)):
        values = inputs[:, k][~np.isnan(inputs[:, k])]
        if not direction or not len(values):
            continue
        steps = np.unique(np.quantile(values, np.linspace(0, 1, _STEPS)))
        swept = np.repeat(inputs, len(steps), axis=0)
        swept[:, k] = np.tile(steps, len(inputs))
        moves = [
            np.diff(scorer.log_odds(swept, None).reshape(len(inputs), len(steps)), axis=1) * direction
            for scorer in model.scorers.values()
        ]
        worst = max(float(-move.min(initial=0.0)) for move in moves)
        rows.append({"feature": model.columns[k], "direction": direction, "worst_step": worst})
    return pd.DataFrame(rows, columns=["feature", "direction", "worst_step"])
