"""Final splits: what became known within 30 days of a decision is data, and the ledger only grows."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.kills import unfinished
from limitlens.data.arrivals import count_arrivals
from limitlens.data.contracts import EVENT_SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError
from limitlens.features.table import build_table
from limitlens.limits.attribution import PLAYERS
from limitlens.limits.iteration import Iteration
from limitlens.limits.lattice import CHAIN, Lattice, evaluate
from limitlens.limits.policy import ACTIONS, shifted
from limitlens.limits.state import state_before, unpacked
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.deciding.attribute import data_states
from limitlens.pipeline.deciding.point_in_time import change_moments, tables_at
from limitlens.pipeline.deciding.reconcile import RECONCILED_AFTER, reconcile
from limitlens.pipeline.deciding.replay import iterations
from limitlens.pipeline.deciding.verify import verify
from limitlens.pipeline.workspace import Workspace
from tests.ledgers import records_of

SHARES = [f"share_cents_{player}" for player in PLAYERS]


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture
def open_again(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished demo in which nothing was reconciled yet."""
    until = small_workspace.ledger.runs()[-1].as_of + timedelta(days=1)
    unfinished(small_workspace.root, tmp_path / "open", until)
    return Workspace(tmp_path / "open")


@pytest.fixture(scope="module")
def finals(small_workspace: Workspace) -> pd.DataFrame:
    """Every final split with its decision."""
    return small_workspace.ledger.query("SELECT * FROM current WHERE status = 'final' ORDER BY account_id, as_of")


@pytest.fixture(scope="module")
def late(small_workspace: Workspace, finals: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decisions before and at the final splits of accounts of which a record came late, with their states."""
    points = finals[["account_id", "as_of", "known_by"]]
    arrived = count_arrivals(points, small_workspace.events.relations())
    chosen = finals[arrived["late_rows"] > 0]
    decisions = unpacked(small_workspace.ledger.table("SELECT * FROM decisions")).set_index(["account_id", "as_of"])
    found = []
    for time in ("previous_as_of", "as_of"):
        keys = pd.MultiIndex.from_frame(chosen[["account_id", time]], names=["account_id", "as_of"])
        found.append(decisions.loc[keys].reset_index())
    return found[0], found[1].assign(known_by=chosen["known_by"].to_numpy())


def test_the_late_ones_are_enough_to_prove_something(late: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    assert len(late[0]) == len(late[1]) > 20


def test_the_final_window_is_that_of_a_world_in_which_nothing_came_late(
    small_workspace: Workspace, late: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """C1 equals the table at the decision itself, had all that came before k* come two months sooner."""
    _, changes = late
    features = small_workspace.iteration("1").model.features
    known_by = changes["known_by"].iloc[-1]
    chosen = changes[changes["known_by"] == known_by]
    spine = chosen[["account_id", "as_of"]].assign(known_by=known_by).reset_index(drop=True)
    relations = small_workspace.relations(features)
    sooner = {
        source: f"SELECT * REPLACE (known_time - INTERVAL 60 DAYS AS known_time) FROM ({sql}) "
        f"WHERE known_time < '{known_by.isoformat()}'::TIMESTAMPTZ"
        for source, sql in relations.items()
    }
    final = build_table(features, spine, relations)
    in_time = build_table(features, spine.assign(known_by=spine["as_of"]), sooner)
    as_decided = build_table(features, spine.assign(known_by=spine["as_of"]), relations)
    columns = list(features.columns)
    pd.testing.assert_frame_equal(final[columns], in_time[columns])
    assert not final[columns].equals(as_decided[columns])


@pytest.mark.parametrize("other", ["model", "policy", "features"])
def test_each_point_of_the_lattice_is_decided_with_its_own_data_model_policy_and_state(
    other: str, small_workspace: Workspace, late: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    """All 32 points one by one, where the lattice leaves out what cannot differ."""
    previous, changes = late
    made_by = iterations(small_workspace, {*previous["run_id"], *changes["run_id"]})
    old, second = (small_workspace.iteration(version) for version in ("1", "2"))
    stricter = shifted(old.policy, -0.5)
    elsewhere = replace(second.model, features=replace(second.model.features, timezone="Asia/Shanghai"))
    new = {
        "model": second,
        "policy": replace(old, policy=stricter),
        "features": replace(old, model=elsewhere),
    }[other]
    sets = {iteration.model.features for iteration in (old, new, *made_by.values())}
    tables = tables_at(change_moments(previous, changes), sets, small_workspace)
    states = state_before(previous), state_before(changes)
    whole, sides = data_states(old, new, previous, changes, tables), (old, new)
    found = evaluate(old, new, whole, *states)
    assert_each_point_is_decided(found, whole, sides, states)
    assert (found.outcome[:, 2] != found.outcome[:, 3]).any()
    digests = {side.model.features.digest for side in sides}
    for digest in digests if len(digests) > 1 else ():  # one set of features sees all in time, and long arrears
        doctored = {(name, digest): whole[name, digest].assign(dpd_days=40) for name in CHAIN}
        doctored |= {("C0", digest): doctored["O0", digest], ("C1", digest): doctored["O1", digest]}
        data = {**whole, **doctored}
        assert_each_point_is_decided(evaluate(old, new, data, *states), data, sides, states)


def assert_each_point_is_decided(
    found: Lattice,
    data: Mapping[tuple[str, str], pd.DataFrame],
    sides: tuple[Iteration, Iteration],
    states: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    for d, m, p, s in product(range(4), (0, 1), (0, 1), (0, 1)):
        read = [data[CHAIN[d], side.model.features.digest] for side in sides]
        decided = sides[p].rules(read[p], sides[m].score(read[m], states[s]), states[s])
        assert (found.limit_cents[:, d, m, p, s] == decided["limit_cents"]).all()
        assert [ACTIONS[code] for code in found.action[:, d, m, p, s]] == decided["action"].tolist()


def test_final_shares_sum_to_the_change_to_the_cent(finals: pd.DataFrame) -> None:
    assert len(finals) > 1_000
    assert (finals[SHARES].sum(axis=1) == finals["limit_cents"] - finals["limit_before_cents"]).all()
    phi = finals[[f"phi_{player}" for player in PLAYERS]].astype(np.int64).sum(axis=1)
    assert (phi == 120 * (finals["limit_cents"] - finals["limit_before_cents"])).all()


def test_a_split_of_which_nothing_came_late_is_final_as_it_was(
    small_workspace: Workspace, finals: pd.DataFrame
) -> None:
    now = count_arrivals(finals[["account_id", "as_of", "known_by"]], small_workspace.events.relations())
    before = finals[["account_id", "known_by"]].assign(as_of=finals["previous_as_of"])
    then = count_arrivals(before, small_workspace.events.relations())
    calm = finals[(now["late_rows"] + then["late_rows"]) == 0]
    first = small_workspace.ledger.query("SELECT * FROM attributions WHERE revision = 0")
    both = calm.merge(first, on=["account_id", "as_of"], suffixes=("", "_first"))
    assert len(both) == len(calm) > 1_000
    for name in (*SHARES, *(f"severity_phi_{player}" for player in PLAYERS), "order_matters"):
        assert (both[name].astype(int) == both[f"{name}_first"].astype(int)).all(), name


def test_arrivals_equal_a_count_by_hand(small_workspace: Workspace, finals: pd.DataFrame) -> None:
    points = finals[["account_id", "as_of", "known_by"]].iloc[::97]
    relations = small_workspace.events.relations()
    found = count_arrivals(points, relations)
    events = pd.concat(
        [run_sql(f"SELECT account_id, event_time, known_time FROM ({relations[s]})").to_pandas() for s in EVENT_SOURCES]
    )
    for at, point in points.iterrows():
        own = events[(events["account_id"] == point["account_id"]) & (events["event_time"] < point["as_of"])]
        late = (own["known_time"] >= point["as_of"]) & (own["known_time"] < point["known_by"])
        assert found.loc[at].tolist() == [(own["known_time"] < point["as_of"]).sum(), late.sum()]


def test_only_splits_older_than_30_days_at_the_latest_decision_are_final(small_workspace: Workspace) -> None:
    until = small_workspace.ledger.decided_until()
    splits = small_workspace.ledger.query("SELECT as_of, status FROM current WHERE status IS NOT NULL")
    assert until is not None
    assert ((splits["as_of"] + RECONCILED_AFTER <= until) == (splits["status"] == "final")).all()
    assert set(splits["status"]) == {"final", "provisional"}


def test_reconciling_again_changes_nothing_and_the_chain_holds(open_again: Workspace) -> None:
    first = reconcile(open_again, quiet)
    head = open_again.ledger.head()
    again = reconcile(open_again, quiet)
    assert first.attributions > 1_000
    assert (again.dates, again.attributions, again.provisional) == ((), 0, first.provisional)
    assert open_again.ledger.head() == head
    assert verify(open_again)[0] == len(open_again.ledger.runs()) + records_of(open_again) + len(first.dates)


def test_an_edited_or_missing_revision_is_found(open_again: Workspace) -> None:
    reconcile(open_again, quiet)
    database = open_again.root / "ledger.sqlite"
    for change, broken in (
        ("UPDATE revisions SET late_rows = late_rows + 1 WHERE rowid = 2", "revision of run .* first broken link"),
        ("DELETE FROM revisions WHERE rowid = (SELECT MAX(rowid) FROM revisions)", "no run has recorded this file"),
    ):
        kept = database.read_bytes()
        with sqlite3.connect(database) as connection:
            connection.execute(change)
        connection.close()
        with pytest.raises(IntegrityError, match=broken):
            verify(open_again)
        database.write_bytes(kept)
    path = next((open_again.root / "attributions").glob("*-final.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"final\.parquet: the first broken link"):
        verify(open_again)


def test_shares_since_the_opening_sum_to_the_limit(small_workspace: Workspace) -> None:
    since = small_workspace.ledger.query("SELECT * FROM since_opening")
    parts = [name for name in since if name == "opening_limit_cents" or name.startswith("since_cents_")]
    assert len(parts) == 3 + len(PLAYERS)
    assert (since[parts].sum(axis=1) == since["limit_cents"]).all()


def test_why_says_what_came_late_and_what_would_have_been_decided_with_it(
    demo_workspace: Workspace,
) -> None:
    """The demo sends a line to review for a repayment that was made in time and delivered late."""
    finals = demo_workspace.ledger.query("SELECT * FROM current WHERE status = 'final' ORDER BY account_id, as_of")
    only_data = finals["necessary_data"].astype(bool) & ~finals["necessary_behaviour"].astype(bool)
    blamed = finals[only_data & (finals["action"] == "review")].iloc[0]
    told = render(why(demo_workspace, blamed["account_id"], blamed["as_of"].to_pydatetime()))
    assert f"Final, with what was known by {blamed['known_by']:%Y-%m-%d}" in told
    assert "But for the data: kept" in told
    assert "No limit moved; on the scale of actions: data +" in told
    assert "Since the opening" in told
