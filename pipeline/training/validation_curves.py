"""How true the PDs were month by month and in each segment, for curves: on rows the model has not seen."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.models.validation import measure
from limitlens.pipeline.tracking import Point
from limitlens.pipeline.training.judged import Judged

#: A point of a curve is of at least so many lines; fewer say nothing.
MIN_ROWS = 30

#: Segments that get curves of their own, the largest first.
MAX_SEGMENTS = 12


def curves(judged: Judged) -> list[Point]:
    """Validation by month, of all lines and of each segment.

    Out of fold on the rows it learned from, and out of time where later dates were held out.

    Parameters
    ----------
    judged : Judged

    Returns
    -------
    list of Point
        ``out_of_fold.auc``, ``.brier``, ``.observed_share``, ``.expected_share``, ``.rows``, and the same below
        ``out_of_fold.segment.NAME`` and ``out_of_time``. No AUC where all lines went one way.
    """
    learned = judged.table.split("train")
    points = list(_points("out_of_fold", learned, learned["bad"].to_numpy(bool), judged.learned_pd))
    if not judged.out_of_fold:
        points += _points("out_of_time", judged.rows, judged.bad, judged.pd_)
    return points


def _points(kind: str, rows: pd.DataFrame, bad: BoolArray, pd_: FloatArray) -> Iterator[Point]:
    segment = rows["segment"].to_numpy(str)
    largest = rows["segment"].value_counts().index[:MAX_SEGMENTS]
    for month, places in rows.reset_index(drop=True).groupby("as_of").indices.items():
        groups = {kind: places} | {f"{kind}.segment.{name}": places[segment[places] == name] for name in largest}
        for name, chosen in groups.items():
            if len(chosen) >= MIN_ROWS:
                figures = _figures(bad[chosen], pd_[chosen])
                yield from (Point(f"{name}.{figure}", pd.Timestamp(str(month)), v) for figure, v in figures.items())


def _figures(bad: BoolArray, pd_: FloatArray) -> dict[str, float]:
    figures: dict[str, Any] = {"rows": len(bad), "observed_share": bad.mean(), "expected_share": pd_.mean()}
    if 0 < bad.mean() < 1:
        metrics = measure(bad, pd_)
        figures |= {"auc": metrics.auc, "brier": metrics.brier}
    return {name: float(np.float64(value)) for name, value in figures.items()}
