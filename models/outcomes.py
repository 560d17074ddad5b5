"""Outcomes: what became of a line after a moment, in one definition."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.models.settings import TrainSettings

Outcome = Literal["good", "bad", "indeterminate", "censored"]

#: Days past due from which a line that did not default is neither good nor bad, where the settings say nothing:
#: the backstop of IFRS 9, 5.5.11.
INDETERMINATE_DPD_DAYS = 30

#: A delivered outcome belongs to a moment at most so long after it.
DELIVERED_WITHIN = pd.Timedelta(days=31)

_KEY = ["account_id", "as_of"]


def outcomes(
    points: pd.DataFrame, relations: Mapping[str, pa.Table | str], settings: TrainSettings, *, known_by: datetime
) -> pd.Series:
    """What became of lines in the horizon after each moment.

    ``bad``: the days past due of a default were reached. ``indeterminate``: not these, but those of ``[labels]
    indeterminate_dpd_days`` (0: 30 days). ``good``: neither. ``censored``: the horizon has not elapsed, or, where the
    lender delivers outcomes, none of the 31 days before the moment is there; then they alone say what is bad.

    Parameters
    ----------
    points : DataFrame of n rows with ``account_id, as_of``
    relations : mapping with ``payment``, or with ``outcomes``
    settings : TrainSettings
        Its ``horizon_months, default_dpd_days, indeterminate_dpd_days``.
    known_by : datetime
        Rows known strictly before it are read.

    Returns
    -------
    Series of str, indexed like ``points``
    """
    asked = points[_KEY].drop_duplicates()
    bad, late = (
        _delivered(asked, relations, known_by)
        if "outcomes" in relations
        else _computed(asked, relations, settings, known_by)
    )
    outcome = pd.Series("censored", index=pd.MultiIndex.from_frame(asked))
    for name, where in (("good", ~bad & ~late), ("indeterminate", ~bad & late), ("bad", bad)):
        outcome[where.index[where]] = name
    return pd.Series(outcome.loc[pd.MultiIndex.from_frame(points[_KEY])].to_numpy(), points.index, dtype=str)


def _computed(
    points: pd.DataFrame, relations: Mapping[str, pa.Table | str], settings: TrainSettings, known_by: datetime
) -> tuple[pd.Series, pd.Series]:
    """Whether each matured point reached the days of a default, and those of an indeterminate line."""
    bad, late = (
        computed_labels(
            points, relations, known_by=known_by, horizon_months=settings.horizon_months, default_dpd_days=days
        ).set_index(_KEY)["bad"]
        for days in (settings.default_dpd_days, settings.indeterminate_dpd_days or INDETERMINATE_DPD_DAYS)
    )
    return bad, late


def _delivered(
    points: pd.DataFrame, relations: Mapping[str, pa.Table | str], known_by: datetime
) -> tuple[pd.Series, pd.Series]:
    labels = delivered_labels(relations, known_by=known_by)[[*_KEY, "bad"]].sort_values("as_of")
    labels["as_of"] = labels["as_of"].astype(points["as_of"].dtype)
    paired = pd.merge_asof(points.sort_values("as_of"), labels, on="as_of", by="account_id", tolerance=DELIVERED_WITHIN)
    bad = paired.dropna(subset="bad").set_index(_KEY)["bad"].astype(bool)
    return bad, pd.Series(np.zeros(len(bad), bool), bad.index)
