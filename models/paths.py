"""The paths of a forest, for SHAP values by quadrature.

What a leaf pays a feature on its path is an integral over t in [0, 1] of the product of one factor a feature, so a
polynomial in t; Gauss-Legendre with half as many points as features on the longest path of a tree is exact
(Quadrature-TreeSHAP, arXiv:2605.04497). Every factor is positive and nothing is divided by another row's value.
"""

from itertools import pairwise
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
    before : int64 array of shape (splits,)
        Last edge above a split whose split reads the same feature, or -1.
    step : int64 array of shape (2 x splits,)
        A walk through each tree: a split of it on the way down, and ``~split`` on the way up.
    slot, above_slot, before_slot : int64 arrays of shape (splits,)
        Where a walk keeps the edges below a split, the left one first, the one above it and the one before it, or -1.
        Edges of one path are in different places.
    value : float64 array of shape (2 x splits,)
        Leaf at the end of each edge; 1 where there is a split.
    points : int64 array of shape (splits,)
        Quadrature points of its tree.
    node, weight : float64 arrays of shape (most points + 1, most points)
        Row p: those of p points on [0, 1].
    """

    first_feature: IntArray
    feature: IntArray
    player: IntArray
    before: IntArray
    step: IntArray
    slot: IntArray
    above_slot: IntArray
    before_slot: IntArray
    value: FloatArray
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
        The product is multiplied by ``factor + was * factor_was + on * factor_on``; before a leaf, by its value too.
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
    count = len(forest.feature)
    before, slot, above_slot, before_slot = (np.full(count, -1) for _ in range(4))
    steps: list[int] = []
    longest = [0] * (len(splits.first_split) - 1)
    feature, left, right = forest.feature.tolist(), splits.left.tolist(), splits.right.tolist()
    bounds = splits.first_split.tolist()
    for tree, (first, end) in enumerate(pairwise(bounds)):
        nothing: dict[int, tuple[int, int]] = {}  # features above, each with its last edge and the slot of that
        stack = [(0, 0, -1, nothing)] if end > first else []
        while stack:
            split, depth, above, mine = stack.pop()
            steps.append(split)
            if split < 0:
                continue
            s = first + split
            before[s], before_slot[s] = mine.get(feature[s], (-1, -1))
            slot[s], above_slot[s] = 2 * depth, above
            longest[tree] = max(longest[tree], len(mine.keys() | {feature[s]}))
            stack.append((~split, depth, above, nothing))
            for side, child in ((1, right[s]), (0, left[s])):
                if child >= 0:
                    edge = (2 * split + side, 2 * depth + side)
                    stack.append((child, depth + 1, 2 * depth + side, mine | {feature[s]: edge}))
    of_tree = np.array([max(1, -(-longest_one // 2)) for longest_one in longest], np.int64)
    points = np.repeat(of_tree, np.diff(splits.first_split))
    rules = [np.polynomial.legendre.leggauss(p) for p in range(1, points.max(initial=1) + 1)]
    node, weight = np.zeros((len(rules) + 1, len(rules))), np.zeros((len(rules) + 1, len(rules)))
    for p, (at, of) in enumerate(rules, 1):
        node[p, :p], weight[p, :p] = (at + 1) / 2, of / 2
    of_member = splits.first_split[splits.first_tree]
    parts = [np.unique(forest.feature[a:b], return_inverse=True) for a, b in pairwise(of_member)]
    return Paths(
        first_feature=np.cumsum([0, *(len(mine) for mine, _ in parts)]),
        feature=np.concatenate([mine for mine, _ in parts]),
        player=np.concatenate([place for _, place in parts]),
        before=before,
        step=np.array(steps, np.int64),
        slot=slot,
        above_slot=above_slot,
        before_slot=before_slot,
        value=_values(forest),
        points=points,
        node=node,
        weight=weight,
    )


def _values(forest: Forest) -> FloatArray:
    splits = forest.splits
    first_leaf = np.repeat(splits.first_leaf[:-1], np.diff(splits.first_split))
    child, first = np.column_stack([splits.left, splits.right]).ravel(), np.repeat(first_leaf, 2)
    values: FloatArray = np.where(child < 0, splits.leaf[np.where(child < 0, first + ~child, 0)], 1.0)
    return values


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
    points = paths.points
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
    value = paths.value[edges]
    return Factors(
        first=first,
        factor=factor_off * value,
        factor_was=(factor_was - factor_off) * value,
        factor_on=(on / was_on - factor_was) * value,
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
