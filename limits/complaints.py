"""Complaints: the three things customers say of a lender, as counts over its decisions.

Closed soon after opening; changed and soon changed back; reviewed again and again.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Days from opening to closure that are counted.
EARLY_DAYS = (2, 7, 30)

#: A change that is turned round within so many days is a flip.
FLIP_DAYS = 30


@dataclass(frozen=True)
class Complaint:
    """One count and what it is out of; both are lines, or reviews out of lines."""

    what: str
    count: int
    out_of: int

    @property
    def per_thousand(self) -> float:
        """The count per 1,000 it is out of; 0 out of nothing."""
        return 1_000 * self.count / self.out_of if self.out_of else 0.0


def complaints(decisions: pd.DataFrame) -> list[Complaint]:
    """Count the complaints over a period.

    Parameters
    ----------
    decisions : DataFrame
        Every decision of the period, in any order, with ``account_id, as_of, opened_at, action, limit_before_cents,
        limit_cents, could_draw, can_draw``; the period is from the first to the last ``as_of``.

    Returns
    -------
    list of Complaint
        Lines closed within 2, 7 and 30 days of opening, out of those opened in the period and at least so many days
        before its end; lines whose limit or right to draw was moved, and the other way within 30 days, out of lines
        moved; reviews, and lines reviewed more than once, out of lines decided.
    """
    reviews = decisions.loc[decisions["action"] == "review", "account_id"].value_counts()
    lines, moved = decisions["account_id"].nunique(), _moves(decisions)
    flipped = moved.loc[_turned(moved), "account_id"].nunique()
    return [
        *(_closed_within(decisions, days) for days in EARLY_DAYS),
        Complaint(f"changed, and back within {FLIP_DAYS} days", flipped, moved["account_id"].nunique()),
        Complaint("reviews", int(reviews.sum()), lines),
        Complaint("reviewed more than once", int((reviews > 1).sum()), lines),
    ]


def _closed_within(decisions: pd.DataFrame, days: int) -> Complaint:
    begun, end = decisions["as_of"].min(), decisions["as_of"].max()
    opened = decisions[(decisions["opened_at"] >= begun) & (decisions["opened_at"] <= end - pd.Timedelta(days=days))]
    soon = opened["as_of"] - opened["opened_at"] <= pd.Timedelta(days=days)
    closed = opened.loc[soon & (opened["action"] == "close"), "account_id"].nunique()
    return Complaint(f"closed within {days} days of opening", closed, opened["account_id"].nunique())


def _moves(decisions: pd.DataFrame) -> pd.DataFrame:
    """Decisions that moved a line, by account and time, with the direction: of the limit, else of the right to draw."""
    limit = np.sign((decisions["limit_cents"] - decisions["limit_before_cents"]).to_numpy(np.int64))
    draw = decisions["can_draw"].to_numpy(np.int64) - decisions["could_draw"].to_numpy(np.int64)
    moved = decisions[["account_id", "as_of"]].assign(direction=np.where(limit != 0, limit, draw))
    return moved[moved["direction"] != 0].sort_values(["account_id", "as_of"])


def _turned(moved: pd.DataFrame) -> pd.Series:
    """Whether each move is followed by one the other way in time."""
    after = moved.groupby("account_id")[["as_of", "direction"]].shift(-1)
    soon = after["as_of"] - moved["as_of"] <= pd.Timedelta(days=FLIP_DAYS)
    turned: pd.Series = soon & (after["direction"] == -moved["direction"])
    return turned
