"""Put a trained model at the level that early arrears show, with what was known at the out-of-time date."""

import numpy as np
import pandas as pd

from limitlens.data.arrays import FloatArray
from limitlens.data.calendar import add_months
from limitlens.data.engine import Relations
from limitlens.data.progress import Progress
from limitlens.features.line import limit_and_age
from limitlens.models.default_risk import DefaultRiskModel, predict_log_odds, recalibrated
from limitlens.models.labels import computed_labels
from limitlens.models.recalibration import EARLY_DPD_DAYS, EARLY_MONTHS, MIN_EARLY, recalibration_shift
from limitlens.pipeline.training.training_table import TrainingTable


def recalibrate(
    model: DefaultRiskModel, table: TrainingTable, relations: Relations, progress: Progress
) -> DefaultRiskModel:
    """The model, moved by :func:`limitlens.models.recalibration.recalibration_shift`.

    Parameters
    ----------
    model : DefaultRiskModel
    table : TrainingTable
        What it was trained on. Its latest months that are no training months, as many as ``level_months`` of the
        settings, whose lines were seen for two months before the out-of-time date, say where the level is.
    relations : mapping
        With ``payment``.
    progress : callable
        Told what was found.
    """
    if not table.out_of_time:
        return model
    early = early_arrears(model, table, relations)
    later = sorted(early.loc[early["split"] == "unused", "as_of"].unique())[-model.settings.level_months :]
    learned, recent = early[early["split"] == "train"], early[early["as_of"].isin(later)]
    moved = recalibrated(model, recalibration_shift(learned, recent))
    fell = int(recent["early"].sum())
    few = "" if fell >= MIN_EARLY else f", {MIN_EARLY} are needed"
    basis = f"{fell:,} of {len(recent):,} lines fell behind early{few}"
    progress(f"level of the PDs: {moved.recalibration_shift:+.3f} in log-odds ({basis})")
    return moved


def early_arrears(model: DefaultRiskModel, table: TrainingTable, relations: Relations) -> pd.DataFrame:
    """Lines of the table that were not behind, with whether they fell behind early, as known at the out-of-time date.

    Returns
    -------
    DataFrame
        ``as_of, split, early`` (bool), ``log_odds`` (float64) by the members that never saw the account.
    """
    known_by = table.rows["as_of"].max().to_pydatetime()
    last = pd.Timestamp(add_months(known_by, -EARLY_MONTHS))
    rows = table.rows[table.rows["as_of"].le(last) & table.rows["dpd_days"].lt(EARLY_DPD_DAYS)]
    keys = rows[["account_id", "as_of"]]
    reached = computed_labels(
        keys.drop_duplicates(),
        relations,
        known_by=known_by,
        horizon_months=EARLY_MONTHS,
        default_dpd_days=EARLY_DPD_DAYS,
    )
    early = keys.merge(reached, how="left", on=["account_id", "as_of"], validate="many_to_one")["bad"]
    log_odds = [_log_odds(model, mine) for mine in table.by_file(rows)]
    return rows[["as_of", "split"]].reset_index(drop=True).assign(early=early, log_odds=np.concatenate(log_odds))


def _log_odds(model: DefaultRiskModel, rows: pd.DataFrame) -> FloatArray:
    limit, age = limit_and_age(rows)
    return predict_log_odds(model, rows, limit, age)
