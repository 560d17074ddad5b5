"""Settings of the simulated world: which causes strike, how often and how hard; read from TOML and checked."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from limitlens.data.errors import ConfigError
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import LARGEST, Reader, header, load_toml, read_toml
from limitlens.data.world.mechanisms import Answer, Manner, Portfolio, Reminder, State

#: Futures drawn for the true PD of each line.
FUTURES = 20

#: Causes in the customer's life, in the order in which they are looked for; one that no file names never strikes.
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
    "first_need",
    "travel",
    "festival",
    "forgotten_instalment",
    "family_phone",
)

#: Those that spend nothing, and so have no manner.
_UNSPENT = frozenset({"income_loss", "missed_payments", "salary_delay", "forgotten_instalment", "family_phone"})

#: The innocent ones.
TRAPS = frozenset(CAUSES[CAUSES.index("innocent_device") :])

#: What a lender may do that customers answer.
ANSWERED = ("pause", "decrease", "freeze", "close")

#: Worlds that ship, by the name that `--world` takes.
WORLDS = {"first": "world.toml", "honest": "honest.toml"}

_SHARES = (
    *("rate", "recall", "share", "model_share", "policy_share"),
    *("password", "fails", "passed_on", "night", "away", "atm"),
    *("heeded", "roused"),
    *("leaves", "in_need", "pays", "draws_less", "appetite"),
)

#: Largest value of a number, or of each in a list.
_MOST = {
    **dict.fromkeys(_SHARES, 1),
    **dict.fromkeys(("ability_persistence", "will_persistence"), 0.999),
    **dict.fromkeys(("days", "quiet_days", "repair_days"), 36_500),
    **dict.fromkeys(("draws", "purchases"), 60),
    "before_months": 1_200,
    "due_days": 26,
    "after_days": 20,
}

#: Smallest one, where it is not 0. An instalment due in these days is 90 days old in the third month after.
_LEAST = {"due_days": 4, "miss_log_odds": -20}


@dataclass(frozen=True)
class Cause:
    """How often a cause strikes, how hard and in which manner; units stand in ``conf/world.toml``."""

    rate: float
    severity: float
    manner: Manner | None = None


#: A cause that no file names.
NEVER = Cause(0.0, 0.0)


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
    """Every planted cause, every fault of the feed, the release; and what the customers are like.

    ``reminder`` None: nobody is reminded. ``reactions``: answers by adverse action; nobody answers one that is missing.
    """

    causes: Mapping[str, Cause]
    faults: tuple[PlannedFault, ...]
    release: Release
    portfolio: Portfolio = field(default_factory=Portfolio)
    state: State = field(default_factory=State)
    reminder: Reminder | None = None
    reactions: Mapping[str, Answer] = field(default_factory=dict)


def named_world(world: str) -> WorldSettings:
    """A world that ships, by its name, or that of a file.

    Parameters
    ----------
    world : str
        Key of :data:`WORLDS`, or the path of a TOML file.

    Raises
    ------
    ConfigError
        As :func:`read_world`.
    """
    if world in WORLDS:
        return read_world(_shipped(WORLDS[world]))
    if not Path(world).exists():
        raise ConfigError(f"{world}: no such world; name a TOML file, or one that ships: {', '.join(WORLDS)}.")
    return read_world(Path(world))


def read_world(path: Path) -> WorldSettings:
    """Read the settings of a world; a cause or manner the file leaves out is as in ``conf/world.toml``.

    Parameters
    ----------
    path : Path
        TOML.

    Raises
    ------
    ConfigError
        The file cannot be read, or has an unknown, missing or wrongly typed key, or a share outside 0 to 1; with file
        and line.
    """
    text = read_toml(path)
    body, reader = load_toml(text, str(path)), Reader(text, str(path))
    reader.table(body, (), [part.name for part in fields(WorldSettings)])
    causes = reader.table(body.get("causes", {}), ("causes",), CAUSES)
    answers = reader.table(body.get("reactions", {}), ("reactions",), ANSWERED)
    faults = enumerate(reader.array(body, ("faults",)))
    first = {} if path == _shipped("world.toml") else default_world().causes
    return WorldSettings(
        causes={name: _cause(reader, name, causes.get(name), first.get(name, NEVER)) for name in CAUSES},
        faults=tuple(_read(reader, ("faults", place), fault, PlannedFault) for place, fault in faults),
        release=_read(reader, ("release",), body.get("release", {}), Release),
        portfolio=_portfolio(reader, body.get("portfolio", {})),
        state=_read(reader, ("state",), body.get("state", {}), State),
        reminder=_read(reader, ("reminder",), body["reminder"], Reminder) if "reminder" in body else None,
        reactions={action: _answer(reader, action, raw) for action, raw in answers.items()},
    )


@cache
def default_world() -> WorldSettings:
    """The world that ships with limitlens: ``conf/world.toml``."""
    return read_world(_shipped("world.toml"))


def _shipped(name: str) -> Path:
    return Path(str(files("limitlens.conf"))) / name


def _cause(reader: Reader, name: str, raw: Any, shipped: Cause) -> Cause:
    if raw is None:
        return shipped
    path = ("causes", name)
    body = reader.table(raw, path, [part.name for part in fields(Cause)])
    cause: Cause = _read(reader, path, {key: body[key] for key in body if key != "manner"}, Cause)
    manner = _manner(reader, (*path, "manner"), body["manner"]) if "manner" in body else shipped.manner
    if manner is None and name not in _UNSPENT:
        raise reader.error(path, f"'manner' is missing in {header(path)}; add it.")
    return replace(cause, manner=manner)


def _manner(reader: Reader, path: KeyPath, raw: Any) -> Manner:
    manner: Manner = _read(reader, path, raw, Manner)
    for key in ("draws", "purchases"):
        fewest, most = getattr(manner, key)
        if fewest > most:
            raise reader.error((*path, key), f"{key} in {header(path)} is {[fewest, most]}; expected fewest and most.")
    return manner


def _portfolio(reader: Reader, raw: Any) -> Portfolio:
    path = ("portfolio",)
    portfolio: Portfolio = _read(reader, path, raw, Portfolio)
    if not portfolio.due_days:
        raise reader.error((*path, "due_days"), f"due_days in {header(path)} is empty; name days of the month.")
    return portfolio


def _answer(reader: Reader, action: str, raw: Any) -> Answer:
    path = ("reactions", action)
    answer: Answer = _read(reader, path, raw, Answer)
    if (total := answer.leaves + answer.in_need + answer.pays + answer.draws_less) > 1:
        raise reader.error(path, f"the shares in {header(path)} sum to {total:g}; expected at most 1.")
    return answer


def _read(reader: Reader, path: KeyPath, raw: Any, into: type) -> Any:
    """An instance of a dataclass from a table that may leave out what has a default."""
    named = {field.name: field for field in fields(into)}
    needed = [name for name, field in named.items() if field.default is MISSING]
    body = reader.table(raw, path, tuple(named), needed)
    values = {}
    for key in body:
        expected = named[key].type
        value = _frozen(body[key]) if get_origin(expected) is tuple else reader.value(body, path, key, expected)
        if get_origin(expected) is Literal:
            values[key] = value
            continue
        if not _fits(value, expected):
            raise reader.error((*path, key), f"{key} in {header(path)} is {body[key]!r}; expected {_words(expected)}.")
        for number in value if isinstance(value, tuple) else [value]:
            least, most = _LEAST.get(key, 0), _MOST.get(key, LARGEST)
            if isinstance(number, int | float) and not least <= number <= most:
                raise reader.error((*path, key), f"{key} in {header(path)} is {number}; expected {least} to {most:,}.")
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
