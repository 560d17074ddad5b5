"""What another iteration would do to the same lines: whose limits move, who is newly cut, and was it right.

Every line is decided under both iterations from the same state. Good and bad are known for lines whose horizon has
elapsed; the others count for limits only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from limitlens.limits.policy import FLAGGED, Budget

#: A line this young that is closed was closed soon after it was opened.
EARLY_DAYS = 30


#: Which limits are counted here; ``docs/models.md`` has the definition beside that of those moved since.
WOULD_MOVE = (
    "limits that would move: lines of today's book whose limit comes out otherwise when each version decides them "
    "once, from the same state"
)


@dataclass(frozen=True)
class Comparison:
    """Counts and cents of a book under two iterations.

    Parameters
    ----------
    segments : DataFrame, one row a segment and the last for ``all``
        ``lines``; of limits that would move (:data:`WOULD_MOVE`) ``moved, moved_share, raised_cents, cut_cents``;
        ``newly_closed_early``; of lines with a known outcome ``good, good_newly_cut, good_newly_cut_share,
        good_no_longer_cut``.
    swaps : DataFrame, one row each for ``both``, ``only old``, ``only new``
        Lines that an iteration cuts (decrease, freeze, close): ``lines, good, bad``, of lines with a known outcome.
    moved_by : mapping of str to int
        Limits that would move with the new model alone, and with the new policy alone.
    """

    segments: pd.DataFrame
    swaps: pd.DataFrame
    moved_by: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "segments": self.segments.reset_index().to_dict("records"),
            "swaps": self.swaps.reset_index().to_dict("records"),
            "moved_by": dict(self.moved_by),
        }


@dataclass(frozen=True)
class Breach:
    """One limit of the budget that is exceeded."""

    what: str
    segment: str
    share: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.what} in {self.segment}: {self.share:.2%}, allowed {self.allowed:.2%}"


def compare_decisions(now: pd.DataFrame, matured: pd.DataFrame, moved_by: Mapping[str, int]) -> Comparison:
    """Compare two decisions of each line.

    Parameters
    ----------
    now : DataFrame with ``segment, line_age_days, action_old, action_new, limit_old_cents, limit_new_cents``
        The book today.
    matured : DataFrame with ``segment, action_old, action_new, bad`` (bool)
        The book at the last moment whose outcomes are known.
    moved_by : mapping of str to int
    """
    names = [*sorted({*now["segment"], *matured["segment"]}), "all"]
    rows = [{**_moves(now[_of(now, name)]), **_good(matured[_of(matured, name)])} for name in names]
    return Comparison(pd.DataFrame(rows, index=pd.Index(names, name="segment")), _swaps(matured), moved_by)


def _of(rows: pd.DataFrame, segment: str) -> pd.Series:
    return (rows["segment"] == segment) | (segment == "all")


def _moves(rows: pd.DataFrame) -> dict[str, Any]:
    change = rows["limit_new_cents"] - rows["limit_old_cents"]
    closed = (rows["action_new"] == "close") & (rows["action_old"] != "close")
    return {
        "lines": len(rows),
        "moved": int((change != 0).sum()),
        "moved_share": float((change != 0).mean()) if len(rows) else 0.0,
        "raised_cents": int(change[change > 0].sum()),
        "cut_cents": int(change[change < 0].sum()),
        "newly_closed_early": int((closed & (rows["line_age_days"] < EARLY_DAYS)).sum()),
    }


def _good(rows: pd.DataFrame) -> dict[str, Any]:
    old, new = (rows[f"action_{side}"].isin(FLAGGED) for side in ("old", "new"))
    good = ~rows["bad"].astype(bool)
    newly = int((good & new & ~old).sum())
    return {
        "good": int(good.sum()),
        "good_newly_cut": newly,
        "good_newly_cut_share": newly / max(int(good.sum()), 1),
        "good_no_longer_cut": int((good & old & ~new).sum()),
    }


def _swaps(rows: pd.DataFrame) -> pd.DataFrame:
    old, new = (rows[f"action_{side}"].isin(FLAGGED) for side in ("old", "new"))
    bad = rows["bad"].astype(bool)
    sets = {"both": old & new, "only old": old & ~new, "only new": new & ~old}
    counts = [
        {"lines": int(chosen.sum()), "good": int((chosen & ~bad).sum()), "bad": int((chosen & bad).sum())}
        for chosen in sets.values()
    ]
    return pd.DataFrame(counts, index=pd.Index(list(sets), name="cut_by"))


def breaches(comparison: Comparison, budget: Budget) -> list[Breach]:
    """Where a comparison exceeds the budget of a policy; a segment with few lines is judged with all the others.

    Parameters
    ----------
    comparison : Comparison
    budget : Budget
    """
    whole = comparison.segments.to_dict("index")["all"]
    early_share = whole["newly_closed_early"] / max(whole["lines"], 1.0)
    newly_cut, closed_early = "good customers newly cut", f"lines under {EARLY_DAYS} days newly closed"
    checks = [
        Breach("limits that would move", "all segments", whole["moved_share"], budget.moved_share),
        Breach(newly_cut, "all segments", whole["good_newly_cut_share"], budget.good_newly_cut_share),
        Breach(closed_early, "all segments", early_share, budget.newly_closed_early_share),
    ]
    judged = comparison.segments.drop(index="all")
    shares = judged.loc[judged["good"] >= budget.segment_min_lines, "good_newly_cut_share"]
    allowed = budget.segment_good_newly_cut_share
    checks += [Breach(newly_cut, f"segment {name}", float(share), allowed) for name, share in shares.items()]
    return [breach for breach in checks if breach.share > breach.allowed]


def driving_features(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Features whose weight changed most between two explanations of the same lines.

    Parameters
    ----------
    old, new : DataFrames of SHAP values, shape (n, columns), in log-odds

    Returns
    -------
    DataFrame with ``feature, mean_change, mean_absolute_change``, the largest first
    """
    columns = sorted({*old.columns, *new.columns})
    change = new.reindex(columns=columns, fill_value=0.0) - old.reindex(columns=columns, fill_value=0.0)
    table = pd.DataFrame(
        {
            "feature": columns,
            "mean_change": change.mean().to_numpy(),
            "mean_absolute_change": change.abs().mean().to_numpy(),
        }
    )
    order = np.lexsort((table["feature"], -table["mean_absolute_change"]))
    return table.iloc[order].reset_index(drop=True)
