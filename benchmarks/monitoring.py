"""Monitoring on simulated books whose truth is known: the AUC before labels, alarms without and with a planted shift.

Each book is trained as it would be 18 months in, and its next ten month starts are looked at. The true AUC is the one
that the true PDs of the world let expect. Alarms are those of the shipped policy; one that goes on is counted once.
Example:

    python -m benchmarks.monitoring --accounts 5000 --seeds 501 502 503 504 505
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import add_months
from limitlens.data.world import simulate
from limitlens.features.line import limit_and_age
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.limits.monitoring import (
    Alarm,
    feature_shift_alarms,
    mean_pd_alarms,
    pd_shift_alarms,
    roll_alarms,
)
from limitlens.limits.policy import Monitoring
from limitlens.limits.state import first_state
from limitlens.models.confidence import estimate, recalibrate_on
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.models.label_choice import monthly_rolls
from limitlens.models.outcomes import outcomes
from limitlens.models.stability import bin_counts, bin_edges, stability_of, usual_movement
from limitlens.pipeline import Workspace, check, default_settings
from limitlens.pipeline.training.train import fit_iteration

_KEYS = ["account_id", "as_of", "known_by"]

#: Month starts after the first of the world: the first scored, release, the last whose true PD is known; all months.
FIRST, RELEASE, LAST, MONTHS = 8, 18, 27, 28

#: Matured books that the PDs are brought to, as in :mod:`limitlens.pipeline.answers.monitor`.
_LEARNED = 3

SETTINGS = Monitoring()


@dataclass(frozen=True)
class World:
    """A trained book: its training rows with ``pd``, its months by number, its days past due at month starts."""

    model: DefaultRiskModel
    train: pd.DataFrame
    months: Mapping[int, pd.DataFrame]
    dpd: pd.DataFrame


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


def true_auc(pd_: FloatArray, true: FloatArray) -> float:
    """The AUC that the true PDs let expect of a ranking."""
    values, place, counts = np.unique(pd_, return_inverse=True, return_counts=True)
    bads = np.bincount(place, weights=true, minlength=len(values))
    goods, alone = counts - bads, float((true * (1 - true)).sum())
    ranked = float((bads * (np.cumsum(goods) - goods / 2)).sum())
    return (ranked - alone / 2) / (float(bads.sum() * goods.sum()) - alone)


def auc_errors(one: World) -> pd.DataFrame:
    """Expected less true AUC of each month: of the PDs as they are, and as monitoring gives it."""
    horizon, rows = one.model.settings.horizon_months, []
    for month in range(RELEASE, LAST + 1):
        lines = open_lines(one.months[month], one.model)
        pd_ = lines["pd"].to_numpy(np.float64)
        truth = true_auc(pd_, lines["true_pd"].to_numpy(np.float64))
        known = [open_lines(one.months[m], one.model) for m in one.months if m <= month - horizon][-_LEARNED:]
        matured = pd.concat(known)
        how = recalibrate_on((matured["outcome"] == "bad").to_numpy(), matured["pd"].to_numpy(np.float64))
        expected = estimate(pd_, how)
        low, high = expected.auc_interval
        rows.append(
            {
                "month": month,
                "truth": truth,
                "as they are": estimate(pd_).auc - truth,
                "error": expected.auc - truth,
                "held": low <= truth <= high,
            }
        )
    return pd.DataFrame(rows)


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


def alarms(one: World, months: Mapping[int, pd.DataFrame], month: int) -> list[Alarm]:
    """Alarms of a month that need no labels."""
    names, learned = list(one.model.features.columns), one.train["account_id"].nunique()
    rows = months[month]
    rows = rows[rows["dpd_days"] < one.model.settings.default_dpd_days]
    before = [part for _, part in one.train.groupby("as_of")]
    before += [months[m][months[m]["dpd_days"] < one.model.settings.default_dpd_days] for m in months if m < month]
    csi, usual = {}, {}
    for name in names:
        edges = bin_edges(one.train[name].to_numpy(np.float64))
        now, level = bin_counts(rows[name].to_numpy(np.float64), edges), 1 - SETTINGS.chance / len(names)
        counts = [bin_counts(part[name].to_numpy(np.float64), edges) for part in before]
        of_each = [
            stability_of(counted, now, lines=(len(part), len(rows)), level=level)
            for counted, part in zip(counts, before, strict=True)
        ]
        usual[name] = usual_movement(counts)
        csi[name] = min(of_each, key=lambda stable: stable.psi / stable.critical)
    pd_, edges = rows["pd"].to_numpy(np.float64), bin_edges(one.train["pd"].to_numpy(np.float64))
    psi = stability_of(
        bin_counts(one.train["pd"].to_numpy(np.float64), edges),
        bin_counts(pd_, edges),
        lines=(learned, len(rows)),
        level=1 - SETTINGS.chance,
    )
    return [
        *mean_pd_alarms(pd_, float(one.train["bad"].mean()), SETTINGS),
        *pd_shift_alarms(psi, SETTINGS),
        *feature_shift_alarms(csi, usual, SETTINGS),
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
    errors, caught = [], {name: [0, 0] for name in SHIFTS}
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            one = world(Path(folder), given.accounts, seed)
        errors.append(auc_errors(one).assign(seed=seed))
        quiet = {month: alarms(one, one.months, month) for month in range(RELEASE, LAST + 1)}
        print(f"book {seed}, nothing planted: {begun(quiet)}", flush=True)
        for name, shift in SHIFTS.items():
            for month in (RELEASE + 3, LAST):
                kinds = {alarm.kind for alarm in alarms(one, {**one.months, month: shift(one.months[month])}, month)}
                caught[name][0] += bool(kinds - {alarm.kind for alarm in quiet[month]})
                caught[name][1] += 1
        print(errors[-1].round(4).to_string(index=False), flush=True)
    print({name: f"{hit} of {planted}" for name, (hit, planted) in caught.items()})
    every = pd.concat(errors)
    near, raw = (int((every[name].abs() <= 0.01).sum()) for name in ("error", "as they are"))
    print(f"AUC within 0.01 of the truth: {near} of {len(every)} months; of the PDs as they are {raw}")
    print(every[["error", "as they are"]].agg(["mean", "std"]).round(4).to_string())
    print(f"the interval held the truth in {int(every['held'].sum())} of {len(every)}")


if __name__ == "__main__":
    main()
