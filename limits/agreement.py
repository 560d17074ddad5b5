"""Agreement of two reviewers beyond what chance alone would give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Draws of the interval, and their seed: the same pairs give the same interval.
_DRAWS, _SEED = 2_000, 0


@dataclass(frozen=True)
class Agreement:
    """How far pairs of verdicts agree.

    Parameters
    ----------
    pairs, alike : int
        Cases that were judged twice, and those judged alike.
    kappa : float
        Cohen's kappa (Cohen 1960); not a number where all verdicts are the same one.
    interval : (float, float)
        From 2.5% to 97.5% of bootstrap draws of the pairs; −1 and 1 where there is nothing to draw from.
    """

    pairs: int
    alike: int
    kappa: float
    interval: tuple[float, float]


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """Compare two verdicts on each of some cases.

    Parameters
    ----------
    first, second : sequence of str, one a case

    Examples
    --------
    >>> agreement(["uphold", "overturn"] * 10, ["uphold"] * 3 + ["overturn"] + ["uphold", "overturn"] * 8).alike
    19
    """
    one, other = np.array(first, str), np.array(second, str)
    kappa, draws = _kappa(one, other), np.random.default_rng(_SEED)
    drawn = [_kappa(one[rows], other[rows]) for rows in draws.integers(0, max(len(one), 1), (_DRAWS, len(one)))]
    known = np.array(drawn)[~np.isnan(drawn)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) and not np.isnan(kappa) else (-1.0, 1.0)
    return Agreement(len(one), int((one == other).sum()), kappa, (float(low), float(high)))


def _kappa(one: "np.typing.NDArray[np.str_]", other: "np.typing.NDArray[np.str_]") -> float:
    """(observed − expected) / (1 − expected) agreement."""
    if not len(one):
        return float("nan")
    words = np.unique(np.concatenate([one, other]))
    observed = float((one == other).mean())
    expected = float(sum((one == word).mean() * (other == word).mean() for word in words))
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")
