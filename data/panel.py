"""The series of one source: counts of every slice by day, as the profiles of all loads add up to them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.profile_columns import COUNTS

#: Kind (empty: all together), slice column and slice value (empty: the source as a whole) of a series.
Scope = tuple[str, str, str]

Days = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Panel:
    """Series of one source, with their counts by day.

    Parameters
    ----------
    scopes : sequence of Scope
    counts : array (counts, series, days)
        In the order of :data:`limitlens.data.profile_columns.COUNTS`.
    days : array of datetime64[D]
    """

    scopes: Sequence[Scope]
    counts: FloatArray
    days: Days

    def some(self, places: IntArray) -> "Panel":
        """The panel with these series only."""
        return Panel([self.scopes[place] for place in places], self.counts[:, places], self.days)

    def named(self, since: int = 0, until: int | None = None) -> dict[str, FloatArray]:
        """Counts by name, of the days from a place on and before another."""
        return dict(zip(COUNTS, self.counts[:, :, since:until], strict=True))

    def without(self, whole: int, parts: Sequence[int]) -> "Panel":
        """One series less others that are parts of it."""
        counts = self.counts[:, [whole]] - self.counts[:, list(parts)].sum(axis=1, keepdims=True)
        return Panel([self.scopes[whole]], np.maximum(counts, 0.0), self.days)

    @property
    def delivered(self) -> FloatArray:
        """Rows that came, accepted or not."""
        counts = self.named()
        return counts["rows"] + counts["quarantined"]

    @property
    def starts(self) -> IntArray:
        """Place of the first day of each series on which a row came."""
        came = self.delivered > 0
        first: IntArray = np.where(came.any(axis=1), came.argmax(axis=1), came.shape[1])
        return first


def daily_sql(profiles: str) -> str:
    """SQL of all loads together from ``$since`` on, from that of :meth:`limitlens.data.events.EventStore.profiles`."""
    sums = ", ".join(f'CAST(SUM("{name}") AS DOUBLE) AS "{name}"' for name in COUNTS)
    return f"""SELECT source, kind, slice_column, slice_value, day, {sums} FROM ({profiles})
        WHERE day >= $since GROUP BY ALL ORDER BY ALL"""


def panel_of(rows: pd.DataFrame, end: np.datetime64, memory_days: int) -> Panel:
    """The series of one source until before a day, each kind apart and all kinds together.

    Parameters
    ----------
    rows : DataFrame
        As :func:`daily_sql` has them, of one source.
    end : datetime64[D]
    memory_days : int
        Days before it that are looked at.
    """
    day = rows["day"].to_numpy("datetime64[D]")
    seen = (day < end) & (day >= end - memory_days)
    rows, day = rows[seen], day[seen]
    first = day.min() if len(day) else end
    both = pd.concat([rows, rows.assign(kind="")])
    keys = ["kind", "slice_column", "slice_value"]
    groups = both.groupby(keys, sort=True)
    shape = groups.ngroups, int((end - first).astype(int))
    at = groups.ngroup().to_numpy() * shape[1] + (np.concatenate([day, day]) - first).astype(int)
    columns = (both[name].fillna(0.0).to_numpy(float) for name in COUNTS)
    counts: FloatArray = np.stack([np.bincount(at, column, shape[0] * shape[1]) for column in columns])
    named = groups.size().reset_index()
    scopes = list(zip(*(named[key].tolist() for key in keys), strict=True))
    return Panel(scopes, counts.reshape(len(COUNTS), *shape), np.arange(first, end))
