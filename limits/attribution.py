"""Attribution: the exact split of one limit change among behaviour, data, model, policy and state.

The players are three legs of data in fixed order, and model, policy and state. The split is the Shapley value under
that precedence: the mean over the 6!/3! = 120 orders that keep the legs in order (Faigle & Kern, "The Shapley value
for cooperative games under precedence constraints", Int. J. Game Theory 21, 1992). Everything is in integers:
``phi`` is 120 × cents, and its sum over the players is 120 × (new limit − old limit), exactly.
"""

from functools import cache
from itertools import permutations

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, IntArray

#: The five causes, in the order in which their shares stand.
PLAYERS = ("behaviour", "data", "model", "policy", "state")
ORDERS = 120

#: The legs O0 → C0 → C1 → O1 belong to these players.
_LEGS = ("data", "behaviour", "data")

#: Axes of the values of one account, and their steps.
_AXES = ("leg", "model", "policy", "state")

#: Shape of the values of one account: position on the chain O0, C0, C1, O1; model; policy; state (0 old, 1 new).
LATTICE = (4, 2, 2, 2)


@cache
def _orders() -> tuple[tuple[str, ...], ...]:
    """The 120 orders of three legs, model, policy and state."""
    return tuple(sorted(set(permutations(("leg", "leg", "leg", "model", "policy", "state")))))


@cache
def _weights() -> IntArray:
    """How often each lattice point counts for each player, signed, over all orders: shape (5, 4, 2, 2, 2)."""
    weights = np.zeros((len(PLAYERS), *LATTICE), np.int64)
    for order in _orders():
        point = [0, 0, 0, 0]
        for step in order:
            player = _LEGS[point[0]] if step == "leg" else step
            weights[PLAYERS.index(player)][tuple(point)] -= 1
            point[_AXES.index(step)] += 1
            weights[PLAYERS.index(player)][tuple(point)] += 1
    return weights


def attribute(limit_cents: IntArray) -> IntArray:
    """Split every change.

    Parameters
    ----------
    limit_cents : int64 array of shape (n, 4, 2, 2, 2)
        Limit at each point of the lattice :data:`LATTICE`.

    Returns
    -------
    int64 array of shape (n, 5)
        ``phi`` in 120ths of a cent, in the order of :data:`PLAYERS`; rows sum to 120 × (new − old).

    Examples
    --------
    A fault in the old data alone moved the limit from 500 to 900:

    >>> values = np.full((1, *LATTICE), 900)
    >>> values[0, 0] = 500
    >>> attribute(values).tolist()
    [[0, 48000, 0, 0, 0]]
    """
    phi: IntArray = np.einsum("pdmqs,ndmqs->np", _weights(), limit_cents)
    return phi


def behaviour_contexts() -> IntArray:
    """In how many of the 120 orders behaviour moves under each (model, policy, state): shape (2, 2, 2)."""
    contexts: IntArray = _weights()[PLAYERS.index("behaviour"), 2]
    return contexts


def show_cents(phi: IntArray, *, unit: int = ORDERS, total_cents: IntArray | None = None) -> IntArray:
    """Whole cents that sum to a total: rounded down, then the largest remainders get one more.

    Parameters
    ----------
    phi : int64 array of shape (n, players)
        Shares in 1/unit cents.
    unit : int
    total_cents : int64 array of shape (n,), optional
        What each row shall sum to; default: the row sum, which must be whole cents.

    Returns
    -------
    int64 array of the same shape
        Ties go to the earlier player.

    Examples
    --------
    >>> show_cents(np.array([[40, 40, 40, 0, 0]])).tolist()
    [[1, 0, 0, 0, 0]]
    """
    cents = phi // unit
    total = phi.sum(axis=1) // unit if total_cents is None else total_cents
    order = np.argsort(-(phi - cents * unit), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    shown: IntArray = cents + (rank < (total - cents.sum(axis=1))[:, None])
    return shown


def order_matters(limit_cents: IntArray) -> BoolArray:
    """Whether the largest share depends on the order: two of the 120 orders give it to different players.

    Parameters
    ----------
    limit_cents : int64 array of shape (n, 4, 2, 2, 2)

    Returns
    -------
    bool array of shape (n,)
        Ties go to the earlier player; False where no point of the lattice differs from another.

    Examples
    --------
    A cut that either the new model or the new policy would have made alone:

    >>> values = np.zeros((1, *LATTICE), np.int64)
    >>> values[:, :, 0, 0] = 500
    >>> order_matters(values).tolist()
    [True]
    """
    flat = limit_cents.reshape(len(limit_cents), -1)
    moved = np.flatnonzero((flat != flat[:, :1]).any(axis=1))
    values = limit_cents[moved]
    leading = {order: _leading(values, order) for order in _orders()}
    first = next(iter(leading.values()))
    depends = np.zeros(len(limit_cents), bool)
    depends[moved] = np.any([player != first for player in leading.values()], axis=0)
    return depends


def _leading(limit_cents: IntArray, order: tuple[str, ...]) -> IntArray:
    """Place of the player with the largest share either way in a waterfall of one order; -1 where none has any."""
    shares = np.zeros((len(limit_cents), len(PLAYERS)), np.int64)
    point, value = [0, 0, 0, 0], limit_cents[:, 0, 0, 0, 0]
    for step in order:
        player = _LEGS[point[0]] if step == "leg" else step
        point[_AXES.index(step)] += 1
        after = limit_cents[:, point[0], point[1], point[2], point[3]]
        shares[:, PLAYERS.index(player)] += after - value
        value = after
    size = np.abs(shares)
    return np.where(size.any(axis=1), size.argmax(axis=1), -1)


def but_for(outcome: IntArray) -> pd.DataFrame:
    """Which player was necessary, and which alone was sufficient, for what was decided.

    Necessary: with it at its old value and all others new, the outcome differs. Sufficient: with it new and all others
    old, the outcome already differs from the old one.

    Parameters
    ----------
    outcome : int64 array of shape (n, 4, 2, 2, 2)
        Outcomes as codes, equal where action and limit are equal.

    Returns
    -------
    DataFrame of bool, columns ``necessary_*`` and ``sufficient_*`` for each player
    """
    necessary = {f"necessary_{player}": _differs(outcome, player, 1) for player in PLAYERS}
    return pd.DataFrame(necessary | {f"sufficient_{player}": _differs(outcome, player, 0) for player in PLAYERS})


def _differs(outcome: IntArray, player: str, rest: int) -> BoolArray:
    legs = outcome[:, :, rest, rest, rest]
    if player == "behaviour":
        return np.asarray(legs[:, 1] != legs[:, 2])
    if player == "data":
        return np.asarray((legs[:, 0] != legs[:, 1]) | (legs[:, 2] != legs[:, 3]))
    end = outcome[:, 3 * rest]
    m, p, s = (1 - rest if player == name else rest for name in ("model", "policy", "state"))
    return np.asarray(end[:, m, p, s] != end[:, rest, rest, rest])
