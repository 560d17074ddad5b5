"""Faults of the feed: what arrives, what a repair mends, what the truth says, what the check makes of it today."""

import gzip
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.contracts import MAX_CENTS
from limitlens.data.corrupting import corrupt
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.events import EventStore, stored_schema
from limitlens.data.faults import FAULTS, TOUCHED, Fault, apply_fault
from limitlens.pipeline.cli import app

Row = dict[str, Any]
T0 = datetime(2026, 3, 1, tzinfo=UTC)
HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
EVER = datetime(2100, 1, 1, tzinfo=UTC)
STORE_ADDS = {"delivered_known_time", "event_no", "correction"}
SCHEMA = pa.schema([field for field in stored_schema("consumption") if field.name not in STORE_ADDS])


def purchase(number: int = 1, **changes: Any) -> Row:
    time = T0 + number * HOUR
    row = {"event_id": f"E{number}", "account_id": "A1", "event_time": time, "known_time": time, "kind": "purchase"}
    return {**row, "amount_cents": 500, "category": "food", "channel": "pos", "retracted": None, **changes}


def table(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), SCHEMA)


def many(count: int = 2_000) -> pa.Table:
    return table(*(purchase(i, account_id=f"A{i}") for i in range(count)))


def strike(name: str, *rows: Row, **how: Any) -> list[Row]:
    found: list[Row] = apply_fault(Fault(name, "consumption", **how), table(*rows)).table.to_pylist()
    return found


def latest(rows: list[Row], known_by: datetime) -> dict[str, Row]:
    """What an as-of query sees: of each event the latest version known before, unless it is withdrawn."""
    seen = {r["event_id"]: r for r in sorted(rows, key=lambda r: r["known_time"]) if r["known_time"] < known_by}
    clocks = ("known_time", "delivered_known_time", "retracted")
    return {e: {k: v for k, v in r.items() if k not in clocks} for e, r in seen.items() if not r["retracted"]}


# A slow and obvious second implementation


def chance(fault: Fault, what: str, key: str) -> float:
    digest = hashlib.md5(f"{key}:{fault.name}:{fault.seed}:{what}".encode()).digest()
    return int.from_bytes(digest[8:], "little") / 2**64


def wrong(fault: Fault, row: Row) -> Row:
    """The row with the values that the fault gives it; late rows and copies keep theirs."""
    luck, column = chance(fault, "luck", row["event_id"]), str(fault.hits_column)
    changes: dict[str, Any] = {
        "unit_x100": lambda: {"amount_cents": row["amount_cents"] * 100},
        "sign_flip": lambda: {"amount_cents": -row["amount_cents"]},
        "correction": lambda: {"amount_cents": math.floor(row["amount_cents"] * (0.5 + luck) + 0.5)},
        "nulls": lambda: {column: None},
        "sentinel": lambda: {column: 999_999_999 if column == "amount_cents" else "UNKNOWN"},
        "shifted_clock": lambda: {"event_time": row["event_time"] + 8 * HOUR},
        "category_recoded": lambda: {
            column: row[column] and "C" + hashlib.md5(row[column].encode()).hexdigest()[:6].upper()
        },
    }
    return {**row, **changes.get(fault.name, dict)()}


def is_hit(fault: Fault, row: Row) -> bool:
    changes_nothing = wrong(fault, row) == row and not fault.name.startswith(
        ("late", "missing", "duplicate", "delayed")
    )
    return (
        not changes_nothing
        and (not fault.kinds or row["kind"] in fault.kinds)
        and all(row[column] == value for column, value in fault.only)
        and (fault.start is None or row["known_time"] >= fault.start)
        and (fault.end is None or row["known_time"] < fault.end)
        and chance(fault, "hit", row["account_id" if fault.by == "account" else "event_id"]) < fault.share
    )


def expected(fault: Fault, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    events = defaultdict(list)
    for row in sorted(rows, key=lambda r: r["known_time"]):
        events[row["event_id"]].append(row)
    told: list[Row] = []
    arrived = [row for versions in events.values() for row in expected_of_event(fault, versions, told)]
    return arrived, told


def expected_of_event(fault: Fault, versions: list[Row], told: list[Row]) -> Iterator[Row]:
    hits, wait = [row for row in versions if is_hit(fault, row)], fault.repair_days * DAY
    if not hits:
        yield from versions
        return
    event_id = hits[0]["event_id"]
    repair_time = max((fault.end or row["known_time"]) + wait for row in hits)
    recalled = chance(fault, "recall", event_id) < fault.recall
    delay = wait if fault.name == "late_batch" else HOUR + chance(fault, "luck", event_id) * (wait - HOUR)
    fresh = f"{event_id}-{hashlib.md5(f'{event_id}:{fault.seed}'.encode()).hexdigest()[:6]}"
    latest_copy = None
    for place, row in enumerate(versions):
        if row not in hits:
            yield row
            continue
        known, repaired_at = row["known_time"], repair_time if recalled else None
        following = versions[place + 1 :]
        copied = min([known + HOUR, repair_time - TICK, *(r["known_time"] - TICK for r in following)])
        if fault.name in ("late_batch", "delayed_postings"):
            spared = [n for n, r in enumerate(following) if r not in hits]
            caps = [following[n]["known_time"] - (n + 1) * TICK for n in spared[:1]]
            repaired_at = min([known + delay, *caps])
            yield {**row, "known_time": repaired_at}
        elif fault.name == "duplicate_same_ids":
            repaired_at = None
            yield from (row, {**row, "known_time": copied})
        elif fault.name == "duplicate_fresh_ids":
            latest_copy = {**row, "event_id": fresh, "known_time": copied}
            yield from (row, latest_copy)
        elif fault.name != "missing_batch":
            yield wrong(fault, row)
        told.append(
            {"account_id": row["account_id"], "event_id": event_id, "known_time": known, "repaired_at": repaired_at}
        )
    if not recalled:
        return
    if latest_copy:
        yield {**latest_copy, "known_time": repair_time, "retracted": True}
    elif fault.name not in ("late_batch", "delayed_postings", "duplicate_same_ids"):
        right = [r for r in versions if r["known_time"] <= repair_time][-1]
        yield from [] if right["known_time"] == repair_time else [{**right, "known_time": repair_time}]


def bag(rows: list[Row]) -> Counter[tuple[tuple[str, Any], ...]]:
    return Counter(tuple(sorted(row.items())) for row in rows)


def in_seconds(rows: list[Row]) -> list[Row]:
    """An own delay is a product of doubles and may end a microsecond apart."""
    times = ("known_time", "repaired_at")
    return [{**r, **{t: round(r[t].timestamp()) for t in times if r.get(t)}} for r in rows]


#: Versions of few events at few times, so that corners meet: ties, exact repair times, versions a tick apart.
_VERSION = st.builds(
    lambda number, wait, **values: purchase(number, known_time=T0 + 2 * HOUR + wait, **values),
    st.integers(1, 2),
    st.sampled_from(
        [0 * TICK, TICK, 2 * TICK, HOUR / 2, HOUR, HOUR + TICK, 22 * HOUR, DAY, DAY + HOUR, 6 * DAY, 9 * DAY]
    ),
    kind=st.sampled_from(["purchase", "draw"]),
    amount_cents=st.integers(0, 50_000),
    category=st.sampled_from([None, "food", "rent"]),
    channel=st.sampled_from([None, "pos"]),
    retracted=st.sampled_from([None, None, False, True]),
)
_FEW = st.lists(_VERSION, max_size=8, unique_by=lambda row: (row["event_id"], row["known_time"]))


def apart(worlds: list[list[Row]]) -> list[Row]:
    """Rows of several worlds with no event and no account in common: one call strikes them all."""
    named = ("event_id", "account_id")
    return [row | {n: f"{world}{row[n]}" for n in named} for world, rows in enumerate(worlds) for row in rows]


_VERSIONS = st.lists(_FEW, min_size=2, max_size=6).map(apart)
_FAULT = st.fixed_dictionaries(
    {
        "share": st.sampled_from([0.5, 1.0, 1.0]),
        "by": st.sampled_from(["account", "row"]),
        "kinds": st.sampled_from([(), ("purchase",)]),
        "only": st.sampled_from([(), (("channel", "pos"),)]),
        "start": st.sampled_from([None, None, T0 + 3 * HOUR]),
        "end": st.sampled_from([None, None, T0 + DAY]),
        "recall": st.sampled_from([0.5, 1.0, 1.0]),
        "repair_days": st.sampled_from([1 / 24, 1.0, 6.0]),
        "seed": st.integers(0, 3),
    }
)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
@settings(max_examples=20)
@given(rows=_VERSIONS, how=_FAULT)
def test_every_operator_does_what_a_slow_reading_of_it_does(name: str, rows: list[Row], how: Row) -> None:
    fault = Fault(name, "consumption", **how)
    arrived, told = expected(fault, rows)
    struck = apply_fault(fault, table(*rows))
    read = in_seconds if name == "delayed_postings" else list
    assert bag(read(struck.table.to_pylist())) == bag(read(arrived))
    assert bag(read(struck.touched.drop_columns(["source", "fault"]).to_pylist())) == bag(read(told))


# What a repair mends


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
@settings(max_examples=20)
@given(rows=_VERSIONS, how=_FAULT)
def test_after_the_repair_everything_is_seen_as_without_the_fault(name: str, rows: list[Row], how: Row) -> None:
    struck = apply_fault(replace(Fault(name, "consumption", **how), recall=1.0), table(*rows))
    delivered = struck.table.to_pylist()
    keys = [(row["event_id"], row["known_time"]) for row in delivered]
    assert name == "duplicate_same_ids" or len(set(keys)) == len(keys)
    assert latest(delivered, EVER) == latest(rows, EVER)
    repaired = {
        told["event_id"]: told["repaired_at"] for told in struck.touched.to_pylist()
    }  # The last version counts.
    for event_id, repaired_at in repaired.items():
        if repaired_at:
            seen, meant = (latest(of, repaired_at + TICK) for of in (delivered, rows))
            assert seen.get(event_id) == meant.get(event_id)


@pytest.mark.parametrize("name", FAULTS)
def test_a_natural_correction_is_not_undone(name: str) -> None:
    for wait in (30 * TICK, HOUR / 2, 5 * DAY, 6 * DAY, 7 * DAY):
        corrected = purchase(known_time=T0 + HOUR + wait, amount_cents=7, category="rent", channel="web")
        delivered = strike(name, purchase(), corrected, only=(("channel", "pos"),))
        assert latest(delivered, EVER) == latest([corrected], EVER)
        assert latest(delivered, corrected["known_time"] + TICK)["E1"] == latest([corrected], EVER)["E1"]


def test_a_natural_correction_at_the_time_of_the_repair_is_the_repair() -> None:
    corrected = purchase(known_time=T0 + HOUR + 6 * DAY, channel="web")
    assert strike("missing_batch", purchase(), corrected, only=(("channel", "pos"),)) == [corrected]


def test_several_touched_versions_get_one_repair() -> None:
    second = purchase(known_time=T0 + DAY, amount_cents=7)
    delivered = strike("unit_x100", purchase(), second)
    assert [r["amount_cents"] for r in delivered] == [50_000, 700, 7]
    assert delivered[-1]["known_time"] == T0 + 7 * DAY


@pytest.mark.parametrize("recall", [0.0, 0.5, 1.0])
def test_recall_is_the_share_of_touched_events_that_are_repaired(recall: float) -> None:
    clean = many()
    struck = apply_fault(Fault("sentinel", "consumption", recall=recall), clean)
    repaired = len(struck.touched) - struck.touched["repaired_at"].null_count
    assert len(struck.table) - len(clean) == repaired
    assert repaired / len(clean) == pytest.approx(recall, abs=0.04)


def test_without_recall_missing_rows_never_arrive() -> None:
    assert strike("missing_batch", purchase(), recall=0.0) == []


def test_a_batch_is_repaired_so_many_days_after_its_end() -> None:
    repaired = strike("nulls", purchase(), end=T0 + DAY, repair_days=2.0)[-1]
    assert (repaired["known_time"], repaired["amount_cents"]) == (T0 + 3 * DAY, 500)


def test_a_copy_is_withdrawn_even_where_the_table_has_no_column_for_it() -> None:
    struck = apply_fault(Fault("duplicate_fresh_ids", "consumption"), table(purchase()).drop_columns(["retracted"]))
    rows = struck.table.sort_by("known_time").to_pylist()
    assert [r["retracted"] for r in rows] == [None, None, True]
    assert [r["event_id"] == "E1" for r in rows] == [True, False, False]


# Whom it hits


@pytest.mark.slow
def test_the_choice_depends_on_no_other_account_and_no_order() -> None:
    rows = [purchase(i, account_id=f"A{i % 4}", channel=f"c{i % 2}") for i in range(60)]
    for name in FAULTS:
        fault = Fault(name, "consumption", share=0.5, by="row", recall=0.5)
        whole = apply_fault(fault, table(*reversed(rows)))
        parts = [apply_fault(fault, table(*(r for r in rows if r["account_id"] == f"A{n}"))) for n in range(4)]
        assert whole.table.equals(pa.concat_tables(part.table for part in parts))
        assert whole.touched.equals(pa.concat_tables(part.touched for part in parts))


def touched_ids(clean: pa.Table, column: str = "event_id", **how: Any) -> set[str]:
    return set(apply_fault(Fault("unit_x100", "consumption", **how), clean).touched[column].to_pylist())


@pytest.mark.parametrize("by", ["account", "row"])
def test_the_share_is_kept_and_another_seed_hits_others(by: Any) -> None:
    first, second = (touched_ids(many(), share=0.2, by=by, seed=seed) for seed in (1, 2))
    assert len(first) / 2_000 == pytest.approx(0.2, abs=0.03)
    assert len(first & second) / 2_000 == pytest.approx(0.04, abs=0.02)


def test_by_account_all_events_of_an_account_share_its_fate() -> None:
    clean = table(*(purchase(i, account_id=f"A{i % 10}") for i in range(100)))
    accounts = touched_ids(clean, "account_id", share=0.5)
    assert 0 < len(accounts) < 10
    assert len(touched_ids(clean, share=0.5)) == 10 * len(accounts)


def test_kind_value_and_batch_narrow_it() -> None:
    clean = table(
        purchase(1, kind="draw", channel="atm"),
        purchase(2, kind="draw", channel="app"),
        purchase(3, kind="purchase", channel="atm"),
        purchase(4, kind="draw", channel="atm"),
    )
    assert touched_ids(clean, kinds=("draw",)) == {"E1", "E2", "E4"}
    assert touched_ids(clean, kinds=("draw",), only=(("channel", "atm"),)) == {"E1", "E4"}
    assert touched_ids(clean, start=T0 + 2 * HOUR, end=T0 + 4 * HOUR) == {"E2", "E3"}
    assert touched_ids(clean, start=T0 + 3 * HOUR) == {"E3", "E4"}


def test_a_row_that_would_not_change_or_has_no_id_is_not_touched() -> None:
    odd = [{"amount_cents": 0}, {"amount_cents": None}, {"event_id": None}, {"amount_cents": MAX_CENTS + 1}]
    clean = table(*(purchase(i, **changes) for i, changes in enumerate(odd)))
    struck = apply_fault(Fault("unit_x100", "consumption"), clean)
    assert not len(struck.touched)
    assert bag(struck.table.to_pylist()) == bag(clean.to_pylist())


@pytest.mark.parametrize("name", ["unit_x100", "sign_flip", "nulls", "sentinel", "shifted_clock", "category_recoded"])
def test_the_truth_names_exactly_the_rows_that_arrive_wrong(name: str) -> None:
    clean = many(200)
    struck = apply_fault(Fault(name, "consumption", share=0.3, recall=0.0), clean)
    right = bag(clean.to_pylist())
    changed = {row["event_id"] for row in struck.table.to_pylist() if not right[tuple(sorted(row.items()))]}
    assert set(struck.touched["event_id"].to_pylist()) == changed
    assert struck.touched.schema == TOUCHED
    assert {row["known_time"] for row in struck.touched.to_pylist()} <= {row["known_time"] for row in clean.to_pylist()}


@pytest.mark.parametrize("name", FAULTS)
def test_columns_and_types_stay_also_without_a_row(name: str) -> None:
    for clean in (table(purchase()), SCHEMA.empty_table()):
        struck = apply_fault(Fault(name, "consumption"), clean)
        assert (struck.table.schema, struck.touched.schema) == (SCHEMA, TOUCHED)


def test_one_category_gets_one_code() -> None:
    words = ["food", "rent", "food", None]
    delivered = strike("category_recoded", *(purchase(i, category=w) for i, w in enumerate(words)), recall=0.0)
    codes = [row["category"] for row in sorted(delivered, key=lambda r: r["event_id"])]
    assert codes[0] == codes[2] != codes[1]
    assert codes[3] is None


# Refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "unit_x10"}, "did you mean 'unit_x100'"),
        ({"source": "accounts"}, "unknown source 'accounts', expected consumption, payment, device"),
        ({"by": "rows"}, "did you mean 'row'"),
        ({"kinds": ("purchases",)}, "did you mean 'purchase'"),
        ({"share": 1.5}, "share is 1.5, expected 0 to 1"),
        ({"recall": float("nan")}, "recall is nan, expected 0 to 1"),
        ({"repair_days": 0.0}, "repair_days is 0.0, expected an hour"),
        ({"start": datetime(2026, 1, 1)}, "without a zone"),  # noqa: DTZ001
        ({"start": T0, "end": T0}, "expected after"),
        ({"column": "category"}, "has no choice of columns"),
        ({"name": "nulls", "column": "event_id"}, "by which rows are found"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(changes: Row, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fault(**{"name": "unit_x100", "source": "consumption", **changes})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("nulls", "consumption", column="chanel"), "did you mean 'channel'"),
        (Fault("nulls", "consumption", only=(("citi", "x"),)), "needs column 'citi'"),
        (Fault("sentinel", "consumption", column="event_time"), "expected int64 or string"),
        (Fault("category_recoded", "consumption", column="amount_cents"), "of int64, expected string"),
    ],
)
def test_a_column_that_does_not_fit_is_named(fault: Fault, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_fault(fault, table(purchase()))


# Folders


def put(root: Path, name: str, rows: pa.Table) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, root / name)


def text(rows: pa.Table) -> bytes:
    lines = [",".join(SCHEMA.names), *(",".join(str(v) for v in row.values()) for row in rows.to_pylist())]
    return ("\n".join(lines).replace("None", "") + "\n").encode()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Consumption of three accounts as Parquet, CSV and gzipped CSV, a login, and the truth of an earlier call."""
    root = tmp_path / "in"
    opened = {"opened_at": T0, "known_time": T0, "limit_cents": 1, "segment": "mass"}
    put(root, "accounts/a.parquet", pa.Table.from_pylist([{"account_id": f"A{n}", **opened} for n in range(3)]))
    parts = [table(*(purchase(10 * n + i, account_id=f"A{n}") for i in range(10))) for n in range(3)]
    put(root, "consumption/one.parquet", parts[0])
    (root / "consumption/two.csv").write_bytes(text(parts[1]))
    (root / "consumption/three.csv.gz").write_bytes(gzip.compress(text(parts[2])))
    login = purchase(99, kind="login", device_id="D1", city="X")
    put(
        root,
        "device/d.parquet",
        pa.Table.from_pylist([login]).select(["event_id", *SCHEMA.names[1:5], "device_id", "city"]),
    )
    put(root, "truth/old.parquet", parts[0])
    return root


def test_files_keep_their_names_and_untouched_sources_their_bytes(inbox: Path, tmp_path: Path) -> None:
    report = corrupt(inbox, tmp_path / "out", [Fault("unit_x100", "consumption")])
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    names = {f"consumption/{name}.parquet" for name in ("one", "two", "three")}
    assert found == {*names, "accounts/a.parquet", "device/d.parquet", "truth/faults.parquet"}
    for name in ("accounts/a.parquet", "device/d.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (inbox / name).read_bytes()
    assert report.copied == ("accounts", "device")
    assert report.lines()[0] == "consumption            30 rows in, 60 out: 30 touched of 3 accounts, 30 repaired"


def test_a_folder_gets_the_rows_that_one_table_gets(inbox: Path, tmp_path: Path) -> None:
    faults = [Fault("correction", "consumption", share=0.5, by="row"), Fault("late_batch", "consumption", recall=0.5)]
    corrupt(inbox, tmp_path / "out", faults)
    rows = table(*(purchase(10 * n + i, account_id=f"A{n}") for n in range(3) for i in range(10)))
    first = apply_fault(faults[0], rows)
    second = apply_fault(faults[1], first.table)
    assert bag(pq.read_table(tmp_path / "out/consumption").to_pylist()) == bag(second.table.to_pylist())
    told = first.touched.to_pylist() + second.touched.to_pylist()
    assert bag(pq.read_table(tmp_path / "out/truth/faults.parquet").to_pylist()) == bag(told)


@pytest.mark.parametrize(
    ("out", "fault", "message"),
    [
        ("in", Fault("nulls", "consumption"), "not empty"),
        ("in/out", Fault("nulls", "consumption"), "lies inside the input"),
        ("out", Fault("nulls", "payment"), "no file found, which nulls needs"),
    ],
)
def test_a_place_or_source_that_does_not_fit_is_refused(
    out: str, fault: Fault, message: str, inbox: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        corrupt(inbox, tmp_path / out, [fault])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"500", b"5oo", "two.csv, row 1: amount_cents is '5oo', expected cents"),
        (b"500", b"0.5", "two.csv, row 1: amount_cents is '0.5', expected cents"),
        (b"500", b"500,1,1,1", "two.csv, row 1: wrong number of fields"),
    ],
)
def test_a_cell_that_does_not_read_is_named_and_nothing_is_written(
    old: bytes, new: bytes, message: str, inbox: Path, tmp_path: Path
) -> None:
    path = inbox / "consumption/two.csv"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        corrupt(inbox, tmp_path / "out", [Fault("nulls", "consumption")])
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_two_files_that_would_become_one_are_refused(inbox: Path, tmp_path: Path) -> None:
    (inbox / "consumption/one.csv").write_bytes((inbox / "consumption/two.csv").read_bytes())
    with pytest.raises(InputError, match=r"another file becomes one\.parquet too"):
        corrupt(inbox, tmp_path / "out", [Fault("nulls", "consumption")])


def test_the_command_line_corrupts_a_batch(inbox: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    scope = ["--kind", "purchase", "--only", "channel=pos", "--from", "2026-03-01", "--to", "2026-03-01T10:00"]
    how = ["--share", "1", "--by", "row", "--column", "channel", "--recall", "0", "--repair-days", "3", "--seed", "7"]
    shown = CliRunner().invoke(
        app, ["corrupt", str(inbox), out, "--fault", "sentinel", "--source", "consumption", *scope, *how]
    )
    assert shown.exit_code == 0, shown.output
    assert "consumption            30 rows in, 30 out: 10 touched of 1 accounts, 0 repaired" in shown.output
    assert f"next: limitlens check {out}" in shown.output
    channels = pq.read_table(tmp_path / "out/consumption")["channel"].to_pylist()
    assert Counter(channels) == {"pos": 20, "UNKNOWN": 10}


# What the check makes of it today


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("late_batch", None),
        ("missing_batch", None),
        ("duplicate_same_ids", None),
        ("duplicate_fresh_ids", None),
        ("unit_x100", None),
        ("sign_flip", ("amount_cents", "negative amount")),
        ("nulls", ("amount_cents", "null")),
        ("sentinel", None),
        ("shifted_clock", ("event_time", "event in the future")),
        ("delayed_postings", None),
        ("category_recoded", None),
        ("correction", None),
    ],
)
def test_what_the_check_holds_back_today(name: str, rule: tuple[str, str] | None, inbox: Path, tmp_path: Path) -> None:
    report = corrupt(inbox, tmp_path / "out", [Fault(name, "consumption")])
    load = check_events(tmp_path / "out", EventStore(tmp_path / "work"), max_quarantined_share=1)
    count, held = load.sources["consumption"], {("consumption", *rule): 30} if rule else {}
    assert load.quarantine == held
    assert count.rows_in == report.sources["consumption"].rows_out
    assert count.rows_in == count.accepted + count.quarantined + count.deduplicated
    assert (count.quarantined, count.deduplicated) == (30 * bool(rule), 0)


@pytest.mark.slow
def test_an_empty_or_unknown_word_passes_where_the_contract_allows_any(inbox: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("nulls", "sentinel")):
        corrupt(inbox, tmp_path / f"out{number}", [Fault(name, "consumption", column="channel")])
        assert not check_events(tmp_path / f"out{number}", EventStore(tmp_path / f"work{number}")).quarantine
