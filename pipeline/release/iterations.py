"""Iterations: every version with what it changed, who promoted it, and the limits moved since."""

from dataclasses import dataclass
from typing import Any

from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.limits.registry import RegisteredModel
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.member import Member
from limitlens.pipeline.training.trained_on import room_for_tables, trained_on
from limitlens.pipeline.workspace import Workspace

#: Which limits are counted here; ``docs/models.md`` has the definition beside that of those that would move.
MOVED_SINCE = (
    "limits moved since: changed by a decision of the version, with a share of its model or policy in the split"
)

_CAUSED = """
SELECT model_version, COUNT(*) AS changes,
    CAST(SUM(share_cents_model) AS BIGINT) AS model_cents, CAST(SUM(share_cents_policy) AS BIGINT) AS policy_cents
FROM current
WHERE (share_cents_model <> 0 OR share_cents_policy <> 0) AND limit_cents <> limit_before_cents
GROUP BY model_version
"""


@dataclass(frozen=True)
class IterationRow:
    """One version.

    Parameters
    ----------
    model_version, mlflow_run_id, developer : str
    status : str
        ``champion``, ``withdrawn``, ``was champion``, ``challenger`` (the latest, not promoted) or empty.
    changed : tuple of str
        What differs from the version before: ``contract``, ``features``, ``settings``, ``policy``, ``members``.
    promotions : tuple of str
        When, how and by whom.
    decisions : int
        Decided with it.
    changes, model_cents, policy_cents : int
        Limits moved since (:data:`MOVED_SINCE`), and the shares of its model and its policy in them.
    """

    model_version: str
    mlflow_run_id: str
    developer: str
    status: str
    changed: tuple[str, ...]
    promotions: tuple[str, ...]
    decisions: int
    changes: int
    model_cents: int
    policy_cents: int


def iterations_of(workspace: Workspace) -> list[IterationRow]:
    """Every version, oldest first."""
    registry = workspace.registry
    models, promotions, withdrawn = registry.models(), registry.promotions(), registry.withdrawn()
    champion = registry.champion()
    caused, decided = caused_by(workspace), _decided(workspace)
    rows = []
    for before, model in zip([None, *models], models, strict=False):
        version = model.model_version
        mine = [p for p in promotions if p.model_version == version]
        status = (
            "champion"
            if version == champion
            else "withdrawn"
            if version in withdrawn
            else "was champion"
            if mine
            else "challenger"
            if model is models[-1]
            else ""
        )
        row = caused.get(version, {})
        rows.append(
            IterationRow(
                model_version=version,
                mlflow_run_id=model.mlflow_run_id,
                developer=model.developer,
                status=status,
                changed=_changed(workspace, before, model) if before else (),
                promotions=tuple(
                    f"{p.promoted_at[:10]} {p.kind} by {p.reviewer}{f': {p.reason}' if p.reason else ''}" for p in mine
                ),
                decisions=decided.get(version, 0),
                changes=row.get("changes", 0),
                model_cents=row.get("model_cents", 0),
                policy_cents=row.get("policy_cents", 0),
            )
        )
    return rows


def iteration_named(workspace: Workspace, name: str) -> IterationRow:
    """The version of that number, or of that MLflow run.

    Raises
    ------
    WorkspaceError
        There is none.
    """
    rows = iterations_of(workspace)
    for row in rows:
        if name in {row.model_version, row.mlflow_run_id}:
            return row
    raise WorkspaceError(f"no version and no training run is called {name!r}; see limitlens iterations.")


def caused_by(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """By version ``changes, model_cents, policy_cents``, for every version that moved a limit since."""
    if not workspace.ledger.runs():
        return {}
    return {row["model_version"]: row for row in workspace.ledger.table(_CAUSED).to_pylist()}


def _decided(workspace: Workspace) -> dict[str, int]:
    if not workspace.ledger.runs():
        return {}
    sql = "SELECT model_version, COUNT(*) AS n FROM decisions GROUP BY model_version"
    counts = run_sql(sql, {"decisions": workspace.ledger.relation("decisions")})
    return {row["model_version"]: row["n"] for row in counts.to_pylist()}


def _changed(workspace: Workspace, before: RegisteredModel, after: RegisteredModel) -> tuple[str, ...]:
    old, new = (workspace.iteration(model.model_version).model for model in (before, after))
    differs = {
        "contract": old.contract != new.contract,
        "features": old.features != new.features,
        "settings": old.settings != new.settings,
        "policy": before.policy_digest != after.policy_digest,
        "members": _members(old) != _members(new),
    }
    return (*(name for name, differing in differs.items() if differing), *_recalibrated(old, new))


def _members(model: DefaultRiskModel) -> dict[str, tuple[Member, ...]]:
    """Members by the name of their scorer."""
    return {name: scorer.members for name, scorer in model.scorers.items()}


def _recalibrated(old: DefaultRiskModel, new: DefaultRiskModel) -> list[str]:
    """Each scorer whose calibration changed, with the kinds where these did."""
    changed = []
    for name, scorer in new.scorers.items():
        before = old.scorers[name].calibration if name in old.scorers else None
        if before is not None and before != scorer.calibration:
            kinds = " → ".join(dict.fromkeys((before.method, scorer.calibration.method)))
            changed.append(f"calibration of {name.replace('_', ' ')} ({kinds})")
    return changed


def repeat(workspace: Workspace, name: str, progress: Progress = silent) -> bool:
    """Train a recorded run again from what MLflow recorded of it, and compare.

    Parameters
    ----------
    workspace : Workspace
        Holds the same events, and others that came later.
    name : str
        Version or MLflow run.
    progress : callable

    Returns
    -------
    bool
        Whether the model is the same to the last character of every member.

    Raises
    ------
    WorkspaceError
        The run does not exist, or the events are not those it was trained on.
    """
    row = iteration_named(workspace, name)
    # slow to import; a report trains nothing
    from limitlens.pipeline.training.train import fit_table, learning_table  # noqa: PLC0415

    given = trained_on(workspace, row.model_version)
    settings = workspace.iteration(row.model_version).model.settings
    champion = workspace.iteration(given.champion).model if given.champion else None
    with room_for_tables(workspace.root) as room:
        table = learning_table(given.workspace, settings, given.until, progress, verdicts=given.verdicts, aside=room)
        model = fit_table(table, given.workspace, settings, champion, progress)
    return model.digest == workspace.registry.model(row.model_version).model_digest
