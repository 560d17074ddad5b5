"""Ledger entries: the attribution rows of many changes, from their lattices."""

import numpy as np
import pandas as pd

from limitlens.limits.attribution import ORDERS, PLAYERS, attribute, but_for, order_matters, show_cents
from limitlens.limits.lattice import Lattice

#: Status of each revision: what was known at the decision, and what was known at reconciliation.
STATUSES = ("provisional", "final")


def attribution_entries(lattice: Lattice, changes: pd.DataFrame) -> pd.DataFrame:
    """Attribution of n changes.

    Parameters
    ----------
    lattice : Lattice
    changes : DataFrame of n rows with ``account_id, as_of, previous_as_of, known_by, limit_before_cents``
        The account, the time of the decision, of the one before, and of reconciliation (k*: that of the decision gives
        the provisional revision, a later one the final); the limit in force just before the decision. Where that is
        not what the decision before left, a person moved it: that step is taken out of the share of state, so that
        the shares sum to the change since.

    Returns
    -------
    DataFrame of schema :data:`limitlens.limits.ledger_tables.ATTRIBUTIONS`
    """
    before = changes["limit_before_cents"].to_numpy(np.int64)
    phi = attribute(lattice.limit_cents)
    phi[:, PLAYERS.index("state")] -= ORDERS * (before - lattice.limit_cents[:, 0, 0, 0, 0])
    cents, severity = show_cents(phi), attribute(lattice.action.astype(np.int64))
    entries = changes[["account_id", "as_of", "previous_as_of", "known_by"]].reset_index(drop=True)
    revision = (entries["known_by"] > entries["as_of"]).to_numpy(np.int64)
    entries = entries.assign(revision=revision, status=pd.array(STATUSES, dtype="str").take(revision))
    shares = {f"phi_{player}": phi[:, j] for j, player in enumerate(PLAYERS)}
    shares |= {f"share_cents_{player}": cents[:, j] for j, player in enumerate(PLAYERS)}
    shares |= {f"severity_phi_{player}": severity[:, j] for j, player in enumerate(PLAYERS)}
    flags = but_for(lattice.outcome).assign(order_matters=order_matters(lattice.limit_cents))
    return pd.concat([entries.assign(**shares), flags], axis=1)
