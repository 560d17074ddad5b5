"""The default-risk classifier beside its peers: `python -m benchmarks.models DATA_FOLDER [--workspace WORKSPACE]`.

On Taiwan's cards and Give Me Some Credit, and on superlender's loans in time: five folds, dealt anew for each seed. On
superlender out of time: label "first repayment late", loans approved before April 2017 train, later ones test. On a
workspace (a simulated portfolio): its own out-of-time split. limitlens has the settings it ships with, the peers those
that people start from; those called "tuned" were searched for with 20 trials, each judged by the log loss of three
folds (limitlens: of its own) inside the training rows alone. No protected attribute is read, but the age in "gmsc, with
age", for comparison with published figures.

Then the churn: two models on the same 75,000 lines of Give Me Some Credit, the second one trained with another seed,
without a tenth of the rows, or on a bootstrap of them; the riskiest 5% of the other 75,000 lines are closed; printed is
the share of closed lines that the second model would not close. Raw scores, no dead band. On the workspace the second
model is trained a month later. The peers are no dependencies: `pip install xgboost catboost optbinning interpret`.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from scipy.special import logit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from benchmarks.real_data import quiet, training_table
from limitlens.data.arrays import BoolArray, FloatArray, IntArray
from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.features.spine import lines_at
from limitlens.features.table import build_table
from limitlens.models.classifier import DefaultRiskClassifier
from limitlens.models.inputs import column_parameters, find_categories, model_inputs
from limitlens.models.scorer import Scorer
from limitlens.models.validation import calibration_table, measure
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.training.tune import SPACE
from limitlens.pipeline.workspace import Workspace, default_settings

CLOSED_SHARE = 0.05

#: A score that moves by less, in log-odds, counts as the old one.
DEAD_BAND = 0.2


@dataclass(frozen=True)
class Set:
    """Lines to learn from: inputs of shape (n, columns), which went bad, and what is known of the columns.

    ``account``: whose row each is, as a number; ``test``: rows of a fixed split out of time; None: folds.
    """

    name: str
    inputs: FloatArray
    bad: BoolArray
    account: IntArray
    categorical: tuple[int, ...] = ()
    monotone: tuple[int, ...] | None = None
    period: npt.NDArray[Any] | None = None
    test: BoolArray | None = None
    learned_first: tuple[int, ...] = ()

    @property
    def columns(self) -> dict[str, Any]:
        """What our classifier is told of them."""
        return {name: getattr(self, name) for name in ("monotone", "categorical", "learned_first")}


#: Trains on some rows with a seed, and gives what predicts the PD of others.
Way = Callable[[Set, IntArray, int], Callable[[FloatArray], FloatArray]]


def ours(
    data: Set,
    rows: IntArray,
    seed: int,
    champion: Scorer | None = None,
    found: Mapping[str, Any] | None = None,
) -> DefaultRiskClassifier:
    """The shipped settings, or those a search found."""
    settings = {**default_settings().classifier_parameters(), **(found or {}), "seed": seed}
    model = DefaultRiskClassifier(**settings, **data.columns)
    period = data.period[rows] if data.period is not None else None
    return model.fit(data.inputs[rows], data.bad[rows], account=data.account[rows], period=period, champion=champion)


def unseen(model: DefaultRiskClassifier) -> Callable[[FloatArray], FloatArray]:
    """PDs of rows of accounts that no member has seen."""
    return lambda inputs: model.scorer_.pd(inputs, None)


def _ours(data: Set, rows: IntArray, seed: int) -> Callable[[FloatArray], FloatArray]:
    return unseen(ours(data, rows, seed))


#: Trials of the search inside a training fold.
TRIALS = 20

_found: dict[tuple[str, str, bytes], dict[str, Any]] = {}


def _searched(
    way: str, data: Set, rows: IntArray, loss: Callable[[optuna.Trial], float], first: dict[str, Any]
) -> dict[str, Any]:
    """The settings of least loss, of those a way starts from and of trials; one search a fold, whatever the seed."""
    key = (way, data.name, rows.tobytes())
    if key not in _found:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
        study.enqueue_trial(first)
        study.optimize(loss, n_trials=TRIALS)
        _found[key] = study.best_params
    return _found[key]


def _tuned(data: Set, rows: IntArray, seed: int) -> Callable[[FloatArray], FloatArray]:
    settings = default_settings().classifier_parameters()
    period = data.period[rows] if data.period is not None else None

    def loss(trial: optuna.Trial) -> float:
        chosen = {**settings, **{name: suggest(trial) for name, suggest in SPACE.items()}}
        model = DefaultRiskClassifier(**chosen, **data.columns)
        return model.held_out_loss(data.inputs[rows], data.bad[rows], account=data.account[rows], period=period)

    found = _searched("limitlens", data, rows, loss, {name: settings[name] for name in SPACE})
    return unseen(ours(data, rows, seed, found=found))


def _peer(build: Callable[[Set, int], Any]) -> Way:
    def train(data: Set, rows: IntArray, seed: int) -> Callable[[FloatArray], FloatArray]:
        model = build(data, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(data.inputs[rows], data.bad[rows].astype(int))

        def predict(inputs: FloatArray) -> FloatArray:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.asarray(model.predict_proba(inputs)[:, 1], np.float64)

        return predict

    return train


#: Settings of a peer, by trial.
Space = Mapping[str, Callable[[optuna.Trial], Any]]


def _tuned_peer(name: str, build: Callable[..., Any], space: Space, first: dict[str, Any]) -> Way:
    def train(data: Set, rows: IntArray, seed: int) -> Callable[[FloatArray], FloatArray]:
        inputs, bad = data.inputs[rows], data.bad[rows].astype(int)
        folds = StratifiedKFold(3, shuffle=True, random_state=1)

        def loss(trial: optuna.Trial) -> float:
            model = build(random_state=1, **{setting: suggest(trial) for setting, suggest in space.items()})
            return -float(cross_val_score(model, inputs, bad, scoring="neg_log_loss", cv=folds).mean())

        found = _searched(name, data, rows, loss, first)
        return _peer(lambda _, seed: build(random_state=seed, **found))(data, rows, seed)

    return train


def _woe(data: Set, _: int) -> Any:
    from optbinning import BinningProcess  # noqa: PLC0415 - a peer, asked for by name

    names = [f"c{k}" for k in range(data.inputs.shape[1])]
    process = BinningProcess(names, categorical_variables=[names[k] for k in data.categorical])
    return make_pipeline(process, LogisticRegression(max_iter=2_000))


def _xgboost(**settings: Any) -> Any:
    from xgboost import XGBClassifier  # noqa: PLC0415

    return XGBClassifier(subsample=0.8, **settings)


def _catboost(**settings: Any) -> Any:
    from catboost import CatBoostClassifier  # noqa: PLC0415

    seed = settings.pop("random_state")
    return CatBoostClassifier(verbose=0, random_seed=seed, allow_writing_files=False, **settings)


def _lightgbm(**settings: Any) -> Any:
    return lgb.LGBMClassifier(subsample=0.8, subsample_freq=1, verbose=-1, **settings)


#: Settings that people start from.
LIGHTGBM = {"n_estimators": 200, "num_leaves": 15, "learning_rate": 0.05, "colsample_bytree": 0.6, "reg_lambda": 5.0}
XGBOOST = {"n_estimators": 200, "learning_rate": 0.05, "max_depth": 4}
CATBOOST = {"iterations": 300, "learning_rate": 0.05}

#: What a search may try, as wide as the guides of these libraries say.
LIGHTGBM_SPACE: Space = {
    "n_estimators": lambda trial: trial.suggest_int("n_estimators", 50, 800, log=True),
    "num_leaves": lambda trial: trial.suggest_int("num_leaves", 4, 63, log=True),
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
    "min_child_samples": lambda trial: trial.suggest_int("min_child_samples", 5, 200, log=True),
    "colsample_bytree": lambda trial: trial.suggest_float("colsample_bytree", 0.3, 1.0),
    "reg_lambda": lambda trial: trial.suggest_float("reg_lambda", 0.01, 100.0, log=True),
}
XGBOOST_SPACE: Space = {
    "n_estimators": lambda trial: trial.suggest_int("n_estimators", 50, 800, log=True),
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
    "max_depth": lambda trial: trial.suggest_int("max_depth", 2, 8),
    "min_child_weight": lambda trial: trial.suggest_float("min_child_weight", 1.0, 100.0, log=True),
    "colsample_bytree": lambda trial: trial.suggest_float("colsample_bytree", 0.3, 1.0),
    "reg_lambda": lambda trial: trial.suggest_float("reg_lambda", 0.01, 100.0, log=True),
}
CATBOOST_SPACE: Space = {
    "iterations": lambda trial: trial.suggest_int("iterations", 100, 600, log=True),
    "learning_rate": lambda trial: trial.suggest_float("learning_rate", 0.02, 0.2, log=True),
    "depth": lambda trial: trial.suggest_int("depth", 3, 7),
    "l2_leaf_reg": lambda trial: trial.suggest_float("l2_leaf_reg", 1.0, 30.0, log=True),
}


def _ebm(_: Set, seed: int) -> Any:
    from interpret.glassbox import ExplainableBoostingClassifier  # noqa: PLC0415

    return ExplainableBoostingClassifier(random_state=seed, n_jobs=2, interactions=10)


WAYS: dict[str, Way] = {
    "limitlens": _ours,
    "limitlens, tuned": _tuned,
    "LightGBM": _peer(lambda _, seed: lgb.LGBMClassifier(random_state=seed, verbose=-1)),
    "LightGBM, 200 x 15": _peer(lambda _, seed: _lightgbm(random_state=seed, **LIGHTGBM)),
    "LightGBM, tuned": _tuned_peer("LightGBM", _lightgbm, LIGHTGBM_SPACE, LIGHTGBM | {"min_child_samples": 20}),
    "scikit-learn": _peer(lambda _, seed: HistGradientBoostingClassifier(random_state=seed, early_stopping=True)),
    "XGBoost": _peer(lambda _, seed: _xgboost(random_state=seed, **XGBOOST)),
    "XGBoost, tuned": _tuned_peer(
        "XGBoost",
        _xgboost,
        XGBOOST_SPACE,
        XGBOOST | {"min_child_weight": 1.0, "colsample_bytree": 1.0, "reg_lambda": 1.0},
    ),
    "CatBoost": _peer(lambda _, seed: _catboost(random_state=seed, **CATBOOST)),
    "CatBoost, tuned": _tuned_peer("CatBoost", _catboost, CATBOOST_SPACE, CATBOOST | {"depth": 6, "l2_leaf_reg": 3.0}),
    "WoE, logistic": _peer(_woe),
    "EBM": _peer(_ebm),
}


def gmsc(data: Path, *, without: tuple[str, ...] = ("age",)) -> Set:
    """Give Me Some Credit; without the age, which is protected."""
    rows = pd.read_csv(data / "gmsc" / "cs-training.csv.gz", index_col=0).drop(columns=list(without))
    bad = rows.pop("SeriousDlqin2yrs").to_numpy(bool)
    return Set("gmsc" if without else "gmsc, with age", rows.to_numpy(np.float64), bad, np.arange(len(bad)))


def from_table(name: str, table: TrainingTable, rows: pd.DataFrame, test: BoolArray | None = None) -> Set:
    """The model inputs of a training table that take more than one value."""
    categories = find_categories(table.features, rows)
    limit, age = rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64)
    inputs = model_inputs(table.features, categories, rows, limit, age)
    # Some peers refuse a column without a value; one that never changes teaches nobody anything.
    kept = [k for k in range(inputs.shape[1]) if np.unique(inputs[:, k]).size > 1]
    told = column_parameters(table.features, inputs, default_settings())
    return Set(
        name,
        inputs[:, kept],
        rows["bad"].to_numpy(bool),
        pd.factorize(rows["account_id"])[0],
        tuple(place for place, k in enumerate(kept) if k in told["categorical"]),
        tuple(told["monotone"][k] for k in kept),
        rows["as_of"].to_numpy() if test is not None else None,
        test,
        tuple(place for place, k in enumerate(kept) if k in told["learned_first"]),
    )


def superlender_out_of_time(data: Path, folder: Path) -> Set:
    """Earlier loans at their approval, with what was known then; bad: the first repayment came late."""
    import_files(read_mapping("superlender"), data / "superlender", folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events, progress=quiet)
    features = workspace.feature_set(default_settings())
    loans = pd.read_csv(data / "superlender" / "trainprevloans.csv.gz")
    named = ("approveddate", "firstduedate", "firstrepaiddate")
    times = {name: pd.to_datetime(loans[name], utc=True) for name in named}
    late = times["firstrepaiddate"].dt.floor("D") > times["firstduedate"]
    points = pd.DataFrame({"account_id": loans["customerid"], "as_of": times["approveddate"].dt.as_unit("us")})
    points = points.assign(known_by=points["as_of"] + pd.Timedelta(microseconds=1), bad=late)
    points = points.drop_duplicates(["account_id", "as_of"])
    relations = workspace.relations(features)
    lines = lines_at(points[["account_id", "as_of", "known_by"]], relations)
    table = build_table(features, lines, relations)
    age = (lines["as_of"] - lines["opened_at"]).dt.days
    rows = table.assign(limit_cents=lines["limit_cents"], line_age_days=age).merge(
        points[["account_id", "as_of", "bad"]], on=["account_id", "as_of"], validate="one_to_one"
    )
    test = (rows["as_of"] >= pd.Timestamp("2017-04-01", tz="UTC")).to_numpy()
    months = rows.assign(as_of=rows["as_of"].dt.strftime("%Y-%m"))
    return from_table("superlender, out of time", TrainingTable(features, rows, ()), months, test)


def simulated(workspace: Path) -> tuple[TrainingTable, Set]:
    """The out-of-time split of a workspace."""
    table = build_training_table(Workspace(workspace), default_settings(), None, quiet)
    rows = table.with_features(table.rows[table.rows["split"] != "unused"])
    return table, from_table("simulated, out of time", table, rows, (rows["split"] == "test").to_numpy())


def splits(data: Set, seed: int) -> list[tuple[IntArray, IntArray]]:
    """Rows to train on and to test on."""
    if data.test is not None:
        return [(np.flatnonzero(~data.test), np.flatnonzero(data.test))]
    return list(StratifiedKFold(5, shuffle=True, random_state=seed).split(data.inputs, data.bad))


def judged(data: Set, way: Way, seed: int) -> dict[str, float]:
    """Figures of one seed."""
    pd_, taught, scored = np.full(len(data.bad), np.nan), 0.0, 0.0
    for train, test in splits(data, seed):
        begun = time.perf_counter()
        predict = way(data, train, seed)
        ready = time.perf_counter()
        pd_[test] = predict(data.inputs[test])
        taught, scored = taught + ready - begun, scored + time.perf_counter() - ready
    seen = ~np.isnan(pd_)
    bad, pd_ = data.bad[seen], np.clip(pd_[seen], 1e-9, 1 - 1e-9)
    found, bins = measure(bad, pd_), calibration_table(bad, pd_, 20)
    error = float(((bins["observed_share"] - bins["expected_share"]).abs() * bins["rows"]).sum() / len(bad))
    return {
        "AUC": found.auc,
        "KS": found.ks,
        "Brier": found.brier,
        "calibration error": error,
        "train s": taught,
        "score s": scored,
    }


def churn(old: FloatArray, new: FloatArray) -> float:
    """Share of the lines closed by the old scores that the new ones, closing as many, would not close."""
    closed = int(len(old) * CLOSED_SHARE)
    first, second = (set(np.argsort(-scores, kind="stable")[:closed].tolist()) for scores in (old, new))
    return len(first - second) / closed


def churn_on_identical_lines(data: Set, repeats: int, ways: Mapping[str, Way]) -> pd.DataFrame:
    """Churn of a second training: another seed, a tenth of the rows dropped, a bootstrap."""
    order = np.random.default_rng(0).permutation(len(data.bad))
    test, train = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    rows = []
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        changed = {
            "other seed": train,
            "10% dropped": train[rng.random(len(train)) > 0.1],
            "bootstrap": np.sort(train[rng.integers(0, len(train), len(train))]),
        }
        seed = 10 * repeat
        for name, way in ways.items():
            old = way(data, train, seed)(data.inputs[test])
            for k, (what, chosen) in enumerate(changed.items()):
                new = way(data, chosen, seed + 1 + k)(data.inputs[test])
                rows.append((name, what, churn(old, new), _auc_change(data.bad[test], old, new)))
        for k, (what, chosen) in enumerate(changed.items()):
            rows += [(name, what, *moves) for name, moves in _with_champion(data, (train, chosen), test, seed + k)]
    return _shown(rows)


def _with_champion(
    data: Set, chosen: tuple[IntArray, IntArray], test: IntArray, seed: int
) -> list[tuple[str, tuple[float, float]]]:
    """What lowers the churn when the scores or members of the champion are at hand."""
    first, second = chosen
    champion = ours(data, first, seed)
    scorer, inputs, bad = champion.scorer_, data.inputs[test], data.bad[test]
    old, plain = scorer.pd(inputs, None), unseen(ours(data, second, seed + 1))(inputs)
    near = np.abs(logit(plain) - logit(old)) < DEAD_BAND
    taught = _distilled(data, second, seed + 1, scorer.pd(data.inputs[second], None))(inputs)
    ways = {
        "limitlens, with the champion": (old, unseen(ours(data, second, seed + 1, scorer))(inputs)),
        "limitlens, dead band of 0.2": (old, np.where(near, old, plain)),
        "limitlens, then LightGBM taught half-way by it": (old, taught),
    }
    return [(name, (churn(*pair), _auc_change(bad, *pair))) for name, pair in ways.items()]


def _distilled(data: Set, rows: IntArray, seed: int, taught: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """LightGBM that learns the mean of the outcome and the champion's PD (Hinton, Vinyals & Dean 2015)."""
    target = (data.bad[rows] + taught) / 2
    table = lgb.Dataset(data.inputs[rows], target, categorical_feature=list(data.categorical), params={"verbose": -1})
    parameters = {
        "objective": "cross_entropy",
        "num_leaves": 15,
        "learning_rate": 0.05,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.6,
        "lambda_l2": 5.0,
        "seed": seed,
        "verbose": -1,
    }
    booster = lgb.train(parameters, table, 200)
    return lambda inputs: np.asarray(booster.predict(inputs), np.float64)


def churn_a_month_later(table: TrainingTable, ways: Mapping[str, Way], seeds: list[int]) -> pd.DataFrame:
    """Churn on the last book when the training data are one month more."""
    train = table.part("train")
    months = sorted(train["as_of"].unique())
    both = from_table("", table, pd.concat([train, table.part("test")], ignore_index=True), np.zeros(0, bool))
    period = both.period
    assert period is not None
    later = np.flatnonzero(np.arange(len(both.bad)) < len(train))
    earlier, test = later[period[later] < months[-1]], np.arange(len(train), len(both.bad))
    rows = []
    for seed in seeds:
        for name, way in ways.items():
            old, new = (way(both, chosen, seed + k)(both.inputs[test]) for k, chosen in enumerate((earlier, later)))
            rows.append((name, "a month later", churn(old, new), _auc_change(both.bad[test], old, new)))
        rows += [(name, "a month later", *moves) for name, moves in _with_champion(both, (earlier, later), test, seed)]
    return _shown(rows)


def _auc_change(bad: BoolArray, old: FloatArray, new: FloatArray) -> float:
    return measure(bad, np.clip(new, 0, 1)).auc - measure(bad, np.clip(old, 0, 1)).auc


def _shown(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    """Mean churn, and in brackets by how much the AUC changed, a way a row."""
    table = pd.DataFrame(rows, columns=["way", "what", "churn", "auc"])
    means = table.groupby(["way", "what"], sort=False)[["churn", "auc"]].mean().reset_index()
    text = means["churn"].map(lambda v: f"{v:.1%}") + means["auc"].map(lambda v: f" ({v:+.4f})")
    return means.assign(text=text).pivot_table("text", "way", "what", aggfunc="first")[
        list(dict.fromkeys(means["what"]))
    ]


_SETS = ("taiwan", "gmsc", "gmsc, with age", "superlender", "superlender, out of time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with taiwan, gmsc and superlender")
    parser.add_argument("--workspace", type=Path, help="a simulated portfolio, checked in")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--sets", nargs="*", default=list(_SETS), choices=_SETS)
    parser.add_argument("--repeats", type=int, default=3, help="of the churn; 0: none")
    given = parser.parse_args()
    ways = {name: WAYS[name] for name in given.ways}
    pd.set_option("display.width", 200)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources: dict[str, Callable[[], Set]] = {
            "taiwan": lambda: in_time("taiwan", given.data, folder),
            "gmsc": lambda: gmsc(given.data),
            "gmsc, with age": lambda: gmsc(given.data, without=()),
            "superlender": lambda: in_time("superlender", given.data, folder),
            "superlender, out of time": lambda: superlender_out_of_time(given.data, folder / "earlier"),
        }
        for name in given.sets:
            _print_set(sources[name](), ways, given.seeds)
    if given.workspace:
        table, data = simulated(given.workspace)
        _print_set(data, ways, given.seeds)
        print("\nchurn on the simulated portfolio, on its last book")
        print(churn_a_month_later(table, ways, given.seeds).to_string())
    if given.repeats:
        print(f"\nchurn on gmsc: closed lines that change, of the riskiest {CLOSED_SHARE:.0%}; in brackets the AUC")
        print(churn_on_identical_lines(gmsc(given.data), given.repeats, ways).to_string())


def in_time(name: str, data: Path, folder: Path) -> Set:
    """The training rows of a public set that has events."""
    table = training_table(name, data, folder / name)
    return from_table(name, table, table.part("train"))


def _print_set(data: Set, ways: Mapping[str, Way], seeds: list[int]) -> None:
    print(f"\n{data.name}: {len(data.bad):,} lines, {data.inputs.shape[1]} columns, {data.bad.mean():.1%} bad")
    rows = {}
    for name, way in ways.items():
        found = pd.DataFrame([judged(data, way, seed) for seed in seeds])
        digits = {"train s": 1, "score s": 2}
        rows[name] = {
            column: f"{found[column].mean():.{digits.get(column, 4)}f}"
            + (f" ±{found[column].std(ddof=0):.4f}" if column in {"AUC", "KS"} else "")
            for column in found
        }
        print(f"{data.name}: {name} done", file=sys.stderr, flush=True)
    print(pd.DataFrame(rows).T.to_string(), flush=True)


if __name__ == "__main__":
    main()
