"""Ticks taken in: what a watch decided within the day, recorded as runs like all other decisions."""

from datetime import datetime
from itertools import groupby

import pandas as pd
import pyarrow as pa

from limitlens.limits.ledger import Run
from limitlens.limits.state import unpacked
from limitlens.limits.tick import Tick
from limitlens.pipeline.deciding.attribute import attribution_table
from limitlens.pipeline.deciding.decision_table import decision_table
from limitlens.pipeline.deciding.replay import iterations, recorded_decisions
from limitlens.pipeline.deciding.run_ids import run_id_of_ticks
from limitlens.pipeline.deciding.split import split, stood_before, with_stood_before
from limitlens.pipeline.workspace import Workspace


def take_in_ticks(workspace: Workspace, before: datetime) -> None:
    """Record the ticks that no run has, those of one iteration together; the caller holds the workspace.

    Parameters
    ----------
    workspace : Workspace
        Its events have all that the ticks saw.
    before : datetime
        Later ticks wait.

    Raises
    ------
    IntegrityError
        What a tick decided cannot be reproduced; nothing of its run is recorded.
    """
    ticks = [tick for tick in workspace.ledger.pending_ticks() if tick.as_of < before]
    for decided_by, group in groupby(ticks, lambda tick: (tick.model_version, tick.model_digest, tick.policy_digest)):
        together = list(group)
        run = _run(workspace, together, *decided_by)
        decided = unpacked(pa.concat_tables(tick.decisions for tick in together))
        made_by = {"run_id": run.run_id, "model_version": run.model_version, "policy_digest": run.policy_digest}
        decided = decided.assign(**made_by)
        attributions = attribution_table(_split(workspace, run, decided))
        numbers = [tick.tick for tick in together]
        workspace.ledger.append(run, decision_table(decided), attributions, ticks=numbers)


def _split(workspace: Workspace, run: Run, decided: pd.DataFrame) -> pd.DataFrame:
    recorded = recorded_decisions(workspace, list(decided["account_id"].unique()))
    latest = recorded.drop_duplicates("account_id", keep="last").reset_index(drop=True)
    before = with_stood_before(latest, stood_before(workspace, latest))
    new = workspace.iteration(run.model_version, run.policy_digest)
    sides = iterations(workspace, set(before["run_id"])) | {run.run_id: new}
    return split(before, decided, sides, {}, workspace.relations)[1]


def _run(workspace: Workspace, ticks: list[Tick], version: str, model: str, policy: str) -> Run:
    """The run of some ticks, named by everything that goes into it."""
    last = ticks[-1].as_of
    stands_on = (workspace.events.digest(), workspace.ledger.inputs_head())
    name = run_id_of_ticks(last, (version, model, policy), stands_on)
    return Run(name, last, version, model, policy, backtest=False)
