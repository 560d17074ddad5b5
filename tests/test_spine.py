"""The book: which lines stand in it at a moment, as a loop over plain rows would say."""

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.features.line import NO_LIMIT
from limitlens.features.spine import book, has_limits, lines_at, opened_between, undecidable, with_limit

Row = dict[str, Any]

#: So few moments that two are often the same: the boundary of every comparison is met.
MOMENTS = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
ACCOUNTS = "ABCDEF"
TIMES = st.sampled_from(MOMENTS)


@st.composite
def accounts(draw: st.DrawFn) -> list[Row]:
    """Many versions of six accounts, no two with both times in common."""
    random = draw(st.randoms(use_true_random=True))
    stamps = random.sample(list(product(ACCOUNTS, MOMENTS, MOMENTS)), random.randint(1, 60))
    return [
        {"account_id": account, "known_time": known, "delivered_known_time": delivered,
         "opened_at": random.choice(MOMENTS), "limit_cents": random.choice([None, 0, 0, 1, 500]),
         "segment": random.choice(["student", None])}
        for account, known, delivered in stamps
    ]  # fmt: skip


def relation(rows: list[Row]) -> dict[str, pa.Table]:
    time = pa.timestamp("us", tz="UTC")
    types = [("account_id", pa.string()), ("known_time", time), ("delivered_known_time", time), ("opened_at", time),
             ("limit_cents", pa.int64()), ("segment", pa.string())]  # fmt: skip
    return {"accounts": pa.Table.from_pylist(rows, pa.schema(types))}


def version(rows: list[Row], account: str, known_by: datetime) -> Row | None:
    known = [row for row in rows if row["account_id"] == account and row["known_time"] < known_by]
    return max(known, key=lambda row: (row["known_time"], row["delivered_known_time"]), default=None)


def told(lines: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [tuple(None if pd.isna(cell) else cell for cell in row) for row in lines.itertuples(index=False)]


def line(found: Row, as_of: datetime, known_by: datetime) -> tuple[Any, ...]:
    cents = NO_LIMIT if found["limit_cents"] is None else found["limit_cents"]
    return found["account_id"], as_of, known_by, found["opened_at"], cents, found["segment"]


@settings(max_examples=25)
@given(accounts(), TIMES, TIMES, TIMES)
def test_a_line_is_the_latest_version_known_if_it_is_open_and_its_limit_is_not_zero(
    rows: list[Row], as_of: datetime, known_by: datetime, later: datetime
) -> None:
    asked = [(account, as_of, by) for account in ACCOUNTS for by in sorted({known_by, later})]
    points = pd.DataFrame(asked, columns=["account_id", "as_of", "known_by"])
    found = [(version(rows, account, by), by) for account, _, by in asked]
    open_then = [
        line(one, as_of, by) for one, by in found if one and one["opened_at"] <= as_of and one["limit_cents"] != 0
    ]
    assert sorted(told(lines_at(points, relation(rows))), key=str) == sorted(open_then, key=str)


@settings(max_examples=25)
@given(accounts(), TIMES)
def test_the_book_holds_what_was_opened_before_and_what_cannot_be_decided_is_counted(
    rows: list[Row], as_of: datetime
) -> None:
    known = [version(rows, account, as_of) for account in ACCOUNTS]
    opened = [one for one in known if one and one["opened_at"] < as_of]
    events = relation(rows)
    lines = book([as_of], events)
    assert told(lines) == [line(one, as_of, as_of) for one in opened if one["limit_cents"] != 0]
    assert told(with_limit(lines)) == [line(one, as_of, as_of) for one in opened if one["limit_cents"]]
    lost = undecidable(as_of, events)
    assert lost.limit_zero == sum(one["limit_cents"] == 0 for one in opened)
    assert lost.without_limit == sum(one["limit_cents"] is None for one in opened)


@settings(max_examples=25)
@given(accounts(), TIMES, TIMES)
def test_openings_between_two_times_count_the_first_and_leave_out_the_last(
    rows: list[Row], first: datetime, end: datetime
) -> None:
    latest = {account: max(row["opened_at"] for row in rows if row["account_id"] == account)
              for account in sorted({row["account_id"] for row in rows})}  # fmt: skip
    found = told(opened_between(first, end, relation(rows)))
    assert found == [(account, time) for account, time in latest.items() if first <= time < end]


@pytest.mark.parametrize(("limits", "any_limit"), [([None, 0], False), ([0, 1], True), ([], False)])
def test_a_portfolio_has_limits_once_one_was_delivered_above_zero(limits: list[int | None], any_limit: bool) -> None:
    times = dict.fromkeys(("known_time", "delivered_known_time", "opened_at"), MOMENTS[0])
    rows = [{"account_id": "A", "limit_cents": cents, "segment": None, **times} for cents in limits]
    assert has_limits(relation(rows)) is any_limit
