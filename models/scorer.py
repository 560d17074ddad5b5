"""A scorer: members that agree on a score, and the calibration that makes it a PD.

Each member is a LightGBM model trained without the accounts of one fold. All of them score an account; in a backtest
only those that never saw it do. An average of many moves less from one training to the next than any of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limitlens.data.resources import thread_count
from limitlens.models.calibration import Calibration, to_pd

if TYPE_CHECKING:
    import lightgbm as lgb

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """One LightGBM model as text.

    Parameters
    ----------
    text : str
    fold : int
        It never saw the accounts of this fold.
    turn : int
        Which time the folds were dealt, counted on from the champion's.
    """

    text: str
    fold: int
    turn: int

    @cached_property
    def booster(self) -> "lgb.Booster":
        """Ready to predict."""
        import lightgbm as lgb  # noqa: PLC0415 - slow to import; only predictions need it

        return lgb.Booster(model_str=self.text)

    def raw(self, inputs: FloatArray, **options: Any) -> FloatArray:
        """What :meth:`lightgbm.Booster.predict` gives on the scale of log-odds, whatever the number of threads."""
        found = self.booster.predict(inputs, raw_score=True, num_threads=thread_count(), **options)
        return np.asarray(found, np.float64)

    @cached_property
    def sha256(self) -> str:
        """Hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Scorer:
    """Members, oldest first, and their calibration."""

    members: tuple[Member, ...]
    calibration: Calibration

    def scores(self, inputs: FloatArray, fold: IntArray | None = None) -> FloatArray:
        """Mean log-odds of the members, before calibration.

        Parameters
        ----------
        inputs : float64 array of shape (n, columns)
        fold : int64 array of shape (n,), optional
            Fold of each account, to score it only by the members that never saw it.
        """
        return mean_scores(self.members, inputs) if fold is None else unseen_scores(self.members, inputs, fold)

    def log_odds(self, inputs: FloatArray, fold: IntArray | None = None) -> FloatArray:
        """Calibrated log-odds."""
        return self.calibration.log_odds(self.scores(inputs, fold))

    def pd(self, inputs: FloatArray, fold: IntArray | None = None) -> FloatArray:
        """Probability of default, in (0, 1)."""
        return to_pd(self.log_odds(inputs, fold))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, which stand in it by their sha256."""
        members = [{"sha256": member.sha256, "fold": member.fold, "turn": member.turn} for member in self.members]
        return {"members": members, "calibration": self.calibration.to_dict()}


def mean_scores(members: Sequence[Member], inputs: FloatArray) -> FloatArray:
    """Mean log-odds of some members, always added in the same order."""
    total = np.zeros(len(inputs))
    for member in members:
        total += member.raw(inputs)
    return total / len(members)


def unseen_scores(members: Sequence[Member], inputs: FloatArray, fold: IntArray) -> FloatArray:
    """Mean log-odds of each row by the members that never saw its account."""
    scores = np.empty(len(inputs))
    for k in np.unique(fold):
        scores[fold == k] = mean_scores([member for member in members if member.fold == k], inputs[fold == k])
    return scores
