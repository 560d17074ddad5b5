"""The default-risk model: LightGBM scores, calibrated to a probability of default (PD).

A model is plain text: boosters as LightGBM text, everything else as JSON that holds the sha256 of each booster.
Nothing is ever unpickled, and no booster is parsed before its hash is checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from limitlens.data.contracts import contract_digest
from limitlens.data.errors import IntegrityError
from limitlens.data.storage import write_text
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import line_column_names, line_columns
from limitlens.models.settings import TrainSettings

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: A text attribute keeps this many of its values; rarer ones count as missing.
MAX_CATEGORIES = 100


@dataclass(frozen=True)
class DefaultRiskModel:
    """A trained, calibrated model; equal digests mean equal predictions.

    Parameters
    ----------
    features : FeatureSet
        The feature table the model reads.
    categories : mapping of str to tuple of str
        Values of each text attribute, in the order of their codes; anything else is missing.
    boosters : tuple of str
        LightGBM text: the model itself, then one for each fold, trained without the accounts of that fold.
    intercept, slope : float
        Platt calibration: PD = 1 / (1 + exp(-(intercept + slope * score))).
    settings : TrainSettings
    contract : str
        Digest of the data contract the training data passed.
    labels_end : str
        ISO time until which the training labels look; decisions before it are a backtest.
    """

    features: FeatureSet
    categories: Mapping[str, tuple[str, ...]]
    boosters: tuple[str, ...]
    intercept: float
    slope: float
    settings: TrainSettings
    contract: str
    labels_end: str

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Model inputs, in the order of training."""
        return model_columns(self.features)

    @cached_property
    def parsed(self) -> tuple[lgb.Booster, ...]:
        """The boosters, ready to predict."""
        return tuple(lgb.Booster(model_str=text) for text in self.boosters)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the boosters, which stand in it by their sha256."""
        return {
            "format": 1,
            "features": self.features.to_dict(),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "boosters": [hashlib.sha256(text.encode()).hexdigest() for text in self.boosters],
            "calibration": {"method": "platt", "intercept": self.intercept, "slope": self.slope},
            "settings": self.settings.to_dict(),
            "contract": self.contract,
            "labels_end": self.labels_end,
        }

    @cached_property
    def digest(self) -> str:
        """Sha256 over the boosters, calibration, feature set, contract and settings."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def model_columns(features: FeatureSet) -> tuple[str, ...]:
    """Inputs of a model over a feature set: its columns, those of the line, the attributes, the segment."""
    return (*features.columns, *line_column_names(features), *(name for name, _ in features.attributes), "segment")


def _text_columns(features: FeatureSet) -> list[str]:
    return [*(name for name, kind in features.attributes if kind == "text"), "segment"]


def find_categories(features: FeatureSet, table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The most frequent values of each text column, sorted."""
    return {
        name: tuple(sorted(table[name].value_counts().sort_index().nlargest(MAX_CATEGORIES).index))
        for name in _text_columns(features)
    }


def model_inputs(
    features: FeatureSet,
    categories: Mapping[str, tuple[str, ...]],
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
) -> FloatArray:
    """Inputs as a matrix, columns found by name, text as codes.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Feature table of the set, columns in any order.
    limit_cents, line_age_days : int64 arrays of shape (n,)

    Returns
    -------
    float64 array of shape (n, len(model_columns(features)))
    """
    line = line_columns(features, table, limit_cents, line_age_days)
    columns = {name: table[name] for name in features.columns} | dict(line.items())
    columns |= {name: table[name] for name, _ in features.attributes}
    for name, values in categories.items():
        codes = pd.Categorical(table[name], categories=list(values)).codes
        columns[name] = pd.Series(np.where(codes < 0, np.nan, codes.astype(np.float64)), index=table.index)
    return np.column_stack([columns[name].to_numpy(np.float64) for name in model_columns(features)])


def fold_of(account_ids: pd.Series, folds: int) -> IntArray:
    """Fold of each account: a hash of its id, so that it never depends on who else is in the table."""
    return np.array([int(hashlib.sha256(str(a).encode()).hexdigest()[:8], 16) % folds for a in account_ids], np.int64)


def train_model(
    features: FeatureSet,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    bad: npt.NDArray[np.bool_],
    *,
    settings: TrainSettings,
    labels_end: str,
) -> DefaultRiskModel:
    """Train the model, one booster more a fold, and a Platt calibration on the out-of-fold scores.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Feature table of ``features`` at the training as-of times.
    limit_cents, line_age_days : int64 arrays of shape (n,)
        State of each line then.
    bad : bool array of shape (n,)
    settings : TrainSettings
    labels_end : str
        ISO time until which the labels look.
    """
    categories = find_categories(features, table)
    inputs = model_inputs(features, categories, table, limit_cents, line_age_days)
    fold = fold_of(table["account_id"], settings.folds)
    kept = [np.ones(len(bad), bool), *(fold != k for k in range(settings.folds))]
    boosters = tuple(_fit(features, inputs[rows], bad[rows], settings) for rows in kept)
    scores = np.empty(len(bad))
    for k in range(settings.folds):
        held = fold == k
        if held.any():
            scores[held] = lgb.Booster(model_str=boosters[k + 1]).predict(inputs[held], raw_score=True)
    platt = LogisticRegression(C=np.inf).fit(scores.reshape(-1, 1), bad)
    return DefaultRiskModel(
        features=features,
        categories=categories,
        boosters=boosters,
        intercept=float(platt.intercept_[0]),
        slope=float(platt.coef_[0, 0]),
        settings=settings,
        contract=contract_digest(),
        labels_end=labels_end,
    )


def _fit(features: FeatureSet, inputs: FloatArray, bad: npt.NDArray[np.bool_], settings: TrainSettings) -> str:
    names = list(model_columns(features))
    declared = features.declaration_of
    monotone = [declared[name].monotone if name in declared else 0 for name in names]
    data = lgb.Dataset(
        inputs,
        bad.astype(np.float64),
        feature_name=names,
        categorical_feature=[names.index(name) for name in _text_columns(features)],
        params={"verbose": -1},
    )
    parameters = {**settings.lightgbm_parameters(), "monotone_constraints": monotone}
    text: str = lgb.train(parameters, data, num_boost_round=settings.trees).model_to_string()
    return text


def predict_scores(
    model: DefaultRiskModel, inputs: FloatArray, account_ids: pd.Series, *, out_of_fold: bool
) -> FloatArray:
    """Raw log-odds of each row; out of fold, each account is scored by the booster that never saw it."""
    if not out_of_fold:
        return np.asarray(model.parsed[0].predict(inputs, raw_score=True), np.float64)
    fold = fold_of(account_ids, model.settings.folds)
    scores = np.empty(len(inputs))
    for k in np.unique(fold):
        scores[fold == k] = model.parsed[k + 1].predict(inputs[fold == k], raw_score=True)
    return scores


def predict_pd(
    model: DefaultRiskModel,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    *,
    out_of_fold: bool = False,
) -> FloatArray:
    """Probability of default of each row.

    Parameters
    ----------
    model : DefaultRiskModel
    table : DataFrame of shape (n, ...)
        Feature table of ``model.features``.
    limit_cents, line_age_days : int64 arrays of shape (n,)
    out_of_fold : bool
        Score each account by the booster trained without it: for backtests.

    Returns
    -------
    float64 array of shape (n,), in (0, 1)
    """
    if not len(table):
        return np.empty(0)
    inputs = model_inputs(model.features, model.categories, table, limit_cents, line_age_days)
    scores = predict_scores(model, inputs, table["account_id"], out_of_fold=out_of_fold)
    calibrated: FloatArray = 1.0 / (1.0 + np.exp(-(model.intercept + model.slope * scores)))
    return calibrated


def save_model(model: DefaultRiskModel, folder: Path) -> None:
    """Write ``booster-0.txt`` … and ``model.json``, the latter last."""
    for k, text in enumerate(model.boosters):
        write_text(text, folder / f"booster-{k}.txt")
    write_text(json.dumps(model.to_dict(), indent=1, sort_keys=True), folder / "model.json")


def load_model(folder: Path, *, digest: str) -> DefaultRiskModel:
    """Load a model whose digest is known.

    Raises
    ------
    IntegrityError
        A file is missing or is not the one recorded; nothing of it has been parsed by LightGBM then.
    """
    try:
        body = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        texts = tuple((folder / f"booster-{k}.txt").read_text(encoding="utf-8") for k in range(len(body["boosters"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{folder}: the model cannot be read ({error}); train again or restore the file."
        ) from error
    for k, text in enumerate(texts):
        if hashlib.sha256(text.encode()).hexdigest() != body["boosters"][k]:
            raise IntegrityError(f"{folder / f'booster-{k}.txt'}: not the file that was recorded (sha256 differs).")
    model = _from_dict(body, texts)
    if model.digest != digest:
        raise IntegrityError(f"{folder / 'model.json'}: digest {model.digest[:12]}, expected {digest[:12]}.")
    return model


def _from_dict(body: dict[str, Any], boosters: tuple[str, ...]) -> DefaultRiskModel:
    settings = {**body["settings"], "protected": tuple(body["settings"]["protected"])}
    return DefaultRiskModel(
        features=FeatureSet.from_dict(body["features"]),
        categories={name: tuple(values) for name, values in body["categories"].items()},
        boosters=boosters,
        intercept=body["calibration"]["intercept"],
        slope=body["calibration"]["slope"],
        settings=TrainSettings(**settings),
        contract=body["contract"],
        labels_end=body["labels_end"],
    )
