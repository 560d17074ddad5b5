"""Does the label mean what it should? Roll rates say how many days past due are beyond return, vintages when to look.

Roll rate: of the lines in a bucket of days past due, the share that is in each bucket some months later.
Early signs: what a new line tells before it can have gone bad.
Vintage curve: of the lines opened in a quarter, the share that has gone bad by their age in months. See Siddiqi,
Intelligent Credit Scoring (2017), chapter 4.
"""

import pandas as pd

from limitlens.data.frames import is_among

#: Buckets of days past due: lowest of each, and its name.
BUCKETS = {0: "current", 1: "1-29", 30: "30-59", 60: "60-89", 90: "90+"}


def bucket_of(dpd_days: pd.Series) -> pd.Series:
    """Name of the bucket of each value.

    Examples
    --------
    >>> bucket_of(pd.Series([0, 29, 30, 400])).tolist()
    ['current', '1-29', '30-59', '90+']
    """
    return pd.cut(dpd_days, [*BUCKETS, float("inf")], right=False, labels=list(BUCKETS.values()))


def roll_rates(dpd: pd.DataFrame, months: int = 3) -> pd.DataFrame:
    """Where the lines of each bucket are some months later.

    Parameters
    ----------
    dpd : DataFrame with ``account_id, month`` (int64, consecutive), ``dpd_days``
        Days past due of every line at every month start.
    months : int

    Returns
    -------
    DataFrame indexed by bucket, one column a bucket (shares of a row sum to 1) and ``lines``
        Lines that are not in the book any more are left out.
    """
    later = dpd[["account_id", "month", "dpd_days"]].assign(month=dpd["month"] - months)
    both = dpd.merge(later, on=["account_id", "month"], suffixes=("", "_later"))
    counts = pd.crosstab(bucket_of(both["dpd_days"]), bucket_of(both["dpd_days_later"]), dropna=False)
    counts = counts.reindex(index=list(BUCKETS.values()), columns=list(BUCKETS.values()), fill_value=0)
    lines = counts.sum(axis=1)
    shares = counts.div(lines.where(lines > 0), axis=0)
    shares.index.name, shares.columns.name = "bucket", None
    return shares.assign(lines=lines)


def monthly_rolls(dpd: pd.DataFrame) -> pd.DataFrame:
    """How many lines of each bucket are in a worse one a month later.

    Parameters
    ----------
    dpd : DataFrame with ``account_id, month`` (int64, consecutive), ``dpd_days``
        Days past due of every line at every month start; a line of which they are not known is left out.

    Returns
    -------
    DataFrame with ``month, bucket, lines, worse``
        ``month``: the later of the two. Every bucket but the last, in every month with one before it.

    Examples
    --------
    >>> dpd = pd.DataFrame({"account_id": ["a", "b"] * 2, "month": [1, 1, 2, 2], "dpd_days": [0, 0, 0, 31]})
    >>> monthly_rolls(dpd).to_dict("records")[0]
    {'month': 2, 'bucket': 'current', 'lines': 2, 'worse': 1}
    """
    known = dpd.dropna(subset="dpd_days")
    places = known[["account_id", "month"]].assign(place=bucket_of(known["dpd_days"]).cat.codes)
    later = places.rename(columns={"place": "place_later"}).assign(month=places["month"] - 1)
    both = places.merge(later, on=["account_id", "month"])
    both = both.assign(month=both["month"] + 1, worse=both["place_later"] > both["place"])
    counts = both.groupby(["month", "place"])["worse"].agg(["size", "sum"])
    buckets = list(BUCKETS.values())[:-1]
    every = pd.MultiIndex.from_product([sorted(both["month"].unique()), range(len(buckets))], names=["month", "place"])
    counts = counts.reindex(every, fill_value=0).reset_index()
    return pd.DataFrame(
        {
            "month": counts["month"],
            "bucket": counts["place"].map(dict(enumerate(buckets))),
            "lines": counts["size"].astype("int64"),
            "worse": counts["sum"].astype("int64"),
        }
    )


def vintage_curve(dpd: pd.DataFrame, bad_dpd_days: int) -> pd.DataFrame:
    """Share of the lines of each vintage that was ever so far past due by their age.

    Parameters
    ----------
    dpd : DataFrame with ``account_id, vintage`` (str), ``age_months`` (int64), ``dpd_days``
        As in :func:`roll_rates`, with the quarter in which the line was opened and its age then.
    bad_dpd_days : int

    Returns
    -------
    DataFrame indexed by age in months, one column a vintage
        Null where a vintage was not seen from its start or not seen that long.
    """
    ordered = dpd.sort_values(["account_id", "age_months"])
    bad = (ordered["dpd_days"] >= bad_dpd_days).groupby(ordered["account_id"]).cummax()
    table = ordered.assign(bad=bad)
    first = table.groupby("account_id")["age_months"].transform("min")
    whole = (first <= 1).groupby(table["vintage"]).transform("mean") > 0.95
    shares = table[whole].pivot_table("bad", "age_months", "vintage", aggfunc="mean")
    seen = table[whole].pivot_table("bad", "age_months", "vintage", aggfunc="size")
    return shares.where(seen >= seen.max() * 0.9)


#: Early signs of a new line: so many days past due, within so many months of its opening.
EARLY_SIGNS = {
    "past due within 2 months": (1, 2),
    "30 or more days past due within 3 months": (30, 3),
}


def early_signs(dpd: pd.DataFrame, bad_dpd_days: int, by_months: int) -> pd.DataFrame:
    """What the first months of a line say about whether it goes bad.

    Parameters
    ----------
    dpd : DataFrame
        As in :func:`vintage_curve`.
    bad_dpd_days : int
    by_months : int
        Age at which it is known whether a line went bad; only lines seen from their start until then count.

    Returns
    -------
    DataFrame indexed by the sign, last ``any line``
        ``lines`` with the sign, ``bad_share`` of them, ``caught_share`` of all bad lines that had it.
    """
    ages = dpd.groupby("account_id")["age_months"].agg(["min", "max"])
    whole = dpd[is_among(dpd["account_id"], ages.index[(ages["min"] <= 1) & (ages["max"] >= by_months)])]
    whole = whole[whole["age_months"] <= by_months]
    bad = whole.groupby("account_id")["dpd_days"].max() >= bad_dpd_days
    rows = {}
    for name, (days, months) in EARLY_SIGNS.items():
        shown = whole[(whole["age_months"] <= months) & (whole["dpd_days"] >= days)]["account_id"].unique()
        rows[name] = _sign(bad[bad.index.isin(shown)], bad)
    rows["any line"] = _sign(bad, bad)
    return pd.DataFrame(rows).T.astype({"lines": int})


def _sign(bad: pd.Series, every: pd.Series) -> dict[str, float]:
    caught = bad.sum() / every.sum() if every.any() else float("nan")
    return {"lines": len(bad), "bad_share": bad.mean() if len(bad) else float("nan"), "caught_share": caught}
