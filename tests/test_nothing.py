"""Words and codes for nothing: none of them passes for a value that ties customers together or hides a risk."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from limitlens.data.check import check_events
from limitlens.data.events import EventStore
from limitlens.data.nothing import WORDS
from tests.test_check import account, due, held, purchase, put, put_csv, rows

LOGIN = {k: v for k, v in purchase(kind="login").items() if k in ("event_id", "account_id", "event_time", "known_time")}
LOGIN |= {"kind": "login", "device_id": "D1", "city": "X", "latitude_udeg": 1, "longitude_udeg": 1}
TRANSFER = {**due(kind="transfer_out"), "counterparty": "P1", "dpd_days": None}

NO_PLACE = "no place: latitude and longitude are 0"

SOURCES = {"accounts": account(2), "consumption": purchase(2), "payment": TRANSFER, "device": LOGIN}


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A delivery of one account and one purchase."""
    put(tmp_path / "in", "accounts/a.parquet", [account()])
    put(tmp_path / "in", "consumption/c.parquet", [purchase()])
    return tmp_path / "in"


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "workspace")


@pytest.mark.parametrize(
    ("source", "column"),
    [
        ("accounts", "account_id"),
        ("accounts", "segment"),
        ("consumption", "event_id"),
        ("payment", "instalment_id"),
        ("payment", "counterparty"),
        ("device", "device_id"),
        ("device", "kind"),
    ],
)
def test_an_id_or_a_kind_that_says_nothing_holds_its_row_back(
    source: str, column: str, inbox: Path, store: EventStore
) -> None:
    words = ["NULL", "None", "nan", "N/A", "<NA>", "(null)", " null ", "Unknown"]
    key = "account_id" if source == "accounts" else "event_id"
    given = [{**SOURCES[source], key: f"A{n + 2}", column: word} for n, word in enumerate(words)]
    put(inbox, f"{source}/x.parquet", given)
    report = check_events(inbox, store, max_quarantined_share=1)
    assert report.quarantine == {(source, column, "a word for nothing"): len(words)}


@pytest.mark.parametrize(("source", "column"), [("device", "device_id"), ("payment", "counterparty")])
def test_a_code_for_nothing_ties_no_customers_together(
    source: str, column: str, inbox: Path, store: EventStore
) -> None:
    codes = ["0", "-1", "000", "-", "00000000-0000-0000-0000-000000000000"]
    given = [{**SOURCES[source], "event_id": f"X{n}", column: code} for n, code in enumerate(codes)]
    put(inbox, f"{source}/x.parquet", given)
    assert check_events(inbox, store).quarantine == {(source, column, "a word for nothing"): len(codes)}


def test_ids_that_only_look_like_it_are_accepted(inbox: Path, store: EventStore) -> None:
    devices = ["Nullarbor", "nan-7", "0-1", "10", "999", "unknown device 3"]
    put(inbox, "device/x.parquet", [{**LOGIN, "event_id": f"L{n}", "device_id": d} for n, d in enumerate(devices)])
    put(inbox, "consumption/c.parquet", [purchase(event_id="0")])
    assert held(check_events(inbox, store)) == []


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_description_that_says_nothing_is_a_null(ending: str, inbox: Path, store: EventStore) -> None:
    line = "E{n},A1,2026-03-01T01:00:00Z,2026-03-01T01:00:00Z,purchase,500,{word},pos"
    if ending == "csv":
        put_csv(inbox, *(line.format(n=n, word=word) for n, word in enumerate([*WORDS, "Nan"])))
    else:
        events = [purchase(event_id=f"E{n}", category=word) for n, word in enumerate([*WORDS, "Nan"])]
        put(inbox, "consumption/c.parquet", events)
    assert held(check_events(inbox, store)) == []
    assert [row["category"] for row in rows(store) if row["category"]] == ["Nan"]


def test_an_attribute_that_says_nothing_is_a_null_and_its_column_stays_a_number(inbox: Path, store: EventStore) -> None:
    (inbox / "accounts/b.csv").write_text(
        "account_id,opened_at,known_time,segment,income,job\n"
        "A2,2026-03-01,2026-03-01,mass,NULL,N/A\nA3,2026-03-01,2026-03-01,mass,5,clerk\n"
    )
    check_events(inbox, store)
    found = {row["account_id"]: (row["income"], row["job"]) for row in rows(store, "accounts")}
    assert (found["A2"], found["A3"]) == ((None, None), (5.0, "clerk"))


def test_an_impossible_number_is_held_back_with_a_rule_of_its_own(inbox: Path, store: EventStore) -> None:
    cases: list[tuple[str, dict[str, Any], str, str]] = [
        ("consumption", {"amount_cents": -1}, "amount_cents", "negative amount"),
        ("consumption", {"kind": "refund", "amount_cents": -999}, "amount_cents", "negative amount"),
        ("payment", {"kind": "repayment", "amount_cents": -1}, "amount_cents", "below 0"),
        ("payment", {"kind": "status", "dpd_days": -1}, "dpd_days", "below 0"),
        ("payment", {"kind": "status", "dpd_days": 99_999}, "dpd_days", "above 36500"),
        ("accounts", {"limit_cents": -1}, "limit_cents", "below 0"),
        ("device", {"latitude_udeg": 0, "longitude_udeg": 0}, "latitude_udeg", NO_PLACE),
        ("device", {"latitude_udeg": 999_000_000}, "latitude_udeg", "above 90000000"),
    ]
    for source, sound in SOURCES.items():
        given = [{**sound, **changes} for name, changes, *_ in cases if name == source]
        numbered = [{**row, next(iter(row)): f"X{n}"} for n, row in enumerate(given)]
        put(inbox, f"{source}/x.parquet", numbered)
    found = check_events(inbox, store).quarantine
    assert found == Counter((source, column, rule) for source, _, column, rule in cases)


def test_an_amount_that_says_nothing_is_held_back(inbox: Path, store: EventStore) -> None:
    line = "E{n},A1,2026-03-01T01:00:00Z,2026-03-01T01:00:00Z,purchase,{amount},food,pos"
    words = ["500", "NULL", "None", "nan", "N/A"]
    put_csv(inbox, *(line.format(n=n, amount=word) for n, word in enumerate(words)))
    assert {column for column, _ in held(check_events(inbox, store))} == {"amount_cents"}
    assert len(rows(store)) == 1


@pytest.mark.parametrize(("source", "column"), [("accounts", "opened_at"), ("consumption", "event_time")])
def test_a_time_that_stands_for_none_is_held_back(source: str, column: str, inbox: Path, store: EventStore) -> None:
    days = ["1900-01-01", "1970-01-01", "1970-01-20T11:15:00"]
    given = {name: str(value).replace("+00:00", "Z") for name, value in SOURCES[source].items()}
    lines = [{**given, next(iter(given)): f"X{n}", column: day} for n, day in enumerate(days)]
    text = "\n".join([",".join(given), *(",".join(line.values()) for line in lines), ""])
    (inbox / source / "x.csv").write_text(text)
    report = check_events(inbox, store)
    assert report.quarantine == {(source, column, "a placeholder: 1900-01-01 or January 1970"): len(days)}
