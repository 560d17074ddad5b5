"""How customers answer what the lender does to them.

They answer from the next month on, or at once where the month begins with the action. Answers follow from the latent
state and from chance that belongs to customer and month: the same world without an action is its counterfactual.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.data.world.fortune import STRESS_WEIGHT, Fortune, Payment, sigmoid
from limitlens.data.world.line import Line
from limitlens.data.world.scene import Scene

#: What a customer may do, in the order of the shares of an answer.
ANSWERS = ("leaves", "in_need", "pays", "draws_less")


@dataclass(frozen=True)
class Answered:
    """What the answers of a month change, and ``rows``: ``owner, day`` of the action, ``answer``.

    ``settles``: who pays all that is due this month.
    """

    fortune: Fortune
    able: FloatArray
    line: Line
    settles: BoolArray
    rows: pd.DataFrame


def answer(
    scene: Scene, fortune: Fortune, line: Line, acted: pd.DataFrame, *, able: FloatArray, owing: BoolArray
) -> Answered:
    """Let customers answer what was done to them since the month before began, up to the beginning of this one.

    Parameters
    ----------
    acted : DataFrame
        Those actions, as :func:`limitlens.data.world.decisions.owned` gives them; of several the last adverse one is
        answered.
    able : float64 array of shape (n,)
    owing : bool array of shape (n,)
        Who has a balance: nobody else can be in need of the line.
    """
    struck = acted[acted["adverse"] & acted["action"].isin(scene.world.reactions)]
    struck = struck.drop_duplicates("owner", keep="last")
    owner = struck["owner"].to_numpy(np.int64)
    here = (fortune.gone_from[owner] > scene.month.index) & ~line.left[owner]
    struck, owner = struck[here], owner[here]
    reactions = [scene.world.reactions[action] for action in struck["action"]]
    shares = np.array([[getattr(each, name) for name in ANSWERS] for each in reactions]).reshape(-1, len(ANSWERS))
    shares[:, 0] *= 2 * sigmoid(able[owner])
    shares[:, 1] *= 2 * sigmoid(-able[owner]) * owing[owner]
    luck = scene.chance.uniform("answers", scene.number[owner], scene.month.index)
    which = (luck[:, None] >= shares.cumsum(axis=1)).sum(axis=1)
    leaves, needs, pays, less = (which == k for k in range(len(ANSWERS)))
    trouble, appetite, left = np.zeros(len(able)), line.appetite.copy(), line.left.copy()
    trouble[owner] = np.array([each.stress for each in reactions]) * needs
    appetite[owner] *= np.where(less, [each.appetite for each in reactions], 1.0)
    left[owner] |= leaves
    settles = left.copy()
    settles[owner] |= pays
    settles &= fortune.gone_from > scene.month.index
    rows = struck[["owner", "day"]].assign(answer=np.array([*ANSWERS, "nothing"], object)[which])
    return Answered(
        replace(fortune, stress=fortune.stress + trouble),
        able - STRESS_WEIGHT * trouble,
        replace(line, appetite=appetite, left=left),
        settles,
        rows,
    )


def settled(payment: Payment, fortune: Fortune, settles: BoolArray) -> Payment:
    """Payments of a month in which some pay all that is due."""
    return replace(
        payment,
        missed=payment.missed & ~settles,
        cures=payment.cures | (settles & (fortune.unpaid > 0)),
        catches_up=payment.catches_up & ~settles,
    )
