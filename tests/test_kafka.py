"""Kafka beside the inbox: messages are rows like those of a file, are read at least once, and count once."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import read_delivered
from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.progress import silent
from limitlens.pipeline.check_delivery import fold
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.interceptions import interceptions
from limitlens.pipeline.watching.kafka import (
    Kafka,
    as_csv,
    commit,
    parse_kafka,
    publish,
    published_to,
    receive,
    row_of,
    subscribed,
)
from limitlens.pipeline.watching.tick import Standing, tick
from limitlens.pipeline.workspace import Workspace
from tests.test_holds import FIRST
from tests.test_watch import DAY, HOUR, STREAMED, known_between, line_of, put, takeover

confluent = pytest.importorskip("confluent_kafka")


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """Three brokers of librdkafka in this process."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"test.mock.num.brokers": 3, "log_level": 0})
    yield ",".join(f"{one.host}:{one.port}" for one in admin.list_topics(timeout=10).brokers.values())


@pytest.fixture
def kafka(brokers: str) -> Kafka:
    """Topics of its own for each test."""
    mine = uuid4().hex
    topics = {f"{mine}.{source}": source for source in STREAMED}
    return Kafka(
        topics,
        {"bootstrap.servers": brokers, "group.id": mine, "log_level": "0", "session.timeout.ms": "3000"},
        f"{mine}.interceptions",
    )


def send(kafka: Kafka, rows: Mapping[str, pa.Table | list[bytes]], partition: int = -1) -> int:
    """Messages of some rows; how many there are."""
    producer, sent = confluent.Producer({name: kafka.client[name] for name in ("bootstrap.servers", "log_level")}), 0
    for topic, source in kafka.sources.items():
        given = rows.get(source, [])
        lines = given if isinstance(given, list) else [json.dumps(r, default=str).encode() for r in given.to_pylist()]
        for line in lines:
            producer.produce(topic, line, partition=partition)
            sent += 1
    assert producer.flush(20) == 0
    return sent


@contextmanager
def reader(kafka: Kafka, inbox: Path, committed: Mapping[tuple[str, int], int] | None = None) -> Iterator["Reader"]:
    with subscribed(kafka, silent) as consumer:
        yield Reader(kafka, consumer, inbox, committed or {})


class Reader:
    """Reads until so many messages came; as long as that takes, within reason."""

    def __init__(
        self, kafka: Kafka, consumer: "confluent.Consumer", inbox: Path, committed: Mapping[tuple[str, int], int]
    ) -> None:
        self.kafka, self.consumer, self.inbox = kafka, consumer, inbox
        self.offsets = dict(committed)

    def until(self, count: int) -> None:
        """Messages of all topics since their beginning, those of a reader before included."""
        end = time.monotonic() + 60
        while sum(self.offsets.values()) < count and time.monotonic() < end:
            self.offsets |= receive(self.kafka, self.consumer, self.inbox, 0.2, silent)
        assert sum(self.offsets.values()) == count


@pytest.mark.slow
def test_messages_give_the_ledger_and_the_rows_that_files_give(
    space: Workspace, books: Path, kafka: Kafka, tmp_path: Path
) -> None:
    shutil.copytree(space.root, tmp_path / "other")
    other, step, sent = Workspace(tmp_path / "other"), DAY / 2, 0
    by_file: Standing | None = None
    by_message: Standing | None = None
    with reader(kafka, tmp_path / "messages") as messages:
        for number in range(2):
            until = FIRST + (number + 1) * step
            rows = known_between(books / "world", until - step, until)
            if number == 1:
                taken = takeover(line_of(space), until - 3 * HOUR)
                rows |= {source: pa.concat_tables([rows[source], more]) for source, more in taken.items()}
            put(tmp_path / "files", f"{number}", rows)
            sent += send(kafka, rows)
            messages.until(sent)
            by_file = tick(space, tmp_path / "files", until, by_file).standing
            by_message = tick(other, tmp_path / "messages", until, by_message).standing
    assert other.ledger.head() == space.ledger.head()
    assert [len(one.decisions) for one in space.ledger.pending_ticks()]
    theirs, ours = (Journal(one.root).journaled() for one in (other, space))
    for source in STREAMED:
        key = SOURCES[source].key[0]
        names = SOURCES[source].column_names()
        assert sorted_rows(theirs[source].clean, key, names) == sorted_rows(ours[source].clean, key, names)


def sorted_rows(table: pa.Table, key: str, names: list[str]) -> list[dict[str, object]]:
    return table.select([name for name in names if name in table.column_names]).sort_by(key).to_pylist()


@pytest.mark.slow
def test_what_is_read_again_after_a_kill_is_known_already(space: Workspace, kafka: Kafka, tmp_path: Path) -> None:
    inbox, at = tmp_path / "inbox", FIRST + 5 * HOUR
    sent = send(kafka, takeover(line_of(space), FIRST + HOUR))
    with reader(kafka, inbox) as killed:
        killed.until(sent)
        first = tick(space, inbox, at)
    assert list(first.decisions["action"]) == ["pause"]
    with reader(kafka, inbox) as again:
        again.until(sent)
        second = tick(space, inbox, at + HOUR, first.standing)
        commit(again.consumer, again.offsets, silent)
    assert (second.rows, second.deduplicated, len(second.decisions)) == (sent, sent, 0)
    with reader(kafka, inbox, again.offsets) as after:
        sent += send(kafka, takeover(line_of(space), FIRST + 7 * HOUR))
        after.until(sent)
        assert tick(space, inbox, at + 4 * HOUR, second.standing).rows == sent / 2


POISON = [
    b"",
    b"\xff\xfe",
    b"[1, 2]",
    b"{" + b'"a": {' * 100_000,
    b'{"account_id": "A1", "account_id": "A2"}',
    b'{"event_id": "\\ud800"}',
    b'{"event_id": "a\\u0000b"}',
    b"NaN",
]


@pytest.mark.slow
def test_a_message_that_is_no_row_keeps_none_of_the_others_back(space: Workspace, kafka: Kafka, tmp_path: Path) -> None:
    inbox, at = tmp_path / "inbox", FIRST + 5 * HOUR
    rows: dict[str, pa.Table | list[bytes]] = {**takeover(line_of(space), FIRST + HOUR)}
    no_account = [json.dumps({"event_id": "odd", "kind": "draw", "more": [1, {"b": None}]}).encode()]
    for source in ("consumption", "payment", "device"):
        send(kafka, {source: POISON + (no_account if source == "consumption" else [])})
    sent = send(kafka, rows) + 3 * len(POISON) + 1
    with reader(kafka, inbox) as messages:
        messages.until(sent)
    ticked = tick(space, inbox, at)
    assert list(ticked.decisions["action"]) == ["pause"]
    assert (ticked.quarantined, ticked.refused) == (1, ())
    refused = [path for path in (inbox / "refused").rglob("*.json") if path.with_name(f"{path.name}.txt").read_text()]
    assert len(refused) == 3 * len(POISON)


@pytest.mark.slow
def test_a_poison_attribute_of_an_account_takes_no_other_account_with_it(
    space: Workspace, kafka: Kafka, tmp_path: Path
) -> None:
    def account(name: str, **more: object) -> bytes:
        opened = {
            "opened_at": f"{FIRST + HOUR}",
            "known_time": f"{FIRST}",
            "limit_cents": 1_000_00,
            "segment": "salaried",
        }
        return json.dumps({"account_id": name, **opened, "income": 10, "vip": False} | more).encode()

    inbox, sent, standing = tmp_path / "inbox", 0, None
    batches = [
        [account("N1"), account("N2", vip=True), account("N1")],
        [account("P1", income="much"), account("G1", income=None), account("P2", vip="perhaps", income=3),
         account("P3", income="much", vip="no"), account("G2", income="12.5"), account("P4", **{'a"b': 1}),
         account("P5", as_of=1), account("G3", vip=1), account("P6", income="much", known_time="then")],
        [account("G4")],
    ]  # fmt: skip
    refused = set[str]()
    with reader(kafka, inbox) as messages:
        for number, batch in enumerate(batches):
            sent += send(kafka, {"accounts": batch}, partition=0)
            messages.until(sent)
            ticked = tick(space, inbox, FIRST + (2 + number) * HOUR, standing)
            commit(messages.consumer, messages.offsets, silent)
            standing, refused = ticked.standing, refused | {one.reason.partition(": ")[2] for one in ticked.refused}
    journaled = Journal(space.root).journaled()["accounts"]
    came, held = journaled.clean.to_pylist(), journaled.held.to_pylist()
    assert sorted(row["account_id"] for row in came) == ["G1", "G2", "G3", "G4", "N1", "N2"]
    assert {row["account_id"]: row["income"] for row in came}["G2"] == 12.5
    assert all("a name of limitlens's own" in one for one in refused)
    assert refused
    # A busy machine may have the messages read again: then they are held again, and no row counts twice.
    assert {(row["account_id"], row["column"], row["rule"]) for row in held} == {
        ("P1", "income", "no number as before"),
        ("P2", "vip", "no boolean as before"),
        ("P3", "income", "no number as before"),
        ("P6", "known_time", "not an ISO 8601 time from 1900 to 2199"),
    }
    assert fold(space) is not None


def test_texts_of_a_message_are_the_texts_of_the_file(tmp_path: Path) -> None:
    texts = ['a "quoted", text', "two\nlines", "carriage\rreturn", " 中文 ", "=1+1", "\\n", "'"]
    rows = [row_of(json.dumps({"event_id": text, "account_id": "A"}).encode()) for text in texts]
    path = tmp_path / "rows.csv"
    path.write_text(as_csv(rows, SOURCES["consumption"]), encoding="utf-8", newline="\n")
    assert read_delivered(path, "rows.csv", SOURCES["consumption"]).table["event_id"].to_pylist() == texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[client]\n'bootstrap.servers' = 'a:1'", "'topics' is missing"),
        ("[topics]\n'a' = 'payments'\n[client]\n'bootstrap.servers' = 'a:1'", r"toml:2: 'payments' is no source"),
        ("[topics]\n[client]\n'bootstrap.servers' = 'a:1'", "name at least one topic"),
        ("[topics]\n'a' = 'payment'\n[client]", "bootstrap.servers"),
        ("topic = 1", r"toml:1: unknown key 'topic' in the file; did you mean 'topics'"),
    ],
)
def test_settings_that_say_nonsense_are_refused_by_file_and_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_kafka(text, "kafka.toml")


def test_a_setting_that_the_client_does_not_know_is_refused(tmp_path: Path) -> None:
    wrong = parse_kafka("[topics]\n'a' = 'payment'\n[client]\n'bootstrap.servers' = 'a:1'\n'no.such' = 1")
    with pytest.raises(ConfigError, match=r"no\.such"), subscribed(wrong, silent):
        pass


def test_a_setting_that_only_who_sends_refuses_is_refused_at_the_start() -> None:
    wrong = parse_kafka("[topics]\n'a' = 'payment'\n[client]\n'bootstrap.servers' = 'a:1'\nacks = 0")
    with subscribed(wrong, silent), pytest.raises(ConfigError, match=r"\[client\] of the Kafka settings: .*acks"):
        published_to(wrong)


PASSWORD = """
topics = { a = "payment" }
[client]
"bootstrap.servers" = "a:1"
"sasl.password" = { env = "KAFKA_PASSWORD" }
"""


def test_a_password_may_stand_in_the_environment() -> None:
    assert parse_kafka(PASSWORD, "k", {"KAFKA_PASSWORD": "p 1"}).client["sasl.password"] == "p 1"
    with pytest.raises(ConfigError, match=r"k:5: the environment has no KAFKA_PASSWORD"):
        parse_kafka(PASSWORD, "k", {})
    with pytest.raises(ConfigError, match=r"k:5: unknown key 'file'"):
        parse_kafka(PASSWORD.replace("env", "file"), "k", {})


@pytest.mark.slow
def test_more_interceptions_than_the_queue_holds_reach_their_topic(kafka: Kafka) -> None:
    small = replace(kafka, client={**kafka.client, "queue.buffering.max.messages": "1"})
    told = [{"account_id": f"A{number}", "action": "pause"} for number in range(5)]
    publish(small, told)
    assert sorted(json.loads(message.value())["account_id"] for message in messages_told(kafka, 5)) == [
        one["account_id"] for one in told
    ]


@pytest.mark.slow
def test_an_interception_that_no_queue_takes_is_one_line_and_told_again(kafka: Kafka) -> None:
    small = replace(kafka, client={**kafka.client, "message.max.bytes": "1000"})
    with pytest.raises(WorkspaceError, match=r"took no interceptions: .*they are told again"):
        publish(small, [{"account_id": "A", "message": "x" * 5_000}])


@pytest.mark.slow
def test_interceptions_reach_their_topic(space: Workspace, kafka: Kafka, tmp_path: Path) -> None:
    put(tmp_path / "inbox", "a", takeover(line_of(space), FIRST + HOUR))
    tick(space, tmp_path / "inbox", FIRST + 5 * HOUR)
    told = [entry for one in space.ledger.pending_ticks() for entry in interceptions(one)]
    publish(kafka, told)
    assert json.loads(next_message(kafka).value()) == told[0]


@pytest.mark.slow
def test_the_command_reads_topics_and_tells_a_topic_until_it_is_asked_to_end(
    space: Workspace, kafka: Kafka, tmp_path: Path
) -> None:
    inbox, settings = tmp_path / "inbox", tmp_path / "kafka.toml"
    inbox.mkdir()
    lines = [f'interceptions = "{kafka.interceptions}"', "[topics]"]
    lines += [f'"{topic}" = "{source}"' for topic, source in kafka.sources.items()]
    lines += ["[client]", *(f'"{name}" = "{value}"' for name, value in kafka.client.items())]
    settings.write_text("\n".join(lines), encoding="utf-8")
    account = line_of(space)
    send(kafka, takeover(account, datetime.now(UTC) - timedelta(hours=3)))
    words = ["watch", str(inbox), "--workspace", str(space.root), "--every", "0.2", "--kafka", str(settings)]
    with subprocess.Popen(
        [sys.executable, "-m", "limitlens.pipeline", *words], stderr=subprocess.PIPE, text=True
    ) as job:
        told = next_message(kafka)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=60) == 0, job.stderr and job.stderr.read()
    assert (told.key().decode(), json.loads(told.value())["action"]) == (account, "pause")


def next_message(kafka: Kafka) -> "confluent.Message":
    """The first interception."""
    return messages_told(kafka, 1)[0]


def messages_told(kafka: Kafka, count: int) -> list["confluent.Message"]:
    """So many interceptions."""
    own = {**kafka.client, "group.id": uuid4().hex, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer, came = confluent.Consumer(own), list[confluent.Message]()
    try:
        consumer.subscribe([kafka.interceptions])
        end = time.monotonic() + 120
        while len(came) < count and time.monotonic() < end:
            came += [message for message in consumer.consume(count, timeout=0.5) if message.error() is None]
        assert len(came) == count, "not all was told"
        return came
    finally:
        consumer.close()
