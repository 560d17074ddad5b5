"""Outages: what the day would have decided, had rows of a source not come, and what holds would have kept.

A feed that is missing for some days and one that comes as many days late are the same at the decision. Attributes of
the lines part an outage into slices, each decided as if it alone were out: no line reads what another one lacks, but
for the few features of shared devices and payees, which are computed with the whole source out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.calendar import midnight
from limitlens.data.engine import Relations, run_sql
from limitlens.data.events import EventStore
from limitlens.data.incidents import judged
from limitlens.data.profile_columns import COUNTS
from limitlens.data.quality_settings import Judging
from limitlens.data.quoting import quoted
from limitlens.features.line import DATA_HOLD
from limitlens.features.table import build_table
from limitlens.limits.hold import Hold
from limitlens.limits.iteration import Iteration
from limitlens.limits.stress import Decisions, Lines
from limitlens.limits.stress_scenarios import Scenario
from limitlens.pipeline.deciding.held_lines import SILENT, HeldLines, with_holds
from limitlens.pipeline.deciding.point_in_time import by_moment
from limitlens.pipeline.deciding.silent_lines import silent_lines
from limitlens.pipeline.stressing.decided_day import Batch, rule_table

#: Severities under which an outage is kept: no hold was opened, one was.
WITHOUT, WITH = 1.0, 2.0

#: Slices told apart of each attribute, those with the most lines.
MOST_SLICES = 12


@dataclass(frozen=True)
class Missing:
    """What does not come: of a source some kinds (empty: all), of one value of an attribute (empty: of all lines)."""

    source: str
    kinds: tuple[str, ...] = ()
    column: str = ""
    value: str = ""


@dataclass(frozen=True)
class Out:
    """Lines whose source is out: without holds, and with them."""

    without: Lines
    within: Lines


def outage(scenario: Scenario, batch: Batch, iteration: Iteration, relations: Relations, as_of: datetime) -> Out:
    """Decide the lines of a batch as if rows of a source had not come for some days.

    Parameters
    ----------
    scenario : Scenario
        Of kind ``outage``.
    batch : Batch
        With the features of the model.
    iteration : Iteration
    relations : mapping of source to SQL
    as_of : datetime
        Of the decisions.
    """
    since = as_of - timedelta(days=scenario.days)
    features, state = iteration.model.features, batch.lines.state
    cut = without_rows(relations, scenario.source, _rows(scenario), since, as_of)
    points = batch.features[["account_id", "as_of", "known_by"]]
    table = build_table(features, points, cut)[batch.features.columns]
    earlier_points = points.assign(as_of=pd.Timestamp(since).as_unit("us"), known_by=pd.Timestamp(since).as_unit("us"))
    earlier = build_table(features, earlier_points, relations)[batch.features.columns]
    tables = {features.digest: by_moment(pd.concat([table, earlier], ignore_index=True))}
    pd_ = iteration.score(table, state)
    decided = iteration.rules(table, pd_, state)
    at = points[["account_id", "as_of"]]
    silent = silent_lines(at, cut).assign(hold=SILENT)
    holds = {
        number: Hold(scenario.source, since, as_of, "limitlens stress", "an outage", kind, fault="missing")
        for number, kind in enumerate(scenario.kinds or ("",), 1)
    }
    both = {
        "without": HeldLines({}, silent),
        "within": HeldLines(
            holds, pd.concat([*(at.assign(hold=number) for number in holds), silent], ignore_index=True)
        ),
    }
    rules = rule_table(features, table, state, batch.columns)
    already = batch.lines.table[DATA_HOLD].to_numpy(bool)
    lines = {}
    for name, touched in both.items():
        stood = with_holds(decided, at, state, touched, now=iteration, tables=tables)
        held = (stood["action"] == "hold").to_numpy(bool)
        lines[name] = Lines(rules.assign(**{DATA_HOLD: held | already}), pd_, state)
    return Out(**lines)


def _rows(scenario: Scenario) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in scenario.kinds)
    return f"kind IN ({kinds})" if kinds else "TRUE"


def without_rows(relations: Relations, source: str, which: str, since: datetime, until: datetime) -> dict[str, str]:
    """Relations of which rows of one source that became known in a span of time are left out.

    Parameters
    ----------
    relations : mapping of source to SQL
    source : str
    which : str
        SQL of the rows that are left out.
    since, until : datetime
        Known from the one on and before the other.
    """
    span = f"known_time >= TIMESTAMPTZ '{since.isoformat()}' AND known_time < TIMESTAMPTZ '{until.isoformat()}'"
    left = f"SELECT * FROM ({relations[source]}) WHERE NOT ({span} AND {which})"
    return {name: str(sql) for name, sql in relations.items()} | {source: left}


def slices_of(relations: Relations, columns: tuple[str, ...]) -> pd.DataFrame:
    """Attributes of the lines by their latest version, indexed by account id; without one that was not delivered."""
    accounts = relations["accounts"]
    there = run_sql(f"SELECT * FROM ({accounts}) LIMIT 0").column_names
    named = [name for name in columns if name in there]
    latest = "".join(f", CAST(ARG_MAX({quoted(n)}, known_time) AS VARCHAR) AS {quoted(n)}" for n in named)
    rows: pd.DataFrame = run_sql(f"SELECT account_id{latest} FROM ({accounts}) GROUP BY account_id").to_pandas()
    return rows.set_index("account_id")


def counted(before: Decisions, without: Decisions, within: Decisions, held: BoolArray) -> pd.DataFrame:
    """What an outage does to each line: newly adverse and spared, without holds and with them, and held."""
    return pd.DataFrame(
        {
            "lines": 1,
            "newly_adverse": without.adverse & ~before.adverse,
            "newly_closed": without.closes & ~before.closes,
            "spared": before.adverse & ~without.adverse,
            "held": held,
            "newly_adverse_with_holds": within.adverse & ~before.adverse & ~held,
            "newly_closed_with_holds": within.closes & ~before.closes & ~held,
            "spared_with_holds": before.adverse & ~within.adverse & ~held,
        }
    ).astype(np.int64)


def by_slice(counts: pd.DataFrame, accounts: pd.Series, slices: pd.DataFrame) -> pd.DataFrame:
    """Counts of the whole, and of each value of each attribute: ``column, value`` and the counts."""
    parts = [counts.sum().to_frame().T.assign(column="", value="")]
    for name in slices.columns:
        values = slices[name].reindex(accounts).fillna("(none)").to_numpy()
        parts.append(counts.groupby(values).sum().rename_axis("value").reset_index().assign(column=name))
    return pd.concat(parts, ignore_index=True)[["column", "value", *counts.columns]]


def summed(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Several batches together; of each attribute the values with the most lines."""
    whole = pd.concat(parts).groupby(["column", "value"], sort=True).sum().reset_index()
    largest = whole.sort_values("lines", ascending=False).groupby("column", sort=False).head(MOST_SLICES)
    rows: pd.DataFrame = largest.sort_values(["column", "value"], ignore_index=True)
    return rows


def noticed(
    profiles: pd.DataFrame, store: EventStore, settings: Judging, missing: Missing, days: tuple[datetime, datetime]
) -> bool:
    """Whether the days without the rows of a slice would be judged unusual enough to hold decisions.

    Parameters
    ----------
    profiles : DataFrame
        Of everything that came, as :func:`limitlens.data.incidents.profiles_of` gives it.
    store : EventStore
    settings : Judging
    missing : Missing
        Of a slice the whole of its source has less, too; other slices keep their rows, since profiles do not tell how
        two attributes go together.
    days : (datetime, datetime)
        From the one on, and before the other.
    """
    since, until = days
    mine = profiles[profiles["source"] == missing.source]
    left = _less(mine, missing, midnight(since))
    return any(one.state == "hold" for one in judged(left, store, settings, midnight(since), midnight(until)))


def _less(profiles: pd.DataFrame, missing: Missing, since: datetime) -> pd.DataFrame:
    """Profiles of a source without the rows of a slice from a day on."""
    column, value = missing.column, missing.value
    days = pd.to_datetime(profiles["day"]).dt.tz_localize("UTC") >= pd.Timestamp(since)
    out = days & (profiles["kind"].isin(missing.kinds) if missing.kinds else True)
    if not column:
        return profiles[~out]
    gone = profiles[out & (profiles["slice_column"] == column) & (profiles["slice_value"] == value)]
    keys = ["kind", "day"]
    less = profiles.merge(gone[[*keys, *COUNTS]], on=keys, how="left", suffixes=("", "_gone"))
    whole = (less["slice_column"] == "").to_numpy()
    left = profiles.reset_index(drop=True)
    for name in COUNTS:
        taken = less[f"{name}_gone"].fillna(0).where(whole, 0)
        left[name] = left[name] - taken.to_numpy()
    mine = (left["slice_column"] == column) & (left["slice_value"] == value)
    return left[~(mine & out.to_numpy())]


def missing_of(scenario: Scenario, rows: pd.DataFrame) -> Iterator[Missing]:
    """What does not come, for each row of :func:`summed`."""
    for column, value in zip(rows["column"], rows["value"], strict=True):
        yield Missing(scenario.source, scenario.kinds, str(column), str(value))


def attributes_named(scenarios: tuple[Scenario, ...]) -> tuple[str, ...]:
    """Attributes by which some outage is told apart."""
    return tuple(dict.fromkeys(name for one in scenarios for name in one.slices))
