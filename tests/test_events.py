"""The store shows whole loads, typed, with the protected attributes apart."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.data.contracts import SOURCES
from limitlens.data.engine import run_sql
from limitlens.data.errors import IntegrityError, WorkspaceError
from limitlens.data.events import EventStore, stored_schema

T0 = datetime(2026, 3, 1, tzinfo=UTC)


def account(number: int, **attributes: Any) -> dict[str, Any]:
    row = {"account_id": f"A{number}", "opened_at": T0, "known_time": T0, "limit_cents": 100_000, "segment": "mass"}
    return {**row, **attributes}


LOGIN = {"event_id": "L1", "account_id": "A1", "event_time": T0, "known_time": T0 + timedelta(hours=1), "kind": "login"}


def load(store: EventStore, *accounts: dict[str, Any]) -> None:
    """Deliver accounts and one login, in Parquet."""
    inbox = store.root.parent / f"in{store.next_load()}"
    login = {**LOGIN, "device_id": "D1", "city": "Hangzhou"}
    for name, rows in {"accounts": list(accounts), "device": [login]}.items():
        (inbox / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), inbox / name / "x.parquet")
    check_events(inbox, store)


def table(store: EventStore, source: str) -> pa.Table:
    return run_sql(f"SELECT * FROM ({store.relation(source)}) ORDER BY account_id")


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "workspace")


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_without_rows_is_a_typed_empty_relation(source: str, store: EventStore) -> None:
    found = run_sql(store.relation(source))
    assert (found.num_rows, found.schema) == (0, stored_schema(source))


def test_a_relation_has_every_column_of_the_contract(store: EventStore) -> None:
    load(store, account(1))
    found = table(store, "device")
    assert found.schema == stored_schema("device")
    assert found.to_pylist()[0] == {
        **LOGIN,
        "device_id": "D1",
        "city": "Hangzhou",
        "latitude_udeg": None,
        "longitude_udeg": None,
        "retracted": None,
        "delivered_known_time": LOGIN["known_time"],
        "event_no": 1,
        "correction": False,
    }


def test_an_attribute_that_earlier_loads_lack_is_null_there(store: EventStore) -> None:
    load(store, account(1, grade="b"))
    load(store, account(2, grade="a", income=1500, employed=True))
    assert store.attributes() == {"grade": "text", "income": "number", "employed": "boolean"}
    assert table(store, "accounts").select(["grade", "income", "employed"]).to_pylist() == [
        {"grade": "b", "income": None, "employed": None},
        {"grade": "a", "income": 1500.0, "employed": True},
    ]


def test_an_attribute_that_a_load_lacks_is_null_in_the_relation_of_that_load_alone(store: EventStore) -> None:
    load(store, account(1, grade="b", income=1500.0))
    load(store, account(2, income=900.0))
    whole = run_sql(store.relation("accounts"))
    for number, of_load in enumerate(("0001", "0002")):
        assert run_sql(store.relation("accounts", [of_load])).equals(whole.slice(number, 1))


def test_protected_attributes_stand_apart(store: EventStore) -> None:
    load(store, account(1, Gender="f", income=1.0))
    assert "Gender" not in table(store, "accounts").column_names
    assert (store.attributes(), store.protected_attributes()) == ({"income": "number"}, {"Gender": "text"})
    assert store.protected().select(["account_id", "known_time", "Gender"]).to_pylist() == [
        {"account_id": "A1", "known_time": T0, "Gender": "f"}
    ]


def test_a_protected_attribute_is_that_known_before_the_moment(store: EventStore) -> None:
    load(store, account(1, gender="f"))
    load(store, account(1, gender="m", known_time=T0 + timedelta(days=1)))
    days = pd.Series([0, 1, 2, 2], index=[7, 5, 3, 1])
    points = pd.DataFrame({"account_id": ["A1", "A1", "A1", "A9"], "as_of": T0 + pd.to_timedelta(days, unit="D")})
    found = store.protected_at(points)["gender"]
    assert found.index.tolist() == [7, 5, 3, 1]
    assert found.astype(object).where(found.notna(), None).tolist() == [None, "f", "m", None]


def test_a_protected_attribute_counts_when_versions_are_compared(store: EventStore) -> None:
    load(store, account(1, gender="f"))
    load(store, account(1, gender="m"))
    assert [row["rule"] for row in run_sql(store.quarantine()).to_pylist()] == ["conflicting versions"]
    assert store.protected()["gender"].to_pylist() == ["f"]


def test_the_store_says_which_sources_came_and_how_far_they_reach(store: EventStore) -> None:
    load(store, account(1))
    assert store.present() == ("accounts", "device")
    assert store.known_until() == LOGIN["known_time"]


def test_a_store_without_events_says_what_to_run(store: EventStore) -> None:
    with pytest.raises(WorkspaceError, match="run limitlens check INPUT first"):
        store.known_until()


def test_a_file_no_mark_names_is_not_seen(store: EventStore) -> None:
    load(store, account(1))
    digest, before = store.digest(), table(store, "accounts")
    store.write(store.next_load(), "events/accounts", [before])
    assert (store.digest(), table(store, "accounts")) == (digest, before)


def test_verify_names_a_file_that_was_changed(store: EventStore) -> None:
    load(store, account(1))
    store.verify()
    (name,) = [name for name in store.loads()[0]["files"] if "device" in name]
    path = store.root / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match=r"device.*missing or changed"):
        store.verify()


def test_a_damaged_mark_is_named(store: EventStore) -> None:
    load(store, account(1))
    (store.root / "loads" / "0001.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"0001\.json"):
        store.present()


def test_a_mark_holds_the_report(store: EventStore) -> None:
    load(store, account(1), account(1, limit_cents=1))
    mark = json.loads((store.root / "loads" / "0001.json").read_text())
    assert mark["sources"]["accounts"]["quarantined"] == 2
    assert mark["quarantine"][0]["rule"] == "conflicting versions"
