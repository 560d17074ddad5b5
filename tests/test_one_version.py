"""One version of a model, one policy: nothing of ours moves a limit, whatever the calendar."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.check import check_events
from limitlens.data.world import simulate
from limitlens.features.spine import lines_at
from limitlens.limits.state import first_state
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.point_in_time import rows_at, tables_at
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.release.compare import compare
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS

pytestmark = pytest.mark.slow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANYWAY = Override("head of credit risk", "a small book")
SMALL = replace(
    default_settings(),
    columns=FEW_COLUMNS,
    n_estimators=20,
    folds=2,
    rounds=1,
    carried_rounds=0,
    min_data_in_leaf=10,
)


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A young book and a version that learned from all of it: most dates lie before the end of its labels."""
    folder = tmp_path_factory.mktemp("young")
    simulate(folder / "events", accounts=250, months=10, seed=5, futures=0, progress=quiet)
    space = Workspace(folder / "work")
    check_events(folder / "events", space.events, progress=quiet)
    train(space, SMALL, default_policy(), developer="developer", progress=quiet)
    promote(space, None, NOW, override=ANYWAY, progress=quiet)
    return space


def test_its_shares_of_model_and_policy_are_nothing_before_and_after_the_end_of_its_labels(trained: Workspace) -> None:
    end = datetime.fromisoformat(trained.iteration("1").model.labels_end)
    for until in (end - timedelta(days=40), end - timedelta(days=1), end):
        decide(trained, until=until, progress=quiet)
    split = trained.ledger.query("SELECT * FROM current WHERE phi_model IS NOT NULL")
    assert set(trained.ledger.query("SELECT DISTINCT backtest FROM runs")["backtest"]) == {True, False}
    assert (split["phi_behaviour"] != 0).any()
    assert not split[["phi_model", "phi_policy"]].to_numpy().any()
    assert not split[["necessary_model", "sufficient_model", "necessary_policy"]].to_numpy().any()
    assert replay(trained, quiet) == len(trained.ledger.query("SELECT * FROM decisions"))
    assert not compare(trained, "1", "1", progress=quiet).comparison.segments.loc["all", "moved"]


#: Lines by number, each with the days between the first of July and its date: one query for a whole example.
CHOSEN = st.lists(
    st.tuples(st.integers(0, 249), st.sampled_from([0, 17, 61, 120])), min_size=8, max_size=24, unique=True
)


@given(CHOSEN)
@settings(max_examples=2)
def test_a_score_depends_on_the_line_alone(trained: Workspace, chosen: list[tuple[int, int]]) -> None:
    """Alone or in company, at any date: the same features and state have the same score."""
    iteration = trained.iteration("1")
    relations = trained.relations(iteration.model.features)
    accounts, days = zip(*chosen, strict=True)
    as_of = pd.Series(pd.Timestamp("2025-07-01", tz="UTC") + pd.to_timedelta(days, unit="D")).dt.as_unit("us")
    points = pd.DataFrame({"account_id": [f"A{k + 1:06d}" for k in accounts], "as_of": as_of})
    points = lines_at(points.assign(known_by=points["as_of"]), relations)
    assert len(set(points["as_of"])) > 1
    moments = points[["account_id", "as_of", "known_by"]]
    table = tables_at(moments, {iteration.model.features}, trained)[iteration.model.features.digest]
    rows = rows_at(table, moments["account_id"], moments["as_of"], moments["known_by"])
    state = first_state(points, np.zeros(len(points), bool))
    whole = iteration.score(rows, state)
    later = rows.assign(as_of=rows["as_of"] + pd.Timedelta(days=500))
    assert iteration.score(later, state).tolist() == whole.tolist()
    assert [iteration.score(rows.iloc[[i]], state.iloc[[i]])[0] for i in range(len(rows))] == whole.tolist()
