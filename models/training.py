"""Training of the default-risk model: one scorer for the book, and one for new lines where enough of them went bad."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.contracts import contract_digest
from limitlens.data.progress import Progress
from limitlens.features.declarations import FeatureSet
from limitlens.models.classifier import DefaultRiskClassifier, Opinions
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.inputs import (
    Categories,
    account_numbers,
    column_parameters,
    find_categories,
    model_inputs,
)
from limitlens.models.scorer import Scorer
from limitlens.models.settings import TrainSettings

#: Least number of defaults among new lines for a scorer of their own; below it the one for the book predicts better.
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
    progress: Progress | None = None,
) -> DefaultRiskModel:
    """Train the members that are not carried over from the champion, and calibrate.

    Parameters
    ----------
    features : FeatureSet
        What the model may read.
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
    categories = carried_categories(features, table, settings, champion)
    inputs = model_inputs(features, categories, table, limit_cents, line_age_days)
    rows = TrainingRows(inputs, categories, table["account_id"], months_of(table["as_of"]), line_age_days, bad)
    return fit_model(features, rows, settings=settings, labels_end=labels_end, champion=champion, progress=progress)


@dataclass(frozen=True)
class TrainingRows:
    """What members learn from.

    Parameters
    ----------
    inputs : float64 array of shape (n, columns)
        As :func:`limitlens.models.inputs.model_inputs` gives them.
    categories : mapping of str to tuple of str
        With which they were made; see :func:`carried_categories`.
    account_id : Series of n str
    period : array of shape (n,)
        Month of each row; the latest ones say when to stop.
    line_age_days : int64 array of shape (n,)
    bad : bool array of shape (n,)
    verdicts : TrainingRows or None
        Rows that reviewers judged and whose outcome nobody knows yet; see
        :class:`limitlens.models.classifier.Opinions`.
    """

    inputs: FloatArray
    categories: Categories
    account_id: pd.Series
    period: npt.NDArray[Any]
    line_age_days: IntArray
    bad: BoolArray
    verdicts: "TrainingRows | None" = None


def months_of(times: pd.Series) -> npt.NDArray[np.datetime64]:
    """The month of each time, in UTC."""
    months: npt.NDArray[np.datetime64] = times.dt.tz_convert(None).to_numpy("datetime64[M]")
    return months


def carried_categories(
    features: FeatureSet, table: pd.DataFrame, settings: TrainSettings, champion: DefaultRiskModel | None
) -> Categories:
    """Values of each text column of a table, those the champion knows first if members of it stay."""
    carried = champion is not None and can_carry(champion, features, settings)
    return find_categories(features, table, champion.categories if champion and carried else None)


def fit_model(
    features: FeatureSet,
    rows: TrainingRows,
    *,
    settings: TrainSettings,
    labels_end: str,
    champion: DefaultRiskModel | None = None,
    progress: Progress | None = None,
) -> DefaultRiskModel:
    """:func:`train_model` on inputs that are made already; other parameters as there."""
    old = champion if champion and can_carry(champion, features, settings) else None
    account = account_numbers(rows.account_id)

    def scorer(rule: Callable[[TrainingRows], BoolArray | slice], before: Scorer | None) -> Scorer:
        chosen = rule(rows)
        mine = (rows.inputs[chosen], rows.bad[chosen])
        columns, period = column_parameters(features, mine[0], settings), rows.period[chosen]
        classifier = DefaultRiskClassifier(**settings.classifier_parameters(), **columns)
        fitted = classifier.fit(
            *mine,
            account=account[chosen],
            period=period,
            opinions=_opinions(rows.verdicts, rule, settings) if rows.verdicts else None,
            champion=before,
            progress=progress,
        )
        return fitted.scorer_

    def is_new(some: TrainingRows) -> BoolArray:
        return some.line_age_days < settings.new_line_days

    enough = rows.bad[is_new(rows)].sum() >= NEW_LINE_BADS
    return DefaultRiskModel(
        features=features,
        categories=rows.categories,
        book=scorer(lambda _: slice(None), old.book if old else None),
        new_lines=scorer(is_new, old.new_lines if old else None) if enough else None,
        settings=settings,
        contract=contract_digest(),
        labels_end=labels_end,
    )


def _opinions(
    verdicts: TrainingRows, rule: Callable[[TrainingRows], BoolArray | slice], settings: TrainSettings
) -> Opinions:
    chosen = rule(verdicts)
    account = account_numbers(verdicts.account_id)[chosen]
    return Opinions(verdicts.inputs[chosen], verdicts.bad[chosen], account, settings.verdict_weight)


def can_carry(champion: DefaultRiskModel, features: FeatureSet, settings: TrainSettings) -> bool:
    """Whether members of a champion mean the same in a model of these features and settings."""
    same = ("horizon_months", "default_dpd_days", "folds", "new_line_days")
    return champion.features == features and all(
        getattr(champion.settings, name) == getattr(settings, name) for name in same
    )
