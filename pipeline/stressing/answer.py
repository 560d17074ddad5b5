"""What came out of a stress test: of each scenario, by view and severity."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import pandas as pd

from limitlens.limits.policy import ADVERSE
from limitlens.limits.stress import SUMS
from limitlens.limits.stress_scenarios import Scenario
from limitlens.models.satellite import Satellite
from limitlens.pipeline.stressing.shocks import ORDERED

#: On the day itself; and once every pause has ended, with nothing that speaks for the customer in between.
View = Literal["day", "end"]
VIEWS: tuple[View, ...] = ("day", "end")


@dataclass(frozen=True)
class Answer:
    """What one scenario does to the day.

    Parameters
    ----------
    scenario : Scenario
    tallies : DataFrame
        ``view, severity``, then as :func:`limitlens.limits.stress.tally` gives it.
    rises : DataFrame
        ``view, milder, harsher``, then as :func:`limitlens.limits.stress.rises` gives them: lines that a harsher shock
        leaves more to draw, and whose PD it moves.
    break_even : mapping of float to float or None
        By severity, in the end: see :func:`limitlens.limits.stress.break_even`.
    closed_in : tuple of (int, int)
        Of an iteration, by the number of draws in which a line is closed in the end, 0 first: lines that the model in
        use closes, and lines that it does not.
    models : tuple of str
        Of other customers: digest of the model of each draw.
    same_customers : (int, int) or None
        Of other customers: lines closed in the end by a model that is trained anew on every customer once and not by
        the one in use, and lines closed by the one in use alone.
    slices : DataFrame or None
        Of an outage: as :func:`limitlens.pipeline.stressing.outages.summed` gives it, with ``noticed``: whether
        ``limitlens check`` would hold decisions.
    """

    scenario: Scenario
    tallies: pd.DataFrame
    rises: pd.DataFrame
    break_even: Mapping[float, float | None]
    closed_in: tuple[tuple[int, int], ...] = ()
    models: tuple[str, ...] = ()
    same_customers: tuple[int, int] | None = None
    slices: pd.DataFrame | None = None

    def of(self, view: View, severity: float) -> pd.DataFrame:
        """The tally of one severity."""
        mine = (self.tallies["view"] == view) & (self.tallies["severity"] == severity)
        return self.tallies[mine].reset_index(drop=True)

    @property
    def severities(self) -> list[float]:
        """Those that were decided, 0 first."""
        return sorted(self.tallies["severity"].unique().tolist())

    @cached_property
    def typical(self) -> float:
        """The severity that stands for the scenario: the largest up to 1; of draws the middle one by lines hit."""
        if self.scenario.kind == "iteration":
            drawn = sorted(self.totals("end")[1:], key=lambda row: (row["newly_adverse"], row["severity"]))
            return float(drawn[len(drawn) // 2]["severity"])
        return max(severity for severity in self.severities if severity <= 1)

    def by_chance(self) -> dict[str, Any]:
        """What an iteration closes by chance; empty for another kind.

        Returns
        -------
        dict
            ``closed``: lines that the model in use closes in the end; ``closed_by_half``, ``closed_by_fewer``: those of
            them that at least half of the draws close, and the others; ``closing_share``: the share of the draws that
            close such a line, on average; ``others_by_half``: lines that it does not close and at least half of the
            draws do; ``newly_closed``, ``no_longer_closed``: lines of the draw in the middle of each;
            ``newly_closed_most``: of the draw that newly closes most.
        """
        if not self.closed_in:
            return {}
        draws, mine = len(self.closed_in) - 1, [pair[0] for pair in self.closed_in]
        half = (draws + 1) // 2
        groups = [self.of("end", severity) for severity in self.severities[1:]]
        fewer = [int(one.loc[_closes(one, "before") & ~_closes(one, "after"), "lines"].sum()) for one in groups]
        more = [int(one.loc[_closes(one, "after") & ~_closes(one, "before"), "lines"].sum()) for one in groups]
        return {
            "closed": sum(mine),
            "closed_by_half": sum(mine[half:]),
            "closed_by_fewer": sum(mine[:half]),
            "closing_share": sum(k * n for k, n in enumerate(mine)) / (draws * sum(mine)) if sum(mine) else None,
            "others_by_half": sum(pair[1] for pair in self.closed_in[half:]),
            "newly_closed": sorted(more)[draws // 2],
            "newly_closed_most": max(more),
            "no_longer_closed": sorted(fewer)[draws // 2],
        }

    def totals(self, view: View) -> list[dict[str, Any]]:
        """One row a severity: lines by what happens to them, credit, expected loss."""
        return [{"severity": severity, **total(self.of(view, severity))} for severity in self.severities]

    def not_monotone(self) -> list[dict[str, Any]]:
        """Where a harsher shock does less than a milder one: of which lines, and of which totals."""
        if self.scenario.kind not in ORDERED:
            return []
        steps: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in self.rises.to_dict("records")]
        rows = [{"what": "lines"} | step for step in steps if step["lines"]]
        by_step = {(step["view"], step["harsher"]): step for step in steps}
        for view in VIEWS:
            totals = self.totals(view)
            for name, sign in (("newly_adverse", 1), ("credit_after_cents", -1), ("loss_unanswered_cents", 1)):
                for one, next_ in pairwise(totals):
                    if sign * (next_[name] - one[name]) < 0:
                        rows.append({"what": name} | by_step[view, next_["severity"]])
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "scenario": self.scenario.to_dict(),
            "totals": {view: self.totals(view) for view in VIEWS},
            "not_monotone": self.not_monotone(),
            "break_even_log_odds": {str(severity): value for severity, value in self.break_even.items()},
            "groups": self.tallies.to_dict("records"),
            "closed_in": [list(counts) for counts in self.closed_in],
            "by_chance": self.by_chance(),
            "models": list(self.models),
            "same_customers": list(self.same_customers) if self.same_customers else None,
            "slices": None if self.slices is None else self.slices.to_dict("records"),
        }


@dataclass(frozen=True)
class Stressed:
    """A stress test of one day.

    Parameters
    ----------
    as_of : datetime
    run_id, model_version, policy_digest : str
        Of the decisions that were stressed.
    lines : int
    inputs : mapping of str to str
        Digests of what it stood on.
    answers : tuple of Answer
    refused : mapping of str to str
        Scenarios that could not be answered, and why.
    satellite : Satellite or None
        How the book followed the economy, where a scenario asked for it.
    shifts : mapping of str to float
        Log-odds that each path of the economy adds, by the name of its scenario.
    """

    as_of: datetime
    run_id: str
    model_version: str
    policy_digest: str
    lines: int
    inputs: Mapping[str, str]
    answers: tuple[Answer, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    satellite: Satellite | None = None
    shifts: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "as_of": self.as_of.isoformat(),
            "run_id": self.run_id,
            "model_version": self.model_version,
            "policy_digest": self.policy_digest,
            "lines": self.lines,
            "inputs": dict(self.inputs),
            "scenarios": [answer.to_dict() for answer in self.answers],
            "refused": dict(self.refused),
            "satellite": asdict(self.satellite) if self.satellite else None,
            "shifts": dict(self.shifts),
        }

    def summary(self) -> list[dict[str, Any]]:
        """The totals of each scenario at the severity that stands for it, in the end."""
        rows = []
        for answer in self.answers:
            [row] = [row for row in answer.totals("end") if row["severity"] == answer.typical]
            rows.append({"scenario": answer.scenario.name, "version": answer.scenario.version, **row})
        return rows


def total(groups: pd.DataFrame) -> dict[str, Any]:
    """Totals of a tally.

    Returns
    -------
    dict
        ``lines``; ``closed``, ``frozen``, ``cut``, ``paused``, ``held``: lines with this action now and another before;
        ``newly_adverse``: cut, frozen or closed now and none of it before; ``no_longer_adverse``; ``good_hit``:
        expected number of the newly adverse that stay good; ``credit_removed_cents``: what they can draw less; and the
        sums in cents.
    """
    before, after = groups["action_before"].isin(ADVERSE), groups["action_after"].isin(ADVERSE)
    newly = after & ~before
    counted = {
        name: int(groups.loc[(groups["action_after"] == action) & (groups["action_before"] != action), "lines"].sum())
        for name, action in _COUNTED.items()
    }
    fell = groups["credit_before_cents"] - groups["credit_after_cents"]
    return {
        "lines": int(groups["lines"].sum()),
        **counted,
        "newly_adverse": int(groups.loc[newly, "lines"].sum()),
        "no_longer_adverse": int(groups.loc[before & ~after, "lines"].sum()),
        "good_hit": round(int(groups.loc[newly, "good_millionths"].sum()) / 1e6, 1),
        "credit_removed_cents": int(fell[newly].sum()),
        **{name: int(groups[name].sum()) for name in SUMS if name.endswith("_cents")},
    }


def _closes(groups: pd.DataFrame, when: str) -> pd.Series:
    return groups[f"action_{when}"] == "close"


_COUNTED = {"closed": "close", "frozen": "freeze", "cut": "decrease", "paused": "pause", "held": "hold"}
