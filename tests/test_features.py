"""The feature table: equal to the oracle, blind to the future, the same for one account or many."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from limitlens.features.catalogue import CATALOGUE
from limitlens.features.compiler import compile_sql
from limitlens.features.rows import Clock
from limitlens.features.table import build_table
from tests import oracle
from tests.strategies import ACCOUNTS, AS_OF, Events, event_tables, to_arrow

SHIFTED = replace(CATALOGUE, timezone="Asia/Shanghai")


def spine(*moments: tuple[object, object]) -> pd.DataFrame:
    rows = [(account, as_of, known_by) for as_of, known_by in moments for account in ACCOUNTS]
    frame = pd.DataFrame(rows, columns=["account_id", "as_of", "known_by"])
    return frame.astype({"as_of": "datetime64[us, UTC]", "known_by": "datetime64[us, UTC]"})


def assert_equals_oracle(table: pd.DataFrame, events: Events) -> None:
    for row in table.to_dict("records"):
        times = row["as_of"].to_pydatetime(), row["known_by"].to_pydatetime()
        expected = oracle.features(SHIFTED, events, row["account_id"], *times)
        for name, value in expected.items():
            got = None if pd.isna(row[name]) else row[name]
            same = got is None if value is None else got == pytest.approx(value, rel=1e-9)
            assert same, f"{name} of {row['account_id']}: {got}, oracle {value}"


@settings(max_examples=60)
@given(event_tables())
def test_every_feature_equals_the_oracle(events: Events) -> None:
    later = AS_OF + timedelta(days=5)
    moments = spine((AS_OF, AS_OF), (AS_OF, later))
    assert_equals_oracle(build_table(SHIFTED, moments, to_arrow(events)), events)


@settings(max_examples=25)
@given(event_tables())
def test_literal_times_and_spine_columns_give_the_same_table(events: Events) -> None:
    moments = spine((AS_OF, AS_OF), (AS_OF - timedelta(days=30), AS_OF))
    by_column = build_table(CATALOGUE, moments, to_arrow(events))
    by_literal = [build_table(CATALOGUE, rows, to_arrow(events)) for _, rows in moments.groupby("as_of", sort=False)]
    pd.testing.assert_frame_equal(by_column, pd.concat(by_literal))


@settings(max_examples=25)
@given(event_tables(), event_tables())
def test_rows_known_at_or_after_the_as_of_time_change_nothing(events: Events, future: Events) -> None:
    late = {
        source: [
            r | {"known_time": max(r["known_time"], AS_OF), "delivered_known_time": max(r["known_time"], AS_OF)}
            for r in rows
        ]
        for source, rows in future.items()
    }
    both = {source: [*events[source], *late[source]] for source in events}
    now = spine((AS_OF, AS_OF))
    pd.testing.assert_frame_equal(
        build_table(CATALOGUE, now, to_arrow(events)), build_table(CATALOGUE, now, to_arrow(both))
    )


@settings(max_examples=15)
@given(event_tables())
def test_one_account_alone_equals_the_same_account_in_a_batch(events: Events) -> None:
    now = spine((AS_OF, AS_OF))
    batch, alone = (build_table(CATALOGUE, rows, to_arrow(events)) for rows in (now, now.iloc[[1]]))
    pd.testing.assert_frame_equal(batch.iloc[[1]], alone)


def test_an_account_without_events_has_zero_counts_and_null_means() -> None:
    table = build_table(
        CATALOGUE, spine((AS_OF, AS_OF)), to_arrow({s: [] for s in ("consumption", "payment", "device")})
    )
    assert (table[["draw_count_7d", "draw_sum_7d", "category_distinct_30d", "dpd_days"]] == 0).all(axis=None)
    assert table[["draw_mean_30d", "draw_days_since_ever", "lateness_max_90d"]].isna().all(axis=None)


@pytest.mark.parametrize("as_of", ["2024-02-29", "2025-03-31", "2026-03-29T01:30", "2026-10-25T02:30"])
def test_windows_are_whole_days_of_24_hours_on_leap_days_month_ends_and_clock_changes(as_of: str) -> None:
    moment = pd.Timestamp(as_of, tz="UTC").as_unit("us")
    edges = {"inside": moment - pd.Timedelta(days=30), "outside": moment - pd.Timedelta(days=30, microseconds=1)}
    row = {
        "account_id": "A1",
        "kind": "draw",
        "amount_cents": 100,
        "category": None,
        "channel": None,
        "retracted": None,
    }
    rows = [
        row | {"event_id": k, "event_time": t, "known_time": t, "delivered_known_time": t} for k, t in edges.items()
    ]
    events = {"consumption": rows, "payment": [], "device": []}
    lines = to_arrow(events)
    zone = replace(CATALOGUE, timezone="Europe/Berlin")
    found = build_table(zone, spine((moment, moment)), lines | {"accounts": _opened_early(lines)})
    assert found.loc[found["account_id"] == "A1", "draw_count_30d"].tolist() == [1]


def _opened_early(lines: dict[str, object]) -> str:
    return "SELECT 'A1' AS account_id, TIMESTAMPTZ '2020-01-01 00:00:00+00' AS known_time, " \
        "TIMESTAMPTZ '2020-01-01 00:00:00+00' AS delivered_known_time, 's' AS segment"  # fmt: skip


def test_an_absent_source_leaves_its_declarations_out() -> None:
    chosen = CATALOGUE.for_sources(("consumption",))
    assert chosen.sources == ("consumption",)
    assert not [name for name in chosen.columns if "device" in name or "repayment" in name]
    assert "payment" not in compile_sql(chosen, Clock(AS_OF, AS_OF))


def test_no_column_name_is_declared_twice() -> None:
    names = [*CATALOGUE.columns, *(share.name for share in CATALOGUE.shares)]
    assert len(names) == len(set(names))


def test_counts_and_cents_are_whole_numbers() -> None:
    table = build_table(
        CATALOGUE, spine((AS_OF, AS_OF)), to_arrow({s: [] for s in ("consumption", "payment", "device")})
    )
    assert table[["draw_count_7d", "draw_sum_7d", "balance_cents", "past_due_cents"]].dtypes.eq(np.int64).all()
