"""What another policy changes: each value in words, and what it alone would do to the lines of today's book."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from limitlens.data.calendar import format_time, last_decision_dates
from limitlens.data.errors import ConfigError
from limitlens.data.progress import Progress, silent
from limitlens.data.toml_reader import load_toml
from limitlens.limits.iteration import Iteration
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import policy_of
from limitlens.pipeline.pages.amounts import money
from limitlens.pipeline.pages.policy_words import DONE, in_words
from limitlens.pipeline.release.compare import book_today
from limitlens.pipeline.workspace import Workspace

#: Arrays whose elements have a name, and are compared by it.
_NAMED = ("rules", "disqualifiers")


@dataclass(frozen=True)
class Effect:
    """What deciding with another policy would do to a book.

    Parameters
    ----------
    lines : int
        Lines of the book.
    moved : mapping of (str, str) to int
        Lines by their action under the old and the new policy, where it is another.
    other_limit : int
        Lines with the same action and another limit.
    limit_cents : int
        By how much the limits differ in all.
    """

    lines: int
    moved: Mapping[tuple[str, str], int]
    other_limit: int
    limit_cents: int

    def words(self) -> str:
        """In one sentence.

        Examples
        --------
        >>> Effect(9_000, {("keep", "decrease"): 1240, ("freeze", "keep"): 12}, 0, -500_00).words()
        '1,240 lines cut instead of kept, 12 kept instead of frozen; limits −500.00 in all'
        """
        parts = [f"{count:,} {DONE[new]} instead of {DONE[old]}" for (old, new), count in self.moved.items()]
        parts += [f"{self.other_limit:,} with another limit"] if self.other_limit else []
        if not parts:
            return f"none of {self.lines:,} lines is decided otherwise"
        count, _, rest = parts[0].partition(" ")
        text = ", ".join([f"{count} line{'' if count == '1' else 's'} {rest}", *parts[1:]])
        return f"{text}; limits {money(self.limit_cents, signed=True)} in all" if self.limit_cents else text


@dataclass(frozen=True)
class Change:
    """One value that differs: its path in the file, both values (``None``: not said), and what it alone would do.

    ``effect`` is ``None`` without a book, and for the name, which decides nothing; ``refusal`` says why the value
    cannot stand alone.
    """

    path: tuple[str, ...]
    old: Any
    new: Any
    effect: Effect | None = None
    refusal: str = ""

    def words(self) -> str:
        """Path, old value, new value.

        Examples
        --------
        >>> Change(("segments", "student", "review_above_pd"), 0.10, 0.08).words()
        'segments.student.review_above_pd 10% → 8%'
        """
        old, new = (in_words(self.path[-1], value) for value in (self.old, self.new))
        return f"{'.'.join(self.path)} {old} → {new}"


@dataclass(frozen=True)
class PolicyDiff:
    """All changes between two policies; ``together`` is their joint effect on the book of ``today``."""

    old: str
    new: str
    changes: tuple[Change, ...]
    today: str | None = None
    together: Effect | None = None

    def lines(self) -> list[str]:
        """In words, a line a change."""
        texts = []
        for change in self.changes:
            texts.append(change.words())
            if change.refusal:
                texts.append(f"  not valid alone: {change.refusal}")
            elif change.effect:
                texts.append(f"  alone: {change.effect.words()}")
        if not texts:
            texts.append(f"{self.old} and {self.new} say the same")
        elif self.together:
            texts.append(f"all together, on the book of {self.today}: {self.together.words()}")
        return texts

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self) | {
            "changes": [asdict(change) | {"effect": _plain(change.effect)} for change in self.changes],
            "together": _plain(self.together),
        }


def _plain(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return asdict(effect) | {"moved": [{"old": o, "new": n, "lines": count} for (o, n), count in effect.moved.items()]}


def diff_policies(
    old: Policy, new: Policy, workspace: Workspace | None = None, *, progress: Progress = silent
) -> PolicyDiff:
    """Compare two policies value by value.

    Parameters
    ----------
    old, new : Policy
    workspace : Workspace, optional
        Its champion scores today's book once; then the book is decided with the old policy, with every change alone
        and with all of them. Nothing is recorded.
    progress : callable

    Raises
    ------
    ConfigError
        The new policy names a column that the workspace does not have.
    """
    bodies = load_toml(old.text, old.name), load_toml(new.text, new.name)
    changes = _changes(*bodies)
    if workspace is None or not changes:
        return PolicyDiff(old.name, new.name, changes)
    today, effect_of = _book(workspace, old, progress)
    workspace.check_rules(new, workspace.iteration(str(workspace.registry.champion())).model.features)
    judged = tuple(c if c.path == ("name",) else _alone(c, bodies[0], effect_of) for c in changes)
    return PolicyDiff(old.name, new.name, judged, today, effect_of(new))


def _alone(change: Change, body: Mapping[str, Any], effect_of: Callable[[Policy], Effect]) -> Change:
    try:
        policy = policy_of(_with(body, change), "", "alone")
    except ConfigError as error:
        return Change(change.path, change.old, change.new, refusal=str(error).removeprefix("alone: "))
    return Change(change.path, change.old, change.new, effect_of(policy))


def decided_otherwise(workspace: Workspace, old: Policy, new: Policy, *, progress: Progress = silent) -> pd.DataFrame:
    """Lines of today's book that one policy decides otherwise than another; nothing is recorded.

    Parameters
    ----------
    workspace : Workspace
        Its champion scores the book.
    old, new : Policy
    progress : callable

    Returns
    -------
    DataFrame with ``account_id, action_before, limit_before_cents, action_after, limit_after_cents``

    Raises
    ------
    ConfigError
        The new policy names a column that the workspace does not have.
    """
    workspace.check_rules(new, workspace.iteration(str(workspace.registry.champion())).model.features)
    _, accounts, decided = _decided_today(workspace, progress)
    sides = {"before": decided(old), "after": decided(new)}
    rows = pd.DataFrame({"account_id": accounts})
    for side, outcome in sides.items():
        rows[f"action_{side}"], rows[f"limit_{side}_cents"] = outcome["action"], outcome["limit_cents"]
    other = rows["action_before"] != rows["action_after"]
    other |= rows["limit_before_cents"] != rows["limit_after_cents"]
    return rows[other].reset_index(drop=True)


def _decided_today(workspace: Workspace, progress: Progress) -> tuple[str, pd.Series, Callable[[Policy], pd.DataFrame]]:
    """Today, the lines of its book, and what a policy decides of them."""
    champion = workspace.iteration(str(workspace.registry.champion()))
    today = last_decision_dates(workspace.events.known_until())[-1]
    (rows, _), state = book_today(workspace, today, champion, champion, progress)
    pd_ = champion.score(rows, state)

    def decided(policy: Policy) -> pd.DataFrame:
        return Iteration(champion.model, policy, champion.model_version).rules(rows, pd_, state)

    return format_time(today), rows["account_id"], decided


def _book(workspace: Workspace, old: Policy, progress: Progress) -> tuple[str, Callable[[Policy], Effect]]:
    """Today, and the effect of a policy on its lines instead of the old one."""
    today, _, decided = _decided_today(workspace, progress)
    before = decided(old)
    return today, lambda policy: _effect(before, decided(policy))


def _effect(before: pd.DataFrame, after: pd.DataFrame) -> Effect:
    other = before["action"] != after["action"]
    moved = Counter(zip(before.loc[other, "action"], after.loc[other, "action"], strict=True))
    by_cents = after["limit_cents"] - before["limit_cents"]
    ordered = dict(sorted(moved.items(), key=lambda pair: (-pair[1], pair[0])))
    return Effect(len(before), ordered, int(((by_cents != 0) & ~other).sum()), int(by_cents.sum()))


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    return tuple(
        change
        for name in dict.fromkeys((*old, *new))
        for change in _differences((name,), _by_name(name, old.get(name)), _by_name(name, new.get(name)))
    )


def _by_name(table: str, value: Any) -> Any:
    return {element["name"]: element for element in value or []} if table in _NAMED else value


def _differences(path: tuple[str, ...], old: Any, new: Any) -> list[Change]:
    """Two tables are compared key by key; what one of them lacks, and everything else, as a whole."""
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [Change(path, old, new)]
    keys = dict.fromkeys((*old, *new))
    return [change for key in keys for change in _differences((*path, key), old.get(key), new.get(key))]


def _with(body: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """The body of a policy with one value changed."""
    changed: dict[str, Any] = {name: _by_name(name, value) for name, value in deepcopy(dict(body)).items()}
    inner = changed
    for key in change.path[:-1]:
        inner = inner.setdefault(key, {})
    if change.new is None:
        inner.pop(change.path[-1], None)
    else:
        inner[change.path[-1]] = deepcopy(change.new)
    return {name: list(value.values()) if name in _NAMED else value for name, value in changed.items()}
