"""Training settings: read from TOML, checked key by key, recorded with every iteration."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from limitlens.data.errors import ConfigError

_TYPES: dict[type, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), tuple: (list,)}


@dataclass(frozen=True)
class TrainSettings:
    """How labels, features and the model are made; see ``conf/train.toml`` for the meaning of each value."""

    horizon_months: int = 6
    default_dpd_days: int = 90
    indeterminate_dpd_days: int = 0
    level_months: int = 1
    timezone: str = "UTC"
    protected: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    new_line_days: int = 90
    seed: int = 1
    folds: int = 3
    rounds: int = 5
    carried_rounds: int = 3
    trees: int = 400
    patience: int = 30
    leaves: int = 15
    bins: int = 63
    learning_rate: float = 0.05
    min_rows_per_leaf: int = 50
    feature_share: float = 0.6
    row_share: float = 0.8
    l2: float = 5.0

    def classifier_parameters(self) -> dict[str, Any]:
        """Those that :class:`limitlens.models.classifier.DefaultRiskClassifier` takes."""
        return {name: getattr(self, name) for name in _SECTIONS["model"] if name != "new_line_days"}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and MLflow parameters."""
        return {**asdict(self), "protected": list(self.protected), "attributes": list(self.attributes)}

    def to_toml(self) -> str:
        """The text :func:`read_settings` reads."""
        values = self.to_dict()
        sections = [
            "\n".join([f"[{name}]", *(f"{key} = {json.dumps(values[key])}" for key in keys)])
            for name, keys in _SECTIONS.items()
        ]
        return "\n\n".join(sections) + "\n"

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "TrainSettings":
        """The settings :meth:`to_dict` wrote."""
        return cls(**{**body, **{name: tuple(body[name]) for name in ("protected", "attributes")}})


#: Least and, where there is one, largest value of a number that may not be every number from 0.
_BOUNDS: dict[str, tuple[float, float]] = {
    "horizon_months": (1, np.inf),
    "default_dpd_days": (1, np.inf),
    "folds": (2, np.inf),
    "rounds": (1, np.inf),
    "trees": (1, np.inf),
    "patience": (1, np.inf),
    "leaves": (2, np.inf),
    "bins": (2, np.inf),
    "learning_rate": (1e-6, 1),
    "min_rows_per_leaf": (1, np.inf),
    "feature_share": (0.01, 1),
    "row_share": (0.01, 1),
}

_SECTIONS = {
    "labels": ("horizon_months", "default_dpd_days", "indeterminate_dpd_days", "level_months"),
    "features": ("timezone", "protected", "attributes"),
    "model": tuple(f.name for f in fields(TrainSettings))[7:],
}


def read_settings(path: Path) -> TrainSettings:
    """Read training settings.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, or names an unknown section or key, or gives a value of another type or
        outside its bounds.
    """
    return TrainSettings(**_flat(_parse(path), path))


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8; save the file as UTF-8.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a TOML file with --config.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from error


def _flat(body: Mapping[str, Any], path: Path) -> dict[str, Any]:
    defaults = TrainSettings()
    found: dict[str, Any] = {}
    for section, values in body.items():
        known = _SECTIONS.get(section)
        if known is None or not isinstance(values, dict):
            raise ConfigError(f"{path}: unknown section [{section}]; expected one of {sorted(_SECTIONS)}.")
        for key, value in values.items():
            if key not in known:
                raise ConfigError(f"{path}: unknown key {key!r} in [{section}]; expected one of {sorted(known)}.")
            found[key] = _typed(path, section, key, value, type(getattr(defaults, key)))
    return found


def _typed(path: Path, section: str, key: str, value: object, expected: type) -> object:
    if isinstance(value, bool) or not isinstance(value, _TYPES[expected]):
        raise ConfigError(f"{path}: [{section}] {key} is {value!r}; expected {expected.__name__}.")
    least, most = _BOUNDS.get(key, (0, np.inf))
    if isinstance(value, int | float) and not (least <= value <= most and value < np.inf):
        above = f" and at most {most:g}" if most < np.inf else ""
        raise ConfigError(f"{path}: [{section}] {key} is {value!r}; expected at least {least:g}{above}.")
    return tuple(value) if isinstance(value, list) else value
