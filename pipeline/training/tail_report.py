"""The tail in the validation report: what the riskiest lines hold, and whether their PDs are true."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.limits.finding import Finding
from limitlens.limits.tail import ENOUGH_BADS, NEAR_ENOUGH, SHARES, named_groups, tail_doubts, tail_groups, whole_groups
from limitlens.models.label_choice import bucket_of
from limitlens.models.validation import measure, tail_table
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.page import Section
from limitlens.pipeline.training.judged import Judged

#: Bads, observed or expected, from which the interval of a group is narrow enough to be drawn.
_SEEN = 5

#: What to do about PDs that are too high or too low.
MEND_LEVEL = "Train again once later months have their labels, or set the cut-offs of the policy for it."


def age_of(rows: pd.DataFrame) -> pd.Series:
    """Age of each line, in words."""
    names = ["0 to 2 months", "3 to 5 months", "6 to 11 months", "over 11 months"]
    return pd.cut(rows["line_age_days"], [-1, 89, 180, 365, float("inf")], labels=names).astype(str)


def judged_tail(judged: Judged) -> pd.DataFrame:
    """:func:`limitlens.limits.tail.tail_groups` by days past due, age of the line and segment."""
    rows = judged.rows
    groups = {"days past due": bucket_of(rows["dpd_days"])} if "dpd_days" in rows else {}
    return tail_groups(judged.bad, judged.pd_, {**groups, "age": age_of(rows), "segment": rows["segment"]})


def tail_sections(judged: Judged) -> list[Section]:
    """What lies in the tail, and observed by expected bads of its groups."""
    return [_caught(judged), calibration_section(judged_tail(judged))]


def _caught(judged: Judged) -> Section:
    tail = tail_table(judged.bad, judged.pd_)
    table = pd.DataFrame(
        {
            "riskiest": tail["share"].map("{:.0%}".format),
            "lines": tail["rows"].map("{:,}".format),
            "bad": tail["bads"].map("{:,}".format),
            "observed": tail["observed_share"].map("{:.2%}".format),
            "expected": tail["expected_share"].map("{:.2%}".format),
            "lift": tail["lift"].map("{:.1f}".format),
            "of all bad": tail["caught_share"].map("{:.1%}".format),
        }
    )
    return Section("The tail a policy acts on", "What lies among the riskiest lines.", table)


def is_new(judged: Judged) -> pd.Series:
    """Whether each line is one of those that the settings call new."""
    return judged.rows["line_age_days"] < judged.model.settings.new_line_days


def new_lines_section(judged: Judged) -> Section:
    """How true the PDs of new lines are; they are judged as the tail is.

    Parameters
    ----------
    judged : Judged
    """
    days, new = judged.model.settings.new_line_days, is_new(judged)
    kind = f"lines under {days} days old"
    own = "new_lines" in judged.model.scorers
    text = (
        f"A line under {days} days old has no history, and its first limits rest on its PD. Such lines are scored by "
        f"{'members of their own' if own else 'the members for all lines: too few of them went bad for their own'}."
    )
    if not new.any():
        nothing = f"none of the rows it is judged on is under {days} days old: nothing is known of its PDs of new lines"
        return Section("New lines", text, findings=[Finding(nothing, "Deliver more history and train again.")])
    groups = whole_groups(judged.bad, judged.pd_, "", pd.Series(np.where(new, kind, "older lines")))
    among = {kind: new.to_numpy(), "older lines": ~new.to_numpy()}
    table = pd.DataFrame(
        {
            "lines": groups["group"],
            "observed / expected": [_cell(row | {"off": False, "thin": False}) for row in groups.to_dict("records")],
            "AUC": [auc_words(judged.bad[among[one]], judged.pd_[among[one]]) for one in groups["group"]],
        }
    )
    asked = whole_groups(judged.bad, judged.pd_, "", pd.Series([kind] * len(new)).where(new.to_numpy()))
    off, few = asked["off"].any(), asked["thin"].any()
    doubts = [f"its PDs of new lines are off: {named_groups(asked)}"] if off or few else []
    findings = [Finding(doubt, MEND_LEVEL, blocks=bool(off)) for doubt in doubts]
    return Section("New lines", text, table, findings=findings)


def auc_words(bad: BoolArray, pd_: FloatArray) -> str:
    """The AUC of some lines; a dash where all of them went one way."""
    return f"{measure(bad, pd_).auc:.4f}" if 0 < bad.sum() < len(bad) else "–"


def ratio_plot(groups: pd.DataFrame, name: str) -> list[tuple[str, str]]:
    """Observed by expected bads of groups with their intervals, with its caption; none of groups with few bads.

    Parameters
    ----------
    groups : DataFrame
        Of :func:`limitlens.limits.tail.whole_groups`.
    name : str
        Of the plot; unique on its page.
    """
    low, high = NEAR_ENOUGH
    caption = f"Observed / expected with the 95% interval; the band is {low} to {high}, red is too far off"
    plot = _ratios(groups.assign(off=groups["off"] | groups["thin"]), name.replace(" ", "-"))
    return [(caption, plot)] if plot else []


def _ratios(groups: pd.DataFrame, name: str) -> str:
    """The plot of those groups that have bads enough to be seen; empty without any."""
    wide = groups[(groups["bads"] >= _SEEN) | (groups["expected"] >= _SEEN)]
    shown = wide.assign(name=(wide["by"] + " " + wide["group"]).str.strip()).to_dict("records")
    return plots.ratios(shown, NEAR_ENOUGH, name) if shown else ""


def calibration_section(groups: pd.DataFrame) -> Section:
    """Observed by expected bads of the riskiest lines, of all of them and by group, with intervals.

    Parameters
    ----------
    groups : DataFrame
        Of :func:`limitlens.limits.tail.tail_groups`.
    """
    names = (groups["by"] + " " + groups["group"]).str.strip()
    cells = {
        f"riskiest {share:.0%}": {
            name: _cell(row)
            for name, row in zip(names, groups.to_dict("records"), strict=True)
            if row["share"] == share
        }
        for share in SHARES
    }
    order = list(dict.fromkeys(names[::-1]))[::-1]
    table = pd.DataFrame({"lines": order, **{k: [mine.get(n, "–") for n in order] for k, mine in cells.items()}})
    low, high = NEAR_ENOUGH
    text = (
        "Observed by expected bads, with the exact 95% interval: 1 where the PDs are true, above 1 where more went bad "
        f"than was expected. Too far off is a group of at least {ENOUGH_BADS} bads, observed or expected, outside of "
        f"{low} to {high} whose interval excludes 1, by more than chance among so many groups: only the approver of "
        "the policy may promote such a version. Of one with fewer bads its reviewer decides."
    )
    caption = (
        f"Observed / expected among the riskiest {SHARES[-1]:.0%}; the band is {low} to {high}, red is too far off"
    )
    plot = _ratios(groups[groups["share"] == SHARES[-1]], "tail")
    pictures = [(caption, plot)] if plot else []
    findings = [Finding(doubt, MEND_LEVEL, blocks=True) for doubt in tail_doubts(groups)]
    if groups["thin"].any():
        few = f"few of them went bad, but too many or too few: {named_groups(groups[groups['thin']])}"
        findings.append(Finding(few, MEND_LEVEL))
    return Section("Calibration in the tail", text, table, pictures, findings=findings)


def _cell(row: Mapping[Any, Any]) -> str:
    counts = "{bads:,} / {expected:,.1f} = {ratio:.2f} [{low:.2f}, {high:.2f}]".format_map(row)
    return f"{counts}{' too far off' if row['off'] else ' far off' if row['thin'] else ''}"
