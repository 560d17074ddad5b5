"""The tail in the validation report: what the riskiest lines hold, and whether their PDs are true."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from limitlens.limits.tail import ENOUGH_BADS, NEAR_ENOUGH, SHARES, tail_doubts, tail_groups
from limitlens.models.label_choice import bucket_of
from limitlens.models.validation import tail_table
from limitlens.pipeline.pages import plots
from limitlens.pipeline.pages.page import Section
from limitlens.pipeline.training.judged import Judged


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
    wide = groups[(groups["share"] == SHARES[-1]) & ((groups["bads"] >= 5) | (groups["expected"] >= 5))]
    shown = wide.assign(name=names[wide.index]).to_dict("records")
    low, high = NEAR_ENOUGH
    text = (
        "Observed by expected bads, with the exact 95% interval: 1 where the PDs are true, above 1 where more went bad "
        f"than was expected. Too far off is a group of at least {ENOUGH_BADS} bads, observed or expected, outside of "
        f"{low} to {high} whose interval excludes 1, by more than chance among so many groups: only the approver of "
        "the policy may promote such a version."
    )
    caption = (
        f"Observed / expected among the riskiest {SHARES[-1]:.0%}; the band is {low} to {high}, red is too far off"
    )
    pictures = [(caption, plots.ratios(shown, NEAR_ENOUGH))] if shown else []
    return Section("Calibration in the tail", text, table, pictures, warnings=tail_doubts(groups))


def _cell(row: Mapping[Any, Any]) -> str:
    counts = "{bads:,} / {expected:,.1f} = {ratio:.2f} [{low:.2f}, {high:.2f}]".format_map(row)
    return f"{counts}{' too far off' if row['off'] else ''}"
