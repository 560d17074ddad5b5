"""The id of a run: the sha256 of everything that goes into it, so that it can be computed again."""

import hashlib
import json
from datetime import datetime

from limitlens.data.erasures import erasures
from limitlens.data.errors import IntegrityError
from limitlens.limits.chain import next_head
from limitlens.limits.iteration import digest_of
from limitlens.pipeline.workspace import Workspace


def run_id(decided: tuple[datetime, str, str, bool], stands_on: tuple[str, str]) -> str:
    """Id of the run of a date of a plan.

    Parameters
    ----------
    decided : (datetime, str, str, bool)
        The date, digest and version of the iteration, whether it is a backtest.
    stands_on : (str, str)
        Digest of the events, and :meth:`limitlens.limits.ledger.Ledger.inputs_head` before it.
    """
    date, digest, version, backtest = decided
    return _sha256(date.isoformat(), digest, version, backtest, *stands_on)


def run_id_of_ticks(last: datetime, decided_by: tuple[str, str, str], stands_on: tuple[str, str]) -> str:
    """Id of the run that takes in ticks.

    Parameters
    ----------
    last : datetime
        Of the last tick.
    decided_by : (str, str, str)
        Version and digest of the model, digest of the policy.
    stands_on : (str, str)
        As for :func:`run_id`.
    """
    return _sha256("watch", last.isoformat(), *decided_by, *stands_on)


def expect_run_ids(workspace: Workspace) -> None:
    """Compute the id of every run again, from what was recorded before it.

    Which loads were there is not said by a run: its id has to fit to the first so many. Once something was erased, the
    ids of runs before that cannot be computed any more, and the chain alone holds them.

    Raises
    ------
    IntegrityError
        Names the first run whose id does not fit.
    """
    if erasures(workspace.root):
        return
    count = len(workspace.events.loads())
    events = [Workspace(workspace.root, first).events.digest() for first in range(count, -1, -1)]
    ticked, head = workspace.ledger.runs_of_ticks(), ""
    runs = {run.run_id: run for run in workspace.ledger.runs()}
    for content in workspace.ledger.inputs():
        if content[0] == "run":
            run = runs[str(content[1])]
            by = (run.model_version, run.model_digest, run.policy_digest)
            planned = (run.as_of, digest_of(run.model_digest, run.policy_digest), run.model_version, run.backtest)
            possible = (
                run_id_of_ticks(run.as_of, by, (loads, head))
                if run.run_id in ticked
                else run_id(planned, (loads, head))
                for loads in events
            )
            if run.run_id not in possible:
                raise IntegrityError(
                    f"run {run.run_id[:12]} of {run.as_of.isoformat()}: its id does not fit to the events, the "
                    "iteration and the chain before it; restore the workspace from a backup."
                )
        head = next_head(head, content)


def _sha256(*inputs: str | bool) -> str:
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
