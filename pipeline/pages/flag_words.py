"""False positives in words: what tells good flagged lines from bad ones at equal PD, and in which groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from limitlens.limits.archetypes import LEAF_LINES
from limitlens.models.false_positives import FEWEST
from limitlens.pipeline.pages.amounts import with_sign


def equal_pd_words(contrast: Mapping[str, Any]) -> str:
    """What the contrast at equal PD says, in one sentence.

    Parameters
    ----------
    contrast : dict
        Of :meth:`limitlens.models.false_positives.Contrast.to_dict`.

    Examples
    --------
    >>> equal_pd_words({"good": 4, "bad": 12, "bands": 2, "smallest": None, "features": [], "not_told": []})
    'Too few to compare at equal PD: 4 good and 12 bad flagged lines lie in bands of PD that have both; 10 are needed.'
    """
    good, bad, smallest = contrast["good"], contrast["bad"], contrast["smallest"]
    if smallest is None:
        return (
            f"Too few to compare at equal PD: {good:,} good and {bad:,} bad flagged lines lie in bands of PD "
            f"that have both; {FEWEST} are needed."
        )
    differ, asked = sum(one["told"] for one in contrast["features"]), len(contrast["features"])
    compared = f"{good:,} good and {bad:,} bad lines in {contrast['bands']:,} bands of PD"
    power = f"a difference of {smallest:.2f} standard deviations would have been found four times in five"
    if differ:
        return f"At equal PD {differ:,} of {asked:,} features tell good from bad ({compared}); {power}."
    return (
        f"At equal PD nothing tells good from bad: none of {asked:,} features differs by more than chance "
        f"({compared}); {power}."
    )


def not_told_words(contrast: Mapping[str, Any]) -> str:
    """Features that were compared and are nobody's reason; empty without any."""
    named = [f"{one['feature']} ({'differs' if one['told'] else 'no difference'})" for one in contrast["not_told"]]
    return f"Not told, because it says where or who somebody is: {', '.join(named)}." if named else ""


def equal_pd_table(rows: Sequence[Mapping[str, Any]], why: Mapping[str, str]) -> pd.DataFrame:
    """Features beside their differences at equal PD, as they print; ``why`` says what a feature means."""
    return pd.DataFrame(
        {
            "feature": [row["feature"] for row in rows],
            "what it says": [why.get(row["feature"], "an attribute of the account") for row in rows],
            "reason code": [row["reason"] or "none" for row in rows],
            "contribution, good − bad": [_range(row, "push", with_sign) for row in rows],
            "value, good − bad": [_range(row, "value", _number) for row in rows],
            "p": [f"{row['adjusted_p']:.3f}" for row in rows],
            "stable": ["yes" if row["stable"] else "no" for row in rows],
            "tells": ["yes" if row["told"] else "no" for row in rows],
        }
    )


def _range(row: Mapping[str, Any], kind: str, shown: Any) -> str:
    if row[kind] is None:
        return "–"
    return f"{shown(row[kind])} [{shown(row[f'{kind}_low'])}, {shown(row[f'{kind}_high'])}]"


def _number(value: float) -> str:
    return f"{value:+,.3g}".replace("-", "−") if abs(value) < 1_000 else f"{value:+,.0f}".replace("-", "−")


def archetype_words(archetypes: Mapping[str, Any]) -> str:
    """What the groups of flagged lines say, in one sentence.

    Parameters
    ----------
    archetypes : dict
        Of :meth:`limitlens.limits.archetypes.Archetypes.to_dict`.

    Examples
    --------
    >>> archetype_words({"good": {"count": 6, "of": 20, "interval": [0.12, 0.54]}, "asked": 0, "told": []})
    'Too few flagged lines for groups: half of the accounts has to have 60, and good and bad ones.'
    """
    if not archetypes["asked"]:
        least = 2 * LEAF_LINES
        return f"Too few flagged lines for groups: half of the accounts has to have {least}, and good and bad ones."
    overall, asked = share_words(archetypes["good"]), archetypes["asked"]
    if not archetypes["told"]:
        return (
            f"No group of flagged lines was good more or less often than all of them by more than chance: "
            f"{overall} were good, {asked} groups were asked."
        )
    return (
        f"Of all flagged lines {overall} were good. A tree of at most three questions, made from half of the "
        f"accounts, found {asked} groups; these differ on the other half, by more than chance:"
    )


def share_words(rate: Mapping[str, Any]) -> str:
    """A share with its interval and of how many.

    Examples
    --------
    >>> share_words({"count": 6, "of": 20, "interval": [0.119, 0.543]})
    '30.0% [11.9%, 54.3%] of 20'
    """
    low, high = rate["interval"]
    return f"{rate['count'] / rate['of'] if rate['of'] else 0:.1%} [{low:.1%}, {high:.1%}] of {rate['of']:,}"


def archetype_table(archetypes: Mapping[str, Any]) -> pd.DataFrame:
    """The groups that differ, as they print."""
    rows = archetypes["told"]
    return pd.DataFrame(
        {
            "lines with": [row["words"] for row in rows],
            "lines": [f"{row['of']:,}" for row in rows],
            "good": [f"{row['count']:,}" for row in rows],
            "share good": [f"{row['count'] / row['of']:.1%}" for row in rows],
            "95% interval": ["[{:.1%}, {:.1%}]".format(*row["interval"]) for row in rows],
        }
    )
