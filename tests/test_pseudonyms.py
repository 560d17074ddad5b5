"""Pseudonyms: no id of a person leaves the border, and nothing else changes by it."""

import hmac
import json
import shutil
import stat
import sys
from base64 import b32encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data.check import check_events, take_in
from limitlens.data.contracts import SOURCES
from limitlens.data.errors import ConfigError
from limitlens.data.events import EventStore
from limitlens.data.id_key import default_key_path, expect_ids, new_key, read_key
from limitlens.data.pseudonyms import KINDS, PREFIXES, IdKey, is_pseudonym
from limitlens.data.quarantine import export_quarantine
from limitlens.data.rules import LINES
from limitlens.limits.policy_file import at_once
from limitlens.limits.state import in_holdout
from limitlens.models.inputs import account_numbers
from limitlens.pipeline.answers.report import report
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.release.promote import promote
from limitlens.pipeline.training import train as training
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.watching.intake import Moment, take_in_files
from limitlens.pipeline.workspace import Workspace, default_policy
from tests.conftest import MadeOnce
from tests.test_check import T0, account, due, purchase, put, quarantine, rows
from tests.test_holds import ANYWAY, BEFORE, FIRST, NOW
from tests.test_serve import listening
from tests.test_watch import known_between
from tests.test_watch import put as put_in

KEY, OTHER = IdKey(bytes(range(32))), IdKey(bytes(32))


def oracle(kind: str, delivered: str | None) -> str | None:
    """The definition, word for word; no id has letters of two alphabets here."""
    if not delivered:
        return None
    digest = hmac.new(KEY.secret, f"{kind}\0{delivered}".encode(), "sha256").digest()
    return PREFIXES[kind] + b32encode(digest[:16]).decode().lower().rstrip("=")


@given(st.lists(st.none() | st.text(st.characters(codec="ascii"), max_size=12), max_size=20))
def test_a_pseudonym_is_the_hmac_of_kind_and_id(ids: list[str | None]) -> None:
    for kind in PREFIXES:
        column = pa.chunked_array([ids[:3], ids[3:]], pa.string())
        assert KEY.pseudonyms(kind, column).to_pylist() == [oracle(kind, one) for one in ids]
        assert [KEY.pseudonym(kind, one) if one else None for one in ids] == [oracle(kind, one) for one in ids]


def test_an_id_that_is_read_as_another_shares_its_first_part_and_is_another() -> None:
    read_as, foreign = "ABC", "АВС"
    both = KEY.pseudonyms("account", pa.chunked_array([[read_as, foreign, "Ж1"]])).to_pylist()
    assert both == [KEY.pseudonym("account", one) for one in (read_as, foreign, "Ж1")]
    assert both[1].startswith(both[0] + "_")
    assert all(map(is_pseudonym, both))


def test_every_id_column_of_the_contract_has_a_kind() -> None:
    columns = {column.name for source in SOURCES.values() for column in source.columns if column.dtype == "string"}
    assert {name for name in columns if name.endswith("_id") or name == "counterparty"} == set(KINDS)


# The key


def test_a_key_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    path = default_key_path(tmp_path / "work")
    made = new_key(path, tmp_path / "work")
    assert path == tmp_path / "work.ids.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert new_key(path, tmp_path / "work") == made == read_key(path, tmp_path / "work")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_many_that_make_a_key_at_once_have_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as many:
        made = many.map(lambda _: new_key(tmp_path / "key", tmp_path / "work"), range(32))
    assert len(set(made)) == 1


def test_a_key_in_the_workspace_is_refused_also_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "work")
    for path in (tmp_path / "work" / "key", tmp_path / "link" / "key"):
        with pytest.raises(ConfigError, match="lies in the workspace"):
            new_key(path, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("text", ["", "secret", "limitlens-ids-1 00", "limitlens-ids-1 " + "zz" * 32])
def test_a_file_that_is_no_key_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="not a key of ids"):
        read_key(tmp_path / "key", tmp_path / "work")


def test_a_key_is_not_shown() -> None:
    assert KEY.secret.hex() not in f"{KEY!r} {KEY.fingerprint}"
    assert str(KEY.secret) not in repr(KEY)


# One key for a workspace


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A delivery of one account and one purchase."""
    root = tmp_path / "in"
    put(root, "accounts/a.parquet", [account()])
    put(root, "consumption/c.parquet", [purchase()])
    return root


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "work")


@pytest.mark.parametrize("before", [KEY, None])
@pytest.mark.parametrize("after", [KEY, OTHER, None])
def test_all_loads_of_a_workspace_have_the_key_of_the_first(
    before: IdKey | None, after: IdKey | None, inbox: Path, store: EventStore
) -> None:
    check_events(inbox, store, key=before)
    put(inbox, "consumption/more.parquet", [purchase(2)])
    if before == after:
        check_events(inbox, store, key=after)
        assert [load["ids"] for load in store.loads()] == [store.ids()] * 2
        return
    with pytest.raises(ConfigError, match="its ids are"):
        check_events(inbox, store, key=after)
    assert len(store.loads()) == 1


def test_a_load_from_before_there_were_pseudonyms_counts_as_plain(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store)
    (path,) = (store.root / "loads").iterdir()
    mark = json.loads(path.read_text(encoding="utf-8"))
    del mark["ids"]
    path.write_text(json.dumps(mark), encoding="utf-8")
    expect_ids(store, None)
    with pytest.raises(ConfigError, match="its ids are as delivered"):
        expect_ids(store, KEY)


# What is stored


DIRTY = [
    purchase(10, account_id="A1 "),
    purchase(11, event_id="E\uff11"),
    purchase(12, account_id="NULL"),
    purchase(13, account_id="A77"),
    purchase(14, amount_cents=-1),
    purchase(15),
    purchase(15, amount_cents=7),
]


def test_rules_judge_the_ids_that_were_delivered(inbox: Path, store: EventStore, tmp_path: Path) -> None:
    plain = EventStore(tmp_path / "plain")
    put(inbox, "consumption/d.parquet", DIRTY)
    put(inbox, "device/d.parquet", [device(1), device(2, device_id="NULL"), device(3, device_id="phone\u200b7")])
    reports = [check_events(inbox, one, key=key, max_quarantined_share=1) for one, key in ((plain, None), (store, KEY))]
    assert reports[0] == reports[1]
    why = [
        sorted((r["source"], r["file"], r["row"], r["column"], r["rule"]) for r in quarantine(one))
        for one in (plain, store)
    ]
    assert why[0] == why[1]
    assert len(why[0]) == 9
    held = {(row["file"], row["row"]): row for row in quarantine(store)}
    for row in quarantine(plain):
        mine = held[row["file"], row["row"]]
        assert mine["event_id"] == oracle("event", row["event_id"])
        assert mine["account_id"] == oracle("account", row["account_id"])
        raw, kept = json.loads(row["row_json"]), json.loads(mine["row_json"])
        assert kept == {name: oracle(KINDS[name], value) if name in KINDS else value for name, value in raw.items()}


def device(number: int, **changes: Any) -> dict[str, Any]:
    row = {"event_id": f"L{number}", "account_id": "A1", "event_time": T0, "known_time": T0, "kind": "login"}
    return {**row, "device_id": "phone-7", "city": "Wuhan", **changes}


def test_repeats_corrections_and_mended_rows_are_known_again(inbox: Path, store: EventStore) -> None:
    put(inbox, "payment/p.parquet", [due()])
    check_events(inbox, store, key=KEY)
    put(inbox, "payment/q.parquet", [due(kind="repayment", event_id="R1", known_time=T0 + timedelta(days=1))])
    put(inbox, "consumption/e.parquet", [purchase(known_time=T0 + timedelta(days=1), amount_cents=9)])
    again = check_events(inbox, store, key=KEY)
    assert (again.sources["payment"].deduplicated, again.sources["payment"].accepted) == (1, 1)
    assert [row["correction"] for row in rows(store)] == [False, True]
    assert len({row["instalment_id"] for row in rows(store, "payment")}) == 1


@pytest.mark.parametrize("known", ["B1", "\u04121"])
def test_an_account_that_looks_like_one_of_an_earlier_load_is_held_back(
    known: str, inbox: Path, store: EventStore
) -> None:
    other = ({"B1", "\u04121"} - {known}).pop()
    put(inbox, "accounts/first.parquet", [account(account_id=known)])
    check_events(inbox, store, key=KEY)
    put(inbox, "accounts/later.parquet", [account(account_id=one) for one in (other, "\u0412\u04161", known)])
    check_events(inbox, store, key=KEY)
    (row,) = quarantine(store)
    assert row["account_id"] == KEY.pseudonym("account", other)
    assert row["rule"] == "looks like an account that is known"


def test_a_pseudonym_that_comes_in_is_held_back_and_not_hashed_again(inbox: Path, store: EventStore) -> None:
    check_events(inbox, store, key=KEY)
    put(inbox, "consumption/more.parquet", [purchase(2, account_id=KEY.pseudonym("account", "A1"))])
    check_events(inbox, store, key=KEY)
    (row,) = quarantine(store)
    assert (row["column"], row["rule"]) == ("account_id", "a pseudonym in the place of the id")


def test_a_row_that_cannot_be_read_leaves_no_text(inbox: Path, store: EventStore) -> None:
    lines = "E8,A1,2026-03-01T01:00:00Z,2026-03-01T01:00:00Z,purchase,500,food,pos"
    (inbox / "consumption" / "r.csv").write_text(f"{','.join(purchase())}\n{lines}\n{lines},secret\n", encoding="utf-8")
    check_events(inbox, store, key=KEY)
    (row,) = quarantine(store)
    assert json.loads(row["row_json"]) == {"text": oracle("row", f"{lines},secret")}


def test_an_attribute_that_is_an_id_by_its_name_is_a_pseudonym(inbox: Path, store: EventStore) -> None:
    put(inbox, "accounts/a.parquet", [account(customer_id=4242, income=5.0), account(2, customer_id=None, income=6.0)])
    check_events(inbox, store, key=KEY)
    by_income = {row["income"]: row["customer_id"] for row in rows(store, "accounts")}
    assert by_income == {5.0: oracle("attribute", "4242"), 6.0: None}


def test_rows_of_a_watch_are_those_of_a_delivery(inbox: Path, store: EventStore, tmp_path: Path) -> None:
    """Accounts come in one tick, their events in the next, and then a message that misfits."""
    put(inbox, "accounts/a.parquet", [account(income=1.0), account(2, income=2.0)])
    put(inbox, "consumption/d.parquet", DIRTY)
    check_events(inbox, store, key=KEY, max_quarantined_share=1)
    watched = EventStore(tmp_path / "watched")
    watched.root.mkdir()
    take_in_ticks(inbox, watched, ("accounts", "consumption"))
    for source in ("accounts", "consumption"):
        assert rows(watched, source) == rows(store, source)
    assert reasons(watched) == reasons(store)
    misfit = account(3, income="high", opened_at="2026-03-01", known_time="2026-03-01")
    (tmp_path / "misfit" / "accounts").mkdir(parents=True)
    text = f"{','.join(misfit)}\n{','.join(map(str, misfit.values()))}\n"
    (tmp_path / "misfit" / "accounts" / "kafka-a-0-0-0.csv").write_text(text, encoding="utf-8")
    take_in_ticks(tmp_path / "misfit", watched, ("accounts",))
    stored, kept = reasons(watched)[-1]
    assert stored == "no number as before"
    assert json.loads(kept) == {name: str(value) for name, value in misfit.items()} | {
        "account_id": oracle("account", "A3")
    }


def reasons(store: EventStore) -> list[tuple[str, str]]:
    return [(row["rule"], row["row_json"]) for row in quarantine(store)]


def take_in_ticks(inbox: Path, store: EventStore, sources: tuple[str, ...]) -> None:
    journal = Journal(store.root)
    journal.sync(store)
    for number, source in enumerate(sources, journal.last_tick() + 1):
        moment = Moment(number, T0 + timedelta(days=9), None)
        paths = [(f"{source}/{path.name}", path) for path in sorted((inbox / source).iterdir())]
        new = LINES.empty_table()
        taken, held, refused = take_in_files(SOURCES[source], paths, moment, journal, store, new_lines=new, key=KEY)
        assert not refused
        journal.take(number, moment.at, {source: taken}, held, [])
    content = journal.path.read_bytes()
    assert not [one for one in (b"E10", "E\uff11".encode(), b"A77", b'"A1"', b'"A3"') if one in content]
    take_in(store, journal.journaled())
    journal.folded()


def test_a_delivery_by_key_is_the_delivery_of_the_mapped_tables(books: Path, tmp_path: Path) -> None:
    """All that follows reads what is accepted: with the same bytes there, it is the same."""
    mapped, seen = tmp_path / "mapped", dict[tuple[str, str], str | None]()
    for source in ("accounts", "consumption", "payment", "device"):
        table = pq.read_table(books / "before" / source)
        for name in set(KINDS) & set(table.column_names):
            values = [seen.setdefault((KINDS[name], v), oracle(KINDS[name], v)) for v in table[name].to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
        (mapped / source).mkdir(parents=True)
        pq.write_table(table, mapped / source / f"{source}.parquet")
    by_key, plain = EventStore(tmp_path / "by_key"), EventStore(tmp_path / "plain")
    check_events(books / "before", by_key, key=KEY)
    check_events(mapped, plain)
    assert by_key.digest() == plain.digest()


# A whole book by key


def make_keyed_book(books: Path, folder: Path) -> None:
    """The book of :func:`tests.test_holds.make_books` by key, with its very model; the twin has its lots, too."""
    space, base = Workspace(folder / "work"), Workspace(books / "base")
    model, delivered = base.iteration("1").model, {KEY.pseudonym("account", one): one for one in base.events.segments()}
    folder.mkdir(exist_ok=True)
    (folder / "work.ids.key").write_text(f"limitlens-ids-1 {KEY.secret.hex()}\n", encoding="utf-8")
    check_events(books / "before", space.events, key=KEY)
    with pytest.MonkeyPatch.context() as patched:
        table = build_training_table(space, model.settings, None)
        patched.setattr(training, "fit_iteration", lambda *_, **__: (model, table))
        training.train(space, model.settings, at_once(default_policy()), developer="developer")
    promote(space, None, NOW, override=ANYWAY)
    shutil.copytree(space.root, folder / "twin")
    with pytest.MonkeyPatch.context() as patched:
        for own in (account_numbers, in_holdout):
            for module in [one for one in sys.modules.values() if vars(one).get(own.__name__) is own]:
                patched.setattr(module, own.__name__, partial(by_delivered, own, delivered))
        decide_twice(Workspace(folder / "twin"))
    decide_twice(space)


def decide_twice(space: Workspace) -> None:
    for as_of in (BEFORE, FIRST):
        decide(space, as_of=as_of)


def by_delivered(own: Callable[..., Any], delivered: dict[str, str], ids: pd.Series, *draw: Any) -> Any:
    return own(ids.map(delivered), *draw)


@pytest.fixture(scope="module")
def keyed_book(books: Path, made_once: MadeOnce) -> Path:
    """Read only."""
    return made_once("keyed_book", lambda folder: make_keyed_book(books, folder))


@pytest.fixture
def keyed(keyed_book: Path, tmp_path: Path) -> Workspace:
    """A copy of it, and of its key."""
    shutil.copytree(keyed_book, tmp_path / "keyed")
    return Workspace(tmp_path / "keyed" / "work")


def test_pds_limits_and_shares_are_those_of_the_delivered_ids(books: Path, keyed_book: Path) -> None:
    """By the same model, with the same lines in its folds and in the holdout: these are dealt by hashes of ids."""
    plain = decided(books / "base").assign(
        account_id=lambda t: [KEY.pseudonym("account", one) for one in t["account_id"]]
    )
    by_key = decided(keyed_book / "twin")
    both = [one.sort_values(["account_id", "as_of"], ignore_index=True) for one in (plain, by_key)]
    assert len(both[0]) > 1_000
    pd.testing.assert_frame_equal(*both, check_exact=True)


def decided(root: Path) -> pd.DataFrame:
    columns = "account_id, as_of, action, limit_before_cents, limit_cents, pd, fired_rules"
    return Workspace(root).ledger.query(f"SELECT {columns}, COLUMNS('share_cents_.*') FROM current")


def ids_of(delivery: Path) -> set[str]:
    tables = [pq.read_table(delivery / source) for source in SOURCES if (delivery / source).is_dir()]
    return {one for t in tables for name in set(KINDS) & set(t.column_names) for one in t[name].to_pylist() if one}


def texts_in(root: Path) -> str:
    """Every file as it is, and every Parquet file and database as it reads."""
    parts = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            parts.append(path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            parts += [str(value) for row in pq.read_table(path).to_pylist() for value in row.values()]
    return "\n".join(parts)


def left_in(root: Path, ids: set[str]) -> set[str]:
    """Ids that stand somewhere in a folder, in longer words too."""
    content, left = texts_in(root), set[str]()
    for start, length in {(one[:5], len(one)) for one in ids}:
        left |= ids & {content[place : place + length] for place in places(content, start)}
    return left


def places(content: str, start: str) -> Iterator[int]:
    where = content.find(start)
    while where >= 0:
        yield where
        where = content.find(start, where + 1)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, [*words])


def test_no_delivered_id_is_left_in_the_workspace(keyed: Workspace, books: Path, tmp_path: Path) -> None:
    """Taken in, watched, trained on, decided, overridden and reported; the search finds all in a plain one."""
    ids = ids_of(books / "before") | ids_of(books / "whole")
    account = next(one for one in sorted(ids) if one.startswith("A") and "-" not in one)
    (tmp_path / "inbox").mkdir()
    put_in(tmp_path / "inbox", "0001", known_between(books / "world", FIRST, FIRST + timedelta(hours=6)))
    watched = run("watch", str(tmp_path / "inbox"), "--once", "-w", str(keyed.root))
    assert watched.exit_code == 0, watched.output
    assert not left_in(keyed.root, ids)
    dirty = [purchase(n, event_id=f"dirty-{account}-{n}", account_id=f"{account} ") for n in range(3)]
    put(tmp_path / "more", "accounts/a.parquet", pq.read_table(books / "whole" / "accounts"))
    put(tmp_path / "more", "consumption/c.parquet", dirty)
    check_events(tmp_path / "more", keyed.events, decided_until=FIRST, key=KEY)
    page, work = str(keyed.root / "why.html"), ["-w", str(keyed.root)]
    order = ["ledger", "override", account, "--limit", "20000.00", "--by", "Chen Wei", "--reason", "a slip", *work]
    for words in (["why", account, "--html", page, *work], order):
        done = run(*words)
        assert done.exit_code == 0, done.output
    report(keyed, keyed.root / "report.html")
    assert not left_in(keyed.root, ids | {f"dirty-{account}"})
    assert len(left_in(books / "base", ids_of(books / "before"))) > 0.9 * len(ids_of(books / "before"))


def test_a_line_is_named_by_its_id_or_its_pseudonym(keyed: Workspace, books: Path) -> None:
    work = ["-w", str(keyed.root)]
    delivered = sorted(Workspace(books / "base").events.segments())[0]
    stored = KEY.pseudonym("account", delivered)
    listed = ["ledger", "list", "--json", *work, "--account"]
    by_id, by_pseudonym = (run(*listed, one) for one in (delivered, stored))
    assert by_id.output == by_pseudonym.output
    assert {row["account_id"] for row in json.loads(by_id.output)} == {stored}
    default_key_path(keyed.root).unlink()
    assert run(*listed, stored).output == by_pseudonym.output
    refused = run(*listed, delivered).exception
    assert isinstance(refused, ConfigError)
    assert "their key is not at hand: give the pseudonym, or name the file of the key by --id-key" in str(refused)


def test_the_desk_finds_a_line_by_the_id_that_was_delivered(keyed: Workspace, books: Path) -> None:
    delivered = sorted(Workspace(books / "base").events.segments())[0]
    for key, page in ((KEY, "/line?account=" + KEY.pseudonym("account", delivered)), (None, "/search")):
        with listening(keyed, "", key) as served:
            assert served.browser().get("/search", account=delivered).url.startswith(served.address + page)


def test_ids_prints_the_pseudonyms_of_a_list(keyed: Workspace, tmp_path: Path) -> None:
    listed, out = tmp_path / "accounts.txt", tmp_path / "map.csv"
    listed.write_text("A000001\r\n=1+2\n\n", encoding="utf-8")
    words = ["ids", str(listed), "-w", str(keyed.root)]
    printed = run(*words)
    expected = ['"delivered","pseudonym"', *(f'"{a}","{oracle("account", b)}"' for a, b in LISTED)]
    assert printed.output.splitlines() == expected
    assert run(*words, "--out", str(out)).exit_code == 0
    assert out.read_text(encoding="utf-8") == printed.output
    inside = run(*words, "--out", str(keyed.root / "map.csv"))
    assert isinstance(inside.exception, ConfigError)


LISTED = [("A000001", "A000001"), ("'=1+2", "=1+2")]


def test_the_first_check_makes_a_key_and_says_where(inbox: Path, tmp_path: Path) -> None:
    work, key = tmp_path / "work", tmp_path / "work.ids.key"
    first = run("check", str(inbox), "-w", str(work))
    assert first.exit_code == 0, first.output
    assert f"by the key in {key}: keep it apart from the workspace, and a backup of it" in first.stderr.replace(
        "\n", ""
    )
    assert EventStore(work).ids() == read_key(key, work).fingerprint
    key.rename(tmp_path / "elsewhere")
    missing = run("check", str(inbox), "-w", str(work))
    assert "restore its backup, or name it by --id-key" in str(missing.exception)
    assert not key.exists()
    assert run("check", str(inbox), "-w", str(work), "--id-key", str(tmp_path / "elsewhere")).exit_code == 7
    assert "leave out --plain-ids" in str(run("check", str(inbox), "-w", str(work), "--plain-ids").exception)


def test_a_delivery_or_an_inbox_inside_the_workspace_is_refused(inbox: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert run("check", str(inbox), "-w", str(work)).exit_code == 0
    shutil.copytree(inbox, work / "in")
    for command in ("check", "watch"):
        refused = run(command, str(work / "in"), "-w", str(work))
        assert "lies in the workspace, whose ids it would reveal" in str(refused.exception)


def test_plain_ids_stay_as_delivered_and_make_no_key(inbox: Path, tmp_path: Path) -> None:
    assert run("check", str(inbox), "-w", str(tmp_path / "work"), "--plain-ids").exit_code == 0
    assert run("check", str(inbox), "-w", str(tmp_path / "work")).exit_code == 7
    assert not list(tmp_path.glob("*.key"))
    assert [row["account_id"] for row in rows(EventStore(tmp_path / "work"))] == ["A1"]


def test_an_export_of_the_quarantine_says_which_rows_to_mend(inbox: Path, store: EventStore, tmp_path: Path) -> None:
    put(inbox, "consumption/d.parquet", [purchase(2, amount_cents=-1)])
    check_events(inbox, store, key=KEY)
    export_quarantine(store, tmp_path / "mend.parquet", source="consumption")
    (row,) = pq.read_table(tmp_path / "mend.parquet").to_pylist()
    assert (row["delivered_file"], row["delivered_row"], row["rule"]) == ("consumption/d.parquet", 1, "negative amount")
