"""Training settings: read from TOML, checked key by key, recorded with every iteration."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader, load_toml, read_toml

#: What ``without`` may name: features made of columns that the contract calls sensitive.
SENSITIVE = "sensitive"


@dataclass(frozen=True)
class TrainSettings:
    """How labels, features and the model are made; see ``conf/train.toml`` for the meaning of each value."""

    horizon_months: int = 6
    default_dpd_days: int = 90
    indeterminate_dpd_days: int = 0
    level_months: int = 1
    verdict_weight: float = 0.0
    timezone: str = "UTC"
    protected: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    new_line_days: int = 90
    seed: int = 1
    folds: int = 3
    rounds: int = 5
    carried_rounds: int = 3
    n_estimators: int = 400
    early_stopping_rounds: int = 30
    num_leaves: int = 15
    max_bin: int = 63
    learning_rate: float = 0.05
    min_data_in_leaf: int = 50
    feature_fraction: float = 0.6
    bagging_fraction: float = 0.8
    lambda_l2: float = 5.0

    def classifier_parameters(self) -> dict[str, Any]:
        """Those that :class:`limitlens.models.classifier.DefaultRiskClassifier` takes."""
        return {name: getattr(self, name) for name in _SECTIONS["model"] if name != "new_line_days"}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and MLflow; keys that came later only where they say something."""
        body = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {name: value for name, value in body.items() if value or name not in _LATER}

    def to_toml(self) -> str:
        """The text :func:`read_settings` reads."""
        values = {**_LATER, **self.to_dict()}
        sections = [
            "\n".join([f"[{name}]", *(f"{key} = {json.dumps(values[key])}" for key in keys)])
            for name, keys in _SECTIONS.items()
        ]
        return "\n\n".join(sections) + "\n"

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "TrainSettings":
        """The settings :meth:`to_dict` wrote."""
        lists: dict[str, Any] = {name: tuple(value) for name, value in body.items() if isinstance(value, list)}
        return cls(**{**body, **lists})


#: What LightGBM counts with.
_MOST = 2**31 - 1

#: Least and largest value of a number that may not be every number from 0.
_BOUNDS: dict[str, tuple[float, float]] = {
    "horizon_months": (1, 1_200),
    "default_dpd_days": (1, _MOST),
    "level_months": (0, 1_200),
    "verdict_weight": (0, 1),
    "folds": (2, _MOST),
    "rounds": (1, _MOST),
    "n_estimators": (1, _MOST),
    "early_stopping_rounds": (1, _MOST),
    "num_leaves": (2, 131_072),
    "max_bin": (2, _MOST),
    "learning_rate": (1e-6, 1),
    "min_data_in_leaf": (1, _MOST),
    "feature_fraction": (0.01, 1),
    "bagging_fraction": (0.01, 1),
}

#: Keys that an earlier version had, and what they are called in LightGBM and here.
_RENAMED = {
    "trees": "n_estimators",
    "patience": "early_stopping_rounds",
    "leaves": "num_leaves",
    "bins": "max_bin",
    "min_rows_per_leaf": "min_data_in_leaf",
    "feature_share": "feature_fraction",
    "row_share": "bagging_fraction",
    "l2": "lambda_l2",
}

#: Keys that say nothing as they ship; digests are as before there were they.
_LATER: dict[str, Any] = {"columns": [], "without": [], "verdict_weight": 0.0}

_SECTIONS = {
    "labels": ("horizon_months", "default_dpd_days", "indeterminate_dpd_days", "level_months", "verdict_weight"),
    "features": ("timezone", "protected", "attributes", "columns", "without"),
    "model": tuple(f.name for f in fields(TrainSettings))[10:],
}


def read_settings(path: Path) -> TrainSettings:
    """Read training settings.

    Parameters
    ----------
    path : Path
        TOML.

    Raises
    ------
    ConfigError
        The file is missing or not TOML, or names an unknown section or key, or gives a value of another type, outside
        its bounds, or at odds with another one; with file and line.
    """
    text = read_toml(path)
    body, reader = load_toml(text, str(path)), Reader(text, str(path))
    reader.table(body, (), _SECTIONS)
    arguments: dict[str, Any] = {}
    for section, known in _SECTIONS.items():
        given = body.get(section, {})
        if old := [key for key in _RENAMED if isinstance(given, dict) and key in given]:
            message = f"{old[0]} is called {_RENAMED[old[0]]} in section [model], as in LightGBM; rename it."
            raise reader.error((section, old[0]), message)
        values = reader.table(given, (section,), known)
        arguments |= {key: _value(values, (section,), key, reader) for key in values}
    settings = TrainSettings(**arguments)
    if settings.carried_rounds >= settings.rounds:
        given = next(key for key in ("rounds", "carried_rounds") if key in arguments)
        raise reader.error(
            ("model", given),
            f"rounds is {settings.rounds} and carried_rounds {settings.carried_rounds}; expected fewer carried_rounds "
            "than rounds, since a retrained model needs members of its own.",
        )
    return settings


def _value(values: Mapping[str, Any], path: KeyPath, key: str, reader: Reader) -> object:
    """One value of a section, of the type of its default and inside its bounds."""
    expected = type(getattr(TrainSettings(), key))
    if expected is tuple:
        names = reader.array(values, (*path, key))
        if wrong := [name for name in names if not isinstance(name, str)]:
            raise reader.error((*path, key), f"{key} names {wrong[0]!r}; expected a list of names.")
        if key == "without" and (unknown := sorted(set(names) - {SENSITIVE})):
            raise reader.error((*path, key), f'without names {unknown[0]!r}; expected "{SENSITIVE}" or nothing.')
        return tuple(names)
    value = reader.value(values, path, key, expected)
    if key == "timezone" and not _is_timezone(value):
        raise reader.error((*path, key), f"timezone is {value!r}; expected an IANA name such as 'Asia/Shanghai'.")
    if expected in {int, float}:
        least, most = _BOUNDS.get(key, (0, _MOST))
        if not least <= value <= most:
            raise reader.error((*path, key), f"{key} is {value!r}; expected at least {least:g} and at most {most:,}.")
    return value


def _is_timezone(name: str) -> bool:
    """Whether both Python and DuckDB know it: of the files that Python would read, these are all."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # what the name of no zone, of a folder, of another file comes to
        return False
    return name != "localtime"
