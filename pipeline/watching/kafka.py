"""Kafka: messages become files of the inbox, and count as read once a tick has taken those in.

A message is one row, as a JSON object with the columns of the contract; a topic has the rows of one source. What a
file of the inbox may do, a message may do: it is judged by the contract, and one that comes twice is known already.
So the offsets of a group are committed after the tick, and a watch that was killed reads some messages again, to no
effect.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from limitlens.data.contracts import SOURCES, Source
from limitlens.data.errors import ConfigError, NoRoomError, WorkspaceError
from limitlens.data.progress import Progress
from limitlens.data.storage import write_text
from limitlens.data.toml_lines import KeyPath
from limitlens.data.toml_reader import Reader, load_toml, read_toml
from limitlens.pipeline.watching.inbox import REFUSED, set_aside
from limitlens.pipeline.watching.intake import MESSAGES
from limitlens.pipeline.watching.listeners import Listener, as_json

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Producer

#: Messages of one tick; more wait for the next.
MOST_MESSAGES = 20_000

#: Seconds after which an interception that no broker took is an error; it is told again by the next tick.
_PATIENCE = 30.0

_KEYS = ("topics", "client", "interceptions")


@dataclass(frozen=True)
class Kafka:
    """Where messages come from and go to.

    Parameters
    ----------
    sources : mapping of str to str
        Source by topic.
    client : mapping of str to str
        Settings of librdkafka: ``bootstrap.servers``, ``group.id`` (default: ``limitlens``) and what else is needed.
    interceptions : str
        Topic for what the watch did; empty: none.
    """

    sources: Mapping[str, str]
    client: Mapping[str, str]
    interceptions: str = ""


def read_kafka(path: Path) -> Kafka:
    """Read a TOML file of topics and settings.

    Raises
    ------
    ConfigError
        It is missing or wrong, with file and line.
    """
    return parse_kafka(read_toml(path), str(path))


def parse_kafka(text: str, source: str = "kafka.toml", environment: Mapping[str, str] = os.environ) -> Kafka:
    """:func:`read_kafka` of a text; ``{ env = "NAME" }`` stands for what a variable of the environment holds.

    Examples
    --------
    >>> kafka = parse_kafka('''
    ... interceptions = "lender.interceptions"
    ... [topics]
    ... "lender.payments" = "payment"
    ... [client]
    ... "bootstrap.servers" = "localhost:9092"
    ... ''')
    >>> kafka.sources, kafka.client["group.id"]
    ({'lender.payments': 'payment'}, 'limitlens')
    """
    body, reader = load_toml(text, source), Reader(text, source)
    reader.table(body, (), _KEYS, ("topics", "client"))
    topics, client = body["topics"], body["client"]
    if not isinstance(topics, dict) or not topics:
        raise reader.error(("topics",), 'name at least one topic in [topics], such as "lender.payments" = "payment".')
    for topic, name in topics.items():
        if name not in SOURCES:
            raise reader.error(("topics", topic), f"{name!r} is no source; expected one of {list(SOURCES)}.")
    if not isinstance(client, dict) or "bootstrap.servers" not in client:
        raise reader.error(("client",), '"bootstrap.servers" is missing in [client]; name the brokers.')
    settings = {"group.id": "limitlens"} | {
        name: _as_text(_from_environment(value, ("client", name), reader, environment))
        for name, value in client.items()
    }
    interceptions = reader.value(body, (), "interceptions", str) if "interceptions" in body else ""
    return Kafka(topics, settings, interceptions)


def _from_environment(value: object, path: KeyPath, reader: Reader, environment: Mapping[str, str]) -> object:
    if not isinstance(value, dict):
        return value
    name = reader.value(reader.table(value, path, ("env",), ("env",)), path, "env", str)
    if name not in environment:
        raise reader.error(path, f"the environment has no {name}; set it, or write the value here.")
    return environment[name]


#: Offset and value.
_Message = tuple[int, bytes | None]

#: Where to go on reading, by topic and partition.
Offsets = Mapping[tuple[str, int], int]


@contextmanager
def subscribed(kafka: Kafka, progress: Progress) -> Iterator["Consumer"]:
    """A consumer of the topics, from the first message that its group has not read.

    Raises
    ------
    ConfigError
        A setting of librdkafka is wrong.
    WorkspaceError
        confluent-kafka is not installed.
    """
    confluent = _confluent()
    ours = {
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "error_cb": lambda error: progress(f"{error}"),
    }
    try:
        consumer = confluent.Consumer({**kafka.client, **ours})
    except confluent.KafkaException as error:
        raise _wrong_setting(error) from error
    try:
        consumer.subscribe(list(kafka.sources))
        yield consumer
    finally:
        consumer.close()


def receive(kafka: Kafka, consumer: "Consumer", inbox: Path, seconds: float, progress: Progress) -> Offsets:
    """Put the messages that come within some seconds into the inbox, a file for each partition of a topic.

    A message that is no JSON object goes to the refused files, with the reason beside it.

    Returns
    -------
    dict of (str, int) to int
        For :func:`commit`: where the group goes on once the files are taken in, by topic and partition.

    Raises
    ------
    NoRoomError
        The disk is full; the messages will be read again.
    WorkspaceError
        The brokers let nobody in, or the client cannot go on.
    """
    read: dict[tuple[str, int], list[_Message]] = {}
    for message in consumer.consume(MOST_MESSAGES, timeout=seconds):
        if error := message.error():
            if error.fatal() or error.code() in (error._AUTHENTICATION, error.TOPIC_AUTHORIZATION_FAILED):
                raise WorkspaceError(f"Kafka: {error.str()}; mend [client] of its settings.")
            progress(f"Kafka: {error.str()}")
        else:
            place = str(message.topic()), int(message.partition() or 0)
            read.setdefault(place, []).append((int(message.offset() or 0), message.value()))
    try:
        _put(kafka, read, inbox, progress)
    except NoRoomError:  # they are read again once there is some
        for (topic, partition), messages in read.items():
            consumer.seek(_confluent().TopicPartition(topic, partition, messages[0][0]))
        raise
    return {place: messages[-1][0] + 1 for place, messages in read.items()}


def _put(kafka: Kafka, read: Mapping[tuple[str, int], Sequence[_Message]], inbox: Path, progress: Progress) -> None:
    """Messages as files of the inbox."""
    for (topic, partition), messages in read.items():
        source, name = SOURCES[kafka.sources[topic]], f"{MESSAGES}{topic}-{partition}"
        files: dict[frozenset[str], dict[int, dict[str, str]]] = {}
        for offset, text in messages:
            try:
                row = row_of(text)
            except ValueError as error:
                why, refused = f"no JSON object: {error}", inbox / REFUSED / source.name / f"{name}-{offset}.json"
                set_aside(refused, (text or b"").decode("utf-8", "backslashreplace"), why)
                progress(f"refused: message {offset} of {topic}, partition {partition}: {why}")
            else:  # a name that no column may have keeps none of those back that do without it
                further = frozenset(row) - set(source.column_names()) if source.open_columns else frozenset()
                files.setdefault(further, {})[offset] = row
        for rows in files.values():
            path = inbox / source.name / f"{name}-{min(rows)}-{max(rows)}.csv"
            write_text(as_csv(list(rows.values()), source), path)


def commit(consumer: "Consumer", offsets: Offsets, progress: Progress) -> None:
    """Where the group goes on from now. If no broker hears it, what comes again is known already."""
    confluent = _confluent()
    places = [confluent.TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
    try:
        if places:
            consumer.commit(offsets=places, asynchronous=False)
    except confluent.KafkaException as error:
        progress(f"Kafka: {error.args[0].str()}; these messages will come again, and are known already")


def published_to(kafka: Kafka) -> Listener:
    """The topic for interceptions.

    Raises
    ------
    ConfigError
        A setting of librdkafka is wrong for who sends.
    WorkspaceError
        confluent-kafka is not installed.
    """
    _producer(kafka)
    return Listener("kafka", partial(publish, kafka))


def publish(kafka: Kafka, entries: Iterable[Mapping[str, Any]]) -> None:
    """Send interceptions, keyed by account; returns when the brokers have all of them.

    Raises
    ------
    WorkspaceError
        They have not within 30 seconds, or one was refused.
    """
    confluent, producer, refused = _confluent(), _producer(kafka), list[Any]()
    left, why = 0, f"no broker answers for {_PATIENCE:.0f} seconds"
    try:
        for entry in entries:
            send = partial(
                producer.produce,
                kafka.interceptions,
                as_json(entry),
                entry["account_id"],
                on_delivery=lambda error, _: refused.extend([error] * bool(error)),
            )
            try:
                send()
            except BufferError:  # the queue is full: once the brokers have what is in it, there is room
                producer.flush(_PATIENCE)
                send()
        left = producer.flush(_PATIENCE)
    except BufferError:
        left = len(producer)
    except confluent.KafkaException as error:
        refused.append(error.args[0])
    if left or refused:
        why = refused[0].str() if refused else why
        raise WorkspaceError(f"Kafka: topic {kafka.interceptions!r} took no interceptions: {why}; they are told again.")


def _producer(kafka: Kafka) -> "Producer":
    confluent = _confluent()
    own = {name: value for name, value in kafka.client.items() if name != "group.id"}
    try:
        producer: Producer = confluent.Producer({**own, "enable.idempotence": True})
    except confluent.KafkaException as error:
        raise _wrong_setting(error) from error
    return producer


def _wrong_setting(error: Exception) -> ConfigError:
    return ConfigError(f"[client] of the Kafka settings: {error.args[0].str()}.")


def row_of(text: bytes | None) -> dict[str, str]:
    """The cells of a message, as a CSV file would write them: numbers as they stand, nothing for null.

    Raises
    ------
    ValueError
        No JSON object, a name in it twice, or a text that no file can hold.

    Examples
    --------
    >>> row_of(b'{"account_id": "A1", "amount_cents": 1e3, "retracted": false, "channel": null}')
    {'account_id': 'A1', 'amount_cents': '1e3', 'retracted': 'false', 'channel': ''}
    """
    try:
        values = json.loads(
            text or b"", parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_each_name_once
        )
    except RecursionError as error:
        raise ValueError("brackets within brackets, too deep to be read") from error
    if not isinstance(values, dict):
        raise ValueError(f"a {type(values).__name__}")
    cells = {name: _as_text(value) for name, value in values.items()}
    if "\0" in "".join([*cells, *cells.values()]).encode().decode():  # half a character cannot be encoded
        raise ValueError("a text with a null character")
    return cells


def _each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands in it twice")
    return values


def as_csv(rows: Sequence[Mapping[str, str]], source: Source) -> str:
    """A file of some rows: all columns of the contract, and further ones where the source may have some."""
    more = sorted({name for row in rows for name in row} - set(source.column_names())) if source.open_columns else []
    lines = io.StringIO()
    names = [*source.column_names(), *more]
    writer = csv.DictWriter(lines, names, extrasaction="ignore", lineterminator="\r\n")  # of which it quotes either
    writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _confluent() -> ModuleType:
    try:
        import confluent_kafka  # noqa: PLC0415 - an extra; who watches a folder needs none
    except ImportError as error:
        raise WorkspaceError("Kafka needs its client; run pip install 'limitlens[kafka]'.") from error
    return confluent_kafka
