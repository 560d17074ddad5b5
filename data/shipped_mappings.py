"""The mappings of public data sets that ship with limitlens, by name."""

from importlib.resources import files
from pathlib import Path

from limitlens.data.errors import ConfigError
from limitlens.data.mapping import Imports, parse_mapping
from limitlens.data.toml_reader import read_toml

_CONF = Path(str(files("limitlens.conf")))

SHIPPED: tuple[str, ...] = ("gmsc", "superlender", "taiwan")


def read_mapping(name: str) -> Imports:
    """A mapping that ships, by its name, or one of a file.

    Parameters
    ----------
    name : str
        One of :data:`SHIPPED`, or the path of a TOML file.

    Raises
    ------
    ConfigError
        There is no such file, or something in it is wrong; with the line.

    Examples
    --------
    >>> read_mapping("taiwan").currency
    'TWD'
    """
    path = _CONF / f"mapping_{name}.toml" if name in SHIPPED else Path(name)
    if not path.exists():
        raise ConfigError(f"{name}: neither a file nor one of {', '.join(SHIPPED)}; name a mapping.")
    return parse_mapping(read_toml(path), path.name if name in SHIPPED else name)
