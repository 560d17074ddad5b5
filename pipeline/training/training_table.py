"""The training table: features, state and label of every line at every training as-of time."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.calendar import add_months, data_end, format_time, matured_months
from limitlens.data.engine import run_sql
from limitlens.data.errors import WorkspaceError
from limitlens.data.frames import to_arrow
from limitlens.data.lock import building
from limitlens.data.progress import Progress, silent
from limitlens.data.storage import file_sha256, is_parquet, write_parquet
from limitlens.features.declarations import FeatureSet
from limitlens.features.spine import book, lines_at
from limitlens.features.table import DUCKDB, Engine, build_table
from limitlens.limits.records import believed_tables, record_tables
from limitlens.limits.state import first_state
from limitlens.models.held_out import latest_rows
from limitlens.models.inputs import account_numbers, fold_of
from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.models.settings import TrainSettings
from limitlens.models.training import months_of
from limitlens.pipeline.training.feature_tables import opened_tables, tables_aside
from limitlens.pipeline.workspace import Workspace

_KEY = ["account_id", "as_of"]
_POINT = [*_KEY, "known_by"]


_UNREPORTED = """
WITH paid AS (
    SELECT account_id, MIN(event_time) AS first FROM payment WHERE known_time < $known_by GROUP BY account_id
),
used AS (
    SELECT account_id, MIN(event_time) AS first FROM consumption WHERE known_time < $known_by GROUP BY account_id
)
SELECT NOT COALESCE(paid.first < label_end, FALSE)
    AND (COALESCE(used.first < as_of, FALSE) OR NOT EXISTS (SELECT 1 FROM used)) AS silent
FROM points LEFT JOIN paid USING (account_id) LEFT JOIN used USING (account_id) ORDER BY points.row
"""


@dataclass(frozen=True)
class TrainingTable:
    """A built table; its features stay in their files until they are asked for.

    Parameters
    ----------
    features : FeatureSet
    rows : DataFrame
        ``account_id, as_of, known_by, segment, opened_at, limit_cents, line_age_days, bad, label_end, split``, and
        ``dpd_days`` where it is a feature; split is ``train``, ``test`` (out of time), ``unused`` (labels that would
        reach past the test date) or ``indeterminate``. ``file`` and ``row`` say where the features of a row are.
    files : sequence of pyarrow.parquet.ParquetFile
        Open, so that nobody takes them away.
    verdicts : DataFrame
        Rows whose ``bad`` is what reviewers agreed on and ``label_end`` when; members may learn from them, too. None
        unless :func:`limitlens.pipeline.training.verdict_rows.with_verdicts` added them.
    """

    features: FeatureSet
    rows: pd.DataFrame
    files: Sequence[pq.ParquetFile]
    verdicts: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def out_of_time(self) -> bool:
        """Whether a later as-of time is held out; otherwise validation is by cross-validation."""
        return bool((self.rows["split"] == "test").any())

    @property
    def labels_end(self) -> str:
        """ISO time until which the labels look that members learn from."""
        ends = pd.concat([self.split("train"), self.verdicts])["label_end"]
        return str(ends.max().isoformat())

    def split(self, name: str) -> pd.DataFrame:
        """Rows of one split."""
        return self.rows[self.rows["split"] == name]

    def part(self, split: str) -> pd.DataFrame:
        """Rows of one split with their features."""
        return self.with_features(self.split(split))

    def by_file(self, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """:meth:`with_features` of some rows in order, in parts that fit into memory one by one."""
        for _, mine in rows.groupby("file"):
            yield self.with_features(mine)
            pa.default_memory_pool().release_unused()

    def with_features(self, rows: pd.DataFrame, names: Collection[str] | None = None) -> pd.DataFrame:
        """Some of the rows with the columns of their files, in order and with a plain index.

        Parameters
        ----------
        rows : DataFrame
            Of :attr:`rows` or :attr:`verdicts`.
        names : collection of str, optional
            Only these columns; default: all.
        """
        known = rows.drop(columns=["file", "row"]).reset_index(drop=True)
        there = self.files[0].schema_arrow.names
        wanted = [name for name in there if name not in known and (names is None or name in names)]
        features: pd.DataFrame = self._wide(rows, wanted).to_pandas(self_destruct=True, split_blocks=True)
        return pd.concat([features, known], axis=1)

    def _wide(self, rows: pd.DataFrame, names: list[str]) -> pa.Table:
        """What the files say about the rows, held by nobody else: freed as it is converted."""
        places = {int(str(file)): pa.array(mine) for file, mine in rows.groupby("file")["row"]}
        parts = (self.files[file].read(names).take(chosen) for file, chosen in places.items())
        return pa.concat_tables([self.files[0].schema_arrow.empty_table().select(names), *parts])


def build_training_table(
    workspace: Workspace,
    settings: TrainSettings,
    until: datetime | None,
    progress: Progress = silent,
    *,
    engine: Engine = DUCKDB,
    aside: Path | None = None,
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
    aside : Path, optional
        Empty folder that gets what is missing, and the workspace stays as it is; DuckDB computes it.

    Raises
    ------
    WorkspaceError
        No label has matured.
    """
    end = until or data_end(workspace.events.known_until())
    features = workspace.feature_set(settings)
    relations = workspace.relations(features)
    labels = _labels(workspace, settings, relations, until)
    if "outcomes" not in workspace.events.present():
        silent = unreported(labels, relations, known_by=end)
        if silent.any():
            progress(f"no label: {silent.sum():,} points of lines in use, of whose payments nothing was ever delivered")
        labels = labels[~silent].reset_index(drop=True)
    if "outcomes" in workspace.events.present():
        files = _at_outcomes(workspace, features, labels, end=end, aside=aside, progress=progress)
        parts = [_keys(file, number) for number, file in enumerate(files)]
        lines = lines_at(labels.assign(known_by=labels["as_of"])[_POINT], relations)
    else:
        files, lines = _at_months(workspace, features, labels, engine=engine, aside=aside, progress=progress)
        # Lines already in default at the as-of time are left out: there is nothing left to predict.
        parts = [keys[keys["dpd_days"] < settings.default_dpd_days] for keys in map(_keys, files, range(len(files)))]
    if lines.empty:
        raise WorkspaceError(
            "no line stands in the book at the time of a label: it was not yet known or opened, or has limit 0; see "
            "what limitlens check said of accounts."
        )
    state = first_state(lines, np.zeros(len(lines), bool))[["opened_at", "limit_cents", "line_age_days"]]
    rows = pd.concat(parts, ignore_index=True).merge(
        pd.concat([lines[_KEY], state], axis=1), on=_KEY, validate="one_to_one"
    )
    rows = rows.merge(labels[[*_KEY, "bad", "label_end", "indeterminate"]], on=_KEY, validate="one_to_one")
    return TrainingTable(features, split_rows(rows).drop(columns="indeterminate"), files)


def _at_months(
    workspace: Workspace,
    features: FeatureSet,
    labels: pd.DataFrame,
    *,
    engine: Engine,
    aside: Path | None,
    progress: Progress,
) -> tuple[list[pq.ParquetFile], pd.DataFrame]:
    """Feature tables of the book at month starts, and the lines in them."""
    spark = workspace.events.spark_relations() if engine.dialect == "spark" else None
    as_ofs = [as_of.to_pydatetime() for as_of in sorted(labels["as_of"].unique())]
    if aside:
        files = tables_aside(workspace, features, as_ofs, aside, progress=progress)
    else:
        files = opened_tables(workspace, features, as_ofs, relations=spark, engine=engine, progress=progress)
    return files, lines_at(labels.assign(known_by=labels["as_of"])[_POINT], workspace.relations(features))


def _keys(file: pq.ParquetFile, number: int) -> pd.DataFrame:
    """What is looked at without the features: whose rows a file has, and where they are."""
    names = [*_POINT, "segment", *(["dpd_days"] if "dpd_days" in file.schema_arrow.names else [])]
    keys: pd.DataFrame = file.read(names).to_pandas()
    return keys.assign(file=number, row=np.arange(len(keys)))


def _at_outcomes(
    workspace: Workspace,
    features: FeatureSet,
    labels: pd.DataFrame,
    *,
    end: datetime,
    aside: Path | None,
    progress: Progress,
) -> list[pq.ParquetFile]:
    """Features at the times of delivered outcomes, one file a month; the lender has said which lines count."""
    folder, relations, files = workspace.tables / _key(workspace, features, end), workspace.relations(features), []
    believed = believed_tables(workspace.root)
    for month, points in labels.groupby(labels["as_of"].dt.strftime("%Y-%m")):
        path = folder / f"{month}.parquet"
        name = path.relative_to(workspace.root).as_posix()
        if not (is_parquet(path) and file_sha256(path) == believed.get(name)):
            progress(f"features of {month}: {len(points):,} lines")
            path = aside / f"{month}.parquet" if aside else path
            with building(workspace.root):
                lines = lines_at(points.assign(known_by=points["as_of"])[_POINT], relations)
                write_parquet(to_arrow(build_table(features, lines, relations)), path)
                if not aside:
                    record_tables(workspace.root, {name: file_sha256(path)})
        files.append(pq.ParquetFile(path, page_checksum_verification=True))
    return files


def _key(workspace: Workspace, features: FeatureSet, end: datetime) -> str:
    parts = (workspace.events.digest(), features.digest, end.isoformat())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _labels(
    workspace: Workspace,
    settings: TrainSettings,
    relations: dict[str, str],
    until: datetime | None,
) -> pd.DataFrame:
    """Points with ``bad`` and ``label_end``: delivered outcomes where there are any, else computed.."""
    if "outcomes" in workspace.events.present():
        delivered = delivered_labels(relations, known_by=until).rename(columns={"known_time": "label_end"})
        return delivered.assign(indeterminate=False)
    first, end = first_payment(relations), labels_known_by(workspace, until)
    months = matured_months(first, end, settings.horizon_months)
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


def labels_known_by(workspace: Workspace, until: datetime | None) -> datetime:
    """Until when labels are known: a computed one looks no further than payments were delivered.

    Parameters
    ----------
    workspace : Workspace
    until : datetime, optional
        Use only what was known before; default: everything.
    """
    end = until or data_end(workspace.events.known_until())
    delivered = "outcomes" in workspace.events.present()
    return end if delivered else min(end, data_end(workspace.events.reach()["payment"]))


def _reached(
    points: pd.DataFrame, relations: dict[str, str], dpd_days: int, settings: TrainSettings, end: datetime
) -> pd.DataFrame:
    """Whether each point reaches so many days past due within the horizon."""
    return computed_labels(
        points, relations, known_by=end, horizon_months=settings.horizon_months, default_dpd_days=dpd_days
    )


def unreported(points: pd.DataFrame, relations: Mapping[str, pa.Table | str], *, known_by: datetime) -> pd.Series:
    """Whether nothing is known of the payments of a line until its label's end, though it was in use before.

    Parameters
    ----------
    points : DataFrame of shape (n, ...)
        ``account_id, as_of, label_end``.
    relations : mapping with ``payment``, and ``consumption`` if it was delivered
        Without consumption every line counts as in use.
    known_by : datetime
        Rows known strictly before it are read.

    Returns
    -------
    bool Series of shape (n,), indexed like ``points``
    """
    named: dict[str, pa.Table | str] = {name: relations[name] for name in ("payment", "consumption")}
    named["points"] = to_arrow(points[[*_KEY, "label_end"]].assign(row=np.arange(len(points))))
    table = run_sql(_UNREPORTED, named, {"known_by": known_by})
    return pd.Series(table["silent"].to_numpy(zero_copy_only=False), points.index)


def first_payment(relations: dict[str, str]) -> datetime:
    """Time of the first event of payment.

    Raises
    ------
    WorkspaceError
        There is none.
    """
    table = run_sql("SELECT MIN(event_time) AS first FROM payment", {"payment": relations["payment"]})
    first: datetime | None = table.column("first").to_pylist()[0]
    if first is None:
        raise WorkspaceError(
            "no label can be computed: neither outcomes nor payment was delivered; deliver one of them."
        )
    return first


def check_labels(table: TrainingTable, settings: TrainSettings) -> None:
    """Whether a model can learn from a table: both kinds of lines are left, whichever fold of accounts is left out.

    Raises
    ------
    WorkspaceError
        It cannot.
    """
    rows = table.split("train")
    bad, account = rows["bad"].to_numpy(bool), account_numbers(rows["account_id"])
    folds = [fold_of(account, settings.folds, turn) for turn in range(settings.rounds)]
    if any(np.unique(bad[fold != k]).size < 2 for fold in folds for k in range(settings.folds)):
        raise WorkspaceError(
            f"{bad.sum():,} of {len(bad):,} lines went bad by their labels: too few of a kind to learn from; deliver a "
            "longer history or more lines, or lower [labels] default_dpd_days of the training settings."
        )


def split_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Hold out the last months, and every label that would reach into them.

    Nothing is held out where that would leave one kind of line on either side, or nothing: such a table is judged out
    of fold. Indeterminate rows are judged like the others, but not learned from.
    """
    later = latest_rows(months_of(rows["as_of"]))
    early = rows["label_end"] <= rows.loc[later, "as_of"].min()
    train = early & ~rows["indeterminate"]
    if any(rows.loc[side, "bad"].nunique() < 2 for side in (train, later)):
        return rows.assign(split=np.where(rows["indeterminate"], "indeterminate", "train"))
    out_of_time = np.where(later, "test", "unused")
    return rows.assign(split=np.where(train, "train", np.where(early, "indeterminate", out_of_time)))
