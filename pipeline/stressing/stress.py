"""Stress: decide a day of the ledger again under each scenario, and keep what came out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.calendar import format_time
from limitlens.data.errors import InputError
from limitlens.data.incidents import profiles_of
from limitlens.data.progress import Progress, silent
from limitlens.data.quality_settings import default_quality
from limitlens.data.storage import file_sha256
from limitlens.features.line import DATA_HOLD
from limitlens.limits.policy import Policy
from limitlens.limits.stress import GROUP, RISES, Decisions, Lines, added, break_even, cuts_pay, rises, tally
from limitlens.limits.stress_scenarios import Scenario, digest_of_scenarios
from limitlens.limits.stress_tests import StressTest, record_stress_test, stress_test
from limitlens.models.satellite import Satellite
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.verify import expect_intact
from limitlens.pipeline.stressing.answer import Answer, Stressed, View
from limitlens.pipeline.stressing.decided_day import (
    Batch,
    DecidedDay,
    batches,
    decided_day,
    expect_recorded_decisions,
)
from limitlens.pipeline.stressing.economy import fitted_economy, read_series
from limitlens.pipeline.stressing.outages import (
    attributes_named,
    by_slice,
    counted,
    missing_of,
    noticed,
    slices_of,
    summed,
)
from limitlens.pipeline.stressing.retrained import pd_by, retrained
from limitlens.pipeline.stressing.shocks import ORDERED, SCORED, Given, policies_of, severities_of, shock_of
from limitlens.pipeline.workspace import Workspace


def stress(
    workspace: Workspace,
    scenarios: tuple[Scenario, ...],
    *,
    folder: Path = Path(),
    as_of: datetime | None = None,
    economy: Path | None = None,
    progress: Progress = silent,
) -> Stressed:
    """Decide one day again under each scenario; nothing is recorded.

    Parameters
    ----------
    workspace : Workspace
    scenarios : tuple of Scenario
    folder : Path
        From which scenarios name policies.
    as_of : datetime, optional
        Default: the last on which the book was decided.
    economy : Path, optional
        CSV file with macro series by month; without it scenarios of the economy are not answered.
    progress : callable

    Raises
    ------
    WorkspaceError
        Nothing was decided then.
    InputError
        No scenario can be answered.
    ConfigError
        The file of the series cannot be read, or a policy that a scenario names reads a column that there is not.
    IntegrityError
        A file is damaged, or without any shock a line comes out otherwise than the ledger says.
    """
    workspace = workspace.snapshot()
    expect_intact(workspace)
    day = decided_day(workspace, as_of)
    scenarios, refused, shifts, satellite = _with_economy(workspace, scenarios, day.run.as_of, economy)
    models, not_trained = retrained(workspace, day.run.model_version, scenarios, progress)
    refused |= not_trained
    scenarios = tuple(one for one in scenarios if one.name not in refused)
    if refused and not scenarios:
        raise InputError("; ".join(f"{name}: {why}" for name, why in refused.items()))
    given = Given(
        as_of=day.run.as_of,
        iteration=day.iteration,
        relations=workspace.relations(day.iteration.model.features),
        policies=policies_of(scenarios, folder),
        economy=shifts,
        slices=slices_of(workspace.events.relations(), attributes_named(scenarios)),
        retrained=models,
    )
    for policy in given.policies.values():
        workspace.check_rules(policy, day.iteration.model.features)
    progress(f"{len(day.accounts):,} lines decided as of {format_time(day.run.as_of)}, {len(scenarios)} scenarios")
    answers = answered(day, workspace, scenarios, given, progress)
    answers = tuple(_with_noticed(answer, workspace, day.run.as_of) for answer in answers)
    return Stressed(
        as_of=day.run.as_of,
        run_id=day.run.run_id,
        model_version=day.run.model_version,
        policy_digest=day.run.policy_digest,
        lines=len(day.accounts),
        inputs=_inputs(day, workspace, scenarios, given)
        | ({"economy": file_sha256(economy)} if economy is not None and satellite else {}),
        answers=answers,
        refused=refused,
        satellite=satellite,
        shifts=shifts,
    )


def _with_economy(
    workspace: Workspace, scenarios: tuple[Scenario, ...], as_of: datetime, economy: Path | None
) -> tuple[tuple[Scenario, ...], dict[str, str], dict[str, float], Satellite | None]:
    """Scenarios that can be answered, why the others cannot, what each path adds to log-odds, and the regression."""
    asked = [one for one in scenarios if one.kind == "economy"]
    if not asked:
        return scenarios, {}, {}, None
    if economy is None:
        why = dict.fromkeys((one.name for one in asked), "name a CSV file of the series with --economy.")
        return tuple(one for one in scenarios if one.name not in why), why, {}, None
    series = read_series(economy)
    shifts, refused, satellite = dict[str, float](), dict[str, str](), None
    for one in asked:
        try:
            known = [name for name in one.path if name in series]
            satellite = fitted_economy(workspace, series[known], as_of)
            shifts[one.name] = satellite.shift(one.path)
        except InputError as error:
            refused[one.name] = str(error)
    return tuple(one for one in scenarios if one.name not in refused), refused, shifts, satellite


def _with_noticed(answer: Answer, workspace: Workspace, as_of: datetime) -> Answer:
    """An outage with what the judgement on incoming data would say of it."""
    if answer.slices is None:
        return answer
    settings, since = default_quality().judging, as_of - timedelta(days=answer.scenario.days)
    profiles = profiles_of(workspace.events, settings, as_of)
    seen = [
        noticed(profiles, workspace.events, settings, missing, (since, as_of))
        for missing in missing_of(answer.scenario, answer.slices)
    ]
    return replace(answer, slices=answer.slices.assign(noticed=seen))


def _inputs(day: DecidedDay, workspace: Workspace, scenarios: tuple[Scenario, ...], given: Given) -> dict[str, str]:
    texts = {name: policy.text for name, policy in given.policies.items()}
    return {
        "run": day.run.run_id,
        "model": day.run.model_digest,
        "policy": day.run.policy_digest,
        "events": workspace.events.digest(),
        "ledger": workspace.ledger.head(),
        "scenarios": digest_of_scenarios(scenarios, texts),
    }


def answered(
    day: DecidedDay,
    workspace: Workspace,
    scenarios: tuple[Scenario, ...],
    given: Given,
    progress: Progress = silent,
) -> tuple[Answer, ...]:
    """Answer every scenario, one batch of lines after the other."""
    read = frozenset().union(*(policy.columns for policy in (given.policy, *given.policies.values())))
    scored = any(one.kind in SCORED for one in scenarios)
    counting = [Counting(one, given) for one in scenarios]
    for batch in batches(day, workspace, read, scored=scored, progress=progress):
        base = without_shock(batch, given.policy)
        expect_recorded_decisions(batch, base["day"])
        for one in counting:
            one.count(batch, base)
    return tuple(one.answer() for one in counting)


def without_shock(batch: Batch, policy: Policy) -> dict[View, Decisions]:
    """What the policy decides of a batch as it is, in each view."""
    return {view: batch.lines.decided(seen) for view, seen in views(policy).items()}


def views(policy: Policy) -> dict[View, Policy]:
    """The policy as it is, and as it is in the end: without a second look, so that what is asked for is done."""
    return {"day": policy, "end": replace(policy, second_look=None)}


class Counting:
    """Counts one scenario, batch by batch; what it keeps does not grow with the book."""

    def __init__(self, scenario: Scenario, given: Given) -> None:
        self.scenario, self.given = scenario, given
        self.shock, self.severities = shock_of(scenario, given), (0.0, *severities_of(scenario, given))
        self.tallies = pd.DataFrame()
        self.rising: dict[tuple[View, float, float], IntArray] = {}
        self.paying: dict[float, Any] = {}
        self.parts: list[pd.DataFrame] = []
        self.closing = np.zeros((len(self.severities), 2), np.int64)
        self.retrained = given.retrained.get(scenario.name)
        self.same_customers = np.zeros(2, np.int64)

    def count(self, batch: Batch, base: Mapping[View, Decisions]) -> None:
        """Decide a batch at each severity, the mildest first."""
        ended, tallies = list[Decisions](), [self.tallies]
        milder, times_closed = dict(base), np.zeros(len(batch.lines.pd_), np.int64)
        for place, severity in enumerate(self.severities):
            lines, policy = self.shock(batch, severity)
            for view, seen in views(policy).items():
                decided = lines.decided(seen)
                made = self._tally((batch.lines, lines), (base[view], decided))
                tallies.append(made.assign(view=view, severity=severity))
                if place and self.scenario.kind in ORDERED:
                    self._rise((view, self.severities[place - 1], severity), lines, milder[view], decided)
                if view == "end":
                    paid = cuts_pay(lines, base[view], decided, self.given.policy)
                    self.paying[severity] = self.paying.get(severity, 0) + paid
                    times_closed += decided.closes if place else 0
                    ended.append(decided)
                milder[view] = decided
        self.tallies = added(tallies, ("view", "severity", *GROUP))
        if self.scenario.kind == "outage":
            held = lines.table[DATA_HOLD].to_numpy(bool) & ~batch.lines.table[DATA_HOLD].to_numpy(bool)
            before, without, within = ended
            counts = counted(before, without, within, held)
            self.parts.append(by_slice(counts, batch.recorded["account_id"], self._slices()))
        for side, mine in enumerate((base["end"].closes, ~base["end"].closes)):
            self.closing[:, side] += np.bincount(times_closed[mine], minlength=len(self.severities))
        if self.retrained:
            self._count_same(batch, pd_by(self.retrained.same, batch), base["end"].closes)

    def _count_same(self, batch: Batch, pd_: FloatArray, closed: BoolArray) -> None:
        again = batch.lines.decided(views(self.given.policy)["end"], pd_).closes
        self.same_customers += [(again & ~closed).sum(), (closed & ~again).sum()]

    def _slices(self) -> pd.DataFrame:
        return self.given.slices[[name for name in self.scenario.slices if name in self.given.slices]]

    def _tally(self, lines: tuple[Lines, Lines], decisions: tuple[Decisions, Decisions]) -> pd.DataFrame:
        return tally(*lines, decisions, self.given.policy, reaction_log_odds=self.scenario.reaction_log_odds)

    def _rise(self, key: tuple[View, float, float], lines: Lines, milder: Decisions, harsher: Decisions) -> None:
        counts = np.array(rises(lines, milder, harsher, self.given.policy), np.int64)
        self.rising[key] = self.rising.get(key, 0) + counts

    def answer(self) -> Answer:
        """What was counted."""
        rising = [(*key, *counts.tolist()) for key, counts in self.rising.items()]
        return Answer(
            self.scenario,
            self.tallies,
            pd.DataFrame(rising, columns=["view", "milder", "harsher", *RISES]),
            {severity: break_even(np.asarray(paid)) for severity, paid in self.paying.items()},
            tuple((int(a), int(b)) for a, b in self.closing) if self.scenario.kind == "iteration" else (),
            tuple(model.digest for model in self.retrained.drawn) if self.retrained else (),
            (int(self.same_customers[0]), int(self.same_customers[1])) if self.retrained else None,
            summed(self.parts) if self.parts else None,
        )


def record(
    workspace: Workspace, stressed: Stressed, at: datetime, files: Sequence[Path] = (), *, began: float | None = None
) -> StressTest:
    """Record a stress test: a link of the ledger with the digests of inputs and results, and a run of MLflow.

    Parameters
    ----------
    workspace : Workspace
    stressed : Stressed
    at : datetime
        Now.
    files : sequence of Path
        Kept with the MLflow run, such as the report.
    began : float, optional
        ``time.perf_counter()`` when the work began.
    """
    results = json.dumps(stressed.to_dict(), ensure_ascii=False, indent=1)
    test = stress_test(
        at, stressed.as_of, stressed.run_id, stressed.inputs, results=results, summary=stressed.summary()
    )
    record_stress_test(workspace.root, test)
    tags = {
        "limitlens.model_version": stressed.model_version,
        "limitlens.policy": stressed.policy_digest,
        tracking.HEAD: workspace.ledger.head(),
        **{f"limitlens.stress.{name}": digest for name, digest in stressed.inputs.items()},
    }
    metrics = {
        f"{row['scenario']}.{name}": row[name]
        for row in stressed.summary()
        for name in ("closed", "newly_adverse", "credit_removed_cents", "loss_unanswered_cents", "loss_after_cents")
    }
    name = f"stress {format_time(stressed.as_of)[:10]}"
    recorded = tracking.recorded_run(
        workspace.mlflow, "stress", tags, name=name, began=perf_counter() if began is None else began
    )
    with recorded as (mlflow, mlflow_run_id):
        tracking.log_values(mlflow, mlflow_run_id, {"as_of": format_time(stressed.as_of)}, metrics)
        tracking.attach_text(workspace.mlflow, mlflow_run_id, results, "stress.json")
        for path in files:
            tracking.attach(workspace.mlflow, mlflow_run_id, path)
    return test
