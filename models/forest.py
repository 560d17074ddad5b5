"""Many members as one forest: what their splits read as bytes, and their trees as arrays.

The thresholds that any member has for a column cut it into cells, so that a row is looked up once for all members, and
a split compares bytes: a row goes left when ``cell - shift``, as a byte, is at most ``bound``. A missing value is the
last cell, which a shift of 255 makes the first. A column with more thresholds than a byte has cells is read as several
columns of bytes; of a set of categories a byte says whether the row is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.trees import NAN_MISSING, ZERO_MISSING, Trees, read_trees

Bytes = npt.NDArray[np.uint8]

#: Thresholds that a column of bytes can tell apart; what is above all of them is one cell more, and missing another.
THRESHOLDS = 254

#: Leaves of a tree that a byte can number.
MOST_LEAVES = 256


class Cuts(NamedTuple):
    """How inputs become bytes.

    Parameters
    ----------
    feature : int64 array of shape (readings,)
        Column of the inputs; one that is read with zero as missing by some and as a number by others is there twice.
    zero_missing : bool array of shape (readings,)
    first_threshold : int64 array of shape (readings + 1,)
    threshold : float64 array
        Those of each reading in turn, rising.
    first_column : int64 array of shape (readings + 1,)
        Columns of bytes of each reading; after them those of the sets.
    set_feature : int64 array of shape (sets,)
    first_word : int64 array of shape (sets + 1,)
    word : uint64 array
        Codes of each set in turn, 64 a word.
    """

    feature: IntArray
    zero_missing: npt.NDArray[np.bool_]
    first_threshold: IntArray
    threshold: FloatArray
    first_column: IntArray
    set_feature: IntArray
    first_word: IntArray
    word: npt.NDArray[np.uint64]

    @property
    def columns(self) -> int:
        """How many columns of bytes there are."""
        return int(self.first_column[-1]) + len(self.set_feature)


class Splits(NamedTuple):
    """Trees as arrays; what is counted in a tree or member begins at 0 in each.

    Parameters
    ----------
    first_tree : int64 array of shape (members + 1,)
    first_split, first_leaf : int64 arrays of shape (trees + 1,)
    column : int64 array of shape (splits,)
        Which of the member's columns of bytes a split reads.
    shift, bound : uint8 arrays of shape (splits,)
    left, right : int64 arrays of shape (splits,)
        A split of the tree, always a later one, or ``~leaf``.
    leaf : float64 array of shape (leaves,)
    first_read : int64 array of shape (members + 1,)
    read : int64 array
        Columns of bytes that each member reads, of those of :class:`Cuts`.
    """

    first_tree: IntArray
    first_split: IntArray
    first_leaf: IntArray
    column: IntArray
    shift: Bytes
    bound: Bytes
    left: IntArray
    right: IntArray
    leaf: FloatArray
    first_read: IntArray
    read: IntArray


@dataclass(frozen=True)
class Forest:
    """Members of which every tree can be evaluated on bytes.

    Parameters
    ----------
    columns : int
        Of the inputs.
    cuts : Cuts
    splits : Splits
    feature : int64 array of shape (splits,)
        Column of the inputs.
    rows, leaf_rows : int64 arrays of shape (splits,) and (leaves,)
        As in :class:`limitlens.models.trees.Trees`.
    """

    columns: int
    cuts: Cuts
    splits: Splits
    feature: IntArray
    rows: IntArray
    leaf_rows: IntArray


def plant(texts: Sequence[str]) -> Forest:
    """Lay out members.

    Parameters
    ----------
    texts : sequence of str
        LightGBM models, at least one.

    Raises
    ------
    ValueError
        As :func:`limitlens.models.trees.read_trees`; a tree has more than 256 leaves, or the text is none that
        LightGBM writes.
    """
    members = [read_trees(text) for text in texts]
    if not all(map(_whole, members)) or len({member.columns for member in members}) > 1:
        raise ValueError("the members are no models of the same columns as LightGBM writes them.")
    trees = [len(member.roots) for member in members]
    sizes = np.concatenate([_splits_of_trees(member) for member in members])
    if (sizes >= MOST_LEAVES).any():
        raise ValueError(f"a tree has {sizes.max() + 1} leaves; expected at most {MOST_LEAVES}.")
    first_split = np.cumsum([0, *sizes])
    first_leaf = first_split + np.arange(len(sizes) + 1)
    left, right = (_within_trees(members, side) for side in ("left", "right"))
    cuts, column, shift, bound = _cut(members)
    of_member = np.repeat(np.arange(len(members)), [len(member.feature) for member in members])
    read = [np.unique(column[of_member == m]) for m in range(len(members))]
    local = [np.searchsorted(mine, column[of_member == m]) for m, mine in enumerate(read)]
    splits = Splits(
        first_tree=np.cumsum([0, *trees]),
        first_split=first_split,
        first_leaf=first_leaf,
        column=np.concatenate(local),
        shift=shift,
        bound=bound,
        left=left,
        right=right,
        leaf=np.concatenate([member.leaf for member in members]),
        first_read=np.cumsum([0, *map(len, read)]),
        read=np.concatenate(read),
    )
    feature, rows, leaf_rows = (
        np.concatenate([getattr(member, name) for member in members]) for name in ("feature", "rows", "leaf_rows")
    )
    return Forest(members[0].columns, cuts, splits, feature, rows, leaf_rows)


def _whole(member: Trees) -> bool:
    """Whether every split and leaf is below one split of its tree that stands before it, and nothing is missing."""
    splits, leaves = len(member.feature), len(member.leaf)
    children = np.concatenate([member.left, member.right, np.array(member.roots, np.int64)])
    if not np.array_equal(np.sort(children), np.arange(-leaves, splits)):
        return False
    tree = np.repeat(np.arange(len(member.roots)), _splits_of_trees(member))
    tree_of_leaf = np.repeat(np.arange(len(member.roots)), _splits_of_trees(member) + 1)
    for child in (member.left, member.right):
        below = np.where(child >= 0, tree[np.maximum(child, 0)], tree_of_leaf[np.maximum(~child, 0)])
        if (below != tree).any() or ((child >= 0) & (child <= np.arange(splits))).any():
            return False
    counts = [len(member.threshold), len(member.default_left), len(member.rows)]
    read = ((member.feature >= 0) & (member.feature < member.columns)).all()
    return bool(read) and counts == [splits] * 3 and len(member.leaf_rows) == leaves


def _splits_of_trees(member: Trees) -> IntArray:
    """How many splits each tree of a member has."""
    grown = [root for root in member.roots if root >= 0]
    sizes = np.zeros(len(member.roots), np.int64)
    sizes[[root >= 0 for root in member.roots]] = np.diff([*grown, len(member.feature)])
    return sizes


def _within_trees(members: Sequence[Trees], side: str) -> IntArray:
    """Children, counted from the first split and leaf of their tree."""
    parts = []
    for member in members:
        sizes = _splits_of_trees(member)
        split = np.repeat(np.cumsum([0, *sizes])[:-1], sizes)
        leaf = np.repeat(np.cumsum([0, *(sizes + 1)])[:-1], sizes)
        child = getattr(member, side)
        parts.append(np.where(child >= 0, child - split, child + leaf))
    return np.concatenate(parts)


def _cut(members: Sequence[Trees]) -> tuple[Cuts, IntArray, Bytes, Bytes]:
    """The columns of bytes, and for every split which it reads, its shift and its bound."""
    feature, threshold, default_left, missing = (
        np.concatenate([getattr(member, name) for member in members])
        for name in ("feature", "threshold", "default_left", "missing")
    )
    first = np.cumsum([0, *(len(member.feature) for member in members)])
    sets = {
        int(start) + split: (int(member.feature[split]), codes)
        for start, member in zip(first[:-1], members, strict=True)
        for split, codes in member.categories.items()
    }
    number = np.ones(len(feature), bool)
    number[list(sets)] = False
    zero_missing = missing == ZERO_MISSING
    default_left = np.where(missing == NAN_MISSING, default_left, np.where(zero_missing, default_left, threshold >= 0))
    keys = np.unique(np.column_stack([feature, zero_missing])[number], axis=0)
    column, bound = np.zeros(len(feature), np.int64), np.zeros(len(feature), np.int64)
    values: list[FloatArray] = []
    first_column = [0]
    for one, zero in keys.tolist():
        mine = np.flatnonzero(number & (feature == one) & (zero_missing == zero))
        rising, place = np.unique(threshold[mine], return_inverse=True)
        column[mine], bound[mine] = first_column[-1] + place // THRESHOLDS, place % THRESHOLDS
        values.append(rising)
        first_column.append(first_column[-1] + -(-len(rising) // THRESHOLDS))
    shift = np.where(default_left, 255, 0)
    bound += default_left
    distinct = sorted(set(sets.values()), key=lambda one: (one[0], sorted(one[1])))
    numbered = {one: first_column[-1] + k for k, one in enumerate(distinct)}
    for split, one in sets.items():
        column[split], shift[split], bound[split] = numbered[one], 1, 0
    words = [_words(codes) for _, codes in distinct]
    cuts = Cuts(
        feature=np.ascontiguousarray(keys[:, 0], np.int64),
        zero_missing=np.ascontiguousarray(keys[:, 1], bool),
        first_threshold=np.cumsum([0, *map(len, values)]),
        threshold=np.concatenate([np.zeros(0), *values]),
        first_column=np.array(first_column),
        set_feature=np.array([one for one, _ in distinct], np.int64),
        first_word=np.cumsum([0, *map(len, words)]),
        word=np.concatenate([np.zeros(0, np.uint64), *words]),
    )
    return cuts, column, shift.astype(np.uint8), bound.astype(np.uint8)


def _words(codes: frozenset[int]) -> npt.NDArray[np.uint64]:
    words = np.zeros(max(codes, default=0) // 64 + 1, np.uint64)
    for code in codes:
        words[code // 64] |= np.uint64(1 << code % 64)
    return words
