"""The split beside DoWhy's `gcm.unit_change`: `python -m benchmarks.beside_dowhy WORKSPACE [--accounts 300]`.

Needs an environment with both, such as `python -m venv peer && peer/bin/pip install dowhy -e .`, and a reconciled
workspace with two model versions (`limitlens demo` leaves one). The same accounts, of which the first version and
policy give another limit at the first decision than the last version and policy at the second, without late records.
For DoWhy behaviour, policy and state are inputs of a deterministic mechanism, and the model is the mechanism; it knows
no order among players. Where the window of events stays the same no order is asked for either, and both answer the same
question; where it moves, behaviour stands between the two legs of data and counts a little otherwise. Both score and
decide with the same functions. Printed are the seconds, a median of five, and the largest differences.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.attribution_speed import final_changes, sides
from limitlens.data.arrays import FloatArray, IntArray
from limitlens.limits.attribution import ORDERS, PLAYERS, attribute
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import evaluate
from limitlens.limits.state import state_before
from limitlens.pipeline.deciding.attribute import data_states
from limitlens.pipeline.deciding.point_in_time import change_moments, tables_at
from limitlens.pipeline.workspace import Workspace

#: What DoWhy calls inputs; the model is the mechanism, ``f``.
INPUTS = ["behaviour", "policy", "state"]
RUNS = 5

Tables = dict[tuple[str, str], pd.DataFrame]
States = tuple[pd.DataFrame, pd.DataFrame]


class Mechanism:
    """One model as DoWhy sees it: inputs in, limits out. An input is twice the row, and one more if it moved."""

    def __init__(self, model: Iteration, both: tuple[Iteration, Iteration], tables: Tables, states: States) -> None:
        self.model, self.both, self.tables, self.states = model, both, tables, states

    def predict(self, inputs: IntArray) -> FloatArray:
        """Limits in cents."""
        behaviour, policy, state = inputs[0] % 2
        rows, data, ruling = inputs[:, 0] // 2, ("O0", "O1")[behaviour], self.both[policy]
        read = self.tables[data, self.model.model.features.digest].iloc[rows]
        ruled = self.tables[data, ruling.model.features.digest].iloc[rows]
        line = self.states[state].iloc[rows]
        decided = ruling.rules(ruled, self.model.score(read, line), line)
        limits: FloatArray = decided["limit_cents"].to_numpy(np.float64)
        return limits


def ours(both: tuple[Iteration, Iteration], tables: Tables, states: States) -> IntArray:
    """Shares in 120ths of a cent."""
    return attribute(evaluate(*both, tables, *states).limit_cents)


def dowhys(both: tuple[Iteration, Iteration], tables: Tables, states: States) -> pd.DataFrame:
    """Shares in cents; the mechanism is called ``f``."""
    from dowhy.gcm.unit_change import unit_change  # noqa: PLC0415 (only the environment of this benchmark has it)

    rows = 2 * np.arange(len(states[0]))
    background, foreground = (pd.DataFrame(dict.fromkeys(INPUTS, rows + moved)) for moved in (0, 1))
    old, new = (Mechanism(side, both, tables, states) for side in both)
    found: pd.DataFrame = unit_change(background, foreground, INPUTS, old, new)
    return found


def prepared(workspace: Path, accounts: int) -> tuple[tuple[Iteration, Iteration], Tables, States]:
    """Data and states of accounts whose limit is another at the second decision, without late records."""
    space, (old, new) = Workspace(workspace), sides(workspace)
    previous, changes = final_changes(space)
    changes = changes.assign(known_by=changes["as_of"])
    tables = tables_at(change_moments(previous, changes), {side.model.features for side in (old, new)}, space)
    data = dict(data_states(old, new, previous, changes, tables))
    for near, whole in (("C0", "O0"), ("C1", "O1")):
        data |= {(near, digest): data[whole, digest] for _, digest in data}
    states = state_before(previous), state_before(changes)
    limit = evaluate(old, new, data, *states).limit_cents
    rows = np.flatnonzero(limit[:, 0, 0, 0, 0] != limit[:, 3, 1, 1, 1])[:accounts]
    return (
        (old, new),
        {key: table.iloc[rows] for key, table in data.items()},
        (states[0].iloc[rows], states[1].iloc[rows]),
    )


def apart(phi: IntArray, theirs: pd.DataFrame) -> float:
    """Largest difference between two splits, as a share of the largest share."""
    shares = pd.DataFrame(phi / ORDERS, columns=list(PLAYERS))
    named = theirs.rename(columns={"f": "model"})
    largest = float(shares.abs().max(axis=None))
    return max(float((shares[player] - named[player]).abs().max()) for player in named) / largest


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the median of the seconds."""
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begun)
    return result, statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--accounts", type=int, default=300)
    given = parser.parse_args()
    import dowhy  # noqa: PLC0415
    import dowhy.gcm.config  # noqa: PLC0415

    logging.disable(logging.WARNING)
    dowhy.gcm.config.disable_progress_bars()
    both, tables, states = prepared(given.workspace, given.accounts)
    phi, own = timed(lambda: ours(both, tables, states))
    theirs, peer = timed(lambda: dowhys(both, tables, states))
    still = {(name, digest): tables["O1", digest] for name, digest in tables}
    same = apart(ours(both, still, states), dowhys(both, still, states))
    print(f"{len(phi):,} accounts whose limit is another, DoWhy {dowhy.__version__}, median of {RUNS} runs\n")
    print("| split | seconds | ratio | scorings of a row | shares |\n|---|---|---|---|---|")
    print(f"| limitlens, five players | {own:.2f} | 1.00 | 8 | integers, 120ths of a cent |")
    print(f"| DoWhy unit_change, four | {peer:.2f} | {peer / own:.2f} | 16 | floats |")
    print("\nlargest difference, as a share of the largest share:")
    print(f"  the same window of events (model, policy, state): {same:.1e}")
    print(f"  behaviour too, between the legs of data here, in any place there: {apart(phi, theirs):.1e}")


if __name__ == "__main__":
    main()
