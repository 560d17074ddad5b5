"""A customer who did less, in a table that could be; nothing moves that is not the customer's to move."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import FeatureSet
from limitlens.features.line import line_columns
from limitlens.features.reasons import REASONS
from limitlens.features.table import build_table
from limitlens.limits.customer_actions import CUSTOMER_ACTIONS, REACH_DAYS, take_actions
from limitlens.limits.recourse import SHOWN
from limitlens.pipeline.deciding.replay import recorded_decisions
from limitlens.pipeline.workspace import Workspace
from tests.feature_events import spine
from tests.oracle import visible
from tests.strategies import AS_OF, Events, Row, event_tables, to_arrow

#: How far each action is taken, for every line six times, each time by itself.
SEED = st.integers(0, 2**32 - 1)
TIMES = 6

#: Sets of rows in which other accounts, or devices and places, take part.
NOT_THEIRS = {"shared_payee", "shared_device", "device", "step", "device_used", "city_used", "new_device", "new_city"}


#: Draws alone, for tables built from drawn events.
DRAWS = CATALOGUE.only([n for a in CATALOGUE.aggregates if a.kinds == ("draw",) for n in a.column_names()])


@pytest.fixture(scope="module")
def lines(small_workspace: Workspace) -> pd.DataFrame:
    """Feature rows of the last decision of every account."""
    last = recorded_decisions(small_workspace).groupby("account_id").tail(1)
    moments = last[["account_id", "as_of"]].assign(known_by=last["as_of"])
    return build_table(CATALOGUE, moments, small_workspace.relations(CATALOGUE)).reset_index(drop=True)


def drawn(lines: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Each line several times, and how far each action is taken for each."""
    many, rng = pd.concat([lines] * TIMES, ignore_index=True), np.random.default_rng(seed)
    return many, {code: rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], len(many)) for code in CUSTOMER_ACTIONS}


def taken(
    table: pd.DataFrame, fractions: Mapping[str, float | np.ndarray], features: FeatureSet = CATALOGUE
) -> pd.DataFrame:
    return take_actions(features, table, {code: np.full(len(table), far) for code, far in fractions.items()})


@pytest.mark.slow
@settings(max_examples=12)
@given(event_tables())
def test_no_draws_at_all_equals_the_table_rebuilt_without_them(events: Events) -> None:
    def built(rows: list[Row]) -> pd.DataFrame:
        return build_table(DRAWS, spine((AS_OF, AS_OF)), to_arrow(events | {"consumption": rows}))

    rows, since = events["consumption"], AS_OF - timedelta(days=REACH_DAYS)
    gone = {r["event_id"] for r in visible(rows, AS_OF) if r["kind"] == "draw" and since <= r["event_time"] < AS_OF}
    rebuilt = built([row for row in rows if row["event_id"] not in gone])
    moved = taken(built(rows), {"frequent_draws": 1.0}, DRAWS)
    for declared in DRAWS.aggregates:
        for window in declared.windows:
            counted = declared.how in {"count", "sum"} and not declared.per
            left_out = declared.how in {"max", "min", "mean", "std"} and 0 < window <= REACH_DAYS
            if counted or left_out:
                name = declared.column_name(window)
                pd.testing.assert_series_equal(moved[name], rebuilt[name], check_dtype=False)


@settings(max_examples=17)
@given(SEED)
def test_a_longer_window_never_holds_less_than_a_shorter_one(lines: pd.DataFrame, seed: int) -> None:
    many, fractions = drawn(lines, seed)
    after = taken(many, fractions)
    for declared in CATALOGUE.aggregates:
        if declared.how in {"count", "distinct"} or (declared.how == "sum" and declared.rows != "flow"):
            names = [declared.column_name(w) for w in sorted(declared.windows, key=lambda w: w or np.inf)]
            values = after[names].to_numpy(np.float64)
            assert (values >= 0).all(), declared.name
            assert (values == np.round(values)).all(), declared.name
            assert all((a <= b).all() for a, b in pairwise(values.T)), declared.name


@settings(max_examples=17)
@given(SEED)
def test_nothing_moves_that_is_not_the_customers_own(lines: pd.DataFrame, seed: int) -> None:
    many, fractions = drawn(lines, seed)
    after = taken(many, fractions)
    held = [a for a in CATALOGUE.aggregates if a.rows in NOT_THEIRS or a.kinds == ("transfer_in",)]
    names = [name for a in held for name in a.column_names()] + ["account_id", "segment"]
    pd.testing.assert_frame_equal(many[names], after[names])
    assert list(after.columns) == list(many.columns)


@settings(max_examples=17)
@given(SEED)
def test_ratios_means_and_maxima_agree_with_what_they_are_of(lines: pd.DataFrame, seed: int) -> None:
    many, fractions = drawn(lines, seed)
    after = taken(many, fractions)
    for ratio in CATALOGUE.ratios:
        divisor = after[ratio.denominator].astype(np.float64)
        expected = after[ratio.numerator].astype(np.float64) / divisor.where(divisor != 0)
        pd.testing.assert_series_equal(after[ratio.name], expected, check_names=False)
    for window in (30, 90):
        assert not (after[f"draw_mean_{window}d"] > after[f"draw_max_{window}d"] + 1).any()
        assert not (after[f"draw_max_{window}d"] > after[f"draw_sum_{window}d"]).any()
        assert not (after[f"draw_channel_distinct_{window}d"] > after[f"draw_count_{window}d"]).any()
    assert ((after["dpd_days"] > 0) == (after["past_due_cents"] > 0)).all()


@settings(max_examples=17)
@given(SEED)
def test_an_action_only_lowers_what_shows_it(lines: pd.DataFrame, seed: int) -> None:
    many, fractions = drawn(lines, seed)
    after = taken(many, fractions)
    told = [name for names in SHOWN.values() for name in names if name in lines]
    assert not (after[told] > many[told]).any(axis=None)


def test_an_action_that_is_not_taken_moves_nothing(lines: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(taken(lines, dict.fromkeys(CUSTOMER_ACTIONS, 0.0)), lines)


def test_every_action_answers_a_reason_and_can_be_shown() -> None:
    assert set(CUSTOMER_ACTIONS) == set(SHOWN) <= set(REASONS)
    assert {name for names in SHOWN.values() for name in names} <= set(CATALOGUE.declaration_of)


def test_by_hand() -> None:
    """Eight draws in thirty days, six of them in two, half of them left out."""
    table = pd.DataFrame({name: [0.0] for name in CATALOGUE.columns}).assign(
        draw_count_2d=6.0, draw_count_7d=6.0, draw_count_30d=8.0, draw_count_90d=20.0, draw_count_ever=20.0,
        draw_sum_2d=600_00.0, draw_sum_7d=600_00.0, draw_sum_30d=800_00.0, draw_sum_90d=2_000_00.0,
        draw_mean_30d=100_00.0,
        draw_max_30d=500_00.0, balance_cents=1_000_00.0, balance_change_30d=700_00.0, transfer_out_sum_2d=300_00.0,
    )  # fmt: skip
    after = taken(table, {"frequent_draws": 0.5}).iloc[0]
    assert after[["draw_count_2d", "draw_count_30d", "draw_count_90d", "draw_count_ever"]].tolist() == [3, 4, 16, 16]
    assert after[["draw_sum_2d", "draw_sum_30d", "draw_sum_90d"]].tolist() == [300_00, 400_00, 1_600_00]
    assert after[["draw_mean_30d", "draw_max_30d"]].tolist() == [100_00, 400_00]
    assert after[["balance_cents", "balance_change_30d"]].tolist() == [600_00, 300_00]
    assert after["transfer_out_of_draw_2d"] == 1.0
    line = line_columns(CATALOGUE, after.to_frame().T, np.array([2_000_00]), np.array([9]))
    assert line[["utilisation", "draw_share_2d"]].to_numpy().tolist() == [[0.3, 0.15]]


@pytest.mark.parametrize("fraction", [0.25, 1.0])
def test_paying_what_is_overdue_ends_the_delay_and_lowers_the_debt(fraction: float) -> None:
    table = pd.DataFrame({name: [0.0] for name in CATALOGUE.columns}).assign(
        dpd_days=44.0, past_due_cents=300_00.0, balance_cents=900_00.0, missed_count_90d=2.0, late_count_90d=1.0,
        met_count_90d=3.0, days_late_max_90d=44.0,
    )  # fmt: skip
    after = taken(table, {"late_payments": fraction}).iloc[0]
    debt = ["dpd_days", "past_due_cents", "balance_cents", "repayment_sum_30d", "missed_count_90d"]
    assert after[debt].tolist() == [0, 0, 600_00, 300_00, 0]
    assert after[["late_count_90d", "met_count_90d", "days_late_max_90d"]].tolist() == [1, 3, 44]
    assert taken(table, {"high_utilisation": 1.0}).iloc[0]["balance_cents"] == 900_00
