"""Stepping: decide the lines of one step from the state that the last decisions left."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from limitlens.data.frames import is_among
from limitlens.limits.iteration import Iteration
from limitlens.limits.spared import spared
from limitlens.limits.state import next_state, state_before
from limitlens.pipeline.deciding.held_lines import HeldLines, with_holds
from limitlens.pipeline.deciding.plan import Step
from limitlens.pipeline.deciding.point_in_time import Tables, rows_at
from limitlens.pipeline.deciding.states_before import states_before


def decide_step(
    lines: pd.DataFrame,
    latest: pd.DataFrame,
    overrides: pd.DataFrame,
    now: Iteration,
    tables: Tables,
    *,
    held: HeldLines | None = None,
) -> pd.DataFrame:
    """Decide the lines that are not closed.

    Parameters
    ----------
    lines : DataFrame with ``account_id, as_of, opened_at, limit_cents``
    latest : DataFrame
        Last decision of each account so far, with its state as ``state.*``.
    overrides : DataFrame
        As :meth:`limitlens.limits.ledger.Ledger.overrides` gives them.
    now : Iteration
    tables : mapping of feature set digest to feature table
    held : HeldLines, optional
        Which holds touch which lines; default: none.

    Returns
    -------
    DataFrame
        ``account_id, as_of``, the decisions, what :func:`limitlens.limits.spared.spared` says of them,
        ``limit_before_cents``, and the state before as ``state.*``.
    """
    state = states_before(lines, latest, overrides, now.policy)
    state = state[~state["closed"]]
    lines = lines.loc[state.index].reset_index(drop=True)
    state = state.reset_index(drop=True)
    table = rows_at(tables[now.model.features.digest], lines["account_id"], lines["as_of"], lines["as_of"])
    decisions = now.decide(table, state)
    if held is not None:
        decisions = with_holds(decisions, lines, state, held, now=now, tables=tables)
    left = spared(now, table, state, decisions)
    before = pd.DataFrame({"limit_before_cents": state["limit_cents"]})
    return pd.concat([lines[["account_id", "as_of"]], decisions, left, before, state.add_prefix("state.")], axis=1)


def paused_lines(latest: pd.DataFrame, dates: Sequence[datetime]) -> pd.DataFrame:
    """Lines that wait for a second look after their last decision, at each of some dates.

    Parameters
    ----------
    latest : DataFrame
        Last decision of each account, with its state as ``state.*``.
    dates : sequence of datetime

    Returns
    -------
    DataFrame with ``account_id, as_of, opened_at, limit_cents``
    """
    may_wait = (latest["action"] == "pause") | latest["state.paused_at"].notna()
    last = latest[may_wait].reset_index(drop=True)
    state = next_state(state_before(last), last, last["as_of"])
    waiting = last.loc[state["paused_at"].notna(), "account_id"]
    lines = state.loc[waiting.index, ["opened_at", "limit_cents"]].assign(account_id=waiting)
    moments = pd.DataFrame({"as_of": pd.Series(list(dates), dtype="datetime64[us, UTC]")})
    return lines.merge(moments, how="cross")[["account_id", "as_of", "opened_at", "limit_cents"]]


def due_for_second_look(latest: pd.DataFrame, planned: Sequence[Step], date: datetime) -> pd.DataFrame:
    """:func:`paused_lines` at a date at which they are not decided anyway."""
    due = paused_lines(latest, [date])
    at_date = [step.lines.loc[step.lines["as_of"] == date, "account_id"] for step in planned]
    return due[~is_among(due["account_id"], pd.concat(at_date))] if at_date else due


def latest_after(latest: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """Last decision of each account, once some more were made."""
    return pd.concat([latest, decided]).drop_duplicates("account_id", keep="last")
