"""The review queue of a date, from its decisions in the ledger."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time
from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.limits.cases import QUEUED
from limitlens.limits.ledger import Run
from limitlens.limits.queue import review_queue
from limitlens.pipeline.deciding.joint_jumps import joint_jumps
from limitlens.pipeline.deciding.point_in_time import rows_at, table_at
from limitlens.pipeline.workspace import Workspace


@dataclass(frozen=True)
class Queue:
    """Reviews and holds that the decisions of one date asked for.

    Parameters
    ----------
    date : str
    capacity_per_day : int
    order : str
        As the policy in force says it.
    lines : DataFrame
        ``place``, ``account_id``, ``as_of``, ``segment``, ``pd``, ``limit_cents``, ``balance_cents``,
        ``avoidable_loss_cents``, ``avoidable_harm_cents``, ``evidence``, ``within_capacity``, ``fired_rules``,
        ``reasons``; in order of place.
        Where the line jumped with unusually many of its slice ``jumped_with`` says so in words, else it is empty.
    """

    date: str
    capacity_per_day: int
    order: str
    lines: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return vars(self) | {"lines": self.lines.to_dict("records")}


def queue(workspace: Workspace, date: datetime | None = None) -> Queue:
    """The review queue of a date.

    Parameters
    ----------
    workspace : Workspace
    date : datetime, optional
        Default: the last decided one.

    Raises
    ------
    WorkspaceError
        Nothing was decided at that date.
    """
    runs = {run.as_of: run for run in workspace.ledger.runs()}
    if not runs:
        raise WorkspaceError("nothing has been decided yet; run limitlens decide first.")
    chosen = date or max(runs)
    if chosen not in runs:
        nearest = min(runs, key=lambda as_of: abs(as_of - chosen))
        raise WorkspaceError(f"nothing was decided as of {format_time(chosen)}; the nearest is {format_time(nearest)}.")
    return queue_of_run(workspace, runs[chosen])


def queue_of_run(workspace: Workspace, run: Run) -> Queue:
    """The review queue of one run; an account that it decided twice stands in it by its later decision."""
    sql = """
    SELECT account_id, as_of, action, limit_cents, pd, fired_rules, reasons FROM decisions WHERE run_id = $run
    QUALIFY ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY as_of DESC) = 1 ORDER BY account_id
    """
    decided = run_sql(sql, {"decisions": workspace.ledger.relation("decisions")}, {"run": run.run_id}).to_pandas()
    reviews = decided[decided["action"].isin(QUEUED)].drop(columns="action").reset_index(drop=True)
    iteration = workspace.iteration(run.model_version, run.policy_digest)
    features = iteration.model.features.only({"balance_cents"} & set(iteration.model.features.columns))
    moments = reviews[["account_id", "as_of"]].assign(known_by=reviews["as_of"])
    table = table_at(features, moments, workspace.relations(features))
    rows = rows_at(table, moments["account_id"], moments["as_of"], moments["known_by"])
    reviews = reviews.assign(**{name: reviews[name].map(list) for name in ("fired_rules", "reasons")})
    reviews["segment"] = rows["segment"]
    reviews["balance_cents"] = rows.get("balance_cents", 0)
    jumps = joint_jumps(reviews, workspace, run.as_of)
    unusual = {account: jump.text for account, jump in jumps.items() if jump.unusual}
    reviews["jumped_with"] = [unusual.get(account, "") for account in reviews["account_id"]]
    lines = pd.concat([reviews, review_queue(reviews, iteration.policy)], axis=1).sort_values("place")
    rules = iteration.policy.reviews
    return Queue(format_time(run.as_of), rules.capacity_per_day, rules.order, lines.reset_index(drop=True))
