"""Sharing: the hits are the plain intersection, the messages hold no id, and what is not right is refused in a line."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from limitlens.data import psi
from limitlens.data.errors import LimitlensError
from limitlens.data.persons import read_customers
from limitlens.limits.exchanges import Exchange, exchanges
from limitlens.pipeline.cli import app
from limitlens.pipeline.sharing.exchange import Side, answer, own_path, receive, request
from limitlens.pipeline.sharing.message import opened, sealed
from limitlens.pipeline.sharing.pair_secret import PairSecret, new_secret, read_secret
from limitlens.pipeline.sharing.share_settings import default_share_settings, parse_share_settings
from limitlens.pipeline.workspace import Workspace

pytest.importorskip("private_set_intersection.python")

NOW = datetime(2026, 7, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAIR = PairSecret(("lender-a", "lender-b"), bytes(range(32)))
CUSTOMERS = {f"1101051990{n:08d}": f"ACCOUNT{n:03d}" for n in range(12)}
LISTED = [*list(CUSTOMERS)[3:6], "999999999999999999"]


def shared(asked: Collection[str], listed: Collection[str], exchange: str = "e1") -> set[str]:
    """By the library, as an exchange uses it."""
    salted, items = PAIR.salted(exchange, "id", asked), list(PAIR.salted(exchange, "id", listed))
    mine = psi.ask(list(salted))
    answered = psi.answer(mine.message, len(salted), items)
    return {salted[list(salted)[place]] for place in psi.matches(mine.key, answered, len(salted), len(items))}


@settings(max_examples=40)
@given(st.sets(st.text(min_size=1, max_size=4), max_size=12), st.sets(st.text(min_size=1, max_size=4), max_size=12))
def test_hits_are_the_plain_intersection(asked: set[str], listed: set[str]) -> None:
    assert shared(asked, listed | set(list(asked)[:3])) == asked & (listed | set(list(asked)[:3]))


@pytest.mark.slow
def test_hits_of_twenty_thousand_are_the_plain_intersection() -> None:
    asked, listed = ([f"138{n:08d}" for n in range(start, start + 20_000)] for start in (0, 13_000))
    assert shared(asked, listed) == set(asked) & set(listed)


def test_under_the_salts_of_two_exchanges_nobody_is_the_same() -> None:
    assert not set(PAIR.salted("e1", "id", CUSTOMERS)) & set(PAIR.salted("e2", "id", CUSTOMERS))
    assert not set(PAIR.salted("e1", "id", CUSTOMERS)) & set(PAIR.salted("e1", "phone", CUSTOMERS))


@dataclass
class Pair:
    """Two lenders, each with a folder of its own, and what both gave each other by hand."""

    root: Path

    def __post_init__(self) -> None:
        for lender in PAIR.lenders:
            (self.root / lender).mkdir()
        new_secret(self.root / "secret", ("lender-a", "lender-b"))
        write_customers(self.root / "customers.csv", CUSTOMERS)
        (self.root / "list.csv").write_text("person_id\n" + "\n".join(LISTED))

    def side(self, lender: str) -> Side:
        folder = Workspace(self.root / lender)
        return Side(folder, lender, self.root / "secret", default_share_settings(), f"person of {lender}")

    def ask(self, at: datetime = NOW, name: str = "request") -> Exchange:
        return request(self.side("lender-a"), self.root / "customers.csv", self.root / name, at=at)

    def answer(self, at: datetime = NOW + HOUR, name: str = "request") -> Exchange:
        return answer(
            self.side("lender-b"), self.root / name, self.root / "list.csv", self.root / f"{name}.answer", at=at
        )

    def receive(self, at: datetime = NOW + 2 * HOUR, name: str = "request") -> Exchange:
        files = (self.root / name, self.root / f"{name}.answer", self.root / "customers.csv")
        return receive(self.side("lender-a"), *files, self.root / "hits" / "shared_risk" / f"{name}.csv", at=at)

    def hits(self, name: str = "request") -> list[dict[str, object]]:
        rows: list[dict[str, object]] = pacsv.read_csv(self.root / "hits" / "shared_risk" / f"{name}.csv").to_pylist()
        return rows


def write_customers(path: Path, customers: Mapping[str, str]) -> None:
    path.write_text("person_id,account_id\n" + "\n".join(f"{who},{line}" for who, line in customers.items()))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_an_exchange_says_who_stands_on_the_list_since_when_and_whose_it_is(pair: Pair) -> None:
    pair.ask()
    pair.answer()
    assert pair.receive().hits == 3
    rows = pair.hits()
    assert [row["account_id"] for row in rows] == ["ACCOUNT003", "ACCOUNT004", "ACCOUNT005"]
    assert {row["lender"] for row in rows} == {"lender-b"}
    assert {(row["event_time"], row["known_time"]) for row in rows} == {(NOW + HOUR, NOW + 2 * HOUR)}


def test_ids_that_are_written_differently_are_one_and_all_lines_of_a_person_are_hit(pair: Pair) -> None:
    (pair.root / "customers.csv").write_text("person_id,account_id\n11x ,A1\n１１Ｘ,A2\n12,A3\n")
    (pair.root / "list.csv").write_text("person_id\n 11X\n")
    pair.ask()
    pair.answer()
    assert pair.receive().hits == 1
    assert [row["account_id"] for row in pair.hits()] == ["A1", "A2"]


LENDER_B = """
import socket, sys
from datetime import datetime
from pathlib import Path
from tests.test_share import Pair, answer, received
root, at = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
side = Pair.side(type("Where", (), {"root": root}), "lender-b")
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    caller, _ = server.accept()
    with caller:
        (root / "came").write_bytes(received(caller))
        answer(side, root / "came", root / "list.csv", root / "goes", at=at)
        caller.sendall((root / "goes").read_bytes())
"""


def received(caller: socket.socket) -> bytes:
    """All that the other side sends."""
    parts = []
    while part := caller.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.slow
def test_two_processes_find_the_hits_over_the_loopback_and_what_passed_between_them_holds_no_id(pair: Pair) -> None:
    exchange = pair.ask().exchange
    command = [sys.executable, "-c", LENDER_B, str(pair.root), (NOW + HOUR).isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        address = ("127.0.0.1", int(other.stdout.readline()))
        sent = (pair.root / "request").read_bytes()
        with socket.create_connection(address) as to_b:
            to_b.sendall(sent)
            to_b.shutdown(socket.SHUT_WR)
            came = received(to_b)
    assert other.returncode == 0
    (pair.root / "request.answer").write_bytes(came)
    assert pair.receive().hits == 3
    expect_no_id(sent + came, read_secret(pair.root / "secret", pair.root / "work"), exchange)


def expect_no_id(held: bytes, secret: PairSecret, exchange: str) -> None:
    """Neither an id nor a line, and no salted id either: who has the secret could try ids out on those."""
    salted = secret.salted(exchange, default_share_settings().id_kind, [*CUSTOMERS, *LISTED])
    for text in [*CUSTOMERS, *CUSTOMERS.values(), *LISTED, *salted]:
        assert text.encode() not in held
    assert not any(bytes.fromhex(item) in held for item in salted)


def test_no_workspace_holds_an_id(pair: Pair) -> None:
    exchange = pair.ask().exchange
    pair.answer()
    pair.receive()
    secret = read_secret(pair.root / "secret", pair.root / "work")
    files = [path for lender in secret.lenders for path in (pair.root / lender).rglob("*") if path.is_file()]
    assert len(files) > 2
    for path in files:
        expect_no_id(path.read_bytes(), secret, exchange)


def test_asking_the_same_twice_sends_nothing_that_was_sent_before(pair: Pair) -> None:
    points = []
    for name in ("one", "two"):
        pair.ask(name=name)
        _, asked = opened((pair.root / name).read_bytes(), read_secret(pair.root / "secret", pair.root / "w"), name)
        points.append({asked[place : place + 33] for place in range(4, len(asked), 35)})
    assert len(points[0]) == len(points[1]) == len(CUSTOMERS)
    assert not points[0] & points[1]


def other_secret(pair: Pair) -> None:
    (pair.root / "secret").unlink()
    new_secret(pair.root / "secret", ("lender-a", "lender-b"))


def change(name: str, how: Callable[[bytes], bytes]) -> Callable[[Pair], None]:
    def changed(pair: Pair) -> None:
        (pair.root / name).write_bytes(how((pair.root / name).read_bytes()))

    return changed


def say(name: str, **words: object) -> Callable[[Pair], None]:
    """The message says something else, and whoever sends it has the secret."""

    def said(pair: Pair) -> None:
        secret = read_secret(pair.root / "secret", pair.root / "work")
        message, points = opened((pair.root / name).read_bytes(), secret, name)
        (pair.root / name).write_bytes(sealed(replace(message, **words), points, secret))  # type: ignore[arg-type]

    return said


def swap(name: str, **words: object) -> Callable[[Pair], None]:
    """The message says what none of ours says, and whoever sends it has the secret; ``None``: not said."""

    def swapped(pair: Pair) -> None:
        secret = read_secret(pair.root / "secret", pair.root / "work")
        _, line, points = (pair.root / name).read_bytes().split(b"\n", 2)
        body = {key: value for key, value in {**json.loads(line), **words}.items() if value is not None}
        resealed(pair, name, json.dumps(body).encode() + b"\n" + points, secret)

    return swapped


def resealed(pair: Pair, name: str, content: bytes, secret: PairSecret) -> None:
    (pair.root / name).write_bytes(f"limitlens-share-1 {secret.seal(content)}\n".encode() + content)


def head(name: str, content: bytes) -> Callable[[Pair], None]:
    """Other bytes under a seal that holds."""
    return lambda pair: resealed(pair, name, content, read_secret(pair.root / "secret", pair.root / "work"))


#: What whoever has the secret may put under its seal.
NO_MESSAGES = [
    head("request", b""),
    head("request", b"[1, 2]\n"),
    head("request", b"\xff\n"),
    head("request", b"[" * 3_000 + b"\n"),
    swap("request", step=None),
    swap("request", surplus=1),
    swap("request", step="answers"),
    swap("request", ids="12"),
    swap("request", ids=True),
    swap("request", ids=12.0),
    swap("request", ids=-1),
    swap("request", made_at="2026-07-01T09:00:00"),
    swap("request", made_at="yesterday"),
    swap("request", expires_at=7),
    swap("request", sender=["lender-a"]),
    swap("request", exchange="\x1b[31m" * 4),
    swap("request", exchange=""),
    swap("request", exchange="A" * 32),
    swap("request", id_kind=7),
]


@pytest.mark.parametrize("strike", NO_MESSAGES)
def test_what_is_sealed_and_no_message_is_refused_in_a_line(strike: Callable[[Pair], None], pair: Pair) -> None:
    pair.ask()
    strike(pair)
    with pytest.raises(LimitlensError, match="request: not a message of this version") as refused:
        pair.answer()
    assert str(refused.value).isprintable()
    assert not exchanges(pair.root / "lender-b")


BAD_POINTS = psi.ask(["a"] * 12).message.replace(b"\x02", b"\x05").replace(b"\x03", b"\x05")


def bad_points(pair: Pair) -> None:
    secret = read_secret(pair.root / "secret", pair.root / "work")
    message, _ = opened((pair.root / "request").read_bytes(), secret, "request")
    (pair.root / "request").write_bytes(sealed(message, BAD_POINTS, secret))


@pytest.mark.parametrize(
    ("strike", "expected"),
    [
        (other_secret, "sealed with another secret"),
        (change("request", lambda content: content[:-1]), "damaged"),
        (change("request", lambda content: content[:400] + b"~" + content[401:]), "damaged"),
        (change("request", lambda content: content[:-1] + bytes([content[-1] ^ 1])), "damaged"),
        (change("request", lambda _: b"hello"), "no message of limitlens share"),
        (change("request", lambda _: b""), "no message of limitlens share"),
        (say("request", expires_at=NOW), "expired 2026-07-01 09:00 UTC"),
        (say("request", expires_at=NOW + timedelta(days=30)), "longer than the 72 hours"),
        (say("request", made_at=NOW + timedelta(days=1)), "to come; compare the clocks"),
        (say("request", recipient="lender-c"), "expected the request of lender-a to lender-b"),
        (say("request", step="answer"), "expected the request of lender-a to lender-b"),
        (say("request", id_kind="phone"), "agree on one id_kind"),
        (say("request", exchange="0" * 32), ""),
        # who has the secret could call itself otherwise each time, and never have asked too often
        (say("request", sender="lender-x"), "of lender-x to lender-b, expected the request of lender-a to lender-b"),
        (say("request", sender="lender-b"), "expected the request of lender-a to lender-b"),
        (say("request", ids=11), "not what it says it is"),
        (say("request", ids=0), "expected 1 to"),
        (bad_points, "not what it says it is"),
        (lambda pair: (pair.root / "list.csv").write_text("person_id\n1\n\n ,\n2\n"), "rows without a whole person_id"),
        (lambda pair: (pair.root / "list.csv").write_text("person\n1\n"), "expected column 'person_id'"),
    ],
)
def test_a_request_that_is_not_right_is_refused_in_a_line(
    strike: Callable[[Pair], None], expected: str, pair: Pair
) -> None:
    pair.ask()
    strike(pair)
    if not expected:  # the salt is another one: nothing is found, and the asker refuses the answer
        pair.answer()
        strike, expected = (lambda _: None), "answers no request of this workspace"
        with pytest.raises(LimitlensError, match=expected):
            pair.receive()
        return
    with pytest.raises(LimitlensError, match=expected) as refused:
        pair.answer()
    assert "\n" not in str(refused.value)
    assert not (pair.root / "request.answer").exists()
    assert not exchanges(pair.root / "lender-b")


@pytest.mark.parametrize(
    ("strike", "expected"),
    [
        (other_secret, "sealed with another secret"),
        (change("request.answer", lambda content: content[:-1]), "damaged"),
        (say("request.answer", expires_at=NOW), "expired"),
        (say("request.answer", exchange="0" * 32), "answers no request of this workspace"),
        (say("request.answer", request_sha256="another"), "answers no request of this workspace"),
        (say("request.answer", ids=11), "answers no request of this workspace"),
        (say("request.answer", listed=3), "not what it says it is"),
        (say("request.answer", setup_bytes=7), "not what it says it is"),
        (say("request.answer", sender="lender-x"), "of lender-x to lender-a, expected the answer of lender-b"),
        (swap("request.answer", setup_bytes=-7), "not a message of this version"),
        (swap("request.answer", listed=None), "not what it says it is"),
        (swap("request.answer", request_sha256=3), "not a message of this version"),
        (change("request.answer", lambda _: b""), "no message of limitlens share"),
        (change("request.own", lambda _: b"{}"), "belongs to another exchange"),
        (change("request.own", lambda _: b"\xff"), "not UTF-8"),
        (change("request.own", lambda _: b"x"), "damaged"),
        (change("customers.csv", lambda content: content + b"\n7,B7"), "other ids than were asked about"),
    ],
)
def test_an_answer_that_is_not_right_is_refused_in_a_line(
    strike: Callable[[Pair], None], expected: str, pair: Pair
) -> None:
    pair.ask()
    pair.answer()
    strike(pair)
    with pytest.raises(LimitlensError, match=expected) as refused:
        pair.receive()
    assert "\n" not in str(refused.value)
    assert not (pair.root / "hits").exists()
    assert [one.step for one in exchanges(pair.root / "lender-a")] == ["asked"]


def test_a_request_is_answered_once_and_an_answer_received_once(pair: Pair) -> None:
    pair.ask()
    pair.answer()
    with pytest.raises(LimitlensError, match="a request is answered once"):
        pair.answer()
    kept = own_path(pair.root / "request").read_bytes()
    pair.receive()
    assert not own_path(pair.root / "request").exists()
    own_path(pair.root / "request").write_bytes(kept)
    with pytest.raises(LimitlensError, match="was received already"):
        pair.receive()


def test_what_cannot_be_written_costs_no_exchange_and_nothing_else_is_overwritten(pair: Pair) -> None:
    asked, answered = pair.ask(), pair.answer()
    (pair.root / "file").touch()
    files = {path: path.read_bytes() for path in pair.root.iterdir() if path.is_file()}
    for name, expected in (
        ("request", "is there already"),
        ("file/request", "name another place"),
        ("customers.csv", "is read, too"),
    ):
        with pytest.raises(LimitlensError, match=expected):
            pair.ask(name=name)
    for out, expected in (("file/answer", "name another place"), ("list.csv", "is read, too")):
        with pytest.raises(LimitlensError, match=expected):
            answer(pair.side("lender-b"), pair.root / "request", pair.root / "list.csv", pair.root / out, at=NOW)
    assert {path: path.read_bytes() for path in files} == files
    assert exchanges(pair.root / "lender-a") == [asked]
    assert exchanges(pair.root / "lender-b") == [answered]
    assert pair.receive().hits == 3


def test_the_hits_of_another_exchange_are_not_overwritten(pair: Pair) -> None:
    for name in ("one", "two"):
        pair.ask(name=name)
        pair.answer(name=name)
    pair.receive(name="one")
    hits, two = pair.root / "hits/shared_risk/one.csv", [pair.root / name for name in ("two", "two.answer")]
    before = hits.read_bytes()
    for out in (hits, pair.root / "customers.csv"):
        with pytest.raises(LimitlensError, match="holds other rows"):
            receive(pair.side("lender-a"), *two, pair.root / "customers.csv", out, at=NOW + 3 * HOUR)
    assert hits.read_bytes() == before
    first, second = [one.exchange for one in exchanges(pair.root / "lender-a") if one.step == "asked"]
    left = hits.with_name("two.csv")  # by a call of the same exchange that was killed before its record
    left.write_bytes(before.replace(first.encode(), second.encode()))
    assert receive(pair.side("lender-a"), *two, pair.root / "customers.csv", left, at=NOW + 3 * HOUR).hits == 3


def test_a_call_that_was_killed_before_it_removed_what_it_kept_is_made_up_for(pair: Pair) -> None:
    pair.ask()
    pair.answer()
    kept = own_path(pair.root / "request")
    held = kept.read_bytes()
    pair.receive()
    kept.write_bytes(held)
    with pytest.raises(LimitlensError, match="was received already"):
        pair.receive()
    assert not kept.exists()


def test_a_message_larger_than_the_settings_allow_is_refused_unread(pair: Pair) -> None:
    pair.ask()
    os.truncate(pair.root / "request", 200_000_000)
    with pytest.raises(LimitlensError, match="200,000,000 bytes, expected at most 72,004,096 for 2,000,000 ids"):
        pair.answer()


def test_so_many_exchanges_and_so_many_ids_in_a_period_and_no_more(pair: Pair) -> None:
    for place in range(4):
        pair.ask(NOW + place * HOUR, f"request {place}")
    with pytest.raises(LimitlensError, match="4 exchanges asked with lender-b in 30 days, and 4 are allowed"):
        pair.ask(NOW + 5 * HOUR, "one more")
    pair.ask(NOW + timedelta(days=30, hours=1), "later")
    few = replace(default_share_settings(), limits=replace(default_share_settings().limits, ids_per_period=30))
    asks = [pair.root / f"request {place}" for place in range(3)]
    side, out = replace(pair.side("lender-b"), settings=few), pair.root / "answer"
    for asked in asks[:2]:
        answer(side, asked, pair.root / "list.csv", out, at=NOW + 6 * HOUR)
    with pytest.raises(LimitlensError, match="12 ids, and 6 more are allowed with lender-a in 30 days"):
        answer(side, asks[2], pair.root / "list.csv", out, at=NOW + 6 * HOUR)


def test_each_step_is_a_link_of_the_chain_with_who_when_how_many_and_the_digest(pair: Pair) -> None:
    from limitlens.data.storage import file_sha256

    asked, answered = pair.ask(), pair.answer()
    came = pair.receive()
    assert exchanges(pair.root / "lender-a") == [asked, came]
    assert exchanges(pair.root / "lender-b") == [answered]
    assert answered == Exchange(
        asked.exchange, "lender-a", "answered", NOW + HOUR, "person of lender-b", 12, 4, 0, came.sha256
    )
    assert asked.sha256 == file_sha256(pair.root / "request")
    assert came.sha256 == file_sha256(pair.root / "request.answer")
    assert Workspace(pair.root / "lender-a").ledger.verify() == 2


def test_nothing_with_ids_lies_in_a_workspace(pair: Pair) -> None:
    inside = pair.root / "lender-a" / "customers.csv"
    shutil.copy(pair.root / "customers.csv", inside)
    for customers, out in ((inside, pair.root / "request"), (pair.root / "customers.csv", inside.with_name("out"))):
        with pytest.raises(LimitlensError, match="lies in the workspace"):
            request(pair.side("lender-a"), customers, out, at=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id_kind = ""', "id_kind is empty"),
        ("exchanges_per_period = 0", "exchanges_per_period is 0; expected 1 to 1,000"),
        ("valid_hours = 1.5", "expected int"),
        ("valid_hour = 1", "unknown key 'valid_hour'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_their_line(text: str, expected: str) -> None:
    body = {"id_kind": '"id"', "valid_hours": 1, "ids_per_exchange": 9, "period_days": 1, "exchanges_per_period": 1}
    body["ids_per_period"] = 9
    key, _, value = text.partition(" = ")
    lines = [f"{name} = {value if name == key else of}" for name, of in body.items()]
    lines += [text] if key not in body else []
    with pytest.raises(LimitlensError, match=rf"share:\d+: .*{expected}"):
        parse_share_settings("\n".join([lines[0], "[limits]", *lines[1:]]))


@pytest.mark.slow
def test_on_the_command_line_from_the_secret_to_the_log(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pair.root)
    common = ["--secret", "a-b.secret", "--by", "Chen Wei"]
    a, b = (["--as", lender, "--workspace", lender, *common] for lender in ("lender-a", "lender-b"))
    said = ""
    for words in (
        ["new-secret", "lender-a", "lender-b", "--out", "a-b.secret"],
        ["request", "customers.csv", "--out", "a.request", *a],
        ["answer", "a.request", "list.csv", "--out", "a.answer", *b],
        ["receive", "a.request", "a.answer", "customers.csv", "--out", "events/shared_risk/1.parquet", *a],
        ["log", "--workspace", "lender-a"],
    ):
        done = CliRunner().invoke(app, ["share", *words], catch_exceptions=False)
        assert done.exit_code == 0
        said += done.output
    assert "3 of 12 customers stand on the list of lender-b, which has 4 ids" in said
    assert len(pq.read_table("events/shared_risk/1.parquet")) == 3
    logged = CliRunner().invoke(app, ["share", "log", "--workspace", "lender-a", "--json"]).output
    assert [(row["step"], row["hits"]) for row in json.loads(logged)] == [("asked", 0), ("received", 3)]
    assert not any(text in said + logged for text in [*CUSTOMERS, *CUSTOMERS.values()])


def test_the_file_of_customers_is_read_as_both_lenders_would(tmp_path: Path) -> None:
    write_customers(tmp_path / "c.csv", {"ａ1 ": "L1", "A1": "L2"})
    assert read_customers(tmp_path / "c.csv") == {"A1": ["L1", "L2"]}
