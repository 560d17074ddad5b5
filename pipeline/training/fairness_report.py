"""The sections on fairness of the validation report: how the policy would treat the groups of protected attributes."""

import pandas as pd

from limitlens.limits.finding import Finding
from limitlens.models.fairness import FOUR_FIFTHS, Fairness, fairness
from limitlens.pipeline.pages import small_cells
from limitlens.pipeline.pages.page import Section
from limitlens.pipeline.training.judged import Judged


def fairness_sections(judged: Judged) -> list[Section]:
    """One section for each protected attribute that was delivered.

    Parameters
    ----------
    judged : Judged
    """
    values = judged.protected
    return [_fair(str(name), fairness(values[name], judged.bad, judged.pd_, judged.cut)) for name in values]


def _fair(name: str, figures: Fairness) -> Section:
    groups = figures.groups.reset_index()
    bad = groups["bad_share"] * groups["rows"]
    of = {"bad": groups["rows"], "cut": groups["rows"], "of the good": groups["rows"] - bad, "of the bad": bad}
    shares = {"bad": "bad_share", "cut": "cut_share", "of the good": "good_cut_share", "of the bad": "bad_cut_share"}
    words = {
        title: [small_cells.share(part, n) for part, n in zip(groups[column] * of[title], of[title], strict=True)]
        for title, column in shares.items()
    }
    table = pd.DataFrame(
        {
            name: groups["group"],
            "lines": [small_cells.published([round(n)])[0] for n in groups["rows"]],
            "bad": words["bad"],
            "expected": groups["mean_pd"].map("{:.2%}".format),
            "cut": words["cut"],
            "of the good": words["of the good"],
            "of the bad": words["of the bad"],
        }
    )
    text = (
        f"How the policy would treat these lines by {name}, which no model reads unless it is switched on. Share that "
        f"is not cut, smallest group by largest: {figures.impact_ratio:.3f}; below {FOUR_FIFTHS:g} is taken for "
        "adverse impact (four-fifths rule). Largest difference between groups in the share of good lines cut, or of "
        f"bad lines cut: {figures.odds_difference:.3f}. Groups that default more often are cut more often under any "
        "true PD: look at the good lines first. Shares of 1 to 9 people, or of all but so many, are not told."
    )
    unlike = (
        f"one group of {name} is left uncut {figures.impact_ratio:.3f} times as often as another, below {FOUR_FIFTHS:g}"
    )
    mend = "See whether good lines of that group are cut more often, and whether that is needed."
    findings = [Finding(unlike, mend)] if figures.impact_ratio < FOUR_FIFTHS else []
    return Section(f"Fairness: {name}", text, table, findings=findings)
