"""Members: LightGBM models of one score, and the mean of those that never saw an account."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.resources import thread_count
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


def mean_over(
    members: Sequence[Member],
    count: int,
    account: AccountArray | None,
    predict: Callable[[int, IntArray], FloatArray],
) -> FloatArray:
    """Mean of what the members say that score a row: of each turn the one that never saw its account.

    Parameters
    ----------
    members : sequence of Member
        Whole turns, one after the other.
    count : int
        Rows.
    account : uint64 array of shape (count,) or None
        Whose row each is; without accounts every member scores every row.
    predict : callable
        Takes which member and rising positions of rows, at least one; returns an array with as many rows. Always added
        in the same order.
    """
    by_turn = [_of_turn(turn, count, account, predict) for turn in who_scores(members, count, account)]
    return np.asarray(sum(by_turn[1:], by_turn[0]) / len(by_turn), np.float64)


def who_scores(members: Sequence[Member], count: int, account: AccountArray | None) -> list[list[tuple[int, IntArray]]]:
    """For each turn its members, by their places, each with the rising positions of the rows that it scores, if any.

    Parameters
    ----------
    members, count, account
        As in :func:`mean_over`.
    """
    turns = [list(mine) for _, mine in groupby(enumerate(members), key=lambda one: one[1].turn)]
    if account is None:
        return [[(place, np.arange(count)) for place, _ in mine] for mine in turns]
    folds = [fold_of(account, len(mine), mine[0][1].turn) for mine in turns]
    scored = [
        [(place, np.flatnonzero(fold == member.fold)) for place, member in mine]
        for mine, fold in zip(turns, folds, strict=True)
    ]
    return [[(place, rows) for place, rows in turn if len(rows)] for turn in scored]


def _of_turn(
    turn: list[tuple[int, IntArray]],
    count: int,
    account: AccountArray | None,
    predict: Callable[[int, IntArray], FloatArray],
) -> FloatArray:
    """What the members of a turn say, or those of them that never saw the account."""
    parts = [(rows, predict(place, rows)) for place, rows in turn]
    if account is None:
        each = [values for _, values in parts]
        return np.asarray(sum(each[1:], each[0]) / len(each), np.float64)
    predictions = np.empty((count, *parts[0][1].shape[1:]))
    for rows, values in parts:
        predictions[rows] = values
    return predictions
