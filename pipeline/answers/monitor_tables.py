"""What monitoring reads: the books that were decided, their features in bins, the training's, rolls, outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import DAY, add_months, data_end, matured_months, month_start, month_starts
from limitlens.data.engine import run_sql
from limitlens.data.frames import is_among
from limitlens.data.progress import Progress
from limitlens.features.line import limit_and_age
from limitlens.features.spine import book, lines_at
from limitlens.features.table import table_parts
from limitlens.limits.ledger import Run
from limitlens.limits.state import first_state
from limitlens.models.default_risk import DefaultRiskModel, predict_pd
from limitlens.models.label_choice import monthly_rolls
from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.models.outcomes import outcomes
from limitlens.models.stability import amounts, bin_counts, bin_edges
from limitlens.pipeline.training.training_table import first_payment
from limitlens.pipeline.workspace import Workspace

_KEYS = ["account_id", "as_of", "known_by"]
_FACTS = ["account_id", "as_of", "pd", "line_age_days", "segment", "dpd_days"]

#: A run that decided less than this share of the lines of the last book is no book: new lines, or paused ones.
_BOOK_SHARE = 0.5

#: Latest training months that the training's distributions are made of, most months between them and the first book,
#: and lines of all of these.
_TRAINING_MONTHS, _GAP_MONTHS, _SAMPLE_LINES = 6, 12, 20_000


@dataclass(frozen=True)
class Bins:
    """Lines, and of the PD and each numeric feature how many fall into each bin; of each amount, how many are positive.

    ``amounts``: of :func:`limitlens.models.stability.amounts`, by column.
    """

    lines: int
    counts: Mapping[str, FloatArray]
    amounts: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Training:
    """Distributions a version was trained on.

    Parameters
    ----------
    edges : mapping of str to float64 array
        Of the bins of each column.
    bins : Bins
        All training months together.
    months : sequence of Bins
        The training months, and those between them and the first book.
    between : sequence of Book
        The latter, scored on paper: no decision knew their labels, nor did the training.
    """

    edges: Mapping[str, FloatArray]
    bins: Bins
    months: Sequence[Bins]
    between: "Sequence[Book]"


@dataclass(frozen=True)
class Book:
    """One book as it was decided, or scored on paper.

    Parameters
    ----------
    as_of : datetime
    model_version : str
    rows : DataFrame
        ``account_id, as_of, pd, line_age_days, segment, dpd_days`` of lines that were open and not in default; days
        past due are missing where nobody knows them.
    bins : Bins
        By the edges of its version's training.
    earlier : sequence of Bins
        The months of the training, those until the first book of the version, and its last books before this one.
    """

    as_of: datetime
    model_version: str
    rows: pd.DataFrame
    bins: Bins
    earlier: Sequence[Bins]


def book_runs(workspace: Workspace, until: datetime | None) -> list[Run]:
    """The run of each calendar month that decided the book, in order; a month whose book is a backtest has none."""
    runs = {run.as_of: run for run in workspace.ledger.runs() if until is None or run.as_of <= until}
    if not runs:
        return []
    counts = workspace.ledger.query("SELECT as_of, COUNT(*) AS lines FROM decisions GROUP BY as_of")
    lines = {as_of.to_pydatetime(): int(n) for as_of, n in zip(counts["as_of"], counts["lines"], strict=True)}
    largest: dict[datetime, datetime] = {}
    for as_of in sorted(runs.keys() & lines.keys()):
        best = largest.setdefault(month_start(as_of), as_of)
        if lines[as_of] > lines[best]:
            largest[month_start(as_of)] = as_of
    chosen: list[Run] = []
    for as_of in largest.values():
        if not chosen or lines[as_of] >= _BOOK_SHARE * lines[chosen[-1].as_of]:
            chosen.append(runs[as_of])
    return [run for run in chosen if not run.backtest]


def training_of(
    workspace: Workspace, version: str, model: DefaultRiskModel, first_book: datetime, progress: Progress
) -> Training | None:
    """Distributions of the latest training months, with the PDs of the members that never saw the account.

    None where no row of them is left.
    """
    relations = workspace.relations(model.features)
    learned = _training_points(workspace, model, relations)
    if learned.empty:
        return None
    starts = month_starts(learned["as_of"].max().to_pydatetime() + DAY, first_book - DAY)[-_GAP_MONTHS:]
    gap = book(starts, relations)[_KEYS] if starts else learned.head(0)
    points = pd.concat([learned, gap], ignore_index=True)
    accounts = np.sort(points["account_id"].unique())
    accounts = accounts[:: -(-len(accounts) // _SAMPLE_LINES)]
    points = points[is_among(points["account_id"], pd.Index(accounts))].reset_index(drop=True)
    progress(f"distributions of the training of version {version}: {len(points):,} rows")
    rows = _scored(workspace, model, points)
    of_training = rows["as_of"] <= learned["as_of"].max()
    if not of_training.any():
        return None
    names = [*_numeric(model), "pd"]
    edges = {name: bin_edges(rows.loc[of_training, name].to_numpy(np.float64)) for name in names}
    months, whole, between = [], [], []
    for _, at in rows.groupby(rows["as_of"].dt.strftime("%Y-%m")).indices.items():
        mine = rows.iloc[at].reset_index(drop=True)
        months.append(_bins(mine, edges, _amounts(model)))
        if of_training.iloc[at[0]]:
            whole.append(months[-1])
        else:
            as_of = mine["as_of"].iloc[0].to_pydatetime()
            between.append(Book(as_of, version, mine.reindex(columns=_FACTS), months[-1], ()))
    counts = {name: np.sum([month.counts[name] for month in whole], axis=0) for name in names}
    return Training(edges, Bins(rows.loc[of_training, "account_id"].nunique(), counts, {}), months, between)


def _bins(rows: pd.DataFrame, edges: Mapping[str, FloatArray], of_money: Sequence[str]) -> Bins:
    counts = {name: bin_counts(rows[name].to_numpy(np.float64), one) for name, one in edges.items()}
    return Bins(len(rows), counts, {name: amounts(rows[name].to_numpy(np.float64)) for name in of_money})


def _scored(workspace: Workspace, model: DefaultRiskModel, points: pd.DataFrame) -> pd.DataFrame:
    """Features of points with ``pd``, as if nobody had changed the limits that were delivered."""
    parts = table_parts(model.features, points, workspace.relations(model.features))
    rows = pd.concat([part.to_pandas() for part in parts], ignore_index=True)
    lines = lines_at(points, workspace.relations(model.features))
    state = first_state(lines, np.zeros(len(lines), bool))[["limit_cents", "line_age_days"]]
    rows = rows.merge(pd.concat([lines[["account_id", "as_of"]], state], axis=1), on=["account_id", "as_of"])
    rows = rows[~_in_default(rows, model)].reset_index(drop=True)
    scored: pd.DataFrame = rows.assign(pd=predict_pd(model, rows, *limit_and_age(rows))) if len(rows) else rows
    return scored


def _training_points(workspace: Workspace, model: DefaultRiskModel, relations: Mapping[str, str]) -> pd.DataFrame:
    """Points of the latest training months: those whose labels the model had."""
    end = datetime.fromisoformat(model.labels_end)
    if "outcomes" in workspace.events.present():
        labels = delivered_labels(dict(relations))
        labels = labels[labels["known_time"] <= end]
        latest = np.sort(labels["as_of"].dt.strftime("%Y-%m").unique())[-_TRAINING_MONTHS:]
        points = labels.loc[labels["as_of"].dt.strftime("%Y-%m").isin(latest), ["account_id", "as_of"]]
        return lines_at(points.assign(known_by=points["as_of"]), relations)[_KEYS]
    starts = matured_months(first_payment(dict(relations)), end, model.settings.horizon_months)
    return book(starts[-_TRAINING_MONTHS:], relations)[_KEYS] if starts else pd.DataFrame(columns=_KEYS)


def _numeric(model: DefaultRiskModel) -> list[str]:
    return list(model.features.columns)


def _amounts(model: DefaultRiskModel) -> list[str]:
    """Columns that are amounts of money."""
    return [name for name in _numeric(model) if model.features.declaration_of[name].unit == "cents"]


def _in_default(rows: pd.DataFrame, model: DefaultRiskModel) -> pd.Series:
    """Lines with nothing left to predict; nobody is in default of whom the days past due are not known."""
    return rows["dpd_days"] >= model.settings.default_dpd_days if "dpd_days" in rows else pd.Series(False, rows.index)


def books_of(
    workspace: Workspace,
    runs: Sequence[Run],
    models: Mapping[str, DefaultRiskModel],
    trainings: Mapping[str, Training | None],
    progress: Progress,
) -> list[Book]:
    """Books of some runs, each beside those before it; features are what was known when they were decided."""
    books: dict[datetime, Book] = {}
    for version in dict.fromkeys(run.model_version for run in runs):
        mine = [run for run in runs if run.model_version == version]
        dates = [run.as_of for run in mine]
        training = trainings[version]
        binned = _binned(workspace, dates, models[version], training, progress)
        for run in mine:
            earlier = [binned[as_of][1] for as_of in dates if as_of < run.as_of][-_GAP_MONTHS:]
            known = [*(training.months if training else []), *earlier]
            books[run.as_of] = Book(run.as_of, version, *binned[run.as_of], known)
    return [books[run.as_of] for run in runs]


_DECIDED = """
SELECT account_id, as_of, pd, state.line_age_days AS line_age_days FROM decisions
WHERE as_of IN (SELECT UNNEST($dates)) AND NOT state.closed ORDER BY account_id, as_of
"""


def _binned(
    workspace: Workspace,
    dates: Sequence[datetime],
    model: DefaultRiskModel,
    training: Training | None,
    progress: Progress,
) -> dict[datetime, tuple[pd.DataFrame, Bins]]:
    """Lines of each date, and their features and PDs in bins; read in parts."""
    decided = workspace.ledger.query(_DECIDED, {"dates": list(dates)})
    points = decided[["account_id", "as_of"]].assign(known_by=decided["as_of"])
    progress(f"features of {len(dates)} books: {len(points):,} lines")
    edges, binned = (training.edges, _numeric(model)) if training else ({}, [])
    of_money = _amounts(model)
    counts: dict[datetime, dict[str, FloatArray]] = {as_of: {} for as_of in dates}
    money = {as_of: dict.fromkeys(of_money, np.zeros(2)) for as_of in dates}
    facts = [pd.DataFrame({"account_id": [], "as_of": [], "segment": [], "dpd_days": []})]
    for part in table_parts(model.features, points, workspace.relations(model.features)):
        table = part.to_pandas()
        table = table[~_in_default(table, model)]
        facts.append(table.reindex(columns=list(facts[0].columns)))
        for as_of, rows in table.groupby("as_of"):
            mine = counts[as_of.to_pydatetime()]
            for name in binned:
                mine[name] = mine.get(name, 0.0) + bin_counts(rows[name].to_numpy(np.float64), edges[name])
            for name in of_money:
                money[as_of.to_pydatetime()][name] = money[as_of.to_pydatetime()][name] + amounts(
                    rows[name].to_numpy(np.float64)
                )
    known = pd.concat([part for part in facts if len(part)] or facts, ignore_index=True)
    known = known.astype({"account_id": str, "as_of": points["as_of"].dtype, "dpd_days": float})
    rows = decided.merge(known, on=["account_id", "as_of"])
    books = {}
    for as_of in dates:
        lines = rows[rows["as_of"] == as_of].reset_index(drop=True)
        if training:
            counts[as_of]["pd"] = bin_counts(lines["pd"].to_numpy(np.float64), edges["pd"])
        books[as_of] = (lines, Bins(len(lines), counts[as_of], money[as_of]))
    return books


def rolls_until(
    workspace: Workspace, model: DefaultRiskModel, first: datetime, last: datetime, progress: Progress
) -> pd.DataFrame:
    """Rolls of the book from month start to month start in ``[first, last]``, each as known then.

    Returns
    -------
    DataFrame
        Of :func:`limitlens.models.label_choice.monthly_rolls`; empty where payments were never delivered.
    """
    features = workspace.feature_set(model.settings)
    nothing = pd.DataFrame({"account_id": [], "month": [], "dpd_days": []}, dtype="float64")
    if "payment" not in workspace.events.present() or "dpd_days" not in features.declaration_of:
        return monthly_rolls(nothing)
    features = features.only(["dpd_days"])
    relations = workspace.relations(features)
    begun = add_months(month_start(first_payment(dict(relations))), 1)
    starts = month_starts(max(first, begun), last)
    if not starts:
        return monthly_rolls(nothing)
    lines = book(starts, relations)[_KEYS]
    progress(f"days past due at {len(starts)} month starts: {len(lines):,} points")
    parts = [part.select(["account_id", "as_of", "dpd_days"]) for part in table_parts(features, lines, relations)]
    dpd = pa.concat_tables(parts).to_pandas()
    month = dpd["as_of"].dt.year * 12 + dpd["as_of"].dt.month
    return monthly_rolls(dpd.assign(month=month.astype("int64")))


def month_number(time: datetime) -> int:
    """Consecutive number of the month of a time."""
    return time.year * 12 + time.month


def became(
    workspace: Workspace, book_: Book, model: DefaultRiskModel, known_by: datetime, months: int
) -> pd.Series | None:
    """Whether each line of a book went bad, as known before a time; null where nobody knows; None before it matured.

    A computed outcome is that of so many months, and looks no further than payments had come by then; a delivered one
    is the lender's.
    """
    relations = workspace.relations(model.features)
    if "outcomes" in workspace.events.present():
        known = outcomes(book_.rows, relations, model.settings, known_by=known_by)
        bad = known.map({"bad": 1.0, "good": 0.0}).astype(float)
    else:
        reach = _reach(relations, known_by)
        if reach is None or _horizon_end(book_.as_of, months) > min(known_by, reach):
            return None
        points, days = book_.rows[["account_id", "as_of"]], model.settings.default_dpd_days
        labels = computed_labels(points, relations, known_by=known_by, horizon_months=months, default_dpd_days=days)
        bad = points.merge(labels, on=["account_id", "as_of"], how="left")["bad"].astype(float).set_axis(points.index)
    return bad if bad.notna().any() else None


def _horizon_end(as_of: datetime, months: int) -> datetime:
    end: datetime = (pd.Timestamp(as_of) + pd.DateOffset(months=months)).to_pydatetime()
    return end


def _reach(relations: Mapping[str, str], known_by: datetime) -> datetime | None:
    """The midnight after the last payment known before a time."""
    sql = "SELECT MAX(known_time) AS last FROM payment WHERE known_time < $known_by"
    last = run_sql(sql, {"payment": relations["payment"]}, {"known_by": known_by})["last"][0].as_py()
    return None if last is None else data_end(last)
