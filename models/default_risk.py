"""The default-risk model: a scorer for lines with history, one for new lines, one feature set, one interface.

A model is plain text: members as LightGBM text, everything else as JSON that holds the sha256 of each member. Nothing
is ever unpickled, and no member is parsed before its hash is checked.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray, IntArray
from limitlens.data.errors import IntegrityError
from limitlens.data.storage import write_text
from limitlens.features.declarations import FeatureSet
from limitlens.models.calibration import Calibration, to_pd
from limitlens.models.inputs import Categories, account_numbers, model_columns, model_inputs
from limitlens.models.member import Member
from limitlens.models.scorer import Scorer
from limitlens.models.settings import TrainSettings
from limitlens.models.together import naming_accounts

#: Of a model's files; what an earlier version of limitlens wrote would be scored otherwise.
_FORMAT = 5

#: Observed by expected bads outside of this, and not by chance, is another level than the one that was meant.
LEVEL_BOUNDS = (0.5, 2.0)


@dataclass(frozen=True)
class DefaultRiskModel:
    """A trained, calibrated model; equal digests mean equal predictions.

    Parameters
    ----------
    features : FeatureSet
        The feature table the model reads.
    categories : mapping of str to tuple of str
        Values of each text attribute, in the order of their codes; anything else is missing.
    book : Scorer
        Trained on every line.
    new_lines : Scorer or None
        Trained on lines younger than ``settings.new_line_days``, and scores them; None: too few of them went bad.
    settings : TrainSettings
    contract : str
        Digest of the data contract the training data passed.
    labels_end : str
        ISO time until which the training labels look; decisions before it are a backtest.
    recalibration_shift : float
        By how much the calibrations were moved after training, in log-odds; see :mod:`limitlens.models.recalibration`.
    """

    features: FeatureSet
    categories: Categories
    book: Scorer
    new_lines: Scorer | None
    settings: TrainSettings
    contract: str
    labels_end: str
    recalibration_shift: float = 0.0

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Model inputs, in the order of training."""
        return model_columns(self.features)

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """Scorers by name: ``book`` and, if there is one, ``new_lines``."""
        return {"book": self.book} | ({"new_lines": self.new_lines} if self.new_lines else {})

    def routed(self, line_age_days: IntArray) -> Iterator[tuple[Scorer, IntArray]]:
        """Each scorer with the positions of the lines it scores."""
        new = (line_age_days < self.settings.new_line_days) & (self.new_lines is not None)
        for scorer, rows in ((self.book, ~new), (self.new_lines, new)):
            if scorer is not None and rows.any():
                yield scorer, np.flatnonzero(rows)

    def inputs(self, table: pd.DataFrame, limit_cents: IntArray, line_age_days: IntArray) -> FloatArray:
        """What the members read; see :func:`limitlens.models.inputs.model_inputs`."""
        return model_inputs(self.features, self.categories, table, limit_cents, line_age_days)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the members, which stand in it by their sha256."""
        return {
            "format": _FORMAT,
            "features": self.features.to_dict(),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "scorers": {name: scorer.to_dict() for name, scorer in self.scorers.items()},
            "settings": self.settings.to_dict(),
            "contract": self.contract,
            "labels_end": self.labels_end,
            "level_shift": self.recalibration_shift,
        }

    @cached_property
    def digest(self) -> str:
        """Sha256 over members, calibrations, feature set, contract and settings."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def recalibrated(model: DefaultRiskModel, shift: float) -> DefaultRiskModel:
    """The model with every log-odds moved by ``shift``."""

    def moved(scorer: Scorer) -> Scorer:
        return Scorer(scorer.members, scorer.calibration.shifted(shift))

    new_lines = moved(model.new_lines) if model.new_lines else None
    return replace(
        model, book=moved(model.book), new_lines=new_lines, recalibration_shift=model.recalibration_shift + shift
    )


def calibrated_as(model: DefaultRiskModel, other: DefaultRiskModel) -> DefaultRiskModel:
    """The members of a model with the calibrations of another; a scorer that the other lacks keeps its own."""
    new_lines = model.new_lines
    if new_lines and other.new_lines:
        new_lines = replace(new_lines, calibration=other.new_lines.calibration)
    return replace(model, book=replace(model.book, calibration=other.book.calibration), new_lines=new_lines)


def predict_log_odds(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> FloatArray:
    """Calibrated log-odds of default of each row; parameters as in :func:`predict_pd`."""
    if not len(table):
        return np.empty(0)
    inputs = model.inputs(table, limit_cents, line_age_days)
    account = account_numbers(table["account_id"])
    log_odds = np.empty(len(table))
    for scorer, rows in model.routed(line_age_days):
        with naming_accounts(table["account_id"].iloc[rows]):
            log_odds[rows] = scorer.log_odds(inputs[rows], account[rows])
    return log_odds


def predict_pd(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> FloatArray:
    """Probability of default of each row, by the members that never saw its account.

    Parameters
    ----------
    model : DefaultRiskModel
    table : DataFrame of shape (n, ...)
        Feature table of ``model.features``.
    limit_cents, line_age_days : int64 arrays of shape (n,)

    Returns
    -------
    float64 array of shape (n,), in (0, 1)
    """
    return to_pd(predict_log_odds(model, table, limit_cents, line_age_days))


def save_model(model: DefaultRiskModel, folder: Path) -> None:
    """Write ``book-0.txt`` …, ``new_lines-0.txt`` … and ``model.json``, the latter last.

    Parameters
    ----------
    model : DefaultRiskModel
    folder : Path
        Created when it does not exist.
    """
    for name, scorer in model.scorers.items():
        for k, member in enumerate(scorer.members):
            write_text(member.text, folder / f"{name}-{k}.txt")
    write_text(json.dumps(model.to_dict(), indent=1, sort_keys=True), folder / "model.json")


def load_model(folder: Path, *, digest: str) -> DefaultRiskModel:
    """Load a model whose digest is known.

    Parameters
    ----------
    folder : Path
        As :func:`save_model` wrote it.
    digest : str
        sha256 of the model, in hex.

    Raises
    ------
    IntegrityError
        A file is missing or is not the one recorded; nothing of it has been parsed by LightGBM then.
    """
    try:
        body = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if body["format"] != _FORMAT:
            raise ValueError(f"format {body['format']}, expected {_FORMAT}: another version of limitlens wrote it")
        scorers = {name: _scorer(folder, name, one) for name, one in body["scorers"].items()}
        model = _from_dict(body, scorers)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise IntegrityError(
            f"{folder}: the model cannot be read ({error}); train again or restore the file."
        ) from error
    if model.digest != digest:
        raise IntegrityError(f"{folder / 'model.json'}: digest {model.digest[:12]}, expected {digest[:12]}.")
    return model


def _scorer(folder: Path, name: str, body: dict[str, Any]) -> Scorer:
    members = []
    for k, recorded in enumerate(body["members"]):
        path = folder / f"{name}-{k}.txt"
        member = Member(path.read_text(encoding="utf-8"), recorded["fold"], recorded["turn"])
        if member.sha256 != recorded["sha256"]:
            raise IntegrityError(f"{path}: not the file that was recorded (sha256 differs); restore it.")
        members.append(member)
    return Scorer(tuple(members), Calibration.from_dict(body["calibration"]))


def _from_dict(body: dict[str, Any], scorers: dict[str, Scorer]) -> DefaultRiskModel:
    return DefaultRiskModel(
        features=FeatureSet.from_dict(body["features"]),
        categories={name: tuple(values) for name, values in body["categories"].items()},
        book=scorers["book"],
        new_lines=scorers.get("new_lines"),
        settings=TrainSettings.from_dict(body["settings"]),
        contract=body["contract"],
        labels_end=body["labels_end"],
        recalibration_shift=body["level_shift"],
    )
