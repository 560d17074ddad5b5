"""A line on the desk: what the ledger holds of it, before anything is replayed."""

from collections.abc import Hashable
from datetime import datetime
from typing import Any

from limitlens.limits.attribution import ORDERS, PLAYERS
from limitlens.pipeline.answers.timeline import timeline
from limitlens.pipeline.workspace import Workspace

#: Accounts that a search shows.
MOST_MATCHES = 50

_SEARCH_SQL = """
SELECT account_id, MAX(as_of) AS as_of, ARG_MAX(action, as_of) AS action, ARG_MAX(limit_cents, as_of) AS limit_cents
FROM decisions WHERE account_id >= $begins AND starts_with(account_id, $begins)
GROUP BY account_id ORDER BY account_id LIMIT $most
"""


def line(workspace: Workspace, account_id: str) -> dict[str, Any] | None:
    """What the ledger holds of a line, the newest first; None where it was never decided.

    Parameters
    ----------
    workspace : Workspace
    account_id : str

    Returns
    -------
    dict or None
        ``moments``: its timeline; ``last``: its last decision with ``shares`` by player, None at the first, and where
        no cent moved ``steps``, those of the step on the scale of actions; ``verdicts``: what reviewers said, blind
        ones left out.
    """
    decisions = workspace.ledger.current(account_id)
    if decisions.empty:
        return None
    overrides, verdicts = workspace.ledger.overrides(), workspace.ledger.verdicts()
    moments = timeline(decisions, overrides[overrides["account_id"] == account_id])
    spoken = verdicts[(verdicts["account_id"] == account_id) & ~verdicts["blind"]]
    last = {str(name): value for name, value in decisions.iloc[-1].items()}
    split = decisions["phi_behaviour"].notna().iloc[-1]
    last["shares"] = {player: int(last[f"share_cents_{player}"]) for player in PLAYERS} if split else None
    steps = {player: int(last[f"severity_phi_{player}"]) / ORDERS for player in PLAYERS} if split else {}
    last["steps"] = steps if split and not any(last["shares"].values()) and any(steps.values()) else None
    return {"moments": moments[::-1], "last": last, "verdicts": spoken.to_dict("records")[::-1]}


def search(workspace: Workspace, begins: str) -> list[dict[Hashable, Any]]:
    """Accounts whose id begins so, with their last decision; at most :data:`MOST_MATCHES`."""
    rows = workspace.ledger.table(_SEARCH_SQL, {"begins": begins, "most": MOST_MATCHES}, few=True).to_pandas()
    matches: list[dict[Hashable, Any]] = rows.to_dict("records")
    return matches


def minute(time: datetime) -> str:
    """A time as the desk shows it, to the minute; midnight is a date.

    Examples
    --------
    >>> minute(datetime(2026, 7, 1)), minute(datetime(2026, 7, 1, 9, 30))
    ('2026-07-01', '2026-07-01 09:30')
    """
    return time.strftime("%Y-%m-%d %H:%M").removesuffix(" 00:00")
