"""Spared: actions against a line that were asked for, and that a protection of the policy kept from being done."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import FLAGGED, Policy

#: How each protection is switched off: that of the policy, or that of the state.
_OFF: Mapping[str, Callable[[Policy], Policy]] = {
    "holdout": lambda policy: policy,
    "loss_floor": lambda policy: replace(policy, loss=replace(policy.loss, adverse_above_cents=0)),
    "dead_band": lambda policy: replace(policy, timers=replace(policy.timers, dead_band_log_odds=0.0)),
    "new_line": lambda policy: replace(policy, new_lines=replace(policy.new_lines, protected_days=0)),
}

#: What can spare a line: the do-not-cut holdout, a small avoidable loss, a PD that hardly moved, a new line.
PROTECTIONS = tuple(_OFF)

#: Columns of :func:`spared`.
SPARED = ("spared_by", "spared_action", "spared_limit_cents")


def spared(iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """Find the lines that would have been paused, cut, frozen or closed without the protections of the policy.

    The lines are decided again by the same function, first with no protection, then with each alone.

    Parameters
    ----------
    iteration : Iteration
    table, state : DataFrames of n rows
        Features, and state before the decision.
    decided : DataFrame of n rows
        The decisions that stand. A line on hold is not spared: what it waits for is recorded beside it.

    Returns
    -------
    DataFrame indexed like ``decided``
        ``spared_by`` (list of str), each of :data:`PROTECTIONS` that alone was enough; ``spared_action`` and
        ``spared_limit_cents``, what would have been done without any; null where nothing was spared.
    """
    record = pd.DataFrame(None, index=decided.index, columns=list(SPARED), dtype=object)
    pd_ = decided["pd"].to_numpy(np.float64)
    without = _with_only(None, iteration, table, state, pd_)
    done = decided["action"].isin([*FLAGGED, "hold"]).to_numpy()
    rows = np.flatnonzero(without["action"].isin(FLAGGED).to_numpy() & ~done)
    if not len(rows):
        return record
    some, some_state = table.iloc[rows], state.iloc[rows]
    alone = {name: _with_only(name, iteration, some, some_state, pd_[rows]) for name in PROTECTIONS}
    enough = np.array([~alone[name]["action"].isin(FLAGGED).to_numpy() for name in PROTECTIONS])
    by = [[name for name, on in zip(PROTECTIONS, column, strict=True) if on] for column in enough.T]
    record.iloc[rows, 0] = pd.Series(by, dtype=object).to_numpy()
    for place, name in enumerate(("action", "limit_cents"), start=1):
        record.iloc[rows, place] = without[name].iloc[rows].astype(object).to_numpy()
    return record


def _with_only(
    kept: str | None, iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, pd_: np.ndarray
) -> pd.DataFrame:
    """Decisions with one protection, or none."""
    policy = iteration.policy
    for name, off in _OFF.items():
        policy = policy if name == kept else off(policy)
    exposed = state if kept == "holdout" else state.assign(holdout=False)
    return replace(iteration, policy=policy).rules(table, pd_, exposed)
