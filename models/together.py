"""Members together: their mean score, SHAP values and changes of many rows, by kernels that LightGBM checks.

The kernels (:mod:`limitlens.models.kernels`) give the bits that LightGBM gives, and SHAP values equal to its own but
for rounding. Whenever they work, LightGBM does a sample of the rows as well, and a difference ends the job. LightGBM
does all of it where rows are few, where numba is absent, and where a model is not one the kernels know.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.errors import IntegrityError
from limitlens.data.resources import thread_count
from limitlens.models.forest import Bytes, Forest, plant
from limitlens.models.member import AccountArray, Member, mean_over, who_scores
from limitlens.models.paths import Factors, Paths, factors_of, paths_of

#: From so many rows on it is worth it to load the kernels: for scores, SHAP values and changes.
SCORES_WORTH, SHAP_WORTH, CHANGES_WORTH = 10_000, 500, 20

#: Rows at a time: few enough to stay near the processor, and enough for a member that scores one fold of them.
_AT_ONCE, _FEWEST = 1 << 12, 1 << 10

#: Rows of a call that LightGBM does as well, and by how much SHAP values may differ from its own for a score of 1.
_SAMPLE, _ROUNDING = 32, 1e-9


class KernelError(IntegrityError):
    """A kernel and LightGBM differ; ``rows`` says at which positions."""

    def __init__(self, what: str, rows: IntArray) -> None:
        super().__init__(f"{what} by kernels and by LightGBM differ")
        self.rows = rows


@contextmanager
def naming_accounts(accounts: pd.Series) -> Iterator[None]:
    """Name the accounts of a table in the error where a kernel and LightGBM differ.

    Raises
    ------
    IntegrityError
        They do.
    """
    try:
        yield
    except KernelError as error:
        ids = ", ".join(accounts.iloc[error.rows[:5]].astype(str))
        text = f"{error} for {len(error.rows)} of the rows compared, accounts {ids}; nothing was decided by them. "
        raise IntegrityError(text + "Uninstall numba to have LightGBM do all, and report it.") from error


@dataclass(frozen=True)
class Together:
    """Members that kernels can evaluate."""

    members: tuple[Member, ...]
    forest: Forest

    @cached_property
    def paths(self) -> Paths:
        """For SHAP values and changes."""
        return paths_of(self.forest)

    @cached_property
    def factors(self) -> Factors:
        """For SHAP values.

        Raises
        ------
        ValueError
            As :func:`limitlens.models.paths.factors_of`.
        """
        return factors_of(self.forest, self.paths)

    def cells(self, inputs: FloatArray) -> Bytes:
        """Inputs as bytes."""
        from limitlens.models import kernels  # noqa: PLC0415 - numba may be absent, and is slow to import

        cells = np.empty((self.forest.cuts.columns, len(inputs)), np.uint8)
        kernels.into_cells(self.forest.cuts, np.require(inputs, np.float64, ["C", "W"]), cells)
        return cells

    def scores(self, place: int, cells: Bytes, rows: IntArray) -> FloatArray:
        """Scores of some rows by one member: what :meth:`limitlens.models.member.Member.raw` gives."""
        from limitlens.models import kernels  # noqa: PLC0415

        scores = np.empty(len(rows))
        kernels.add_leaves(self.forest.splits, kernels.Batch(place, cells, rows), scores)
        return scores

    def add_contributions(self, inputs: FloatArray, account: AccountArray | None, values: FloatArray) -> None:
        """Add to zeros the mean SHAP values of the members that score each row, the mean of their base values last."""
        from limitlens.models import kernels  # noqa: PLC0415

        cells = self.cells(inputs)
        for place, rows, weight in self._weighted(len(inputs), account):
            batch = kernels.Batch(place, cells, rows, weight)
            kernels.add_contributions(self.forest.splits, self.paths, self.factors, batch, values)

    def add_changes(self, old: FloatArray, new: FloatArray, account: AccountArray | None, values: FloatArray) -> None:
        """Add to zeros the mean change of the score: that of :func:`limitlens.models.change.tree_changes`."""
        from limitlens.models import kernels  # noqa: PLC0415

        was, now = self.cells(old), self.cells(new)
        for place, rows, weight in self._weighted(len(new), account):
            kernels.add_changes(self.forest.splits, self.paths, kernels.Batch(place, now, rows, weight), was, values)

    def _weighted(self, count: int, account: AccountArray | None) -> Iterator[tuple[int, IntArray, float]]:
        """Members with the rows they score, and their weights in the mean."""
        turns = who_scores(self.members, count, account)
        for turn in turns:
            for place, rows in turn:
                yield place, rows, 1.0 / (len(turns) * (1 if account is not None else len(turn)))


def obstacle(members: tuple[Member, ...]) -> str | None:
    """Why LightGBM has to do the work; None: kernels can.

    Parameters
    ----------
    members : tuple of Member
    """
    planted = _planted(members)
    return planted if isinstance(planted, str) else None


def together(members: Sequence[Member], inputs: FloatArray, worth: int) -> Together | None:
    """Members for the kernels, if they can and there are as many rows as it is worth it.

    Parameters
    ----------
    members : sequence of Member
    inputs : float64 array of shape (n, columns)
    worth : int
        Rows from which on it is.
    """
    if len(inputs) < worth:
        return None
    planted = _planted(tuple(members))
    if isinstance(planted, str) or inputs.shape[1] != planted.forest.columns:  # LightGBM says what it expects
        return None
    return planted


@lru_cache(maxsize=8)
def _planted(members: tuple[Member, ...]) -> Together | str:
    try:
        from limitlens.models import kernels  # noqa: F401, PLC0415
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    try:
        planted = Together(members, plant([member.text for member in members]))
        _ = planted.factors
    except ValueError as error:
        return str(error)
    return planted


def mean_scores(members: Sequence[Member], inputs: FloatArray, account: AccountArray | None) -> FloatArray:
    """Mean log-odds of the members that score each row.

    Parameters
    ----------
    members : sequence of Member
    inputs : float64 array of shape (n, columns)
    account : uint64 array of shape (n,) or None
        As in :func:`limitlens.models.member.mean_over`.

    Raises
    ------
    KernelError
        Kernels and LightGBM differ.
    """
    able = together(members, inputs, SCORES_WORTH)
    if able is None:
        return lightgbm_scores(members, inputs, account)

    scores = np.empty(len(inputs))

    def score(rows: slice) -> None:
        cells = able.cells(inputs[rows])
        mine = None if account is None else account[rows]
        scores[rows] = mean_over(members, cells.shape[1], mine, lambda place, some: able.scores(place, cells, some))

    _in_chunks(len(inputs), score)
    sample = _sample_of(len(inputs))
    expected = lightgbm_scores(members, inputs[sample], None if account is None else account[sample])
    _compare("scores", sample, np.not_equal(scores[sample], expected))
    return scores


def mean_contributions(members: Sequence[Member], inputs: FloatArray, account: AccountArray | None) -> FloatArray:
    """Mean SHAP values of the members that score each row, the mean of their base values last.

    Parameters
    ----------
    members, inputs, account
        As in :func:`mean_scores`.

    Raises
    ------
    KernelError
        Kernels and LightGBM differ by more than rounding.
    """
    able = together(members, inputs, SHAP_WORTH)
    if able is None:
        return lightgbm_contributions(members, inputs, account)

    values = np.zeros((len(inputs), inputs.shape[1] + 1))

    def explain(rows: slice) -> None:
        able.add_contributions(inputs[rows], None if account is None else account[rows], values[rows])

    _in_chunks(len(inputs), explain)
    sample = _sample_of(len(inputs))
    expected = lightgbm_contributions(members, inputs[sample], None if account is None else account[sample])
    _compare("SHAP values", sample, np.any(_apart(values[sample], expected), axis=1))
    return values


def mean_changes(able: Together, old: FloatArray, new: FloatArray, account: AccountArray) -> FloatArray:
    """Mean change of the score from old to new rows, of the members that score them, split among the columns.

    Parameters
    ----------
    able : Together
    old, new : float64 arrays of shape (n, columns)
    account : uint64 array of shape (n,)

    Raises
    ------
    KernelError
        They do not sum to the change of the scores by LightGBM, but for rounding.
    """
    members, values = able.members, np.zeros(new.shape)

    def explain(rows: slice) -> None:
        able.add_changes(old[rows], new[rows], account[rows], values[rows])

    _in_chunks(len(new), explain)
    sample = _sample_of(len(new))
    before, after = (lightgbm_scores(members, rows[sample], account[sample]) for rows in (old, new))
    _compare("changes of the score", sample, _apart(values[sample].sum(axis=1), after - before))
    return values


def lightgbm_contributions(members: Sequence[Member], inputs: FloatArray, account: AccountArray | None) -> FloatArray:
    """:func:`mean_contributions` by LightGBM alone."""
    return mean_over(
        members, len(inputs), account, lambda place, rows: members[place].raw(inputs[rows], pred_contrib=True)
    )


def lightgbm_scores(members: Sequence[Member], inputs: FloatArray, account: AccountArray | None) -> FloatArray:
    """:func:`mean_scores` by LightGBM alone."""
    return mean_over(members, len(inputs), account, lambda place, rows: members[place].raw(inputs[rows]))


def _in_chunks(count: int, work: Callable[[slice], None]) -> None:
    """Rows some at a time, on as many threads as this process may use; what comes of it never depends on them."""
    at_once = min(_AT_ONCE, max(_FEWEST, -(-count // thread_count())))
    chunks = [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]
    with ThreadPoolExecutor(thread_count()) as threads:
        list(threads.map(work, chunks))


def _sample_of(count: int) -> IntArray:
    """Positions of the rows that LightGBM does as well, from the first to the last."""
    return np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))


def _apart(values: FloatArray, expected: FloatArray) -> BoolArray:
    """Where values differ by more than rounding."""
    near: BoolArray = np.abs(values - expected) <= _ROUNDING * np.maximum(1.0, np.abs(expected))
    return ~near


def _compare(what: str, sample: IntArray, differs: Any) -> None:
    if np.any(differs):
        raise KernelError(what, sample[np.flatnonzero(differs)])
