"""The figures of a slice that are judged: counts of rows, shares of them, means over them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limitlens.data.arrays import FloatArray
from limitlens.data.profile_columns import COMMON, FRESH, NULLS

#: Counts of a slice by their name in a profile, each an array of series × days.
Counts = Mapping[str, FloatArray]

_MILLION = 1e6


@dataclass(frozen=True)
class Figure:
    """One figure.

    Parameters
    ----------
    name : str
        As an incident calls it.
    type : {"rows", "share", "mean"}
    observed, exposure : callable
        What is summed, from the counts and those of the past alone; and over how many rows.
    unit_variance : callable, optional
        For a mean, from the counts of the past alone: variance of one row, by series.
    least_rows : int
        With fewer rows a mean says nothing.
    one_kind : bool
        Judged for one kind of row at a time only: between kinds it differs by nature.
    only_more : bool
        Less of it is nothing to worry about.
    last : bool
        It speaks only where no other figure of the slice does: it needs many rows, and so sees the days less sharply.
    holds : bool
        It can hold; otherwise it warns at most.
    """

    name: str
    type: Literal["rows", "share", "mean"]
    observed: Callable[[Counts, Counts], FloatArray]
    exposure: Callable[[Counts], FloatArray]
    unit_variance: Callable[[Counts], FloatArray] | None = None
    least_rows: int = 30
    one_kind: bool = False
    only_more: bool = False
    last: bool = False
    holds: bool = True


def _share(name: str, column: str, of: str = "rows", **how: bool) -> Figure:
    return Figure(name, "share", lambda c, _: c[column], lambda c: np.maximum(c[of], c[column]), **how)  # type: ignore[arg-type]


def _mean(name: str, column: str, of: str, **how: bool) -> Figure:
    def variance(counts: Counts) -> FloatArray:
        rows = np.maximum(counts[of].sum(axis=1), 1)
        mean = counts[column].sum(axis=1) / rows
        millionths: FloatArray = np.maximum(counts[f"{column}_squared"].sum(axis=1) / rows - mean**2 / _MILLION, 1e4)
        return millionths / _MILLION

    return Figure(name, "mean", lambda c, _: c[column] / _MILLION, lambda c: c[of], variance, **how)


def _of_circle(name: str, column: str) -> Figure:
    def variance(counts: Counts) -> FloatArray:
        rows = np.maximum(counts["rows"].sum(axis=1), 1)
        length = (counts["hour_cos"].sum(axis=1) ** 2 + counts["hour_sin"].sum(axis=1) ** 2) / (rows * _MILLION) ** 2
        circular_variance: FloatArray = np.maximum((1 - length) / 2, 0.01)
        return circular_variance

    return Figure(name, "mean", lambda c, _: c[column] / _MILLION, lambda c: c["rows"], variance)


def _spread() -> Figure:
    """Squared distance of a logarithm from the mean of the past."""

    def squares(counts: Counts, past: Counts) -> FloatArray:
        mean = past["log_amount"].sum(axis=1) / np.maximum(past["amounts"].sum(axis=1), 1) / _MILLION
        center = mean[:, None]
        squared_deviations: FloatArray = (
            counts["log_amount_squared"] - 2 * center * counts["log_amount"]
        ) / _MILLION + center**2 * counts["amounts"]
        return squared_deviations

    def variance(past: Counts) -> FloatArray:
        rows = np.maximum(past["amounts"].sum(axis=1), 1)
        variance_of_square: FloatArray = np.maximum(2 * (squares(past, past).sum(axis=1) / rows) ** 2, 0.01)
        return variance_of_square

    return Figure(
        "spread of log amount", "mean", squares, lambda c: c["amounts"], variance, 300, one_kind=True, last=True
    )


def figures() -> Iterator[Figure]:
    """Every figure, in the order in which a person would ask for it."""
    yield Figure("rows", "rows", lambda c, _: c["rows"], lambda c: np.ones_like(c["rows"]))
    yield Figure(
        "share quarantined",
        "share",
        lambda c, _: c["quarantined"],
        lambda c: c["rows"] + c["quarantined"],
        only_more=True,
    )
    yield _share("share of repeats under another id", "repeats", only_more=True)
    yield _share("share of later versions", "versions", only_more=True, holds=False)
    for name in NULLS:
        yield _share(f"share of nulls in {name}", f"null_{name}", one_kind=True)
    for name in FRESH:
        yield _share(f"share of values of {name} never seen before", f"fresh_{name}", one_kind=True, only_more=True)
    for name in COMMON:
        yield _share(f"share of one value of {name}", f"common_{name}", one_kind=True, only_more=True)
    yield _mean("mean log amount", "log_amount", "amounts", one_kind=True)
    yield _spread()
    yield _share("share of amounts not above 0", "not_positive", one_kind=True)
    yield _share("share of whole amounts", "whole", "amounts", one_kind=True)
    yield _share("share of repayments equal to their due", "matched", "linked", one_kind=True)
    yield _share("share known more than a day late", "late", only_more=True)
    yield _mean("mean log hours until known", "lag", "rows", only_more=True)
    yield _of_circle("hour of day, cosine", "hour_cos")
    yield _of_circle("hour of day, sine", "hour_sin")
