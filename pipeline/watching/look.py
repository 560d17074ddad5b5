"""Look: the lines that new rows touched, and what the policy says of them within the day."""

from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from limitlens.data.arrays import BoolArray
from limitlens.data.contracts import ACCOUNTS, EVENT_SOURCES, SOURCES
from limitlens.data.engine import Relations
from limitlens.features.declarations import FeatureSet
from limitlens.features.rows.network import links_of
from limitlens.features.spine import lines_at, with_limit
from limitlens.features.table import build_few
from limitlens.limits.decision import holds
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Condition, Rule
from limitlens.limits.state import unpacked
from limitlens.pipeline.deciding.decide_batch import Known, decide_lines
from limitlens.pipeline.deciding.held_lines import held_lines, in_force, with_moments
from limitlens.pipeline.deciding.plan import PLANNED
from limitlens.pipeline.deciding.point_in_time import by_moment
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.intake import known_rows
from limitlens.pipeline.workspace import Workspace

#: Actions of the watch that the ledger notes; what it leaves as it is goes unrecorded.
NOTED = ("pause", "unfreeze")


def look(
    workspace: Workspace,
    journal: Journal,
    accounts: Sequence[str],
    at: datetime,
    now: Iteration,
    *,
    paused: Collection[str],
) -> tuple[pd.DataFrame, Known] | None:
    """Decide those of some lines, within the day, about which a watched rule has something to say.

    Parameters
    ----------
    workspace : Workspace
    journal : Journal
        With all that is known.
    accounts : sequence of str
        Lines that new rows touched.
    at : datetime
        What was known before counts.
    now : Iteration
        Its policy names the watched rules.
    paused : collection of str
        Lines whose drawing is paused: they are looked at whatever the rules say.

    Returns
    -------
    (DataFrame, Known) or None
        The decisions to note, as :func:`limitlens.pipeline.deciding.decide_batch.decide_step` gives them, each with
        that of its opening before it where none was recorded; and what was known. None: nothing is to be noted.
    """
    features = now.model.features
    points = pd.DataFrame({"account_id": pd.Series(list(accounts), dtype=str)})
    points["as_of"] = pd.Timestamp(at).as_unit("us")
    of_lines = {ACCOUNTS.name: known_rows(ACCOUNTS, "account_id", accounts, journal)}
    lines = with_limit(lines_at(points.assign(known_by=points["as_of"]), of_lines)).reset_index(drop=True)
    lines = lines[may_fire(now, lines, journal) | lines["account_id"].isin(list(paused))]
    if lines.empty:
        return None
    relations = relations_of(features, list(lines["account_id"]), journal)
    latest = unpacked(workspace.ledger.last_decisions(list(lines["account_id"])))
    planned = _with_openings(lines, latest, relations).assign(date=lines["as_of"].iloc[0])

    def known_of(some: pd.DataFrame, _: pd.DataFrame) -> Known:
        held = held_lines(some, in_force(workspace), relations)
        moments = some[["account_id", "as_of"]].assign(known_by=some["as_of"])
        return Known({features.digest: by_moment(build_few(features, with_moments(moments, held), relations))}, held)

    decided, known = decide_lines(
        planned[list(PLANNED)], latest, workspace.ledger.overrides(), now, known_of, dates=[]
    )  # fmt: skip
    noted = decided.loc[decided["state.watched"] & decided["action"].isin(NOTED), "account_id"]
    kept = decided[decided["account_id"].isin(noted)].sort_values(["account_id", "as_of"], ignore_index=True)
    return (kept, known) if len(kept) else None


def relations_of(features: FeatureSet, accounts: Sequence[str], journal: Journal) -> dict[str, pa.Table]:
    """Rows of some accounts by source, and of others that share a device or payee with them, if the features ask."""
    names = (ACCOUNTS.name, *EVENT_SOURCES)
    relations = {name: known_rows(SOURCES[name], "account_id", accounts, journal) for name in names}
    for link in links_of(one.rows for one in features.aggregates):
        own = relations[link.source]
        shared = pc.unique(own[link.column]).drop_null().to_pylist()
        linked = known_rows(SOURCES[link.source], link.column, shared, journal)
        events = pc.unique(linked["event_id"]).to_pylist()  # their other versions, too
        others = known_rows(SOURCES[link.source], "event_id", events, journal)
        foreign = others.filter(pc.invert(pc.is_in(others["account_id"], pa.array(accounts, pa.string()))))
        relations[link.source] = pa.concat_tables([own, foreign])
    return relations


def may_fire(now: Iteration, lines: pd.DataFrame, journal: Journal) -> BoolArray:
    """Lines for which a watched rule may fire: all its conditions on events hold, whatever the line itself says."""
    features = now.model.features
    rules = [_on_events(rule, features) for rule in now.policy.watched_rules]
    if not all(rules):
        return np.ones(len(lines), bool)
    watched = features.only({condition.column for rule in rules for condition in rule})
    relations = relations_of(watched, list(lines["account_id"]), journal)
    table = build_few(watched, lines[["account_id", "as_of", "known_by"]], relations)
    fires = np.zeros(len(table), bool)
    for rule in rules:
        met = [holds(condition, table[condition.column].to_numpy(np.float64)) for condition in rule]
        fires |= np.logical_and.reduce(met)
    return fires


def _on_events(rule: Rule, features: FeatureSet) -> list[Condition]:
    """What must hold of the events where a rule fires; a share of the limit that is above 0 is one of something."""
    shares = {share.name: share.column for share in features.shares}
    conditions = []
    for condition in rule.when:
        if condition.column in features.columns:
            conditions.append(condition)
        elif condition.column in shares and condition.operator in ("at_least", "above") and condition.value > 0:
            conditions.append(Condition(shares[condition.column], "above", 0.0))
    return conditions


def _with_openings(lines: pd.DataFrame, latest: pd.DataFrame, relations: Relations) -> pd.DataFrame:
    """The lines as they are planned, those that were never decided at their opening first."""
    new = lines[~lines["account_id"].isin(latest["account_id"])]
    points = new[["account_id"]].assign(as_of=new["opened_at"], known_by=new["opened_at"])
    openings = with_limit(lines_at(points, relations)) if len(new) else new
    return pd.concat([openings.assign(watched=False), lines.assign(watched=True)], ignore_index=True)
