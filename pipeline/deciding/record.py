"""Record: what the decisions of a call did, counted from the ledger and kept as one MLflow run.

The ledger comes first. A run that no MLflow run names yet waits for its record, so a call that was killed in between
is recorded by the next one, under the numbers it would have had.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from limitlens.data.calendar import format_time
from limitlens.data.contracts import FEEDS
from limitlens.data.html_table import html_table
from limitlens.data.storage import write_text
from limitlens.features.line import line_column_names
from limitlens.features.spine import Undecidable, undecidable
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.decision import inactive_rules
from limitlens.limits.iteration import Iteration
from limitlens.limits.ledger import Run
from limitlens.limits.policy import ADVERSE
from limitlens.pipeline import tracking
from limitlens.pipeline.deciding.first_decisions import first_decisions
from limitlens.pipeline.holds import list_holds
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.workspace import Workspace

#: What is counted by action and summed over all of them.
_COUNTS = ("decisions", "attributed", "changed", "split", "cancelled", "without_reason")


@dataclass(frozen=True)
class Decided:
    """What one call decided: counts, the rules that could not fire, the iteration.

    ``changed`` counts all limits that moved, ``split`` those with a decision before, whose change is split;
    ``shares_cents`` are sums over these; ``first_decisions`` are the others, in the rows of
    :func:`limitlens.pipeline.deciding.first_decisions.first_table`. ``cancelled`` counts limits that stayed because
    causes cancelled out. ``mean_pd`` is that of the lines decided, ``learned_share`` that of bads
    among the lines the model learned from. ``limit_zero`` counts the lines with limit 0 at the last date, which stand
    in no book, ``without_limit`` those that have none and are scored only, ``without_reason`` the adverse decisions
    about which no behaviour is known that a customer could be told. ``absent`` names the sources of events that the
    model does not read; without ``knows_balances`` every balance counts as 0. ``holds`` names those in
    force, with the lines each keeps as they are and whether a person is overdue to judge it.
    """

    dates: tuple[str, ...]
    decisions: int
    attributed: int
    changed: int
    split: int
    cancelled: int
    mean_pd: float
    learned_share: float
    limit_zero: int
    without_limit: int
    without_reason: int
    actions: Mapping[str, int]
    shares_cents: Mapping[str, int]
    first_decisions: tuple[Mapping[str, Any], ...]
    backtest: bool
    inactive_rules: tuple[str, ...]
    absent: tuple[str, ...]
    knows_balances: bool
    holds: tuple[str, ...]
    model_version: str
    policy_digest: str

    def _repr_html_(self) -> str:
        """Decisions by action and the change of limits by cause, for a notebook."""
        rows = [*((action, f"{count:,}") for action, count in self.actions.items())]
        rows += [(f"limits by {player}", money(cents, signed=True)) for player, cents in self.shares_cents.items()]
        rows += [("holds in force", ", ".join(self.holds))] if self.holds else []
        return html_table(f"{self.decisions:,} decisions by version {self.model_version}", rows)


def record_decisions(workspace: Workspace, new: Iteration, began: float) -> Decided:
    """Record every run that waits, those of one iteration together; return what ``new`` decided.

    ``began``: ``time.perf_counter()`` when the work began.
    """
    by_new = _counted(workspace, new, [])
    for _, group in groupby(workspace.ledger.waiting(), lambda run: (run.model_version, run.policy_digest)):
        runs = list(group)
        iteration = workspace.iteration(runs[0].model_version, runs[0].policy_digest)
        decided = _counted(workspace, iteration, runs)
        _log(workspace, iteration, decided, [run.run_id for run in runs], began)
        by_new = decided if decided_by(runs[0], new) else by_new
    return by_new


def decided_by(run: Run, iteration: Iteration) -> bool:
    """Whether this iteration decided that run."""
    return (run.model_version, run.policy_digest) == (iteration.model_version, iteration.policy.digest)


def _counted(workspace: Workspace, iteration: Iteration, runs: Sequence[Run]) -> Decided:
    """What some runs of one iteration did."""
    split = " + ".join(f"share_cents_{player}" for player in PLAYERS)
    moved = " OR ".join(f"share_cents_{player} <> 0" for player in PLAYERS)
    sums = ", ".join(
        f"COALESCE(SUM(share_cents_{player}) FILTER ({split} <> 0), 0)::BIGINT AS {player}" for player in PLAYERS
    )
    adverse = ", ".join(f"'{action}'" for action in sorted(ADVERSE))
    columns, features = _columns(iteration), iteration.model.features
    sql = f"""
    SELECT action, COUNT(*) AS decisions, COUNT(phi_state) AS attributed, COUNT(*) FILTER ({split} <> 0) AS split,
        COUNT(*) FILTER ({split} = 0 AND ({moved})) AS cancelled, SUM(pd) AS pd,
        COUNT(*) FILTER (limit_cents <> limit_before_cents) AS changed,
        COUNT(*) FILTER (action IN ({adverse}) AND len(reasons) = 0) AS without_reason, {sums}
    FROM current WHERE run_id = ANY($runs) GROUP BY action ORDER BY action
    """
    rows = workspace.ledger.table(sql, {"runs": [run.run_id for run in runs]}).to_pydict() if runs else {}
    learned = workspace.validation(iteration.model_version)["train"]
    return Decided(
        dates=tuple(format_time(run.as_of) for run in runs),
        **{name: sum(rows.get(name, [])) for name in _COUNTS},
        mean_pd=sum(rows.get("pd", [])) / max(sum(rows.get("decisions", [])), 1),
        learned_share=learned["bads"] / learned["rows"],
        **asdict(undecidable(runs[-1].as_of, workspace.events.relations()) if runs else Undecidable(0, 0)),
        actions=dict(zip(rows.get("action", []), rows.get("decisions", []), strict=True)),
        shares_cents={player: sum(rows.get(player, [])) for player in PLAYERS},
        first_decisions=tuple(first_decisions(workspace, [run.run_id for run in runs])),
        backtest=any(run.backtest for run in runs),
        inactive_rules=tuple(inactive_rules(iteration.policy, columns)),
        absent=tuple(source for source in FEEDS if source not in features.sources),
        knows_balances="balance_cents" in columns,
        holds=_holds(workspace, iteration, runs[-1].as_of) if runs else (),
        model_version=iteration.model_version,
        policy_digest=iteration.policy.digest,
    )


def _holds(workspace: Workspace, iteration: Iteration, as_of: datetime) -> tuple[str, ...]:
    """Holds in force, one sentence each."""
    within, every = iteration.policy.holding.decide_within_days, workspace.ledger.every_hold()
    overdue = f"; open for more than {within} days, a person must judge it"
    return tuple(
        f"hold {row['hold']}, {row['scope']} since {row['since']}: {row['lines']:,} lines stay as they were"
        f"{overdue if (as_of - every[row['hold']].opened_at).days > within else ''}"
        for row in list_holds(workspace)
    )


def _columns(iteration: Iteration) -> set[str]:
    features = iteration.model.features
    return {*features.columns, *line_column_names(features), *(name for name, _ in features.attributes)}


def _log(workspace: Workspace, iteration: Iteration, decided: Decided, run_ids: list[str], began: float) -> None:
    """Keep the counts in MLflow; the link comes last, when the MLflow run has ended."""
    tags = {
        "limitlens.model_version": iteration.model_version,
        "limitlens.model": iteration.model.digest,
        "limitlens.policy": iteration.policy.digest,
        tracking.HEAD: workspace.ledger.heads()[run_ids[-1]],
        "limitlens.backtest": str(decided.backtest).lower(),
    }
    metrics = {"decisions": decided.decisions, "changed": decided.changed, "split": decided.split}
    metrics |= {f"action.{name}": count for name, count in decided.actions.items()}
    metrics |= {f"share_cents.{name}": cents for name, cents in decided.shares_cents.items()}
    days = [date[:10] for date in decided.dates]
    name = f"decide {days[0]}" if len(set(days)) == 1 else f"decide {days[0]} to {days[-1]}"
    recorded = tracking.recorded_run(workspace.mlflow, "decide", tags, name=name, once=tracking.HEAD, began=began)
    with recorded as (mlflow, mlflow_run_id):
        tracking.log_values(mlflow, mlflow_run_id, {"dates": ", ".join(decided.dates)}, metrics)
        write_text(iteration.policy.text, tracking.artifacts(mlflow, mlflow_run_id) / "policy.toml")
    workspace.ledger.link_mlflow(run_ids, mlflow_run_id)
