"""Ledger entries: the attribution rows of many changes, from their lattices."""

import pandas as pd

from limitlens.limits.attribution import ORDERS, PLAYERS, IntArray, attribute, but_for, show_cents
from limitlens.limits.lattice import Lattice


def provisional_entries(
    lattice: Lattice, account_ids: pd.Series, as_of: pd.Series, previous: pd.Series, limit_before_cents: IntArray
) -> pd.DataFrame:
    """First revision of the attribution of n changes.

    Parameters
    ----------
    lattice : Lattice
    account_ids, as_of, previous : Series of shape (n,)
        The account, the time of the decision, and the time of the one before.
    limit_before_cents : int64 array of shape (n,)
        Limit in force just before the decision. Where it is not what the decision before left, a person moved it: that
        step is taken out of the share of state, so that the shares sum to the change since.

    Returns
    -------
    DataFrame of schema :data:`limitlens.limits.ledger.ATTRIBUTIONS`
    """
    phi = attribute(lattice.limit_cents)
    phi[:, PLAYERS.index("state")] -= ORDERS * (limit_before_cents - lattice.limit_cents[:, 0, 0, 0, 0])
    cents = show_cents(phi)
    entries = pd.DataFrame({"account_id": account_ids.to_numpy(), "as_of": as_of.to_numpy()})
    entries = entries.assign(revision=0, status="provisional", previous_as_of=previous.to_numpy())
    shares = {f"phi_{player}": phi[:, j] for j, player in enumerate(PLAYERS)}
    shares |= {f"share_cents_{player}": cents[:, j] for j, player in enumerate(PLAYERS)}
    return pd.concat([entries.assign(**shares), but_for(lattice.outcome)], axis=1)
