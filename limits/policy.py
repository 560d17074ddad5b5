"""The policy: cut-offs, steps, timers and hard rules, read from TOML and checked before anything is decided."""

import hashlib
import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from limitlens.data.contracts import PROTECTED
from limitlens.data.errors import ConfigError
from limitlens.features.reasons import REASONS

#: Every action, from the mildest to the most severe; the most severe wins. ``hold`` answers a data incident.
ACTIONS = ("increase", "unfreeze", "keep", "review", "hold", "decrease", "freeze", "close")
ADVERSE = frozenset({"decrease", "freeze", "close"})

_RULE_ACTIONS = ("review", "decrease", "freeze", "close")
_MAX_BYTES = 1_000_000

Operator = Literal["at_least", "at_most", "above", "below"]
_OPERATORS: tuple[Operator, ...] = ("at_least", "at_most", "above", "below")


@dataclass(frozen=True)
class Loss:
    """``lgd``, ``ccf`` (shares) and the expected avoidable loss in cents below which PD causes no adverse action."""

    lgd: float
    ccf: float
    adverse_above_cents: int


@dataclass(frozen=True)
class Steps:
    """Size of one step as a share of the limit, and how limits are rounded."""

    increase_share: float
    decrease_share: float
    rounding_cents: int
    increase_min_utilisation: float


@dataclass(frozen=True)
class Timers:
    """Days between steps, days after an adverse action, and the dead band in log-odds of PD."""

    dwell_days: int
    cool_off_days: int
    dead_band_log_odds: float


@dataclass(frozen=True)
class NewLines:
    """Days after opening during which PD alone asks for a review at most."""

    protected_days: int


@dataclass(frozen=True)
class Holdout:
    """Share of lines never cut on PD, and the salt of the hash that chooses them."""

    share: float
    salt: str


@dataclass(frozen=True)
class Budget:
    """What a new iteration may move through itself alone, as shares of lines, and who may let it move more.

    ``segment_min_lines``: good lines a segment needs to be judged by itself.
    """

    moved_share: float
    good_newly_cut_share: float
    segment_good_newly_cut_share: float
    segment_min_lines: int
    newly_closed_early_share: float
    approver: str


@dataclass(frozen=True)
class CutOffs:
    """Cut-offs on PD and limit band of one segment."""

    increase_below_pd: float
    review_above_pd: float
    decrease_above_pd: float
    freeze_above_pd: float
    close_above_pd: float
    min_limit_cents: int
    max_limit_cents: int


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a value; a missing value never holds."""

    column: str
    operator: Operator
    value: float


@dataclass(frozen=True)
class Rule:
    """A hard rule: when all conditions hold, ``action`` follows and ``reason`` is told.

    ``new_lines``: the rule also acts while a line is protected.
    """

    name: str
    action: str
    reason: str
    when: tuple[Condition, ...]
    new_lines: bool = False


@dataclass(frozen=True)
class Policy:
    """A checked policy; ``text`` is the file it was read from."""

    name: str
    loss: Loss
    steps: Steps
    timers: Timers
    new_lines: NewLines
    holdout: Holdout
    release: Budget
    segments: Mapping[str, CutOffs]
    rules: tuple[Rule, ...]
    text: str

    @cached_property
    def digest(self) -> str:
        """Sha256 over the values; comments and layout do not count."""
        plain: dict[str, Any] = {"name": self.name, "rules": [asdict(rule) for rule in self.rules]}
        for part in (self.loss, self.steps, self.timers, self.new_lines, self.holdout, self.release):
            plain[type(part).__name__] = asdict(part)
        plain["segments"] = {name: asdict(cut) for name, cut in self.segments.items()}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    def cut_offs(self, segment: str) -> CutOffs:
        """Cut-offs of a segment, the default ones if it is not named."""
        return self.segments.get(segment, self.segments["default"])


def read_policy(path: Path) -> Policy:
    """Read and check a policy file.

    Raises
    ------
    ConfigError
        The file cannot be read, is larger than 1 MB, or breaks a rule of :func:`parse_policy`.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size:,} bytes; a policy has at most {_MAX_BYTES:,}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a policy file with --policy.") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, source: str = "policy") -> Policy:
    """Parse and check the text of a policy.

    Raises
    ------
    ConfigError
        Unknown or missing keys, wrong types, shares out of range, cut-offs out of order, a dwell under a day, an
        unknown reason, a rule or segment that names a protected attribute; with file and line.
    """
    try:
        body = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}.") from error
    reader = _Reader(text, source)
    reader.keys(body, {f.name for f in fields(Policy)} - {"text"}, "the policy")
    policy = Policy(
        name=reader.value(body, "name", str, "the policy"),
        loss=reader.section(body, "loss", Loss),
        steps=reader.section(body, "steps", Steps),
        timers=reader.section(body, "timers", Timers),
        new_lines=reader.section(body, "new_lines", NewLines),
        holdout=reader.section(body, "holdout", Holdout),
        release=reader.section(body, "release", Budget),
        segments=_segments(body.get("segments", {}), reader),
        rules=tuple(_rule(rule, reader) for rule in body.get("rules", [])),
        text=text,
    )
    _check(policy, reader)
    return policy


def check_columns(policy: Policy, columns: Collection[str]) -> None:
    """Refuse a rule that names an unknown column: it could never fire, and nobody would know.

    Parameters
    ----------
    policy : Policy
    columns : collection of str
        Every column there could be, those of absent sources included.

    Raises
    ------
    ConfigError
        Names the rule, the column and the likely one.
    """
    for rule in policy.rules:
        for condition in rule.when:
            if condition.column not in columns:
                likely = get_close_matches(condition.column, columns, 1)
                mend = f"did you mean {likely[0]!r}?" if likely else "use a numeric column of the catalogue."
                raise ConfigError(f"policy {policy.name}: rule {rule.name!r} names column {condition.column!r}; {mend}")


@dataclass(frozen=True)
class _Reader:
    """Reads typed values and knows the line to blame."""

    text: str
    source: str

    def error(self, word: str, message: str) -> ConfigError:
        lines = self.text.splitlines()
        found = [i for i, line in enumerate(lines, 1) if word in line.partition("#")[0]]
        return ConfigError(f"{self.source}{f':{found[0]}' if found else ''}: {message}")

    def keys(self, body: Mapping[str, Any], known: set[str], where: str) -> None:
        for key in body:
            if key not in known:
                raise self.error(key, f"unknown key {key!r} in {where}; expected one of {sorted(known)}.")

    def value(self, body: Mapping[str, Any], key: str, expected: Any, where: str) -> Any:
        if key not in body:
            raise self.error(where, f"{key!r} is missing in {where}; add it.")
        found = body[key]
        accepted = (int, float) if expected is float else (expected,)
        if not isinstance(found, accepted) or (isinstance(found, bool) and expected is not bool):
            raise self.error(key, f"{key} in {where} is {found!r}; expected {expected.__name__}.")
        return found

    def section(self, body: Mapping[str, Any], key: str, into: type) -> Any:
        values = body.get(key)
        if not isinstance(values, dict):
            raise self.error(key, f"section [{key}] is missing; add it.")
        self.keys(values, {f.name for f in fields(into)}, f"[{key}]")
        return into(**{f.name: self.value(values, f.name, f.type, f"[{key}]") for f in fields(into)})


def _segments(body: Any, reader: _Reader) -> dict[str, CutOffs]:
    if not isinstance(body, dict) or "default" not in body:
        raise reader.error("segments", "section [segments.default] is missing; add it.")
    merged = {name: {**body["default"], **values} for name, values in body.items()}
    return {
        name: reader.section({f"segments.{name}": values}, f"segments.{name}", CutOffs)
        for name, values in merged.items()
    }


def _rule(body: Mapping[str, Any], reader: _Reader) -> Rule:
    where = f"rule {body.get('name', '(no name)')!r}"
    reader.keys(body, {f.name for f in fields(Rule)}, where)
    action = reader.value(body, "action", str, where)
    if action not in _RULE_ACTIONS:
        raise reader.error(action, f"action {action!r} in {where}; expected one of {list(_RULE_ACTIONS)}.")
    reason = reader.value(body, "reason", str, where)
    if reason not in REASONS:
        raise reader.error(reason, f"unknown reason {reason!r} in {where}; expected one of {sorted(REASONS)}.")
    return Rule(
        name=reader.value(body, "name", str, where),
        action=action,
        reason=reason,
        when=tuple(_condition(c, reader, where) for c in reader.value(body, "when", list, where)),
        new_lines=bool(body.get("new_lines", False)),
    )


def _condition(body: Mapping[str, Any], reader: _Reader, where: str) -> Condition:
    reader.keys(body, {"column", *_OPERATORS}, where)
    given = [operator for operator in _OPERATORS if operator in body]
    if len(given) != 1:
        raise reader.error(where, f"a condition of {where} has {len(given)} of {list(_OPERATORS)}; expected one.")
    value = reader.value(body, given[0], float, where)
    return Condition(reader.value(body, "column", str, where), given[0], float(value))


def _check(policy: Policy, reader: _Reader) -> None:
    for name, cut in policy.segments.items():
        steps = (
            cut.increase_below_pd,
            cut.review_above_pd,
            cut.decrease_above_pd,
            cut.freeze_above_pd,
            cut.close_above_pd,
        )
        if not all(a < b for a, b in zip((0.0, *steps), (*steps, 1.0), strict=True)):
            raise reader.error(f"segments.{name}", f"cut-offs of segment {name!r} must rise from 0 to 1; got {steps}.")
        if not 0 <= cut.min_limit_cents <= cut.max_limit_cents:
            raise reader.error(f"segments.{name}", f"limit band of segment {name!r} is empty or negative.")
    for key, share in (("lgd", policy.loss.lgd), ("ccf", policy.loss.ccf)):
        if not 0 <= share <= 1:
            raise reader.error(key, f"{key} is {share}; expected 0 to 1.")
    if policy.timers.dwell_days < 1:
        raise reader.error("dwell_days", "dwell_days must be at least 1, or one day could step a line twice.")
    if not 0 <= policy.holdout.share < 1:
        raise reader.error("share", f"the holdout share is {policy.holdout.share}; expected 0 up to 1.")
    if not 0 < policy.steps.decrease_share <= 1 or policy.steps.increase_share < 0 or policy.steps.rounding_cents < 1:
        raise reader.error("[steps]", "steps must be positive shares and the rounding at least 1 cent.")
    for key, share in asdict(policy.release).items():
        if key.endswith("_share") and not 0 <= share <= 1:
            raise reader.error(key, f"{key} is {share}; expected 0 to 1.")
    names = [rule.name for rule in policy.rules]
    if len(set(names)) < len(names):
        raise reader.error("[[rules]]", f"rule names repeat: {sorted(names)}.")
    used = {condition.column for rule in policy.rules for condition in rule.when} | set(policy.segments)
    if banned := sorted(word for word in used if word.lower() in PROTECTED):
        raise reader.error(banned[0], f"{banned} are protected attributes; no rule or segment may use them.")
