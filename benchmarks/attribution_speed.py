"""How fast changes are split: `python -m benchmarks.attribution_speed WORKSPACE [--rows 1000000]`.

The workspace has to be reconciled, with two model versions (`limitlens demo` leaves one). The four data states of its
final splits are drawn into Parquet files of so many rows, with the first version and its policy before and the last
version and its policy after. Then, each in a process of its own: splitting every change among the five players, from
Parquet to Parquet; the same with every point of the lattice decided for every row, as it would be done without looking
where the data states differ; and splitting behaviour among its groups for 5% of the rows, those that changed. Printed
are seconds, rows a second and the peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from limitlens.data.frames import to_arrow
from limitlens.data.storage import parquet_stream
from limitlens.limits.entries import attribution_entries
from limitlens.limits.groups import split_behaviour
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import CHAIN, Lattice, evaluate, in_contexts, rows_differ
from limitlens.limits.ledger_tables import ATTRIBUTIONS
from limitlens.limits.state import STATE_COLUMNS, state_before, unpacked
from limitlens.pipeline.deciding.attribute import data_states
from limitlens.pipeline.deciding.point_in_time import change_moments, tables_at
from limitlens.pipeline.workspace import Workspace

#: Rows split at a time.
BATCH_ROWS = 1 << 14

#: Share of the rows whose behaviour is split among groups.
CHANGED = 0.05

#: Columns of the changes that entries are made of.
_CHANGE = ["account_id", "as_of", "previous_as_of", "known_by", "limit_before_cents"]


def sides(workspace: Path) -> tuple[Iteration, Iteration]:
    """The first and the last version, each with the policy it was released with."""
    space = Workspace(workspace)
    runs = space.ledger.runs()
    first, last = (space.iteration(run.model_version, run.policy_digest) for run in (runs[0], runs[-1]))
    return first, last


def final_changes(space: Workspace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decisions before and at every final split, with their states; the latter with ``previous_as_of, known_by``."""
    found = []
    for column in ("previous_as_of", "as_of"):
        sql = f"""
        SELECT found.*, split.previous_as_of, split.known_by FROM current AS split JOIN decisions AS found
            ON found.account_id = split.account_id AND found.as_of = split.{column}
        WHERE split.status = 'final' ORDER BY split.account_id, split.as_of"""
        found.append(unpacked(space.ledger.table(sql)))
    return found[0], found[1]


def prepare(workspace: Path, folder: Path, rows: int) -> None:
    """The data states of all rows, of one file each; the rows of the groups likewise, below ``groups``."""
    space, (old, new) = Workspace(workspace), sides(workspace)
    previous, changes = final_changes(space)
    tables = tables_at(change_moments(previous, changes), {side.model.features for side in (old, new)}, space)
    data = data_states(old, new, previous, changes, tables)
    late = [rows_differ(data[a, new.model.features.digest], data[b, new.model.features.digest]) for a, b in _NEAR]
    print(
        f"late: C0 differs from O0 in {late[0].mean():.1%} of the rows, C1 from O1 in {late[1].mean():.1%}", flush=True
    )
    states = state_before(previous), state_before(changes)
    split = attribution_entries(evaluate(old, new, data, *states), changes)
    frames = {f"{name} {digest}": frame for (name, digest), frame in data.items()}
    frames |= {"old state": states[0], "new state": states[1], "changes": changes[_CHANGE]}
    rng = np.random.default_rng(1)
    _draw(frames, rng.integers(0, len(changes), rows), folder / "all")
    moved = np.flatnonzero(split["phi_behaviour"] != 0)
    _draw(frames, rng.choice(moved, int(rows * CHANGED)), folder / "groups")


_NEAR = (("O0", "C0"), ("O1", "C1"))


def _draw(frames: dict[str, pd.DataFrame], take: np.ndarray, folder: Path) -> None:
    folder.mkdir()
    for name, frame in frames.items():
        source = to_arrow(frame)
        with parquet_stream(source.schema, folder / f"{name}.parquet") as write:
            for start in range(0, len(take), BATCH_ROWS):
                write(source.take(pa.array(take[start : start + BATCH_ROWS])))


def batches(folder: Path) -> Iterator[dict[str, pd.DataFrame]]:
    """The files of a folder, some rows at a time."""
    files = {path.stem: pq.ParquetFile(path) for path in folder.glob("*.parquet")}
    for group in zip(*(file.iter_batches(BATCH_ROWS) for file in files.values()), strict=True):
        yield {name: batch.to_pandas() for name, batch in zip(files, group, strict=True)}


def _parts(
    frames: dict[str, pd.DataFrame],
) -> tuple[dict[tuple[str, str], pd.DataFrame], tuple[pd.DataFrame, pd.DataFrame]]:
    data = {(name[:2], name[3:]): frame for name, frame in frames.items() if name[:2] in CHAIN}
    return data, (frames["old state"][list(STATE_COLUMNS)], frames["new state"][list(STATE_COLUMNS)])


def split_all(old: Iteration, new: Iteration, folder: Path) -> None:
    """Five players, as limitlens does it."""
    with parquet_stream(ATTRIBUTIONS, folder / "attributions.parquet") as write:
        for frames in batches(folder / "all"):
            data, states = _parts(frames)
            entries = attribution_entries(evaluate(old, new, data, *states), frames["changes"])
            write(to_arrow(entries, ATTRIBUTIONS))


def split_every_point(old: Iteration, new: Iteration, folder: Path) -> None:
    """Five players, every point of the lattice decided for every row."""
    digests = {side.model.features.digest for side in (old, new)}
    with parquet_stream(ATTRIBUTIONS, folder / "every.parquet") as write:
        for frames in batches(folder / "all"):
            data, states = _parts(frames)
            found = [in_contexts((old, new), {d: data[name, d] for d in digests}, states) for name in CHAIN]
            limit, action = (np.stack(arrays, axis=1) for arrays in zip(*found, strict=True))
            entries = attribution_entries(Lattice(limit, action), frames["changes"])
            write(to_arrow(entries, ATTRIBUTIONS))


def split_groups(old: Iteration, new: Iteration, folder: Path) -> None:
    """Groups inside behaviour, of the rows that changed."""
    for frames in batches(folder / "groups"):
        data, states = _parts(frames)
        pairs = {digest: (data["C0", digest], data["C1", digest]) for _, digest in data}
        split_behaviour(old, new, pairs, *states)


WAYS = {
    "five players": split_all,
    "five players, every point of every row": split_every_point,
    f"groups inside behaviour, of {CHANGED:.0%}": split_groups,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        loaded = sides(given.workspace)
        begun = time.perf_counter()
        WAYS[given.way](*loaded, given.folder)
        seconds = time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    if given.folder:
        prepare(given.workspace, given.folder, given.rows)
        return
    print(f"{given.rows:,} accounts", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # Whatever is started inherits the peak memory of who starts it, so this process stays small.
        again = [sys.executable, "-m", "benchmarks.attribution_speed", *sys.argv[1:], "--folder", folder]
        subprocess.run(again, check=True)
        print("\n| split | seconds | rows a second | peak MiB |\n|---|---|---|---|")
        for way in WAYS:
            done = subprocess.run([*again, "--way", way], check=True, stdout=subprocess.PIPE).stdout
            run, rows = json.loads(done), given.rows * (CHANGED if way.startswith("groups") else 1)
            print(f"| {way} | {run['seconds']:.1f} | {rows / run['seconds']:,.0f} | {run['peak']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
