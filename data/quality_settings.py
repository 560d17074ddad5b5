"""Settings of the judgement on incoming data: read from TOML and checked key by key."""

from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_origin

from limitlens.data.contracts import EVENT_SOURCES, SOURCES
from limitlens.data.protected import is_protected
from limitlens.data.toml_reader import Reader, load_toml, read_toml


@dataclass(frozen=True)
class Slices:
    """Columns whose values are judged one by one, by source; ``accounts``: of the line, for every source."""

    consumption: tuple[str, ...]
    payment: tuple[str, ...]
    device: tuple[str, ...]
    accounts: tuple[str, ...]
    max_values: int

    def of(self, source: str) -> tuple[str, ...]:
        """Columns of a source of events that name a slice."""
        columns: tuple[str, ...] = getattr(self, source)
        return columns


@dataclass(frozen=True)
class Judging:
    """When a slice is unusual; ``conf/quality.toml`` explains each value."""

    least_past_days: int
    memory_days: int
    longest_window_days: int
    first_load_days: int
    least_change: float
    least_share: float
    least_shift: float
    warn_p: float
    hold_p: float


@dataclass(frozen=True)
class QualitySettings:
    """What a slice is and when it is unusual."""

    slices: Slices
    judging: Judging


#: Least and largest value of a number.
_BOUNDS: dict[str, tuple[float, float]] = {
    "max_values": (1, 1_000),
    "least_past_days": (28, 36_500),
    "memory_days": (28, 36_500),
    "longest_window_days": (1, 31),
    "first_load_days": (1, 366),
    "least_change": (0.01, 100),
    "least_share": (0.001, 1),
    "least_shift": (0.01, 100),
    "warn_p": (1e-30, 0.5),
    "hold_p": (1e-30, 0.5),
}


def read_quality(path: Path) -> QualitySettings:
    """Read the settings of a file.

    Raises
    ------
    ConfigError
        The file cannot be read, or has an unknown, missing or wrongly typed key, a value out of range, or a slice that
        no source has or that is protected; with file and line.
    """
    return parse_quality(read_toml(path), str(path))


def parse_quality(text: str, source: str = "quality") -> QualitySettings:
    """Parse and check the text of the settings.

    Raises
    ------
    ConfigError
        As :func:`read_quality`.

    Examples
    --------
    >>> default_quality().slices.of("device")
    ('city',)
    """
    body, reader = load_toml(text, source), Reader(text, source)
    sections = {"slices": Slices, "judging": Judging}
    reader.table(body, (), sections, sections)
    settings = QualitySettings(**{name: _section(reader, body, name, into) for name, into in sections.items()})
    if settings.judging.hold_p > settings.judging.warn_p:
        raise reader.error(("judging", "hold_p"), "hold_p is above warn_p; a hold needs the smaller one.")
    return settings


@cache
def default_quality() -> QualitySettings:
    """The settings that ship with limitlens: ``conf/quality.toml``."""
    return read_quality(Path(str(files("limitlens.conf"))) / "quality.toml")


def _section(reader: Reader, body: dict[str, Any], name: str, into: type) -> Any:
    names = [field.name for field in fields(into)]
    values = reader.table(body[name], (name,), names, names)
    read = {f.name: _value(reader, values, (name, f.name), f.type) for f in fields(into)}
    return into(**read)


def _value(reader: Reader, values: Any, path: tuple[str, str], expected: Any) -> Any:
    section, key = path
    if get_origin(expected) is tuple:
        return _columns(reader, values, path)
    value = reader.value(values, (section,), key, expected)
    least, most = _BOUNDS[key]
    if not least <= value <= most:
        raise reader.error(path, f"{key} in [{section}] is {value!r}; expected {least:g} to {most:g}.")
    return value


def _columns(reader: Reader, values: Any, path: tuple[str, str]) -> tuple[str, ...]:
    section, key = path
    columns = values[key]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise reader.error(path, f"{key} in [{section}] is {columns!r}; expected a list of columns.")
    texts = [column.name for column in SOURCES[key].columns if column.dtype == "string"]
    for name in columns:
        if key in EVENT_SOURCES and name not in texts:
            raise reader.error(path, f"{key} has no text column {name!r}; expected some of {texts}.")
        if is_protected(name):
            raise reader.error(path, f"{name!r} is protected and no slice; leave it out.")
    return tuple(dict.fromkeys(columns))
