"""Rows that reviewers judged and whose outcome nobody knows: members may learn from them, no figure counts them."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.engine import Relations
from limitlens.features.spine import lines_at
from limitlens.features.table import table_parts
from limitlens.limits.state import first_state
from limitlens.limits.verdict import agreed
from limitlens.models.outcomes import outcomes
from limitlens.models.settings import TrainSettings
from limitlens.pipeline.training.training_table import TrainingTable, labels_known_by, unreported
from limitlens.pipeline.workspace import Workspace

_KEY = ["account_id", "as_of"]


def with_verdicts(
    table: TrainingTable,
    workspace: Workspace,
    settings: TrainSettings,
    verdicts: pd.DataFrame,
    until: datetime | None,
) -> TrainingTable:
    """The table with the decisions on which reviewers agreed, as far as no outcome speaks of them.

    Everything is as it was known before the rows begin that judge the model; where none are held out, before ``until``.
    An outcome that was known then is the label, and what reviewers say of the line counts nothing.

    Parameters
    ----------
    table : TrainingTable
    workspace : Workspace
    settings : TrainSettings
    verdicts : DataFrame of :data:`limitlens.limits.ledger_tables.VERDICTS`
    until : datetime, optional
        Use only what was said and known before; default: everything.
    """
    held_out = table.split("test")["as_of"].min().to_pydatetime() if table.out_of_time else None
    judged, relations = agreed(verdicts, held_out or until), workspace.relations(table.features)
    known_by = held_out or labels_known_by(workspace, until)
    if "outcomes" not in workspace.events.present():
        del relations["outcomes"]
    judged = judged[_is_open(judged, relations, settings, known_by)] if len(judged) else judged
    lines = lines_at(judged[_KEY].assign(known_by=judged["as_of"]), relations)
    if lines.empty:
        return table
    points = lines[[*_KEY, "known_by"]]
    features = pa.concat_tables(table_parts(table.features, points, relations)).sort_by(
        [(name, "ascending") for name in _KEY]
    )
    state = first_state(lines, np.zeros(len(lines), bool))[["opened_at", "limit_cents", "line_age_days"]]
    rows = pd.concat([points, state], axis=1).assign(file=len(table.files), row=np.arange(len(lines)))
    rows = rows.merge(judged, on=_KEY, validate="one_to_one").rename(columns={"at": "label_end"})
    if "dpd_days" in features.column_names:
        rows = rows[features["dpd_days"].to_numpy() < settings.default_dpd_days]
    return replace(table, verdicts=rows, files=[*table.files, _opened(features.cast(table.files[0].schema_arrow))])


def _is_open(judged: pd.DataFrame, relations: Relations, settings: TrainSettings, known_by: datetime) -> pd.Series:
    """Whether no outcome speaks of a decision, by the definition of the labels."""
    outcome = outcomes(judged, relations, settings, known_by=known_by)
    nobody_knows = outcome == "censored"
    if settings.indeterminate_dpd_days:
        nobody_knows |= outcome == "indeterminate"
    if "outcomes" in relations:
        return nobody_knows
    ends = judged["as_of"] + pd.DateOffset(months=settings.horizon_months)
    return nobody_knows | unreported(judged.assign(label_end=ends), relations, known_by=known_by)


def _opened(table: pa.Table) -> pq.ParquetFile:
    """A table as a file of the others' kind; verdicts are few."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return pq.ParquetFile(pa.BufferReader(sink.getvalue()))
