"""Which rows are later than the others: those that judge, stop a training and choose a calibration."""

from typing import Any

import numpy as np
import numpy.typing as npt

from limitlens.data.arrays import BoolArray

#: The latest periods are held out together until they have this share of the rows: a delivery may end with a few lines.
HELD_OUT_SHARE = 0.05


def latest_rows(period: npt.NDArray[Any]) -> BoolArray:
    """Rows of the latest periods, as many of them as have :data:`HELD_OUT_SHARE` of all rows together.

    Parameters
    ----------
    period : array of shape (n,)
        When each row was observed, in whole periods that can be ordered, such as months.

    Examples
    --------
    >>> latest_rows(np.array([1, 1, 1, 2, 2])).tolist()
    [False, False, False, True, True]
    """
    periods, rows = np.unique(period, return_counts=True)
    later = np.cumsum(rows[::-1]) >= HELD_OUT_SHARE * len(period)
    return np.asarray(period >= periods[::-1][int(np.argmax(later))])
