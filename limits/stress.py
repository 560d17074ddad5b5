"""Stress: what another PD, other features or another policy would make of the decisions of one day.

Every scenario is a pure function of the rows of the day: they are decided again from the same states, and what comes
out is set beside what was decided. Money is in whole cents a line, so that no sum depends on how a book is cut up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.limits.decision import decide_codes, log_odds
from limitlens.limits.policy import ACTIONS, ADVERSE, Policy

#: Least age in days of the lines of each band.
AGE_BANDS = (0, 30, 90, 365)

#: Additions to the log-odds of PD at which it is asked what cuts would cost, were they to make customers default.
HARM_STEPS = tuple(float(step) for step in np.round(np.arange(0.0, 4.01, 0.1), 1))

#: What is summed of a group of lines, besides their number.
SUMS = (
    "limit_before_cents",
    "limit_after_cents",
    "credit_before_cents",
    "credit_after_cents",
    "loss_before_cents",
    "loss_unanswered_cents",
    "loss_after_cents",
    "good_millionths",
)

#: What is counted of a step from a milder shock to a harsher one; :func:`rises` explains it.
RISES = ("lines", "in_dead_band", "lower_pd", "pd_down", "pd_up")

#: Columns that say which lines a group holds.
GROUP = ("segment", "age_days", "action_before", "action_after")

_ADVERSE = np.array([action in ADVERSE for action in ACTIONS])


@dataclass(frozen=True)
class Lines:
    """Lines of a decided day, n rows each.

    Parameters
    ----------
    table : DataFrame
        What the policy reads: features, line columns, ``segment`` and which lines a data incident holds.
    pd_ : float64 array
    state : DataFrame
        Before the decision.
    """

    table: pd.DataFrame
    pd_: FloatArray
    state: pd.DataFrame

    def decided(self, policy: Policy, pd_: FloatArray | None = None) -> "Decisions":
        """Decide them, with their PD or another."""
        chosen = self.pd_ if pd_ is None else pd_
        code, limit, can_draw, _ = decide_codes(self.table, chosen, self.state, policy)
        return Decisions(code.astype(np.int64), limit, can_draw, chosen)

    @cached_property
    def bands(self) -> tuple[npt.NDArray[np.object_], IntArray]:
        """Segments in order, and of each line which of these and of :data:`AGE_BANDS`, as one number."""
        place, segments = pd.factorize(self.table["segment"].fillna("default"), sort=True)
        band = np.searchsorted(AGE_BANDS, self.state["line_age_days"].to_numpy(np.int64), side="right") - 1
        return np.asarray(segments, object), place * len(AGE_BANDS) + np.maximum(band, 0)

    @cached_property
    def balance_cents(self) -> IntArray:
        """What each line owes; 0 where it is not known."""
        if "balance_cents" not in self.table:
            return np.zeros(len(self.table), np.int64)
        return self.table["balance_cents"].to_numpy(np.int64)


@dataclass(frozen=True)
class Decisions:
    """Decisions of n lines: places in :data:`limitlens.limits.policy.ACTIONS`, limits, drawing, and their PDs."""

    action: IntArray
    limit_cents: IntArray
    can_draw: BoolArray
    pd: FloatArray

    @property
    def adverse(self) -> BoolArray:
        """Which lines are cut, frozen or closed."""
        cut: BoolArray = _ADVERSE[self.action]
        return cut

    @property
    def closes(self) -> BoolArray:
        """Which lines are closed by it."""
        closed: BoolArray = self.action == ACTIONS.index("close")
        return closed

    def credit_cents(self, balance_cents: IntArray) -> IntArray:
        """What can still be drawn of each line."""
        free: IntArray = np.where(self.can_draw, np.maximum(self.limit_cents - balance_cents, 0), 0)
        return free

    def equal(self, other: "Decisions") -> BoolArray:
        """Where two decisions are the same to the last bit."""
        same: BoolArray = (self.action == other.action) & (self.limit_cents == other.limit_cents)
        same &= (self.can_draw == other.can_draw) & (self.pd == other.pd)
        return same


def shifted_pd(pd_: FloatArray, by_log_odds: FloatArray | float) -> FloatArray:
    """PDs whose log-odds are higher by so much; by 0 they are the same to the last bit.

    Examples
    --------
    >>> shifted_pd(np.array([0.5, 0.1]), np.log(3.0)).round(3).tolist(), shifted_pd(np.array([0.3]), 0.0).tolist()
    ([0.75, 0.25], [0.3])
    """
    odds = pd_ * np.exp(by_log_odds)
    moved: FloatArray = np.where(np.equal(by_log_odds, 0.0), pd_, odds / (1 - pd_ + odds))
    return moved


def expected_loss_cents(
    pd_: FloatArray, limit_cents: IntArray, balance_cents: IntArray, can_draw: BoolArray, policy: Policy
) -> IntArray:
    """Expected loss of each line in whole cents: PD × LGD × (what is owed + CCF × what can be drawn)."""
    owed = np.maximum(balance_cents, 0)
    free = np.where(can_draw, np.maximum(limit_cents - balance_cents, 0), 0)
    return np.rint(pd_ * policy.loss.lgd * (owed + policy.loss.ccf * free)).astype(np.int64)


def shift_by_segment(segments: pd.Series, by_log_odds: Mapping[str, float]) -> FloatArray:
    """Log-odds to add to each line's PD; a segment that is not named takes ``default``, which may be left out.

    Examples
    --------
    >>> shift_by_segment(pd.Series(["student", "salaried"]), {"default": 0.4, "student": 1.0}).tolist()
    [1.0, 0.4]
    """
    place, names = pd.factorize(segments)
    default = by_log_odds.get("default", 0.0)
    by_place = np.array([*(by_log_odds.get(name, default) for name in names), default])
    shift: FloatArray = by_place[place]
    return shift


def answered_pd(pd_: FloatArray, hit: BoolArray, reaction_log_odds: float) -> FloatArray:
    """PDs after a cut that makes those it newly hits likelier to default, by so much in log-odds."""
    return shifted_pd(pd_, np.where(hit, reaction_log_odds, 0.0)) if reaction_log_odds else pd_


def tally(
    base: Lines,
    lines: Lines,
    decisions: tuple[Decisions, Decisions],
    policy: Policy,
    *,
    reaction_log_odds: float = 0.0,
) -> pd.DataFrame:
    """What a scenario does to some lines, a row a group.

    Parameters
    ----------
    base, lines : Lines
        Without the shock, and with it.
    decisions : (Decisions, Decisions)
        The same.
    policy : Policy
        Its loss given default and conversion factor.
    reaction_log_odds : float
        Added to the PD of lines that are newly cut, frozen or closed.

    Returns
    -------
    DataFrame with :data:`GROUP`, ``lines`` and :data:`SUMS`
        Loss ``before``: PD, balance and decision without the shock; ``unanswered``: the decision without it, and the
        rest with it; ``after``: all with it. ``good_millionths``: expected number of lines that stay good, by the
        PD without the shock.
    """
    before, after = decisions
    owed_before, owed, hit = base.balance_cents, lines.balance_cents, after.adverse & ~before.adverse
    stressed = answered_pd(after.pd, hit, reaction_log_odds)
    sums = {
        "limit_before_cents": before.limit_cents,
        "limit_after_cents": after.limit_cents,
        "credit_before_cents": before.credit_cents(owed_before),
        "credit_after_cents": after.credit_cents(owed),
        "loss_before_cents": expected_loss_cents(before.pd, before.limit_cents, owed_before, before.can_draw, policy),
        "loss_unanswered_cents": expected_loss_cents(after.pd, before.limit_cents, owed, before.can_draw, policy),
        "loss_after_cents": expected_loss_cents(stressed, after.limit_cents, owed, after.can_draw, policy),
        "good_millionths": np.rint(1e6 * (1 - before.pd)).astype(np.int64),
    }
    segments, mine = base.bands
    shape = (len(segments), len(AGE_BANDS), len(ACTIONS), len(ACTIONS))
    size = int(np.prod(shape))
    keys = ((mine * len(ACTIONS) + before.action) * len(ACTIONS) + after.action).astype(np.min_scalar_type(size))
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=size))
    segment, age, old, new = np.unravel_index(keys[order[first]].astype(np.int64), shape)
    return pd.DataFrame(
        {
            "segment": segments[segment],
            "age_days": np.array(AGE_BANDS)[age],
            "action_before": np.array(ACTIONS, object)[old],
            "action_after": np.array(ACTIONS, object)[new],
            "lines": np.diff(first, append=len(order)),
            **{name: np.add.reduceat(values[order], first) for name, values in sums.items()},
        }
    )


def added(tallies: Sequence[pd.DataFrame], by: Sequence[str] = GROUP) -> pd.DataFrame:
    """Several tallies as one, or summed over all but some of the columns of their groups."""
    whole = pd.concat(tallies, ignore_index=True)
    summed: pd.DataFrame = whole.groupby(list(by), sort=True)[["lines", *SUMS]].sum().reset_index()
    return summed


def rises(lines: Lines, milder: Decisions, harsher: Decisions, policy: Policy) -> tuple[int, int, int, int, int]:
    """Of how many lines a harsher shock leaves more to draw than a milder one, and why.

    Parameters
    ----------
    lines : Lines
    milder, harsher : Decisions
    policy : Policy

    Returns
    -------
    lines, in_dead_band, lower_pd, pd_down, pd_up : int
        Lines left more to draw; those of them whose harsher PD lies within the dead band around the PD at the line's
        last change, or whose milder one does: there the policy leaves a line as it is, whatever PD asks for; of the
        rest those whose harsher PD is the lower one. Then all lines whose PD falls, and all whose PD rises.
    """
    owed = lines.balance_cents
    more = harsher.credit_cents(owed) > milder.credit_cents(owed)
    down, up = harsher.pd < milder.pd, harsher.pd > milder.pd
    reference = log_odds(lines.state["pd_ref"].to_numpy(np.float64)[more])
    width = policy.timers.dead_band_log_odds
    near = [np.abs(log_odds(side.pd[more]) - reference) < width for side in (milder, harsher)]
    inside = near[0] | near[1]
    counts = more.sum(), inside.sum(), (down[more] & ~inside).sum(), down.sum(), up.sum()
    total, in_band, lower, falls, grows = map(int, counts)
    return total, in_band, lower, falls, grows


def cuts_pay(lines: Lines, before: Decisions, after: Decisions, policy: Policy) -> npt.NDArray[np.int64]:
    """What new cuts save, and what they would cost if they made those they hit likelier to default; in cents.

    Parameters
    ----------
    lines : Lines
    before, after : Decisions
    policy : Policy

    Returns
    -------
    int64 array of shape (1 + len(HARM_STEPS),)
        Saved: expected loss on what can no longer be drawn; then what is lost in addition on what is owed, for each of
        :data:`HARM_STEPS` added to the log-odds of the PD. Over lines newly cut, frozen or closed.
    """
    hit = np.flatnonzero(after.adverse & ~before.adverse)
    pd_, owed = after.pd[hit], np.maximum(lines.balance_cents[hit], 0)
    gone = (before.credit_cents(lines.balance_cents) - after.credit_cents(lines.balance_cents))[hit]
    saved = np.rint(pd_ * policy.loss.lgd * policy.loss.ccf * gone).astype(np.int64).sum()
    lost = [np.rint((shifted_pd(pd_, step) - pd_) * policy.loss.lgd * owed).sum() for step in HARM_STEPS]
    return np.array([saved, *lost]).astype(np.int64)


def break_even(saved_and_lost: npt.NDArray[np.int64]) -> float | None:
    """Log-odds by which PDs of newly hit customers may rise before the cuts cost more than they save.

    Parameters
    ----------
    saved_and_lost : int64 array
        As :func:`cuts_pay` gives it.

    Returns
    -------
    float or None
        None: nothing is saved, or they save more at every step.

    Examples
    --------
    >>> break_even(np.array([150, *(100 * k for k in range(len(HARM_STEPS)))])).__round__(3)
    0.15
    """
    saved, lost = int(saved_and_lost[0]), saved_and_lost[1:]
    if saved <= 0 or lost[-1] < saved:
        return None
    return float(np.interp(saved, lost, HARM_STEPS))
