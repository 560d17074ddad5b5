"""The tail a policy acts on: observed beside expected bads of the riskiest lines, and of the groups among them."""

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
        corrected for as many groups of so many bads (Benjamini and Hochberg), is at most 5%.

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
    table = pd.DataFrame(records)
    enough = table[["bads", "expected"]].max(axis=1) >= ENOUGH_BADS
    far = ~table["ratio"].between(*NEAR_ENOUGH) & ~(table["low"].le(1) & table["high"].ge(1))
    adjusted = table["p"].where(enough, 1.0)
    if enough.any():
        adjusted[enough] = false_discovery_control(table.loc[enough, "p"])
    return table.assign(off=enough & far & adjusted.le(1 - CONFIDENCE))


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
    if off.empty:
        return []
    worst = off.iloc[np.argsort(-np.abs(np.log(np.maximum(off["ratio"], 1e-9))), kind="stable")]
    named = [_named(row) for row in worst.head(_NAMED).to_dict("records")]
    more = f"; and {len(off) - _NAMED} groups more" if len(off) > _NAMED else ""
    return [f"its tail is off: {'; '.join(named)}{more}"]


def _named(row: dict[Any, Any]) -> str:
    of = "of the riskiest" if row["group"] == ALL else f"of {row['by']} {row['group']} in the riskiest"
    return (
        f"{of} {row['share']:.0%} {row['bads']:,} went bad, {row['expected']:,.1f} were expected "
        f"({row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}])"
    )
