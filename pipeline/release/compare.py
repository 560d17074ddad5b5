"""Compare: the whole book under two versions, today and at the last moment whose outcomes are known."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.calendar import format_time, last_decision_dates
from limitlens.data.errors import WorkspaceError
from limitlens.data.html_table import html_table
from limitlens.data.progress import Progress, silent
from limitlens.features.line import LINE_FACTS
from limitlens.features.spine import book, with_limit
from limitlens.limits.comparison import Breach, Comparison, breaches, compare_decisions, driving_features
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Policy
from limitlens.limits.state import first_state, unpacked
from limitlens.models.explanation import shap_values
from limitlens.pipeline.deciding.plan import expect_limits
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.states_before import states_before
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace

#: SHAP of at most this many moved lines says which features drive the moves.
_MAX_EXPLAINED = 1_000


@dataclass(frozen=True)
class Compared:
    """Two versions side by side.

    Parameters
    ----------
    old, new : str
        Model versions.
    today, matured : datetime
        Moments at which the book was decided under both: the last that the data reach, and the last whose outcomes
        are known.
    comparison : Comparison
    drivers : DataFrame
        See :func:`limitlens.limits.comparison.driving_features`; over lines whose limit moves.
    breaches : tuple of Breach
        Where the budget of the old version's policy is exceeded.
    approver : str
        Who may override it.
    """

    old: str
    new: str
    today: datetime
    matured: datetime
    comparison: Comparison
    drivers: pd.DataFrame
    breaches: tuple[Breach, ...]
    approver: str

    def _repr_html_(self) -> str:
        """Limits that would move, by segment, and what exceeds the budget, for a notebook."""
        rows: list[tuple[object, ...]] = [
            (
                name,
                f"{row['lines']:,}",
                f"{row['moved']:,}",
                money(int(row["raised_cents"])),
                money(int(row["cut_cents"])),
            )
            for name, row in self.comparison.segments.to_dict("index").items()
        ]
        rows += [("over the budget", str(breach)) for breach in self.breaches]
        titles = ("segment", "lines", "limits that would move", "raised", "cut")
        return html_table(f"version {self.old} beside {self.new}", rows, titles)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "old": self.old,
            "new": self.new,
            "today": self.today.isoformat(),
            "matured": self.matured.isoformat(),
            **self.comparison.to_dict(),
            "drivers": self.drivers.to_dict("records"),
            "breaches": [str(breach) for breach in self.breaches],
            "approver": self.approver,
        }


def compare(
    workspace: Workspace,
    old_version: str,
    new_version: str,
    *,
    policy: Policy | None = None,
    until: datetime | None = None,
    progress: Progress = silent,
) -> Compared:
    """Decide the book under two versions from the same states, without recording anything.

    Parameters
    ----------
    workspace : Workspace
    old_version, new_version : str
        Model versions, each with the policy it was released with.
    policy : Policy, optional
        In place of the new version's.
    until : datetime, optional
        Use only what was known before.
    progress : callable

    Raises
    ------
    WorkspaceError
        A version does not exist, or there is no line to decide.
    InputError
        No line has a limit.
    """
    old, new = workspace.iteration(old_version), workspace.iteration(new_version)
    new = Iteration(new.model, policy, new_version) if policy else new
    known_until = workspace.events.known_until()
    today = last_decision_dates(min(until, known_until) if until else known_until)[-1]
    rows, state = book_today(workspace, today, old, new, progress)
    progress(f"deciding {len(state):,} lines of {format_time(today)} under {old_version} and {new_version}")
    now = _decided(old, new, rows, state)
    alone = {
        "model": _decided(old, Iteration(new.model, old.policy, new_version), rows, state),
        "policy": _decided(old, Iteration(old.model, new.policy, new_version), rows, state),
    }
    moved_by = {name: int(_moved(decided).sum()) for name, decided in alone.items()}
    matured, decided = _matured(workspace, old, new, until, progress)
    comparison = compare_decisions(now, decided, moved_by)
    return Compared(
        old=old_version,
        new=new_version,
        today=today,
        matured=matured,
        comparison=comparison,
        drivers=_drivers(old, new, rows, state, _moved(now)),
        breaches=tuple(breaches(comparison, old.policy.release)),
        approver=old.policy.release.approver,
    )


#: Feature rows of the same lines for the old and the new model.
_Rows = tuple[pd.DataFrame, pd.DataFrame]


def book_today(
    workspace: Workspace, today: datetime, old: Iteration, new: Iteration, progress: Progress
) -> tuple[_Rows, pd.DataFrame]:
    """The open lines of the book as the ledger has left them.

    Returns
    -------
    rows : (DataFrame, DataFrame)
        Feature rows of the lines, for the old and the new model.
    state : DataFrame
        Their states.

    Raises
    ------
    WorkspaceError
        There is none.
    """
    relations = workspace.relations(new.model.features)
    expect_limits(today, relations)
    lines = with_limit(book([today], relations)).reset_index(drop=True)
    state = states_before(lines, unpacked(workspace.ledger.last_decisions()), workspace.ledger.overrides(), old.policy)
    state = state[~state["closed"]]
    if state.empty:
        raise WorkspaceError(f"no line stands in the book at {format_time(today)}; there is nothing to compare.")
    lines = lines.loc[state.index].reset_index(drop=True)
    progress(f"features of {len(lines):,} lines at {format_time(today)}")
    moments = lines[["account_id", "as_of", "known_by"]]
    tables = tables_at(moments, {old.model.features, new.model.features}, workspace)
    keys = (lines["account_id"], lines["as_of"], lines["known_by"])
    rows = tuple(rows_at(tables[side.model.features.digest], *keys) for side in (old, new))
    return (rows[0], rows[1]), state.reset_index(drop=True)


def _decided(old: Iteration, new: Iteration, rows: _Rows, state: pd.DataFrame) -> pd.DataFrame:
    """Actions and limits of the same lines under both."""
    before, after = old.decide(_for(old, old, rows), state), new.decide(_for(new, old, rows), state)
    return pd.DataFrame(
        {
            "segment": rows[0]["segment"],
            "line_age_days": state["line_age_days"],
            "action_old": before["action"],
            "action_new": after["action"],
            "limit_old_cents": before["limit_cents"],
            "limit_new_cents": after["limit_cents"],
        }
    )


def _for(side: Iteration, old: Iteration, rows: _Rows) -> pd.DataFrame:
    return rows[0] if side.model.features == old.model.features else rows[1]


def _moved(decided: pd.DataFrame) -> pd.Series:
    return decided["limit_old_cents"] != decided["limit_new_cents"]


def _matured(
    workspace: Workspace,
    old: Iteration,
    new: Iteration,
    until: datetime | None,
    progress: Progress,
) -> tuple[datetime, pd.DataFrame]:
    """The last book whose outcomes are known; members that never saw an account score it."""
    table = build_training_table(workspace, new.model.settings, until, progress)
    decidable = with_limit(table.rows)
    if decidable.empty:
        raise WorkspaceError("no line with a limit has a known outcome; there is nothing to compare.")
    rows = table.with_features(decidable[decidable["as_of"] == decidable["as_of"].max()])
    as_of: datetime = rows["as_of"].iloc[0].to_pydatetime()
    state = first_state(rows, np.zeros(len(rows), bool))
    features = rows.drop(columns=list(LINE_FACTS))
    if old.model.features == new.model.features == table.features:
        both = (features, features)
    else:
        moments = rows[["account_id", "as_of"]].assign(known_by=rows["as_of"])
        tables = tables_at(moments, {old.model.features, new.model.features}, workspace)
        keys = (moments["account_id"], moments["as_of"], moments["known_by"])
        before, after = (rows_at(tables[side.model.features.digest], *keys) for side in (old, new))
        both = (before, after)
    return as_of, _decided(old, new, both, state).assign(bad=rows["bad"].astype(bool))


def _drivers(old: Iteration, new: Iteration, rows: _Rows, state: pd.DataFrame, moved: pd.Series) -> pd.DataFrame:
    chosen = np.flatnonzero(moved)[:_MAX_EXPLAINED]
    if not len(chosen):
        return driving_features(pd.DataFrame(columns=["limit_cents"]), pd.DataFrame(columns=["limit_cents"])).head(0)
    limit, age = (state[name].to_numpy(np.int64)[chosen] for name in ("limit_cents", "line_age_days"))
    explained = [shap_values(side.model, _for(side, old, rows).iloc[chosen], limit, age) for side in (old, new)]
    return driving_features(*explained).head(20)
