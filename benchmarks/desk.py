"""How fast the desk answers: `python -m benchmarks.desk WORKSPACE [--requests 200]`.

`limitlens serve` in a process of its own, read-only, over a workspace such as `work` of the folder that
`benchmarks.watch_scale` makes. After the first page, which looks for what the runs sent, each kind of page is asked for
one by one, for the first lines of the queue in turn, and the queue by ten at once.
"""

import argparse
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np


def seconds(address: str) -> tuple[float, str]:
    """How long a page takes, and its text."""
    begun = time.perf_counter()
    with urlopen(address, timeout=300) as answer:
        text: str = answer.read().decode()
    return time.perf_counter() - begun, text


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def started(workspace: Path, port: int) -> subprocess.Popen[bytes]:
    """A desk that listens."""
    words = [sys.executable, "-m", "limitlens.pipeline", "serve", "--workspace", str(workspace), "--port", str(port)]
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


def peak_mib(process: int) -> int:
    """Most memory a process has had."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    port = free_port()
    desk, root = started(given.workspace, port), f"http://127.0.0.1:{port}"
    try:
        first, page = seconds(root)
        accounts = re.findall(r'href="/line\?account=([^"]+)"', page) or [""]
        asked = [accounts[number % len(accounts)] for number in range(given.requests)]
        print("| page | requests | median ms | p95 ms |\n|---|---|---|---|")
        print(row("the queue for the first time since a run", [first]))
        print(row("the queue", [seconds(root)[0] for _ in asked]))
        print(row("a line", [seconds(f"{root}/line?account={one}")[0] for one in asked]))
        print(row("search", [seconds(f"{root}/search?account={quote(one[:6])}")[0] for one in asked]))
        with ThreadPoolExecutor(10) as pool:
            print(row("the queue, ten at once", [took for took, _ in pool.map(seconds, [root] * given.requests)]))
        print(f"peak of the server: {peak_mib(desk.pid):,} MiB")
    finally:
        desk.terminate()
        desk.wait()


if __name__ == "__main__":
    main()
