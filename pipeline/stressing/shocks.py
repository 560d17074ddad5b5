"""What each kind of scenario does to the lines of a batch, and by which policy they are decided then."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.engine import Relations
from limitlens.data.frames import is_among
from limitlens.features.line import DATA_HOLD, limit_and_age
from limitlens.features.table import build_table
from limitlens.limits.behaviour_shocks import shrink_inflows, use_more
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import rows_differ
from limitlens.limits.policy import Policy, shifted
from limitlens.limits.policy_file import read_policy
from limitlens.limits.stress import Lines, shift_by_segment, shifted_pd
from limitlens.limits.stress_scenarios import Scenario
from limitlens.models.redrawn import drawn_pds
from limitlens.pipeline.stressing.decided_day import Batch, rule_table
from limitlens.pipeline.stressing.outages import WITH, WITHOUT, Out, outage, without_rows
from limitlens.pipeline.stressing.retrained import Retrained, pd_by

#: Takes a batch and a severity: the lines as the shock leaves them, and the policy that decides them.
Shock = Callable[[Batch, float], tuple[Lines, Policy]]

#: Kinds that need the features of the model, because PDs are scored anew.
SCORED = frozenset({"behaviour", "outage", "iteration"})

#: Kinds whose severities are rising multiples of a shock.
ORDERED = frozenset({"pd", "economy", "behaviour", "policy"})


@dataclass(frozen=True)
class Given:
    """What scenarios need besides the lines.

    Parameters
    ----------
    as_of : datetime
    iteration : Iteration
        That decided the day.
    relations : mapping of source to SQL
        Events, for features that are computed again.
    policies : mapping of str to Policy
        Those that scenarios name, by the name of the scenario.
    economy : mapping of str to float
        Log-odds that the path of a scenario adds to every PD, by its name.
    slices : DataFrame
        Attributes by which outages are told apart, indexed by account id.
    retrained : mapping of str to Retrained
        Models of other customers, by the name of the scenario.
    """

    as_of: datetime
    iteration: Iteration
    relations: Relations
    policies: Mapping[str, Policy] = field(default_factory=dict)
    economy: Mapping[str, float] = field(default_factory=dict)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    retrained: Mapping[str, Retrained] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """That decided the day."""
        return self.iteration.policy


def policies_of(scenarios: tuple[Scenario, ...], folder: Path) -> dict[str, Policy]:
    """Policies that scenarios name as files, by the name of the scenario.

    Raises
    ------
    ConfigError
        A file cannot be read or is no policy.
    """
    return {one.name: read_policy(folder / one.policy) for one in scenarios if one.policy}


def shock_of(scenario: Scenario, given: Given) -> Shock:
    """The shock of one scenario."""
    by_kind = {
        "pd": _pd,
        "economy": _economy,
        "behaviour": _behaviour,
        "policy": _policy,
        "iteration": _iteration,
        "outage": _outage,
    }
    return by_kind[scenario.kind](scenario, given)


def severities_of(scenario: Scenario, given: Given) -> tuple[float, ...]:
    """Those beside 0: of another policy one, of an iteration each draw, of an outage without holds and with them."""
    if scenario.kind == "iteration":
        return tuple(float(draw) for draw in range(1, scenario.draws + 1))
    if scenario.kind == "outage":
        return WITHOUT, WITH
    return (1.0,) if scenario.name in given.policies else scenario.severities


def _pd(scenario: Scenario, given: Given) -> Shock:
    def struck(batch: Batch, severity: float) -> tuple[Lines, Policy]:
        by_line = severity * shift_by_segment(batch.lines.table["segment"], scenario.log_odds)
        return replace(batch.lines, pd_=shifted_pd(batch.lines.pd_, by_line)), given.policy

    return struck


def _economy(scenario: Scenario, given: Given) -> Shock:
    return _pd(replace(scenario, log_odds={"default": given.economy[scenario.name]}), given)


def _policy(scenario: Scenario, given: Given) -> Shock:
    other = given.policies.get(scenario.name)

    def struck(batch: Batch, severity: float) -> tuple[Lines, Policy]:
        if not severity:
            return batch.lines, given.policy
        return batch.lines, other or shifted(given.policy, severity * scenario.cut_offs_log_odds)

    return struck


def _behaviour(scenario: Scenario, given: Given) -> Shock:
    moved = _delayed if scenario.inflow_delay_days else _shrunk

    def struck(batch: Batch, severity: float) -> tuple[Lines, Policy]:
        return rescored(batch, moved(scenario, given, batch, severity), given), given.policy

    return struck


def _inside(scenario: Scenario, batch: Batch) -> FloatArray:
    """1 for lines of the segments that a scenario names, or of all where it names none."""
    segments = batch.features["segment"]
    mine = is_among(segments, pd.Series(list(scenario.segments))) if scenario.segments else np.ones(len(segments))
    return np.asarray(mine, np.float64)


def _shrunk(scenario: Scenario, given: Given, batch: Batch, severity: float) -> pd.DataFrame:
    """Features of lines that are used more, and into whose accounts less comes."""
    features, inside = given.iteration.model.features, _inside(scenario, batch)
    up, down = (np.minimum(severity * share, 1.0) * inside for share in (scenario.utilisation_up, scenario.inflow_down))
    table = batch.features
    if scenario.utilisation_up:
        table = use_more(features, table, batch.lines.state["limit_cents"].to_numpy(np.int64), up)
    return shrink_inflows(features, table, down) if scenario.inflow_down else table


def _delayed(scenario: Scenario, given: Given, batch: Batch, severity: float) -> pd.DataFrame:
    """Features without the inflows of the last days, computed from the events again."""
    days = round(severity * scenario.inflow_delay_days)
    if not days:
        return batch.features
    which = "kind = 'transfer_in'"
    if scenario.counterparty:
        which += f" AND counterparty = '{scenario.counterparty.replace(chr(39), chr(39) * 2)}'"
    relations = without_rows(given.relations, "payment", which, given.as_of - timedelta(days=days), given.as_of)
    inside = _inside(scenario, batch) > 0
    points = batch.features.loc[inside, ["account_id", "as_of", "known_by"]]
    if points.empty:
        return batch.features
    again = build_table(given.iteration.model.features, points, relations)
    return pd.concat([again[batch.features.columns], batch.features[~inside]]).sort_index()


def rescored(batch: Batch, table: pd.DataFrame, given: Given) -> Lines:
    """Lines with other features: those that differ are scored anew, the others keep their PD to the bit."""
    rows = np.flatnonzero(rows_differ(table, batch.features))
    pd_, state = batch.lines.pd_.copy(), batch.lines.state
    if len(rows):
        some = table.iloc[rows]
        pd_[rows] = given.iteration.score(some.reset_index(drop=True), state.iloc[rows].reset_index(drop=True))
    rules = rule_table(given.iteration.model.features, table, state, batch.columns)
    return Lines(rules.assign(**{DATA_HOLD: batch.lines.table[DATA_HOLD].to_numpy(bool)}), pd_, state)


def _iteration(scenario: Scenario, given: Given) -> Shock:
    latest: dict[int, list[FloatArray]] = {}

    def struck(batch: Batch, severity: float) -> tuple[Lines, Policy]:
        if not severity:
            return batch.lines, given.policy
        if id(batch) not in latest:
            latest.clear()
            latest[id(batch)] = _drawn_pds(scenario, given, batch)
        return replace(batch.lines, pd_=latest[id(batch)][int(severity) - 1]), given.policy

    return struck


def _drawn_pds(scenario: Scenario, given: Given, batch: Batch) -> list[FloatArray]:
    if scenario.resample == "customers":
        return [pd_by(model, batch) for model in given.retrained[scenario.name].drawn]
    limit, age = limit_and_age(batch.lines.state)
    return drawn_pds(given.iteration.model, batch.features, limit, age, draws=scenario.draws, seed=scenario.seed)


def _outage(scenario: Scenario, given: Given) -> Shock:
    latest: dict[int, Out] = {}

    def struck(batch: Batch, severity: float) -> tuple[Lines, Policy]:
        if not severity:
            return batch.lines, given.policy
        if id(batch) not in latest:
            latest.clear()
            latest[id(batch)] = outage(scenario, batch, given.iteration, given.relations, given.as_of)
        out = latest[id(batch)]
        return out.without if severity == WITHOUT else out.within, given.policy

    return struck
