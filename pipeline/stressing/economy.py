"""The economy: monthly arrears of the book beside macro series that a user names."""

from datetime import datetime
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
    """The regression of the book's arrears on series, over the month starts up to a time.

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
    return fit_satellite(arrears_rates(workspace, months), series)


def arrears_rates(workspace: Workspace, months: list[datetime]) -> pd.DataFrame:
    """Lines on the book and lines in arrears at some month starts, as they were known then.

    Returns
    -------
    DataFrame with ``bad, lines`` (int64), indexed by month start; months without a line are left out
    """
    from limitlens.features.catalogue import CATALOGUE  # noqa: PLC0415 - of all features only the days past due

    features = CATALOGUE.for_sources(tuple(workspace.events.present())).only({"dpd_days"})
    relations = workspace.relations(features)
    points = book(months, relations)[["account_id", "as_of", "known_by"]].reset_index(drop=True)
    table = build_table(features, points, relations)
    by_month = (table["dpd_days"] >= ARREARS_DAYS).groupby(table["as_of"])
    return pd.DataFrame({"bad": by_month.sum().astype("int64"), "lines": by_month.size().astype("int64")})
