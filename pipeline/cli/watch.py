"""The command that watches lines within the day."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limitlens.data.errors import InputError, WorkspaceError
from limitlens.pipeline.cli.common import (
    DEFAULT_WORKSPACE,
    NOTHING_TO_DO,
    PolicyOption,
    ThreadsOption,
    WorkspaceOption,
    app,
    patient,
    policy_in,
    predict_only,
    progress,
)

if TYPE_CHECKING:
    from limitlens.pipeline.journal import FindStored
    from limitlens.pipeline.watching.kafka import Kafka
    from limitlens.pipeline.watching.tick import Ticked
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
    engine: Annotated[
        Literal["duckdb", "spark"],
        typer.Option(help="What finds stored rows: duckdb in a copy of them, spark where they lie."),
    ] = "duckdb",
    stream: Annotated[
        str | None, typer.Option(help="Folder as Spark names it, whose files Structured Streaming brings to INBOX.")
    ] = None,
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
    from limitlens.pipeline.watching.inbox import waiting_files
    from limitlens.pipeline.watching.kafka import commit, read_kafka, receive, subscribed
    from limitlens.pipeline.watching.stream import streaming
    from limitlens.pipeline.watching.tick import tick
    from limitlens.pipeline.workspace import Workspace

    if not inbox.is_dir():
        raise InputError(f"{inbox}: no such folder; make it, with one folder a source in it.")
    space, given, standing, did, all_heard = Workspace(workspace), policy_in(policy), None, False, False
    refused = False
    broker = read_kafka(kafka) if kafka else None
    with (
        patient(True),
        _stop_asked() as stop,
        subscribed(broker, progress) if broker else nullcontext() as consumer,
        _stored_rows(space, engine) as find_stored,
        streaming(stream, inbox, None if once else every) if stream else nullcontext() as check_stream,
    ):
        while not stop.is_set():
            if check_stream:
                check_stream()
            wait = 0.01 if waiting_files(inbox) else every
            offsets = receive(broker, consumer, inbox, wait, progress) if broker and consumer else {}
            before, now = standing, datetime.now(UTC)
            ticked = tick(space, inbox, now, standing, policy=given, find_stored=find_stored, progress=progress)
            standing, did = ticked.standing, did or bool(ticked.rows or ticked.touched)
            refused |= bool(ticked.refused)
            if consumer:
                commit(consumer, offsets, progress)
            _report(ticked)
            all_heard = (all_heard and standing is before) or _tell(space, out, broker)
            backlog = bool(waiting_files(inbox))
            if once and not backlog:
                break
            if not consumer:
                stop.wait(0.01 if backlog else min(every, 0.1) if stream else every)
    if once and refused:
        raise typer.Exit(InputError.exit_code)
    if once and not did:
        raise typer.Exit(NOTHING_TO_DO)


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


def _tell(space: "Workspace", out: Path | None, broker: "Kafka | None") -> bool:
    """Each interception that was not told yet, to all who listen; one that was killed here tells again.

    False: a broker did not take one, and all from there on are told by the next tick.
    """
    from limitlens.pipeline.journal import Journal
    from limitlens.pipeline.watching.interceptions import interceptions
    from limitlens.pipeline.watching.kafka import publish

    journal = Journal(space.root)
    for tick in space.ledger.ticks_after(journal.published_until()):
        entries = interceptions(tick)
        if broker and broker.interceptions:
            try:
                publish(broker, entries)
            except WorkspaceError as error:
                progress(str(error))
                return False
        if out:
            with out.open("a", encoding="utf-8") as lines:
                lines.writelines(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        journal.publish(tick.tick)
        for entry in entries:
            typer.echo(f"{entry['at']}  {entry['account_id']}  {entry['action']}  {', '.join(entry['rules'])}")
    return True
