"""The trees of a LightGBM model as arrays, and which way a row goes at each of their splits.

Read from the model's own text. A row turns exactly as LightGBM turns it (``NumericalDecision`` and
``CategoricalDecision`` in LightGBM's ``tree.h``): a missing value goes the way the split learnt, a category goes left
when it stands in the split's set; what is next to zero is read as zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limitlens.data.arrays import BoolArray, FloatArray, IntArray

#: Bits of LightGBM's ``decision_type``: categorical, missing goes left; from bit 2 on what counts as missing.
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_SHIFT = 1, 2, 2
ZERO_MISSING, NAN_MISSING = 1, 2

#: A value this close to zero is zero (``kZeroThreshold``, a float32 in LightGBM).
ZERO = float(np.float32(1e-35))


@dataclass(frozen=True)
class Trees:
    """Every split of every tree, one after the other; a child that is negative is the leaf ``~child``.

    Parameters
    ----------
    columns : int
        How many columns a row has.
    feature : int64 array of shape (splits,)
        Column each split reads.
    threshold : float64 array of shape (splits,)
        A number goes left up to it.
    default_left : bool array of shape (splits,)
        Whether a missing value goes left.
    missing : int64 array of shape (splits,)
        What counts as missing: 0 nothing (NaN is read as 0), 1 zero and NaN, 2 NaN.
    categories : mapping of int to frozenset of int
        For the splits on categories: the codes that go left.
    left, right : int64 arrays of shape (splits,)
        Children.
    leaf : float64 array of shape (leaves,)
        Log-odds at each leaf.
    roots : tuple of int
        First split of each tree, or its only leaf.
    rows, leaf_rows : int64 arrays of shape (splits,) and (leaves,)
        How many rows of the training reached each.
    """

    columns: int
    feature: IntArray
    threshold: FloatArray
    default_left: BoolArray
    missing: IntArray
    categories: dict[int, frozenset[int]]
    left: IntArray
    right: IntArray
    leaf: FloatArray
    roots: tuple[int, ...]
    rows: IntArray
    leaf_rows: IntArray

    def goes_left(self, row: FloatArray) -> BoolArray:
        """Whether a row goes left, at every split.

        Parameters
        ----------
        row : float64 array of shape (columns,)

        Returns
        -------
        bool array of shape (splits,)
        """
        value = np.where(np.abs(row) <= ZERO, 0.0, row)[self.feature]
        nan = np.isnan(value)
        number = np.where(nan & (self.missing != NAN_MISSING), 0.0, value)
        absent = np.where(self.missing == ZERO_MISSING, number == 0, nan & (self.missing == NAN_MISSING))
        left = np.where(absent, self.default_left, number <= self.threshold)
        for split, codes in self.categories.items():
            left[split] = np.isfinite(value[split]) and int(value[split]) in codes
        return np.asarray(left, bool)


def read_trees(text: str) -> Trees:
    """Read the trees of a LightGBM model text.

    Raises
    ------
    ValueError
        The score is not the sum of the leaves: they hold linear models, are averaged, or there is a score a class.
    """
    head, *trees = text.partition("\nend of trees")[0].split("\nTree=")
    if "\naverage_output" in head or "\nnum_tree_per_iteration=1\n" not in head:
        raise ValueError("the model averages its trees or has more than one score; expected boosting of one score.")
    blocks = [_fields(block) for block in trees]
    if any(block.get("is_linear", "0") != "0" for block in blocks):
        raise ValueError("the model has linear trees; expected constant leaves: train with linear_tree=false.")
    sizes = [int(block["num_leaves"]) for block in blocks]
    first_leaf = np.cumsum([0, *sizes])[:-1].tolist()
    first_split = [leaf - place for place, leaf in enumerate(first_leaf)]
    kind = _whole(blocks, "decision_type")
    sets = zip(first_split, map(_categories, blocks), strict=True)
    return Trees(
        columns=int(_fields(head)["max_feature_idx"]) + 1,
        feature=_whole(blocks, "split_feature"),
        threshold=_numbers(blocks, "threshold"),
        default_left=(kind & _DEFAULT_LEFT) > 0,
        missing=kind >> _MISSING_SHIFT,
        categories={first + split: codes for first, by_split in sets for split, codes in by_split.items()},
        left=_children(blocks, "left_child", first_split, first_leaf),
        right=_children(blocks, "right_child", first_split, first_leaf),
        leaf=_numbers(blocks, "leaf_value"),
        roots=tuple(
            split if size > 1 else ~leaf for split, size, leaf in zip(first_split, sizes, first_leaf, strict=True)
        ),
        rows=_whole(blocks, "internal_count"),
        leaf_rows=_whole(blocks, "leaf_count"),
    )


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _numbers(blocks: Sequence[dict[str, str]], name: str) -> FloatArray:
    return np.array(" ".join(block[name] for block in blocks).split(), np.float64)


def _whole(blocks: Sequence[dict[str, str]], name: str) -> IntArray:
    return np.array(" ".join(block[name] for block in blocks).split(), np.int64)


def _children(
    blocks: Sequence[dict[str, str]], name: str, first_split: Sequence[int], first_leaf: Sequence[int]
) -> IntArray:
    """Children, numbered over all trees."""
    splits = [int(block["num_leaves"]) - 1 for block in blocks]
    child, split, leaf = _whole(blocks, name), np.repeat(first_split, splits), np.repeat(first_leaf, splits)
    children: IntArray = child + np.where(child >= 0, split, -leaf)
    return children


def _categories(block: dict[str, str]) -> dict[int, frozenset[int]]:
    """Codes that go left, by split: 32 a word, the words of each split in turn."""
    if block["num_cat"] == "0":
        return {}
    words, bounds = (_whole([block], name).tolist() for name in ("cat_threshold", "cat_boundaries"))
    threshold = _numbers([block], "threshold")  # of a split on categories: which of the sets is its own
    sets = {}
    for split in np.flatnonzero(_whole([block], "decision_type") & _CATEGORICAL).tolist():
        place = int(threshold[split])
        mine = words[bounds[place] : bounds[place + 1]]
        sets[split] = frozenset(32 * i + bit for i, word in enumerate(mine) for bit in range(32) if word >> bit & 1)
    return sets
