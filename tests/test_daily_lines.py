"""Lines decided daily: whose condition held by what was known at the date, told line by line and day by day."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from limitlens.data.errors import ConfigError
from limitlens.features.catalogue import CATALOGUE
from limitlens.limits.decision import holds
from limitlens.limits.policy import Condition, Policy
from limitlens.limits.policy_file import parse_policy
from limitlens.pipeline.deciding.daily_lines import daily_lines
from limitlens.pipeline.deciding.plan import plan_lines
from limitlens.pipeline.workspace import default_policy
from tests import oracle
from tests.feature_events import DAY, draw, due, events_of, login, send
from tests.strategies import ACCOUNTS, AS_OF, Events, to_arrow, worlds_apart

NEW_PHONE = Condition("new_device_and_city_count_7d", "at_least", 1.0)
IN_ARREARS = Condition("dpd_days", "above", 0.0)

#: A count, a position, what holds over no rows, a ratio, rows of two sources, the whole history, null over no rows.
CONDITIONS = (
    NEW_PHONE,
    IN_ARREARS,
    Condition("draw_count_7d", "at_most", 0.0),
    Condition("transfer_out_of_draw_2d", "at_least", 0.6),
    Condition("passed_on_count_7d", "at_least", 1.0),
    Condition("device_distinct_ever", "at_least", 2.0),
    Condition("lateness_mean_90d", "above", 0.0),
)
DATES = [AS_OF - 30 * DAY, AS_OF - 7 * DAY, AS_OF - DAY, AS_OF, AS_OF + DAY]

Points = set[tuple[str, datetime]]


def found(any_of: Sequence[Condition], events: Events, accounts: Sequence[str] = ACCOUNTS) -> Points:
    lines = daily_lines(DATES, any_of, CATALOGUE, to_arrow(events, accounts))
    assert not lines.duplicated().any()
    return set(zip(lines["account_id"], lines["as_of"].dt.to_pydatetime(), strict=True))


def one_by_one(any_of: Sequence[Condition], events: Events, accounts: Sequence[str] = ACCOUNTS) -> Points:
    """Each line at each date, by the oracle of the features."""
    declared = CATALOGUE.only([condition.column for condition in any_of])

    def holds_at(account: str, date: datetime) -> bool:
        value = oracle.features(declared, events, account, date, date)
        of = {name: np.array([np.nan if one is None else one], float) for name, one in value.items()}
        return any(holds(condition, of[condition.column])[0] for condition in any_of)

    return {(account, date) for account in accounts for date in DATES if holds_at(account, date)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "any_of", [*((one,) for one in CONDITIONS), CONDITIONS[:2]], ids=lambda any_of: any_of[0].column
)
def test_who_is_decided_daily_is_what_a_loop_over_lines_and_days_finds(any_of: tuple[Condition, ...]) -> None:
    together, worlds = worlds_apart("daily", 9)
    accounts = [name + account for name in worlds for account in ACCOUNTS]
    expected = {point for name, events in worlds.items()
                for point in one_by_one(any_of, events, [name + account for account in ACCOUNTS])}  # fmt: skip
    assert found(any_of, together, accounts) == expected
    assert 0 < len(expected) < len(accounts) * len(DATES)


@pytest.mark.slow
def test_what_is_known_from_a_date_on_moves_nobody_at_it() -> None:
    """A hundred worlds at every date: six queries are planned, not one for each."""
    together, worlds = worlds_apart("known later", 100)
    accounts = [name + account for name in worlds for account in ACCOUNTS]
    any_of = (NEW_PHONE, IN_ARREARS)
    expected = found(any_of, together, accounts)
    for date in DATES:
        known = {source: [row for row in rows if row["known_time"] < date] for source, rows in together.items()}
        assert sum(map(len, known.values())) < sum(map(len, together.values()))
        mine = at(date, found(any_of, known, accounts))
        assert 0 < len(mine) < len(accounts)
        assert mine == at(date, expected)


def at(date: datetime, points: Points) -> Points:
    return {point for point in points if point[1] == date}


def planned(any_of: Sequence[Condition], events: Events) -> dict[int, list[str]]:
    """Accounts by the day of the month, in the month before the as-of time."""
    dates = [AS_OF - days * DAY for days in range(27, 0, -1)]
    lines = plan_lines(dates, None, to_arrow(events), whole_book=False, features=CATALOGUE, any_of=any_of)
    return {int(day): list(mine) for day, mine in lines.groupby(lines["date"].dt.day)["account_id"]}


def test_a_sign_in_counts_from_the_midnight_after_it_was_known_until_a_week_after_it_happened() -> None:
    late = login(13.5, "strange", "Beijing", known_time=AS_OF - 11.5 * DAY)
    events = events_of(login(400, "own", "Shanghai"), late, draw(12, account_id="A2"))
    assert planned([NEW_PHONE], events) == {day: ["A1"] for day in range(18, 23)}


def test_the_week_holds_its_first_microsecond() -> None:
    events = events_of(login(400, "own", "Shanghai"), login(12, "strange", "Beijing"))
    assert planned([NEW_PHONE], events) == {day: ["A1"] for day in range(18, 25)}


def test_what_is_counted_may_rest_on_a_row_before_the_window() -> None:
    events = events_of(draw(20), send(18.5))
    assert planned([Condition("passed_on_count_7d", "at_least", 1.0)], events) == {day: ["A1"] for day in range(11, 18)}


def test_a_line_past_due_is_decided_on_every_day_of_its_arrears() -> None:
    assert planned([IN_ARREARS], events_of(due(10))) == {day: ["A1"] for day in range(20, 29)}


def test_without_a_condition_only_month_starts_and_new_lines_are_decided() -> None:
    events = events_of(login(400, "own", "Shanghai"), login(12.5, "strange", "Beijing"), due(10))
    assert planned([], events) == {}
    dates = [AS_OF - DAY, AS_OF]
    lines = plan_lines(dates, None, to_arrow(events), whole_book=False, features=CATALOGUE, any_of=[NEW_PHONE])
    assert list(lines["date"]) == [AS_OF] * len(ACCOUNTS)


def test_a_condition_on_an_attribute_holds_for_the_lines_that_have_it_at_every_date() -> None:
    relations = to_arrow(events_of(due(10)))
    grades = pa.array([float(account == "A1") for account in relations["accounts"]["account_id"].to_pylist()])
    relations["accounts"] = relations["accounts"].append_column("grade", grades)
    features = replace(CATALOGUE, attributes=(("grade", "number"),))
    lines = daily_lines(DATES, [Condition("grade", "above", 0.0)], features, relations)
    assert set(zip(lines["account_id"], lines["as_of"].dt.to_pydatetime(), strict=True)) == {("A1", d) for d in DATES}


def test_a_condition_whose_source_is_absent_never_holds() -> None:
    present = CATALOGUE.for_sources(("payment",))
    lines = daily_lines(DATES, [NEW_PHONE, IN_ARREARS], present, to_arrow(events_of(due(10))))
    assert set(lines["account_id"]) == {"A1"}
    assert daily_lines(DATES, [NEW_PHONE], present, to_arrow(events_of(due(10)))).empty


def policy_with(section: str) -> Policy:
    return parse_policy(without_daily().replace("[holds]", f"{section}\n\n[holds]", 1))


def without_daily() -> str:
    return default_policy().text


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[daily]", "'any_of' is missing"),
        ("[daily]\nany_of = []", "is empty; give a condition, or leave the section out"),
        ('[daily]\nany_of = [{ column = "draw_share_7d", above = 0 }]', "'draw_share_7d' .* depends on the decisions"),
        ('[daily]\nany_of = [{ column = "dpd_days" }]', "expected one"),
        ('[daily]\nany_of = [{ column = "gender", above = 0 }]', "protected"),
    ],
)
def test_a_section_that_says_nonsense_is_refused(section: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_with(section)


def test_a_policy_without_the_section_has_the_digest_it_had() -> None:
    one = policy_with('[daily]\nany_of = [{ column = "login_count_30d", above = 0 }]')
    assert one.digest != default_policy().digest
    assert default_policy().daily is None
    assert one.decided_daily == (Condition("login_count_30d", "above", 0.0),)
    assert one.columns - default_policy().columns == {"login_count_30d"}
