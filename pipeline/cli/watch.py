"""The command that watches lines within the day."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limitlens.data.errors import InputError, NoRoomError, WorkspaceError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    NOTHING_TO_DO,
    IdKeyOption,
    PolicyOption,
    ThreadsOption,
    WorkspaceOption,
    app,
    key_for,
    patient,
    policy_in,
    predict_only,
    progress,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from limitlens.pipeline.journal import FindStored
    from limitlens.pipeline.watching.kafka import Kafka
    from limitlens.pipeline.watching.listeners import Listener, Untold
    from limitlens.pipeline.watching.tick import Standing, Ticked
    from limitlens.pipeline.workspace import Workspace


@app.command()
def watch(
    inbox: Annotated[Path, typer.Argument(help="Folder with one folder a source; rename whole files into those.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds from one look into the inbox to the next.")] = 2.0,
    policy: PolicyOption = None,
    once: Annotated[bool, typer.Option("--once", help="Take in what is there, and stop; for cron.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Append each pause, and each that is lifted, as a line of JSON.")
    ] = None,
    kafka: Annotated[
        Path | None, typer.Option(help="TOML file with the topics to read, and one for what was done.")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(envvar="LIMITLENS_WEBHOOK", help="Address that gets what was done, one POST of JSON each: https."),
    ] = None,
    webhook_secret: Annotated[
        Path | None,
        typer.Option(help="File with the secret that signs it; default: what LIMITLENS_WEBHOOK_SECRET holds, if set."),
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of this machine where Prometheus reads how it goes.")
    ] = None,
    engine: Annotated[
        Literal["duckdb", "spark"],
        typer.Option(help="What finds stored rows: duckdb in a copy of them, spark where they lie."),
    ] = "duckdb",
    stream: Annotated[
        str | None, typer.Option(help="Folder as Spark names it, whose files Structured Streaming brings to INBOX.")
    ] = None,
    id_key: IdKeyOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Pause drawing as soon as the rows come for which a watched rule of the policy fires, until the daily decision.

    Files that were taken in move to INBOX/taken, those that cannot be to INBOX/refused with the reason beside them.
    The next limitlens check or decide makes one load of what came. Stop it with Ctrl-C or SIGTERM; one that was killed
    goes on where it was.

    Example: limitlens watch inbox --every 2 --out interceptions.jsonl
    """
    if kafka and once:
        raise typer.BadParameter("a topic has no end: leave out --once, or --kafka.")
    if stream and engine != "spark":
        raise typer.BadParameter("a stream is read by Spark: add --engine spark, or leave out --stream.")
    predict_only()
    from limitlens.data.id_key import expect_outside
    from limitlens.pipeline.journal import Journal
    from limitlens.pipeline.watching.inbox import every_file
    from limitlens.pipeline.watching.kafka import read_kafka, subscribed
    from limitlens.pipeline.watching.listeners import tell
    from limitlens.pipeline.watching.metrics import served
    from limitlens.pipeline.watching.stream import streaming
    from limitlens.pipeline.watching.tick import tick
    from limitlens.pipeline.workspace import Workspace

    if not inbox.is_dir():
        raise InputError(f"{inbox}: no such folder; make it, with one folder a source in it.")
    space, given, standing, did, refused = Workspace(workspace), policy_in(policy), None, False, False

    if key := key_for(space, id_key):
        expect_outside(inbox, workspace)

    def look(before: "Standing | None", find_stored: "FindStored | None") -> "Ticked":
        now = datetime.now(UTC)
        return tick(space, inbox, now, before, policy=given, key=key, find_stored=find_stored, progress=progress)

    broker, untold = read_kafka(kafka) if kafka else None, dict[str, "Untold"]()
    listeners = _listeners(inbox, out, broker, webhook, webhook_secret)
    with (
        patient(True),
        _stop_asked() as stop,
        served(metrics_port) if metrics_port else nullcontext() as metrics,
        subscribed(broker, progress) if broker else nullcontext() as consumer,
        _stored_rows(space, engine) as find_stored,
        streaming(stream, inbox, None if once else every) if stream else nullcontext() as check_stream,
    ):
        topics = (broker, consumer) if broker and consumer else None
        looks = partial(look, find_stored=find_stored)
        for ticked, seconds, waited in _ticks(inbox, looks, topics, check_stream, stop, every=every, once=once):
            before, standing = standing, ticked.standing
            did, refused = did or bool(ticked.rows or ticked.touched), refused or bool(ticked.refused)
            _report(ticked)
            if standing is not before or any(one.reason for one in untold.values()):
                behind, untold = untold, tell(space.ledger, Journal(space.root), listeners)
                _news(behind, untold)
            if metrics:
                metrics.ticked(ticked, seconds, waited)
                metrics.left(len(every_file(inbox)), untold)
    if once and any(one.reason for one in untold.values()):
        raise typer.Exit(WorkspaceError.exit_code)
    if once and refused:
        raise typer.Exit(InputError.exit_code)
    if once and not did:
        raise typer.Exit(NOTHING_TO_DO)


def _ticks(
    inbox: Path,
    look: "Callable[[Standing | None], Ticked]",
    topics: "tuple[Kafka, Consumer] | None",
    check_stream: Callable[[], None] | None,
    stop: threading.Event,
    *,
    every: float,
    once: bool,
) -> Iterator[tuple["Ticked", float, float]]:
    """Ticks until they are asked to stop, or once the inbox is empty; a full disk is waited out.

    Each with the seconds it took, and those since the oldest file that it took in came.
    """
    from limitlens.pipeline.watching.inbox import arrived, waiting_files
    from limitlens.pipeline.watching.kafka import commit, receive

    standing, offsets, full = None, dict[tuple[str, int], int](), False
    while not stop.is_set():
        if check_stream:
            check_stream()
        try:
            if topics:
                offsets |= receive(*topics, inbox, 0.01 if waiting_files(inbox) else every, progress)
            begun = time.time()
            oldest = arrived(waiting_files(inbox)) or begun
            ticked = look(standing)
        except NoRoomError as error:
            if once:
                raise
            if not full:
                progress(f"{error} It is tried again every {every:g} seconds.")
            full = True
            stop.wait(every)
            continue
        if topics:
            commit(topics[1], offsets, progress)
        yield ticked, time.time() - begun, time.time() - oldest
        standing, offsets, full, backlog = ticked.standing, {}, False, bool(waiting_files(inbox))
        if once and not backlog:
            return
        if not topics:
            stop.wait(0.01 if backlog else min(every, 0.1) if check_stream else every)


def _listeners(
    inbox: Path, out: Path | None, broker: "Kafka | None", webhook: str | None, secret: Path | None
) -> list["Listener"]:
    """Who is told of interceptions."""
    from limitlens.pipeline.watching.kafka import published_to
    from limitlens.pipeline.watching.listeners import appended_to, printed_with

    listeners = [printed_with(typer.echo)]
    if out:
        listeners.append(appended_to(out))
    if broker and broker.interceptions:
        listeners.append(published_to(broker))
    if webhook:
        from limitlens.pipeline.watching.webhook import posted_to, secret_in

        listeners.append(posted_to(webhook, inbox, secret_in(secret, os.environ), progress))
    return listeners


@contextmanager
def _stored_rows(space: "Workspace", engine: str) -> "Iterator[FindStored | None]":
    """What finds stored rows, if it is not the copy that the journal keeps of them."""
    from limitlens.data.spark import spark_sql
    from limitlens.pipeline.watching.stored_rows import found_by_spark

    if engine == "duckdb":
        yield None
        return
    with spark_sql() as prepare, found_by_spark(space.events, prepare) as find:
        yield find


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Set once the process is told to end; the tick it is in comes to its end first."""
    stop = threading.Event()
    asked = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in asked}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _report(ticked: "Ticked") -> None:
    """What a tick took in, for who looks on."""
    if ticked.rows:
        progress(
            f"{ticked.rows:,} rows, {ticked.quarantined:,} quarantined, {ticked.deduplicated:,} known already; "
            f"{ticked.touched:,} lines looked at"
        )
    for refused in ticked.refused:
        progress(f"refused: {refused.reason}")


def _news(before: Mapping[str, "Untold"], now: Mapping[str, "Untold"]) -> None:
    """Why a listener takes nothing, once for as long as it is the same."""
    for name, untold in now.items():
        if untold.reason and (name not in before or before[name].reason != untold.reason):
            progress(untold.reason)
