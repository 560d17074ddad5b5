"""Trainings on customers drawn anew: what another sample of them would have taught.

A bootstrap of clusters (Davison & Hinkley, Bootstrap Methods and their Application, 1997, 3.8; Field & Welsh 2007,
JRSS B 69(3)): as many accounts as a version learned from are drawn with replacement, each with all of its rows, and a
model is trained wholly anew on them. Copies are rows and not weights: what counts rows (the least of a leaf, defaults
of new lines, those by which a calibration is chosen) counts a sample as it counts any. Folds are dealt by account, so
that no copy of one is learned from while another says when to stop, or is scored for the calibration.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import IntArray
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.training.train import fit_table, learning_table
from limitlens.pipeline.training.trained_on import room_for_tables, trained_on
from limitlens.pipeline.training.training_table import TrainingTable, check_labels
from limitlens.pipeline.workspace import Workspace

#: Splits of the training table that a training reads: members and calibration one, the level of the PDs both.
LEARNED = ("train", "unused")


@dataclass(frozen=True)
class Learned:
    """What a version learned from, made again.

    Parameters
    ----------
    workspace : Workspace
        With the loads that there were then.
    settings : TrainSettings
    table : TrainingTable
    """

    workspace: Workspace
    settings: TrainSettings
    table: TrainingTable

    def fit(self, table: TrainingTable, progress: Progress = silent) -> DefaultRiskModel:
        """Train wholly anew on a table, without members of any version."""
        return fit_table(table, self.workspace, self.settings, None, progress)

    def draw(self, seed: int, number: int) -> TrainingTable:
        """The table of a draw from 1 on.

        Raises
        ------
        WorkspaceError
            Too few lines of it went bad, or too few did not, for a model to learn from.
        """
        table = drawn_table(self.table, seed, number)
        try:
            check_labels(table, self.settings)
        except WorkspaceError as error:
            raise WorkspaceError(f"customers drawn anew, draw {number} of seed {seed}: {error}") from None
        return table


@contextmanager
def learned_by(workspace: Workspace, version: str, progress: Progress = silent) -> Iterator[Learned]:
    """Make again what a version learned from; nothing is written into the workspace, and no row of it is erased.

    Parameters
    ----------
    workspace : Workspace
    version : str
    progress : callable
        Told what is being built.

    Raises
    ------
    WorkspaceError
        What it was trained on is not on record or there no more, or something else comes of it.
    """
    model, given = workspace.iteration(version).model, trained_on(workspace, version)
    settings = model.settings
    if given.workspace.feature_set(settings) != model.features:
        raise WorkspaceError(f"this limitlens declares other features than version {version} has; train again.")
    with room_for_tables(workspace.root) as room:
        table = learning_table(given.workspace, settings, given.until, progress, verdicts=given.verdicts, aside=room)
        _expect(table, workspace.validation(version)["train"], version)
        yield Learned(given.workspace, settings, table)


def _expect(table: TrainingTable, recorded: dict[str, Any], version: str) -> None:
    rows = table.split("train")
    facts = {"rows": len(rows), "bads": int(rows["bad"].sum()), "labels_end": table.labels_end}
    if lacking := {name: value for name, value in facts.items() if recorded[name] != value}:
        name = next(iter(lacking))
        raise WorkspaceError(
            f"the training table of version {version} comes out with {name} {lacking[name]} and not {recorded[name]}: "
            "another limitlens made it; train again."
        )


def drawn_table(table: TrainingTable, seed: int, number: int) -> TrainingTable:
    """A training table of as many accounts, drawn with replacement; rows that nobody learns from stay.

    Parameters
    ----------
    table : TrainingTable
    seed, number : int
        Equal ones draw the same accounts, however many draws there are.

    Returns
    -------
    TrainingTable
        A row of an account that was drawn k times stands in it k times; order as in ``table``.
    """
    learned = table.rows["split"].isin(LEARNED).to_numpy()
    drawn = {*table.rows.loc[learned, "account_id"], *table.verdicts.get("account_id", ())}
    accounts = pd.Index(sorted(drawn))
    chosen = np.random.default_rng([seed, number]).integers(0, len(accounts), len(accounts))
    times = np.bincount(chosen, minlength=len(accounts))

    def of(rows: pd.DataFrame) -> IntArray:
        counts: IntArray = times[accounts.get_indexer(rows["account_id"])]
        return counts

    rows = _repeated(table.rows, np.where(learned, of(table.rows), 1))
    verdicts = _repeated(table.verdicts, of(table.verdicts)) if len(table.verdicts) else table.verdicts
    return replace(table, rows=rows, verdicts=verdicts)


def _repeated(rows: pd.DataFrame, times: IntArray) -> pd.DataFrame:
    return rows.iloc[np.repeat(np.arange(len(rows)), times)].reset_index(drop=True)
