"""Profiles: what a load looked like by slice and day, beside a slow second count; additive; under digest and verify."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from limitlens.data.check import check_events
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError
from limitlens.data.events import EventStore, stored_schema
from limitlens.data.profile_columns import COUNTS, FRESH_DAYS, NONE
from limitlens.data.quality_settings import Slices

Row = dict[str, Any]
Key = tuple[str, str, str, str, Any]
T0 = datetime(2026, 3, 1, tzinfo=UTC)
ADDED = {"delivered_known_time", "event_no", "correction"}
ACCOUNTS = [
    {
        "account_id": f"A{n}",
        "opened_at": T0,
        "known_time": T0,
        "limit_cents": 100,
        "segment": segment,
        "home_city": city,
    }
    for n, (segment, city) in enumerate([("student", "Ulm"), ("student", "Bonn"), ("salaried", "Ulm")])
]


def deliver(folder: Path, payments: list[Row]) -> Path:
    schema = pa.schema([field for field in stored_schema("payment") if field.name not in ADDED])
    for name, table in (
        ("accounts", pa.Table.from_pylist(ACCOUNTS)),
        ("payment", pa.Table.from_pylist(payments, schema)),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name / "rows.parquet")
    return folder


def profiled(store: EventStore) -> dict[Key, dict[str, int]]:
    keys = "source, kind, slice_column, slice_value, day"
    sums = ", ".join(f'CAST(SUM("{name}") AS BIGINT) AS "{name}"' for name in COUNTS)
    rows = run_sql(f"SELECT {keys}, {sums} FROM ({store.profiles()}) GROUP BY ALL").to_pylist()
    return {
        (r["source"], r["kind"], r["slice_column"], r["slice_value"], r["day"]): {n: r[n] or 0 for n in COUNTS}
        for r in rows
    }


def payment(number: int, hours: float, **changes: Any) -> Row:
    known = T0 + timedelta(hours=hours)
    row = {"event_id": f"E{number}", "account_id": "A0", "event_time": known, "known_time": known, "kind": "repayment"}
    return {**row, "amount_cents": 500, "instalment_id": None, "dpd_days": None, "counterparty": None, **changes}


def slow_count(rows: list[Row]) -> dict[Key, dict[str, int]]:
    """The same by a loop over the rows."""
    lines = {a["account_id"]: a for a in ACCOUNTS}
    ordered = sorted(rows, key=lambda r: (r["known_time"], r["event_id"]))
    first_day: dict[str, Any] = {}
    first_of: dict[Any, str] = {}
    numbered: dict[str, datetime] = {}
    for row in ordered:
        if row["counterparty"] is not None:
            first_day.setdefault(row["counterparty"], row["known_time"].date())
        content = tuple(row[n] for n in row if n not in ("event_id", "known_time"))
        first_of.setdefault(content, row["event_id"])
    for row in sorted(rows, key=lambda r: (r["account_id"], r["event_time"], r["event_id"], r["known_time"])):
        numbered.setdefault(row["event_id"], row["known_time"])
    dues = {(r["account_id"], r["instalment_id"], r["amount_cents"]) for r in rows if r["kind"] == "due"}
    begin = min(first_day.values(), default=None)
    found: dict[Key, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    seen: dict[Key, set[str]] = defaultdict(set)
    for row in rows:
        line, day = lines[row["account_id"]], row["known_time"].date()
        slices = [("", ""), ("counterparty", row["counterparty"] or NONE)]
        slices += [(name, line[name]) for name in ("segment", "home_city")]
        lag = max((row["known_time"] - row["event_time"]).total_seconds() / 3600, 0)
        log = math.log(row["amount_cents"]) if row["amount_cents"] else 0.0
        angle = 2 * math.pi * (row["event_time"].timestamp() % 86400) / 86400
        fresh = row["counterparty"] is not None and first_day[row["counterparty"]]
        content = tuple(row[n] for n in row if n not in ("event_id", "known_time"))
        linked = row["kind"] == "repayment" and row["instalment_id"] is not None
        one = {
            "rows": 1,
            "versions": int(numbered[row["event_id"]] != row["known_time"]),
            "repeats": int(first_of[content] != row["event_id"]),
            "null_instalment_id": int(row["instalment_id"] is None),
            "null_dpd_days": int(row["dpd_days"] is None),
            "null_counterparty": int(row["counterparty"] is None),
            "fresh_counterparty": int(
                bool(fresh) and (fresh - begin).days >= FRESH_DAYS and (day - fresh).days < FRESH_DAYS
            ),
            "amounts": int(row["amount_cents"] != 0),
            "log_amount": round(1e6 * log),
            "log_amount_squared": round(1e6 * log * log),
            "not_positive": int(row["amount_cents"] <= 0),
            "whole": int(row["amount_cents"] % 100 == 0 and row["amount_cents"] != 0),
            "linked": int(linked),
            "matched": int(linked and (row["account_id"], row["instalment_id"], row["amount_cents"]) in dues),
            "lag": round(1e6 * math.log(1 + lag)),
            "lag_squared": round(1e6 * math.log(1 + lag) ** 2),
            "late": int(lag > 24),
            "hour_cos": round(1e6 * math.cos(angle)),
            "hour_sin": round(1e6 * math.sin(angle)),
        }
        for column, value in slices:
            key = ("payment", row["kind"], column, value, day)
            for name, count in one.items():
                found[key][name] += count
            if column == "":
                seen[key].add(row["account_id"])
    for key, accounts in seen.items():
        found[key]["accounts"] = len(accounts)
    for _, kind, column, _, day in list(found):
        for name in ("counterparty",) if column == "" else ():
            mine = [
                r[name] for r in rows if r["kind"] == kind and r["known_time"].date() == day and r[name] is not None
            ]
            found[("payment", kind, "", "", day)][f"common_{name}"] = max(map(mine.count, mine), default=0)
    return dict(found)


@st.composite
def several_payments(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 9))):
        known = T0 + timedelta(hours=draw(st.integers(0, 400)))
        back = draw(st.sampled_from([0, 1, 30]))
        row = payment(
            draw(st.integers(0, number)),
            0,
            account_id=None,
            known_time=known,
            event_time=known - timedelta(hours=back),
            kind=draw(st.sampled_from(["repayment", "due", "transfer_in"])),
            amount_cents=draw(st.sampled_from([0, 100, 550])),
            instalment_id=draw(st.sampled_from([None, "I1"])),
            counterparty=draw(st.sampled_from([None, "bank", "=1"])),
        )
        row["account_id"] = f"A{int(row['event_id'][1:]) % 3}"
        if all((r["event_id"], r["known_time"]) != (row["event_id"], known) for r in rows):
            rows.append(row)
    return rows


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=several_payments())
def test_a_profile_equals_a_slow_count(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("profiled")
    store = EventStore(folder / "work")
    check_events(deliver(folder / "in", rows), store)
    found, expected = profiled(store), slow_count(rows)
    assert set(found) == set(expected)
    inexact = {"log_amount_squared", "lag_squared", "log_amount", "lag", "hour_cos", "hour_sin"}
    for key, counts in expected.items():
        for name, count in counts.items():
            assert found[key][name] == pytest.approx(count, abs=len(rows) if name in inexact else 0), (key, name)


def test_two_loads_add_up_to_one(tmp_path: Path) -> None:
    rows = [payment(n, 9.0 * n, amount_cents=100 * (n % 7), account_id=f"A{n % 3}") for n in range(40)]
    rows += [payment(100 + n, 9.0 * n + 400, counterparty="new") for n in range(5)]
    once, twice = EventStore(tmp_path / "once"), EventStore(tmp_path / "twice")
    check_events(deliver(tmp_path / "all", rows), once)
    midnight = T0 + timedelta(days=8)
    for name, part in (("a", [r for r in rows if r["known_time"] < midnight]), ("b", rows)):
        check_events(deliver(tmp_path / name, part), twice)
    assert profiled(twice) == profiled(once)


def test_a_quarantined_row_counts_in_its_slice(tmp_path: Path) -> None:
    rows = [payment(n, n, amount_cents=-1 if n < 3 else 100, account_id=f"A{n % 3}") for n in range(40)]
    store = EventStore(tmp_path / "work")
    check_events(deliver(tmp_path / "in", rows), store)
    found, day = profiled(store), T0.date()
    counted = {
        scope: found[("payment", "repayment", *scope, day)]["quarantined"]
        for scope in (("", ""), ("segment", "student"))
    }
    assert counted == {("", ""): 3, ("segment", "student"): 2}


@pytest.mark.parametrize(("most", "sliced"), [(3, {"", "segment", "home_city", "counterparty"}), (2, {"", "segment"})])
def test_a_column_of_too_many_values_is_no_slice(tmp_path: Path, most: int, sliced: set[str]) -> None:
    """The third counterparty stands in a row held back only, the third city is that of a line without one."""
    held = payment(2, 2, amount_cents=-1, counterparty="held")
    rows = [payment(0, 0, counterparty="a"), payment(1, 1, counterparty="b", account_id="A1"), held]
    rows.append(payment(3, 3, counterparty="a", account_id="A3"))
    folder = deliver(tmp_path / "in", rows)
    lines = [*ACCOUNTS, {**ACCOUNTS[0], "account_id": "A3", "home_city": None}]
    pq.write_table(pa.Table.from_pylist(lines), folder / "accounts" / "rows.parquet")
    store = EventStore(tmp_path / "work")
    slices = Slices((), ("counterparty",), (), ("segment", "home_city"), max_values=most)
    check_events(folder, store, slices=slices)
    assert {column for _, _, column, *_ in profiled(store)} == sliced


def test_a_repeat_of_a_batch_under_other_ids_is_counted(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "work")
    rows = [payment(n, n) for n in range(5)]
    check_events(deliver(tmp_path / "a", rows), store)
    check_events(deliver(tmp_path / "b", [{**row, "event_id": f"copy-{row['event_id']}"} for row in rows]), store)
    assert sum(counts["repeats"] for (_, _, column, *_), counts in profiled(store).items() if column == "") == 5


def test_a_changed_profile_is_damage(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "work")
    check_events(deliver(tmp_path / "in", [payment(1, 1)]), store)
    store.verify()
    (tmp_path / "work" / "profiles" / "0001.parquet").write_bytes(b"no")
    with pytest.raises(IntegrityError, match="profiles/0001"):
        store.verify()
