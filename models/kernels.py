"""Kernels over a forest: inputs into bytes, bytes into scores.

Iterative, in blocks of rows that lie beside each other in memory, so that the compiler makes of an inner loop what the
processor does to many rows at once. A score is the sum of its leaves in the order of the trees, as LightGBM adds them.
"""

import numpy as np

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.compiled import compiled
from limitlens.models.forest import MOST_LEAVES, THRESHOLDS, Bytes, Cuts, Splits
from limitlens.models.trees import ZERO

#: Rows that are looked up, and scored, at a time.
_LOOKED_UP, _SCORED = 64, 512

_MISSING = np.uint8(255)


@compiled
def into_cells(cuts: Cuts, inputs: FloatArray, cells: Bytes) -> None:
    """Look up the cell of every value.

    Parameters
    ----------
    cuts : Cuts
    inputs : float64 array of shape (n, columns)
    cells : uint8 array of shape (cuts.columns, n)
        Written.
    """
    value, place = np.empty(_LOOKED_UP), np.empty(_LOOKED_UP, np.int64)
    for start in range(0, len(inputs), _LOOKED_UP):
        count = min(_LOOKED_UP, len(inputs) - start)
        for k in range(len(cuts.feature)):
            feature, zero_missing = cuts.feature[k], cuts.zero_missing[k]
            for j in range(count):
                one = inputs[start + j, feature]
                if abs(one) <= ZERO:
                    one = 0.0
                value[j] = np.nan if zero_missing and one == 0.0 else one
                place[j] = cuts.first_threshold[k]
            left = cuts.first_threshold[k + 1] - cuts.first_threshold[k]
            while left > 1:  # how many thresholds are below the value, by halves, all rows in step
                half = left >> 1
                for j in range(count):
                    place[j] += half if cuts.threshold[place[j] + half - 1] < value[j] else 0
                left -= half
            for j in range(count):
                place[j] += (1 if cuts.threshold[place[j]] < value[j] else 0) - cuts.first_threshold[k]
            for column in range(cuts.first_column[k], cuts.first_column[k + 1]):
                below = (column - cuts.first_column[k]) * THRESHOLDS
                for j in range(count):
                    cell = np.uint8(min(max(place[j] - below, 0), THRESHOLDS))
                    cells[column, start + j] = _MISSING if np.isnan(value[j]) else cell
        for k in range(len(cuts.set_feature)):
            column, first, end = cuts.first_column[-1] + k, cuts.first_word[k], cuts.first_word[k + 1]
            for j in range(count):
                one = inputs[start + j, cuts.set_feature[k]]
                cell = np.uint8(0)
                if -1.0 < one < 64.0 * (end - first):  # no NaN is; a code that is not whole counts as the whole part
                    code = int(one)
                    cell = np.uint8((cuts.word[first + (code >> 6)] >> np.uint64(code & 63)) & np.uint64(1))
                cells[column, start + j] = cell


@compiled
def gather(cells: Bytes, read: IntArray, rows: IntArray, block: Bytes) -> None:
    """Put some columns of some rows beside each other.

    Parameters
    ----------
    cells : uint8 array of shape (columns, n)
    read : int64 array of shape (r,)
        Of the columns.
    rows : int64 array of shape (k,)
        Rising positions.
    block : uint8 array of shape (at least r, at least k)
        Written.
    """
    count = len(rows)
    together = rows[count - 1] - rows[0] == count - 1
    for c in range(len(read)):
        column = read[c]
        if together:
            first = rows[0]
            for j in range(count):
                block[c, j] = cells[column, first + j]
        else:
            for j in range(count):
                block[c, j] = cells[column, rows[j]]


@compiled
def add_leaves(splits: Splits, member: int, cells: Bytes, rows: IntArray, scores: FloatArray) -> None:
    """Score rows by a member.

    Every split, from the last to the first, picks the leaf that one of its sides has picked.

    Parameters
    ----------
    splits : Splits
    member : int
    cells : uint8 array of shape (columns, n)
        As :func:`into_cells` writes them.
    rows : int64 array of shape (k,)
        Rising positions.
    scores : float64 array of shape (k,)
        Written.
    """
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    first_tree, end_tree = splits.first_tree[member], splits.first_tree[member + 1]
    leaves, most = 1, 0
    for tree in range(first_tree, end_tree):
        leaves = max(leaves, splits.first_leaf[tree + 1] - splits.first_leaf[tree])
    picked = np.empty((2 * leaves, _SCORED), np.uint8)
    for leaf in range(leaves):
        picked[leaf, :] = leaf
    block = np.zeros((len(read), _SCORED), np.uint8)
    total = np.empty(_SCORED)
    for start in range(0, len(rows), _SCORED):
        count = min(_SCORED, len(rows) - start)
        gather(cells, read, rows[start : start + count], block)
        total[:] = 0.0
        for tree in range(first_tree, end_tree):
            first, end = splits.first_split[tree], splits.first_split[tree + 1]
            for split in range(end - 1, first - 1, -1):
                column, shift, bound = splits.column[split], splits.shift[split], splits.bound[split]
                left, right = splits.left[split], splits.right[split]
                left = leaves + left if left >= 0 else ~left
                right = leaves + right if right >= 0 else ~right
                here = leaves + split - first
                for j in range(_SCORED):
                    to_left, to_right = picked[left, j], picked[right, j]
                    picked[here, j] = to_left if np.uint8(block[column, j] - shift) <= bound else to_right
            root, leaf = (leaves if end > first else 0), splits.first_leaf[tree]
            for j in range(count):
                total[j] += splits.leaf[leaf + picked[root, j]]
        for j in range(count):
            scores[start + j] = total[j]
