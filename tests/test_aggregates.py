"""Counts, sums, spreads, periods, ratios and balances, right by hand."""

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import Aggregate, FeatureSet, Ratio
from tests.feature_events import (
    DAY,
    DRAWN,
    DRAWS,
    MICROSECOND,
    buy,
    draw,
    due,
    event,
    login,
    repay,
    send,
    value,
    values,
)
from tests.strategies import Row

pytestmark = pytest.mark.slow


# By hand: one test for each aggregation


@pytest.mark.parametrize(("how", "expected"), [("count", 3), ("sum", 900), ("mean", 300), ("max", 600), ("min", 100)])
def test_simple_aggregates_count_the_rows_of_the_window(how: Any, expected: float) -> None:
    declared = Aggregate("draw", "consumption", how, (7,), ("draw",), "amount_cents")
    assert value(declared, draw(1, 200), draw(2, 600), draw(7, 100), draw(8, 5_000), buy(1)) == expected


@pytest.mark.parametrize(
    ("cents", "expected"),
    [((2, 4, 4, 4, 5, 5, 7, 9), 2), ((7,), 0), ((), None), ((10**13, 10**13), 0), ((10**13, 10**13 - 3), 1.5)],
)
def test_std_is_that_of_the_population_and_exact_for_the_largest_amounts(
    cents: tuple[int, ...], expected: float | None
) -> None:
    declared = Aggregate("std", "consumption", "std", (90,), ("draw",), "amount_cents")
    assert value(declared, *(draw(k, amount) for k, amount in enumerate(cents, start=1))) == expected


def test_last_is_the_latest_value_that_is_not_null() -> None:
    declared = Aggregate("last", "payment", "last", (30,), ("status",), "dpd_days")
    rows = [event("payment", "status", age, dpd_days=days) for age, days in ((3, 30), (2, 60), (1, None))]
    assert value(declared, *rows) == 60
    assert value(declared, rows[2]) is None
    assert value(declared, event("payment", "status", 31, dpd_days=5)) is None


@pytest.mark.parametrize("cents", [(1, 2), (2, 1)])
def test_last_takes_what_was_accepted_last_within_one_microsecond(cents: tuple[int, int]) -> None:
    declared = Aggregate("last", "consumption", "last", (0,), ("draw",), "amount_cents")
    assert value(declared, draw(1, cents[0], event_id="z"), draw(1, cents[1], event_id="a")) == cents[1]


@pytest.mark.parametrize(("window", "expected"), [(7, [5.5, 0.25]), (0, [8, 0.25]), (30, [8, 0.25])])
def test_days_since_first_and_last_are_those_of_the_window(window: int, expected: list[float]) -> None:
    first = Aggregate("first", "consumption", "days_since_first", (window,), ("draw",))
    last = replace(first, name="last", how="days_since_last")
    assert values(FeatureSet((first, last)), draw(8), draw(5.5), draw(3), draw(0.25), buy(0.1)) == expected


def test_distinct_counts_values_and_not_nulls() -> None:
    declared = Aggregate("distinct", "consumption", "distinct", (30,), ("purchase",), "category")
    assert value(declared, buy(1, "food"), buy(2, "food"), buy(3, "fuel"), buy(4), buy(31, "rent")) == 2


@pytest.mark.parametrize(
    ("categories", "expected"),
    [("ab", 0.693147181), ("aaab", 0.562335145), ("aaaa", 0), ("abcd", 1.386294361), ("", None)],
)
def test_entropy_is_shannons_in_nats_to_nine_decimals(categories: str, expected: float | None) -> None:
    declared = Aggregate("entropy", "consumption", "entropy", (30,), ("purchase",), "category")
    rows = [buy(k, category) for k, category in enumerate(categories, start=1)]
    assert value(declared, *rows, buy(1), buy(31, "z")) == expected


@pytest.mark.parametrize(
    ("recent", "before", "expected"),
    [("ab", "ab", 0), ("a", "b", 0.292893219), ("a", "", 0), ("", "a", None), ("aa", "bbb", 0.445299804)],
)
def test_shift_is_one_less_the_cosine_to_180_days(recent: str, before: str, expected: float | None) -> None:
    declared = Aggregate("shift", "consumption", "shift", (30,), ("purchase",), "category")
    rows = [*(buy(1, category) for category in recent), *(buy(180, category) for category in before), buy(181, "z")]
    assert value(declared, *rows) == expected


@pytest.mark.parametrize(("per", "window"), [(1, 30), (7, 91), (30, 180)])
def test_periods_are_counted_back_from_the_as_of_time_to_the_microsecond(per: Any, window: int) -> None:
    count = Aggregate("count", "consumption", "count", (window,), ("draw",), per=per)
    declared = FeatureSet((count, replace(count, name="most", how="max", column="amount_cents")))
    end, oldest = timedelta(days=per), timedelta(days=window)
    assert values(declared, draw(MICROSECOND, 1), draw(end, 10)) == [1, 11]
    assert values(declared, draw(end, 1), draw(end + MICROSECOND, 10)) == [2, 10]
    assert values(declared, draw(oldest, 1), draw(oldest + MICROSECOND, 10)) == [1, 1]


def test_std_over_periods_counts_empty_ones_as_zeros() -> None:
    declared = Aggregate("std", "consumption", "std", (180,), ("draw",), "amount_cents", per=30)
    assert value(declared, draw(1, 200), draw(29, 400)) == pytest.approx(math.sqrt(50_000))
    assert value(declared, *(draw(30 * k, 500) for k in range(1, 7))) == 0
    assert value(declared, draw(181)) is None


def test_max_over_periods_counts_empty_ones_as_zeros() -> None:
    declared = Aggregate("max", "consumption", "max", (30,), (), "amount_cents", per=1)
    assert value(declared, event("consumption", "statement_balance", 1, amount_cents=-500)) == 0


def test_a_ratio_by_zero_or_by_nothing_is_null() -> None:
    mean = Aggregate("mean", "consumption", "mean", (30,), ("draw",), "amount_cents")
    ratios = [
        Ratio("share", "drawn_30d", "draws_30d", "consumption"),
        Ratio("of", "drawn_30d", "mean_30d", "consumption"),
    ]
    declared = FeatureSet((DRAWS, DRAWN, mean), tuple(ratios))
    assert values(declared)[-2:] == [None, None]
    assert values(declared, draw(1, 0))[-2:] == [0, None]
    assert values(declared, draw(1, 100), draw(2, 300))[-2:] == [200, 2]


POSITIONS = FeatureSet((), positions=CATALOGUE.positions)


def test_refunds_and_repayments_lower_the_balance_and_all_else_raises_it() -> None:
    spent = [draw(9, 1_000), buy(8, amount_cents=200), event("consumption", "fee", 8, amount_cents=30)]
    back = [event("consumption", "refund", 2, amount_cents=400), repay(1, 500, None), repay(0.5, 7, "x")]
    others = [event("payment", kind, 1) for kind in ("transfer_in", "transfer_out", "status")]
    change = Aggregate("change", "flow", "sum", (7, 30), (), "flow_cents")
    declared = replace(POSITIONS, aggregates=(change,))
    found = values(declared, *spent, *back, *others)
    assert (found[2], found[4:]) == (323, [-907, 323])


def test_a_delivered_balance_wins_and_what_flows_after_it_is_counted_on() -> None:
    stated = [event("consumption", "statement_balance", age, amount_cents=cents) for age, cents in ((6, 9), (5, -50))]
    rows = [draw(9, 1_000), draw(5, 700), *stated, draw(5 * DAY - MICROSECOND, 30), repay(1, 10, None)]
    assert values(POSITIONS, *rows)[2] == -30


@pytest.mark.parametrize("cents", [(9, -50), (-50, 9)])
def test_of_two_balances_of_one_microsecond_the_one_accepted_last_counts(cents: tuple[int, int]) -> None:
    rows = [event("consumption", "statement_balance", 5, amount_cents=one) for one in cents]
    assert values(POSITIONS, *rows)[2] == cents[1]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([draw(45, 2_160)], 1_080),
        ([draw(90, 2_160)], 2_160),
        ([draw(200, 2_160)], 2_160),
        ([draw(200, 2_160), repay(30, 2_160, None)], 1_440),
        ([draw(45, 2_160), event("consumption", "statement_balance", 10, amount_cents=1_000)], -80),
        ([draw(45, 2_160), event("consumption", "refund", 45, amount_cents=2_160)], 0),
        ([draw(timedelta(minutes=30), 2_160)], 1),
    ],
)
def test_the_mean_balance_weighs_a_flow_by_the_hours_since_begun_ones_too(rows: list[Row], expected: float) -> None:
    assert values(POSITIONS, *rows)[3] == expected


def test_a_column_asked_for_alone_is_the_column_of_the_catalogue() -> None:
    rows = [draw(9, 1_000), repay(5, 300, None), due(40), login(3, "phone"), login(1, "tablet"), send(8.5, "boss")]
    first = {a.rows: a.column_names()[0] for a in reversed(CATALOGUE.aggregates)}
    names = [*first.values(), *(position.name for position in CATALOGUE.positions)]
    together = dict(zip(CATALOGUE.columns, values(CATALOGUE, *rows), strict=True))
    alone = {name: values(CATALOGUE.only([name]), *rows)[0] for name in names}
    assert alone == {name: together[name] for name in names}
