"""The webhook: each interception is posted at least once, in order and signed, and what nobody took is told again."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from limitlens.data.errors import ConfigError, WorkspaceError
from limitlens.data.progress import silent
from limitlens.pipeline.cli import app
from limitlens.pipeline.watching.webhook import SECRET, posted_to, secret_in
from limitlens.pipeline.workspace import Workspace
from tests.test_watch import HOUR, line_of, put, takeover


class Receiver:
    """A server on this machine that answers as it is told to, and keeps what came; then it takes all."""

    def __init__(self, port: int = 0) -> None:
        self.answers, self.came = list[int](), list[tuple[dict[str, str], bytes]]()
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                mine.came.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(mine.answers.pop(0) if mine.answers else 204)
                self.send_header("Location", "/elsewhere")
                self.send_header("Retry-After", "3600")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:  # type: ignore[override]
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/interceptions"
        self.thread = Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def accounts(self) -> list[str]:
        return [json.loads(body)["account_id"] for _, body in self.came]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    mine = Receiver()
    yield mine
    mine.close()


def entries(*accounts: str) -> list[dict[str, object]]:
    return [
        {"account_id": account, "at": "2025-10-01T14:00:00+00:00", "action": "pause", "rules": ["cash_out"],
         "message": {"zh": "已暂停"}}
        for account in accounts
    ]  # fmt: skip


def test_each_interception_is_one_signed_request_in_order_with_a_key_of_its_own(
    receiver: Receiver, inbox: Path
) -> None:
    accounts = ["A1", "账户 2", "A3\r\nEvil: yes"]
    posted_to(receiver.url, inbox, b"secret", silent).take(entries(*accounts))
    assert receiver.accounts == accounts
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.came}) == 3
    assert receiver.came[0][0]["Idempotency-Key"] == "2025-10-01T14:00:00+00:00/A1"
    for headers, body in receiver.came:
        expected = hmac.new(b"secret", body, hashlib.sha256).hexdigest()
        assert headers["Limitlens-Signature"] == f"sha256={expected}"
        assert "Evil" not in headers


def test_without_a_secret_nothing_is_signed(receiver: Receiver, inbox: Path) -> None:
    posted_to(receiver.url, inbox, None, silent).take(entries("A1"))
    assert "Limitlens-Signature" not in receiver.came[0][0]


@pytest.mark.parametrize("busy", [408, 429, 500, 503])
def test_a_busy_receiver_is_asked_again_within_the_tick_with_the_same_key(
    busy: int, receiver: Receiver, inbox: Path
) -> None:
    receiver.answers = [busy]
    posted_to(receiver.url, inbox, None, silent).take(entries("A1", "A2"))
    assert receiver.accounts == ["A1", "A1", "A2"]
    assert receiver.came[0][0]["Idempotency-Key"] == receiver.came[1][0]["Idempotency-Key"]


@pytest.mark.slow  # waits between its calls
def test_one_that_stays_busy_is_asked_three_times_in_the_first_tick_and_once_in_those_after_it(
    receiver: Receiver, inbox: Path
) -> None:
    webhook, receiver.answers = posted_to(receiver.url, inbox, None, silent), [503] * 4
    for asked in (3, 4):
        with pytest.raises(WorkspaceError, match=r"answered 503; interceptions are told again"):
            webhook.take(entries("A1", "A2"))
        assert receiver.accounts == ["A1"] * asked
    webhook.take(entries("A1", "A2"))
    assert receiver.accounts == ["A1"] * 5 + ["A2"]


@pytest.mark.parametrize("answer", [302, 401, 404, 501])
def test_a_wrong_address_or_secret_loses_nothing_and_leads_nowhere_else(
    answer: int, receiver: Receiver, inbox: Path
) -> None:
    receiver.answers = [answer]
    with pytest.raises(WorkspaceError, match=f"answered {answer}"):
        posted_to(receiver.url, inbox, None, silent).take(entries("A1", "A2"))
    assert receiver.accounts == ["A1"]
    assert not list(inbox.rglob("*.json"))


def test_what_the_receiver_refuses_is_set_aside_with_the_reason_and_keeps_no_other_back(
    receiver: Receiver, inbox: Path
) -> None:
    receiver.answers, lines = [422], list[str]()
    posted_to(receiver.url, inbox, None, lines.append).take(entries("A1", "A2"))
    assert receiver.accounts == ["A1", "A2"]
    [path] = (inbox / "refused" / "webhook").glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8")) == entries("A1")[0]
    assert "answered 422" in path.with_name(f"{path.name}.txt").read_text(encoding="utf-8")
    assert ["answered 422" in line for line in lines] == [True]


@pytest.mark.slow  # waits between its calls
def test_where_nobody_listens_the_error_is_one_line_without_the_path(inbox: Path) -> None:
    gone = Receiver()
    gone.close()
    with pytest.raises(WorkspaceError, match=r"cannot be reached .*told again") as error:
        posted_to(gone.url, inbox, None, silent).take(entries("A1"))
    assert "interceptions are" in str(error.value)
    assert "/interceptions" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://bank.example/x", "expected https, or http to this machine"),
        ("http://127.0.0.1.bank.example/x", "expected https"),
        ("ftp://localhost/x", "expected https"),
        ("bank.example/x", "expected https"),
        ("https:///x", "expected https"),
        ("https://user:word@bank.example/x", "a password in the address"),
        ("http://[::1", "--webhook"),
    ],
)
def test_an_address_where_others_could_read_is_refused(url: str, message: str, inbox: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        posted_to(url, inbox, None, silent)


@pytest.mark.parametrize("url", ["https://bank.example:8443/x", "http://localhost:1/x", "http://[::1]:1/x"])
def test_https_and_this_machine_are_taken(url: str, inbox: Path) -> None:
    assert posted_to(url, inbox, None, silent).name == "webhook"


def test_the_secret_is_that_of_the_file_or_else_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" of the file\r\n")
    assert secret_in(file, {SECRET: "other"}) == b" of the file"
    assert secret_in(None, {SECRET: "other"}) == b"other"
    assert secret_in(None, {}) is None
    file.write_bytes(b"\n")
    for path, environment in ((file, {}), (None, {SECRET: ""}), (tmp_path / "none", {})):
        with pytest.raises(ConfigError, match=r"empty|cannot be read"):
            secret_in(path, environment)


def test_what_no_receiver_took_is_told_again_by_the_next_call_and_the_other_listeners_once(
    space: Workspace, inbox: Path, receiver: Receiver, tmp_path: Path
) -> None:
    run, out, account = CliRunner(), tmp_path / "out.jsonl", line_of(space)
    put(inbox, "a", takeover(account, datetime.now(UTC) - 3 * HOUR))
    asked = ["watch", str(inbox), "--workspace", str(space.root), "--once", "--out", str(out), "--webhook"]
    receiver.answers = [401]
    failed = run.invoke(app, [*asked, receiver.url])
    assert (failed.exit_code, "answered 401; mend the address or the secret" in failed.stderr) == (1, True)
    again = run.invoke(app, [*asked, receiver.url], env={SECRET: "s"})
    assert (again.exit_code, again.stdout) == (7, "")
    assert run.invoke(app, [*asked, receiver.url]).exit_code == 7
    assert receiver.accounts == [account] * 2
    assert out.read_bytes() == receiver.came[1][1] + b"\n"


def test_a_listener_that_comes_later_begins_where_the_others_are(
    space: Workspace, inbox: Path, receiver: Receiver
) -> None:
    run, asked = CliRunner(), ["watch", str(inbox), "--workspace", str(space.root), "--once"]
    put(inbox, "a", takeover(line_of(space), datetime.now(UTC) - 3 * HOUR))
    assert "pause" in run.invoke(app, asked).stdout
    assert run.invoke(app, [*asked, "--webhook", receiver.url]).exit_code == 7
    assert not receiver.came
