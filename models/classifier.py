"""The classifier: how members are trained, as a scikit-learn estimator.

What makes a retrained model close other lines is mostly chance in training. Against it: many members on different
accounts, their mean; and, when a champion is there, its newest members stay in while the oldest are replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.progress import Part, Progress
from limitlens.data.resources import thread_count
from limitlens.models.calibrating import choose_calibration
from limitlens.models.calibration import to_pd
from limitlens.models.held_out import latest_rows
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.member import AccountArray, Member
from limitlens.models.scorer import Scorer
from limitlens.models.together import mean_scores

#: Trees between two lines about how far a training is.
_REPORT_EVERY = 25

#: The first trees of a member, where columns are to be learned first: so many, small, of few rows. A leaf moves the
#: log-odds by 1 at most: where hardly a line goes bad, five bad lines would be a step of hundreds.
_FIRST_TREES = 10
_FIRST = {
    "learning_rate": 0.1,
    "num_leaves": 4,
    "min_data_in_leaf": 5,
    "lambda_l2": 0.0,
    "feature_fraction": 1.0,
    "max_delta_step": 10.0,
}

Callback = Callable[[lgb.callback.CallbackEnv], None]


@dataclass(frozen=True)
class Opinions:
    """Rows whose class is somebody's opinion and no outcome.

    Members learn from them; they say neither when a training stops nor which calibration is true.

    Parameters
    ----------
    inputs : float64 array of shape (n, columns)
    bad : bool array of shape (n,)
    account : uint64 array of shape (n,)
        As :func:`limitlens.models.inputs.account_numbers` gives them: no member that never saw an account has seen an
        opinion of it.
    weight : float
        Of each in the loss of a member, beside 1 of a row with an outcome.
    """

    inputs: FloatArray
    bad: BoolArray
    account: AccountArray
    weight: float


class DefaultRiskClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """LightGBM members, averaged and calibrated.

    Parameters
    ----------
    folds : int
        Accounts are dealt to folds, anew in each round; each member is trained without one of them.
    rounds : int
        Members for each fold; a known account is scored by as many, one of each round.
    carried_rounds : int
        How many of the champion's newest rounds stay, when there is a champion; fewer than ``rounds``.
    n_estimators : int
        At most; fewer when the held-out accounts of the latest periods say so.
    early_stopping_rounds : int
        Trees without gain on them before training stops.
    num_leaves, max_bin, learning_rate, min_data_in_leaf, feature_fraction, bagging_fraction, lambda_l2
        As LightGBM's.
    seed : int
    monotone : sequence of {-1, 0, 1}, optional
        For each column the direction in which the PD may move.
    categorical : sequence of int
        Columns that hold codes.
    learned_first : sequence of int
        Columns that the first trees of each member read alone, with leaves of five rows: what few rows have and what
        says most, such as days past due. Trees of many columns and large leaves pass over it.

    Attributes
    ----------
    scorer_ : Scorer
    trees_ : int
        Trees of the members trained here.
    classes_ : array of shape (2,)
    n_features_in_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = X[:, 0] + rng.normal(size=400) > 0
    >>> model = DefaultRiskClassifier(folds=2, rounds=1, carried_rounds=0, n_estimators=20).fit(X, y)
    >>> model.predict_proba(X).shape, len(model.scorer_.members)
    ((400, 2), 2)
    """

    def __init__(
        self,
        *,
        folds: int = 3,
        rounds: int = 5,
        carried_rounds: int = 3,
        n_estimators: int = 400,
        early_stopping_rounds: int = 30,
        num_leaves: int = 15,
        max_bin: int = 63,
        learning_rate: float = 0.05,
        min_data_in_leaf: int = 50,
        feature_fraction: float = 0.6,
        bagging_fraction: float = 0.8,
        lambda_l2: float = 5.0,
        seed: int = 1,
        monotone: Sequence[int] | None = None,
        categorical: Sequence[int] = (),
        learned_first: Sequence[int] = (),
    ) -> None:
        self.folds = folds
        self.rounds = rounds
        self.carried_rounds = carried_rounds
        self.n_estimators = n_estimators
        self.early_stopping_rounds = early_stopping_rounds
        self.num_leaves = num_leaves
        self.max_bin = max_bin
        self.learning_rate = learning_rate
        self.min_data_in_leaf = min_data_in_leaf
        self.feature_fraction = feature_fraction
        self.bagging_fraction = bagging_fraction
        self.lambda_l2 = lambda_l2
        self.seed = seed
        self.monotone = monotone
        self.categorical = categorical
        self.learned_first = learned_first

    def fit(
        self,
        X: Any,  # noqa: N803 - scikit-learn's name; anything that becomes a matrix
        y: Any,
        *,
        account: npt.NDArray[Any] | None = None,
        period: npt.NDArray[Any] | None = None,
        opinions: Opinions | None = None,
        champion: Scorer | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Train the members that are not carried over, and calibrate all of them together.

        Parameters
        ----------
        X : array of shape (n, columns)
            Missing values are NaN.
        y : array of shape (n,)
            Two classes; the greater one is bad.
        account : array of shape (n,), optional
            Whose row each is: ids, or numbers of :func:`limitlens.models.inputs.account_numbers` (uint64). Default:
            every row is another's.
        period : array of shape (n,), optional
            When each row was observed, in whole periods such as months; the latest ones say when to stop, and which
            calibration. Default: one period.
        opinions : Opinions, optional
            Further rows, of the same columns.
        champion : Scorer, optional
            Of the same columns and folds.
        progress : callable, optional
            Told now and then how many trees the members have.

        Raises
        ------
        ValueError
            Not two classes, or no more rounds than would be carried.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")  # noqa: N806
        if (kind := type_of_target(y, input_name="y", raise_unknown=True)) != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        self.classes_ = np.unique(y)
        if len(self.classes_) != 2:
            raise ValueError(f"Got {len(self.classes_)} class, but expected 2 classes: good and bad.")
        if not 0 <= self.carried_rounds < self.rounds:
            raise ValueError(
                f"Got carried_rounds={self.carried_rounds}, but expected at least 0 and below {self.rounds}."
            )
        bad: BoolArray = y == self.classes_[1]
        account = _numbers(len(bad), account)
        latest = _latest(len(bad), period)
        carried = champion.members[-self.carried_rounds * self.folds :] if champion and self.carried_rounds else ()
        # New members take the turns of those that go: the same accounts are unseen, so fewer scores move.
        free = [turn for turn in range(self.rounds) if turn not in {member.turn for member in carried}]
        turns = free[: self.rounds - len(carried) // self.folds]
        heard = opinions if opinions is not None and len(opinions.bad) else None
        new = self._train(X, bad, account, latest, opinions=heard, turns=turns, progress=progress)
        members = (*carried, *new)
        scores = mean_scores(members, X, account)
        judged = fold_of(account, self.folds, 0) == 0 if latest.all() else latest
        self.scorer_ = Scorer(members, choose_calibration(scores, bad, judged))
        return self

    def _train(
        self,
        inputs: FloatArray,
        bad: BoolArray,
        account: AccountArray,
        latest: BoolArray,
        *,
        opinions: Opinions | None,
        turns: Sequence[int],
        progress: Progress | None,
    ) -> list[Member]:
        """Members of some turns; the first turn finds out how many trees are enough."""
        data = self._binned(inputs, bad, opinions)
        members: list[Member] = []
        trees = self.n_estimators
        for done, turn in enumerate(turns):
            callbacks = [] if done else [self._stop()]
            if progress:
                callbacks.append(self._progress_callback(done, len(turns), len(bad), progress))
            dealt = self._dealt(bad, account, latest, turn, opinions)
            texts, trees = self._texts(data, dealt, turn, trees, callbacks)
            members += [Member(text, k, turn) for k, text in enumerate(texts)]
        self.trees_ = trees
        return members

    def _progress_callback(self, done: int, turns: int, rows: int, progress: Progress) -> Callback:
        """A callback of LightGBM that tells how far the members of a turn are; all grow together, tree by tree."""
        members = f"members {done * self.folds + 1} to {(done + 1) * self.folds} of {turns * self.folds}"

        def report(env: lgb.callback.CallbackEnv) -> None:
            trees, most = env.iteration + 1, env.end_iteration
            if trees % _REPORT_EVERY == 0 or trees == most:
                text = f"training {members} on {rows:,} rows: tree {trees} of at most {most}"
                progress(Part(text, done + trees / most, turns))

        return report

    def held_out_loss(
        self,
        inputs: FloatArray,
        bad: BoolArray,
        *,
        account: npt.NDArray[Any] | None = None,
        period: npt.NDArray[Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> float:
        """Mean log loss of one round of members on the accounts each has not seen, in the latest periods.

        Parameters
        ----------
        inputs, bad, account, period
            As in :meth:`fit`.
        callbacks : sequence of callable
            Called by LightGBM after every tree.
        """
        dealt = self._dealt(bad, _numbers(len(bad), account), _latest(len(bad), period), 0)
        losses = self._turn(self._binned(inputs, bad), dealt, 0, self.n_estimators, [self._stop(), *callbacks])
        return float(losses["valid binary_logloss-mean"][-1])

    def _binned(self, inputs: FloatArray, bad: BoolArray, opinions: Opinions | None = None) -> lgb.Dataset:
        """The rows for LightGBM, opinions after all others."""
        weight = None
        if opinions is not None:
            weight = np.repeat([1.0, opinions.weight], [len(bad), len(opinions.bad)])
            inputs, bad = np.concatenate([inputs, opinions.inputs]), np.concatenate([bad, opinions.bad])
        options = {"categorical_feature": list(self.categorical), "params": {"verbose": -1, "max_bin": self.max_bin}}
        names = [f"Column_{place}" for place in range(inputs.shape[1])]  # LightGBM's own
        return lgb.Dataset(inputs, bad.astype(np.float64), weight=weight, feature_name=names, **options)

    def _dealt(
        self,
        bad: BoolArray,
        account: AccountArray,
        latest: BoolArray,
        turn: int,
        opinions: Opinions | None = None,
    ) -> list[tuple[IntArray, IntArray]]:
        """For each fold of a turn the rows that its member learns from, and those that watch.

        A fold that has all rows of a kind is learned from as well: nothing can be learned from the other kind alone.
        """
        fold = fold_of(account, self.folds, turn)
        learned = [fold != k for k in range(self.folds)]
        both = [rows if len(np.unique(bad[rows])) == 2 else np.ones_like(rows) for rows in learned]
        of = fold_of(opinions.account, self.folds, turn) if opinions is not None else np.zeros(0, np.int64)
        return [
            (np.flatnonzero(np.concatenate([mine, of != k])), _watched(~rows, latest))
            for k, (rows, mine) in enumerate(zip(learned, both, strict=True))
        ]

    def _stop(self) -> Callback:
        """Early stopping, of the trees that read everything."""
        stop: Callback = lgb.early_stopping(self.early_stopping_rounds, verbose=False)
        first = _FIRST_TREES if self.learned_first else 0

        def watch(env: lgb.callback.CallbackEnv) -> None:
            if env.iteration >= first:
                stop(replace(env, begin_iteration=first))

        return watch

    def _texts(
        self, data: lgb.Dataset, dealt: list[tuple[IntArray, IntArray]], turn: int, trees: int, callbacks: list[Any]
    ) -> tuple[list[str], int]:
        """The members of a turn, and how many trees they keep; nothing else of it stays, a booster holds its rows."""
        cvbooster = self._turn(data, dealt, turn, trees, callbacks)["cvbooster"]
        kept = max(cvbooster.best_iteration, 1) if cvbooster.best_iteration != -1 else trees
        return [booster.model_to_string(num_iteration=kept) for booster in cvbooster.boosters], kept

    def _turn(
        self, data: lgb.Dataset, dealt: list[tuple[IntArray, IntArray]], turn: int, trees: int, callbacks: list[Any]
    ) -> dict[str, Any]:
        """One member for each fold, and their mean losses."""
        parameters = self._parameters(self.seed * 1_000 + turn)
        if self.learned_first:
            first = self._first(len(data.feature_name))
            callbacks, parameters = [*callbacks, _after_the_first(first, parameters)], parameters | first
        with threadpool_limits(thread_count(), user_api="openmp"):  # a parameter would stand in the model's text
            evaluation: dict[str, Any] = lgb.cv(
                parameters, data, trees, folds=dealt, callbacks=callbacks, return_cvbooster=True
            )
        return evaluation

    def _first(self, columns: int) -> dict[str, Any]:
        """Parameters of the first trees, which read only the columns to be learned first."""
        return {**_FIRST, "feature_contri": [float(column in self.learned_first) for column in range(columns)]}

    def _parameters(self, seed: int) -> dict[str, Any]:
        """Parameters for LightGBM; the result is the same for any number of threads."""
        parameters = {
            "objective": "binary",
            "metric": "binary_logloss",
            "num_leaves": self.num_leaves,
            "max_bin": self.max_bin,
            "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_data_in_leaf,
            "feature_fraction": self.feature_fraction,
            "bagging_fraction": self.bagging_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.lambda_l2,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        return parameters | ({"monotone_constraints": list(self.monotone)} if self.monotone is not None else {})

    def decision_function(self, X: Any) -> FloatArray:  # noqa: N803
        """Calibrated log-odds of bad, of shape (n,); for rows of accounts that no member has seen."""
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        return self.scorer_.log_odds(inputs, None)

    def predict_proba(self, X: Any) -> FloatArray:  # noqa: N803
        """Probability of good and of bad, of shape (n, 2); as :meth:`decision_function`."""
        bad = to_pd(self.decision_function(X))
        return np.column_stack([1 - bad, bad])

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """The more probable class."""
        bad = self.predict_proba(X)[:, 1] > 0.5
        classes: npt.NDArray[Any] = self.classes_[bad.astype(int)]
        return classes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.allow_nan = True
        return tags


def _after_the_first(first: Mapping[str, Any], usual: Mapping[str, Any]) -> Callback:
    """A callback by which LightGBM goes on with the usual parameters after the first trees.

    It begins with those of the first trees: they are not all taken up when they are changed before a tree.
    """
    later = {"max_delta_step": 0.0, "feature_contri": [1.0] * len(first["feature_contri"]), **usual}

    def by_tree(name: str) -> Callable[[int], Any]:
        return lambda tree: first[name] if tree < _FIRST_TREES else later[name]

    callback: Callback = lgb.reset_parameter(**{name: by_tree(name) for name in first})
    return callback


def _numbers(rows: int, account: npt.NDArray[Any] | None) -> AccountArray:
    """A number for the account of each row."""
    if account is not None and account.dtype == np.uint64:
        return account
    return account_numbers(pd.Series(np.arange(rows) if account is None else account))


def _latest(rows: int, period: npt.NDArray[Any] | None) -> BoolArray:
    """Rows of the latest periods."""
    return np.ones(rows, bool) if period is None else latest_rows(np.asarray(period))


def _watched(held_out: BoolArray, latest: BoolArray) -> IntArray:
    """Rows that say when to stop: the latest of the fold; in a tiny set any of it, or at least one."""
    for rows in (held_out & latest, held_out, latest):
        if rows.any():
            return np.flatnonzero(rows)
    return np.zeros(1, np.int64)
