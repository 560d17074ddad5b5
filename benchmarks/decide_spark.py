"""Decide or score on a Spark cluster and kill parts of it: `python -m benchmarks.decide_spark FOLDER [--lines 4000]`.

A simulated book is trained on and decided at a month start; the folder keeps it for another call. Its next month start
is then decided, or scored with `--what score`, by copies of the workspace: on one machine; on a standalone cluster of a
master and two workers with an executor each, on this machine's loopback; on it once more, while one executor is killed
with SIGKILL as soon as it runs tasks of ours; and once more, while the driver is killed then and the command called
again. Printed are the head of the chain after each, or the sha256 of the scores, seconds, and seconds of processor: of
one machine as the system counts them, of the cluster as they stand in /proc ten times a second, master and workers
included. Exits with 1 if a result differs.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from threading import Event, Thread

import pyspark

from benchmarks.lean import cost
from limitlens.data.check import check_events
from limitlens.data.storage import file_sha256
from limitlens.data.world import simulate
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

FIRST, SECOND = (datetime(2026, month, 1, tzinfo=UTC) for month in (6, 7))

#: Of the cluster: nothing leaves this machine.
_HERE = "127.0.0.1"

#: Settings of the driver and of its executors.
_SUBMIT = (
    "--conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 --conf spark.ui.enabled=false "
    "--conf spark.executor.cores=1 --conf spark.executor.memory=1g --conf spark.log.level=ERROR "
    "--conf spark.scheduler.minRegisteredResourcesRatio=1.0"
)


def made(folder: Path, lines: int) -> Path:
    """A workspace that has decided the first month start and not the second."""
    work = folder / f"work-{lines}"
    if work.exists():
        return work
    making = folder / "making"
    for left in (making, folder / "events"):
        shutil.rmtree(left, ignore_errors=True)
    simulate(folder / "events", accounts=lines, futures=0, progress=_say)
    space = Workspace(making)
    check_events(folder / "events", space.events, progress=_say)
    small = replace(default_settings(), n_estimators=60, folds=2, rounds=1, carried_rounds=0)
    train(space, small, default_policy(), developer="developer", until=FIRST, progress=_say)
    promote(space, None, FIRST, override=Override("head of credit risk", "a benchmark"), progress=_say)
    decide(space, as_of=FIRST, progress=_say)
    making.rename(work)
    return work


@dataclass
class Used:
    """Seconds of processor of processes and all that descend from them, as they were last seen."""

    roots: list[int]
    seconds: dict[int, float] = field(default_factory=dict)

    def look(self) -> None:
        """Look at every process once."""
        stats = dict(_processes())
        for pid, (parent, seconds) in stats.items():
            if pid in self.roots or parent in self.seconds or pid in self.seconds:
                self.seconds[pid] = seconds


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """Parent and seconds of processor of each process, by its id and in its order."""
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError, ValueError):
            cells = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            yield int(path.name), (int(cells[1]), (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK"))


def _children(pid: int) -> list[int]:
    return [child for child, (parent, _) in _processes() if parent == pid]


@contextmanager
def watched(*roots: int) -> Iterator[Used]:
    """Count the seconds of processor of some processes while the block runs."""
    used, done = Used(list(roots)), Event()

    def look() -> None:
        while not done.wait(0.1):
            used.look()

    thread = Thread(target=look)
    used.look()
    before = dict(used.seconds)
    thread.start()
    try:
        yield used
    finally:
        done.set()
        thread.join()
        used.seconds = {pid: seconds - before.get(pid, 0.0) for pid, seconds in used.seconds.items()}


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """A master and two workers: the address of the master, and the ids of the workers."""
    starter = Path(pyspark.__file__).parent / "bin" / "spark-class"
    with socket.socket() as free:
        free.bind((_HERE, 0))
        port = free.getsockname()[1]
    master, common = f"spark://{_HERE}:{port}", ["--host", _HERE, "--webui-port", "0"]
    env = os.environ | {"SPARK_LOCAL_IP": _HERE, "SPARK_NO_DAEMONIZE": "1", "SPARK_DAEMON_MEMORY": "512m"}
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, of: str, *words: str) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("wb") as log:
            command = [str(starter), f"org.apache.spark.deploy.{of}", *common, *words]
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=folder))
        return started[-1]

    try:
        start("master", "master.Master", "--port", str(port))
        _until(lambda: "I have been elected leader" in _read(folder / "master.log"), "the master does not start")
        workers = []
        for number in range(2):
            work = str(folder / f"executors-{number}")
            words = ("--cores", "1", "--memory", "1g", "--work-dir", work, master)
            workers.append(start(f"worker-{number}", "worker.Worker", *words).pid)
        for number in range(2):
            log = folder / f"worker-{number}.log"
            _until(lambda log=log: "Successfully registered" in _read(log), "a worker does not start")  # type: ignore[misc]
        yield master, workers
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _until(holds: Callable[[], bool], otherwise: str, seconds: float = 1_800) -> None:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            sys.exit(otherwise)
        time.sleep(0.05)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass(frozen=True)
class Ran:
    """How a run ended: the digest of its result, seconds, and seconds of processor."""

    digest: str
    seconds: float
    processor: float


def command(what: str, work: Path, *more: str) -> list[str]:
    """The call that decides or scores the second month start."""
    asked = [what, "--as-of", f"{SECOND:%Y-%m-%d}", "--workspace", str(work.resolve()), *more]
    if what == "score":
        asked += ["--out", str(_scores(work))]
    return [sys.executable, "-m", "limitlens.pipeline", *asked]


def _scores(work: Path) -> Path:
    return work.resolve() / "scores.parquet"


def result(what: str, work: Path) -> str:
    """What a run left: the head of the chain, or the digest of the scores."""
    return file_sha256(_scores(work)) if what == "score" else Workspace(work).ledger.head()


def on_one_machine(what: str, work: Path, folder: Path) -> Ran:
    """Work on a copy in one process."""
    begun = time.perf_counter()
    processor, _ = cost(command(what, work), folder)
    return Ran(result(what, work), time.perf_counter() - begun, processor)


def on_the_cluster(what: str, work: Path, folder: Path, kill: str = "") -> Ran:
    """Work on a copy on a cluster of its own, while an executor, the driver or nobody is killed."""
    with cluster(folder) as (master, workers):
        env = os.environ | {
            "PYSPARK_SUBMIT_ARGS": f"--master {master} {_SUBMIT} pyspark-shell",
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": _HERE,
        }
        begun = time.perf_counter()
        driver = _driver(what, work, folder, env)
        try:
            with watched(driver.pid, *workers) as used:
                if kill:
                    executor = _at_work(workers)
                    os.kill(executor if kill == "executor" else driver.pid, SIGKILL)
                    _say(f"killed the {kill}")
                if driver.wait() and kill == "driver":
                    driver = _driver(what, work, folder, env)
                    used.roots.append(driver.pid)
                    driver.wait()
        finally:
            driver.kill()
            driver.wait()
        if driver.returncode:
            sys.exit(f"{what} ended with {driver.returncode}: {_read(folder / 'said.txt')}")
        seconds = time.perf_counter() - begun
    return Ran(result(what, work), seconds, sum(used.seconds.values()))


def _driver(what: str, work: Path, folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "said.txt").open("wb") as said:
        asked = command(what, work, "--engine", "spark")
        return subprocess.Popen(asked, env=env, stdout=said, stderr=said, cwd=folder)


def _at_work(workers: list[int]) -> int:
    """The first executor that runs Python: a task of ours; none before that does."""
    found = list[int]()

    def works() -> bool:
        executors = [child for worker in workers for child in _children(worker)]
        found[:] = [one for one in executors if any(_children(python) for python in _children(one))]
        return bool(found)

    _until(works, "no executor began with a task")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=4_000)
    parser.add_argument("--what", choices=("decide", "score"), default="decide")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    start = made(given.folder, given.lines)
    results: dict[str, Ran] = {}
    for number, name in enumerate(("one machine", "cluster", "an executor killed", "the driver killed, and again")):
        folder = given.folder / f"run-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start, folder / "work")
        kill = "executor" if "executor" in name else "driver" if "driver" in name else ""
        where = (given.what, folder / "work", folder)
        run = on_the_cluster(*where, kill) if number else on_one_machine(*where)
        results[name] = run
        _say(f"{name}: {run}")
        shutil.rmtree(folder / "work")
    one = results["one machine"]
    print("| | result | s | ratio | s of processor | ratio |")
    print("|---|---|---|---|---|---|")
    for name, run in results.items():
        print(
            f"| {name} | {run.digest[:12]} | {run.seconds:.0f} | {run.seconds / one.seconds:.1f} "
            f"| {run.processor:.0f} | {run.processor / one.processor:.1f} |"
        )
    sys.exit(len({run.digest for run in results.values()}) > 1)


if __name__ == "__main__":
    main()
