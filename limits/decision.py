"""The decision: a pure function of features, PD, state and policy. The same input gives the same limit, to the cent."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.resources import thread_count
from limitlens.features.line import DATA_HOLD
from limitlens.limits.policy import ACTIONS, Condition, CutOffs, Policy, Rule
from limitlens.limits.state import NEVER_DAYS

_CODE = {action: code for code, action in enumerate(ACTIONS)}
_KEEP, _REVIEW, _HOLD, _PAUSE = _CODE["keep"], _CODE["review"], _CODE["hold"], _CODE["pause"]

#: Rows decided at a time: their working arrays stay in the cache of a core, and several cores work side by side.
CHUNK_ROWS = 1 << 15

#: What was asked for, in the bits of one number: one for each rule, one for the opening, then the code of PD.
_OPENING_BIT, _PD_BIT = 58, 59

#: What is told when a line was opened above the band of its segment.
OPENING_ABOVE_BAND = "opening_above_band"


@dataclass(frozen=True)
class _Lines:
    """The lines to decide, as arrays of shape (n,); a monthly inflow that is not known is infinite.

    ``kind`` is the place of the segment in the arrays of ``cuts``.
    """

    pd: FloatArray
    limit_cents: IntArray
    balance_cents: IntArray
    inflow_cents: FloatArray
    can_draw: BoolArray
    closed: BoolArray
    held: BoolArray
    holdout: BoolArray
    pd_ref: FloatArray
    age_days: IntArray
    days_since_change: IntArray
    days_since_adverse: IntArray
    days_since_pause: IntArray
    watched: BoolArray
    kind: IntArray
    cuts: Mapping[str, npt.NDArray[np.int64 | np.float64]]

    def rows(self, rows: slice) -> "_Lines":
        """Some of the lines."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)[:-1]})

    @property
    def paused(self) -> BoolArray:
        """Lines that wait for a second look."""
        waiting: BoolArray = self.days_since_pause < NEVER_DAYS
        return waiting

    def cut(self, name: str) -> npt.NDArray[np.int64 | np.float64]:
        """One value of each line's segment."""
        return self.cuts[name][self.kind]


def avoidable_loss_cents(pd_: FloatArray, limit_cents: IntArray, balance_cents: IntArray, policy: Policy) -> FloatArray:
    """Expected loss that a cut can still avoid: PD × LGD × CCF × max(limit − balance, 0), in cents."""
    undrawn = np.maximum(limit_cents - balance_cents, 0)
    loss: FloatArray = pd_ * policy.loss.lgd * policy.loss.ccf * undrawn
    return loss


def decide(table: pd.DataFrame, pd_: FloatArray, state: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Decide every line.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Features and line columns the rules name, with ``segment``; ``balance_cents`` counts as 0 when absent. Lines
        whose ``data_hold`` is true stay as they are: nothing but a person's order moves them.
    pd_ : float64 array of shape (n,)
        Probability of default.
    state : DataFrame of shape (n, ...)
        State of each line before the decision (:data:`limitlens.limits.state.STATE_COLUMNS`).
    policy : Policy

    Returns
    -------
    DataFrame indexed like ``table``: ``action`` (str), ``limit_cents`` (int64), ``can_draw`` (bool), ``pd``
    (float64), ``fired_rules`` (list of str)
        A line that was changed less than a day ago is not changed again, so deciding twice changes nothing. Lines
        with the same fired rules share one list.
    """
    code, limit, can_draw, asked = decide_codes(table, pd_, state, policy)
    return pd.DataFrame(
        {
            "action": pd.array(ACTIONS, dtype="str").take(code),
            "limit_cents": limit,
            "can_draw": can_draw,
            "pd": pd_,
            "fired_rules": _fired_rules(asked, policy),
        },
        index=table.index,
    )


def decide_codes(
    table: pd.DataFrame, pd_: FloatArray, state: pd.DataFrame, policy: Policy
) -> tuple[npt.NDArray[np.int8], IntArray, BoolArray, IntArray]:
    """What :func:`decide` decides, as arrays of shape (n,); a book that is decided many times needs no words.

    Returns
    -------
    (int8 array, int64 array, bool array, int64 array)
        Places of the actions in :data:`limitlens.limits.policy.ACTIONS`, limits in cents, whether the line may draw,
        and what was asked for, in bits.
    """
    lines = _lines(table, pd_, state, policy)
    named = {condition.column for rule in policy.evidence for condition in rule.when}
    columns = {name: table[name].to_numpy(np.float64) for name in named & set(table.columns)}
    code, limit = np.empty(len(table), np.int8), np.empty(len(table), np.int64)
    can_draw, asked = np.empty(len(table), bool), np.empty(len(table), np.int64)

    def work(start: int) -> None:
        rows = slice(start, start + CHUNK_ROWS)
        seen = {name: values[rows] for name, values in columns.items()}
        code[rows], limit[rows], can_draw[rows], asked[rows] = _decide(lines.rows(rows), seen, policy)

    if len(table) <= CHUNK_ROWS:
        work(0)
    else:
        with ThreadPoolExecutor(thread_count()) as pool:
            list(pool.map(work, range(0, len(table), CHUNK_ROWS)))
    return code, limit, can_draw, asked


def inactive_rules(policy: Policy, columns: set[str]) -> list[str]:
    """Names of the rules that cannot fire because a column they need does not exist (its source is absent).

    The affordability band is named as ``affordability``.
    """
    needs = {rule.name: {condition.column for condition in rule.when} for rule in policy.evidence}
    needs["affordability"] = {policy.affordability.inflow_column, policy.affordability.seen_column}
    return [name for name, needed in needs.items() if not needed <= columns]


def _lines(table: pd.DataFrame, pd_: FloatArray, state: pd.DataFrame, policy: Policy) -> _Lines:
    balance = table["balance_cents"].to_numpy(np.int64) if "balance_cents" in table else np.zeros(len(table), np.int64)
    kind, segments = pd.factorize(table["segment"])
    names = (*segments, "default")  # a missing segment has kind -1
    of = [policy.cut_offs(name) for name in names]
    cuts = {field.name: np.array([getattr(cut, field.name) for cut in of]) for field in fields(CutOffs)}
    return _Lines(
        pd=pd_,
        limit_cents=state["limit_cents"].to_numpy(np.int64),
        balance_cents=balance,
        inflow_cents=_monthly_inflow(table, policy),
        can_draw=state["can_draw"].to_numpy(bool),
        closed=state["closed"].to_numpy(bool),
        held=table[DATA_HOLD].to_numpy(bool) if DATA_HOLD in table else np.zeros(len(table), bool),
        holdout=state["holdout"].to_numpy(bool),
        pd_ref=state["pd_ref"].to_numpy(np.float64),
        age_days=state["line_age_days"].to_numpy(np.int64),
        days_since_change=state["days_since_change"].to_numpy(np.int64),
        days_since_adverse=state["days_since_adverse"].to_numpy(np.int64),
        days_since_pause=state["days_since_pause"].to_numpy(np.int64),
        watched=state["watched"].to_numpy(bool),
        kind=kind,
        cuts=cuts | {"opening": np.array([policy.opening_of(name).max_limit_cents for name in names])},
    )


def _monthly_inflow(table: pd.DataFrame, policy: Policy) -> FloatArray:
    known = policy.affordability
    if not {known.inflow_column, known.seen_column} <= set(table.columns):
        return np.full(len(table), np.inf)
    inflow, seen = (table[name].to_numpy(np.float64) for name in (known.inflow_column, known.seen_column))
    return np.where(np.isnan(inflow) | np.isnan(seen), np.inf, inflow / known.inflow_months)


def _decide(
    lines: _Lines, columns: Mapping[str, FloatArray], policy: Policy
) -> tuple[IntArray, IntArray, BoolArray, IntArray]:
    """Action codes, limits, whether the line may draw, and what was asked for as bits, of some lines."""
    wanted = _by_pd(lines, policy)
    opened_above = ~lines.closed & (lines.age_days < 1) & (lines.limit_cents > lines.cut("opening"))
    code = np.where(opened_above, np.maximum(wanted, _REVIEW), wanted)
    hard = np.full(len(code), _KEEP, np.int64)
    soft = policy.second_look.soft_rules if policy.second_look else ()
    alarm, alarming = np.zeros(len(code), bool), policy.watched_rules
    asked = (wanted << _PD_BIT) | (opened_above.astype(np.int64) << _OPENING_BIT)
    for bit, rule in enumerate(policy.evidence):
        fires = _fires(rule, columns, lines, policy)
        code = np.where(fires, np.maximum(code, _CODE[rule.action]), code)
        if rule.name not in soft:
            hard = np.where(fires, np.maximum(hard, _CODE[rule.action]), hard)
        if rule in alarming:
            alarm |= fires
        asked |= fires.astype(np.int64) << bit
    seen = _seen_by_the_watch(code, alarm, lines, policy)
    if policy.second_look or lines.paused.any():
        code = _looked_at_twice(code, hard, lines, policy)
    return *_carry_out(np.where(lines.watched, seen, code), lines, policy), asked


def _adverse(code: IntArray, lines: _Lines, policy: Policy) -> BoolArray:
    """Lines for which an adverse action is asked that would do something: not a decrease that lowers nothing."""
    lowers = (lines.days_since_change >= policy.timers.dwell_days) & (_lowered(lines, policy) < lines.limit_cents)
    adverse: BoolArray = (code > _CODE["decrease"]) | ((code == _CODE["decrease"]) & lowers)
    return adverse


def _seen_by_the_watch(code: IntArray, alarm: BoolArray, lines: _Lines, policy: Policy) -> IntArray:
    """Within the day: pause drawing where a watched rule fires, lift a pause that nothing asks for, and no more."""
    adverse = _adverse(code, lines, policy)
    seen = np.where(lines.paused & ~adverse, _CODE["unfreeze"], _KEEP)
    return np.where(alarm & adverse & lines.can_draw & ~lines.closed, _PAUSE, seen)


def _looked_at_twice(code: IntArray, hard: IntArray, lines: _Lines, policy: Policy) -> IntArray:
    """Pause what is adverse without hard evidence; lift or carry out what was paused, or leave it until its day.

    A decrease that would lower nothing is no reason to pause. Lines that an earlier policy paused are due at once.
    """
    look = policy.second_look
    adverse = _adverse(code, lines, policy)
    waits, paused = adverse & (hard <= _PAUSE) & ~lines.closed, lines.paused
    codes = code
    if look:
        codes = np.where(waits & ~paused & lines.can_draw, _PAUSE, codes)
        codes = np.where(waits & paused & (lines.days_since_pause < look.after_days), _KEEP, codes)
    return np.where(paused & ~adverse, _CODE["unfreeze"], codes)


def _by_pd(lines: _Lines, policy: Policy) -> IntArray:
    """What PD alone asks for, after holdout, dead band and the protection of new lines."""
    code = np.full(len(lines.pd), _KEEP, np.int64)
    for action in ("review", "decrease", "freeze", "close"):
        code[lines.pd >= lines.cut(f"{action}_above_pd")] = _CODE[action]
    cooled = lines.days_since_adverse >= policy.timers.cool_off_days
    used = lines.balance_cents >= policy.steps.increase_min_utilisation * lines.limit_cents
    code[(lines.pd < lines.cut("increase_below_pd")) & used & lines.can_draw & cooled] = _CODE["increase"]
    code[(code == _KEEP) & ~lines.can_draw & cooled] = _CODE["unfreeze"]
    loss = avoidable_loss_cents(lines.pd, lines.limit_cents, lines.balance_cents, policy)
    spared = (loss < policy.loss.adverse_above_cents) | lines.holdout
    code[(code > _REVIEW) & spared] = _KEEP
    code[_inside_dead_band(lines, policy) & (code != _REVIEW)] = _KEEP
    protected = lines.age_days < policy.new_lines.protected_days
    code[protected & (code > _REVIEW)] = _REVIEW
    code[protected & (code == _CODE["increase"])] = _KEEP
    return code


def _inside_dead_band(lines: _Lines, policy: Policy) -> BoolArray:
    moved = np.abs(log_odds(lines.pd) - log_odds(lines.pd_ref))
    inside: BoolArray = moved < policy.timers.dead_band_log_odds
    return inside


def log_odds(pd_: FloatArray) -> FloatArray:
    """Log-odds of a PD; those of 0 and 1 are far, but finite."""
    clipped = np.clip(pd_, 1e-12, 1 - 1e-12)
    odds: FloatArray = np.log(clipped / (1 - clipped))
    return odds


def _fires(rule: Rule, columns: Mapping[str, FloatArray], lines: _Lines, policy: Policy) -> BoolArray:
    if any(condition.column not in columns for condition in rule.when):
        return np.zeros(len(lines.pd), bool)
    fires = ~lines.closed
    for condition in rule.when:
        fires &= holds(condition, columns[condition.column])
    return fires if rule.new_lines else fires & (lines.age_days >= policy.new_lines.protected_days)


def holds(condition: Condition, values: FloatArray) -> BoolArray:
    """Where a condition of a rule holds; a missing value never does."""
    compare = {"at_least": np.greater_equal, "at_most": np.less_equal, "above": np.greater, "below": np.less}
    met: BoolArray = compare[condition.operator](values, condition.value)
    return met


def _carry_out(code: IntArray, lines: _Lines, policy: Policy) -> tuple[IntArray, IntArray, BoolArray]:
    """Turn the wanted action into a limit; what moves nothing is a keep, unless a person is asked to look."""
    settled = (lines.days_since_change < 1) & ~(lines.watched & (code == _PAUSE))
    code = np.where(lines.closed | (settled & (code != _REVIEW)), _KEEP, code)
    dwelt = lines.days_since_change >= policy.timers.dwell_days
    limit = lines.limit_cents.copy()
    for action, stepped in (("decrease", _lowered(lines, policy)), ("increase", _raised(lines, policy))):
        limit = np.where((code == _CODE[action]) & dwelt, stepped, limit)
    limit = np.where(code == _CODE["close"], 0, limit)
    barred = (code >= _CODE["freeze"]) | (code == _PAUSE)
    opened = (code == _CODE["unfreeze"]) | (lines.paused & (code == _CODE["decrease"]))
    can_draw = np.where(barred, False, np.where(opened, True, lines.can_draw))
    held = lines.held & ~lines.closed
    limit, can_draw = np.where(held, lines.limit_cents, limit), np.where(held, lines.can_draw, can_draw)
    unmoved = (limit == lines.limit_cents) & (can_draw == lines.can_draw) & (code != _REVIEW)
    unmoved &= ~(lines.paused & (code >= _CODE["freeze"]))
    code = np.where(held, _HOLD, np.where(unmoved, _KEEP, code))
    return code, limit.astype(np.int64), can_draw.astype(bool)


def _lowered(lines: _Lines, policy: Policy) -> IntArray:
    step = _rounded(lines.limit_cents * (1 - policy.steps.decrease_share), policy)
    floor = np.maximum(lines.balance_cents, lines.cut("min_limit_cents"))
    return np.minimum(np.maximum(step, floor), lines.limit_cents)


def _raised(lines: _Lines, policy: Policy) -> IntArray:
    share = lines.limit_cents * (1 + policy.steps.increase_share)
    step = _rounded(np.minimum(share, lines.limit_cents + policy.steps.max_increase_cents), policy)
    affordable = np.minimum(lines.inflow_cents * lines.cut("max_monthly_inflows"), lines.cut("max_limit_cents"))
    return np.maximum(np.minimum(step, _rounded(affordable, policy)), lines.limit_cents)


def _rounded(cents: npt.NDArray[np.floating], policy: Policy) -> IntArray:
    unit = policy.steps.rounding_cents
    return (np.floor(cents / unit + 1e-9) * unit).astype(np.int64)


def _fired_rules(asked: IntArray, policy: Policy) -> npt.NDArray[np.object_]:
    """Names of the rules behind each mask; lines with the same mask share one list."""
    place, masks = pd.factorize(asked)
    names = np.empty(len(masks), object)
    for i, mask in enumerate(masks):
        wanted = ACTIONS[mask >> _PD_BIT]
        names[i] = [rule.name for bit, rule in enumerate(policy.evidence) if mask >> bit & 1]
        names[i] += [OPENING_ABOVE_BAND] if mask >> _OPENING_BIT & 1 else []
        names[i] += [] if wanted == "keep" else [f"pd_{wanted}"]
    return names[place]
