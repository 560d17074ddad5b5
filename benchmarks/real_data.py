"""Figures of the default settings on the public data sets: `python benchmarks/real_data.py DATA_FOLDER`.

Prints the 5-fold figures of Taiwan without protected attributes, and what event features add to the application
on superlender's loans of July 2017: the same parameters, the same folds, a paired interval.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.features.declarations import FeatureSet
from limitlens.models.default_risk import predict_pd
from limitlens.models.training import train_model
from limitlens.models.validation import measure, paired_auc_gain
from limitlens.pipeline.training.training_table import TrainingTable, build_training_table
from limitlens.pipeline.workspace import Workspace, default_settings


def quiet(_: str) -> None:
    """Progress nobody reads."""


def training_table(name: str, data: Path, folder: Path) -> TrainingTable:
    """Import, check and build one set."""
    import_files(read_mapping(name), data / name, folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events, progress=quiet)
    return build_training_table(workspace, default_settings(), None, quiet)


def out_of_fold(features: FeatureSet, table: TrainingTable) -> np.ndarray:
    """PD of every row by the model that never saw its account."""
    rows = table.part("train")
    limit, age = rows["limit_cents"].to_numpy(np.int64), rows["line_age_days"].to_numpy(np.int64)
    bad = rows["bad"].to_numpy(bool)
    model = train_model(features, rows, limit, age, bad, settings=default_settings(), labels_end="")
    return predict_pd(model, rows, limit, age)


def without_events(features: FeatureSet) -> FeatureSet:
    """The application alone: attributes, limit, segment and age of the line."""
    return replace(features, aggregates=(), ratios=(), positions=(), shares=())


def main(data: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        taiwan = training_table("taiwan", data, Path(temporary) / "taiwan")
        found = measure(taiwan.part("train")["bad"].to_numpy(bool), out_of_fold(taiwan.features, taiwan))
        print(f"taiwan       {found.rows:,} lines  AUC {found.auc:.4f}  KS {found.ks:.4f}")
        loans = training_table("superlender", data, Path(temporary) / "superlender")
        bad = loans.part("train")["bad"].to_numpy(bool)
        events, application = (out_of_fold(f, loans) for f in (loans.features, without_events(loans.features)))
        gain, low, high = paired_auc_gain(bad, events, application)
        print(f"superlender  {len(bad):,} loans  AUC {measure(bad, events).auc:.4f} with events")
        print(
            f"             AUC {measure(bad, application).auc:.4f} without events; "
            f"gain {gain:.4f}, 95% [{low:.4f}, {high:.4f}]"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
