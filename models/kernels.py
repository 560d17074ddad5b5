"""Kernels over a forest: inputs into bytes, bytes into scores and SHAP values.

Iterative, in blocks of rows that lie beside each other in memory, so that the compiler makes of an inner loop what the
processor does to many rows at once. A score is the sum of its leaves in the order of the trees, as LightGBM adds them.

For SHAP values a walk through a tree carries down the product of the factors of its path, one a quadrature point, and
carries up the sum of what the leaves below hold of it; each edge gives its feature a share of that sum.

All are in one file: what numba kept compiled is as new as the file of the function, whatever it calls.
"""

from typing import NamedTuple

import numpy as np

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.compiled import compiled, inlined
from limitlens.models.forest import THRESHOLDS, Bytes, Cuts, Splits
from limitlens.models.paths import Factors, Paths
from limitlens.models.trees import ZERO

#: Rows that are looked up, scored and explained at a time, and whose shares are handed over.
_LOOKED_UP, _SCORED, _EXPLAINED, _HANDED_OVER = 64, 512, 128, 8

_MISSING = np.uint8(255)


class Batch(NamedTuple):
    """Rows for one member.

    Parameters
    ----------
    member : int
    cells : uint8 array of shape (columns of bytes, n)
        As :func:`into_cells` writes them.
    rows : int64 array of shape (k,)
        Rising positions, at least one.
    weight : float
        Of the member in a mean.
    """

    member: int
    cells: Bytes
    rows: IntArray
    weight: float = 1.0


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


@inlined
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
def add_leaves(splits: Splits, batch: Batch, scores: FloatArray) -> None:
    """Score rows by a member.

    Every split, from the last to the first, picks the leaf that one of its sides has picked.

    Parameters
    ----------
    splits : Splits
    batch : Batch
    scores : float64 array of shape (len(batch.rows),)
        Written.
    """
    member, rows = batch.member, batch.rows
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    first_tree, end_tree = splits.first_tree[member], splits.first_tree[member + 1]
    leaves = 1
    for tree in range(first_tree, end_tree):
        leaves = max(leaves, splits.first_leaf[tree + 1] - splits.first_leaf[tree])
    picked = np.empty((2 * leaves, _SCORED), np.uint8)
    for leaf in range(leaves):
        picked[leaf, :] = leaf
    block = np.zeros((len(read), _SCORED), np.uint8)
    total = np.empty(_SCORED)
    for start in range(0, len(rows), _SCORED):
        count = min(_SCORED, len(rows) - start)
        gather(batch.cells, read, rows[start : start + count], block)
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


class _Room(NamedTuple):
    """Where a walk writes: last of ``on`` and next to last of ``product``, ones, stand before the first split.

    Parameters
    ----------
    product : float64 array of shape (slots + 2, points, rows)
        What all leaves hold together goes to the last.
    on : float64 array of shape (slots + 1, rows)
        1 where a row is below an edge, as far as its feature says.
    old_on : float64 array of shape (slots + 1, rows)
        The same of the old row.
    part : float64 array of shape (4, rows)
        Of one split.
    share : float64 array of shape (features, rows)
    """

    product: FloatArray
    on: FloatArray
    old_on: FloatArray
    part: FloatArray
    share: FloatArray


@inlined
def _room(splits: Splits, paths: Paths, member: int) -> _Room:
    slots, points = 0, 1
    for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
        for s in range(splits.first_split[tree], splits.first_split[tree + 1]):
            slots, points = max(slots, paths.slot[s] + 2), max(points, paths.points[s])
    features = paths.first_feature[member + 1] - paths.first_feature[member]
    product = np.ones((slots + 2, points, _EXPLAINED))
    on, old_on = np.ones((slots + 1, _EXPLAINED)), np.ones((slots + 1, _EXPLAINED))
    return _Room(product, on, old_on, np.empty((4, _EXPLAINED)), np.empty((features, _EXPLAINED)))


@inlined
def _turn(splits: Splits, paths: Paths, s: int, block: Bytes, on: FloatArray) -> None:
    """Who goes left and who goes right at a split."""
    column, shift, bound = splits.column[s], splits.shift[s], splits.bound[s]
    left, before = paths.slot[s], paths.before_slot[s]
    before = before if before >= 0 else len(on) - 1
    for j in range(_EXPLAINED):
        to_left = 1.0 if np.uint8(block[column, j] - shift) <= bound else 0.0
        was = on[before, j]
        on[left, j] = to_left * was
        on[left + 1, j] = (1.0 - to_left) * was


@inlined
def _down(paths: Paths, factors: Factors, s: int, room: _Room, width: int) -> None:
    """Multiply a product by the factors of both edges below a split."""
    product, on = room.product, room.on
    left, right, above, before = paths.slot[s], paths.slot[s] + 1, paths.above_slot[s], paths.before_slot[s]
    above = above if above >= 0 else len(product) - 2
    points = paths.points[s]
    for q in range(points):
        to_left, to_right = factors.first[s] + q, factors.first[s] + points + q
        f_left, f_right = factors.factor[to_left], factors.factor[to_right]
        w_left, w_right = factors.factor_was[to_left], factors.factor_was[to_right]
        o_left, o_right = factors.factor_on[to_left], factors.factor_on[to_right]
        if before < 0:
            f_left, f_right = f_left + w_left, f_right + w_right
            for j in range(width):
                one = product[above, q, j]
                product[left, q, j] = one * (f_left + on[left, j] * o_left)
                product[right, q, j] = one * (f_right + on[right, j] * o_right)
        else:
            for j in range(width):
                one, was = product[above, q, j], on[before, j]
                product[left, q, j] = one * (f_left + was * w_left + on[left, j] * o_left)
                product[right, q, j] = one * (f_right + was * w_right + on[right, j] * o_right)


@inlined
def _up(paths: Paths, factors: Factors, s: int, room: _Room, width: int) -> None:
    """Sum what the leaves below a split hold, and give its feature its share."""
    product, on, share = room.product, room.on, room.share
    left, right, above, before = paths.slot[s], paths.slot[s] + 1, paths.above_slot[s], paths.before_slot[s]
    above = above if above >= 0 else len(product) - 1
    player, points = paths.player[s], paths.points[s]
    for q in range(points):
        to_left, to_right = factors.first[s] + q, factors.first[s] + points + q
        w_left, w_right = factors.share_was[to_left], factors.share_was[to_right]
        o_left, o_right = factors.share_on[to_left], factors.share_on[to_right]
        if before < 0:
            for j in range(width):
                below_left, below_right = product[left, q, j], product[right, q, j]
                product[above, q, j] = below_left + below_right
                of_left = below_left * (w_left + on[left, j] * o_left)
                share[player, j] += of_left + below_right * (w_right + on[right, j] * o_right)
        else:
            for j in range(width):
                below_left, below_right, was = product[left, q, j], product[right, q, j], on[before, j]
                product[above, q, j] = below_left + below_right
                of_left = below_left * (was * w_left + on[left, j] * o_left)
                share[player, j] += of_left + below_right * (was * w_right + on[right, j] * o_right)


@inlined
def _hand_over(share: FloatArray, feature: IntArray, weight: float, rows: IntArray, values: FloatArray) -> None:
    """Add the shares of features to their columns, few rows at a time, which stay near the processor."""
    for start in range(0, len(rows), _HANDED_OVER):
        end = min(start + _HANDED_OVER, len(rows))
        for f in range(len(feature)):
            for j in range(start, end):
                values[rows[j], feature[f]] += weight * share[f, j]


@compiled
def add_contributions(splits: Splits, paths: Paths, factors: Factors, batch: Batch, contributions: FloatArray) -> None:
    """Path-dependent SHAP values of a member, its base value in the last column.

    Parameters
    ----------
    splits : Splits
    paths : Paths
    factors : Factors
    batch : Batch
    contributions : float64 array of shape (n, columns of the inputs + 1)
        Of the rows of the batch, those of the member are added, times its weight.
    """
    member, rows = batch.member, batch.rows
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    feature = paths.feature[paths.first_feature[member] : paths.first_feature[member + 1]]
    room, block = _room(splits, paths, member), np.zeros((len(read), _EXPLAINED), np.uint8)
    for start in range(0, len(rows), _EXPLAINED):
        count = min(_EXPLAINED, len(rows) - start)
        width = (count + 15) // 16 * 16
        gather(batch.cells, read, rows[start : start + count], block)
        room.share[:] = 0.0
        for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
            first = splits.first_split[tree]
            for step in range(2 * first, 2 * splits.first_split[tree + 1]):
                split = paths.step[step]
                if split >= 0:
                    _turn(splits, paths, first + split, block, room.on)
                    _down(paths, factors, first + split, room, width)
                else:
                    _up(paths, factors, first + ~split, room, width)
        _hand_over(room.share, feature, batch.weight, rows[start : start + count], contributions)
        for j in range(count):
            contributions[rows[start + j], -1] += batch.weight * factors.base[member]


@inlined
def _down_both(paths: Paths, s: int, room: _Room, width: int) -> None:
    """Multiply by t where a path is the new row's alone since this split, by 1 - t where it is the old one's alone."""
    product, new, old, part = room.product, room.on, room.old_on, room.part
    left, above, before = paths.slot[s], paths.above_slot[s], paths.before_slot[s]
    above = above if above >= 0 else len(product) - 2
    before = before if before >= 0 else len(new) - 1
    points = paths.points[s]
    for edge in range(left, left + 2):
        value = paths.value[2 * s + edge - left]
        for j in range(width):
            n, o, n_was, o_was = new[edge, j], old[edge, j], new[before, j], old[before, j]
            part[0, j] = (1.0 - (n_was - n)) * (1.0 - (o_was - o)) * value
            part[1, j] = n * (1.0 - o) * o_was * value
            part[2, j] = o * (1.0 - n) * n_was * value
        for q in range(points):
            t, rest = paths.node[points, q], 1.0 - paths.node[points, q]
            for j in range(width):
                product[edge, q, j] = product[above, q, j] * (part[0, j] + part[1, j] * t + part[2, j] * rest)


@inlined
def _up_both(paths: Paths, s: int, room: _Room, width: int) -> None:
    """Sum what the leaves below a split hold; its feature gets it where the new row is alone, pays where the old is."""
    product, new, old, part, share = room.product, room.on, room.old_on, room.part, room.share
    left, right, above, before = paths.slot[s], paths.slot[s] + 1, paths.above_slot[s], paths.before_slot[s]
    above = above if above >= 0 else len(product) - 1
    before = before if before >= 0 else len(new) - 1
    player = paths.player[s]
    part[:4] = 0.0
    points = paths.points[s]
    for q in range(points):
        t, weight = paths.node[points, q], paths.weight[points, q]
        of_new, of_old = weight / t, weight / (1.0 - t)
        for j in range(width):
            below_left, below_right = product[left, q, j], product[right, q, j]
            product[above, q, j] = below_left + below_right
            part[0, j] += below_left * of_new
            part[1, j] += below_left * of_old
            part[2, j] += below_right * of_new
            part[3, j] += below_right * of_old
    for side in range(2):
        for j in range(width):
            n, o, n_was, o_was = new[left + side, j], old[left + side, j], new[before, j], old[before, j]
            gained = n * (1.0 - o) - n_was * (1.0 - o_was)
            paid = o * (1.0 - n) - o_was * (1.0 - n_was)
            share[player, j] += gained * part[2 * side, j] - paid * part[2 * side + 1, j]


@compiled
def add_changes(splits: Splits, paths: Paths, batch: Batch, old_cells: Bytes, changes: FloatArray) -> None:
    """Interventional SHAP values of new rows under a member, each against its own old row.

    Parameters
    ----------
    splits : Splits
    paths : Paths
    batch : Batch
        New rows.
    old_cells : uint8 array of shape (columns of bytes, n)
    changes : float64 array of shape (n, columns of the inputs)
        Of the rows of the batch, those of the member are added, times its weight.
    """
    member, rows = batch.member, batch.rows
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    feature = paths.feature[paths.first_feature[member] : paths.first_feature[member + 1]]
    room = _room(splits, paths, member)
    block, old_block = np.zeros((len(read), _EXPLAINED), np.uint8), np.zeros((len(read), _EXPLAINED), np.uint8)
    for start in range(0, len(rows), _EXPLAINED):
        count = min(_EXPLAINED, len(rows) - start)
        width = (count + 15) // 16 * 16
        gather(batch.cells, read, rows[start : start + count], block)
        gather(old_cells, read, rows[start : start + count], old_block)
        room.share[:] = 0.0
        for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
            first = splits.first_split[tree]
            for step in range(2 * first, 2 * splits.first_split[tree + 1]):
                split = paths.step[step]
                if split >= 0:
                    _turn(splits, paths, first + split, block, room.on)
                    _turn(splits, paths, first + split, old_block, room.old_on)
                    _down_both(paths, first + split, room, width)
                else:
                    _up_both(paths, first + ~split, room, width)
        _hand_over(room.share, feature, batch.weight, rows[start : start + count], changes)
