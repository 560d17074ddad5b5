"""Training of the default-risk model: one scorer for the book, and one for new lines where enough of them went bad."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.contracts import contract_digest
from limitlens.features.declarations import FeatureSet
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import (
    find_categories,
    fold_of,
    model_columns,
    model_inputs,
    monotone_directions,
    text_columns,
)
from limitlens.models.scorer import Scorer
from limitlens.models.settings import TrainSettings

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

#: New lines have a scorer of their own from so many bad ones on; with fewer it would know less than the one for all.
NEW_LINE_BADS = 200


def train_model(
    features: FeatureSet,
    table: pd.DataFrame,
    limit_cents: IntArray,
    line_age_days: IntArray,
    bad: BoolArray,
    *,
    settings: TrainSettings,
    labels_end: str,
    champion: DefaultRiskModel | None = None,
    progress: Callable[[str], None] | None = None,
) -> DefaultRiskModel:
    """Train the members that are not carried over from the champion, and calibrate.

    Parameters
    ----------
    table : DataFrame of shape (n, ...)
        Feature table of ``features`` at the training as-of times; its latest as-of time says when to stop.
    limit_cents, line_age_days : int64 arrays of shape (n,)
        State of each line then.
    bad : bool array of shape (n,)
    settings : TrainSettings
    labels_end : str
        ISO time until which the labels look.
    champion : DefaultRiskModel, optional
        Its newest members stay, if it reads the same features and predicts the same; see :func:`can_carry`.
    progress : callable, optional
        Told how far it is.
    """
    old = champion if champion and can_carry(champion, features, settings) else None
    categories = find_categories(features, table, old.categories if old else None)
    inputs = model_inputs(features, categories, table, limit_cents, line_age_days)
    fold = fold_of(table["account_id"], settings.folds)
    period = table["as_of"].to_numpy()
    names = model_columns(features)
    classifier = DefaultRiskClassifier(
        **settings.classifier_parameters(),
        monotone=monotone_directions(features),
        categorical=[names.index(name) for name in text_columns(features)],
    )

    def scorer(rows: BoolArray | slice, before: Scorer | None) -> Scorer:
        return classifier.fit(
            inputs[rows], bad[rows], fold=fold[rows], period=period[rows], champion=before, progress=progress
        ).scorer_

    new = line_age_days < settings.new_line_days
    return DefaultRiskModel(
        features=features,
        categories=categories,
        book=scorer(slice(None), old.book if old else None),
        new_lines=scorer(new, old.new_lines if old else None) if bad[new].sum() >= NEW_LINE_BADS else None,
        settings=settings,
        contract=contract_digest(),
        labels_end=labels_end,
    )


def can_carry(champion: DefaultRiskModel, features: FeatureSet, settings: TrainSettings) -> bool:
    """Whether members of a champion mean the same in a model of these features and settings."""
    same = ("horizon_months", "default_dpd_days", "folds", "new_line_days")
    return champion.features == features and all(
        getattr(champion.settings, name) == getattr(settings, name) for name in same
    )
