"""Models that other customers would have taught, for the scenarios that ask for them; none of them is kept."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limitlens.data.arrays import FloatArray
from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.progress import Part, Progress
from limitlens.features.line import limit_and_age
from limitlens.limits.stress_scenarios import Scenario
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.pipeline.stressing.decided_day import Batch
from limitlens.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from limitlens.pipeline.training.resampled import Learned
    from limitlens.pipeline.training.training_table import TrainingTable


@dataclass(frozen=True)
class Retrained:
    """Models trained anew.

    Parameters
    ----------
    same : DefaultRiskModel
        On every customer once: what no sample of them explains.
    drawn : tuple of DefaultRiskModel
        On customers drawn with replacement, one a draw.
    """

    same: DefaultRiskModel
    drawn: tuple[DefaultRiskModel, ...]


def retrained(
    workspace: Workspace, version: str, scenarios: tuple[Scenario, ...], progress: Progress
) -> tuple[Mapping[str, Retrained], Mapping[str, str]]:
    """Train anew what scenarios ask for.

    Parameters
    ----------
    workspace : Workspace
    version : str
        Whose training table is drawn from.
    scenarios : tuple of Scenario
        Of any kind; only those that resample customers are looked at.
    progress : callable

    Returns
    -------
    mapping of str to Retrained, mapping of str to str
        By the name of the scenario: its models, or why there are none.
    """
    asked = [one for one in scenarios if one.resample == "customers"]
    if not asked:
        return {}, {}
    # scikit-learn is slow to import; only a training needs it
    from limitlens.pipeline.training.resampled import learned_by  # noqa: PLC0415

    try:
        with learned_by(workspace, version, progress) as learned:
            refused = {one.name: why for one in asked if (why := _obstacle(learned, one))}
            able = [one for one in asked if one.name not in refused]
            return (_trained(learned, able, progress) if able else {}), refused
    except (ConfigError, WorkspaceError) as error:  # of settings that this limitlens does not know, too
        return {}, dict.fromkeys((one.name for one in asked), str(error))


def _obstacle(learned: "Learned", one: Scenario) -> str:
    """Why no model can learn from one of the draws, before any is trained; empty: from each one can."""
    try:
        for number in range(1, one.draws + 1):
            learned.draw(one.seed, number)
    except WorkspaceError as error:
        return str(error)
    return ""


def _trained(learned: "Learned", scenarios: Sequence[Scenario], progress: Progress) -> dict[str, Retrained]:
    trainings, done = 1 + sum(one.draws for one in scenarios), itertools.count()

    def fit(table: "TrainingTable", name: str) -> DefaultRiskModel:
        return learned.fit(table, _within(progress, name, next(done), trainings))

    same, models = fit(learned.table, "every customer once"), dict[str, Retrained]()
    for one in scenarios:
        numbers = range(1, one.draws + 1)
        drawn = (fit(learned.draw(one.seed, n), f"{one.name}, draw {n} of {one.draws}") for n in numbers)
        models[one.name] = Retrained(same, tuple(drawn))
    return models


def _within(progress: Progress, name: str, done: int, trainings: int) -> Progress:
    """Progress of one of several trainings."""

    def report(text: str) -> None:
        line = f"{name}: {text}"
        progress(Part(line, done + text.done / text.whole, trainings) if isinstance(text, Part) else line)

    return report


def pd_by(model: DefaultRiskModel, batch: Batch) -> FloatArray:
    """PDs of the lines of a batch by another model of the same features."""
    limit, age = limit_and_age(batch.lines.state)
    return predict_pd(model, batch.features, limit, age)
