"""Monitoring on simulated books whose truth is known: the AUC before labels, alarms without and with a planted shift.

Each book is trained as it would be 18 months in, and its next ten month starts are looked at. The true AUC is the one
that the true PDs of the world let expect; these know the economy to come. Beside the way of monitoring stand others,
and one that nobody can go: one curve from PD to true PD, fitted to all months, those to come as well. Alarms are those
of the shipped policy; one that goes on is counted once.
Example:

    python -m benchmarks.monitoring --accounts 5000 --seeds 501 502 503 504 505
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import add_months
from limitlens.data.world import simulate
from limitlens.data.world.settings import FUTURES
from limitlens.features.line import limit_and_age
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.monitoring import (
    Alarm,
    amount_alarms,
    feature_shift_alarms,
    mean_pd_alarms,
    pd_shift_alarms,
    roll_alarms,
)
from limitlens.limits.policy import Monitoring
from limitlens.limits.state import first_state
from limitlens.models.chaining import chained, moves
from limitlens.models.confidence import estimate, expected_auc
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.label_choice import monthly_rolls
from limitlens.models.outcomes import outcomes
from limitlens.models.stability import amounts, bin_counts, bin_edges, change_of, stability_of, usual_movement
from limitlens.pipeline import Workspace, check, default_settings
from limitlens.pipeline.answers.monitor_tables import Bins
from limitlens.pipeline.training.train import fit_iteration

_KEYS = ["account_id", "as_of", "known_by"]

#: Month starts after the first of the world: the first scored, release, the last whose true PD is known; all months.
FIRST, RELEASE, LAST, MONTHS = 8, 18, 27, 28

#: Months that the PDs are brought to, as in :mod:`limitlens.pipeline.answers.monitor`.
_LEARNED = 18

#: Parts of the accounts that are learned from alone: a fifth, a half, all.
PARTS = (5, 2, 1)

SETTINGS = Monitoring()


@dataclass(frozen=True)
class World:
    """A trained book: its training rows with ``pd``, its months by number, its days past due at month starts."""

    model: DefaultRiskModel
    train: pd.DataFrame
    months: Mapping[int, pd.DataFrame]
    dpd: pd.DataFrame

    @cached_property
    def edges(self) -> dict[str, FloatArray]:
        """Edges of the bins of each feature and of the PD, by the training."""
        names = [*self.model.features.columns, "pd"]
        return {name: bin_edges(self.train[name].to_numpy(np.float64)) for name in names}


def world(folder: Path, accounts: int, seed: int) -> World:
    """Simulate, train, and score month by month; ``outcome`` where it is known at the end, ``true_pd``."""
    space = Workspace(folder / "work")
    simulate(folder / "events", accounts=accounts, months=MONTHS, seed=seed)
    check(space, folder / "events")
    truth = pd.read_parquet(folder / "events" / "truth" / "outcomes.parquet")
    start = truth["as_of"].min().to_pydatetime()
    model, table = fit_iteration(space, default_settings(), add_months(start, RELEASE), None)
    relations = {name: sql for name, sql in space.relations(model.features).items() if name != "outcomes"}
    train = table.part("train")
    train = train.assign(pd=predict_pd(model, train, *limit_and_age(train)))
    months = {}
    for month in range(FIRST, LAST + 1):
        lines = book([add_months(start, month)], relations)
        state = first_state(lines, np.zeros(len(lines), bool))[["limit_cents", "line_age_days"]]
        rows = pd.concat([build_table(model.features, lines[_KEYS], relations), state], axis=1)
        rows = rows.assign(pd=predict_pd(model, rows, *limit_and_age(rows)))
        rows["outcome"] = outcomes(rows, relations, model.settings, known_by=add_months(start, MONTHS))
        months[month] = rows.merge(truth[["account_id", "as_of", "true_pd"]], on=["account_id", "as_of"], how="left")
    return World(model, train, months, _arrears(model, relations, start))


def _arrears(model: DefaultRiskModel, relations: Mapping[str, str], start: datetime) -> pd.DataFrame:
    times = {pd.Timestamp(add_months(start, month)): month for month in range(RELEASE - 13, LAST + 1)}
    lines = book([time.to_pydatetime() for time in times], relations)[_KEYS]
    table = build_table(model.features.only(["dpd_days"]), lines, relations)
    return table[["account_id", "dpd_days"]].assign(month=table["as_of"].map(times))


def open_lines(rows: pd.DataFrame, model: DefaultRiskModel) -> pd.DataFrame:
    """Lines that are not in default."""
    return rows[rows["dpd_days"] < model.settings.default_dpd_days].dropna(subset="true_pd")


def auc_errors(one: World) -> pd.DataFrame:
    """Expected less true AUC of each month, by how it is expected; ``known``: standard error of the truth itself."""
    horizon, rows = one.model.settings.horizon_months, []
    open_ = {month: open_lines(lines, one.model) for month, lines in one.months.items()}
    every = pd.concat(open_.values())
    curve = IsotonicRegression(out_of_bounds="clip").fit(every["pd"], every["true_pd"])
    for month in range(RELEASE, LAST + 1):
        pd_, true = (open_[month][name].to_numpy(np.float64) for name in ("pd", "true_pd"))
        truth = expected_auc(pd_, true)
        before = range(max(FIRST, month - _LEARNED), month)
        learned = [a_month(open_[m], one.months[m + 1], one.model) for m in before]
        expected = estimate(pd_, chained(pd.concat(learned), horizon))
        matured = [labelled(open_[m]) for m in open_ if m <= month - horizon]
        low, high = expected.auc_interval
        expectations = {
            "chained": expected.auc,
            "last 3 matured": expected_auc(pd_, chained(pd.concat(matured[-3:]), 1).of(pd_)),
            "all matured": expected_auc(pd_, chained(pd.concat(matured), 1).of(pd_)),
            "as they are": expected_auc(pd_),
            "at release": realised(open_[RELEASE - horizon]),
            "last realised": realised(open_[month - horizon]),
            "one true curve": expected_auc(pd_, curve.predict(pd_)),
        }
        errors = {name: auc - truth for name, auc in expectations.items()}
        known = standard_error(pd_, true)
        held = low <= truth <= high
        rows.append({"month": month, "lines": len(pd_), "truth": truth, **errors, "known": known, "held": held})
    return pd.DataFrame(rows)


def errors_by_size(one: World) -> pd.DataFrame:
    """Errors where only a part of the accounts is learned from, each in turn; the truth is that of the whole book."""
    horizon, rows = one.model.settings.horizon_months, []
    for parts in PARTS:
        fold = {m: fold_of(account_numbers(lines["account_id"]), parts, 0) for m, lines in one.months.items()}
        for part in range(parts):
            mine = {month: lines[fold[month] == part] for month, lines in one.months.items()}
            open_ = {month: open_lines(lines, one.model) for month, lines in mine.items()}
            steps = {m: a_month(open_[m], mine[m + 1], one.model) for m in range(FIRST, LAST)}
            labels = {m: labelled(lines) for m, lines in open_.items() if m <= LAST - horizon}
            for month in range(RELEASE, LAST + 1):
                whole = open_lines(one.months[month], one.model)
                pd_ = whole["pd"].to_numpy(np.float64)
                truth = expected_auc(pd_, whole["true_pd"].to_numpy(np.float64))
                learned = pd.concat([steps[m] for m in range(max(FIRST, month - _LEARNED), month)])
                matured = pd.concat([labels[m] for m in labels if m <= month - horizon])
                by_month, by_label = (chained(learned, horizon).of(pd_), chained(matured, 1).of(pd_))
                chain, label = expected_auc(pd_, by_month) - truth, expected_auc(pd_, by_label) - truth
                rows.append({"lines": len(whole) / parts, "parts": parts, "chained": chain, "all matured": label})
    return pd.DataFrame(rows)


def standard_error(pd_: FloatArray, true: FloatArray) -> float:
    """Of the true AUC: each true PD is a share of so many futures."""
    order = np.argsort(pd_)
    p, q = true[order], 1 - true[order]
    goods_below, bads_above = (np.cumsum(q) - q / 2) / q.sum(), (p.sum() - np.cumsum(p) + p / 2) / p.sum()
    auc = float((p * goods_below).sum() / p.sum())
    influence = (goods_below - auc) / p.sum() - (bads_above - auc) / q.sum()
    return float(np.sqrt((influence**2 * p * q / (FUTURES - 1)).sum()))


def a_month(lines: pd.DataFrame, later: pd.DataFrame, model: DefaultRiskModel) -> pd.DataFrame:
    """What became of open lines in a month; bad: in default at its end."""
    rows = lines[["account_id", "pd"]].merge(later[["account_id", "pd", "dpd_days"]], on="account_id")
    bad = (rows["dpd_days"] >= model.settings.default_dpd_days).to_numpy()
    return moves(rows["account_id"], rows["pd_x"].to_numpy(np.float64), bad, rows["pd_y"].to_numpy(np.float64))


def labelled(lines: pd.DataFrame) -> pd.DataFrame:
    """What became of open lines by the end of the horizon."""
    return moves(lines["account_id"], lines["pd"].to_numpy(np.float64), (lines["outcome"] == "bad").to_numpy())


def realised(lines: pd.DataFrame) -> float:
    """The AUC that came of matured lines."""
    return float(roc_auc_score(lines["outcome"] == "bad", lines["pd"]))


Shift = Callable[[pd.DataFrame], pd.DataFrame]


def scaled(*parts: str, by: float) -> Shift:
    """Sums of a kind of event are so many times as large."""

    def shift(rows: pd.DataFrame) -> pd.DataFrame:
        names = [name for name in rows.columns if "_sum_" in name and name.startswith(parts)]
        return rows.assign(**{name: rows[name] * by for name in names})

    return shift


def lost(share: float, *parts: str) -> Shift:
    """Features of a source are missing for a share of the lines."""

    def shift(rows: pd.DataFrame) -> pd.DataFrame:
        gone = np.random.default_rng(0).random(len(rows)) < share
        names = [name for name in rows.columns if any(part in name for part in parts)]
        return rows.assign(**{name: rows[name].astype(float).mask(gone) for name in names})

    return shift


def riskier(log_odds: float) -> Shift:
    """PDs are higher by so much."""
    return lambda rows: rows.assign(pd=expit(logit(rows["pd"]) + log_odds))


#: Planted shifts, by name.
SHIFTS: dict[str, Shift] = {
    "purchases and draws ×1.25": scaled("purchase", "draw", by=1.25),
    "purchases and draws ×1.5": scaled("purchase", "draw", by=1.5),
    "purchases and draws ×2": scaled("purchase", "draw", by=2.0),
    "transfers in ÷100": scaled("transfer_in", by=0.01),
    "devices of 10% lost": lost(0.10, "login", "device"),
    "devices of 30% lost": lost(0.30, "login", "device"),
    "PD +1 in log-odds": riskier(1.0),
    "PD +2 in log-odds": riskier(2.0),
}


def binned(one: World, rows: pd.DataFrame) -> Bins:
    """Lines of a month in the bins of the training, without those in default."""
    rows = rows[rows["dpd_days"] < one.model.settings.default_dpd_days]
    columns = {name: rows[name].to_numpy(np.float64) for name in [*one.model.features.columns, "pd"]}
    declared = one.model.features.declaration_of
    money = {name: amounts(columns[name]) for name in one.model.features.columns if declared[name].unit == "cents"}
    return Bins(len(rows), {name: bin_counts(values, one.edges[name]) for name, values in columns.items()}, money)


def alarms(one: World, month: int, rows: pd.DataFrame, before: list[Bins]) -> list[Alarm]:
    """Alarms of a month that need no labels, beside the months before, those of the training first."""
    now, names = binned(one, rows), list(one.model.features.columns)
    csi, usual = {}, {}
    for name in names:
        of_each = [
            stability_of(
                bins.counts[name],
                now.counts[name],
                lines=(bins.lines, now.lines),
                level=1 - SETTINGS.chance / len(names),
            )
            for bins in before
        ]
        csi[name] = min(of_each, key=lambda stable: stable.psi / stable.critical)
        usual[name] = usual_movement([bins.counts[name] for bins in before])
    level = 1 - SETTINGS.chance / len(now.amounts)
    changes = {
        name: change_of([bins.amounts[name] for bins in [*before, now]], SETTINGS.past_months, level)
        for name in now.amounts
    }
    psi = stability_of(
        bin_counts(one.train["pd"].to_numpy(np.float64), one.edges["pd"]),
        now.counts["pd"],
        lines=(one.train["account_id"].nunique(), now.lines),
        level=1 - SETTINGS.chance,
    )
    open_ = rows.loc[rows["dpd_days"] < one.model.settings.default_dpd_days, "pd"]
    return [
        *mean_pd_alarms(open_.to_numpy(np.float64), float(one.train["bad"].mean()), SETTINGS),
        *pd_shift_alarms(psi, SETTINGS),
        *feature_shift_alarms(csi, usual, SETTINGS),
        *amount_alarms({name: change for name, change in changes.items() if change}, SETTINGS),
        *roll_alarms(monthly_rolls(one.dpd), month, SETTINGS),
    ]


def begun(by_month: Mapping[int, list[Alarm]]) -> list[str]:
    """Each alarm at the month in which it begins."""
    seen, first = set[str](), []
    for month, rung in by_month.items():
        kinds = {alarm.kind for alarm in rung}
        first += [f"{alarm.kind} in month {month}: {alarm.words}" for alarm in rung if alarm.kind not in seen]
        seen = kinds
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[501, 502, 503, 504, 505])
    given = parser.parse_args()
    errors, sizes, rung, caught = [], [], list[str](), {name: [0, 0] for name in SHIFTS}
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            one = world(Path(folder), given.accounts, seed)
        errors.append(auc_errors(one).assign(seed=seed))
        sizes.append(errors_by_size(one))
        trained = [binned(one, part) for _, part in one.train.groupby("as_of")]
        bins = {month: binned(one, rows) for month, rows in one.months.items()}
        before = {month: trained + [bins[m] for m in bins if m < month] for month in range(RELEASE, LAST + 1)}
        quiet = {month: alarms(one, month, one.months[month], before[month]) for month in before}
        rung += begun(quiet)
        print(f"book {seed}, nothing planted: {begun(quiet)}", flush=True)
        for name, shift in SHIFTS.items():
            for month in (RELEASE + 3, LAST):
                kinds = {alarm.kind for alarm in alarms(one, month, shift(one.months[month]), before[month])}
                caught[name][0] += bool(kinds - {alarm.kind for alarm in quiet[month]})
                caught[name][1] += 1
        print(errors[-1].round(4).to_string(index=False), flush=True)
    years = len(given.seeds) * (LAST - RELEASE + 1) / 12
    drifted = sum(one.startswith("pd_shift") for one in rung)
    print(f"{len(rung) - drifted} alarms in {years:.1f} years with nothing planted, and {drifted} of the PD's PSI")
    print({name: f"{hit} of {planted}" for name, (hit, planted) in caught.items()})
    every = pd.concat(errors)
    ways = every.columns[3:-3]
    table = pd.DataFrame(
        {
            "mean": every[ways].mean(),
            "std": every[ways].std(),
            "root mean square": np.sqrt((every[ways] ** 2).mean()),
            "within 0.01": (every[ways].abs() <= 0.01).sum(),
        }
    )
    print(f"error of the AUC in {len(every)} months, {every['lines'].mean():,.0f} open lines:")
    print(table.round(4).to_string())
    by_size = pd.concat(sizes).groupby("parts", sort=False)
    print("root mean square error, learned from so many open lines:")
    squares = by_size[["chained", "all matured"]].agg(lambda errors: np.sqrt((errors**2).mean()))
    print(squares.set_index(by_size["lines"].mean().round(-1).astype(int)).round(4).to_string())
    print(f"standard error of the truth itself: {every['known'].mean():.4f}")
    print(f"the interval held the truth in {int(every['held'].sum())} of {len(every)}")


if __name__ == "__main__":
    main()
