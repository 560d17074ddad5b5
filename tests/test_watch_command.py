"""The command of the watch as it runs for days: what it counts, and a disk that fills up and is emptied again."""

import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from limitlens.data.errors import NoRoomError, WorkspaceError
from limitlens.pipeline.cli import app
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.watching.listeners import appended_to
from limitlens.pipeline.workspace import Workspace
from tests.test_watch import HOUR, line_of, put, takeover

prometheus = pytest.importorskip("prometheus_client.parser")


@contextmanager
def watching(space: Workspace, inbox: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, from its first line on; it ends as it should."""
    inbox.mkdir(exist_ok=True)
    words = ["watch", str(inbox), "--workspace", str(space.root), "--every", "0.1", *more]
    with subprocess.Popen(
        [sys.executable, "-m", "limitlens.pipeline", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        try:
            read_until(job, "making indexes")
            yield job
            job.send_signal(signal.SIGTERM)
            assert job.wait(timeout=60) == 0, job.stderr and job.stderr.read()
        finally:
            job.kill()


def read_until(job: "subprocess.Popen[str]", words: str) -> str:
    """Lines of the error stream up to one that holds some words."""
    lines, line = "", "\n"
    while words not in line and line:
        line = job.stderr.readline() if job.stderr else ""
        lines += line
    assert words in line, lines
    return lines


def scraped(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [one for family in prometheus.text_string_to_metric_families(text) for one in family.samples]
    return {"/".join([one.name.removeprefix("limitlens_watch_"), *one.labels.values()]): one.value for one in samples}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
def test_prometheus_reads_what_the_watch_did_and_what_waits(space: Workspace, inbox: Path) -> None:
    port, closed = free_port(), free_port()
    with watching(space, inbox, "--metrics-port", str(port), "--webhook", f"http://127.0.0.1:{closed}") as job:
        rows = takeover(line_of(space), datetime.now(UTC) - 3 * HOUR)
        (inbox / "device").mkdir()
        (inbox / "device" / "poison.csv").write_text("a,b\n1,2\n", encoding="utf-8")
        put(inbox, "a", {"consumption": rows["consumption"], "device": rows["device"]})
        put(inbox, "b", rows)
        read_until(job, "webhook: ")
        end, now = time.monotonic() + 60, dict[str, float]()
        while not (now.get("rows_total") == 14 and now.get("untold/webhook")) and time.monotonic() < end:
            now = scraped(port)
    assert now["ticks_total"] >= 1
    assert (now["rows_total"], now["rows_deduplicated_total"], now["rows_quarantined_total"]) == (14, 5, 0)
    assert (now["files_refused_total"], now["backlog_files"]) == (1, 0)
    assert now["lines_total"] >= 1
    assert (now["actions_total/pause"], now["actions_total/unfreeze"]) == (1, 0)
    assert (now["action_seconds_count"], now["untold/webhook"], now["untold/output"]) == (1, 1, 0)
    assert now["action_seconds_sum"] >= now["tick_seconds_sum"] / now["tick_seconds_count"] > 0
    with pytest.raises(URLError):
        scraped(port)


def test_a_port_that_is_taken_is_one_line(space: Workspace, inbox: Path) -> None:
    inbox.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        asked = ["watch", str(inbox), "--workspace", str(space.root), "--once", "--metrics-port", port]
        error = CliRunner().invoke(app, asked).exception
    assert isinstance(error, WorkspaceError)
    assert "name a free port" in str(error)


@pytest.mark.slow
def test_a_full_disk_is_said_once_and_waited_out_and_loses_nothing(
    space: Workspace, inbox: Path, tmp_path: Path
) -> None:
    out, account = tmp_path / "out.jsonl", line_of(space)
    with watching(space, inbox, "--out", str(out)) as job:
        room = resource.prlimit(job.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        put(inbox, "a", takeover(account, datetime.now(UTC) - 3 * HOUR))
        assert "no room on the disk" in read_until(job, "tried again")
        assert not out.exists()
        resource.prlimit(job.pid, resource.RLIMIT_FSIZE, room)
        assert "no room" not in read_until(job, "lines looked at")
    assert [json.loads(line)["account_id"] for line in out.read_text(encoding="utf-8").splitlines()] == [account]
    counts = Journal(space.root).journaled()
    assert {source: counts[source].rows_in for source in ("device", "consumption", "payment")} == {
        "device": 1, "consumption": 4, "payment": 4
    }  # fmt: skip
    assert not list(inbox.glob("*/a.parquet"))
    space.ledger.verify()


def test_a_call_that_meets_a_full_disk_ends_with_its_line(space: Workspace, inbox: Path) -> None:
    put(inbox, "a", takeover(line_of(space), datetime.now(UTC) - 3 * HOUR))
    room = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, room[1]))
    try:
        done = CliRunner().invoke(app, ["watch", str(inbox), "--workspace", str(space.root), "--once"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    assert isinstance(done.exception, NoRoomError)


def test_half_a_line_of_an_interception_is_taken_back(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file, room = appended_to(out), resource.getrlimit(resource.RLIMIT_FSIZE)
    file.take([{"account_id": "A1"}])
    resource.setrlimit(resource.RLIMIT_FSIZE, (out.stat().st_size + 5, room[1]))
    try:
        with pytest.raises(WorkspaceError, match="no room for interceptions; they are told again"):
            file.take([{"account_id": "A2"}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, room)
    file.take([{"account_id": "A2"}])
    assert out.read_text(encoding="utf-8").splitlines() == ['{"account_id": "A1"}', '{"account_id": "A2"}']
