"""The rows a model is judged on: scored, decided on paper, with the protected attributes beside them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray
from limitlens.features.line import LINE_FACTS, NO_LIMIT, limit_and_age
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import FLAGGED, Policy
from limitlens.limits.state import first_state
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.pipeline.training.training_table import TrainingTable
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Judged:
    """The rows a model is judged on, with their PDs, what the policy would do, and the rows it learned from.

    ``cut``: adverse action on paper, never of a line without a limit. ``protected``: protected attributes of the rows,
    for fairness only. ``learned_pd``: of the rows it learned from, by the members that never saw the account.
    """

    model: DefaultRiskModel
    table: TrainingTable
    rows: pd.DataFrame
    bad: BoolArray
    pd_: FloatArray
    cut: BoolArray
    protected: pd.DataFrame
    learned_pd: FloatArray
    out_of_fold: bool

    def sample(self, size: int) -> pd.DataFrame:
        """Some rows, the same every time."""
        return self.rows.sample(min(size, len(self.rows)), random_state=1).reset_index(drop=True)


def judge(model: DefaultRiskModel, policy: Policy, table: TrainingTable, workspace: Workspace) -> Judged:
    """Score the rows the model is judged on, and decide them on paper.

    Parameters
    ----------
    model : DefaultRiskModel
    policy : Policy
    table : TrainingTable
    workspace : Workspace
        Holds the protected attributes.
    """
    rows = table.part("test" if table.out_of_time else "train")
    limit, age = limit_and_age(rows)
    pd_ = predict_pd(model, rows, limit, age)
    state = first_state(rows, np.zeros(len(rows), bool))
    decided = Iteration(model, policy, "").rules(rows.drop(columns=list(LINE_FACTS)), pd_, state)
    return Judged(
        model=model,
        table=table,
        rows=rows,
        bad=rows["bad"].to_numpy(bool),
        pd_=pd_,
        cut=decided["action"].isin(FLAGGED).to_numpy() & (limit != NO_LIMIT),
        protected=workspace.events.protected_at(rows),
        learned_pd=np.concatenate([_unseen_pd(model, part) for part in table.by_file(table.split("train"))]),
        out_of_fold=not table.out_of_time,
    )


def _unseen_pd(model: DefaultRiskModel, rows: pd.DataFrame) -> FloatArray:
    limit, age = limit_and_age(rows)
    return predict_pd(model, rows, limit, age)
