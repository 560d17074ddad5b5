"""A scorer: members that agree on a score, and the calibration that makes it a PD.

Each member is a LightGBM model trained without the accounts of one fold, and every turn deals the folds anew. An
account is scored by the member of each turn that never saw it, at any date: so its own outcome is in none of its
scores, and a score changes only when the line or the version does. An average of many moves less from one training to
the next than any of them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limitlens.data.arrays import FloatArray
from limitlens.data.resources import thread_count
from limitlens.models.calibration import Calibration, to_pd
from limitlens.models.inputs import fold_of

if TYPE_CHECKING:
    import lightgbm as lgb

AccountArray = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Member:
    """One LightGBM model as text.

    Parameters
    ----------
    text : str
    fold : int
        It never saw the accounts of this fold.
    turn : int
        Which time the folds were dealt; each fold of a turn has a member. In a retrained model new members take the
        turns of those that went, so the members of a model stand in order of age, not of turns.
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
        scores = self.booster.predict(inputs, raw_score=True, num_threads=thread_count(), **options)
        return np.asarray(scores, np.float64)

    @cached_property
    def sha256(self) -> str:
        """Hash of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Scorer:
    """Members, oldest first, and their calibration."""

    members: tuple[Member, ...]
    calibration: Calibration

    def scores(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Mean log-odds of the members, before calibration.

        Parameters
        ----------
        inputs : float64 array of shape (n, columns)
        account : uint64 array of shape (n,) or None
            Whose row each is, by :func:`limitlens.models.inputs.account_numbers`; None: no member has seen any of them.
        """
        return mean_scores(self.members, inputs, account)

    def log_odds(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Calibrated log-odds; parameters as in :meth:`scores`."""
        return self.calibration.log_odds(self.scores(inputs, account))

    def pd(self, inputs: FloatArray, account: AccountArray | None) -> FloatArray:
        """Probability of default, in (0, 1); parameters as in :meth:`scores`."""
        return to_pd(self.log_odds(inputs, account))

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, which stand in it by their sha256."""
        members = [{"sha256": member.sha256, "fold": member.fold, "turn": member.turn} for member in self.members]
        return {"members": members, "calibration": self.calibration.to_dict()}


def mean_scores(members: Sequence[Member], inputs: FloatArray, account: AccountArray | None) -> FloatArray:
    """:meth:`Scorer.scores` of some members."""
    return mean_over(members, inputs, account, Member.raw)


def mean_over(
    members: Sequence[Member],
    inputs: FloatArray,
    account: AccountArray | None,
    predict: Callable[[Member, FloatArray], FloatArray],
) -> FloatArray:
    """Mean of what the members say that score a row: of each turn the one that never saw its account.

    Parameters
    ----------
    members : sequence of Member
        Whole turns, one after the other.
    inputs, account
        As in :meth:`Scorer.scores`; without accounts every member scores every row.
    predict : callable
        Takes a member and rows; returns an array with as many rows. Always added in the same order.
    """
    turns = [list(mine) for _, mine in groupby(members, key=lambda member: member.turn)]
    by_turn = [_mean_of_turn(mine, inputs, account, predict) for mine in turns]
    return np.asarray(sum(by_turn[1:], by_turn[0]) / len(by_turn), np.float64)


def _mean_of_turn(
    members: list[Member],
    inputs: FloatArray,
    account: AccountArray | None,
    predict: Callable[[Member, FloatArray], FloatArray],
) -> FloatArray:
    """What the members of a turn say, or those of them that never saw the account."""
    if account is None:
        each = [predict(member, inputs) for member in members]
        return np.asarray(sum(each[1:], each[0]) / len(each), np.float64)
    fold = fold_of(account, len(members), members[0].turn)
    chosen = [(member, np.flatnonzero(fold == member.fold)) for member in members]
    parts = [(rows, predict(member, inputs[rows])) for member, rows in chosen if len(rows)]
    predictions = np.empty((len(inputs), *parts[0][1].shape[1:]))
    for rows, values in parts:
        predictions[rows] = values
    return predictions
