"""Instalments met, late and missed, days past due and delivered statuses, right by hand."""

from typing import Any

import pytest

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.declarations import Aggregate, FeatureSet
from tests import oracle
from tests.feature_events import DAY, MICROSECOND, due, repay, status, value, values
from tests.strategies import AS_OF, Row

pytestmark = pytest.mark.slow


# By hand: payment


def instalments(how: Any, *kinds: str, column: str = "", **fields: Any) -> Aggregate:
    return Aggregate("_".join([how, *kinds, column]), "instalment", how, (0,), kinds, column, **fields)


OUTCOMES = FeatureSet(
    (
        *(instalments("count", kind) for kind in ("met", "late", "missed")),
        instalments("last", column="lateness_days"),
        instalments("max", column="days_late"),
    )
)
ARREARS = FeatureSet((), positions=CATALOGUE.positions[:2])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([due(10, 0), repay(8, 0)], ("late", 2)),
        ([due(10), repay(10)], ("met", 0)),
        ([due(10), repay(9 * DAY + MICROSECOND)], ("met", 0)),
        ([due(10), repay(9)], ("late", 1)),
        ([due(10), repay(12, 60_00), repay(7, 40_00)], ("late", 3)),
        ([due(10), repay(12, 60_00), repay(11, 40_00)], ("met", -1)),
        ([due(10), repay(10 * DAY + MICROSECOND)], ("met", -1)),
        ([due(-20), repay(3)], ("met", -23)),
        ([due(10)], ("missed", None)),
        ([due(10), repay(1, 98_99)], ("missed", None)),
        ([due(10), repay(1, 99_00), repay(1, 1_00, None)], ("met", None)),
        ([due(10), repay(1, 100_00, "unheard of")], ("met", None)),
        ([due(-20), repay(3, 99_00)], None),
        ([due(0)], None),
    ],
)
def test_an_instalment_is_met_within_a_day_late_or_missed(rows: list[Row], expected: tuple[str, float] | None) -> None:
    kind, lateness = expected or ("", None)
    counts = [int(kind == counted) for counted in ("met", "late", "missed")]
    assert values(OUTCOMES, *rows) == [*counts, lateness, 10 if kind == "missed" else lateness]


@pytest.mark.parametrize(
    ("rows", "expected"), [([due(5), repay(100)], [0, 1]), ([due(100), repay(5)], [0, 1]), ([due(100)], [0, 1])]
)
def test_an_instalment_paid_early_counts_from_its_payment_and_any_other_from_its_date(
    rows: list[Row], expected: list[int]
) -> None:
    assert values(FeatureSet((Aggregate("all", "instalment", "count", (90, 180)),)), *rows) == expected


def test_an_instalment_is_settled_when_its_amount_is_reached_whatever_is_paid_on_top() -> None:
    for on_top in (1_00, 0):
        assert values(OUTCOMES, due(50), repay(50, 100_00), repay(10, on_top)) == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("paid", "expected"),
    [((100_00,), 1), ((60_00, 40_00), 1), ((100_01,), 0), ((99_99,), 0), ((100_00, 1), 0), ((), 0)],
)
def test_exact_is_settled_and_not_a_cent_more(paid: tuple[int, ...], expected: int) -> None:
    assert value(instalments("count", only="exact"), due(10), *(repay(9, cents) for cents in paid)) == expected


@pytest.mark.parametrize(
    ("paid", "missed", "overdue"),
    [
        ([], [3, None, 40], [40, 300_00]),
        ([repay(5, 150_00, None)], [2, None, 30], [30, 150_00]),
        ([repay(5, 150_00, "middle")], [2, 25, 40], [40, 150_00]),
        ([repay(60, 300_00, None)], [0, None, None], [0, 0]),
        ([repay(5, 100_00, "young"), repay(4, 100_00, None)], [1, 15, 30], [30, 100_00]),
    ],
)
def test_money_without_a_link_goes_to_the_oldest_instalment_after_the_linked(
    paid: list[Row], missed: list[float | None], overdue: list[int]
) -> None:
    rows = [due(40, name="old"), due(30, name="middle"), due(20, name="young"), *paid]
    assert values(OUTCOMES, *rows)[2:] == missed
    assert values(ARREARS, *rows) == overdue


def test_a_due_that_names_no_instalment_is_one_of_its_own() -> None:
    rows = [due(40, name=None), due(30, name=None), repay(5, 100_00, None)]
    assert values(OUTCOMES, *rows)[:3] == [1, 0, 1]
    assert values(ARREARS, *rows) == [30, 100_00]


def test_a_retracted_due_frees_what_was_paid_for_it() -> None:
    rows = [due(40, name="old") | {"retracted": True}, repay(5, 100_00, "old"), due(30, name="young")]
    assert values(OUTCOMES, *rows)[:3] == [1, 0, 0]
    assert values(ARREARS, *rows) == [0, 0]


def test_days_past_due_are_whole_days_and_a_due_of_today_is_not_overdue() -> None:
    assert values(ARREARS, due(30 * DAY - MICROSECOND)) == [29, 100_00]
    assert values(ARREARS, due(30)) == [30, 100_00]
    assert values(ARREARS, due(0), due(-10, name="y"), later=DAY) == [0, 0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([status(9, 0)], [0, 0]),
        ([status(9, 7)], [16, 0]),
        ([status(9, 7), status(3, 2), status(2, None)], [5, 0]),
        ([status(9, 7), status(9, 2)], [11, 0]),
        ([status(9, 2), status(9, 7)], [16, 0]),
        ([status(9, 7), repay(4, 10_00, None)], [7, 0]),
        ([due(40), status(9, 0)], [0, 0]),
        ([due(40), status(9, 7)], [16, 0]),
        ([due(40), status(9, 31)], [40, 100_00]),
        ([due(40), status(9, 30)], [39, 0]),
        ([due(40), status(9, 31), repay(4)], [0, 0]),
        ([due(40), status(9, 31), repay(4, 50_00)], [40, 50_00]),
        ([due(40), due(5, name="y"), status(9, 0)], [5, 100_00]),
        ([due(40), due(5, name="y"), status(9, 0), repay(4, 100_00, None)], [0, 0]),
        ([due(40), due(5, name="y"), status(9, 0), repay(4, 100_00, "x")], [0, 0]),
        ([due(40), due(5, name="y"), repay(10, 30_00, None), status(9, 0)], [5, 100_00]),
        ([due(40), due(5, name="y"), repay(10, 130_00, None), status(9, 0)], [5, 70_00]),
        ([due(40), due(30, name="y"), status(35, 0)], [30, 100_00]),
        ([due(40), due(5, name="y"), repay(9, 100_00, None), status(9, 0)], [5, 100_00]),
        ([due(50), repay(45, 130_00), due(40, name="y"), status(9, 0)], [0, 0]),
        ([status(9, 7), repay(9, 10_00, None)], [16, 0]),
    ],
)
def test_a_status_is_true_at_its_time_and_ages_and_what_is_known_later_counts_on_from_it(
    rows: list[Row], expected: list[int]
) -> None:
    assert values(ARREARS, *rows) == expected
    numbered = [row | {"event_id": f"{k}"} for k, row in enumerate(rows)]
    assert oracle.arrears(numbered, "A1", AS_OF, AS_OF) == tuple(expected)


def test_what_is_repaid_at_the_as_of_time_or_after_it_is_not_yet_repaid() -> None:
    for paid in (repay(0), repay(-1), repay(0, name=None)):
        assert values(ARREARS, due(40), paid, later=2 * DAY) == [40, 100_00]
        assert values(ARREARS, status(9, 7), paid, later=2 * DAY) == [16, 0]


def test_a_year_without_a_status_is_not_a_year_without_arrears() -> None:
    """One instalment of twelve is paid, and the only status says that all was well in January."""
    rows = [due(30 * k, 50_00, f"{k}") for k in range(12)]
    assert values(ARREARS, *rows, repay(330, 50_00, "11"), status(320, 0)) == [300, 10 * 50_00]
    assert values(ARREARS, *rows, repay(330, 50_00, "11")) == [300, 10 * 50_00]


@pytest.mark.parametrize(
    ("paid", "expected"),
    [(49_99, 0), (49_00, 0), (48_99, 10), (0, 10)],
)
def test_a_difference_of_a_unit_is_no_arrears(paid: int, expected: int) -> None:
    assert values(ARREARS, due(10, 50_00), repay(9, paid))[0] == expected


def test_nor_is_one_of_a_hundredth() -> None:
    assert values(ARREARS, due(10, 5_000_00), repay(9, 4_950_00)) == [0, 0]
    assert values(ARREARS, due(10, 5_000_00), repay(9, 4_949_99)) == [10, 50_01]


def test_months_reported_past_due_are_counted() -> None:
    past_due = Aggregate("past_due", "payment", "count", (90,), ("status",), only="past_due")
    assert value(past_due, status(9, 0), status(3, 7), status(2, None)) == 1
