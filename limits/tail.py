"""Observed beside expected bads: of the riskiest lines, on which a policy acts, of groups among them, of any group."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, false_discovery_control

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.limits.rates import CONFIDENCE, Rate

#: The riskiest shares of all lines that are looked at.
SHARES = (0.01, 0.05, 0.10)

#: Observed by expected inside of this is near enough; so many bads, observed or expected, are enough to say so.
NEAR_ENOUGH = (0.8, 1.25)
ENOUGH_BADS = 30

#: Groups named in a doubt.
_NAMED = 3

ALL = "all lines"


def tail_groups(bad: BoolArray, pd_: FloatArray, groups: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Observed by expected bads among the riskiest lines, of all of them and of each group among them.

    The interval is that of a binomial share (Clopper and Pearson), divided by the mean PD: exact where the PDs are
    equal, too wide where they are not.

    Parameters
    ----------
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
    groups : mapping of str to Series of n values
        What the lines are told apart by.

    Returns
    -------
    DataFrame
        ``by, group, share, rows, bads, expected, ratio, low, high``, ``p`` of the exact test; ``off``: outside of
        :data:`NEAR_ENOUGH`, of at least :data:`ENOUGH_BADS` bads, by more than chance: the interval excludes 1, and p,
        corrected for as many groups of so many bads (Benjamini and Hochberg), is at most 5%; ``thin``: the same of a
        group of fewer bads, corrected for as many of those.

    Examples
    --------
    >>> line = np.arange(1_000)
    >>> bad, pd_ = (line >= 40) & (line < 100), np.where(line < 100, 0.3, 0.01)
    >>> worst = tail_groups(bad, pd_, {}).iloc[-1]
    >>> int(worst["rows"]), int(worst["bads"]), round(float(worst["expected"]), 1), bool(worst["off"])
    (100, 60, 30.0, True)
    """
    order, records = np.argsort(-pd_, kind="stable"), []
    for share in SHARES:
        tail = np.sort(order[: max(1, round(len(order) * share))])
        parts = [("", ALL, tail)]
        for by, values in groups.items():
            mine = pd.Categorical(values)[tail].remove_unused_categories()
            parts += [(by, str(name), tail[mine == name]) for name in mine.categories]
        records += [{"by": by, "group": name, "share": share, **_compared(bad[at], pd_[at])} for by, name, at in parts]
    return _judged(records)


def whole_groups(bad: BoolArray, pd_: FloatArray, by: str, groups: pd.Series) -> pd.DataFrame:
    """Observed by expected bads of groups, of all their lines; judged as the tail is.

    Parameters
    ----------
    bad : bool array of shape (n,)
    pd_ : float64 array of shape (n,)
    by : str
        What the lines are told apart by.
    groups : Series of n values
        A line that has none is in no group.

    Returns
    -------
    DataFrame
        As :func:`tail_groups`, with a share of 1.

    Examples
    --------
    >>> line = np.arange(1_000)
    >>> one = whole_groups(line < 60, np.full(1_000, 0.03), "", pd.Series([ALL] * 1_000)).iloc[0]
    >>> int(one["bads"]), round(float(one["ratio"]), 2), bool(one["off"])
    (60, 2.0, True)
    """
    values = pd.Categorical(groups).remove_unused_categories()
    records = [
        {"by": by, "group": str(name), "share": 1.0, **_compared(bad[values == name], pd_[values == name])}
        for name in values.categories
    ]
    return _judged(records)


#: What is compared of each group.
_COMPARED = ("by", "group", "share", "rows", "bads", "expected", "ratio", "low", "high", "p")


def _judged(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The groups as a table with what is too far off: one rule for every group."""
    table = pd.DataFrame(records, columns=list(_COMPARED))
    enough = table[["bads", "expected"]].max(axis=1) >= ENOUGH_BADS
    far = ~table["ratio"].between(*NEAR_ENOUGH) & ~(table["low"].le(1) & table["high"].ge(1))
    return table.assign(
        off=far & _beyond_chance(table["p"], enough),
        thin=far & _beyond_chance(table["p"], ~enough),
    )


def _beyond_chance(p: pd.Series, asked: pd.Series) -> pd.Series:
    """Of the groups that are asked, those that differ by more than chance among so many."""
    adjusted = p.where(asked, 1.0)
    if asked.any():
        adjusted[asked] = false_discovery_control(p[asked])
    return asked & adjusted.le(1 - CONFIDENCE)


def _compared(bad: BoolArray, pd_: FloatArray) -> dict[str, Any]:
    rate, expected = Rate(int(bad.sum()), len(bad)), float(pd_.sum())
    mean = expected / len(bad)
    ratio, low, high = (end / mean for end in (rate.share, *rate.interval))
    p = float(binomtest(rate.count, rate.of, mean).pvalue)
    return {"rows": rate.of, "bads": rate.count, "expected": expected, "ratio": ratio, "low": low, "high": high, "p": p}


def tail_doubts(groups: pd.DataFrame) -> list[str]:
    """What the tail says against using a model; nothing if nothing does.

    Parameters
    ----------
    groups : DataFrame
        Of :func:`tail_groups`.

    Examples
    --------
    >>> line = np.arange(1_000)
    >>> bad, pd_ = (line >= 40) & (line < 100), np.where(line < 100, 0.3, 0.01)
    >>> tail_doubts(tail_groups(bad, pd_, {}))
    ['its tail is off: of the riskiest 10% 60 went bad, 30.0 were expected (2.00 [1.66, 2.32])']
    """
    off = groups[groups["off"]]
    return [f"its tail is off: {named_groups(off)}"] if len(off) else []


def named_groups(off: pd.DataFrame) -> str:
    """Groups in words, those furthest off first, and how many more there are.

    Parameters
    ----------
    off : DataFrame
        Rows of :func:`tail_groups` or :func:`whole_groups`; at least one.
    """
    worst = off.iloc[np.argsort(-np.abs(np.log(np.maximum(off["ratio"], 1e-9))), kind="stable")]
    named = [_named(row) for row in worst.head(_NAMED).to_dict("records")]
    more = f"; and {len(off) - _NAMED} groups more" if len(off) > _NAMED else ""
    return f"{'; '.join(named)}{more}"


def _named(row: dict[Any, Any]) -> str:
    group = f"{row['by']} {row['group']}".strip()
    tail = f"the riskiest {row['share']:.0%}"
    among = tail if row["group"] == ALL else f"{group} in the riskiest {row['share']:.0%}"
    of = group if row["share"] == 1 else among
    return (
        f"of {of} {row['bads']:,} went bad, {row['expected']:,.1f} were expected "
        f"({row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}])"
    )
