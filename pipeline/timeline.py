"""The timeline of a line: its opening, then every decision with its main cause."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.limits.attribution import PLAYERS


@dataclass(frozen=True)
class Moment:
    """One point of a line's life.

    ``action`` is that of the decision, or ``opened``; ``cause`` is the player with the largest share of the change,
    or, where no limit moved, the players without whom the outcome had been another. ``pd``, ``cause``,
    ``cause_cents`` and ``share_cents`` are null where there is none.
    """

    as_of: str
    action: str
    limit_before_cents: int
    limit_cents: int
    can_draw: bool
    pd: float | None
    cause: str | None
    cause_cents: int | None
    share_cents: Mapping[str, int] | None
    fired_rules: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether something was done, or a person asked to look."""
        return self.action != "keep"


def timeline(decisions: pd.DataFrame) -> tuple[Moment, ...]:
    """Everything that happened to one line.

    Parameters
    ----------
    decisions : DataFrame
        All decisions of the account, by time, as :meth:`limitlens.limits.ledger.Ledger.current` gives them.

    Returns
    -------
    tuple of Moment
        The opening, with the limit the first decision found, then every decision.
    """
    rows = decisions.to_dict("records")
    first, limit = rows[0], int(rows[0]["limit_before_cents"])
    opened = format_time(pd.Timestamp(first["state"]["opened_at"]).to_pydatetime())
    begun = Moment(opened, "opened", limit, limit, True, None, None, None, None, ())
    return (begun, *(_moment(row) for row in rows))


def _moment(row: Mapping[Hashable, Any]) -> Moment:
    shares = _shares(row)
    cause, cents = _main_cause(row, shares)
    return Moment(
        as_of=format_time(row["as_of"].to_pydatetime()),
        action=str(row["action"]),
        limit_before_cents=int(row["limit_before_cents"]),
        limit_cents=int(row["limit_cents"]),
        can_draw=bool(row["can_draw"]),
        pd=float(row["pd"]),
        cause=cause,
        cause_cents=cents,
        share_cents=shares,
        fired_rules=tuple(row["fired_rules"]),
    )


def _shares(row: Mapping[Hashable, Any]) -> dict[str, int] | None:
    if pd.isna(row["phi_behaviour"]):
        return None
    return {player: int(row[f"share_cents_{player}"]) for player in PLAYERS}


def _main_cause(row: Mapping[Hashable, Any], shares: Mapping[str, int] | None) -> tuple[str | None, int | None]:
    if shares is None or row["action"] == "keep":
        return None, None
    player = max(shares, key=lambda name: abs(shares[name]))
    if shares[player]:
        return player, shares[player]
    needed = [name for name in PLAYERS if row[f"necessary_{name}"]]
    return (", ".join(needed) or None), None
