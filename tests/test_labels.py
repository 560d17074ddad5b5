"""Labels: equal to an hour-by-hour look at the arrears, and none before the horizon has elapsed."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.models.labels import computed_labels, delivered_labels
from limitlens.pipeline.training.training_table import unreported
from tests import oracle
from tests.strategies import to_arrow

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OFS = [datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)]
KNOWN_BY = datetime(2026, 12, 31, tzinfo=UTC)
DAY, HOUR, MICROSECOND = timedelta(days=1), timedelta(hours=1), timedelta(microseconds=1)


@st.composite
def payments(draw: st.DrawFn) -> list[dict[str, object]]:
    rows = []
    for k in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["due", "due", "repayment", "repayment", "status"]))
        time = START + timedelta(days=draw(st.integers(0, 200)))
        rows.append(
            {
                "event_id": f"p{k}", "account_id": "A1", "event_time": time, "known_time": time,
                "delivered_known_time": time, "kind": kind, "retracted": None,
                "amount_cents": draw(st.integers(1, 3)) * 100_00,
                "instalment_id": draw(st.sampled_from([None, "x", "y"])),
                "dpd_days": draw(st.sampled_from([0, 30, 95])) if kind == "status" else None,
            }
        )  # fmt: skip
    return rows


def bad_by_looking_every_hour(rows: list[dict[str, object]], as_of: datetime, end: datetime) -> bool:
    hours = int((end - as_of) / timedelta(hours=1))
    moments = [as_of + timedelta(hours=h) for h in range(1, hours + 1)]
    before = oracle.arrears(rows, "A1", as_of, KNOWN_BY)[0]
    return before < 90 and any(oracle.arrears(rows, "A1", t, KNOWN_BY)[0] >= 90 for t in moments)


@pytest.mark.slow
@settings(max_examples=25)
@given(payments())
def test_a_label_equals_an_hour_by_hour_look_at_the_arrears(rows: list[dict[str, object]]) -> None:
    events = to_arrow({"consumption": [], "payment": rows, "device": []})
    points = pd.DataFrame({"account_id": "A1", "as_of": pd.DatetimeIndex(AS_OFS).as_unit("us")})
    found = computed_labels(points, events, known_by=KNOWN_BY, horizon_months=3)
    for label in found.to_dict("records"):
        as_of = label["as_of"].to_pydatetime()
        if oracle.arrears(rows, "A1", as_of, KNOWN_BY)[0] < 90:
            end = as_of.replace(month=as_of.month + 3)
            assert label["bad"] == bad_by_looking_every_hour(rows, as_of, end)


def test_a_horizon_that_has_not_elapsed_gives_no_label() -> None:
    points = pd.DataFrame({"account_id": "A1", "as_of": pd.DatetimeIndex(AS_OFS).as_unit("us")})
    events = to_arrow({"consumption": [], "payment": [], "device": []})
    found = computed_labels(points, events, known_by=datetime(2026, 8, 1, tzinfo=UTC), horizon_months=6)
    assert found["as_of"].tolist() == [pd.Timestamp(AS_OFS[0])]


def row(kind: str, account: str, time: pd.Timestamp) -> dict[str, object]:
    """One event that was known at once."""
    blank = dict.fromkeys(("instalment_id", "dpd_days", "counterparty", "category", "channel", "retracted"))
    times = {"event_time": time.to_pydatetime(), "known_time": time.to_pydatetime()}
    ids = {"event_id": f"{account}{kind}", "account_id": account, "kind": kind, "amount_cents": 1}
    return blank | ids | times | {"delivered_known_time": times["known_time"]}


@pytest.mark.parametrize(("months", "bad"), [(2, False), (3, True)])
def test_a_status_that_nobody_answers_goes_on_to_a_default(months: int, bad: bool) -> None:
    """30 days past due on 10 February are 90 on 11 April."""
    stated = row("status", "A1", pd.Timestamp("2026-02-10", tz="UTC")) | {"dpd_days": 30}
    events = to_arrow({"consumption": [], "payment": [stated], "device": []})
    points = pd.DataFrame({"account_id": "A1", "as_of": pd.DatetimeIndex(AS_OFS[:1]).as_unit("us")})
    assert computed_labels(points, events, known_by=KNOWN_BY, horizon_months=months)["bad"].tolist() == [bad]


START_OF, END_OF = AS_OFS
DUE, PAID = {"kind": "due"}, {"kind": "repayment", "amount_cents": 200_00}


@pytest.mark.parametrize(
    ("rows", "bad"),
    [
        ([(START_OF - 90 * DAY, DUE), (START_OF + HOUR, PAID)], False),  # in default at the as-of time, and out of it
        ([(START_OF - 90 * DAY + HOUR, DUE), (START_OF + HOUR - MICROSECOND, PAID)], False),
        ([(START_OF - 90 * DAY + HOUR, DUE), (START_OF + HOUR, PAID)], True),
        ([(START_OF - 60 * DAY, DUE), (START_OF, DUE), (START_OF + 31 * DAY, PAID)], True),
        ([(START_OF - 60 * DAY, DUE), (START_OF + DAY, PAID | {"known_time": KNOWN_BY - MICROSECOND})], False),
        ([(START_OF - 60 * DAY, DUE), (START_OF + DAY, PAID | {"known_time": KNOWN_BY})], True),
        ([(END_OF - 90 * DAY, DUE)], True),
        ([(END_OF - 90 * DAY + MICROSECOND, DUE)], False),
        ([(END_OF - 60 * DAY, {"kind": "status", "dpd_days": 30})], True),
        ([(END_OF - 60 * DAY + MICROSECOND, {"kind": "status", "dpd_days": 30})], False),
        ([(END_OF - MICROSECOND, {"kind": "status", "dpd_days": 90})], True),
        ([(END_OF, {"kind": "status", "dpd_days": 90})], False),
    ],
)
def test_a_default_counts_if_it_is_known_from_behind_the_as_of_time_to_the_end_of_the_horizon(
    rows: list[tuple[datetime, dict[str, object]]], bad: bool
) -> None:
    """A payment is in time up to the microsecond before ninety days have passed, if it is known before ``known_by``."""
    blank = {"amount_cents": 100_00, "instalment_id": "x", "known_time": START}
    payments = [row("", "A1", pd.Timestamp(time)) | blank | fields for time, fields in rows]
    payments = [one | {"event_id": f"p{place}"} for place, one in enumerate(payments)]
    events = to_arrow({"consumption": [], "payment": payments, "device": []})
    points = pd.DataFrame({"account_id": "A1", "as_of": pd.DatetimeIndex([START_OF]).as_unit("us")})
    assert computed_labels(points, events, known_by=KNOWN_BY, horizon_months=2)["bad"].tolist() == [bad]


def test_a_line_in_use_of_whose_payments_nothing_is_known_has_no_label() -> None:
    """A1 pays; A2 draws and nothing more is heard; A3 was never used; A4 drew after the as-of time."""
    as_of, end = pd.Timestamp(AS_OFS[0]), pd.Timestamp(AS_OFS[1])
    rows = [("A1", as_of - pd.Timedelta(days=9)), ("A2", as_of - pd.Timedelta(days=9)), ("A4", as_of)]
    used = to_arrow({"consumption": [row("draw", *one) for one in rows], "payment": [], "device": []})["consumption"]
    paying = row("repayment", "A1", end - pd.Timedelta(days=1))
    paid = to_arrow({"consumption": [], "payment": [paying], "device": []})["payment"]
    points = pd.DataFrame({"account_id": ["A1", "A2", "A3", "A4"], "as_of": as_of, "label_end": end})
    whole, unused = {"payment": paid, "consumption": used}, {"payment": paid, "consumption": used.slice(0, 0)}
    at_end, not_yet = end.to_pydatetime(), paying["known_time"]
    assert isinstance(not_yet, datetime)
    assert unreported(points, whole, known_by=at_end).tolist() == [False, True, False, False]
    assert unreported(points, unused, known_by=at_end).tolist() == [False, True, True, True]
    assert unreported(points.assign(label_end=as_of), whole, known_by=at_end)[0]
    assert unreported(points, whole, known_by=not_yet)[0]


_DAYS = [datetime(2026, 7, day, tzinfo=UTC) for day in (1, 2, 3)]
_OUTCOMES = st.tuples(*map(st.sampled_from, (["A1", "A2"], AS_OFS, _DAYS, _DAYS)))


@settings(max_examples=25)
@given(st.dictionaries(_OUTCOMES, st.booleans(), min_size=1, max_size=12), st.sampled_from([None, *_DAYS]))
def test_of_each_outcome_the_latest_delivered_and_known_version_counts(
    rows: dict[tuple[str, datetime, datetime, datetime], bool], known_by: datetime | None
) -> None:
    latest = {}
    for (account, as_of, known, _), bad in sorted(rows.items()):
        if known_by is None or known < known_by:
            latest[account, as_of] = (account, as_of, known, bad)
    columns = ("account_id", "as_of", "known_time", "delivered_known_time", "bad")
    outcomes = pa.Table.from_pylist([dict(zip(columns, (*row, bad), strict=True)) for row, bad in rows.items()])
    found = delivered_labels({"outcomes": outcomes}, known_by=known_by)
    assert [tuple(row) for row in found.itertuples(index=False)] == list(latest.values())
