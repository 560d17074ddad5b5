"""Kernels of SHAP values: path-dependent ones, and those of a row against another.

Down a tree they carry the product of the factors of each path, one a quadrature point, and on the way up the sum of
what the leaves below hold of it; each edge gives its feature a share of that sum. Rows lie beside each other.
"""

import numpy as np

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.compiled import compiled
from limitlens.models.forest import Bytes, Splits
from limitlens.models.kernels import gather
from limitlens.models.paths import Factors, Paths

#: Rows at a time.
_ROWS = 64


@compiled
def _most(splits: Splits, paths: Paths, member: int) -> tuple[int, int]:
    """Edges and quadrature points of the largest trees of a member."""
    edges, points = 0, 1
    for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
        edges = max(edges, 2 * (splits.first_split[tree + 1] - splits.first_split[tree]))
        points = max(points, paths.points[tree])
    return edges, points


@compiled
def _sum_below(
    splits: Splits, tree: int, split: int, side: int, points: int, product: FloatArray
) -> None:
    """Put into an edge what the leaves below it hold."""
    edge = 2 * split + side
    first = splits.first_split[tree]
    child = splits.right[first + split] if side else splits.left[first + split]
    if child < 0:
        value = splits.leaf[splits.first_leaf[tree] + ~child]
        for q in range(points):
            for j in range(_ROWS):
                product[edge, q, j] *= value
    else:
        for q in range(points):
            for j in range(_ROWS):
                product[edge, q, j] = product[2 * child, q, j] + product[2 * child + 1, q, j]


@compiled
def add_contributions(
    splits: Splits,
    paths: Paths,
    factors: Factors,
    member: int,
    cells: Bytes,
    rows: IntArray,
    contributions: FloatArray,
) -> None:
    """Path-dependent SHAP values of a member, and its base value in the last column.

    Parameters
    ----------
    splits : Splits
    paths : Paths
    factors : Factors
    member : int
    cells : uint8 array of shape (columns of bytes, n)
    rows : int64 array of shape (k,)
        Rising positions.
    contributions : float64 array of shape (k, columns of the inputs + 1)
        Zeros; written.
    """
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    feature = paths.feature[paths.first_feature[member] : paths.first_feature[member + 1]]
    edges, most = _most(splits, paths, member)
    product, on = np.empty((edges + 1, most, _ROWS)), np.empty((edges + 1, _ROWS))
    product[edges], on[edges] = 1.0, 1.0  # before the first split
    block, share = np.zeros((len(read), _ROWS), np.uint8), np.empty((len(feature), _ROWS))
    given_was, given_on = np.empty(_ROWS), np.empty(_ROWS)
    for start in range(0, len(rows), _ROWS):
        count = min(_ROWS, len(rows) - start)
        gather(cells, read, rows[start : start + count], block)
        share[:] = 0.0
        for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
            first, points = splits.first_split[tree], paths.points[tree]
            size = splits.first_split[tree + 1] - first
            for split in range(size):
                s = first + split
                column, shift, bound = splits.column[s], splits.shift[s], splits.bound[s]
                above = paths.above[s] if split > 0 else edges
                before = paths.before[s] if paths.before[s] >= 0 else edges
                left = 2 * split
                for j in range(_ROWS):
                    to_left = 1.0 if np.uint8(block[column, j] - shift) <= bound else 0.0
                    was = on[before, j]
                    on[left, j] = to_left * was
                    on[left + 1, j] = (1.0 - to_left) * was
                for edge in range(left, left + 2):
                    entry = factors.first[s] + (edge - left) * points
                    for q in range(points):
                        factor, factor_on = factors.factor[entry + q], factors.factor_on[entry + q]
                        factor_was = factors.factor_was[entry + q]
                        for j in range(_ROWS):
                            times = factor + on[before, j] * factor_was + on[edge, j] * factor_on
                            product[edge, q, j] = product[above, q, j] * times
            for split in range(size - 1, -1, -1):
                s = first + split
                player = paths.player[s]
                before = paths.before[s] if paths.before[s] >= 0 else edges
                for side in range(2):
                    edge = 2 * split + side
                    _sum_below(splits, tree, split, side, points, product)
                    entry = factors.first[s] + side * points
                    given_was[:], given_on[:] = 0.0, 0.0
                    for q in range(points):
                        share_was, share_on = factors.share_was[entry + q], factors.share_on[entry + q]
                        for j in range(_ROWS):
                            given_was[j] += product[edge, q, j] * share_was
                            given_on[j] += product[edge, q, j] * share_on
                    for j in range(_ROWS):
                        share[player, j] += on[before, j] * given_was[j] + on[edge, j] * given_on[j]
        for f in range(len(feature)):
            for j in range(count):
                contributions[start + j, feature[f]] = share[f, j]
        for j in range(count):
            contributions[start + j, -1] = factors.base[member]


@compiled
def add_changes(
    splits: Splits,
    paths: Paths,
    member: int,
    old_cells: Bytes,
    new_cells: Bytes,
    rows: IntArray,
    changes: FloatArray,
) -> None:
    """Interventional SHAP values of new rows, each against its own old row.

    A feature is on the path of the new row, of the old one, of both or of none; its factor is t, 1 - t, 1 or 0.

    Parameters
    ----------
    splits : Splits
    paths : Paths
    member : int
    old_cells, new_cells : uint8 arrays of shape (columns of bytes, n)
    rows : int64 array of shape (k,)
        Rising positions.
    changes : float64 array of shape (k, columns of the inputs)
        Zeros; written.
    """
    read = splits.read[splits.first_read[member] : splits.first_read[member + 1]]
    feature = paths.feature[paths.first_feature[member] : paths.first_feature[member + 1]]
    edges, most = _most(splits, paths, member)
    product, new, old = np.empty((edges + 1, most, _ROWS)), np.empty((edges + 1, _ROWS)), np.empty((edges + 1, _ROWS))
    product[edges], new[edges], old[edges] = 1.0, 1.0, 1.0  # before the first split
    old_block, new_block = np.zeros((len(read), _ROWS), np.uint8), np.zeros((len(read), _ROWS), np.uint8)
    share = np.empty((len(feature), _ROWS))
    as_before, lost_old, lost_new = np.empty(_ROWS), np.empty(_ROWS), np.empty(_ROWS)
    given_new, given_old = np.empty(_ROWS), np.empty(_ROWS)
    for start in range(0, len(rows), _ROWS):
        count = min(_ROWS, len(rows) - start)
        gather(old_cells, read, rows[start : start + count], old_block)
        gather(new_cells, read, rows[start : start + count], new_block)
        share[:] = 0.0
        for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
            first, points = splits.first_split[tree], paths.points[tree]
            size = splits.first_split[tree + 1] - first
            for split in range(size):
                s = first + split
                column, shift, bound = splits.column[s], splits.shift[s], splits.bound[s]
                above = paths.above[s] if split > 0 else edges
                before = paths.before[s] if paths.before[s] >= 0 else edges
                left = 2 * split
                for j in range(_ROWS):
                    old_left = 1.0 if np.uint8(old_block[column, j] - shift) <= bound else 0.0
                    new_left = 1.0 if np.uint8(new_block[column, j] - shift) <= bound else 0.0
                    old[left, j] = old_left * old[before, j]
                    old[left + 1, j] = (1.0 - old_left) * old[before, j]
                    new[left, j] = new_left * new[before, j]
                    new[left + 1, j] = (1.0 - new_left) * new[before, j]
                for edge in range(left, left + 2):
                    for j in range(_ROWS):
                        n, o, n_was, o_was = new[edge, j], old[edge, j], new[before, j], old[before, j]
                        as_before[j] = (1.0 - (n_was - n)) * (1.0 - (o_was - o))
                        lost_old[j] = n * (1.0 - o) * o_was
                        lost_new[j] = o * (1.0 - n) * n_was
                    for q in range(points):
                        t = paths.node[points, q]
                        for j in range(_ROWS):
                            times = as_before[j] + lost_old[j] * t + lost_new[j] * (1.0 - t)
                            product[edge, q, j] = product[above, q, j] * times
            for split in range(size - 1, -1, -1):
                s = first + split
                player = paths.player[s]
                before = paths.before[s] if paths.before[s] >= 0 else edges
                for side in range(2):
                    edge = 2 * split + side
                    _sum_below(splits, tree, split, side, points, product)
                    given_new[:], given_old[:] = 0.0, 0.0
                    for q in range(points):
                        t, weight = paths.node[points, q], paths.weight[points, q]
                        of_new, of_old = weight / t, weight / (1.0 - t)
                        for j in range(_ROWS):
                            given_new[j] += product[edge, q, j] * of_new
                            given_old[j] += product[edge, q, j] * of_old
                    for j in range(_ROWS):
                        n, o, n_was, o_was = new[edge, j], old[edge, j], new[before, j], old[before, j]
                        gained = n * (1.0 - o) - n_was * (1.0 - o_was)
                        taken = o * (1.0 - n) - o_was * (1.0 - n_was)
                        share[player, j] += gained * given_new[j] - taken * given_old[j]
        for f in range(len(feature)):
            for j in range(count):
                changes[start + j, feature[f]] = share[f, j]
