"""The feature table: equal to the oracle, blind to the future, the same for one account or many, and right by hand."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.compiler import compile_sql
from limitlens.features.declarations import Aggregate, FeatureSet, Ratio
from limitlens.features.rows import ROW_SETS, Clock
from limitlens.features.table import build_table
from tests import oracle
from tests.strategies import ACCOUNTS, AS_OF, Events, Row, accepted, to_arrow, worlds_apart

pytestmark = pytest.mark.slow

SHANGHAI = replace(CATALOGUE, timezone="Asia/Shanghai")
EARLIER, LATER = AS_OF - timedelta(days=30), AS_OF + timedelta(days=5)
MOMENTS = ((AS_OF, AS_OF), (AS_OF, LATER), (EARLIER, AS_OF), (EARLIER, EARLIER))
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)


def spine(*moments: tuple[datetime, datetime], accounts: Sequence[str] = ACCOUNTS) -> pd.DataFrame:
    """Several moments are built by the columns of the spine, a single one by literal times."""
    rows = [(account, as_of, known_by) for as_of, known_by in moments for account in accounts]
    frame = pd.DataFrame(rows, columns=["account_id", "as_of", "known_by"])
    return frame.astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})


# Against the oracle


def assert_equals_oracle(declared: FeatureSet, points: pd.DataFrame, events: Events) -> None:
    assert_is_oracles(build_table(declared, points, to_arrow(events)), declared, events)


def assert_is_oracles(table: pd.DataFrame, declared: FeatureSet, events: Events) -> None:
    differences = []
    for row in table.to_dict("records"):
        times = row["as_of"].to_pydatetime(), row["known_by"].to_pydatetime()
        for name, value in oracle.features(declared, events, row["account_id"], *times).items():
            if not same(row[name], value):
                differences.append(f"{row['account_id']} {name}: {row[name]}, oracle {value}")
    assert not differences, "\n".join(differences)


def assert_each_world_is_the_oracles(table: pd.DataFrame, declared: FeatureSet, worlds: Mapping[str, Events]) -> None:
    for name, events in worlds.items():
        rows = table[table["account_id"].str.startswith(name)]
        assert len(rows) >= len(ACCOUNTS)
        assert_is_oracles(rows, declared, events)


def accounts_of(worlds: Iterable[str]) -> list[str]:
    return [name + account for name in worlds for account in ACCOUNTS]


def same(got: Any, expected: float | None) -> bool:
    """Whole numbers to the last digit, the rest to nine decimals."""
    if pd.isna(got) or expected is None:
        return pd.isna(got) and expected is None
    return got == (expected if isinstance(expected, int) else pytest.approx(expected, rel=1e-9, abs=2e-9))


# To plan a query of the whole catalogue takes far longer than to run it, so one asks about many small worlds.

TOGETHER, WORLDS = worlds_apart("catalogue", 18)


@cache
def whole(*moments: tuple[datetime, datetime]) -> pd.DataFrame:
    """The catalogue over all worlds; not to be written to."""
    return build_table(SHANGHAI, spine(*moments, accounts=accounts_of(WORLDS)), arrow())


@cache
def arrow() -> Mapping[str, pa.Table]:
    return to_arrow(TOGETHER, accounts_of(WORLDS))


@pytest.mark.parametrize("moments", [MOMENTS, MOMENTS[:1], MOMENTS[1:2]], ids=["columns", "literal", "known later"])
def test_every_feature_equals_the_oracle(moments: Sequence[tuple[datetime, datetime]]) -> None:
    assert_each_world_is_the_oracles(whole(*moments), SHANGHAI, WORLDS)


#: What the rows hold, by set of rows: a whole number, a word, a condition.
HELD = {
    "consumption": ("amount_cents", "channel", "weekend"),
    "flow": ("flow_cents", "", ""),
    "payment": ("amount_cents", "counterparty", "past_due"),
    "instalment": ("days_late", "kind", "exact"),
    "passed_on": ("amount_cents", "", ""),
    "shared_payee": ("members", "", ""),
    "device": ("latitude_udeg", "device_id", "night"),
    "step": ("", "city", "device_switch"),
    "device_used": ("", "device_id", ""),
    "city_used": ("", "city", ""),
    "new_device": ("", "device_id", "with_new_city"),
    "new_city": ("", "city", ""),
    "shared_device": ("members", "", ""),
}


def every_aggregation(rows: str) -> FeatureSet:
    number, word, condition = HELD[rows]
    windows = (2, 90) if ROW_SETS[rows].reach_days else (2, 90, 0)
    hows = ["count", "days_since_last", "days_since_first"]
    declared = [Aggregate(how, rows, how, windows) for how in hows]
    declared += [Aggregate(f"{how}_month", rows, how, (90,), per=30) for how in ("count", "max", "std")]
    if number:
        hows = ["sum", "mean", "std", "max", "min", *(["last"] if rows != "flow" else [])]
        declared += [Aggregate(how, rows, how, windows, (), number) for how in hows]
    if word:
        declared += [Aggregate(how, rows, how, windows, (), word) for how in ("distinct", "entropy")]
        declared += [Aggregate("shift", rows, "shift", (2, 90), (), word)] if 0 in windows else []
    if condition:
        declared += [replace(one, name=f"{one.name}_if", only=condition) for one in declared]
    return FeatureSet(tuple(declared), timezone="Asia/Shanghai")


def assert_worlds_equal_oracle(declared: FeatureSet, seed: str, absent: Sequence[str] = ()) -> None:
    together, worlds = worlds_apart(seed, 9)
    without: Events = {source: [] for source in absent}
    points = spine(*MOMENTS, accounts=accounts_of(worlds))
    table = build_table(declared, points, to_arrow(together | without, accounts_of(worlds)))
    assert_each_world_is_the_oracles(table, declared, {name: events | without for name, events in worlds.items()})


@pytest.mark.parametrize("rows", ROW_SETS)
def test_every_aggregation_of_every_set_of_rows_equals_the_oracle(rows: str) -> None:
    assert_worlds_equal_oracle(every_aggregation(rows), seed=rows)


@pytest.mark.parametrize("present", [("consumption",), ("payment",), ("device",), ("consumption", "device")])
def test_an_absent_source_leaves_its_features_out_and_counts_as_empty(present: tuple[str, ...]) -> None:
    chosen = SHANGHAI.for_sources(present)
    assert chosen.sources == tuple(sorted(present))
    assert_worlds_equal_oracle(chosen, "+".join(present), absent=[s for s in TOGETHER if s not in present])


# Promises about the whole table


def test_literal_times_and_spine_columns_give_the_same_table() -> None:
    by_column, by_literal = whole(*MOMENTS), [whole(moment) for moment in MOMENTS[:3]]
    pd.testing.assert_frame_equal(by_column.head(3 * len(by_literal[0])), pd.concat(by_literal, ignore_index=True))


@pytest.mark.parametrize("moments", [MOMENTS[:1], (MOMENTS[0], MOMENTS[2])], ids=["literal", "columns"])
def test_rows_of_any_account_known_at_or_after_the_as_of_time_change_nothing(
    moments: Sequence[tuple[datetime, datetime]],
) -> None:
    before = {source: [row for row in rows if row["known_time"] < AS_OF] for source, rows in TOGETHER.items()}
    assert all(10 < len(before[source]) < len(rows) for source, rows in TOGETHER.items())
    accounts = accounts_of(WORLDS)
    without = build_table(SHANGHAI, spine(*moments, accounts=accounts), to_arrow(before, accounts))
    with_the_future = whole(*MOMENTS[: 4 if len(moments) > 1 else 1])
    pd.testing.assert_frame_equal(at(with_the_future, *moments), without)


def at(table: pd.DataFrame, *moments: tuple[datetime, datetime], accounts: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of some moments and, if they are named, of some accounts."""
    times = zip(table["as_of"], table["known_by"], strict=True)
    chosen = table[[(as_of, known_by) in moments for as_of, known_by in times]]
    return chosen[chosen["account_id"].isin(accounts or chosen["account_id"])].reset_index(drop=True)


@pytest.mark.parametrize("account", ["00A1", "07A3"])
@pytest.mark.parametrize("moments", [MOMENTS[:1], MOMENTS[1:]], ids=["literal", "columns"])
def test_one_account_alone_equals_the_same_account_in_a_batch(
    moments: Sequence[tuple[datetime, datetime]], account: str
) -> None:
    batch = whole(*MOMENTS[: 4 if len(moments) > 1 else 1])
    alone = build_table(SHANGHAI, spine(*moments, accounts=[account]), arrow())
    pd.testing.assert_frame_equal(at(batch, *moments, accounts=[account]), alone)


def test_a_book_taken_in_parts_equals_the_book_at_once() -> None:
    accounts = accounts_of(["03"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.features.table.LITERAL_ROWS", 1)
        patch.setattr("limitlens.features.table.PART_EVENTS", 1)
        in_parts = build_table(SHANGHAI, spine(MOMENTS[0], accounts=accounts), arrow())
    pd.testing.assert_frame_equal(in_parts, at(whole(MOMENTS[0]), MOMENTS[0], accounts=accounts))


def test_the_order_in_which_rows_lie_in_the_files_changes_nothing() -> None:
    random, accounts = Random(0), accounts_of(WORLDS)
    shuffled = {source: random.sample(rows, len(rows)) for source, rows in TOGETHER.items()}
    table = build_table(SHANGHAI, spine(*MOMENTS, accounts=accounts), to_arrow(shuffled, accounts))
    pd.testing.assert_frame_equal(whole(*MOMENTS), table)


def test_an_account_without_events_has_zero_counts_and_null_means() -> None:
    table = build_table(CATALOGUE, spine((AS_OF, AS_OF)), to_arrow(events_of()))
    for declared in CATALOGUE.aggregates:
        values = table[declared.column_names()]
        zero = declared.how in ("count", "sum", "distinct")
        assert (values.eq(0) if zero else values.isna()).all(axis=None), declared.name
    assert table[[position.name for position in CATALOGUE.positions]].eq(0).all(axis=None)
    assert table[[ratio.name for ratio in CATALOGUE.ratios]].isna().all(axis=None)


def test_counts_and_cents_are_whole_numbers() -> None:
    table = build_table(CATALOGUE, spine((AS_OF, AS_OF)), to_arrow(events_of()))
    whole = [name for a in CATALOGUE.aggregates if a.how in ("count", "sum", "distinct") for name in a.column_names()]
    assert table[[*whole, "dpd_days", "past_due_cents", "balance_cents"]].dtypes.eq(np.int64).all()


def test_the_table_stands_in_the_order_and_with_the_index_of_its_spine() -> None:
    points = spine(*MOMENTS).iloc[::-3]
    table = build_table(CATALOGUE.only(["draw_count_7d"]), points, to_arrow(events_of()))
    pd.testing.assert_frame_equal(table[["account_id", "as_of", "known_by"]], points)


# By hand: what a row is


def event(source: str, kind: str, age: float | timedelta, **fields: Any) -> Row:
    """A row so many days before the as-of time, known at once."""
    time = AS_OF - (age if isinstance(age, timedelta) else timedelta(days=age))
    base = {"source": source, "account_id": "A1", "event_time": time, "kind": kind}
    optional = dict.fromkeys(("instalment_id", "dpd_days", "counterparty", "category", "channel", "device_id", "city"))
    row = {**base, **optional, "latitude_udeg": None, "longitude_udeg": None, "amount_cents": 100, "known_time": time}
    return {"delivered_known_time": fields.get("known_time", time), "retracted": None} | row | fields


def draw(age: float | timedelta, cents: int = 100, **fields: Any) -> Row:
    return event("consumption", "draw", age, amount_cents=cents, **fields)


def buy(age: float | timedelta, category: str | None = None, **fields: Any) -> Row:
    return event("consumption", "purchase", age, category=category, **fields)


def due(age: float | timedelta, cents: int = 100_00, name: str | None = "x") -> Row:
    """Known a hundred days ahead, as dues are."""
    known = AS_OF - timedelta(days=100) - (age if isinstance(age, timedelta) else timedelta(days=age))
    return event("payment", "due", age, amount_cents=cents, instalment_id=name, known_time=known)


def repay(age: float | timedelta, cents: int = 100_00, name: str | None = "x") -> Row:
    return event("payment", "repayment", age, amount_cents=cents, instalment_id=name)


def send(age: float | timedelta, party: str | None = None, account: str = "A1", **fields: Any) -> Row:
    return event("payment", "transfer_out", age, counterparty=party, account_id=account, **fields)


def login(age: float | timedelta, device: str | None = None, city: str | None = None, **fields: Any) -> Row:
    return event("device", "login", age, device_id=device, city=city, **fields)


def events_of(*rows: Row) -> Events:
    """Rows by source, accepted in the order given; each an event of its own unless it names one."""
    events: Events = {"consumption": [], "payment": [], "device": []}
    for number, row in enumerate(rows):
        events[row["source"]].append({"event_id": f"e{number}"} | row)
    return {source: accepted(found) for source, found in events.items()}


def values(declared: FeatureSet, *rows: Row, as_of: datetime = AS_OF, later: timedelta = 0 * DAY) -> list[float | None]:
    """Every column of account A1, in order."""
    points = spine((as_of, as_of + later), accounts=["A1"])
    table = build_table(declared, points, to_arrow(events_of(*rows)))
    return [None if pd.isna(table[name].item()) else table[name].item() for name in declared.columns]


def value(declared: Aggregate, *rows: Row, as_of: datetime = AS_OF, later: timedelta = 0 * DAY) -> float | None:
    """The first column of an aggregate for account A1."""
    return values(FeatureSet((replace(declared, windows=declared.windows[:1]),)), *rows, as_of=as_of, later=later)[0]


DRAWS = Aggregate("draws", "consumption", "count", (30,), ("draw",))
DRAWN = Aggregate("drawn", "consumption", "sum", (30,), ("draw",), "amount_cents")


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


# By hand: which version is seen, and in which window it falls


def test_the_latest_version_known_before_the_as_of_time_counts() -> None:
    first = draw(5, 100, event_id="e")
    corrected = first | {"amount_cents": 70, "known_time": AS_OF - MICROSECOND}
    too_late = first | {"amount_cents": 40, "known_time": AS_OF}
    for rows in ([first, corrected, too_late], [too_late, corrected, first]):
        assert value(DRAWN, *rows) == 70
        assert value(DRAWN, *rows, later=MICROSECOND) == 40


def test_of_two_versions_stamped_alike_the_one_delivered_later_counts() -> None:
    stamped = AS_OF - DAY
    rows = [
        draw(9, cents, event_id="e", known_time=stamped, delivered_known_time=stamped - age * DAY)
        for cents, age in ((100, 3), (70, 1), (40, 2))
    ]
    assert value(DRAWN, *rows) == 70


def test_of_two_account_rows_stamped_alike_the_one_delivered_later_counts() -> None:
    events = to_arrow(events_of(), ["A1"])
    (line,) = events["accounts"].to_pylist()
    stamped = {"known_time": AS_OF - DAY}
    rows = [line | stamped | {"segment": word, "delivered_known_time": AS_OF - age * DAY}
            for word, age in (("first", 3), ("last", 1), ("second", 2))]  # fmt: skip
    rows.append(line | {"segment": "unknown yet", "known_time": AS_OF, "delivered_known_time": AS_OF})
    for order in (rows, rows[::-1]):
        accounts = pa.Table.from_pylist(order, events["accounts"].schema)
        table = build_table(
            FeatureSet((DRAWS,)), spine((AS_OF, AS_OF), accounts=["A1"]), events | {"accounts": accounts}
        )
        assert table["segment"].tolist() == ["last"]


def test_a_correction_moves_an_event_to_another_time_and_another_device() -> None:
    wrong = login(5, "phone", event_id="e")
    right = wrong | {"event_time": AS_OF - 10 * DAY, "device_id": "tablet", "known_time": AS_OF - DAY}
    count = Aggregate("events", "device", "count", (7, 30))
    used = Aggregate("used", "device_used", "count", (30,))
    known = Aggregate("known", "device_used", "last", (0,), (), "known_days")
    assert values(FeatureSet((count, used, known)), wrong, right) == [0, 1, 1, 10]


def test_a_retracted_event_is_gone_until_a_later_version_brings_it_back() -> None:
    rows = [draw(5, event_id="e", known_time=AS_OF - k * DAY, retracted=gone) for k, gone in ((4, None), (3, True))]
    assert value(DRAWS, *rows) == 0
    assert value(DRAWS, *rows, as_of=AS_OF - 3 * DAY) == 1
    assert value(DRAWS, *rows, rows[0] | {"known_time": AS_OF - DAY}) == 1


def test_what_happened_at_the_as_of_time_or_after_it_is_not_in_the_past() -> None:
    ever = replace(DRAWS, windows=(0,))
    assert value(ever, draw(0), draw(-1), draw(MICROSECOND), later=5 * DAY) == 1


@pytest.mark.parametrize("time", ["2024-02-29", "2025-03-31", "2024-03-01", "2026-03-29T01:30", "2026-10-25T02:30"])
def test_windows_are_whole_days_of_24_hours_on_leap_days_month_ends_and_clock_changes(time: str) -> None:
    as_of = datetime.fromisoformat(time).replace(tzinfo=UTC)
    edge = AS_OF - as_of + 30 * DAY
    berlin = FeatureSet((DRAWS, Aggregate("days", "consumption", "count", (30,), per=1)), timezone="Europe/Berlin")
    assert values(berlin, draw(edge), draw(edge + MICROSECOND), as_of=as_of) == [1, 1]


# By hand: consumption


@pytest.mark.parametrize(
    ("zone", "time", "expected"),
    [
        ("Asia/Shanghai", "2026-02-10T15:59:59.999999", 0),
        ("Asia/Shanghai", "2026-02-10T16:00", 1),
        ("Asia/Shanghai", "2026-02-10T21:59:59.999999", 1),
        ("Asia/Shanghai", "2026-02-10T22:00", 0),
        ("UTC", "2026-02-09T23:59:59.999999", 0),
        ("UTC", "2026-02-10T00:00", 1),
        ("UTC", "2026-02-10T05:59:59.999999", 1),
        ("UTC", "2026-02-10T06:00", 0),
        ("UTC", "1969-12-31T05:00", 1),
        ("UTC", "1969-12-31T07:00", 0),
        ("Europe/Berlin", "2025-10-25T04:00", 0),
        ("Europe/Berlin", "2025-10-26T04:59:59.999999", 1),
        ("Europe/Berlin", "2025-03-30T04:00", 0),
        ("Europe/Berlin", "2025-03-30T03:59:59.999999", 1),
    ],
)
def test_night_is_from_midnight_to_six_by_the_clock_on_the_wall(zone: str, time: str, expected: int) -> None:
    age = AS_OF - datetime.fromisoformat(time).replace(tzinfo=UTC)
    nights = tuple(Aggregate(f"{rows}_night", rows, "count", (0,), only="night") for rows in ("consumption", "device"))
    assert values(FeatureSet(nights, timezone=zone), draw(age), login(age)) == [expected, expected]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-02-20T15:59:59.999999", 0),
        ("2026-02-20T16:00", 1),
        ("2026-02-22T15:59:59.999999", 1),
        ("2026-02-22T16:00", 0),
        ("1968-01-06", 1),
    ],
)
def test_weekends_are_saturday_and_sunday_by_the_clock_on_the_wall(time: str, expected: int) -> None:
    moment = datetime.fromisoformat(time).replace(tzinfo=UTC)
    weekend = Aggregate("weekend", "consumption", "count", (0,), only="weekend")
    assert values(FeatureSet((weekend,), timezone="Asia/Shanghai"), draw(AS_OF - moment)) == [expected]


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


def status(age: float | timedelta, days: int | None) -> Row:
    return event("payment", "status", age, dpd_days=days)


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


PASSED_ON = Aggregate("passed_on", "passed_on", "sum", (90,), (), "amount_cents")


@pytest.mark.parametrize(
    ("after", "expected"),
    [(-MICROSECOND, 0), (0 * DAY, 70), (MICROSECOND, 70), (2 * DAY - MICROSECOND, 70), (2 * DAY, 0)],
)
def test_a_transfer_within_two_days_of_a_draw_passes_it_on(after: timedelta, expected: int) -> None:
    rows = [send(10 * DAY - after, amount_cents=70), draw(10), draw(31)]
    assert value(PASSED_ON, *rows) == expected
    assert value(PASSED_ON, *reversed(rows)) == expected


def test_money_is_passed_on_after_a_draw_older_than_the_window() -> None:
    assert value(PASSED_ON, draw(92 * DAY - MICROSECOND), send(90, amount_cents=70)) == 70


PAYEES = Aggregate("payees", "shared_payee", "max", (90, 7), (), "members")


def test_a_payee_ring_counts_every_account_that_sent_money_there_in_90_days() -> None:
    declared = FeatureSet((PAYEES, Aggregate("mean", "shared_payee", "mean", (90,), (), "members")))
    ring = [send(8, "boss", "A1"), send(90, "boss", "A2"), send(1, "boss", "B9"), send(1, "boss", "B9")]
    assert values(declared, *ring, send(5, "shop", "A1")) == [3, 1, 2]


@pytest.mark.parametrize(
    "other",
    [
        send(90 * DAY + MICROSECOND, "boss", "A2"),
        send(0, "boss", "A2"),
        send(5, "boss", "A2", known_time=AS_OF),
        send(5, "boss", "A2", retracted=True),
        send(5, "shop", "A2"),
        event("payment", "transfer_in", 5, counterparty="boss", account_id="A2"),
    ],
)
def test_who_did_not_send_money_there_as_far_as_was_known_is_not_in_the_ring(other: Row) -> None:
    assert value(PAYEES, send(8, "boss"), other) == 1


# By hand: device


@pytest.mark.parametrize("moments", [1, 2], ids=["literal", "columns"])
def test_a_ring_of_two_counts_who_was_there_before_the_as_of_time_whatever_is_known_later(moments: int) -> None:
    seen = Aggregate("seen", "shared_device", "max", (0,), (), "members")
    ring = [row for age, account in ((8, "A1"), (5, "B1"), (0, "B2"), (-1, "B3"))
            for row in (send(age, "boss", account), login(age, "phone", account_id=account))]  # fmt: skip
    points = spine((AS_OF, AS_OF + 2 * DAY), (EARLIER, AS_OF), accounts=["A1"]).head(moments)
    table = build_table(FeatureSet((PAYEES, seen)), points, to_arrow(events_of(*ring)))
    assert table.loc[0, ["payees_90d", "seen_ever"]].tolist() == [2, 2]


def test_a_device_ring_counts_every_account_ever_seen_on_a_device_of_the_account() -> None:
    rows = [login(40, "tablet"), login(5, "phone"), login(5, None), login(5, None, account_id="A4")]
    rows += [login(300, "tablet", account_id="A2"), login(1, "tablet", account_id="A3", known_time=AS_OF)]
    rows += [login(400, "tablet", account_id="B9"), login(1, "phone", account_id="A2", retracted=True)]
    assert values(FeatureSet((Aggregate("ring", "shared_device", "max", (30, 0), (), "members"),)), *rows) == [1, 3]


SHANGHAI_PLACE = {"latitude_udeg": 31_230_400, "longitude_udeg": 121_473_700}
BEIJING_PLACE = {"latitude_udeg": 39_904_200, "longitude_udeg": 116_407_400}
SPEED = Aggregate("speed", "step", "max", (90,), (), "speed_kmh")


def test_speed_is_the_way_on_the_globe_over_the_time_between() -> None:
    rows = [login(1, **SHANGHAI_PLACE), login(timedelta(hours=14), **BEIJING_PLACE)]
    assert value(SPEED, *rows) == pytest.approx(106.73, abs=0.01)
    equator = [login(1, latitude_udeg=0, longitude_udeg=0), login(0.5, latitude_udeg=0, longitude_udeg=180_000_000)]
    assert value(SPEED, *equator) == pytest.approx(math.pi * 6371 / 12)


def test_the_first_event_has_no_speed() -> None:
    assert value(SPEED, login(1, **BEIJING_PLACE)) is None


@pytest.mark.parametrize("missing", ["latitude_udeg", "longitude_udeg"])
def test_there_is_no_speed_between_places_not_fully_known(missing: str) -> None:
    assert value(SPEED, login(2, **SHANGHAI_PLACE), login(1, **BEIJING_PLACE | {missing: None})) is None


@pytest.mark.parametrize("between", [0 * DAY, MICROSECOND, timedelta(seconds=60)])
def test_a_minute_at_least_counts_for_speed(between: timedelta) -> None:
    rows = [login(1, **SHANGHAI_PLACE), login(DAY - between, **BEIJING_PLACE)]
    assert value(SPEED, *rows) == pytest.approx(1067.3 * 60, rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([login(9, "phone", "Rome"), login(8, "tablet", "Rome"), login(7, "phone", "Oslo"), login(6, "phone")], [2, 1]),
        ([login(9, "phone", "Rome"), login(8), login(7, "tablet", "Oslo")], [0, 0]),
        ([login(95, "phone", "Rome"), login(5, "tablet", "Oslo")], [1, 1]),
        ([login(95 * DAY + MICROSECOND, "phone", "Rome"), login(5, "tablet", "Oslo")], [0, 0]),
        ([login(180, "phone", "Rome"), login(90, "tablet", "Oslo")], [1, 1]),
        ([login(1, "phone"), login(1, "phone"), login(1, "tablet")], [1, 0]),
        ([login(1, "phone"), login(1, "tablet"), login(1, "phone")], [2, 0]),
    ],
)
def test_a_step_joins_an_event_to_the_one_before_it_within_90_days(rows: list[Row], expected: list[int]) -> None:
    changes = [Aggregate(only, "step", "count", (90,), only=only) for only in ("device_switch", "city_change")]
    assert values(FeatureSet(tuple(changes)), *rows) == expected


def test_a_device_in_use_stands_at_its_last_use_and_is_known_since_its_first() -> None:
    used = Aggregate("used", "device_used", "count", (2, 7))
    youngest = Aggregate("youngest", "device_used", "min", (7,), (), "known_days")
    latest = Aggregate("latest", "device_used", "last", (0,), (), "known_days")
    rows = [login(50, "phone"), login(6, "tablet"), login(5.5, "tablet"), login(3, "phone"), login(1, None)]
    assert values(FeatureSet((used, youngest, latest)), *rows) == [0, 2, 6, 50]


NEW = FeatureSet(
    (
        Aggregate("devices", "new_device", "count", (30, 7)),
        Aggregate("cities", "new_city", "count", (30, 7)),
        Aggregate("since", "new_device", "days_since_last", (0,)),
    )
)


def test_devices_and_cities_are_new_when_first_seen_but_for_those_of_the_first_event() -> None:
    rows = [login(29, "phone", "Rome"), login(20, "tablet", "Rome"), login(6, "tablet", "Oslo"), login(1, "phone")]
    assert values(NEW, *rows) == [1, 0, 1, 1, 20]
    assert values(NEW, rows[0]) == [0, 0, 0, 0, None]


def test_another_device_within_the_microsecond_of_the_first_event_is_not_new() -> None:
    assert values(NEW, login(5, "phone"), login(5, "tablet")) == [0, 0, 0, 0, None]


@pytest.mark.parametrize(("apart", "expected"), [(0 * DAY, 1), (MICROSECOND, 0)])
def test_device_and_city_are_new_together_only_at_the_same_moment(apart: timedelta, expected: int) -> None:
    together = Aggregate("together", "new_device", "count", (30,), only="with_new_city")
    rows = [login(9, "phone", "Rome"), login(5, "tablet"), login(5 * DAY - apart, None, "Oslo")]
    assert value(together, *rows) == expected


# Declarations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": "nowhere"}, "no rows are called 'nowhere'; expected one of consumption, flow,"),
        ({"rows": "step", "windows": (180,)}, "step rows reach back 90 days, got windows (180,)."),
        ({"rows": "passed_on", "windows": (0,)}, "passed_on rows reach back 90 days, got windows (0,)."),
        ({"per": 2}, "per takes 1, 7 or 30 with count, max or std, and windows that are whole periods."),
        ({"per": 1, "how": "mean"}, "per takes 1, 7 or 30 with count, max or std"),
        ({"per": 7, "windows": (30,)}, "windows that are whole periods"),
        ({"per": 30, "windows": (0,)}, "windows that are whole periods"),
        (
            {"how": "shift", "windows": (180,)},
            "shift compares with 180 days, so its windows must be shorter, got (180,)",
        ),
        ({"how": "shift", "windows": (0,)}, "shift compares with 180 days"),
        ({"how": "last", "kinds": ("draw", "fee")}, "last takes one kind of row."),
        ({"how": "mean", "column": ""}, "mean needs a column."),
        (
            {"how": "std", "rows": "device_used", "column": "known_days"},
            "std takes whole numbers, and known_days is a fraction.",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(fields: dict[str, Any], message: str) -> None:
    right = {"name": "mine", "rows": "consumption", "how": "count", "windows": (30,), "column": "amount_cents"}
    with pytest.raises(ValueError, match="^feature mine: .*" + re.escape(message)):
        Aggregate(**{**right, **fields})


def test_a_part_of_the_catalogue_carries_what_its_columns_are_made_of() -> None:
    assert CATALOGUE.only(["draw_growth", "utilisation"]).columns == (
        "balance_cents", "draw_mean_ever", "draw_last_ever", "draw_growth",
    )  # fmt: skip
    with pytest.raises(ValueError, match=re.escape("no feature is called a, b; limitlens features lists them.")):
        CATALOGUE.only(["b", "draw_count_7d", "a"])


def test_the_query_of_some_sources_does_not_read_the_others() -> None:
    chosen = CATALOGUE.for_sources(("consumption",))
    assert not [name for name in chosen.columns if "device" in name or "repayment" in name]
    for clock in (Clock(), Clock(AS_OF, AS_OF)):
        assert not re.search("payment|device", compile_sql(chosen, clock))


def test_a_function_that_other_engines_may_not_know_is_refused() -> None:
    declared = Aggregate("odd", "consumption", "last", (30,), (), "frobnicate(amount_cents)")
    with pytest.raises(ValueError, match=re.escape("The feature SQL calls ['frobnicate']")):
        compile_sql(FeatureSet((declared,)), Clock(), "spark")


def test_no_column_name_is_declared_twice() -> None:
    names = [*CATALOGUE.columns, *(share.name for share in CATALOGUE.shares)]
    assert len(names) == len(set(names))


def test_a_feature_set_comes_back_from_json_as_it_was() -> None:
    again = FeatureSet.from_dict(json.loads(json.dumps(SHANGHAI.to_dict())))
    assert (again, again.digest) == (SHANGHAI, SHANGHAI.digest)
    assert again.digest != CATALOGUE.digest
