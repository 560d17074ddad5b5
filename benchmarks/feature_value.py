"""What each feature is worth: `python -m benchmarks.feature_value DATA_FOLDER [--out docs/feature-value.md]`.

For every column of the catalogue, on the simulated portfolio, on superlender's loans and on Taiwan's cards, and for
lines of the simulated portfolio struck by fraud within three days against others: how well it ranks bad lines by
itself (AUC; above 0.5 it rises with risk; nulls rank lowest), whether its distribution holds from the first half of
the rows in time to the second (PSI, ten bins and one for nulls), and its share of the gain of a model on all of them.
A column is dead where none of the sets tells its AUC from 0.5 (two standard errors), and double where another one
ranks the lines alike (Spearman at least 0.995) on every set that has both.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.real_data import quiet, training_table
from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.world import START, simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import line_columns
from limitlens.features.spine import book
from limitlens.features.table import build_table
from limitlens.models.training import train_model
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

DOUBLE = 0.995
FRAUD = ("takeover", "cash_out", "ring_fraud")
TRAPS = ("innocent_device", "holiday", "burst_borrowing")
_ROWS_FOR_RANKS = 40_000


@dataclass(frozen=True)
class Worth:
    """What the columns are worth on one set: a frame by column, and how their values rank."""

    by_column: pd.DataFrame
    ranks: pd.DataFrame


def worth(features: FeatureSet, rows: pd.DataFrame) -> Worth:
    """Measure every column of one set."""
    rows = rows.reset_index(drop=True)
    limit, age = rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64)
    lines = line_columns(features, rows, limit, age)
    names = [*features.columns, *(share.name for share in features.shares)]
    values = pd.concat([rows, lines.drop(columns="limit_cents")], axis=1).loc[:, lambda f: ~f.columns.duplicated()]
    bad, late = rows["bad"].to_numpy(bool), (rows["as_of"] > rows["as_of"].median()).to_numpy(bool)
    error = np.sqrt((1 / bad.sum() + 1 / (~bad).sum()) / 12)
    gain = _gain(features, rows, limit, age, bad)
    found = {}
    for name in names:
        column = values[name].astype(float)
        filled = column.fillna(column.min() - 1 if column.notna().any() else 0.0).to_numpy()
        auc = roc_auc_score(bad, filled)
        found[name] = {
            "auc": auc,
            "alive": abs(auc - 0.5) > 2 * error,
            "psi": _psi(column[~late], column[late]),
            "gain": gain.get(name, 0.0),
        }
    some = values[names].sample(min(len(values), _ROWS_FOR_RANKS), random_state=1)
    return Worth(
        pd.DataFrame.from_dict(found, orient="index"), some.astype(float).fillna(-1.0).rank().astype("float32")
    )


def _gain(features: FeatureSet, rows: pd.DataFrame, limit: np.ndarray, age: np.ndarray, bad: np.ndarray) -> dict:
    model = train_model(features, rows, limit, age, bad, settings=default_settings(), labels_end="")
    gain = np.mean([member.booster.feature_importance("gain") for member in model.book.members], axis=0)
    return dict(zip(model.columns, gain / gain.sum(), strict=True))


def _psi(before: pd.Series, after: pd.Series) -> float:
    edges = np.unique(before.quantile(np.linspace(0, 1, 11)).dropna())[1:-1]
    shares = []
    for part in (before, after):
        binned = np.where(part.isna(), len(edges) + 1, np.searchsorted(edges, part.to_numpy(), "right"))
        shares.append((np.bincount(binned, minlength=len(edges) + 2) + 0.5) / (len(part) + 0.5 * (len(edges) + 2)))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def doubles(sets: Mapping[str, Worth], names: list[str]) -> dict[str, str]:
    """Columns that another one, earlier in the catalogue, makes superfluous."""
    alike: dict[tuple[str, str], list[bool]] = {}
    for found in sets.values():
        ranks = found.ranks.loc[:, found.ranks.std() > 0]
        near = np.abs(np.corrcoef(ranks.to_numpy().T))
        for i, first in enumerate(ranks.columns):
            for j in range(i + 1, len(ranks.columns)):
                alike.setdefault((first, ranks.columns[j]), []).append(bool(near[i, j] >= DOUBLE))
    order = {name: k for k, name in enumerate(names)}
    pairs = [tuple(sorted(pair, key=order.__getitem__)) for pair, same in alike.items() if all(same)]
    return {second: first for first, second in reversed(pairs)}


def kept_anyway() -> set[str]:
    """Columns that the shipped policy, a ratio or a share of the line needs."""
    parts = {name for r in CATALOGUE.ratios for name in (r.numerator, r.denominator)}
    return default_policy().columns | parts | {share.column for share in CATALOGUE.shares}


def page(sets: Mapping[str, Worth], accounts: int) -> str:
    """The table as Markdown."""
    names = [*CATALOGUE.columns, *(share.name for share in CATALOGUE.shares)]
    head = ["feature", *(f"{what}, {name}" for name in sets for what in ("AUC", "PSI", "gain"))]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in names:
        cells = [f"`{name}`"]
        for found in sets.values():
            one = found.by_column.loc[name] if name in found.by_column.index else None
            flat = one is None or found.ranks[name].std() == 0
            cells += ["–"] * 3 if flat else [f"{one['auc']:.3f}", f"{one['psi']:.3f}", f"{one['gain']:.2%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return _HEAD.format(accounts=accounts) + "\n".join(lines) + "\n"


_HEAD = """# What each feature is worth

Written by `python -m benchmarks.feature_value DATA_FOLDER --accounts {accounts} --out docs/feature-value.md`.

AUC: how well the column ranks bad lines by itself; above 0.5 it rises with risk, nulls rank lowest. PSI: how much its
distribution moves from the first half of the rows in time to the second, in ten bins and one for nulls (on the
simulated portfolio the book ages and grows, so columns that count from the opening move). Gain: its share of the gain
of a model on all columns. "fraud": lines struck by takeover, cash-out or a ring within three days, against innocent
bursts, trips and holidays and the rest of the book. A dash: the set has one value only, or not the source. Columns
that no set tells from chance, or that rank every line as another column does, were removed from the catalogue; but for
`status_days_since_ever`, which says how old a status is, and moves only where a feed of them stops.

"""


def fraud(events: Path, workspace: Workspace, features: FeatureSet) -> pd.DataFrame:
    """Lines of the book struck by fraud within three days, and twice as many struck by an innocent cause or by none.

    At four days of each of the last twelve months; ``bad`` marks the fraud.
    """
    episodes = pd.read_parquet(events / "truth" / "episodes.parquet")
    relations = workspace.events.relations()
    parts = []
    for when in (add_months(START, k) + timedelta(days=d) for k in range(6, 18) for d in (0, 7, 14, 21)):
        lines = book([when], relations)
        week = episodes[(episodes["begins"] < when) & (episodes["begins"] >= when - timedelta(days=3))]
        struck = lines[lines["account_id"].isin(week.loc[week["cause"].isin(FRAUD), "account_id"])]
        others = lines[~lines["account_id"].isin(struck["account_id"])]
        traps = others[others["account_id"].isin(week.loc[week["cause"].isin(TRAPS), "account_id"])]
        some = pd.concat([traps, others.sample(len(struck) * 2, random_state=1)]).drop_duplicates("account_id")
        parts += [struck.assign(bad=True), some.assign(bad=False)]
    points = pd.concat(parts, ignore_index=True)
    table = build_table(features, points, relations)
    age = (points["as_of"] - points["opened_at"]).dt.days
    return table.assign(bad=points["bad"], limit_cents=points["limit_cents"], line_age_days=age)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with taiwan and superlender")
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="Markdown page to write")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate(folder / "events", accounts=given.accounts, months=18, seed=7, futures=0, progress=quiet)
        workspace = Workspace(folder / "work")
        check_events(folder / "events", workspace.events)
        ours = build_training_table(workspace, default_settings(), None, quiet)
        sets = {
            "simulated": worth(ours.features, ours.with_features(ours.rows)),
            "fraud": worth(ours.features, fraud(folder / "events", workspace, ours.features)),
        }
        for name in ("superlender", "taiwan"):
            table = training_table(name, given.data, folder / name)
            sets[name] = worth(table.features, table.with_features(table.rows))
    names = [*CATALOGUE.columns, *(share.name for share in CATALOGUE.shares)]
    needed = kept_anyway()
    dead = [n for n in names if not any(n in w.by_column.index and w.by_column.loc[n, "alive"] for w in sets.values())]
    print(f"{len(names)} columns; dead: {', '.join(n + (' (needed)' if n in needed else '') for n in dead) or 'none'}")
    for second, first in doubles(sets, names).items():
        print(f"double: {second} ranks as {first}{' (needed)' if second in needed else ''}")
    if given.out:
        given.out.write_text(page(sets, given.accounts), encoding="utf-8")


if __name__ == "__main__":
    main()
