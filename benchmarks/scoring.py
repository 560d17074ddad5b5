"""Batch scoring beside bare LightGBM: `python -m benchmarks.scoring WORKSPACE [--rows 5000000]`.

A model on 120 features of the workspace's training table is trained with the shipped settings. Rows of the table are
drawn into a Parquet file of so many rows. Then, each in a process of its own: from Parquet to PD to Parquet as
`limitlens score` does it; only the predictions of the same members on matrices that are in memory already, whose making
is not counted; and from Parquet to the reason codes of every row. Printed are seconds, rows a second, the ratio and the
peak memory. Needs a workspace that is checked in; its features are built if they are not there.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.real_data import quiet
from limitlens.data.frames import to_arrow
from limitlens.data.storage import parquet_stream
from limitlens.limits.iteration import Iteration
from limitlens.limits.state import first_state
from limitlens.models.default_risk import load_model, save_model
from limitlens.models.explanation import reason_codes, shap_for_reasons
from limitlens.models.together import lightgbm_scores
from limitlens.models.training import train_model
from limitlens.pipeline.deciding.score import BATCH_ROWS, SCORES, scored_batches
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

FEATURES = 120


def prepare(workspace: Path, folder: Path, rows: int) -> None:
    """A trained model, a feature file, and the digest of the model."""
    space, settings = Workspace(workspace), default_settings()
    table = build_training_table(space, settings, None, quiet)
    train = table.part("train")
    features = replace(table.features.only(table.features.columns[:FEATURES]), attributes=())
    limit, age = train["limit_cents"].to_numpy(np.int64), train["line_age_days"].to_numpy(np.int64)
    bad = train["bad"].to_numpy(bool)
    end = train["label_end"].max().isoformat()
    model = train_model(features, train, limit, age, bad, settings=settings, labels_end=end)
    save_model(model, folder / "model")
    chosen = train[["account_id", "as_of", "segment", *features.columns]]
    source = to_arrow(chosen)
    rng = np.random.default_rng(1)
    lines = []
    with parquet_stream(source.schema, folder / "features.parquet") as write:
        for start in range(0, rows, 1 << 17):
            take = rng.integers(0, len(train), min(1 << 17, rows - start))
            names = pa.array([f"A{k:09d}" for k in range(start, start + len(take))], pa.large_string())
            write(source.take(pa.array(take)).set_column(0, "account_id", names))
            lines.append(pd.DataFrame({"limit_cents": limit[take], "opened_at": train["opened_at"].to_numpy()[take]}))
    pq.write_table(to_arrow(pd.concat(lines, ignore_index=True)), folder / "lines.parquet")
    (folder / "digest").write_text(model.digest, encoding="utf-8")


def scored_rows(folder: Path) -> float:
    """Seconds from Parquet to Parquet."""
    begun = time.perf_counter()
    model = load_model(folder / "model", digest=(folder / "digest").read_text(encoding="utf-8"))
    lines = pq.read_table(folder / "lines.parquet").to_pandas()
    accounts = pq.read_table(folder / "features.parquet", columns=["account_id", "as_of"]).to_pandas()
    state = first_state(lines.assign(as_of=accounts["as_of"]), np.zeros(len(lines), bool))
    iteration = Iteration(model, default_policy(), "1")
    with parquet_stream(SCORES, folder / "scores.parquet") as write:
        features = pq.ParquetFile(folder / "features.parquet")
        for piece in scored_batches(iteration, features, accounts["account_id"], state):
            write(piece)
    return time.perf_counter() - begun


REASONS = pa.schema([("account_id", pa.string()), ("reasons", pa.list_(pa.string()))])


def explained_rows(folder: Path) -> float:
    """Seconds from Parquet to the reason codes of every row, by the SHAP values of all its features."""
    begun = time.perf_counter()
    model = load_model(folder / "model", digest=(folder / "digest").read_text(encoding="utf-8"))
    lines = pq.read_table(folder / "lines.parquet").to_pandas()
    start = 0
    with parquet_stream(REASONS, folder / "reasons.parquet") as write:
        for batch in pq.ParquetFile(folder / "features.parquet").iter_batches(BATCH_ROWS):
            table = batch.to_pandas()
            mine = lines.iloc[start : start + len(table)].reset_index(drop=True)
            start += len(table)
            age = (table["as_of"] - mine["opened_at"]).dt.days.to_numpy(np.int64)
            shap = shap_for_reasons(model, table, mine["limit_cents"].to_numpy(np.int64), age)
            codes = reason_codes(model, shap, [[]] * len(table), age)
            write(
                pa.table([batch["account_id"].cast(pa.string()), pa.array(codes, REASONS.field(1).type)], REASONS.names)
            )
    return time.perf_counter() - begun


def bare(folder: Path) -> float:
    """Seconds that the members take to predict."""
    model = load_model(folder / "model", digest=(folder / "digest").read_text(encoding="utf-8"))
    lines = pq.read_table(folder / "lines.parquet").to_pandas()
    seconds, start = 0.0, 0
    for batch in pq.ParquetFile(folder / "features.parquet").iter_batches(BATCH_ROWS):
        table = batch.to_pandas()
        mine = lines.iloc[start : start + len(table)]
        age = (table["as_of"].reset_index(drop=True) - mine["opened_at"].reset_index(drop=True)).dt.days
        age_days = age.to_numpy(np.int64)
        inputs = model.inputs(table, mine["limit_cents"].to_numpy(np.int64), age_days)
        for scorer, rows in model.routed(age_days):
            chosen = inputs[rows]
            begun = time.perf_counter()
            lightgbm_scores(scorer.members, chosen, None)
            seconds += time.perf_counter() - begun
        start += len(table)
    return seconds


WAYS = {
    "limitlens, Parquet to Parquet": scored_rows,
    "LightGBM, predictions only": bare,
    "limitlens, reasons of every row": explained_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        seconds = WAYS[given.way](given.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "peak": peak}))
        return
    if given.folder:
        prepare(given.workspace, given.folder, given.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        # Whatever is started inherits the peak memory of who starts it, so this process stays small.
        again = [sys.executable, "-m", "benchmarks.scoring", *sys.argv[1:], "--folder", folder]
        subprocess.run(again, check=True)
        found = {
            way: json.loads(subprocess.run([*again, "--way", way], check=True, stdout=subprocess.PIPE).stdout)
            for way in WAYS
        }
    base = found["LightGBM, predictions only"]["seconds"]
    print(f"{given.rows:,} rows x {FEATURES} features\n")
    print("| way | seconds | rows a second | ratio | peak MiB |\n|---|---|---|---|---|")
    for way, run in found.items():
        rate = given.rows / run["seconds"]
        print(f"| {way} | {run['seconds']:.1f} | {rate:,.0f} | {run['seconds'] / base:.2f} | {run['peak']:,.0f} |")


if __name__ == "__main__":
    main()
