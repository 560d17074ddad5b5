"""Settings of the simulated world: which causes strike, how often and how hard; read from TOML and checked."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin

from limitlens.data.errors import ConfigError
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import LARGEST, Reader, load_toml, read_toml, said

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

#: Largest value of a number, or of each in a list; none is below 0.
_MOST = {
    **dict.fromkeys(("rate", "recall", "share", "model_share", "policy_share"), 1),
    **dict.fromkeys(("days", "repair_days"), 36_500),
    "before_months": 1_200,
}


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
        The file cannot be read, or has an unknown, missing or wrongly typed key, or a share outside 0 to 1; with file
        and line.
    """
    text = read_toml(path)
    body, reader = load_toml(text, str(path)), Reader(text, str(path))
    reader.table(body, (), ("causes", "faults", "release"))
    causes = reader.table(body.get("causes", {}), ("causes",), CAUSES)
    shipped = {} if set(causes) == set(CAUSES) else default_world().causes
    faults = enumerate(reader.array(body, ("faults",)))
    return WorldSettings(
        causes={**shipped, **{name: _read(reader, ("causes", name), found, Cause) for name, found in causes.items()}},
        faults=tuple(_read(reader, ("faults", place), fault, PlannedFault) for place, fault in faults),
        release=_read(reader, ("release",), body.get("release", {}), Release),
    )


@cache
def default_world() -> WorldSettings:
    """The world that ships with limitlens: ``conf/world.toml``."""
    return read_world(Path(str(files("limitlens.conf"))) / "world.toml")


def _read(reader: Reader, path: KeyPath, raw: Any, into: type) -> Any:
    """An instance of a dataclass from a table that may leave out what has a default."""
    named = {field.name: field for field in fields(into)}
    needed = [name for name, field in named.items() if field.default is MISSING]
    body = reader.table(raw, path, tuple(named), needed)
    values = {}
    for key in body:
        expected = named[key].type
        value = _frozen(body[key]) if get_origin(expected) is tuple else reader.value(body, path, key, expected)
        if not _fits(value, expected):
            raise reader.error((*path, key), f"{key} in {said(path)} is {body[key]!r}; expected {_words(expected)}.")
        for number in value if isinstance(value, tuple) else [value]:
            most = _MOST.get(key, LARGEST)
            if isinstance(number, int | float) and not 0 <= number <= most:
                raise reader.error((*path, key), f"{key} in {said(path)} is {number}; expected 0 to {most:,}.")
        values[key] = value
    return into(**values)


def _fits(value: Any, expected: Any) -> bool:
    """Whether a value is of a type; that of a tuple says what its items are."""
    if get_origin(expected) is not tuple:
        return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))
    item, *others = get_args(expected)
    if not isinstance(value, tuple):
        return False
    kinds = [item] * len(value) if others == [...] else [item, *others]
    return len(kinds) == len(value) and all(map(_fits, value, kinds))


def _words(expected: Any) -> str:
    if get_origin(expected) is not tuple:
        return str(expected.__name__)
    item, *others = get_args(expected)
    return f"a list, each {_words(item)}" if others == [...] else f"a list of {1 + len(others)}"


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
