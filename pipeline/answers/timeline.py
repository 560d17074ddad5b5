"""The timeline of a line: its opening, then every decision with its main cause, and what persons ordered."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.limits.attribution import PLAYERS


@dataclass(frozen=True)
class Moment:
    """One point of a line's life.

    ``action`` is that of the decision, ``opened`` or ``override``; ``cause`` is the player with the largest share of
    the change, or, where no limit moved, the players without whom the outcome had been another; of an override, the
    person and the reason. ``pd``, ``cause``, ``cause_cents`` and ``share_cents`` are null where there is none.
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


def timeline(decisions: pd.DataFrame, overrides: pd.DataFrame) -> tuple[Moment, ...]:
    """Everything that happened to one line.

    Parameters
    ----------
    decisions : DataFrame
        All decisions of the account, by time, as :meth:`limitlens.limits.ledger.Ledger.current` gives them.
    overrides : DataFrame
        What persons ordered for it, as :meth:`limitlens.limits.ledger.Ledger.overrides` gives them.

    Returns
    -------
    tuple of Moment
        The opening, with the limit the first decision found, then decisions and overrides by time; a decision comes
        before an override of the same moment, which it does not know.
    """
    rows = decisions.to_dict("records")
    first, limit = rows[0], int(rows[0]["limit_before_cents"])
    opened = format_time(pd.Timestamp(first["state"]["opened_at"]).to_pydatetime())
    moments = [Moment(opened, "opened", limit, limit, True, None, None, None, None, ())]
    timed = [(row["as_of"], 0, row) for row in rows]
    timed += [(row["at"], int(row["id"]), row) for row in overrides.to_dict("records")]
    for _, number, row in sorted(timed, key=lambda one: one[:2]):
        moments.append(_ordered(row, moments[-1]) if number else _moment(row))
    return tuple(moments)


def _ordered(row: Mapping[Hashable, Any], before: Moment) -> Moment:
    can_draw = {"freeze": False, "close": False, "unfreeze": True}.get(str(row["action"]), before.can_draw)
    can_draw = bool(row["can_draw"]) if row["action"] == "restore" else can_draw
    return Moment(
        as_of=format_time(row["at"].to_pydatetime()),
        action="override",
        limit_before_cents=int(row["limit_before_cents"]),
        limit_cents=int(row["limit_cents"]),
        can_draw=can_draw,
        pd=None,
        cause=f"{row['actor']}, {row['action']}: {row['reason']}",
        cause_cents=None,
        share_cents=None,
        fired_rules=(),
    )


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
