"""Ticks taken in: what a watch decided within the day, recorded as runs like all other decisions."""

import hashlib
import json
from datetime import datetime
from itertools import groupby

import pyarrow as pa

from limitlens.limits.ledger import Run
from limitlens.limits.ledger_tables import ATTRIBUTIONS, DECISIONS
from limitlens.limits.tick import Tick
from limitlens.pipeline.workspace import Workspace


def take_in_ticks(workspace: Workspace, before: datetime) -> None:
    """Record the ticks that no run has, those of one iteration together; the caller holds the workspace.

    Their decisions stand as they were made, and no limit moves with them: there is nothing to split.

    Parameters
    ----------
    workspace : Workspace
    before : datetime
        Later ticks wait.
    """
    ticks = [tick for tick in workspace.ledger.pending_ticks() if tick.as_of < before]
    for decided_by, group in groupby(ticks, lambda tick: (tick.model_version, tick.model_digest, tick.policy_digest)):
        together = list(group)
        run = _run(workspace, together, *decided_by)
        made_by = {"run_id": run.run_id, "model_version": run.model_version, "policy_digest": run.policy_digest}
        decisions = pa.concat_tables(tick.decisions for tick in together)
        for name, value in made_by.items():
            place = DECISIONS.get_field_index(name)
            decisions = decisions.set_column(place, DECISIONS.field(place), pa.array([value] * len(decisions)))
        ordered = decisions.sort_by([("account_id", "ascending"), ("as_of", "ascending")])
        workspace.ledger.append(run, ordered, ATTRIBUTIONS.empty_table(), ticks=[tick.tick for tick in together])


def _run(workspace: Workspace, ticks: list[Tick], version: str, model: str, policy: str) -> Run:
    """The run of some ticks, named by everything that goes into it."""
    last = ticks[-1].as_of
    inputs = ("watch", last.isoformat(), version, model, policy, workspace.events.digest(), workspace.ledger.head())
    return Run(hashlib.sha256(json.dumps(inputs).encode()).hexdigest(), last, version, model, policy, backtest=False)
