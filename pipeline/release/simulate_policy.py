"""Simulate a policy: decide the past again under it, and see what became of the customers.

The features are those that were known then, the model and its out-of-fold scores those that `decide` would use; the
state is carried on from the simulated decisions. What customers did stays as it was: nobody draws less from a lower
limit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.calendar import add_months, data_end, days, format_time, month_start
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.features.spine import book
from limitlens.limits.complaints import Complaint, complaints
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger_tables import DECISIONS
from limitlens.limits.outcome import Outcome, outcome_of
from limitlens.limits.policy import Policy, shifted
from limitlens.limits.state import unpacked
from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.pipeline.deciding.decide_batch import Known, decide_lines
from limitlens.pipeline.deciding.plan import plan_lines
from limitlens.pipeline.deciding.point_in_time import Tables, rows_at, tables_at
from limitlens.pipeline.workspace import Workspace

#: Moves of every cut-off on PD, in log-odds, of the sweep; the policy itself is among them.
SWEEP = tuple(float(step) for step in np.linspace(-1.5, 1.5, 13))


@dataclass(frozen=True)
class Simulated:
    """One policy over the past.

    Parameters
    ----------
    name, digest : str
        Of the policy.
    outcome : Outcome
    complaints : tuple of Complaint
    frontier : tuple of (float, float, float)
        Of a sweep: by how much the cut-offs moved in log-odds, the share of good lines hit, of bad ones caught.
    """

    name: str
    digest: str
    outcome: Outcome
    complaints: tuple[Complaint, ...]
    frontier: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class Simulation:
    """Policies over the same past: the book at ``since``, decided until its defaults are known."""

    model_version: str
    since: datetime
    until: datetime
    policies: tuple[Simulated, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        policies = [asdict(one) | {"outcome": one.outcome.to_dict()} for one in self.policies]
        period = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return {"model_version": self.model_version, **period, "policies": policies}


@dataclass(frozen=True)
class Past:
    """What was known at every decision of a period, and who of its first book went bad in it, by account id.

    ``planned``: the decisions, as :func:`limitlens.pipeline.deciding.plan.plan_lines` gives them.
    """

    iteration: Iteration
    since: datetime
    until: datetime
    planned: pd.DataFrame
    tables: Tables
    bad: pd.Series


def simulate_policies(
    workspace: Workspace,
    policies: Sequence[Policy],
    *,
    model_version: str | None = None,
    since: datetime | None = None,
    sweep: bool = False,
    progress: Progress = silent,
) -> Simulation:
    """Decide the past under each policy, over one horizon of the labels, on the calendar of `decide`.

    Parameters
    ----------
    workspace : Workspace
    policies : sequence of Policy
    model_version : str, optional
        Default: the champion.
    since : datetime, optional
        Month start; default: the last one of which all defaults within the horizon are known.
    sweep : bool
        Move the cut-offs of each policy too, and count good lines hit and bad ones caught; month starts only.
    progress : callable

    Raises
    ------
    ConfigError
        A rule of a policy names a column that does not exist.
    WorkspaceError
        There is no champion or no line then, or the defaults of that month are not known yet.
    """
    past = past_of(workspace, policies, model_version=model_version, since=since, progress=progress)
    bad = past.bad
    simulated = []
    for policy in policies:
        progress(f"deciding under policy {policy.name} ({policy.digest[:8]})")
        own = _under(past, policy, workspace)
        iteration, planned, tables = own.iteration, own.planned, own.tables
        months = planned[(planned["date"].dt.day == 1) & (planned["as_of"] == planned["date"])]
        decided = simulate(iteration, planned, tables, workspace)
        outcome = outcome_of(decided, bad)
        counted = complaints(decided.rename(columns={"state.opened_at": "opened_at", "state.can_draw": "could_draw"}))
        frontier = []
        for shift in SWEEP if sweep else ():
            moved = replace(iteration, policy=shifted(policy, shift))
            point = outcome_of(simulate(moved, months, tables, workspace), bad)
            frontier.append((shift, point.good_hit_share, point.bad_caught_share))
            progress(f"cut-offs {shift:+.2f} in log-odds: {point.good_hit:,} good hit, {point.bad_caught:,} bad caught")
        simulated.append(Simulated(policy.name, policy.digest, outcome, tuple(counted), tuple(frontier)))
    return Simulation(past.iteration.model_version, past.since, past.until, tuple(simulated))


def past_of(
    workspace: Workspace,
    policies: Sequence[Policy] = (),
    *,
    model_version: str | None = None,
    since: datetime | None = None,
    progress: Progress = silent,
) -> Past:
    """The past over one horizon of the labels, to be decided again; it takes what :func:`simulate_policies` takes."""
    version = model_version or workspace.registry.champion()
    if version is None:
        raise WorkspaceError("no champion to score with; run limitlens promote first, or name one with --model.")
    iteration = workspace.scoring(version)
    for policy in policies:
        workspace.check_rules(policy, iteration.model.features)
    since, until = _period(workspace, since, iteration.model.settings.horizon_months)
    planned = past_lines(workspace, iteration, since, until)
    bad = went_bad(workspace, iteration, since, until)
    progress(f"features of {len(planned):,} lines at {planned['as_of'].nunique():,} moments since {since:%F}")
    return Past(iteration, since, until, planned, past_tables(workspace, iteration, planned), bad)


def _under(past: Past, policy: Policy, workspace: Workspace) -> Past:
    """The same past on the calendar of another policy, which may name other lines to be decided daily."""
    iteration = replace(past.iteration, policy=policy)
    if policy.daily == past.iteration.policy.daily:
        return replace(past, iteration=iteration)
    planned = past_lines(workspace, iteration, past.since, past.until)
    return replace(past, iteration=iteration, planned=planned, tables=past_tables(workspace, iteration, planned))


def _period(workspace: Workspace, since: datetime | None, horizon_months: int) -> tuple[datetime, datetime]:
    end = data_end(workspace.events.known_until())
    latest = add_months(month_start(end), -horizon_months)
    if since is not None and since.day != 1:
        raise WorkspaceError(f"--from {format_time(since)} is no month start; defaults are counted from one on.")
    if since is not None and since > latest:
        raise WorkspaceError(
            f"who of {format_time(since)} goes bad within {horizon_months} months is not known by {format_time(end)}; "
            f"choose --from {format_time(latest)} or earlier."
        )
    since = since or latest
    return since, add_months(since, horizon_months)


def past_lines(workspace: Workspace, iteration: Iteration, since: datetime, until: datetime) -> pd.DataFrame:
    """The calendar of `decide`, had it begun then.

    Raises
    ------
    WorkspaceError
        No line stands in the book then.
    """
    features, any_of = iteration.model.features, iteration.policy.decided_daily
    relations = workspace.relations(features)
    planned = plan_lines(days(since, until), None, relations, whole_book=False, features=features, any_of=any_of)
    if planned.empty:
        raise WorkspaceError(f"no line stands in the book from {format_time(since)} to {format_time(until)}.")
    return planned


def past_tables(workspace: Workspace, iteration: Iteration, lines: pd.DataFrame) -> Tables:
    """Feature rows of lines with ``account_id, as_of``, as known then."""
    points = lines[["account_id", "as_of"]].drop_duplicates(ignore_index=True)
    return tables_at(points.assign(known_by=points["as_of"]), {iteration.model.features}, workspace)


def simulate(iteration: Iteration, planned: pd.DataFrame, tables: Tables, workspace: Workspace) -> pd.DataFrame:
    """Every planned decision, each from the state that the ones before it left; no person orders anything.

    Paused lines are decided daily.

    Parameters
    ----------
    iteration : Iteration
    planned : DataFrame
        As :func:`limitlens.pipeline.deciding.plan.plan_lines` gives it.
    tables : mapping of feature set digest to feature table
    workspace : Workspace
        Holds the events of second looks.

    Returns
    -------
    DataFrame
        As :func:`limitlens.pipeline.deciding.decide_batch.decide_step` gives it, with ``dpd_days``.
    """
    digest = iteration.model.features.digest
    nobody = pd.DataFrame({"account_id": [], "at": pd.DatetimeIndex([], tz="UTC"), "id": []})

    def known_of(lines: pd.DataFrame, _: pd.DataFrame) -> Known:
        known = Known(tables)
        more = lines[~known.of(lines, iteration)]
        return known.joined(Known(past_tables(workspace, iteration, more))) if len(more) else known

    latest, dates = unpacked(DECISIONS.empty_table()), days(planned["date"].min(), planned["date"].max())
    decided, known = decide_lines(planned, latest, nobody, iteration, known_of, dates=dates)
    decided = decided.sort_values(["date", "as_of", "account_id"], ignore_index=True)
    at = decided["as_of"]
    rows = rows_at(known.tables[digest], decided["account_id"], at, at)
    return decided.assign(dpd_days=rows.get("dpd_days", 0))


def went_bad(workspace: Workspace, iteration: Iteration, since: datetime, until: datetime) -> pd.Series:
    """Whether each line of the book went bad in the period, by account id; delivered outcomes win."""
    settings, relations = iteration.model.settings, workspace.relations(iteration.model.features)
    if "outcomes" in workspace.events.present():
        labels = delivered_labels(relations)
        labels = labels[(labels["as_of"] >= since) & (labels["as_of"] < until)]
    else:
        labels = computed_labels(
            book([since], relations)[["account_id", "as_of"]],
            relations,
            known_by=data_end(workspace.events.known_until()),
            horizon_months=settings.horizon_months,
            default_dpd_days=settings.default_dpd_days,
        )
    bad: pd.Series = labels.groupby("account_id")["bad"].any()
    return bad
