"""Why a PD is what it is, of a line that is scored and never decided since it has no limit: a loan, an application."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.calendar import data_end, format_time
from limitlens.data.errors import WorkspaceError
from limitlens.features.line import LINE_MEANING, NO_LIMIT, limit_and_age, line_columns
from limitlens.features.spine import lines_at
from limitlens.limits.state import first_state
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.explanation import shap_values
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.pages.amounts import value, with_sign
from limitlens.pipeline.workspace import Workspace

#: Columns named, the strongest first.
_SHOWN = 10


@dataclass(frozen=True)
class Contribution:
    """What one column did to the log-odds of default (SHAP), its value as people read it, and why it should matter."""

    feature: str
    value: str
    log_odds: float
    why: str


@dataclass(frozen=True)
class PdAnswer:
    """The PD of one line at one moment, and what pushed it, the strongest first."""

    account_id: str
    as_of: str
    pd: float
    model_version: str
    contributions: tuple[Contribution, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, which calls the contributions ``pushes``."""
        return {"pushes" if name == "contributions" else name: one for name, one in asdict(self).items()}


def why_pd(workspace: Workspace, account_id: str, as_of: datetime | None = None) -> PdAnswer | None:
    """Explain the PD of a line without a limit by the champion; ``None`` for any other line.

    Parameters
    ----------
    workspace : Workspace
    account_id : str
    as_of : datetime, optional
        Default: where the data end.

    Raises
    ------
    WorkspaceError
        There is no champion, or the data do not reach the moment.
    """
    version = workspace.registry.champion()
    if version is None:
        raise WorkspaceError("no champion to score with; run limitlens promote first.")
    end = data_end(workspace.events.latest_known())
    if as_of and as_of > end:
        raise WorkspaceError(f"cannot score as of {format_time(as_of)}: the data end at {format_time(end)}.")
    iteration = workspace.scoring(version)
    features = iteration.model.features
    point = pd.DataFrame({"account_id": [account_id], "as_of": pd.DatetimeIndex([as_of or end]).as_unit("us")})
    lines = lines_at(point.assign(known_by=point["as_of"]), workspace.relations(features))
    if lines.empty or lines["limit_cents"].iloc[0] != NO_LIMIT:
        return None
    tables = tables_at(lines[["account_id", "as_of", "known_by"]], {features}, workspace)
    row = rows_at(tables[features.digest], lines["account_id"], lines["as_of"], lines["known_by"])
    state = first_state(lines, np.zeros(1, bool))
    return PdAnswer(
        account_id=account_id,
        as_of=format_time(as_of or end),
        pd=float(iteration.score(row, state)[0]),
        model_version=version,
        contributions=_contributions(iteration.model, row, state),
    )


def _contributions(model: DefaultRiskModel, row: pd.DataFrame, state: pd.DataFrame) -> tuple[Contribution, ...]:
    limit, age = limit_and_age(state)
    shap = shap_values(model, row, limit, age).iloc[0]
    known = pd.concat([row, line_columns(model.features, row, limit, age)], axis=1).iloc[0]
    declared = model.features.declaration_of
    names = sorted(shap.index[shap != 0], key=lambda name: (-abs(shap[name]), name))[:_SHOWN]
    meaning: Mapping[str, str] = LINE_MEANING | {name: one.why for name, one in declared.items()}
    units = {name: one.unit for name, one in declared.items()}
    return tuple(
        Contribution(
            name, _shown(known[name], units.get(name, "")), float(shap[name]), meaning.get(name, "an attribute")
        )
        for name in names
    )


def _shown(cell: Any, unit: str) -> str:
    if isinstance(cell, str):
        return cell
    return "none" if pd.isna(cell) else value(float(cell), unit)


def pd_lines(answer: PdAnswer) -> list[str]:
    """The answer for a terminal."""
    return [
        f"{answer.account_id} · as of {answer.as_of} · came without a limit: scored, never decided",
        f"  PD {answer.pd:.2%} by version {answer.model_version}. Pushed, in log-odds of default, by:",
        *(f"    {one.feature} {one.value} ({with_sign(one.log_odds, 2)}): {one.why}" for one in answer.contributions),
    ]
