"""Money passed on, shared payees and devices, speed, and what is new, right by hand."""

import math
from datetime import timedelta

import pytest

from limitlens.features.declarations import Aggregate, FeatureSet
from limitlens.features.table import build_table
from tests.feature_events import DAY, EARLIER, MICROSECOND, draw, event, events_of, login, send, spine, value, values
from tests.strategies import AS_OF, Row, to_arrow

pytestmark = pytest.mark.slow


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
