"""Letters that are due: what was decided against customers or taken back and has no letter yet, and what it may say.

A letter names as a reason only what the stored split allows. Where the decision would have been the same without
anything that the customer did since the one before, it says so: what counted is told as the state of the account, and
what late or corrected records brought about is told as that.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from limitlens.data.calendar import format_time, parse_time
from limitlens.data.progress import Progress, silent
from limitlens.limits.hold import DATA_INCIDENT
from limitlens.limits.iteration import Iteration
from limitlens.limits.notices import Key, key_of, letter_log
from limitlens.limits.policy import ADVERSE, FLAGGED
from limitlens.limits.recourse import find_recourse
from limitlens.limits.second_look import second_look_at
from limitlens.limits.state import state_before, unpacked
from limitlens.pipeline.deciding.held_lines import recorded_holds, with_holds, with_moments
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.replay import check_replayed, iterations, recorded_decisions
from limitlens.pipeline.workspace import Workspace

#: What an order of a person may do against a customer.
_ORDERED = ("close", "freeze", "limit")

#: Reasons whose words say that something changed: never told where no change of the customer's was needed.
OF_CHANGE = frozenset({"spending_pattern", "unusual_sign_in"})

#: Letters about decisions, which those about anything else of the same moment do not stand in for.
_OF_DECISIONS = ("adverse", "pause")

#: Decisions whose features are built again at a time.
_AT_ONCE = 2_000

#: Decisions against customers by dates of a plan with what their split says; a backtest was never carried out.
_DECIDED = f"""
SELECT account_id, as_of, previous_as_of, phi_state IS NULL AS unsplit, necessary_behaviour, sufficient_behaviour,
    necessary_data
FROM current WHERE run_id IN (SELECT run_id FROM runs WHERE NOT backtest) AND action IN {tuple(sorted(FLAGGED))}
"""


def due_letters(
    workspace: Workspace, since: datetime | None = None, *, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Everything that needs a letter and has none.

    Parameters
    ----------
    workspace : Workspace
    since : datetime, optional
        Only what was decided, ordered or made good then or later.
    progress : callable

    Returns
    -------
    list of dict
        ``account_id, at, kind, about`` and ``facts`` (dict) of each, in no order.

    Raises
    ------
    IntegrityError
        A decision cannot be reproduced from the events.
    """
    known = {key_of(row) for row in letter_log(workspace.root)}
    rows = [*_decided(workspace, known, since, progress), *_paused_within_the_day(workspace, known)]
    rows += _of_persons(workspace, known)
    return [row for row in rows if key_of(row) not in known and (not since or row["at"] >= since)]


def _decided(workspace: Workspace, known: set[Key], since: datetime | None, progress: Progress) -> list[dict[str, Any]]:
    """Adverse decisions and pauses of all runs that have no letter and were not made good before they had one."""
    ledger = workspace.ledger
    if not ledger.runs():
        return []
    flags = ledger.table(_DECIDED).to_pandas()
    written = {(account, at) for account, at, kind, _ in known if kind in _OF_DECISIONS}
    keys = list(zip(flags["account_id"], flags["as_of"], strict=True))
    gone = taken_back(keys, ledger.overrides())
    open_ = [key not in written and key not in gone and (not since or key[1] >= since) for key in keys]
    flags = flags[open_]
    if flags.empty:
        return []
    decisions = recorded_decisions(workspace, list(flags["account_id"].unique()))
    due = decisions.merge(flags, on=["account_id", "as_of"])
    letters = []
    for start in range(0, len(due), _AT_ONCE):
        some = due.iloc[start : start + _AT_ONCE].reset_index(drop=True)
        progress(f"deciding {len(some):,} decisions again, and what would have helped")
        letters += _explained(workspace, some)
    return letters


def taken_back(keys: Sequence[tuple[str, datetime]], orders: pd.DataFrame) -> set[tuple[str, datetime]]:
    """Decisions that were made good: the line is as it was before the first of them, so what came of it went with it.

    Parameters
    ----------
    keys : sequence of (str, datetime)
        Account and time of decisions.
    orders : DataFrame of :data:`limitlens.limits.ledger_tables.OVERRIDES`

    Examples
    --------
    >>> day = [datetime(2026, 6, n) for n in range(1, 5)]
    >>> orders = pd.DataFrame({"account_id": ["a"], "restores": [day[1]], "at": [day[3]]})
    >>> sorted(at.day for _, at in taken_back([("a", one) for one in day], orders))
    [2, 3]
    """
    spans = dict[str, list[tuple[datetime, datetime]]]()
    for account, first, until in orders.dropna(subset="restores")[["account_id", "restores", "at"]].to_numpy():
        spans.setdefault(account, []).append((first, until))
    return {(account, at) for account, at in keys if any(a <= at < b for a, b in spans.get(account, ()))}


def _explained(workspace: Workspace, due: pd.DataFrame) -> list[dict[str, Any]]:
    made_by = iterations(workspace, set(due["run_id"]))
    held = recorded_holds(due, workspace)
    moments = with_moments(due[["account_id", "as_of"]].assign(known_by=due["as_of"]), held)
    tables = tables_at(moments, {iteration.model.features for iteration in made_by.values()}, workspace)
    letters = []
    for run_id, of_run in due.groupby("run_id", sort=False):
        rows, iteration = of_run.reset_index(drop=True), made_by[str(run_id)]
        at, state = rows["as_of"], state_before(rows)
        table = rows_at(tables[iteration.model.features.digest], rows["account_id"], at, at)
        decided = iteration.decide(table, state)
        check_replayed(rows, with_holds(decided, rows, state, held, now=iteration, tables=tables))
        for place, row in rows.iterrows():
            one = slice(int(str(place)), int(str(place)) + 1)
            facts = may_say(row) | {"second_look": second_look_at(row, iteration.policy)}
            facts["currency"] = iteration.policy.currency
            letters.append(_letter(row, facts | _help(iteration, table[one], state[one], row, facts)))
    return letters


def may_say(decision: pd.Series) -> dict[str, Any]:
    """What a letter may say of a decision and its causes.

    Parameters
    ----------
    decision : Series
        With ``action, limit_before_cents, limit_cents, reasons`` and, of its split, ``unsplit, previous_as_of,
        necessary_behaviour, sufficient_behaviour, necessary_data``.

    Returns
    -------
    dict
        ``own``: what the customer did was needed or enough, or there was no decision before. ``records``: with all
        records in time it would have been another decision. ``reasons``: codes, at most four.
    """
    unsplit = bool(decision["unsplit"])
    own = unsplit or bool(decision["necessary_behaviour"]) or bool(decision["sufficient_behaviour"])
    records = not unsplit and bool(decision["necessary_data"])
    reasons = list(decision["reasons"])
    if not own:
        reasons = [DATA_INCIDENT] if records else [code for code in reasons if code not in OF_CHANGE]
    return {
        "action": str(decision["action"]),
        "limit_before_cents": int(decision["limit_before_cents"]),
        "limit_cents": int(decision["limit_cents"]),
        "own": own,
        "records": records,
        "reasons": reasons,
        "since": None if unsplit else format_time(decision["previous_as_of"].to_pydatetime()),
    }


def _help(
    iteration: Iteration, table: pd.DataFrame, state: pd.DataFrame, decision: pd.Series, facts: dict[str, Any]
) -> dict[str, Any]:
    """What would have led to a milder decision; of a pause, to none. Not asked where our records were the cause."""
    if facts["records"] and not facts["own"]:
        return {"help_sought": False, "recourse": None}
    table, state = table.reset_index(drop=True), state.reset_index(drop=True)
    paused = decision["action"] == "pause"
    if paused:  # it puts off what would be done at once
        iteration = replace(iteration, policy=replace(iteration.policy, second_look=None))
        state = state.assign(watched=False)
        decision = iteration.decide(table, state).iloc[0]
    recourse = find_recourse(iteration, table, state, decision)
    if recourse and paused and recourse.action in ADVERSE:  # it would have been put off all the same
        recourse = None
    return {"help_sought": True, "recourse": asdict(recourse) if recourse else None}


def _letter(row: pd.Series, facts: dict[str, Any]) -> dict[str, Any]:
    kind = "pause" if facts["action"] == "pause" else "adverse"
    return {
        "account_id": row["account_id"],
        "at": row["as_of"].to_pydatetime(),
        "kind": kind,
        "about": "",
        "facts": facts,
    }


def _paused_within_the_day(workspace: Workspace, known: set[Key]) -> list[dict[str, Any]]:
    """Pauses of the watch that no run has taken in yet: they have no split, and the rule that fired is the reason."""
    letters = []
    for tick in workspace.ledger.pending_ticks():
        policy = workspace.policy(tick.policy_digest)
        decisions = unpacked(pa.Table.from_batches(tick.decisions.to_batches(), tick.decisions.schema))
        for _, row in decisions[decisions["action"] == "pause"].iterrows():
            if (row["account_id"], row["as_of"].to_pydatetime(), "pause", "") not in known:
                facts = may_say(pd.concat([row, pd.Series({"unsplit": True})]))
                facts |= {"second_look": second_look_at(row, policy), "help_sought": False, "recourse": None}
                facts["currency"] = policy.currency
                letters.append(_letter(row, facts))
    return letters


def _of_persons(workspace: Workspace, known: set[Key]) -> list[dict[str, Any]]:
    """Orders against customers, and decisions that were made good; those of erased accounts say nothing any more."""
    letters = [letter for order in workspace.ledger.overrides().to_dict("records") if (letter := _of_order(order))]
    letters = [letter for letter in letters if key_of(letter) not in known]
    accounts = sorted({letter["account_id"] for letter in letters})
    held = set(workspace.ledger.last_decisions(accounts)["account_id"].to_pylist()) if accounts else set[str]()
    currency = workspace.policy_in_force().currency if held else ""
    letters = [letter for letter in letters if letter["account_id"] in held]
    for letter in letters:
        letter["facts"]["currency"] = currency
        if letter["kind"] == "withdrawal":
            letter["facts"] |= _undone(workspace, letter)
    return letters


def _of_order(order: dict[Any, Any]) -> dict[str, Any] | None:
    """The letter about an order of a person; None: it is in favour of the customer."""
    before, after = int(order["limit_before_cents"]), int(order["limit_cents"])
    key = {"account_id": order["account_id"], "at": order["at"].to_pydatetime()}
    facts: dict[str, Any] = {"limit_before_cents": before, "limit_cents": after}
    if order["action"] == "restore":
        decided_at = format_time(order["restores"].to_pydatetime())
        facts |= {"can_draw": bool(order["can_draw"]), "decided_at": decided_at}
        return key | {"kind": "withdrawal", "about": decided_at, "facts": facts}
    if order["action"] in _ORDERED and (order["action"] != "limit" or after < before):
        return key | {"kind": "order", "about": "", "facts": facts | {"action": str(order["action"])}}
    return None


#: Decisions against an account that a restoration took back: the one it names, and what came after it.
_UNDONE = f"""
SELECT as_of, action FROM decisions
WHERE account_id = $account AND as_of >= $since AND as_of < $until AND action IN {tuple(sorted(FLAGGED))} ORDER BY as_of
"""


def _undone(workspace: Workspace, letter: dict[str, Any]) -> dict[str, Any]:
    """The ``action`` that a restoration took back, and those ``later`` ones that went with it."""
    facts = letter["facts"]
    values = {"account": letter["account_id"], "since": parse_time(facts["decided_at"]), "until": letter["at"]}
    first, *later = workspace.ledger.table(_UNDONE, values, few=True).to_pylist()
    rows = [{"action": row["action"], "decided_at": format_time(row["as_of"])} for row in later]
    return {"action": first["action"], "later": rows}
