"""Behaviour or data: how many lines of the same slice jumped with a line on one date, and how unusual that is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import DAY, NEW_LINE_DAILY_DAYS
from limitlens.data.contracts import ACCOUNTS
from limitlens.data.engine import run_sql
from limitlens.data.frames import to_arrow
from limitlens.data.quality_settings import default_quality
from limitlens.data.quoting import quoted
from limitlens.pipeline.workspace import Workspace

#: A PD jumped when its odds grew by this factor from one decision to the next.
ODDS = 2

#: What jumped: the name of a rule, the PD, or, however a line jumped, anything.
PD, ANYTHING = "PD", "a rule or the PD"

#: How far back dates say what is usual.
MEMORY = DAY * 400

#: A joint jump of a smaller chance, all comparisons counted, is unusual.
UNUSUAL = 0.01


@dataclass(frozen=True)
class JointJump:
    """What jumped for a line, and for how many of a slice with it.

    Parameters
    ----------
    what : str
        Name of a rule that fired anew, :data:`PD` or :data:`ANYTHING`.
    slice_column, slice_value : str
        Empty: the book.
    lines, jumped : int
        Lines of the slice that were decided at the date, and those of them that jumped in the same way.
    expected : float
        How many let the dates before expect.
    p : float
        Chance of so many by chance, times the number of comparisons made.

    Examples
    --------
    >>> JointJump("past_due_30", "home_city", "Wuhan", 312, 41, 2.96, 1e-9).text
    'past_due_30 jumped for 41 of 312 lines of home_city Wuhan, where 3 are usual'
    """

    what: str
    slice_column: str
    slice_value: str
    lines: int
    jumped: int
    expected: float
    p: float

    @property
    def unusual(self) -> bool:
        """Whether it is hardly each customer for itself."""
        return self.p < UNUSUAL

    @property
    def text(self) -> str:
        """How many jumped, in words."""
        lines = f"lines of {self.slice_column} {self.slice_value}" if self.slice_column else "lines of the book"
        usual = f"{self.expected:.2g}" if self.expected < 10 else f"{self.expected:,.0f}"
        return f"{self.what} jumped for {self.jumped:,} of {self.lines:,} {lines}, where {usual} are usual"


_POINTS = pa.schema([("account_id", pa.string()), ("as_of", pa.timestamp("us", tz="UTC"))])

_FOUND = ["account_id", *(one.name for one in fields(JointJump))]


def joint_jumps(lines: pd.DataFrame, workspace: Workspace, as_of: datetime) -> dict[str, JointJump]:
    """Compare the jumps of some lines with those of their slices, as the ledger has them.

    A decision jumped when a rule fired that did not fire at the decision before, or when the odds of its PD doubled
    since then; decisions of another iteration than the one before are left out, since it may be why. A slice is the
    book, and each value of ``segment`` and of the attributes that the shipped quality settings name. Lines decided
    daily and those decided by the calendar are compared with their like.

    Parameters
    ----------
    lines : DataFrame with ``account_id``
    workspace : Workspace
    as_of : datetime
        The date of their decisions.

    Returns
    -------
    dict of account to JointJump
        Of each line that jumped, what is least usual; of what is unusual the broadest slice in which at least half as
        large a share jumped as in any. None where the date is the first of its kind.
    """
    recorded = (len(workspace.events.loads()), *workspace.ledger.heads().values())
    slices = _judged_slices(workspace, as_of, recorded)
    own = _own_jumps(lines, workspace, as_of).merge(slices, on=["daily", "what", "slice_column", "slice_value"])
    own["p"] = np.minimum(own["p"] * max(len(slices), 1), 1.0)
    unusual, share = own["p"] < UNUSUAL, own["jumped"] / own["lines"]
    most = share.where(unusual).groupby(own["account_id"]).transform("max")
    own["place"] = np.where(unusual & (share >= most / 2), -own["lines"], own["p"])
    own["vague"] = own["what"] == ANYTHING
    keys = {"account_id": True, "place": True, "vague": True, "p": True, "lines": False}
    own = own.sort_values(list(keys), ascending=list(keys.values()), kind="stable")
    own = own.drop_duplicates("account_id")[_FOUND]
    return {account: JointJump(*jump) for account, *jump in own.itertuples(index=False, name=None)}


@lru_cache(maxsize=4)
def _judged_slices(workspace: Workspace, as_of: datetime, _: tuple[object, ...]) -> pd.DataFrame:
    """What jumped in each slice and how usual that is; asked again only when something was recorded."""
    counts = run_sql(_counts_sql(_slices(workspace)), _relations(workspace), _span(as_of)).to_pandas()
    counts = counts.groupby(["daily", "what", "slice_column", "slice_value"], sort=True)
    judged = [_judge(list(keys), rows, pd.Timestamp(as_of)) for keys, rows in counts]
    return pd.DataFrame([row for row in judged if row], columns=["daily", *_FOUND[1:]])


def _judge(keys: list[object], rows: pd.DataFrame, as_of: pd.Timestamp) -> list[object] | None:
    now, before = rows[rows["as_of"] == as_of], rows[rows["as_of"] < as_of]
    if now.empty or before.empty:
        return None
    n, k = int(now["lines"].iloc[0]), int(now["jumped"].iloc[0])
    rate, p = chance_of(k, n, before["jumped"].to_numpy(np.float64), before["lines"].to_numpy(np.float64))
    return [*keys, n, k, n * rate, p]


def chance_of(jumped: int, lines: int, before: FloatArray, lines_before: FloatArray) -> tuple[float, float]:
    """Rate that earlier dates let expect, and the chance of so many or more.

    The rates of dates differ by more than chance, so the number is beta-binomial; its parameters are those of the
    method of moments (Kleinman 1973), half a jump in one more line added, and never tighter than the binomial.

    Parameters
    ----------
    jumped, lines : int
        On the date that is judged.
    before, lines_before : float64 arrays of shape (dates,)
        On the dates before it.

    Examples
    --------
    >>> usual = np.array([3.0, 5.0, 4.0, 4.0]), np.full(4, 400.0)
    >>> rate, p = chance_of(60, 400, *usual)
    >>> round(rate, 3), p < 1e-6, chance_of(5, 400, *usual)[1] > 0.2
    (0.01, True, True)
    """
    total = float(lines_before.sum()) + 1
    rate = (float(before.sum()) + 0.5) / total
    expected = lines_before * rate
    spare = float(np.sum((before - expected) ** 2) - np.sum(expected * (1 - rate)))
    pairs = float(np.sum(lines_before * np.maximum(lines_before - 1, 0))) * rate * (1 - rate)
    within = max(spare / pairs, 0.0) if pairs else 0.0
    # Few dates know little of their own spread: as if one more had been off by its whole rate.
    within = max(within, rate / (len(before) * (1 - rate))) if rate < 1 else within
    weight = 1 / within - 1 if 0 < within < 1 else 1e9
    return rate, so_many_or_more(jumped, lines, rate * weight, (1 - rate) * weight)


def so_many_or_more(jumped: int, lines: int, a: float, b: float) -> float:
    """Upper tail of the beta-binomial distribution; scipy.stats knows it, too, and takes a second to import."""
    from scipy.special import betaln  # noqa: PLC0415 - slow to import; most lines of a book jump with nobody

    if not jumped:
        return 1.0
    many = np.arange(lines, jumped - 1, -1.0)
    ways = -np.log(lines + 1) - betaln(many + 1, lines - many + 1)
    return float(min(np.cumsum(np.exp(ways + betaln(many + a, lines - many + b) - betaln(a, b)))[-1], 1.0))


def _slices(workspace: Workspace) -> list[str]:
    known = {"segment", *workspace.events.attributes()}
    return [name for name in default_quality().slices.accounts if name in known]


def _relations(workspace: Workspace) -> dict[str, str]:
    return {
        "decisions": workspace.ledger.relation("decisions"),
        "accounts": workspace.events.relation(ACCOUNTS.name),
    }


def _span(as_of: datetime) -> dict[str, object]:
    """What stands for ``$first`` and ``$as_of`` in the queries below."""
    return {"first": as_of - MEMORY, "as_of": as_of}


def _moved_sql() -> str:
    """Decisions up to a date, each with what jumped since the one before."""
    return f"""
    WITH every AS (
        SELECT account_id, as_of, fired_rules, pd / (1 - pd) AS odds, model_version || policy_digest AS iteration
        FROM decisions WHERE as_of >= $first AND as_of <= $as_of
    ), beside AS (
        SELECT *, LAG(as_of) OVER line AS as_of_before, LAG(fired_rules) OVER line AS rules_before,
            LAG(odds) OVER line AS odds_before, LAG(iteration) OVER line AS iteration_before
        FROM every WINDOW line AS (PARTITION BY account_id ORDER BY as_of)
    )
    SELECT account_id, as_of, as_of - as_of_before < INTERVAL {NEW_LINE_DAILY_DAYS} DAY AS daily,
        list_concat(
            list_filter(fired_rules, lambda one: NOT list_contains(rules_before, one)),
            CASE WHEN odds >= {ODDS} * odds_before THEN ['{PD}'] ELSE [] END
        ) AS own_jumps, CASE WHEN LEN(own_jumps) > 0 THEN list_append(own_jumps, '{ANYTHING}') ELSE [] END AS jumps
    FROM beside WHERE iteration = iteration_before
    """


def _in_slices_sql(slices: Sequence[str]) -> str:
    """Every account in every slice that it belongs to, by what is known of it last."""
    latest = ", ".join(f"CAST(ARG_MAX({quoted(name)}, known_time) AS VARCHAR) AS {quoted(name)}" for name in slices)
    last = f"SELECT account_id{', ' if latest else ''}{latest} FROM accounts GROUP BY account_id"
    of_column = [
        f"SELECT account_id, '{name}' AS slice_column, {quoted(name)} AS slice_value FROM last "
        f"WHERE {quoted(name)} IS NOT NULL"
        for name in slices
    ]
    whole = "SELECT account_id, '' AS slice_column, '' AS slice_value FROM last"
    return f"WITH last AS ({last}) {' UNION ALL '.join([whole, *of_column])}"


def _counts_sql(slices: Sequence[str]) -> str:
    return f"""
    WITH moved AS MATERIALIZED ({_moved_sql()}), slices AS MATERIALIZED ({_in_slices_sql(slices)}),
    decided AS (
        SELECT as_of, daily, slice_column, slice_value, COUNT(*) AS lines
        FROM moved JOIN slices USING (account_id) GROUP BY ALL
    ), jumped AS (
        SELECT as_of, daily, slice_column, slice_value, what, COUNT(*) AS jumped
        FROM (SELECT account_id, as_of, daily, UNNEST(jumps) AS what FROM moved) JOIN slices USING (account_id)
        GROUP BY ALL
    ), asked AS (
        SELECT DISTINCT daily, slice_column, slice_value, what FROM jumped
        WHERE as_of = $as_of
    )
    SELECT daily, what, slice_column, slice_value, as_of, lines, COALESCE(jumped, 0) AS jumped
    FROM asked JOIN decided USING (daily, slice_column, slice_value)
    LEFT JOIN jumped USING (daily, slice_column, slice_value, what, as_of)
    ORDER BY ALL
    """


def _own_jumps(lines: pd.DataFrame, workspace: Workspace, as_of: datetime) -> pd.DataFrame:
    """What jumped of some lines, in each of their slices: ``account_id, daily, what, slice_column, slice_value``."""
    every = _relations(workspace)
    points = to_arrow(lines[["account_id"]].assign(as_of=pd.Timestamp(as_of).as_unit("us")), _POINTS)
    sql = f"""
    WITH moved AS ({_moved_sql()}), slices AS ({_in_slices_sql(_slices(workspace))})
    SELECT account_id, daily, what, slice_column, slice_value
    FROM (SELECT account_id, as_of, daily, UNNEST(jumps) AS what FROM moved)
    JOIN points USING (account_id, as_of) JOIN slices USING (account_id)
    ORDER BY ALL
    """
    of_lines = {name: f"SELECT * FROM ({part}) SEMI JOIN points USING (account_id)" for name, part in every.items()}
    jumps: pd.DataFrame = run_sql(sql, {"points": points, **of_lines}, _span(as_of)).to_pandas()
    return jumps
