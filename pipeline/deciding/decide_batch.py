"""Decide lines in batches: each line from the state that its last decision left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from limitlens.data.arrays import BoolArray
from limitlens.data.frames import is_among
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Policy
from limitlens.limits.spared import spared
from limitlens.limits.state import next_state, state_before
from limitlens.pipeline.deciding.held_lines import HeldLines, with_holds
from limitlens.pipeline.deciding.plan import PLANNED
from limitlens.pipeline.deciding.point_in_time import Tables, is_missing, joined, rows_at
from limitlens.pipeline.deciding.states_before import states_before

_KEYS = ["account_id", "as_of"]


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
    lines : DataFrame with ``account_id, as_of, opened_at, limit_cents, watched``
        Those that are ``watched`` are decided within the day: drawing may be paused, a pause be lifted, and no more.
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
    state = states_before(lines, latest, overrides, now.policy).assign(watched=lines["watched"].astype(bool))
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


@dataclass(frozen=True)
class Known:
    """What is known of lines at decisions to come: features, and which holds touch them."""

    tables: Tables
    held: HeldLines | None = None

    def joined(self, more: "Known") -> "Known":
        """What is known of the lines of both."""
        held = self.held
        if held is not None and more.held is not None:
            held = replace(held, pairs=pd.concat([held.pairs, more.held.pairs]).drop_duplicates(ignore_index=True))
        return Known(joined(self.tables, more.tables), held)

    def of(self, lines: pd.DataFrame, now: Iteration) -> BoolArray:
        """Of which lines the features that an iteration reads are known."""
        return ~is_missing(lines.assign(known_by=lines["as_of"]), self.tables[now.model.features.digest])


def decide_lines(
    planned: pd.DataFrame,
    latest: pd.DataFrame,
    overrides: pd.DataFrame,
    now: Iteration,
    known_of: Callable[[pd.DataFrame, pd.DataFrame], Known],
    *,
    dates: Sequence[datetime],
) -> tuple[pd.DataFrame, Known]:
    """Decide planned lines at their dates, and paused ones at every date until their pause is over.

    No line touches another: the first decision of every line is made together, then the second of those that have one,
    and so on.

    Parameters
    ----------
    planned : DataFrame
        As :func:`limitlens.pipeline.deciding.plan.plan_lines` gives it.
    latest : DataFrame
        Last decision of each account so far, with its state as ``state.*``.
    overrides : DataFrame
        As :meth:`limitlens.limits.ledger.Ledger.overrides` gives them.
    now : Iteration
    known_of : callable
        Gives what is known of lines at decisions to come, after the last ones that were made.
    dates : sequence of datetime
        Those at which paused lines are looked at, ascending.

    Returns
    -------
    (DataFrame, Known)
        As :func:`decide_step` gives them, with ``date``, in the order they were made in; and all that was known.
    """
    rest = planned.sort_values(_KEYS, ignore_index=True)
    ahead = pd.concat([rest, _looks_ahead(paused_lines(latest), now.policy, dates)])
    known, made, gone = known_of(ahead.drop_duplicates(_KEYS), latest), list[pd.DataFrame](), pd.Series(dtype=str)
    while True:
        waiting = paused_lines(latest[~is_among(latest["account_id"], gone)])
        due = _first_of_each(pd.concat([rest, _next_looks(waiting, dates)], ignore_index=True))
        ready = due[known.of(due, now)]
        if due.empty and made:
            return pd.concat(made, ignore_index=True), known
        if ready.empty and len(due):
            known = known.joined(known_of(_looks_ahead(waiting, now.policy, dates), latest))
            continue
        decided = decide_step(ready, latest, overrides, now, known.tables, held=known.held)
        # A person may have closed what was paused.
        gone = pd.concat([gone, ready.loc[~is_among(ready["account_id"], decided["account_id"]), "account_id"]])
        made.append(decided.merge(ready[[*_KEYS, "date"]], on=_KEYS))
        latest, rest = latest_after(latest, made[-1]), _without(rest, ready)


def _first_of_each(lines: pd.DataFrame) -> pd.DataFrame:
    """The first of each account; of two at a time the one that stands first."""
    return lines.sort_values(_KEYS, kind="stable").drop_duplicates("account_id")


def _without(lines: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    gone = pd.MultiIndex.from_frame(lines[_KEYS]).isin(pd.MultiIndex.from_frame(others[_KEYS]))
    return lines[~gone]


def paused_lines(latest: pd.DataFrame) -> pd.DataFrame:
    """Lines that wait for a second look after their last decision.

    Parameters
    ----------
    latest : DataFrame
        Last decision of each account, with its state as ``state.*``.

    Returns
    -------
    DataFrame with ``account_id, opened_at, limit_cents, decided_at, paused_at``
    """
    may_wait = (latest["action"] == "pause") | latest["state.paused_at"].notna()
    last = latest[may_wait].reset_index(drop=True)
    state = next_state(state_before(last), last, last["as_of"])
    lines = state[["opened_at", "limit_cents", "paused_at"]].assign(
        account_id=last["account_id"], decided_at=last["as_of"]
    )
    return lines[lines["paused_at"].notna()].reset_index(drop=True)


def _next_looks(waiting: pd.DataFrame, dates: Sequence[datetime]) -> pd.DataFrame:
    """The first date after their last decision at which :func:`paused_lines` are looked at, if there is one."""
    moments = pd.DatetimeIndex(list(dates), tz="UTC").as_unit("us")
    place = moments.searchsorted(waiting["decided_at"], side="right")
    looks = waiting[place < len(moments)]
    at = moments[place[place < len(moments)]]
    return looks.assign(as_of=at, date=at, watched=False)[list(PLANNED)]


def _looks_ahead(waiting: pd.DataFrame, policy: Policy, dates: Sequence[datetime]) -> pd.DataFrame:
    """The next look, and those until the pause is over; where it should be by now, for as long as a pause is."""
    moments = pd.DataFrame({"as_of": pd.DatetimeIndex(list(dates), tz="UTC").as_unit("us")})
    looks = waiting.merge(moments.assign(date=moments["as_of"], watched=False), how="cross")
    pause = pd.Timedelta(days=max(policy.second_look.after_days if policy.second_look else 0, 1))
    over = looks["paused_at"] + pause
    last = over.where(over > looks["decided_at"], looks["decided_at"] + pause) + pd.Timedelta(days=1)
    until_over = looks.loc[(looks["as_of"] > looks["decided_at"]) & (looks["as_of"] < last), list(PLANNED)]
    return pd.concat([_next_looks(waiting, dates), until_over]).drop_duplicates(_KEYS)


def latest_after(latest: pd.DataFrame, decided: pd.DataFrame) -> pd.DataFrame:
    """Last decision of each account, once some more were made."""
    return pd.concat([latest, decided]).drop_duplicates("account_id", keep="last")
