"""Parts of a book: lines that are worked on together, so that memory does not grow with the book."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.engine import memory_limit
from limitlens.pipeline.workspace import Workspace

#: Lines of a part, at most; at least, where processes share them; bytes that a line takes, about.
LINES_TOGETHER, LINES_APART, LINE_BYTES = 25_000, 5_000, 40_000


@dataclass(frozen=True)
class Book:
    """A workspace as another process opens it: with so many loads, of which this is the digest."""

    root: Path
    loads: int
    digest: str

    def opened(self) -> Workspace:
        """The workspace, whatever came in since."""
        return Workspace(self.root, self.loads)


def book_of(workspace: Workspace) -> Book:
    """A workspace as it is now."""
    return Book(workspace.root, len(workspace.events.loads()), workspace.events.digest())


def lines_together(lines: int, processes: int) -> int:
    """Lines of a part: no more than the memory for queries would hold, and a part for each process."""
    fit = min(LINES_TOGETHER, memory_limit() // processes // LINE_BYTES)
    return max(min(fit, max(LINES_APART, -(-lines // processes))), 1)


def parts_of(planned: pd.DataFrame, last: pa.Table, size: int) -> Iterator[tuple[pd.DataFrame, pa.Table]]:
    """Cut planned lines and last decisions into parts of so many accounts.

    Parameters
    ----------
    planned : DataFrame
        As :func:`limitlens.pipeline.deciding.plan.plan_lines` gives it.
    last : pyarrow.Table
        Last decision of each account, ordered by account.
    size : int

    Yields
    ------
    (DataFrame, pyarrow.Table)
        Those of one range of accounts, by account.
    """
    planned = planned.sort_values("account_id", kind="stable", ignore_index=True)
    accounts, decided = planned["account_id"].to_numpy(str), last["account_id"].to_numpy().astype(str)
    begins = np.union1d(accounts, decided)[size::size]
    ends = [[*np.searchsorted(one, begins), len(one)] for one in (accounts, decided)]
    first = row = 0
    for line, decision in zip(*ends, strict=True):
        yield planned.iloc[first:line], last.slice(row, decision - row)
        first, row = line, decision
