"""Replay: rebuild recorded decisions from the events as they were known, and compare them to the last bit."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError
from limitlens.data.progress import Progress, silent
from limitlens.limits.iteration import Iteration
from limitlens.limits.state import state_before, unpacked
from limitlens.pipeline.deciding.held_lines import OUTCOMES, recorded_holds, with_holds, with_moments
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.workspace import Workspace

_OF_OUTCOMES = tuple(f"{name}_{what}" for name in OUTCOMES for what in ("action", "limit_cents"))
_COMPARED = ("action", "limit_cents", "can_draw", "pd", *_OF_OUTCOMES)


def recorded_decisions(workspace: Workspace, accounts: Sequence[str] | None = None) -> pd.DataFrame:
    """Recorded decisions with their state unpacked, by account and time; of some accounts, or of all."""
    return unpacked(recorded_table(workspace, accounts))


def recorded_table(workspace: Workspace, accounts: Sequence[str] | None = None) -> pa.Table:
    """:func:`recorded_decisions` as the ledger has them."""
    where = "" if accounts is None else "WHERE account_id = ANY($accounts)"
    values = None if accounts is None else {"accounts": list(accounts)}
    sql = f"SELECT * FROM decisions {where} ORDER BY account_id, as_of"
    return run_sql(sql, {"decisions": workspace.ledger.relation("decisions")}, values)


#: Iterations by model version and digest of the policy.
Loaded = dict[tuple[str, str], Iteration]


def iterations(workspace: Workspace, run_ids: set[str], loaded: Loaded | None = None) -> dict[str, Iteration]:
    """The iteration behind each of some runs; runs of one iteration share one object, with those ``loaded`` before."""
    loaded, by_run = {} if loaded is None else loaded, {}
    for run in workspace.ledger.runs():
        if run.run_id in run_ids:
            key = (run.model_version, run.policy_digest)
            if key not in loaded:
                loaded[key] = workspace.iteration(*key)
            by_run[run.run_id] = loaded[key]
    return by_run


def replay(workspace: Workspace, progress: Progress = silent, account_id: str | None = None) -> int:
    """Decide every recorded decision again and compare action, limit, ``can_draw`` and PD.

    Parameters
    ----------
    workspace : Workspace
    progress : callable
        Told how far it is.
    account_id : str, optional
        Only the decisions of this account.

    Returns
    -------
    int
        Number of decisions compared.

    Raises
    ------
    IntegrityError
        Names the first decision that comes out differently.
    """
    decisions = recorded_decisions(workspace, [account_id] if account_id else None)
    made_by = iterations(workspace, set(decisions["run_id"]))
    held = recorded_holds(decisions, workspace)
    moments = with_moments(decisions[["account_id", "as_of"]].assign(known_by=decisions["as_of"]), held)
    progress(f"rebuilding {len(moments):,} rows of features")
    tables = tables_at(moments, {i.model.features for i in made_by.values()}, workspace)
    for run_id, rows in decisions.groupby("run_id", sort=False):
        recorded = rows.reset_index(drop=True)
        iteration = made_by[str(run_id)]
        at = recorded["as_of"]
        table = rows_at(tables[iteration.model.features.digest], recorded["account_id"], at, at)
        state = state_before(recorded)
        decided = with_holds(iteration.decide(table, state), recorded, state, held, now=iteration, tables=tables)
        check_replayed(recorded, decided)
        progress(f"{len(recorded):,} decisions of run {str(run_id)[:12]} are equal")
    return len(decisions)


def check_replayed(recorded: pd.DataFrame, replayed: pd.DataFrame) -> None:
    """Refuse decisions that come out differently in action, limit, ``can_draw``, PD or one of two outcomes.

    Raises
    ------
    IntegrityError
        Names the first.
    """
    for column in _COMPARED:
        one, other = recorded[column], replayed[column]
        wrong = np.flatnonzero(((one != other) & ~(one.isna() & other.isna())).to_numpy())
        if len(wrong):
            row = recorded.iloc[wrong[0]]
            raise IntegrityError(
                f"account {row['account_id']} as of {row['as_of']}: {column} is recorded as {row[column]}, but replays "
                f"as {replayed[column].iloc[wrong[0]]}; {len(wrong)} decisions differ."
            )
