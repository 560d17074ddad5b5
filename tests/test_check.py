"""The way in: every row is accepted, held back with its rule, or known already; a broken file is refused."""

import csv
import gzip
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data import versions
from limitlens.data.check import LoadReport, check_events
from limitlens.data.contracts import MAX_CENTS
from limitlens.data.delivery import MAX_COLUMNS
from limitlens.data.engine import run_sql
from limitlens.data.errors import InputError, WorkspaceError
from limitlens.data.events import EventStore
from limitlens.data.lock import exclusive

T0 = datetime(2026, 3, 1, tzinfo=UTC)
Row = dict[str, Any]


def account(number: int = 1, **changes: Any) -> Row:
    row = {"account_id": f"A{number}", "opened_at": T0, "known_time": T0, "limit_cents": 100_000, "segment": "mass"}
    return {**row, **changes}


def purchase(number: int = 1, **changes: Any) -> Row:
    time = T0 + timedelta(hours=number)
    row = {"event_id": f"E{number}", "account_id": "A1", "event_time": time, "known_time": time, "kind": "purchase"}
    return {**row, "amount_cents": 500, "category": "food", "channel": "pos", **changes}


def due(**changes: Any) -> Row:
    row = {"event_id": "D1", "account_id": "A1", "event_time": T0, "known_time": T0, "kind": "due", "amount_cents": 100}
    return {**row, "instalment_id": "I1", **changes}


HEADER = ",".join(purchase())
LINE = "E1,A1,2026-03-01T01:00:00Z,2026-03-01T01:00:00Z,purchase,500,food,pos"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A delivery of one account and one purchase."""
    root = tmp_path / "in"
    put(root, "accounts/a.parquet", [account()])
    put(root, "consumption/c.parquet", [purchase()])
    return root


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "workspace")


def put(root: Path, name: str, rows: list[Row] | pa.Table) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), path)
    return path


def put_csv(root: Path, *lines: str, header: str = HEADER) -> Path:
    (root / "consumption/c.parquet").unlink(missing_ok=True)
    path = root / "consumption/c.csv"
    path.write_bytes("\n".join([header, *lines, ""]).encode())
    return path


def held(report: LoadReport) -> list[tuple[str, str]]:
    return [(column, rule) for _, column, rule in report.quarantine]


def rows(store: EventStore, source: str = "consumption") -> list[Row]:
    found: list[Row] = run_sql(f"SELECT * FROM ({store.relation(source)})").to_pylist()
    return found


def quarantine(store: EventStore) -> list[Row]:
    found: list[Row] = run_sql(f"SELECT * FROM ({store.quarantine()}) ORDER BY load, file, row").to_pylist()
    return found


# Refused as a whole


def refusal(inbox: Path, store: EventStore) -> str:
    with pytest.raises(InputError) as caught:
        check_events(inbox, store)
    assert not store.loads()
    return str(caught.value)


def test_a_truncated_parquet_file_is_refused_by_name(inbox: Path, store: EventStore) -> None:
    path = inbox / "consumption/c.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(inbox, store).startswith("consumption/c.parquet: cannot be read")


def test_a_truncated_gzip_is_refused_by_name(inbox: Path, store: EventStore) -> None:
    packed = gzip.compress("\n".join([HEADER, *[LINE] * 1000]).encode())
    (inbox / "consumption/d.csv.gz").write_bytes(packed[:-12])
    assert refusal(inbox, store).startswith("consumption/d.csv.gz: cannot be read")


def test_a_renamed_column_is_named_with_its_likely_match(inbox: Path, store: EventStore) -> None:
    table = pa.Table.from_pylist([purchase()])
    names = ["amount_cent" if name == "amount_cents" else name for name in table.column_names]
    put(inbox, "consumption/c.parquet", table.rename_columns(names))
    expected = "consumption/c.parquet: expected column 'amount_cents', found 'amount_cent': rename it."
    assert refusal(inbox, store) == expected


def test_a_missing_column_is_named(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", pa.Table.from_pylist([purchase()]).drop_columns(["event_time"]))
    assert "expected column 'event_time'" in refusal(inbox, store)


def test_text_in_one_file_where_numbers_are_declared_is_refused(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/d.parquet", [purchase(2, amount_cents="500")])
    assert "consumption/d.parquet: column 'amount_cents' is string, expected cents" in refusal(inbox, store)


def test_a_csv_column_in_which_nothing_casts_is_refused(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE.replace("500", "five"), LINE.replace("500", "six"))
    assert "consumption/c.csv: column 'amount_cents' holds no cents" in refusal(inbox, store)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(inbox: Path, store: EventStore) -> None:
    path = put_csv(inbox, LINE, LINE.replace("food", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"))
    path.write_bytes(path.read_bytes().decode().encode("latin-1"))
    assert refusal(inbox, store).startswith("consumption/c.csv, line 3: not UTF-8")


def test_a_quote_that_is_never_closed_swallows_no_rows(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE.replace("pos", '"pos'), LINE.replace("E1", "E2"))
    assert "never closed, first seen in line 2" in refusal(inbox, store)


def test_two_quotes_that_are_never_closed_swallow_no_rows_between_them(inbox: Path, store: EventStore) -> None:
    lines = [LINE.replace("E1", f"E{number}") for number in range(100)]
    for row in (10, 60):
        lines[row - 1] = lines[row - 1].replace("food", '"5 inch tablet')
    put_csv(inbox, *lines)
    assert "never closed, first seen in line 11" in refusal(inbox, store)


@pytest.mark.parametrize("last", [11, 60])
def test_a_quote_that_another_row_closes_swallows_no_rows(last: int, inbox: Path, store: EventStore) -> None:
    lines = [LINE.replace("E1", f"E{number}") for number in range(100)]
    lines[9], lines[last - 1] = lines[9].replace("food", '"5 inch'), lines[last - 1].replace("food", '12 inch"')
    put_csv(inbox, *lines)
    assert f"c.csv: lines 11 to {last + 1} are one value in quotes" in refusal(inbox, store)


def test_a_quote_inside_a_value_is_part_of_it(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE.replace("food", '5" tablet'), LINE.replace("E1", "E2").replace("food", '"6"" tablet, new"'))
    check_events(inbox, store)
    assert [r["category"] for r in rows(store)] == ['5" tablet', '6" tablet, new']


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_amounts_in_whole_currency_are_refused_and_not_taken_in_part(
    ending: str, inbox: Path, store: EventStore
) -> None:
    amounts = [1200 + (n % 3) / 4 for n in range(120)]
    if ending == "csv":
        put_csv(inbox, *(LINE.replace("E1", f"E{n}").replace("500", f"{cents:.2f}") for n, cents in enumerate(amounts)))
    else:
        put(inbox, "consumption/c.parquet", [purchase(n, amount_cents=cents) for n, cents in enumerate(amounts)])
    expected = f"c.{ending}: column 'amount_cents' looks like another unit than cents: of 120 values 80 are no whole"
    assert expected in refusal(inbox, store)


def test_two_decimals_are_another_unit_even_where_all_are_zero(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE.replace("500", "500.00"), LINE.replace("E1", "E2").replace("500", "-7.00"))
    assert "of 2 values most are written with two decimals" in refusal(inbox, store)


def _with_unknown_accounts(inbox: Path, unknown: int, known: int) -> None:
    rows = [purchase(n, account_id="A9" if n < unknown else "A1") for n in range(unknown + known)]
    put(inbox, "consumption/c.parquet", rows)


def test_a_load_that_would_hold_back_a_third_is_refused_with_its_reason_unless_allowed(
    inbox: Path, store: EventStore
) -> None:
    _with_unknown_accounts(inbox, 20, 40)
    expected = (
        "consumption: 20 of 60 rows break the contract, 33.3%, and 10.0% may; most often account_id: unknown account "
        "(20 rows, the first is row 1 of consumption/c.parquet); mend it, or allow it with --max-quarantined-share."
    )
    assert refusal(inbox, store) == expected
    assert check_events(inbox, store, max_quarantined_share=0.34).sources["consumption"].quarantined == 20


@pytest.mark.parametrize(("unknown", "known"), [(9, 0), (10, 90)])
def test_a_few_rows_or_a_small_share_are_held_back(unknown: int, known: int, inbox: Path, store: EventStore) -> None:
    _with_unknown_accounts(inbox, unknown, known)
    assert check_events(inbox, store).sources["consumption"].quarantined == unknown


def test_too_many_columns_are_refused(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(**{f"x{i}": i for i in range(MAX_COLUMNS)})])
    assert f"expected at most {MAX_COLUMNS:,}" in refusal(inbox, store)


def test_two_columns_of_one_name_are_refused(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(Segment="x")])
    assert "stands there more than once" in refusal(inbox, store)


def test_a_delivery_without_accounts_is_refused(inbox: Path, store: EventStore) -> None:
    (inbox / "accounts/a.parquet").unlink()
    assert "accounts: no file found" in refusal(inbox, store)


def test_a_delivery_with_neither_events_nor_outcomes_is_refused(inbox: Path, store: EventStore) -> None:
    (inbox / "consumption/c.parquet").unlink()
    assert "no events and no outcomes" in refusal(inbox, store)


def test_a_link_that_leads_out_of_the_folder_is_refused(inbox: Path, store: EventStore) -> None:
    outside = put(inbox.parent, "outside.parquet", [purchase(2)])
    (inbox / "consumption/d.parquet").symlink_to(outside)
    assert "a link that leads out" in refusal(inbox, store)


def test_an_attribute_that_changes_its_type_is_refused(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(income=1.5)])
    put(inbox, "accounts/b.parquet", [account(2, income="high")])
    assert "accounts/b.parquet: column 'income' is string, expected number as before" in refusal(inbox, store)


def test_an_attribute_keeps_its_type_across_loads(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(income=1.5)])
    check_events(inbox, store)
    put(inbox, "accounts/b.parquet", [account(2, income="high")])
    with pytest.raises(InputError, match="expected number as before"):
        check_events(inbox, store)


# Held back, row by row


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"account_id": None}, ("account_id", "null")),
        ({"account_id": ""}, ("account_id", "null")),
        ({"event_id": "E\x002"}, ("event_id", "control or invisible character")),
        ({"event_id": "E\u200b2"}, ("event_id", "control or invisible character")),
        ({"account_id": "A1\n"}, ("account_id", "control or invisible character")),
        ({"event_id": " E2"}, ("event_id", "space before or after")),
        ({"event_id": "E2\u3000"}, ("event_id", "space before or after")),
        ({"event_id": "E\uff12"}, ("event_id", "full-width character")),
        ({"event_id": "E\u00a02"}, ("event_id", "full-width character")),
        ({"event_id": "E\u0410\u0412"}, ("event_id", "letters of two alphabets that look alike")),
        ({"account_id": "A1 "}, ("account_id", "space before or after")),
        ({"account_id": "\u04101"}, ("account_id", "unknown account")),
        ({"account_id": "A9"}, ("account_id", "unknown account")),
        ({"kind": "gift"}, ("kind", "not one of purchase, draw, refund, fee, statement_balance")),
        ({"amount_cents": float("nan")}, ("amount_cents", "not a finite number")),
        ({"amount_cents": float("inf")}, ("amount_cents", "not a finite number")),
        ({"amount_cents": 0.5}, ("amount_cents", "not a whole number")),
        ({"amount_cents": MAX_CENTS + 1.0}, ("amount_cents", f"above {MAX_CENTS} either way")),
        ({"amount_cents": 1e300}, ("amount_cents", f"above {MAX_CENTS} either way")),
        ({"amount_cents": -1.0}, ("amount_cents", "negative amount")),
        ({"event_time": T0 + timedelta(days=9)}, ("event_time", "event in the future")),
    ],
)
def test_a_broken_row_is_held_back_with_row_and_rule(
    changes: Row, expected: tuple[str, str], inbox: Path, store: EventStore
) -> None:
    sound = [purchase(1, amount_cents=500.0), purchase(3, amount_cents=500.0)]
    put(inbox, "consumption/c.parquet", [sound[0], {**purchase(2, amount_cents=500.0), **changes}, sound[1]])
    check_events(inbox, store)
    (row,) = quarantine(store)
    assert (row["column"], row["rule"]) == expected
    assert (row["load"], row["source"], row["file"], row["row"]) == ("0001", "consumption", "consumption/c.parquet", 2)
    assert {r["event_id"] for r in rows(store)} == {"E1", "E3"}


@pytest.mark.parametrize(
    "name",
    [
        "\u4e2d\u6587-7",
        "\u0416\u0410-1",
        "caf\u00e9",
        "na\u00efve 7",
        "E 2",
        "\u0391\u03a9",
        "\u4e2d\uff087\uff09",
        "E\u2122",
    ],
)
def test_an_id_in_any_one_alphabet_is_an_id(name: str, inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [{**purchase(1), "event_id": name}])
    check_events(inbox, store)
    assert [row["event_id"] for row in rows(store)] == [name]


@pytest.mark.parametrize("known", ["B1", "\u04121"])
def test_an_account_that_looks_like_one_that_is_known_is_held_back(known: str, inbox: Path, store: EventStore) -> None:
    other = ({"B1", "\u04121"} - {known}).pop()
    put(inbox, "accounts/first.parquet", [{**account(), "account_id": known}])
    check_events(inbox, store)
    later = {"known_time": T0 + timedelta(days=1), "limit_cents": 5}
    names = [other, "\u0412\u04161", known]
    put(inbox, "accounts/later.parquet", [{**account(), **later, "account_id": name} for name in names])
    check_events(inbox, store)
    (row,) = quarantine(store)
    assert (row["account_id"], row["rule"]) == (other, "looks like an account that is known")


PAYEES = [
    "\u652f\u4ed8\u5b9d\uff08\u4e2d\u56fd\uff09",
    "\u042f\u043d\u0434\u0435\u043a\u0441 Go",
    "VK \u041e",
    "A\u2122",
]


@pytest.mark.parametrize("payee", PAYEES)
def test_a_payee_may_be_called_anything(payee: str, inbox: Path, store: EventStore) -> None:
    put(inbox, "payment/p.parquet", [due(kind="transfer_in", counterparty=payee, instalment_id=None)])
    check_events(inbox, store)
    assert not quarantine(store)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("2026-03-01T01:00:00Z", "yesterday", ("event_time", "not an ISO 8601 time from 1900 to 2199")),
        ("2026-03-01T01:00:00Z", "2026-02-30", ("event_time", "not an ISO 8601 time from 1900 to 2199")),
        ("500", "five", ("amount_cents", "not a number")),
        ("500", "99999999999999999999999", ("amount_cents", f"above {MAX_CENTS} either way")),
        ("500", "nan", ("amount_cents", "not a finite number")),
        ("500", "5.5", ("amount_cents", "not a whole number")),
        ("500", "", ("amount_cents", "null")),
    ],
)
def test_a_csv_value_that_does_not_cast_holds_its_row_back(
    old: str, new: str, expected: tuple[str, str], inbox: Path, store: EventStore
) -> None:
    put_csv(inbox, LINE, LINE.replace("E1", "E2").replace(old, new, 1))
    check_events(inbox, store)
    (row,) = quarantine(store)
    assert (row["row"], row["column"], row["rule"]) == (2, *expected)
    assert row["event_id"] == "E2"


@pytest.mark.parametrize("segment", [" mass", "mass\N{NO-BREAK SPACE}"])
def test_a_segment_with_space_around_it_is_held_back(segment: str, inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/b.parquet", [account(2, segment=segment)])
    assert held(check_events(inbox, store)) == [("segment", "space before or after")]


def test_a_ragged_csv_row_is_held_back_and_the_rows_after_it_keep_their_numbers(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE, LINE + ",more", "E3,A1", LINE.replace("500", "five"))
    report = check_events(inbox, store)
    assert [(r["row"], r["rule"]) for r in quarantine(store)] == [
        (2, "wrong number of fields"),
        (3, "wrong number of fields"),
        (4, "not a number"),
    ]
    assert report.sources["consumption"].rows_in == 4


def test_a_newline_inside_quotes_is_part_of_its_value(inbox: Path, store: EventStore) -> None:
    put_csv(inbox, LINE.replace("food", '"fo\nod"'), LINE.replace("E1", "E2"))
    check_events(inbox, store)
    assert [r["category"] for r in rows(store)] == ["fo\nod", "food"]


def test_csv_times_are_read_with_their_offset_and_as_utc_without(inbox: Path, store: EventStore) -> None:
    put_csv(
        inbox,
        LINE.replace("2026-03-01T01:00:00Z", "2026-03-01 09:00+08:00", 1),
        LINE.replace("E1", "E2").replace("Z", ""),
    )
    check_events(inbox, store)
    assert {r["event_time"] for r in rows(store)} == {T0 + timedelta(hours=1)}


def test_parquet_times_of_any_unit_and_zone_become_utc(inbox: Path, store: EventStore) -> None:
    table = pa.Table.from_pylist([purchase()])
    local = table["event_time"].cast(pa.timestamp("ns", "Asia/Shanghai"))
    naive = table["known_time"].cast(pa.timestamp("us")).cast(pa.timestamp("ms"))
    put(inbox, "consumption/c.parquet", table.set_column(2, "event_time", local).set_column(3, "known_time", naive))
    check_events(inbox, store)
    assert [(r["event_time"], r["known_time"]) for r in rows(store)] == [(T0 + timedelta(hours=1),) * 2]


@pytest.mark.parametrize("labels", [[1, 0], [1.0, 0.0], [True, False]])
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_and_integer_ids_mean_the_same_in_csv_and_parquet(
    labels: list[Any], ending: str, inbox: Path, store: EventStore
) -> None:
    table = pa.table({"account_id": [1, 2], "as_of": [T0] * 2, "known_time": [T0] * 2, "bad": labels})
    put(inbox, "accounts/a.parquet", [account(account_id=1, segment=7), account(account_id=2, segment=7)])
    put(inbox, "consumption/c.parquet", [purchase(account_id=1)])
    (inbox / "outcomes").mkdir()
    write = {"csv": pa.csv.write_csv, "parquet": pq.write_table}[ending]
    write(table, inbox / f"outcomes/o.{ending}")
    check_events(inbox, store)
    assert [(r["account_id"], r["bad"]) for r in rows(store, "outcomes")] == [("1", True), ("2", False)]
    assert [r["segment"] for r in rows(store, "accounts")] == ["7", "7"]


def test_a_label_that_is_another_number_is_held_back(inbox: Path, store: EventStore) -> None:
    outcome = {"account_id": "A1", "as_of": T0, "known_time": T0}
    put(inbox, "outcomes/o.parquet", [{**outcome, "bad": 1}, {**outcome, "bad": 2}])
    assert held(check_events(inbox, store)) == [("bad", "not true or false")]


@pytest.mark.parametrize(("value", "taken"), [(1, True), (0.0, True), (2, False)])
def test_an_attribute_that_was_boolean_may_come_as_0_or_1(
    value: float, taken: bool, inbox: Path, store: EventStore
) -> None:
    put(inbox, "accounts/a.parquet", [account(1, owns=True)])
    put(inbox, "accounts/b.parquet", [account(2, owns=value)])
    if not taken:
        assert "expected boolean as before" in refusal(inbox, store)
        return
    check_events(inbox, store)
    assert {r["account_id"]: r["owns"] for r in rows(store, "accounts")} == {"A1": True, "A2": bool(value)}


def test_integral_floats_are_cents(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(amount_cents=500.0)])
    check_events(inbox, store)
    assert rows(store)[0]["amount_cents"] == 500


def test_a_due_may_lie_ahead_of_its_known_time(inbox: Path, store: EventStore) -> None:
    put(inbox, "payment/p.parquet", [due(event_time=T0 + timedelta(days=30))])
    assert check_events(inbox, store).sources["payment"].accepted == 1


def test_only_a_statement_balance_may_be_negative(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(kind="statement_balance", amount_cents=-5)])
    assert check_events(inbox, store).sources["consumption"].accepted == 1


# Versions


def test_the_same_batch_under_another_name_is_deduplicated_and_writes_nothing(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store)
    before = store.digest()
    (inbox / "consumption/c.parquet").rename(inbox / "consumption/again.parquet")
    report = check_events(inbox, store)
    assert (report.load, report.sources["consumption"].deduplicated, store.digest()) == (None, 1, before)


def test_one_row_twice_in_one_delivery_is_kept_once(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/d.parquet", [purchase()])
    count = check_events(inbox, store).sources["consumption"]
    assert (count.accepted, count.deduplicated, len(rows(store))) == (1, 1, 1)


def test_conflicting_account_rows_are_both_held_back(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/b.parquet", [account(2, limit_cents=1), account(2, limit_cents=2), account(3)])
    report = check_events(inbox, store)
    assert report.quarantine == {("accounts", "account_id", "conflicting versions"): 2}
    assert [(r["account_id"], r["file"], r["row"]) for r in quarantine(store)] == [
        ("A2", "accounts/b.parquet", 1),
        ("A2", "accounts/b.parquet", 2),
    ]
    assert {r["account_id"] for r in rows(store, "accounts")} == {"A1", "A3"}


def test_a_row_that_conflicts_with_an_accepted_one_is_held_back(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store)
    put(inbox, "consumption/c.parquet", [purchase(amount_cents=501)])
    assert held(check_events(inbox, store)) == [("event_id", "conflicting versions")]
    assert [r["amount_cents"] for r in rows(store)] == [500]


def test_an_event_cannot_move_to_another_account(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/b.parquet", [account(2)])
    check_events(inbox, store)
    put(inbox, "consumption/d.parquet", [purchase(account_id="A2", known_time=T0 + timedelta(days=1))])
    assert held(check_events(inbox, store)) == [("event_id", "conflicting versions")]
    assert {r["account_id"] for r in rows(store)} == {"A1"}


def test_a_correction_is_a_new_version(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/d.parquet", [purchase(known_time=T0 + timedelta(days=1), amount_cents=501)])
    assert check_events(inbox, store).sources["consumption"].accepted == 2


def test_versions_share_the_number_of_their_event_within_a_load_and_across_loads(
    inbox: Path, store: EventStore
) -> None:
    later = [T0 + timedelta(days=day) for day in (1, 2)]
    put(inbox, "consumption/d.parquet", [purchase(2), purchase(known_time=later[0], amount_cents=501), purchase(3)])
    check_events(inbox, store)
    put(inbox, "consumption/e.parquet", [purchase(2, known_time=later[0], amount_cents=9), purchase(0)])
    put(inbox, "consumption/f.parquet", [purchase(known_time=later[1], amount_cents=502)])
    check_events(inbox, store)
    numbered = [(r["event_id"], r["event_no"], r["correction"]) for r in rows(store)]
    first = [("E1", 1, False), ("E1", 1, True), ("E2", 3, False), ("E3", 4, False)]
    assert sorted(numbered) == sorted([*first, ("E0", 5, False), ("E1", 1, True), ("E2", 3, True)])


def test_a_load_taken_in_by_small_pieces_has_the_bytes_of_one_taken_in_at_once(
    inbox: Path, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [purchase(n % 7, known_time=T0 + timedelta(days=1 + n), amount_cents=n) for n in range(20)]
    put(inbox, "consumption/d.parquet", more)
    check_events(inbox, store)
    monkeypatch.setattr(versions, "PIECE_ROWS", 3)
    pieced = EventStore(tmp_path / "pieced")
    check_events(inbox, pieced)
    assert len(rows(store)) == 21
    assert pieced.digest() == store.digest()


def test_a_quarantined_row_is_written_once(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(), purchase(2, account_id="A9")])
    check_events(inbox, store)
    report = check_events(inbox, store)
    assert (report.load, report.sources["consumption"].quarantined, len(quarantine(store))) == (None, 1, 1)


def test_a_held_row_is_accepted_once_its_account_has_come(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(account_id="A2")])
    check_events(inbox, store)
    put(inbox, "accounts/b.parquet", [account(2)])
    assert check_events(inbox, store).sources["consumption"].accepted == 1


def test_what_comes_after_a_decision_is_stamped_with_it_and_keeps_its_delivered_time(
    inbox: Path, store: EventStore
) -> None:
    check_events(inbox, store)
    decided = T0 + timedelta(days=31)
    put(inbox, "consumption/d.parquet", [purchase(2), purchase(3, known_time=decided + timedelta(days=1))])
    report = check_events(inbox, store, decided_until=decided)
    times = {r["event_id"]: (r["known_time"], r["delivered_known_time"]) for r in rows(store)}
    assert report.sources["consumption"].stamped == 1
    assert times["E1"] == (T0 + timedelta(hours=1),) * 2
    assert times["E2"] == (decided, T0 + timedelta(hours=2))
    assert times["E3"] == (decided + timedelta(days=1),) * 2


@pytest.mark.parametrize("source", ["accounts", "consumption"])
def test_a_row_known_after_the_load_waits_in_quarantine_until_its_time_has_come(
    source: str, inbox: Path, store: EventStore
) -> None:
    ahead = T0 + timedelta(days=120)
    row = account(2, known_time=ahead) if source == "accounts" else purchase(2, known_time=ahead)
    put(inbox, f"{source}/ahead.parquet", [row])
    report = check_events(inbox, store, loaded_at=T0 + timedelta(days=1))
    assert report.quarantine == {(source, "known_time", "known after the load"): 1}
    assert store.known_until() == T0 + timedelta(hours=1)
    later = check_events(inbox, store, loaded_at=ahead)
    assert (later.sources[source].accepted, later.sources[source].quarantined) == (1, 0)


def test_a_clock_that_is_a_little_ahead_holds_nothing_back(inbox: Path, store: EventStore) -> None:
    assert check_events(inbox, store, loaded_at=T0 + timedelta(minutes=5)).sources["consumption"].accepted == 1


def test_a_source_out_of_step_with_the_others_is_a_warning(inbox: Path, store: EventStore) -> None:
    ahead = T0 + timedelta(days=120)
    login = {"event_id": "L1", "account_id": "A1", "event_time": T0, "known_time": ahead, "kind": "login"}
    put(inbox, "payment/p.parquet", [due()])
    put(inbox, "device/d.parquet", [{**login, "device_id": "D1", "city": "X"}])
    report = check_events(inbox, store)
    expected = "device: known until 2026-06-29, most until 2026-03-01T01:00:00; see that both are right"
    assert report.warnings == [expected]
    assert (store.known_until(), store.latest_known()) == (T0 + timedelta(hours=1), ahead)


def test_a_stamped_row_is_recognised_when_it_comes_again(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store, decided_until=T0 + timedelta(days=31))
    report = check_events(inbox, store, decided_until=T0 + timedelta(days=62))
    assert (report.load, report.sources["consumption"].deduplicated) == (None, 1)


# Warnings


def test_columns_the_contract_does_not_know_are_listed_and_change_nothing(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(merchant="x")])
    report = check_events(inbox, store)
    assert report.unused_columns == {"consumption": ("merchant",)}
    assert report.warnings == ["consumption: columns not used: merchant; scores unchanged"]
    assert "merchant" not in rows(store)[0]


def test_a_new_attribute_is_listed_and_known_accounts_are_no_conflict(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store)
    put(inbox, "accounts/a.parquet", [account(income=1.5)])
    report = check_events(inbox, store)
    assert (report.new_attributes, report.sources["accounts"].deduplicated) == (("income",), 1)


def test_protected_attributes_are_known_by_the_words_in_their_names_kept_apart_and_named(
    inbox: Path, store: EventStore
) -> None:
    names = {"CODE_GENDER": "F", "DAYS_BIRTH": -9461.0, "NAME_FAMILY_STATUS": "Married", "客户年龄": 31.0}
    kept = {"contract_type": "cash", "phone_age": 2.0, "AMT_INCOME": 1.0}
    put(inbox, "accounts/a.parquet", [account(**names, **kept)])
    report = check_events(inbox, store)
    assert set(report.protected) == set(store.protected_attributes()) == set(names)
    assert set(store.attributes()) == set(kept)
    assert [w for w in report.warnings if "kept apart as protected: CODE_GENDER, DAYS_BIRTH" in w]


def test_an_attribute_of_one_file_is_null_in_the_others(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/b.parquet", [account(2, income=1.5)])
    put(inbox, "accounts/c.parquet", [account(3)])
    check_events(inbox, store)
    assert {r["account_id"]: r["income"] for r in rows(store, "accounts")} == {"A1": None, "A2": 1.5, "A3": None}


@pytest.mark.parametrize(
    "name", ["rule", "row_json", "raw", "content", "position", "verdict", "first_place", "fresh", "place"]
)
def test_an_attribute_may_have_any_word_for_a_name(name: str, inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(1, **{name: 1.5}), account(2, **{name: 2.5}), account(4, **{name: 0.5})])
    put(inbox, "accounts/b.parquet", [account(2, **{name: 2.5}), account(3), account(4), account(5, limit_cents=-1)])
    report = check_events(inbox, store)
    assert {r["account_id"]: r[name] for r in rows(store, "accounts")} == {"A1": 1.5, "A2": 2.5, "A3": None}
    assert sorted(held(report)) == [("account_id", "conflicting versions"), ("limit_cents", "below 0")]


@pytest.mark.parametrize("name", ["rowid", "delivered_rule", "As_of", "split"])
def test_an_attribute_with_a_name_of_our_own_is_refused(name: str, inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(1, **{name: 1.5})])
    assert f"column '{name}' has a name of limitlens's own" in refusal(inbox, store)


def test_a_line_with_limit_0_is_accepted_and_said(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/b.parquet", [account(2, limit_cents=0)])
    report = check_events(inbox, store)
    assert report.sources["accounts"].accepted == 2
    assert report.warnings == ["accounts: 1 rows with limit 0, in no book while they count: never decided"]


@pytest.mark.parametrize("column", [True, False])
def test_accounts_without_a_limit_are_accepted_and_said(column: bool, inbox: Path, store: EventStore) -> None:
    line = account(2, limit_cents=None)
    put(inbox, "accounts/b.parquet", [line if column else {k: v for k, v in line.items() if k != "limit_cents"}])
    report = check_events(inbox, store)
    assert report.sources["accounts"].accepted == 2
    assert report.without_limit == 1
    said = "1 rows without a limit: trained on and scored, never decided; limit_cents gives the limit of a line"
    assert report.warnings == [f"accounts: {said}"]


def test_a_misspelt_limit_is_refused_and_not_taken_for_an_attribute(inbox: Path, store: EventStore) -> None:
    line = account(2) | {"Limit_Cent": 100_000}
    put(inbox, "accounts/b.parquet", [{k: v for k, v in line.items() if k != "limit_cents"}])
    assert "accounts/b.parquet: column 'Limit_Cent' reads like 'limit_cents'; rename it" in refusal(inbox, store)


def test_an_empty_file_is_a_warning(inbox: Path, store: EventStore) -> None:
    (inbox / "consumption/d.csv").write_text("")
    put_csv(inbox)
    report = check_events(inbox, store)
    assert report.empty_files == ("consumption/c.csv", "consumption/d.csv")


def test_what_belongs_to_no_source_is_listed_and_the_truth_is_passed_over(inbox: Path, store: EventStore) -> None:
    for name in ("truth", "cards", "consumption/old"):
        (inbox / name).mkdir()
    report = check_events(inbox, store)
    assert report.ignored == ("cards", "consumption/old")
    assert report.absent == ("payment", "device", "outcomes")


def test_the_report_says_what_became_of_each_source(inbox: Path, store: EventStore) -> None:
    put(inbox, "consumption/c.parquet", [purchase(), purchase(2, account_id="A9")])
    assert check_events(inbox, store).lines() == [
        "load 0001",
        "accounts                1 rows: 1 accepted, 0 quarantined, 0 known already, 0 stamped",
        "consumption             2 rows: 1 accepted, 1 quarantined, 0 known already, 0 stamped",
        "quarantined             1 rows: consumption account_id unknown account",
        "not delivered: payment",
        "not delivered: device",
        "not delivered: outcomes",
    ]


# All or nothing


def test_a_second_run_is_refused_while_one_is_in_progress(inbox: Path, store: EventStore) -> None:
    with exclusive(store.root, "check", begins=True), pytest.raises(WorkspaceError, match="a run is in progress"):
        check_events(inbox, store)


def test_the_same_input_gives_the_same_bytes(inbox: Path, store: EventStore, tmp_path: Path) -> None:
    put(inbox, "consumption/d.parquet", [purchase(i) for i in (5, 3, 9)])
    other = EventStore(tmp_path / "other")
    check_events(inbox, store)
    check_events(inbox, other)
    assert store.digest() == other.digest()


_KILLED = """
import os, signal, sys
from pathlib import Path
from limitlens.data.check import check_events
from limitlens.data.events import EventStore
left = int(sys.argv[3])
def kill_at_rename(event, _):
    global left
    if event == "os.rename":
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill_at_rename)
check_events(Path(sys.argv[1]), EventStore(Path(sys.argv[2])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("files_finished", range(4))
def test_a_killed_load_is_as_if_it_never_was_and_the_next_one_makes_up_for_it(
    files_finished: int, inbox: Path, store: EventStore, tmp_path: Path
) -> None:
    other = EventStore(tmp_path / "uninterrupted")
    for target in (store, other):
        check_events(inbox, target)
    before = store.digest()
    put(inbox, "accounts/b.parquet", [account(2)])
    put(inbox, "consumption/d.parquet", [purchase(2), purchase(3, kind="gift")])
    command = [sys.executable, "-c", _KILLED, str(inbox), str(store.root), str(files_finished)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert store.digest() == before
    for target in (store, other):
        check_events(inbox, target)
    assert store.digest() == other.digest() != before


# Rows in = accepted + quarantined + deduplicated


_VALUES = {
    "event_id": st.sampled_from(["E1", "E2", "E\x00", "", None]),
    "account_id": st.sampled_from(["A1", "A2", "A9", None]),
    "event_time": st.sampled_from([T0, T0 + timedelta(days=2), None]),
    "known_time": st.sampled_from([T0, T0 + timedelta(days=1), None]),
    "kind": st.sampled_from(["purchase", "statement_balance", "gift"]),
    "amount_cents": st.sampled_from([0.0, 500.0, -500.0, 1e18, float("nan"), float("inf"), None]),
    "channel": st.sampled_from(["pos", 'a "quoted", word', "two\nlines", None]),
}
_ROW = st.fixed_dictionaries(_VALUES).map(lambda changes: {**purchase(), **changes})
_ACCOUNT = st.builds(account, st.integers(1, 2), limit_cents=st.sampled_from([0, 100, -100]))
_SCHEMA = pa.Table.from_pylist([purchase(amount_cents=1.0)]).schema


def _as_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path.with_suffix(".parquet"))


def _as_csv(path: Path, rows: list[Row]) -> None:
    with path.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, _SCHEMA.names)
        writer.writeheader()
        writer.writerows([purchase(100), *rows])
        file.write("ragged,row\n" * (len(rows) % 2))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    accounts=st.lists(_ACCOUNT, min_size=1, max_size=4),
    files=st.lists(
        st.tuples(st.sampled_from([_as_parquet, _as_csv]), st.lists(_ROW, max_size=6)), min_size=1, max_size=3
    ),
)
def test_every_row_is_accepted_quarantined_or_deduplicated(
    accounts: list[Row], files: list[tuple[Callable[[Path, list[Row]], None], list[Row]]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inbox, store = Path(folder, "in"), EventStore(Path(folder, "workspace"))
        put(inbox, "accounts/a.parquet", accounts)
        (inbox / "consumption").mkdir()
        for number, (write, written) in enumerate(files):
            write(inbox / "consumption" / str(number), written)
        first, second = (check_events(inbox, store, max_quarantined_share=1) for _ in range(2))
        stored = {source: len(rows(store, source)) for source in ("accounts", "consumption")}
        assert {source: first.sources[source].accepted for source in stored} == stored
        assert len(quarantine(store)) == sum(first.quarantine.values())
    for count in [*first.sources.values(), *second.sources.values()]:
        assert count.rows_in == count.accepted + count.quarantined + count.deduplicated
    delivered = sum(len(written) + (write is _as_csv) * (1 + len(written) % 2) for write, written in files)
    assert first.sources["consumption"].rows_in == delivered
    assert (second.load, second.quarantine) == (None, first.quarantine)
