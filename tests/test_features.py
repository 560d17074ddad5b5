"""The feature table: equal to the oracle, blind to the future, and the same for one account or many."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.compiler import compile_sql
from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.features.rows import ROW_SETS, Clock
from limitlens.features.table import Shared, build_table
from tests.feature_events import (
    DAY,
    DRAWN,
    DRAWS,
    MICROSECOND,
    MOMENTS,
    SHANGHAI,
    assert_is_oracles,
    at,
    draw,
    events_of,
    login,
    spine,
    value,
    values,
)
from tests.strategies import ACCOUNTS, AS_OF, Events, to_arrow, worlds_apart

pytestmark = pytest.mark.slow


def assert_each_world_is_the_oracles(table: pd.DataFrame, declared: FeatureSet, worlds: Mapping[str, Events]) -> None:
    for name, events in worlds.items():
        rows = table[table["account_id"].str.startswith(name)]
        assert len(rows) >= len(ACCOUNTS)
        assert_is_oracles(rows, declared, events)


def accounts_of(worlds: Iterable[str]) -> list[str]:
    return [name + account for name in worlds for account in ACCOUNTS]


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
    "shared_risk": ("", "lender", ""),
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


@pytest.mark.parametrize(
    "present", [("consumption",), ("payment",), ("device",), ("shared_risk",), ("consumption", "device")]
)
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


def test_halves_of_a_book_that_share_what_links_accounts_equal_the_book_at_once() -> None:
    accounts = accounts_of(["03"])
    shared: Shared = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limitlens.features.table.LITERAL_ROWS", 1)
        halves = [
            build_table(SHANGHAI, spine(MOMENTS[0], accounts=half), arrow(), shared=shared)
            for half in (accounts[::2], accounts[1::2])
        ]
    assert any(len(table) for links in shared.values() for table in links.values())
    whole_book = at(whole(MOMENTS[0]), MOMENTS[0], accounts=accounts)
    together = pd.concat(halves).sort_values("account_id", ignore_index=True)
    pd.testing.assert_frame_equal(together, whole_book.sort_values("account_id", ignore_index=True))


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
