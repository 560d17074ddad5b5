"""Settings of exchanges with another lender: what the ids are, and how much may be asked."""

from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path

from limitlens.data.toml_reader import Reader, load_toml, read_toml


@dataclass(frozen=True)
class ShareLimits:
    """How much one lender may ask; ``conf/share.toml`` explains each value."""

    valid_hours: int
    ids_per_exchange: int
    period_days: int
    exchanges_per_period: int
    ids_per_period: int


@dataclass(frozen=True)
class ShareSettings:
    """What the ids are called, and the limits."""

    id_kind: str
    limits: ShareLimits


#: Largest value of each limit.
_MOST = {
    "valid_hours": 720,
    "ids_per_exchange": 20_000_000,
    "period_days": 366,
    "exchanges_per_period": 1_000,
    "ids_per_period": 200_000_000,
}


def read_share_settings(path: Path) -> ShareSettings:
    """Read the settings of a file.

    Raises
    ------
    ConfigError
        The file cannot be read, or has an unknown, missing or wrongly typed key or a value out of range; with line.
    """
    return parse_share_settings(read_toml(path), str(path))


def parse_share_settings(text: str, source: str = "share") -> ShareSettings:
    """Parse and check the text of the settings.

    Raises
    ------
    ConfigError
        As :func:`read_share_settings`.

    Examples
    --------
    >>> default_share_settings().limits.exchanges_per_period
    4
    """
    body, reader = load_toml(text, source), Reader(text, source)
    names = [field.name for field in fields(ShareSettings)]
    reader.table(body, (), names, names)
    id_kind = reader.value(body, (), "id_kind", str)
    if not id_kind.strip():
        raise reader.error(("id_kind",), "id_kind is empty; say what the ids are, as the other lender does.")
    limits: ShareLimits = reader.section(body, ("limits",), ShareLimits)
    for name, most in _MOST.items():
        if not 1 <= getattr(limits, name) <= most:
            raise reader.error(("limits", name), f"{name} is {getattr(limits, name):,}; expected 1 to {most:,}.")
    return ShareSettings(id_kind, limits)


@cache
def default_share_settings() -> ShareSettings:
    """The settings that ship with limitlens: ``conf/share.toml``."""
    return read_share_settings(Path(str(files("limitlens.conf"))) / "share.toml")
