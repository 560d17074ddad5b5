"""Replay: a recorded decision that the events do not lead to is refused, whatever differs, and named."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.kills import entry
from limitlens.data.errors import IntegrityError
from limitlens.pipeline.deciding.replay import check_replayed, iterations, recorded_decisions, replay
from limitlens.pipeline.workspace import Workspace

DECISIONS = pd.DataFrame(
    {
        "account_id": ["A1", "A2", "A3"],
        "as_of": pd.Timestamp("2026-07-01", tz="UTC"),
        "action": "keep",
        "limit_cents": 500_00,
        "can_draw": True,
        "pd": 0.03,
        "as_known_action": None,
        "as_known_limit_cents": None,
        "before_fault_action": None,
        "before_fault_limit_cents": None,
        "if_paid_action": None,
        "if_paid_limit_cents": None,
    }
)


@pytest.mark.parametrize(
    ("column", "forged"), [("action", "review"), ("limit_cents", 500_01), ("can_draw", False), ("pd", 0.03 + 1e-17),
                           ("as_known_action", "close"), ("as_known_limit_cents", 0), ("before_fault_action", "keep"),
                           ("before_fault_limit_cents", 1), ("if_paid_action", "keep"), ("if_paid_limit_cents", 1)]
)  # fmt: skip
def test_a_decision_that_replays_otherwise_is_refused_by_account_and_column(column: str, forged: object) -> None:
    check_replayed(DECISIONS, DECISIONS.copy())
    right = DECISIONS[column][0]
    other = DECISIONS.assign(**{column: pd.Series([right, forged, forged], dtype=object)})
    for recorded, replayed, cells in ((other, DECISIONS, (forged, right)), (DECISIONS, other, (right, forged))):
        told = "account A2 as of 2026-07-01 00:00:00+00:00: {} is recorded as {}, but replays as {}; 2 decisions differ"
        with pytest.raises(IntegrityError, match=re.escape(told.format(column, *cells))):
            check_replayed(recorded, replayed)


def test_replay_finds_a_decision_that_was_changed_in_its_file(small_workspace: Workspace, tmp_path: Path) -> None:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    path = sorted((tmp_path / "work" / "decisions").glob("*.parquet"))[-1]
    decisions = pq.read_table(path)
    account = decisions["account_id"][0].as_py()
    more = pc.add(decisions["limit_cents"], pa.scalar(1, pa.int64()))
    place = decisions.schema.get_field_index("limit_cents")
    pq.write_table(decisions.set_column(place, decisions.schema.field(place), more), path)
    with pytest.raises(IntegrityError, match=f"account {account} as of .*: limit_cents is recorded as"):
        replay(Workspace(tmp_path / "work"), lambda _: None, account)


def test_each_run_is_replayed_by_the_model_and_the_policy_it_names(small_workspace: Workspace, tmp_path: Path) -> None:
    """One more run is that of the first policy with the second model, as ``decide --policy`` makes it."""
    shutil.copytree(small_workspace.root, tmp_path / "work", ignore=shutil.ignore_patterns("events", "features"))
    workspace = Workspace(tmp_path / "work")
    first, last = workspace.ledger.runs()[0], workspace.ledger.runs()[-1]
    other, *tables = entry(1, 1)
    workspace.ledger.append(replace(last, run_id=other.run_id, policy_digest=first.policy_digest), *tables)
    runs = workspace.ledger.runs()
    found = iterations(workspace, {run.run_id for run in runs})
    named = [(found[run.run_id].model_version, found[run.run_id].policy.digest) for run in runs]
    assert named == [(run.model_version, run.policy_digest) for run in runs]
    assert len(set(named)) == 3


def test_a_name_is_a_name_also_with_a_quote_in_it(small_workspace: Workspace) -> None:
    assert recorded_decisions(small_workspace, ["O'Brien"]).empty
    assert small_workspace.ledger.current("O'Brien").empty
