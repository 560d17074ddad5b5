"""The training table: features, state and label of every line at every training as-of time."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from limitlens.data.calendar import add_months, data_end, format_time, matured_months
from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.data.frames import to_arrow
from limitlens.data.storage import read_parquet, write_parquet
from limitlens.features.declarations import FeatureSet
from limitlens.features.spine import book, lines_at
from limitlens.features.table import DUCKDB, Engine, build_table
from limitlens.limits.state import first_state
from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.feature_tables import feature_tables
from limitlens.pipeline.workspace import Workspace

_KEY = ["account_id", "as_of"]


@dataclass(frozen=True)
class TrainingTable:
    """A built table.

    Parameters
    ----------
    features : FeatureSet
    rows : DataFrame
        Feature columns, ``opened_at, limit_cents, line_age_days, bad, label_end, split``; split is ``train``,
        ``test`` (out of time), ``unused`` (labels that would reach past the test date) or ``indeterminate``.
    """

    features: FeatureSet
    rows: pd.DataFrame

    @property
    def out_of_time(self) -> bool:
        """Whether a later as-of time is held out; otherwise validation is by cross-validation."""
        return bool((self.rows["split"] == "test").any())

    def part(self, split: str) -> pd.DataFrame:
        """Rows of one split."""
        return self.rows[self.rows["split"] == split].reset_index(drop=True)


def build_training_table(
    workspace: Workspace,
    settings: TrainSettings,
    until: datetime | None,
    progress: Callable[[str], None],
    *,
    engine: Engine = DUCKDB,
) -> TrainingTable:
    """Build the table, or what is missing of it; one file an as-of time, brought up to date after further loads.

    Parameters
    ----------
    workspace : Workspace
    settings : TrainSettings
    until : datetime, optional
        Use only what was known before; default: everything.
    progress : callable
        Told what is being built.
    engine : Engine
        What computes the features of computed labels; delivered outcomes are few, DuckDB takes them.

    Raises
    ------
    WorkspaceError
        No label has matured.
    """
    end = until or data_end(workspace.events.known_until())
    features = workspace.features(settings)
    relations = workspace.relations(features)
    labels = _labels(workspace, settings, relations, until, end)
    if "outcomes" in workspace.events.present():
        parts = _at_outcomes(workspace, features, labels, end=end, progress=progress)
    else:
        dpd = settings.default_dpd_days
        parts = _at_months(workspace, features, labels, defaulted_dpd_days=dpd, engine=engine, progress=progress)
    rows = pd.concat(parts, ignore_index=True).merge(labels[[*_KEY, "indeterminate"]], on=_KEY, validate="one_to_one")
    return TrainingTable(features, _split(rows).drop(columns="indeterminate"))


def _at_months(
    workspace: Workspace,
    features: FeatureSet,
    labels: pd.DataFrame,
    *,
    defaulted_dpd_days: int,
    engine: Engine,
    progress: Callable[[str], None],
) -> Iterator[pd.DataFrame]:
    """Rows of the book at month starts.

    Lines already in default at the as-of time are left out: there is nothing left to predict.
    """
    spark = workspace.events.spark_relations() if engine.dialect == "spark" else None
    months = [points for _, points in labels.groupby("as_of")]
    as_ofs = [points["as_of"].iloc[0].to_pydatetime() for points in months]
    paths = feature_tables(workspace, features, as_ofs, relations=spark, engine=engine, progress=progress)
    for points, path in zip(months, paths, strict=True):
        table = read_parquet(path).to_pandas()
        lines = lines_at(points.assign(known_by=points["as_of"]), workspace.relations(features))
        rows = _rows(lines.merge(table, how="left", validate="one_to_one"), lines, points)
        yield rows[rows["dpd_days"] < defaulted_dpd_days]


def _at_outcomes(
    workspace: Workspace,
    features: FeatureSet,
    labels: pd.DataFrame,
    *,
    end: datetime,
    progress: Callable[[str], None],
) -> Iterator[pd.DataFrame]:
    """Rows at the times of delivered outcomes, one file a month; the lender has said which lines count."""
    folder, relations = workspace.tables / _key(workspace, features, end), workspace.relations(features)
    for month, points in labels.groupby(labels["as_of"].dt.strftime("%Y-%m")):
        path = folder / f"{month}.parquet"
        if not path.exists():
            progress(f"features of {month}: {len(points):,} lines")
            lines = lines_at(points.assign(known_by=points["as_of"]), relations)
            write_parquet(to_arrow(_rows(build_table(features, lines, relations), lines, points)), path)
        yield read_parquet(path).to_pandas()


def _key(workspace: Workspace, features: FeatureSet, end: datetime) -> str:
    parts = (workspace.events.digest(), features.digest, end.isoformat())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _labels(
    workspace: Workspace,
    settings: TrainSettings,
    relations: dict[str, str],
    until: datetime | None,
    end: datetime,
) -> pd.DataFrame:
    """Points with ``bad`` and ``label_end``: delivered outcomes where there are any, else computed."""
    if "outcomes" in workspace.events.present():
        delivered = delivered_labels(relations, known_by=until).rename(columns={"known_time": "label_end"})
        return delivered.assign(indeterminate=False)
    months = matured_months(first_payment(relations), end, settings.horizon_months)
    if not months:
        raise WorkspaceError(
            f"no label has matured by {format_time(end)}: a horizon of {settings.horizon_months} months needs as many "
            "months of payments after the first; deliver more history or lower [labels] horizon_months."
        )
    points = book(months, relations)
    labels = _reached(points, relations, settings.default_dpd_days, settings, end)
    labels["indeterminate"] = False
    if settings.indeterminate_dpd_days:
        late = _reached(points, relations, settings.indeterminate_dpd_days, settings, end)
        labels["indeterminate"] = late["bad"] & ~labels["bad"]
    ends = {pd.Timestamp(t): pd.Timestamp(add_months(t, settings.horizon_months)) for t in months}
    return labels.assign(label_end=labels["as_of"].map(ends))


def _reached(
    points: pd.DataFrame, relations: dict[str, str], dpd_days: int, settings: TrainSettings, end: datetime
) -> pd.DataFrame:
    """Whether each point reaches so many days past due within the horizon."""
    return computed_labels(
        points, relations, known_by=end, horizon_months=settings.horizon_months, default_dpd_days=dpd_days
    )


def first_payment(relations: dict[str, str]) -> datetime:
    """Time of the first event of payment.

    Raises
    ------
    WorkspaceError
        There is none.
    """
    found = run_sql("SELECT MIN(event_time) AS first FROM payment", {"payment": relations["payment"]})
    first: datetime | None = found.column("first").to_pylist()[0]
    if first is None:
        raise WorkspaceError(
            "no label can be computed: neither outcomes nor payment was delivered; deliver one of them."
        )
    return first


def _rows(table: pd.DataFrame, lines: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Features, state and label of lines; the table is aligned with them."""
    state = first_state(lines, np.zeros(len(lines), bool))[["opened_at", "limit_cents", "line_age_days"]]
    labels = lines[["account_id", "as_of"]].merge(points, on=["account_id", "as_of"], how="left", validate="one_to_one")
    features = table.drop(columns=[name for name in state if name in table])
    return pd.concat([features, state, labels[["bad", "label_end"]]], axis=1)


def _split(rows: pd.DataFrame) -> pd.DataFrame:
    """Hold out the last as-of time, and every label that would reach past it; with one cross-section, nothing.

    Indeterminate rows are judged like the others, but not learned from.
    """
    last = rows["as_of"].max()
    early = rows["label_end"] <= last
    train = early & ~rows["indeterminate"]
    if not early.any():
        return rows.assign(split=np.where(rows["indeterminate"], "indeterminate", "train"))
    out_of_time = np.where(rows["as_of"] == last, "test", "unused")
    return rows.assign(split=np.where(train, "train", np.where(early, "indeterminate", out_of_time)))
