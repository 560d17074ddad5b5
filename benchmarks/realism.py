"""How like life the simulated portfolio is: `python -m benchmarks.realism [DATA_FOLDER] [--world honest]`.

The same facts of the simulated world, of Taiwan's cards and of superlender's loans, computed by the same code from
event tables; how hard the traps are; and a picture.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.real_data import out_of_fold
from limitlens.data.calendar import add_months, data_end, month_starts
from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.data.world import START, WorldSettings, named_world, simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.models.validation import measure
from limitlens.pipeline.training.train import train
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

BUCKETS = ("current", "1-29", "30-59", "60-89", "90+")
_BOUNDS = [-1, 0, 29, 59, 89, 100_000]

#: Innocent trips with a new phone, like a takeover.
TRIPS = ("innocent_device", "travel")

#: Enough to say where a line stands.
STANDING = replace(CATALOGUE, aggregates=(), ratios=(), shares=())


def quiet(_: str) -> None:
    """Progress nobody reads."""


@dataclass(frozen=True)
class Standings:
    """Where every line stands at month starts: ``account_id, as_of, bucket, used`` (share of the limit)."""

    rows: pd.DataFrame

    def rolls(self) -> pd.DataFrame:
        """Share of each bucket (rows) that is in each bucket a month later (columns)."""
        later = self.rows.assign(as_of=self.rows["as_of"] - pd.offsets.MonthBegin(1))
        pairs = self.rows.merge(later, on=["account_id", "as_of"], suffixes=("", "_next"))
        found = pd.crosstab(pairs["bucket"], pairs["bucket_next"], normalize="index")
        return found.reindex(columns=BUCKETS, fill_value=0.0).reindex(BUCKETS)


def standings(relations: Mapping[str, str], as_ofs: list[datetime]) -> Standings:
    """Bucket and utilisation of every line at given month starts."""
    lines = book(as_ofs, relations)
    table = build_table(STANDING, lines, relations)
    bucket = pd.cut(table["dpd_days"], _BOUNDS, labels=list(BUCKETS)).astype(str)
    used = table["balance_cents"] / lines["limit_cents"]
    return Standings(lines[["account_id", "as_of", "opened_at"]].assign(bucket=bucket, used=used))


def facts(found: Standings, bad: np.ndarray, auc: float) -> dict[str, str]:
    """The facts of one set, as text."""
    rows, rolls = found.rows, found.rolls()
    last = rows[rows["as_of"] == rows["as_of"].max()]
    past_due = rows["bucket"] != "current"
    return {
        "lines": f"{len(last):,}",
        "utilisation, median": f"{last['used'].median():.0%}",
        "utilisation, middle half": f"{last['used'].quantile(0.25):.0%} to {last['used'].quantile(0.75):.0%}",
        "lines above 90% used": f"{(last['used'] > 0.9).mean():.1%}",
        "lines past due": f"{past_due.mean():.1%}",
        "lines 30 or more days past due": f"{rows['bucket'].isin(BUCKETS[2:]).mean():.1%}",
        "current, past due a month later": f"{1 - rolls.loc['current', 'current']:.1%}",
        "1-29, worse a month later": _share(rolls.loc["1-29", list(BUCKETS[2:])]),
        "1-29, current a month later": _share(rolls.loc["1-29", ["current"]]),
        "30-59, worse a month later": _share(rolls.loc["30-59", list(BUCKETS[3:])]),
        "60-89, worse a month later": _share(rolls.loc["60-89", ["90+"]]),
        "bad, by the set's own label": f"{bad.mean():.1%}",
        "AUC of the standard model": f"{auc:.3f}",
    }


def _share(shares: pd.Series) -> str:
    return "-" if shares.isna().any() else f"{shares.sum():.0%}"


def real(name: str, data: Path, folder: Path) -> tuple[Standings, dict[str, str]]:
    """Standings and facts of a public set."""
    import_files(read_mapping(name), data / name, folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events)
    table = build_training_table(workspace, default_settings(), None, quiet)
    bad = table.part("train")["bad"].to_numpy(bool)
    auc = measure(bad, out_of_fold(table.features, table)).auc
    end = data_end(workspace.events.known_until())
    found = standings(workspace.events.relations(), month_starts(end - timedelta(days=170), end))
    return found, facts(found, bad, auc)


def simulated(folder: Path, accounts: int, world: WorldSettings) -> tuple[Workspace, Standings, dict[str, str]]:
    """Standings and facts of the simulated world; its model is judged out of time."""
    simulate(folder / "events", accounts=accounts, world=world, futures=0, progress=quiet)
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events)
    metrics = train(workspace, default_settings(), default_policy(), developer="benchmark", progress=quiet).validation[
        "metrics"
    ]
    months = [add_months(START, k) for k in range(2, 18)]
    found = standings(workspace.events.relations(), months)
    bad = np.arange(metrics["rows"]) < metrics["bads"]
    return workspace, found, facts(found, bad, metrics["auc"])


def trap(workspace: Workspace, episodes: pd.DataFrame) -> pd.DataFrame:
    """How well each single feature tells innocent new devices from takeovers: AUC, either way round.

    Lines that signed in from a new device within a week, at four days of each of the last twelve months; innocent by
    the trap (a new phone on a trip) and innocent for any reason.
    """
    times = [add_months(START, k) + timedelta(days=d) for k in range(6, 18) for d in (0, 7, 14, 21)]
    relations = workspace.events.relations()
    points = pd.concat([_struck(episodes, when) for when in times], ignore_index=True)
    table = build_table(CATALOGUE, points[["account_id", "as_of", "known_by"]], relations)
    new = table["new_device_count_7d"] > 0
    table, cause = table[new], points.loc[new, "cause"]
    takeover = cause == "takeover"
    rows = {}
    for name in CATALOGUE.columns:
        values = table[name].fillna(-1.0).astype(float)
        rows[name] = {
            "against the trap": _auc(takeover[takeover | (cause.isin(TRIPS))], values),
            "against every innocent": _auc(takeover, values),
        }
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.attrs["counts"] = cause.value_counts().to_dict()
    return found.sort_values("against the trap", ascending=False)


def _struck(episodes: pd.DataFrame, when: datetime) -> pd.DataFrame:
    """Takeovers and innocent trips of the week before, and as many other lines with them as there are of both."""
    week = episodes[(episodes["begins"] < when) & (episodes["begins"] >= when - timedelta(days=7))]
    week = week[week["cause"].isin(["takeover", *TRIPS, "phone"])].drop_duplicates("account_id")
    return week[["account_id", "cause"]].assign(
        as_of=pd.Timestamp(when).as_unit("us"), known_by=pd.Timestamp(when).as_unit("us")
    )


def _auc(takeover: pd.Series, values: pd.Series) -> float:
    auc = float(roc_auc_score(takeover, values[takeover.index]))
    return max(auc, 1 - auc)


def twins(workspace: Workspace, episodes: pd.DataFrame) -> pd.DataFrame:
    """How well each single feature tells a first need from a cash-out two days after the opening: AUC, either way."""
    struck = episodes[episodes["cause"].isin(["cash_out", "first_need"])]
    when = (struck["begins"] + timedelta(days=2)).dt.ceil("D")
    points = struck[["account_id", "cause"]].assign(as_of=when, known_by=when).reset_index(drop=True)
    table = build_table(CATALOGUE, points[["account_id", "as_of", "known_by"]], workspace.events.relations())
    planted = points["cause"] == "cash_out"
    rows = {name: _auc(planted, table[name].fillna(-1.0).astype(float)) for name in CATALOGUE.columns}
    found = pd.Series(rows, name="AUC").sort_values(ascending=False).to_frame()
    found.attrs["counts"] = points["cause"].value_counts().to_dict()
    return found


def ordinary_phones(events: Path) -> pd.DataFrame:
    """Ordinary changes of the phone, as episodes of a cause of their own."""
    sql = f"""SELECT account_id, 'phone' AS cause, event_time AS begins
        FROM read_parquet('{events}/device/*.parquet') WHERE kind = 'device_change'"""
    found: pd.DataFrame = run_sql(sql).to_pandas()
    return found


def vintages(found: Standings) -> pd.DataFrame:
    """Share of the lines of each opening quarter that was ever 90 days past due, by months on book.

    A point counts as long as nine in ten of the quarter's lines are old enough for it.
    """
    rows = found.rows[found.rows["opened_at"] >= START]
    age = ((rows["as_of"] - rows["opened_at"]).dt.days // 30).clip(upper=15)
    quarter = rows["opened_at"].dt.tz_convert(None).dt.to_period("Q").astype(str)
    rows = rows.assign(age=age, quarter=quarter, bad=rows["bucket"] == "90+").sort_values("as_of")
    rows["ever"] = rows.groupby("account_id")["bad"].cummax()
    curves = rows.pivot_table(index="age", columns="quarter", values="ever", aggfunc=["mean", "size"])
    whole = curves["size"] >= 0.9 * curves["size"].max()
    return curves["mean"].where(whole).loc[:, whole.sum() > 4]


def draw(sets: Mapping[str, Standings], path: Path) -> None:
    """Utilisation, roll rates and vintages in one picture."""
    mpl.rcParams["font.size"] = 9
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    bins = np.linspace(0, 1.2, 25)
    for name, found in sets.items():
        last = found.rows[found.rows["as_of"] == found.rows["as_of"].max()]["used"].clip(0, 1.2)
        left.hist(last, bins, weights=np.full(len(last), 1 / len(last)), histtype="step", linewidth=1.6, label=name)
    left.set(title="How much of the line is used", xlabel="balance / limit", ylabel="share of lines")
    left.legend(frameon=False)
    kept = [name for name in sets if (sets[name].rows["bucket"] != "current").any()]
    for k, name in enumerate(kept):
        rolls = sets[name].rolls()
        worse = [float(rolls.loc[b, list(BUCKETS[i + 1 :])].sum()) for i, b in enumerate(BUCKETS[:-1])]
        middle.bar(np.arange(4) + 0.27 * k - 0.27, worse, 0.25, label=name)
    middle.set(title="Worse a month later", xticks=range(4), xticklabels=BUCKETS[:-1], xlabel="days past due")
    middle.legend(frameon=False)
    curves = vintages(next(iter(sets.values())))
    for quarter in curves:
        right.plot(curves.index, 100 * curves[quarter], label=quarter, linewidth=1.6)
    right.set(title="Simulated: ever 90 days past due", xlabel="months on book", ylabel="% of the lines opened")
    right.legend(frameon=False, title="opened in")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder with taiwan and superlender; without: neither")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--world", default="first", help="first, honest or a TOML file")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        workspace, ours, first = simulated(folder / "simulated", given.accounts, named_world(given.world))
        sets, table = {"simulated": ours}, {"simulated": first}
        for name in ("taiwan", "superlender") if given.data else ():
            sets[name], table[name] = real(name, given.data, folder / name)
        print(pd.DataFrame(table).to_string())
        print("\nroll rates of the simulated world: where a bucket (row) is a month later")
        print(ours.rolls().map("{:.1%}".format).to_string())
        episodes = pd.read_parquet(folder / "simulated" / "events" / "truth" / "episodes.parquet")
        phones = ordinary_phones(folder / "simulated" / "events")
        single = trap(workspace, pd.concat([episodes, phones], ignore_index=True))
        print(f"\ntakeover or innocent, by one feature, among lines with a new device: {single.attrs['counts']}")
        print(single.head(5).round(3).to_string())
        print(f"best against every innocent: {single['against every innocent'].max():.3f}")
        if "first_need" in set(episodes["cause"]):
            single = twins(workspace, episodes)
            print(f"\ncash-out or first need, by one feature, two days after the opening: {single.attrs['counts']}")
            print(single.head(5).round(3).to_string())
    if given.plot:
        draw(sets, given.plot)


if __name__ == "__main__":
    main()
