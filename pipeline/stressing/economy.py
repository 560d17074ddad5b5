"""The economy: how many lines fall behind in each month, beside macro series that a user names.

The share of lines that *are* in arrears grows with the age of the book, since those who stopped paying stay in it: its
errors follow each other (`benchmarks/economy.py`). Who *falls* behind in a month tells of that month.
"""

from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pandas as pd
from pyarrow import csv

from limitlens.data.calendar import add_months, month_start
from limitlens.data.errors import ConfigError
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.models.satellite import Satellite, fit_satellite
from limitlens.pipeline.workspace import Workspace

#: A line so many days past due is in arrears: the backstop of IFRS 9 (5.5.11) for a significant rise of risk.
ARREARS_DAYS = 30


def read_series(path: Path) -> pd.DataFrame:
    """Macro series of a CSV file with a column ``month`` (2026-03 or 2026-03-01) and one of numbers each.

    Parameters
    ----------
    path : Path

    Returns
    -------
    DataFrame of float64, indexed by month start

    Raises
    ------
    ConfigError
        The file cannot be read, has no months, a month twice, or a cell that is no number.
    """
    try:
        rows = csv.read_csv(path).to_pandas()
        months = pd.to_datetime(rows.pop("month").astype(str).str.slice(0, 7), format="%Y-%m", utc=True)
        series = rows.astype("float64").set_index(pd.DatetimeIndex(months).as_unit("us"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a table of series by month ({error}); give a column month and numbers."
        ) from error
    if series.index.duplicated().any() or series.empty or not len(series.columns):
        raise ConfigError(f"{path}: every month once, and a series beside it; got {len(series)} months.")
    monthly: pd.DataFrame = series
    return monthly


def fitted_economy(workspace: Workspace, series: pd.DataFrame, until: datetime) -> Satellite:
    """The regression of the lines that fall behind on series, over the months up to a time.

    Parameters
    ----------
    workspace : Workspace
    series : DataFrame
        As :func:`read_series` gives it.
    until : datetime

    Raises
    ------
    InputError
        The history is short, or no days past due can be known of the book.
    """
    first = min(series.index[0].to_pydatetime(), until)
    months = [add_months(month_start(first), k) for k in range(1200) if add_months(month_start(first), k) <= until]
    rates = arrears_rates(workspace, months)
    return fit_satellite(rates[rates["bad"].cumsum() > 0], series)  # before, no instalment could be so late


def arrears_rates(workspace: Workspace, months: list[datetime]) -> pd.DataFrame:
    """Lines that were not in arrears at the start of a month, and those of them that were at its end.

    Parameters
    ----------
    workspace : Workspace
    months : list of datetime
        Month starts that follow each other; of each, arrears as they were known then.

    Returns
    -------
    DataFrame with ``bad, lines`` (int64), indexed by month start; months without a line are left out
    """
    from limitlens.features.catalogue import CATALOGUE  # noqa: PLC0415 - of all features only the days past due

    features = CATALOGUE.for_sources(tuple(workspace.events.present())).only({"dpd_days"})
    relations = workspace.relations(features)
    points = book(months, relations)[["account_id", "as_of", "known_by"]].reset_index(drop=True)
    late = build_table(features, points, relations)[["account_id", "as_of", "dpd_days"]]
    late = late.assign(late=late["dpd_days"] >= ARREARS_DAYS)[["account_id", "as_of", "late"]]
    next_month = dict(pairwise(months))
    ends = late.assign(month=late["as_of"], as_of=late["as_of"].map(next_month)).dropna(subset="as_of")
    lived = ends[~ends["late"]].drop(columns="late").merge(late, on=["account_id", "as_of"])
    by_month = lived["late"].groupby(lived["month"])
    return pd.DataFrame({"bad": by_month.sum().astype("int64"), "lines": by_month.size().astype("int64")})
