"""The file of stress scenarios: TOML, each scenario with a name, a version, a date and one kind of shock."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal

from limitlens.data.contracts import EVENT_SOURCES, SOURCES
from limitlens.data.errors import ConfigError
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader, load_toml, read_toml

Kind = Literal["pd", "economy", "behaviour", "policy", "outage", "iteration"]

#: What is drawn with replacement: turns of the model in use, or the customers that models are trained anew on.
Resample = Literal["turns", "customers"]

#: Multiples of a shock that are tried where a scenario names none.
SEVERITIES = (0.5, 1.0, 1.5, 2.0)

#: What every scenario has, and what each kind may have besides.
_OF_ALL = ("name", "title", "title_zh", "version", "date", "kind", "severities", "reaction_log_odds")
_OF_KIND: dict[str, tuple[str, ...]] = {
    "pd": ("log_odds",),
    "economy": ("path",),
    "behaviour": ("utilisation_up", "inflow_down", "inflow_delay_days", "counterparty", "segments"),
    "policy": ("cut_offs_log_odds", "policy"),
    "outage": ("source", "kinds", "days", "slices"),
    "iteration": ("resample", "draws", "seed"),
}


@dataclass(frozen=True)
class Scenario:
    """One stress scenario; what another kind needs is empty.

    Parameters
    ----------
    name : str
        Without spaces, for programs.
    title, title_zh : str
        What a page calls it.
    version : int
    date : datetime.date
        Of this version.
    kind : {"pd", "economy", "behaviour", "policy", "outage", "iteration"}
    severities : tuple of float
        Multiples of the shock, rising; 0 is always there.
    reaction_log_odds : float
        Added to the log-odds of the PD of lines that are newly cut, frozen or closed.
    log_odds : mapping of str to float
        ``pd``: added to the log-odds of the PD, by segment.
    path : mapping of str to tuple of float
        ``economy``: values of each macro series in the months ahead.
    utilisation_up, inflow_down : float
        ``behaviour``: share of what can be drawn that is bought with at once; share of the inflow that is lost.
    inflow_delay_days : int
        ``behaviour``: inflows of so many last days have not come.
    counterparty : str
        ``behaviour``: only inflows from it, such as an employer.
    segments : tuple of str
        ``behaviour``: only lines in them; empty: all.
    cut_offs_log_odds : float
        ``policy``: every cut-off on PD moves by so much in log-odds; below 0, lines are cut at lower PDs.
    policy : str
        ``policy``: file of another policy, from the folder of the scenarios.
    source : str
        ``outage``: source of events of which nothing came.
    kinds : tuple of str
        ``outage``: only these kinds of rows.
    days : int
        ``outage``: for so many days before the decision.
    slices : tuple of str
        ``outage``: attributes of the lines by whose values the outage is told apart.
    resample : {"turns", "customers"}
        ``iteration``: what is drawn anew.
    draws, seed : int
        ``iteration``: how many times.
    """

    name: str
    title: str
    title_zh: str
    version: int
    date: date
    kind: Kind
    severities: tuple[float, ...] = SEVERITIES
    reaction_log_odds: float = 0.0
    log_odds: Mapping[str, float] = field(default_factory=dict)
    path: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    utilisation_up: float = 0.0
    inflow_down: float = 0.0
    inflow_delay_days: int = 0
    counterparty: str = ""
    segments: tuple[str, ...] = ()
    cut_offs_log_odds: float = 0.0
    policy: str = ""
    source: str = ""
    kinds: tuple[str, ...] = ()
    days: int = 0
    slices: tuple[str, ...] = ()
    resample: Resample = "turns"
    draws: int = 0
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON: what every scenario has, and what its kind has; ``resample`` came later."""
        shown = {*_OF_ALL, *_OF_KIND[self.kind]} - ({"resample"} if self.resample == "turns" else set())
        return {name: value for name, value in asdict(self).items() if name in shown} | {"date": self.date.isoformat()}


def digest_of_scenarios(scenarios: Sequence[Scenario], texts: Mapping[str, str]) -> str:
    """Sha256 over the values of scenarios and the texts of files they name; comments and layout do not count."""
    body = [[one.to_dict() for one in scenarios], dict(texts)]
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def read_scenarios(path: Path, only: str | None = None) -> tuple[Scenario, ...]:
    """Read and check a file of scenarios.

    Parameters
    ----------
    path : Path
        TOML.
    only : str, optional
        Name of the one that is wanted.

    Raises
    ------
    ConfigError
        Unknown or missing keys, wrong types, values out of range, a name twice, or no scenario of the name; with file
        and line.
    """
    text = read_toml(path)
    reader, body = Reader(text, str(path)), load_toml(text, str(path))
    reader.table(body, (), ["scenarios"], ["scenarios"])
    listed = reader.array(body, ("scenarios",))
    scenarios = tuple(_scenario(raw, ("scenarios", place), reader) for place, raw in enumerate(listed))
    for place, one in enumerate(scenarios):
        if one.name in [other.name for other in scenarios[:place]]:
            raise reader.error(("scenarios", place, "name"), f"two scenarios are called {one.name!r}; rename one.")
    if only is not None and only not in [one.name for one in scenarios]:
        raise ConfigError(f"{path}: no scenario {only!r}; expected one of {[one.name for one in scenarios]}.")
    return tuple(one for one in scenarios if only in (None, one.name))


def _scenario(raw: Any, path: KeyPath, reader: Reader) -> Scenario:
    every = [name for own in _OF_KIND.values() for name in own]
    body = reader.table(raw, path, [*_OF_ALL, *every], ["name", "version", "date", "kind"])
    kind: Kind = reader.value(body, path, "kind", Kind)
    reader.table(raw, path, [*_OF_ALL, *_OF_KIND[kind]])
    values: dict[str, Any] = {"title": body["name"], "title_zh": body["name"]}
    for one in fields(Scenario):
        if one.name in body:
            values[one.name] = _value(body, path, one.name, one.type, reader)
    scenario = Scenario(**values)
    _check(scenario, path, reader)
    return scenario


def _value(body: Mapping[str, Any], path: KeyPath, key: str, expected: Any, reader: Reader) -> Any:
    if key in ("severities", "segments", "kinds", "slices"):
        return _all_of(body, (*path, key), float if key == "severities" else str, reader)
    if key == "log_odds":
        table = reader.table(body[key], (*path, key), list(body[key]) if isinstance(body[key], dict) else [])
        return {name: reader.value(table, (*path, key), name, float) for name in table}
    if key == "path":
        table = reader.table(body[key], (*path, key), list(body[key]) if isinstance(body[key], dict) else [])
        return {name: _all_of(table, (*path, key, name), float, reader) for name in table}
    return reader.value(body, path, key, expected)


def _all_of(body: Mapping[str, Any], path: KeyPath, expected: type, reader: Reader) -> tuple[Any, ...]:
    values = reader.array(body, path)
    key = str(path[-1])
    return tuple(reader.value({key: value}, path[:-1], key, expected) for value in values)


def _check(scenario: Scenario, path: KeyPath, reader: Reader) -> None:
    wanted = {
        "severities": (
            list(scenario.severities) == sorted({*scenario.severities})
            and all(0 < s <= 10 for s in scenario.severities),
            "rising numbers above 0 and at most 10",
        ),
        "name": (bool(scenario.name) and not set(scenario.name) & set(" /\\"), "a name without spaces and slashes"),
        "reaction_log_odds": (0 <= scenario.reaction_log_odds <= 5, "0 to 5"),
        **_wanted_of_kind(scenario),
    }
    for key, (holds, expected) in wanted.items():
        if not holds:
            raise reader.error((*path, key), f"{key} of scenario {scenario.name!r} is not right; expected {expected}.")


def _wanted_of_kind(one: Scenario) -> dict[str, tuple[bool, str]]:
    """What each kind needs: key → (whether it holds, what was expected)."""
    lengths = {len(values) for values in one.path.values()}
    columns = SOURCES[one.source].columns if one.source in SOURCES else ()
    kinds = next((column.one_of for column in columns if column.name == "kind"), ())
    by_kind: dict[str, dict[str, tuple[bool, str]]] = {
        "pd": {"log_odds": (bool(one.log_odds), "log-odds by segment, such as { default = 0.4 }")},
        "economy": {"path": (len(lengths) == 1 and 0 not in lengths, "as many months of every series")},
        "behaviour": {
            "utilisation_up": (0 <= one.utilisation_up <= 1, "0 to 1"),
            "inflow_down": (0 <= one.inflow_down <= 1, "0 to 1"),
            "inflow_delay_days": (
                0 <= one.inflow_delay_days <= 90
                and bool(one.inflow_delay_days) + bool(one.utilisation_up or one.inflow_down) == 1,
                "0 to 90, and not beside a share of the same scenario",
            ),
            "counterparty": (bool(one.inflow_delay_days) or not one.counterparty, "none without inflow_delay_days"),
        },
        "policy": {
            "cut_offs_log_odds": (bool(one.cut_offs_log_odds) != bool(one.policy), "either it or a policy file"),
        },
        "outage": {
            "source": (one.source in EVENT_SOURCES, f"one of {list(EVENT_SOURCES)}"),
            "kinds": (set(one.kinds) <= set(kinds) or not kinds, f"some of {list(kinds)}"),
            "days": (1 <= one.days <= 90, "1 to 90"),
        },
        "iteration": {"draws": (2 <= one.draws <= 100, "2 to 100"), "seed": (one.seed >= 0, "0 or more")},
    }
    return by_kind[one.kind]
