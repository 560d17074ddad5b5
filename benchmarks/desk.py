"""How fast the desk answers: `python -m benchmarks.desk WORKSPACE [--requests 200]`.

`limitlens serve` in a process of its own over a workspace such as `work` of the folder that `benchmarks.watch_scale`
makes, asked by ten reviewers who are signed in. After the first pages, which count what the runs decided and sent, each
kind of page is asked for one by one, for the first lines of the queue in turn, then the queue and lines by all ten at
once; last, what the server holds in memory, five times in the course of the same number of requests.
"""

import argparse
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import numpy as np

from limitlens.pipeline.serving.people import digest_of

REVIEWERS = 10


def seconds(reviewer: OpenerDirector, address: str, form: dict[str, str] | None = None) -> tuple[float, str]:
    """How long a page takes, and its text."""
    begun = time.perf_counter()
    with reviewer.open(address, urlencode(form).encode() if form else None, timeout=300) as answer:
        text: str = answer.read().decode()
    return time.perf_counter() - begun, text


def signed_in(root: str, key: str) -> OpenerDirector:
    """Somebody at the desk."""
    reviewer = build_opener(HTTPCookieProcessor())
    token = re.findall(r'name="csrf" value="([^"]+)"', seconds(reviewer, f"{root}/sign-in")[1])[0]
    seconds(reviewer, f"{root}/sign-in", {"csrf": token, "key": key})
    return reviewer


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def started(workspace: Path, port: int, people: Path) -> subprocess.Popen[bytes]:
    """A desk that listens."""
    words = [sys.executable, "-m", "limitlens.pipeline", "serve", "--workspace", str(workspace), "--port", str(port)]
    words += ["--reviewers", str(people)]
    desk = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while desk.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        return desk
    raise SystemExit(f"the desk does not start; try limitlens serve --workspace {workspace}")


def row(name: str, times: list[float]) -> str:
    """A row of the table, in milliseconds."""
    median, high = np.quantile(times, [0.5, 0.95]) * 1_000
    return f"| {name} | {len(times):,} | {median:,.0f} | {high:,.0f} |"


def mib(process: int, name: str) -> int:
    """Memory of a process: what it has (``VmRSS``), or the most it has had (``VmHWM``)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) // 1024


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--explain", nargs="*", default=[], help="Accounts whose last change is replayed.")
    parser.add_argument("--more", type=int, default=10_000, help="Requests over which memory is looked at.")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        people = Path(folder) / "people.toml"
        sections = (
            f'["R{one}"]\nrole = "reviewer"\nkey_sha256 = "{digest_of(f"key {one}")}"' for one in range(REVIEWERS)
        )
        people.write_text("\n".join(sections), encoding="utf-8")
        port = free_port()
        desk = started(given.workspace, port, people)
        try:
            measure(desk.pid, f"http://127.0.0.1:{port}", given.requests, given.explain, given.more)
        finally:
            desk.terminate()
            desk.wait()


def measure(process: int, root: str, requests: int, explained: Sequence[str], more: int) -> None:
    """Ask for the pages and print the tables."""
    begun = time.perf_counter()
    reviewers = [signed_in(root, "key 0")]  # it leads to the day
    first_home = time.perf_counter() - begun
    first, page = seconds(reviewers[0], f"{root}/cases")
    accounts = re.findall(r'href="/line\?account=([^"]+)"', page) or [""]
    asked = [accounts[number % len(accounts)] for number in range(requests)]
    print("| page | requests | median ms | p95 ms |\n|---|---|---|---|")
    print(row("signing in and the day, for the first time since a run", [first_home]))
    print(row("the queue after that", [first]))
    pages = {"the day": root, "the queue": f"{root}/cases"}
    for name, address in pages.items():
        print(row(name, [seconds(reviewers[0], address)[0] for _ in asked]))
    print(row("a line", [seconds(reviewers[0], f"{root}/line?account={one}")[0] for one in asked]))
    print(row("search", [seconds(reviewers[0], f"{root}/search?account={quote(one[:6])}")[0] for one in asked]))
    first_steps, ends = [], []
    for one in explained:
        begun = time.perf_counter()
        with reviewers[0].open(f"{root}/why?account={one}", timeout=300) as answer:
            while b"deciding" not in answer.readline():
                pass
            first_steps.append(time.perf_counter() - begun)
            if b"From opening to now" not in answer.read():
                raise SystemExit(f"{one} is not explained")
        ends.append(time.perf_counter() - begun)
    if explained:
        print(row("an explanation, its first step", first_steps))
        print(row("an explanation, the first of its date", ends[:1]))
        print(row("an explanation, others of that date", ends[1:] or ends))
    reviewers += [signed_in(root, f"key {one}") for one in range(1, REVIEWERS)]
    turns = [(reviewers[number % REVIEWERS], one) for number, one in enumerate(asked)]
    with ThreadPoolExecutor(REVIEWERS) as pool:
        queues = pool.map(lambda turn: seconds(turn[0], f"{root}/cases")[0], turns)
        print(row(f"the queue, {REVIEWERS} reviewers at once", list(queues)))
        lines = pool.map(lambda turn: seconds(turn[0], f"{root}/line?account={turn[1]}")[0], turns)
        print(row(f"a line, {REVIEWERS} reviewers at once", list(lines)))
    held = [mib(process, "VmRSS")]
    for number in range(more):
        reviewer, account = turns[number % len(turns)]
        seconds(reviewer, f"{root}/line?account={account}" if number % 10 == 0 else f"{root}/cases")
        if (number + 1) % max(more // 5, 1) == 0:
            held.append(mib(process, "VmRSS"))
    print(f"memory before and in the course of {more:,} more: {', '.join(f'{one:,}' for one in held)} MiB")
    print(f"peak of the server: {mib(process, 'VmHWM'):,} MiB")


if __name__ == "__main__":
    main()
