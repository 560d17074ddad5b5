"""Outcome: what a policy did to a book of which it is known who went bad."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from limitlens.data.frames import is_among
from limitlens.limits.policy import ADVERSE

#: Days past due at which a cut comes too late to be foresight: the backstop of IFRS 9, 5.5.11.
LATE_DAYS = 30


@dataclass(frozen=True)
class Outcome:
    """Customers, credit and defaults under one policy.

    Parameters
    ----------
    lines : int
        Lines decided.
    good, bad : int
        Those with a known label that were not late at their first decision.
    good_hit : int
        Good ones whose limit was cut, frozen or closed.
    bad_caught : int
        Bad ones of which the same was done before they were 30 days late, or after a pause that began before.
    limit_cents, good_limit_cents : int
        Limits at the end, of all lines and of the good ones.
    bad_limit_cents : int
        Limits of the bad ones at the last decision before they were 30 days late.
    """

    lines: int
    good: int
    bad: int
    good_hit: int
    bad_caught: int
    limit_cents: int
    good_limit_cents: int
    bad_limit_cents: int

    @property
    def good_hit_share(self) -> float:
        """Share of the good lines that were hit: the false positive rate."""
        return self.good_hit / self.good if self.good else 0.0

    @property
    def bad_caught_share(self) -> float:
        """Share of the bad lines that were caught: the true positive rate, or recall."""
        return self.bad_caught / self.bad if self.bad else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self) | {"good_hit_share": self.good_hit_share, "bad_caught_share": self.bad_caught_share}


def outcome_of(decisions: pd.DataFrame, bad: pd.Series) -> Outcome:
    """Count what the decisions of one policy did.

    Parameters
    ----------
    decisions : DataFrame with ``account_id, as_of, action, limit_cents, dpd_days``
        In any order; the days past due at the decision. With ``state.paused_at`` where lines may have been paused.
    bad : Series of bool, indexed by account id
        Lines with a known label. Those that were late from the first decision on are not counted: there was nothing
        left to foresee.
    """
    ordered = decisions.sort_values("as_of")
    judged = judged_lines(decisions, bad)
    gone = judged["bad"]
    return Outcome(
        lines=ordered["account_id"].nunique(),
        good=int((~gone).sum()),
        bad=int(gone.sum()),
        good_hit=int((judged["hit"] & ~gone).sum()),
        bad_caught=int((judged["hit"] & gone).sum()),
        limit_cents=int(ordered.groupby("account_id")["limit_cents"].last().sum()),
        good_limit_cents=int(judged.loc[~gone, "limit_cents"].sum()),
        bad_limit_cents=int(judged.loc[gone, "limit_cents"].sum()),
    )


def judged_lines(decisions: pd.DataFrame, bad: pd.Series) -> pd.DataFrame:
    """What the decisions of one policy did to each line of known label.

    Parameters
    ----------
    decisions, bad
        As :func:`outcome_of` takes them.

    Returns
    -------
    DataFrame indexed by account id
        ``bad``; ``hit``: cut, frozen or closed, of a bad one before it was 30 days late; ``limit_cents``: at the end,
        of a bad one at the last decision before that. Nothing can be drawn from a paused line: what ends a pause is
        as early as the pause.
    """
    ordered = decisions.sort_values("as_of")
    late = ordered["dpd_days"] >= LATE_DAYS
    if "state.paused_at" in ordered:
        late &= ordered["state.paused_at"].isna()
    first = ordered.drop_duplicates("account_id")
    judged = bad[bad.index.isin(first.loc[first["dpd_days"] < LATE_DAYS, "account_id"])]
    in_time = ordered[~(late & is_among(ordered["account_id"], judged.index[judged]))]
    hit = pd.Index(in_time.loc[in_time["action"].isin(ADVERSE), "account_id"].unique())
    limit = in_time.groupby("account_id")["limit_cents"].last().reindex(judged.index)
    return pd.DataFrame({"bad": judged, "hit": judged.index.isin(hit), "limit_cents": limit}, judged.index)
