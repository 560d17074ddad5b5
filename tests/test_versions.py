"""Versions against an oracle in plain Python: what is accepted, known already or in conflict, and its numbers."""

import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data import versions
from limitlens.data.check import check_events
from limitlens.data.events import EventStore

pytestmark = pytest.mark.slow

T0 = datetime(2026, 3, 1, tzinfo=UTC)
ORDER = ("account_id", "event_time", "event_id", "known_time", "delivered_known_time")
Row = dict[str, Any]


def login(event: int, account: int, day: int, known_day: int, device: str) -> Row:
    times = {"event_time": T0 + timedelta(days=day), "known_time": T0 + timedelta(days=known_day)}
    return {
        "event_id": f"E{event}",
        "account_id": f"A{account}",
        **times,
        "kind": "login",
        "device_id": device,
        "city": "X",
    }


_LOGIN = st.builds(login, st.integers(1, 8), st.sampled_from([1, 1, 1, 2]), st.integers(0, 1), st.integers(2, 4),
                   st.sampled_from(["D1", "D1", "D2"]))  # fmt: skip
_FILE = st.lists(_LOGIN, max_size=12)
_DECIDED = st.sampled_from([None, None, T0 + timedelta(days=3)])
_LOAD = st.tuples(st.lists(_FILE, min_size=1, max_size=3), _DECIDED)


def version(row: Row) -> tuple[Any, Any]:
    """What names a version: its event, and when it was known as delivered."""
    return row["event_id"], row.get("delivered_known_time", row["known_time"])


def resolved(stored: list[Row], rows: list[Row], decided_until: datetime | None) -> tuple[list[Row], int, int]:
    """Accepted rows in order, with their numbers, and how many were in conflict and known already."""
    known = {version(row): row for row in stored}
    owners, contents, taken = defaultdict(set), defaultdict(set), set()
    for row in stored + rows:
        owners[row["event_id"]].add(row["account_id"])
    for row in rows:
        contents[version(row)].add(tuple(row.values()))
    accepted, conflicts, repeats = [], 0, 0
    for row in rows:
        earlier = known.get(version(row))
        if earlier is not None and all(earlier[name] == value for name, value in row.items() if name != "known_time"):
            repeats += 1
        elif earlier is not None or len(contents[version(row)]) > 1 or len(owners[row["event_id"]]) > 1:
            conflicts += 1
        elif version(row) in taken:
            repeats += 1
        else:
            taken.add(version(row))
            stamped = max(row["known_time"], decided_until or row["known_time"])
            accepted.append({**row, "known_time": stamped, "delivered_known_time": row["known_time"]})
    accepted.sort(key=lambda row: [row[name] for name in ORDER])
    numbers, last = {row["event_id"]: row["event_no"] for row in stored}, max([0, *(r["event_no"] for r in stored)])
    for place, row in enumerate(accepted, last + 1):
        row["correction"] = row["event_id"] in numbers
        row["event_no"] = numbers.setdefault(row["event_id"], place)
    return accepted, conflicts, repeats


@settings(max_examples=20)
@given(loads=st.lists(_LOAD, min_size=1, max_size=3), piece_rows=st.sampled_from([1, 2, 1 << 20]))
def test_loads_are_settled_as_plain_python_would(
    loads: list[tuple[list[list[Row]], datetime | None]], piece_rows: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(versions, "PIECE_ROWS", piece_rows)
        store, stored = EventStore(Path(folder, "workspace")), list[Row]()
        for number, (files, decided_until) in enumerate(loads):
            inbox = Path(folder, str(number))
            deliver(inbox, files)
            report = check_events(inbox, store, decided_until=decided_until, max_quarantined_share=1)
            count = report.sources["device"]
            accepted, conflicts, repeats = resolved(stored, [row for rows in files for row in rows], decided_until)
            assert (count.accepted, count.quarantined, count.deduplicated) == (len(accepted), conflicts, repeats)
            if accepted:
                table = pq.read_table(store.root / f"events/device/{report.load}.parquet")
                assert table.select(list(accepted[0])).to_pylist() == accepted
            stored += accepted


def deliver(inbox: Path, files: list[list[Row]]) -> None:
    """Two accounts, and the files of sign-ins."""
    for source in ("accounts", "device"):
        (inbox / source).mkdir(parents=True)
    lines = [
        {"account_id": f"A{n}", "opened_at": T0, "known_time": T0, "limit_cents": 1, "segment": "mass"} for n in (1, 2)
    ]
    pq.write_table(pa.Table.from_pylist(lines), inbox / "accounts/a.parquet")
    for number, rows in enumerate(files):
        schema = pa.Table.from_pylist([login(1, 1, 1, 1, "D1")]).schema
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), inbox / f"device/{number}.parquet")
