"""Tables of the report: decisions in, rows for the page out.

``decisions`` is :meth:`limitlens.limits.ledger.Ledger.current` with ``change_cents`` (the limit after less the limit
before), ``age_days`` (of the line at the decision) and ``segment``. Only decisions with one before them are split.
"""

import shlex
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from limitlens.data.calendar import NEW_LINE_DAILY_DAYS, format_time
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.policy import ACTIONS
from limitlens.limits.rates import Rate
from limitlens.pipeline.answers.false_positives import OUTCOMES, FalsePositives, rate_words

#: What each player stands for.
MEANING = {
    "behaviour": "what the customer did",
    "data": "records that came late or were corrected",
    "model": "another model version",
    "policy": "another policy",
    "state": "time, and the line itself: its limit, its age, its timers",
}


def is_split(decisions: pd.DataFrame) -> pd.Series:
    """Whether each decision has a split: a first decision has nothing before it."""
    return decisions["phi_behaviour"].notna()


def cancelled(decisions: pd.DataFrame) -> pd.Series:
    """Whether causes had shares in each decision that cancelled out, so that the limit stayed as it was."""
    shares = decisions[[f"share_cents_{player}" for player in PLAYERS]].fillna(0)
    return (decisions["change_cents"] == 0) & (shares != 0).any(axis=1)


def moved(decisions: pd.DataFrame) -> dict[str, int]:
    """Credit added and removed, net, and how many limits changed; in cents.

    Examples
    --------
    >>> moved(pd.DataFrame({"change_cents": [500, -200, 0]}))
    {'raised': 500, 'cut': -200, 'net': 300, 'changed': 2}
    """
    change = decisions["change_cents"]
    return {**_raised_and_cut(change), "changed": int((change != 0).sum())}


def _raised_and_cut(cents: pd.Series) -> dict[str, int]:
    return {"raised": int(cents[cents > 0].sum()), "cut": int(cents[cents < 0].sum()), "net": int(cents.sum())}


def closed_early(decisions: pd.DataFrame) -> pd.Series:
    """Whether each decision closed a line within a week of its opening."""
    return (decisions["action"] == "close") & (decisions["age_days"] <= NEW_LINE_DAILY_DAYS)


def cause_table(decisions: pd.DataFrame) -> list[dict[str, Any]]:
    """What each player raised and cut, and how many changed limits it was necessary and sufficient for.

    Returns
    -------
    list of dict with ``player, raised, cut, net, necessary, sufficient``
        In the order of :data:`PLAYERS`, over the split decisions that changed a limit: the nets sum to their change.
    """
    changed = decisions[is_split(decisions) & (decisions["change_cents"] != 0)]
    return [
        {
            "player": player,
            **_raised_and_cut(changed[f"share_cents_{player}"].astype("int64")),
            **{kind: int(changed[f"{kind}_{player}"].astype(bool).sum()) for kind in ("necessary", "sufficient")},
        }
        for player in PLAYERS
    ]


@dataclass(frozen=True)
class Panel:
    """Shares by period: ``up_`` and ``down_`` cents of each player, indexed by the label of the period."""

    title: str
    period: str
    changes: pd.DataFrame

    @property
    def caption(self) -> str:
        """What the plot shows, and where raises and cuts stand in it."""
        if len(self.changes) == 1:
            shown, sides = f"{self.period} {self.changes.index[0]}", "raises to the right, cuts to the left"
        else:
            shown, sides = f"by {self.period}", "raises above the line, cuts below"
        return f"{self.title}, {shown}: {sides}, in currency"


def cause_panels(decisions: pd.DataFrame) -> list[Panel]:
    """The whole book by date, and apart from it the lines decided daily by week: their sums differ by orders.

    A date belongs to the book when a line was decided that is too old for the daily decisions.
    """
    split = decisions[is_split(decisions) & (decisions["change_cents"] != 0)]
    book_dates = decisions.loc[decisions["age_days"] > NEW_LINE_DAILY_DAYS, "as_of"]
    in_book = split["as_of"].isin(book_dates)
    weeks = split["as_of"].dt.floor("D") - pd.to_timedelta(split["as_of"].dt.day_of_week, unit="D")
    panels = (
        Panel("The whole book", "date", shares_by_period(split[in_book], split["as_of"][in_book])),
        Panel("New lines, decided daily", "week", shares_by_period(split[~in_book], weeks[~in_book])),
    )
    return [panel for panel in panels if panel.changes.to_numpy().any()]


def shares_by_period(split: pd.DataFrame, period: pd.Series) -> pd.DataFrame:
    """Cents each player raised and cut in each period."""
    columns = {}
    for player in PLAYERS:
        cents = split[f"share_cents_{player}"].astype("int64")
        columns[f"up_{player}"] = cents.clip(lower=0).groupby(period).sum()
        columns[f"down_{player}"] = cents.clip(upper=0).groupby(period).sum()
    table = pd.DataFrame(columns)
    table.index = pd.Index([format_time(time.to_pydatetime()) for time in table.index])
    return table


def action_table(decisions: pd.DataFrame) -> dict[str, Any]:
    """Counts of actions by segment, and the credit each action moved."""
    segments = sorted(decisions["segment"].unique())
    rows = []
    for action in ACTIONS:
        chosen = decisions[decisions["action"] == action]
        if len(chosen):
            counts = [int((chosen["segment"] == segment).sum()) for segment in segments]
            net = int(chosen["change_cents"].sum())
            rows.append({"action": action, "counts": counts, "all": len(chosen), "moved": net})
    return {"segments": segments, "rows": rows}


def outcome_table(measured: FalsePositives) -> list[dict[str, Any]]:
    """What became of the lines that PD alone flagged: those acted on and those held out, a row each."""
    rows = []
    for held, name in ((True, "held out: left alone by chance"), (False, "acted on")):
        became = measured.flags.loc[measured.flags["held_out"] if held else measured.acted, "outcome"]
        counts = [int((became == outcome).sum()) for outcome in OUTCOMES]
        good = rate_words(measured.held_out if held else measured.acted_on)
        rows.append({"name": name, "lines": len(became), "counts": counts, "good": good})
    return rows


def hit(measured: FalsePositives) -> pd.DataFrame:
    """Good customers that were acted on, the largest limit first, each with the command that explains it."""
    cases = replace(measured, flags=measured.flags[measured.acted]).cases()
    return cases[cases["outcome"] == "good"].reset_index(drop=True)


def hit_by(measured: FalsePositives) -> list[dict[str, Any]]:
    """Good customers that were acted on, by rule and by iteration, out of the lines acted on whose outcome is known."""
    rows = pd.concat([measured.by(name) for name in ("rule", "iteration")]).to_dict("records")
    return [
        {
            "by": row["slice"],
            "value": row["value"],
            "good": rate_words(Rate(row["acted_on_good"], row["acted_on_known"])),
        }
        for row in rows
    ]


def worth_asking(decisions: pd.DataFrame, shown: str | None) -> list[dict[str, Any]]:
    """For each player, the decision it took most from, without the account that is shown already."""
    split = decisions[is_split(decisions) & (decisions["account_id"] != shown)]
    asked = []
    for player in PLAYERS:
        row = split.nsmallest(1, f"share_cents_{player}")
        share = int(row[f"share_cents_{player}"].sum())
        if share < 0:
            asked.append({"player": player, "share": share, **_asked(row.iloc[0])})
    return asked


def _asked(row: pd.Series) -> dict[str, Any]:
    as_of = format_time(row["as_of"].to_pydatetime())
    return {
        "account": row["account_id"],
        "action": row["action"],
        "before": int(row["limit_before_cents"]),
        "after": int(row["limit_cents"]),
        "command": f"limitlens why {shlex.quote(row['account_id'])} --as-of {as_of}",
    }
