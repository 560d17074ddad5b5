"""Settings of the simulated world: which causes strike, how often and how hard; read from TOML and checked."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from limitlens.data.errors import ConfigError

#: Futures drawn for the true PD of each line.
FUTURES = 20

#: Causes in the customer's life, in the order in which they are looked for; the last three are innocent.
CAUSES = (
    "burst_borrowing",
    "cash_out",
    "income_loss",
    "missed_payments",
    "takeover",
    "ring_fraud",
    "innocent_device",
    "holiday",
    "salary_delay",
)
TRAPS = frozenset({"innocent_device", "holiday", "salary_delay"})


@dataclass(frozen=True)
class Cause:
    """How often a cause strikes and how hard; units stand in ``conf/world.toml``."""

    rate: float
    severity: float


@dataclass(frozen=True)
class PlannedFault:
    """A fault of the feed and when it strikes; ``before_months`` empty: always. Share and recall as in faults."""

    name: str
    sources: tuple[str, ...]
    share: float
    by: str = "account"
    kinds: tuple[str, ...] = ()
    before_months: tuple[int, ...] = ()
    days: int = 0
    repair_days: float = 6.0
    recall: float = 1.0


@dataclass(frozen=True)
class Release:
    """What changes on the lender's own side: the retrained model, the changed policy, who gets them.

    Parameters
    ----------
    seed : int
        Of the retrained model.
    policy_changes : tuple of (str, str)
        Lines of the policy, and what they become.
    dropped_features : tuple of str
        Aggregates of the catalogue that the retrained model goes without.
    model_share, policy_share : float
        Shares of the accounts that get them: a partial roll-out.
    """

    seed: int
    policy_changes: tuple[tuple[str, str], ...]
    dropped_features: tuple[str, ...] = ()
    model_share: float = 1.0
    policy_share: float = 1.0

    def changed_policy(self, text: str) -> str:
        """The text of a policy with the planned changes.

        Raises
        ------
        ConfigError
            A line to be changed is not in the text.
        """
        for old, new in self.policy_changes:
            if old not in text:
                raise ConfigError(f"[release] policy_changes: the policy has no {old!r}; name a line as it stands.")
            text = text.replace(old, new, 1)
        return text


@dataclass(frozen=True)
class WorldSettings:
    """Every planted cause, every fault of the feed, and the release."""

    causes: Mapping[str, Cause]
    faults: tuple[PlannedFault, ...]
    release: Release


def read_world(path: Path) -> WorldSettings:
    """Read the settings of a world; a cause the file leaves out is as in ``conf/world.toml``.

    Raises
    ------
    ConfigError
        The file cannot be read, or has an unknown, missing or wrongly typed key, or a share outside 0 to 1.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a TOML file with --world.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from error
    _known(path, "the file", body, ("causes", "faults", "release"))
    causes = body.get("causes", {})
    _known(path, "[causes]", causes, CAUSES)
    shipped = {} if set(causes) == set(CAUSES) else default_world().causes
    named = {name: _read(path, f"[causes.{name}]", body, Cause) for name, body in causes.items()}
    return WorldSettings(
        causes={**shipped, **named},
        faults=tuple(_read(path, "[[faults]]", fault, PlannedFault) for fault in body.get("faults", [])),
        release=_read(path, "[release]", body.get("release", {}), Release),
    )


@cache
def default_world() -> WorldSettings:
    """The world that ships with limitlens: ``conf/world.toml``."""
    return read_world(Path(str(files("limitlens.conf"))) / "world.toml")


def _known(path: Path, where: str, body: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in body:
        if key not in names:
            likely = get_close_matches(key, names, 1)
            mend = f"did you mean {likely[0]!r}?" if likely else f"expected one of {list(names)}."
            raise ConfigError(f"{path}: unknown key {key!r} in {where}; {mend}")


def _read(path: Path, where: str, body: Mapping[str, Any], into: type) -> Any:
    _known(path, where, body, tuple(f.name for f in fields(into)))
    try:
        read = into(**{key: _frozen(value) for key, value in body.items()})
    except TypeError as error:
        raise ConfigError(f"{path}: {where} lacks a key: {error}.") from error
    for field in fields(into):
        value, expected = getattr(read, field.name), field.type
        right = (int, float) if expected is float else expected if isinstance(expected, type) else tuple
        if isinstance(value, bool) or not isinstance(value, right):
            raise ConfigError(f"{path}: {field.name} in {where} is {value!r}; expected {_words(expected)}.")
        is_share = field.name in {"rate", "recall"} or field.name.endswith("share")
        if is_share and not 0 <= value <= 1:  # type: ignore[operator]
            raise ConfigError(f"{path}: {field.name} in {where} is {value}; expected 0 to 1.")
        if field.name == "severity" and value < 0:  # type: ignore[operator]
            raise ConfigError(f"{path}: severity in {where} is {value}; expected 0 or more.")
    return read


def _words(expected: Any) -> str:
    return expected.__name__ if isinstance(expected, type) else "a list"


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
