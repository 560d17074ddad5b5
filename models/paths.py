"""The paths of a forest, for SHAP values by quadrature.

What a leaf pays a feature on its path is an integral over t in [0, 1] of the product of one factor a feature, so a
polynomial in t; Gauss-Legendre with half as many points as features on the longest path of a tree is exact
(Quadrature-TreeSHAP, arXiv:2605.04497). Every factor is positive and nothing is divided by another row's value.
"""

from typing import NamedTuple

import numpy as np

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.models.forest import Forest


class Paths(NamedTuple):
    """Edges of the trees: below split ``s`` of a tree lie edges ``2 s``, to the left, and ``2 s + 1``.

    Parameters
    ----------
    first_feature : int64 array of shape (members + 1,)
    feature : int64 array
        Columns of the inputs that each member reads.
    player : int64 array of shape (splits,)
        Which of them a split reads.
    above : int64 array of shape (splits,)
        Edge that leads to a split; -1: it is the first.
    before : int64 array of shape (splits,)
        Last edge above a split whose split reads the same feature, or -1.
    points : int64 array of shape (trees,)
        Quadrature points.
    node, weight : float64 arrays of shape (most points + 1, most points)
        Row p: those of p points on [0, 1].
    """

    first_feature: IntArray
    feature: IntArray
    player: IntArray
    above: IntArray
    before: IntArray
    points: IntArray
    node: FloatArray
    weight: FloatArray


class Factors(NamedTuple):
    """What an edge does to a product and takes of it, by quadrature point: 2 x points entries a split, one edge first.

    A row is below an edge, as far as its feature says, or is not (``on``), and was so below the edge before of that
    feature (``was``; 1 where there is none).

    Parameters
    ----------
    first : int64 array of shape (splits,)
        First entry of each split.
    factor, factor_was, factor_on : float64 arrays
        The product is multiplied by ``factor + was * factor_was + on * factor_on``.
    share_was, share_on : float64 arrays
        The feature gets ``was * share_was + on * share_on`` of it.
    base : float64 array of shape (members,)
        Mean score of the rows of the training.
    """

    first: IntArray
    factor: FloatArray
    factor_was: FloatArray
    factor_on: FloatArray
    share_was: FloatArray
    share_on: FloatArray
    base: FloatArray


def paths_of(forest: Forest) -> Paths:
    """Lay out the paths of a forest."""
    splits = forest.splits
    tree_of = np.repeat(np.arange(len(splits.first_split) - 1), np.diff(splits.first_split))
    above, before = np.full(len(tree_of), -1), np.full(len(tree_of), -1)
    longest = [0] * (len(splits.first_split) - 1)
    feature, left, right = forest.feature.tolist(), splits.left.tolist(), splits.right.tolist()
    on_path: dict[int, dict[int, int]] = {}  # of a split: its features above, each with its last edge
    firsts = splits.first_split.tolist()
    for split, tree in enumerate(tree_of.tolist()):
        first = firsts[tree]
        mine = on_path.pop(split, {})
        before[split] = mine.get(feature[split], -1)
        longest[tree] = max(longest[tree], len(mine.keys() | {feature[split]}))
        for side, child in enumerate((left[split], right[split])):
            if child >= 0:
                edge = 2 * (split - first) + side
                above[first + child] = edge
                on_path[first + child] = mine | {feature[split]: edge}
    points = np.array([max(1, -(-longest_one // 2)) for longest_one in longest], np.int64)
    rules = [np.polynomial.legendre.leggauss(p) for p in range(1, points.max(initial=1) + 1)]
    node, weight = np.zeros((len(rules) + 1, len(rules))), np.zeros((len(rules) + 1, len(rules)))
    for p, (at, of) in enumerate(rules, 1):
        node[p, :p], weight[p, :p] = (at + 1) / 2, of / 2
    bounds = splits.first_split[splits.first_tree]
    parts = [np.unique(forest.feature[a:b], return_inverse=True) for a, b in zip(bounds, bounds[1:], strict=False)]
    return Paths(
        first_feature=np.cumsum([0, *(len(mine) for mine, _ in parts)]),
        feature=np.concatenate([mine for mine, _ in parts]),
        player=np.concatenate([place for _, place in parts]),
        above=above,
        before=before,
        points=points,
        node=node,
        weight=weight,
    )


def factors_of(forest: Forest, paths: Paths) -> Factors:
    """Factors of the path-dependent game: a feature that is not known goes both ways, as the rows of the training went.

    Raises
    ------
    ValueError
        No row of the training reached some leaf.
    """
    splits = forest.splits
    if (forest.rows <= 0).any() or (forest.leaf_rows <= 0).any():
        raise ValueError("the model says of some leaf that no row reached it; expected as many as it was trained on.")
    ratio = _ratios(forest, paths)
    sizes = np.diff(splits.first_split)
    points = np.repeat(paths.points, sizes)
    first = np.cumsum([0, *(2 * points)])[:-1]
    edges = np.repeat(np.arange(2 * len(points)), np.repeat(points, 2))  # of each entry: its edge in the forest
    point = np.arange(len(edges)) - np.repeat(np.cumsum([0, *np.repeat(points, 2)])[:-1], np.repeat(points, 2))
    split = edges // 2
    t, w = paths.node[points[split], point], paths.weight[points[split], point]
    old = np.where(paths.before[split] >= 0, ratio[_edge_in_forest(splits.first_split, paths.before)[split]], 1.0)
    new = ratio[edges]
    none = paths.before[split] < 0
    off, on, was_off, was_on = new * (1 - t), new * (1 - t) + t, old * (1 - t), np.where(none, 1.0, old * (1 - t) + t)
    share_off, share_on = -w / (1 - t), (1 - new) * w / on
    share_before = np.where(none, 0.0, (1 - old) * w / was_on)
    factor_off = np.where(none, 0.0, off / was_off)
    factor_was = off / was_on
    return Factors(
        first=first,
        factor=factor_off,
        factor_was=factor_was - factor_off,
        factor_on=on / was_on - factor_was,
        share_was=share_off - share_before,
        share_on=share_on - share_off,
        base=_means(forest),
    )


def _edge_in_forest(first_split: IntArray, edge: IntArray) -> IntArray:
    """Edges of the trees, one a split, counted over the whole forest."""
    tree_start: IntArray = edge + 2 * np.repeat(first_split[:-1], np.diff(first_split))
    return tree_start


def _ratios(forest: Forest, paths: Paths) -> FloatArray:
    """Of each edge: the share of the rows that went along it and the edges before it of its feature."""
    splits, ratio = forest.splits, np.ones(2 * len(forest.rows))
    sizes = np.diff(splits.first_split)
    first_split, first_leaf = np.repeat(splits.first_split[:-1], sizes), np.repeat(splits.first_leaf[:-1], sizes)
    for side, child in enumerate((splits.left, splits.right)):
        below = np.where(
            child >= 0,
            forest.rows[np.minimum(first_split + child, len(forest.rows) - 1)],
            forest.leaf_rows[np.clip(first_leaf + ~child, 0, len(forest.leaf_rows) - 1)],
        )
        ratio[side::2] = below / forest.rows
    before = _edge_in_forest(splits.first_split, paths.before)
    for split in np.flatnonzero(paths.before >= 0).tolist():  # those before stand before them
        ratio[2 * split : 2 * split + 2] *= ratio[before[split]]
    return ratio


def _means(forest: Forest) -> FloatArray:
    """Mean score of each member, summed as LightGBM sums it."""
    splits, means = forest.splits, np.zeros(len(forest.splits.first_tree) - 1)
    leaf, leaf_rows = splits.leaf.tolist(), forest.leaf_rows.tolist()
    first_leaf, first_split = splits.first_leaf.tolist(), splits.first_split.tolist()
    for member in range(len(means)):
        total = 0.0
        for tree in range(splits.first_tree[member], splits.first_tree[member + 1]):
            leaves = range(first_leaf[tree], first_leaf[tree + 1])
            rows = float(forest.rows[first_split[tree]]) if len(leaves) > 1 else float(leaf_rows[leaves[0]])
            mean = 0.0
            for one in leaves:
                mean += leaf_rows[one] / rows * leaf[one]
            total += mean
        means[member] = total
    return means

