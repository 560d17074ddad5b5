"""Mend: changes of the policy that would have hit fewer good lines, each tried on the past beside the policy in force.

A milder policy always hits fewer good lines and catches fewer bad ones. So a candidate is held against the policy in
force with its cut-offs moved until it catches as many bad lines: only what it spares beyond that is a gain.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import format_time
from limitlens.data.errors import WorkspaceError
from limitlens.data.progress import Progress, silent
from limitlens.limits.outcome import judged_lines
from limitlens.limits.policy import Policy, shifted
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.release.simulate_policy import past_of, simulate
from limitlens.pipeline.workspace import Workspace

#: Moves of every cut-off, in log-odds, that the policy in force is tried at.
SHIFTS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5)

#: Days to a second look, and the move of one segment's cut-offs, that are tried.
LOOKS, SEGMENT_SHIFT = (2, 5, 10), 0.5

#: Draws of the bootstrap, and lines drawn at a time.
_DRAWS, _CHUNK = 1_000, 20_000

_CUT_OFFS = ("review_above_pd", "decrease_above_pd", "freeze_above_pd", "close_above_pd")

_UNKNOWN = (float("nan"),) * 3


@dataclass(frozen=True)
class Tried:
    """One policy on the past.

    Parameters
    ----------
    name : str
        What was changed.
    good_hit, bad_caught : int
        Good lines cut, frozen or closed; bad ones of which that was done before they were 30 days late.
    good_limit_cents, bad_limit_cents : int
        Credit left to the good lines at the end, and to the bad ones at the last decision before they were late.
    paused_days, reviews : int
        Days on which lines waited for a second look; reviews asked for.
    spared : tuple of (float, float, float)
        Share of the good lines hit that is spared beside the policy in force at equal bad lines caught, with its
        interval; nothing is known where the cut-offs reach no such place.
    recommended : bool
        The interval lies above 0, and neither is credit taken from good lines nor more left to bad ones, at equal bad
        lines caught.
    text : str
        The policy as a file.
    """

    name: str
    good_hit: int
    bad_caught: int
    good_limit_cents: int
    bad_limit_cents: int
    paused_days: int
    reviews: int
    spared: tuple[float, float, float]
    recommended: bool
    text: str


@dataclass(frozen=True)
class Mends:
    """What was tried on which past; ``current`` is the policy in force."""

    model_version: str
    since: str
    until: str
    good: int
    bad: int
    current: Tried
    candidates: tuple[Tried, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What was found, for a terminal."""
        head = (
            f"{self.since} to {self.until}, model version {self.model_version}: {self.good:,} lines stayed good, "
            f"{self.bad:,} went bad; customers did what they did"
        )
        rows = [_row(one) for one in (self.current, *self.candidates)]
        named = [one.name for one in self.candidates if one.recommended]
        end = f"recommended: {', '.join(named)}" if named else "nothing is recommended: no gain that is certain enough"
        return [head, *rows, end]


def _row(one: Tried) -> str:
    share, low, high = one.spared
    gain = "" if np.isnan(share) else f"; spares {share:+.1%} [{low:+.1%}, {high:+.1%}] at equal bads caught"
    paused = f", {one.paused_days:,} days paused" if one.paused_days else ""
    return (
        f"  {one.name:<34} good hit {one.good_hit:>6,}  bad caught {one.bad_caught:>6,}  credit left to good "
        f"{money(one.good_limit_cents)}, to bad {money(one.bad_limit_cents)}; {one.reviews:,} reviews{paused}{gain}"
    )


def mend(workspace: Workspace, *, since: datetime | None = None, progress: Progress = silent) -> Mends:
    """Try changes of the policy in force on the past.

    Parameters
    ----------
    workspace : Workspace
    since : datetime, optional
        Month start; default: the last one of which all defaults within the horizon are known.
    progress : callable

    Raises
    ------
    WorkspaceError
        There is no champion or no line then, the defaults are not known yet, or nobody went bad.
    """
    past = past_of(workspace, since=since, progress=progress)
    current = past.iteration.policy
    frontier = [shifted(current, shift) if shift else current for shift in SHIFTS]
    named = candidates(current, sorted(set(workspace.events.segments().values()) - {None}))
    policies = [*zip(_shift_names(), frontier, strict=True), *named.items()]
    judged, waits, reviews = [], [], []
    for name, policy in policies:
        decided = simulate(replace(past.iteration, policy=policy), past.planned, past.tables, workspace)
        judged.append(judged_lines(decided, past.bad))
        waits.append(int((decided["action"].eq("pause") | decided["state.paused_at"].notna()).sum()))
        reviews.append(int(decided["action"].eq("review").sum()))
        progress(f"{name}: {_counted(judged[-1])}")
    bad = int(judged[0]["bad"].sum())
    if not bad:
        raise WorkspaceError(f"nobody went bad after {format_time(past.since)}: there is nothing to hold against.")
    sums, drawn = bootstrap(judged)
    tried = []
    for k, (name, policy) in enumerate(policies):
        gain, better = _gain(sums, drawn, k) if k >= len(SHIFTS) else (_UNKNOWN, False)
        hit, caught, good_cents, bad_cents = (int(value) for value in sums[k])
        counts = (hit, caught, good_cents, bad_cents, waits[k], reviews[k])
        tried.append(Tried(name, *counts, gain, better, policy.text))
    sample = (format_time(past.since), format_time(past.until), len(judged[0]) - bad, bad)
    return Mends(past.iteration.model_version, *sample, tried[0], tuple(tried[len(SHIFTS) :]))


def _gain(sums: FloatArray, drawn: FloatArray, candidate: int) -> tuple[tuple[float, float, float], bool]:
    """What a candidate spares, with the interval, and whether it is recommended."""
    spared, credit, loss = at_equal_bads(sums, candidate, len(SHIFTS))
    again = np.array([at_equal_bads(one, candidate, len(SHIFTS))[0] for one in drawn])
    known = again[~np.isnan(again)]
    if np.isnan(spared) or len(known) < _DRAWS / 2:
        return _UNKNOWN, False
    low, high = (float(end) for end in np.percentile(known, [2.5, 97.5]))
    return (spared, low, high), bool(low > 0 and credit >= 0 and loss <= 0)


def _shift_names() -> list[str]:
    return ["as it is", *(f"every cut-off {shift:+.2f} in log-odds" for shift in SHIFTS[1:])]


def _counted(lines: pd.DataFrame) -> str:
    hit, bad = lines["hit"], lines["bad"]
    return f"{int((hit & ~bad).sum()):,} good lines hit, {int((hit & bad).sum()):,} bad ones caught"


def candidates(policy: Policy, segments: Sequence[str]) -> Mapping[str, Policy]:
    """Changes that are worth trying, by name, each a policy that could be a file.

    Parameters
    ----------
    policy : Policy
        In force.
    segments : sequence of str
        Of the book.
    """
    text, texts = policy.text, {}
    look, plain = policy.second_look, at_once(policy).text
    soft = json.dumps(look.soft_rules if look else [])
    for days in LOOKS:
        if look is None or days != look.after_days:
            section = f"[second_look]\nafter_days = {days}\nsoft_rules = {soft}\n"
            texts[f"second look after {days} days"] = f"{plain}\n{section}"
    if look:
        texts["no second look"] = plain
    protected = 2 * policy.new_lines.protected_days
    texts[f"new lines protected for {protected} days"] = _with(text, "new_lines", "protected_days", str(protected))
    floor = 5 * policy.loss.adverse_above_cents
    texts[f"no action on PD below {money(floor)}"] = _with(text, "loss", "adverse_above_cents", str(floor))
    moved = shifted(policy, SEGMENT_SHIFT)
    for segment in sorted({name if name in policy.segments else "default" for name in segments}):
        changed = text
        for key in _CUT_OFFS:
            changed = _with(changed, f"segments.{segment}", key, f"{getattr(moved.segments[segment], key):.4f}")
        texts[f"cut-offs of {segment} {SEGMENT_SHIFT:+.1f} in log-odds"] = changed
    return {name: parse_policy(changed, f"candidate {name!r}") for name, changed in texts.items()}


def _with(text: str, section: str, key: str, value: str) -> str:
    """The text of a policy with one value of a section set, comments as they were."""
    head = re.search(rf"^\[{re.escape(section)}\][^\n]*\n", text, re.MULTILINE)
    if head is None:
        raise WorkspaceError(f"the policy in force has no section [{section}] in a line of its own.")
    end = re.search(r"^\[", text[head.end() :], re.MULTILINE)
    stop = head.end() + end.start() if end else len(text)
    body = text[head.end() : stop]
    line = re.compile(rf"^({re.escape(key)}\s*=\s*)[^\s#]+", re.MULTILINE)
    body = line.sub(rf"\g<1>{value}", body, count=1) if line.search(body) else f"{key} = {value}\n{body}"
    return text[: head.end()] + body + text[stop:]


def bootstrap(tried: Sequence[pd.DataFrame], seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Sums over the lines under each policy, and what they are when lines are drawn anew.

    Parameters
    ----------
    tried : sequence of k DataFrames, as :func:`limitlens.limits.outcome.judged_lines` gives them
        Of the same lines in the same order.
    seed : int

    Returns
    -------
    float64 array of shape (k, 4), float64 array of shape (draws, k, 4)
        Good lines hit, bad ones caught, credit of good and of bad ones in cents; of a Poisson bootstrap (Hanley and
        MacGibbon 2006).
    """
    bad = tried[0]["bad"].to_numpy(bool)
    parts = []
    for lines in tried:
        hit, limit = lines["hit"].to_numpy(float), lines["limit_cents"].to_numpy(float)
        parts.append(np.stack([hit * ~bad, hit * bad, limit * ~bad, limit * bad], axis=1))
    values = np.stack(parts, axis=1)
    draw, drawn = np.random.default_rng(seed), np.zeros((_DRAWS, *values.shape[1:]))
    for first in range(0, len(values), _CHUNK):
        chunk = values[first : first + _CHUNK]
        weights = draw.poisson(1.0, (_DRAWS, len(chunk))).astype(float)
        drawn += np.tensordot(weights, chunk, axes=1)
    return values.sum(axis=0), drawn


def at_equal_bads(sums: FloatArray, candidate: int, frontier: int) -> tuple[float, float, float]:
    """A candidate beside the first policies, moved until they catch as many bad lines.

    Parameters
    ----------
    sums : float64 array of shape (policies, 4)
        As :func:`bootstrap` gives them; the first ``frontier`` are one policy with its cut-offs moved.
    candidate, frontier : int

    Returns
    -------
    tuple of float
        Share of the good lines hit that is spared; credit left to good lines beyond, and to bad ones, in cents. Not a
        number where the frontier does not reach so few or so many bad lines.

    Examples
    --------
    >>> moved = np.array([[100, 50, 900, 90], [60, 30, 950, 95], [70, 40, 960, 92]], float)
    >>> [round(one, 3) for one in at_equal_bads(moved, 2, 2)]
    [0.125, 35.0, -0.5]
    """
    good_hit, caught, *_ = sums[candidate]
    order = np.argsort(sums[:frontier, 1], kind="stable")
    bads = sums[order, 1]
    if not bads[0] <= caught <= bads[-1]:
        return float("nan"), float("nan"), float("nan")
    same, credit, loss = (float(np.interp(caught, bads, sums[order, k])) for k in (0, 2, 3))
    spared = 1 - good_hit / same if same else float("nan")
    return float(spared), float(sums[candidate, 2] - credit), float(sums[candidate, 3] - loss)
