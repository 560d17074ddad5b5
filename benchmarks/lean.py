"""What a command costs before and beside its work: `python -m benchmarks.lean [--accounts 6000] [--beside PYTHON]`.

A simulated portfolio is delivered up to a day, trained on and decided. Then the next day arrives: `check`, `decide`,
`score`, `reconcile` and `report` are each a process of its own, as a scheduler runs them; so are `--help`, an error,
`ledger list` and `why`. Printed are the seconds of processor and the peak memory of each, the median of some runs on
copies of the same workspace. With `--beside`, the Python of another environment (an older version, say) does the same
in turn. `--train N` measures `build` and `train` on N lines instead.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pyarrow.compute as pc
import pyarrow.parquet as pq

from limitlens.data.contracts import SOURCES
from limitlens.data.world import simulate

DAY = datetime(2026, 6, 17, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)

#: Seconds of processor and MiB of memory by command.
Costs = dict[str, tuple[float, float]]


#: Runs a command and says what it used. A process of its own: what a child is said to have used at most begins with
#: the memory of the process that started it, and this one simulates.
_STARTER = """
import os, subprocess, sys
with open(sys.argv[1], "w") as said:
    child = subprocess.Popen(sys.argv[2:], stdout=said, stderr=said)
_, status, used = os.wait4(child.pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def cost(command: Sequence[str], cwd: Path, fine: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """Seconds of processor and MiB at most of one process; what it says is then in ``said.txt``."""
    starter = [sys.executable, "-c", _STARTER, "said.txt", *command]
    done = subprocess.run(starter, cwd=cwd, capture_output=True, text=True, check=True)
    ended, seconds, kib = done.stdout.split()
    if int(ended) not in fine:
        sys.exit(f"{' '.join(command)} ended with {ended}: {(cwd / 'said.txt').read_text(encoding='utf-8')}")
    return float(seconds), int(kib) / 1024


def run(python: str, *words: str, cwd: Path, fine: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """The cost of one call of limitlens."""
    return cost([python, "-m", "limitlens.pipeline", *words], cwd, fine)


def split(events: Path, out: Path) -> None:
    """Deliver what was known before the day, and what came on it."""
    for source in SOURCES:
        for file in (events / source).glob("*.parquet"):
            rows = pq.read_table(file)
            known = rows["known_time"]
            for name, chosen in (
                ("before", pc.less(known, DAY)),
                ("day", pc.and_(pc.greater_equal(known, DAY), pc.less(known, NEXT))),
            ):
                (out / name / source).mkdir(parents=True, exist_ok=True)
                pq.write_table(rows.filter(chosen), out / name / source / file.name)


def prepared(python: str, folder: Path) -> None:
    """A workspace that has decided everything up to the day."""
    work = ("--workspace", "work")
    for words in (
        ("check", "before"),
        ("train",),
        ("promote", "--override-by", "head of credit risk", "--reason", "a benchmark"),
        ("decide", "--until", f"{DAY:%Y-%m-%d}"),
        ("reconcile",),
        ("report",),
    ):
        run(python, *words, *work, cwd=folder, fine=(0, 7))


def day(python: str, folder: Path) -> Iterator[tuple[str, tuple[float, float]]]:
    """The costs of the next day, command by command; a line of it is asked about."""
    work, date = ("--workspace", "work"), f"{NEXT:%Y-%m-%d}"
    yield "--help", run(python, "--help", cwd=folder)
    yield "an error (no such settings)", run(python, "train", "--config", "no.toml", cwd=folder, fine=(1, 4))
    yield "an error (nothing decided yet)", run(python, "why", "A1", "--workspace", "no", cwd=folder, fine=(1, 4))
    yield "check", run(python, "check", "day", *work, cwd=folder)
    yield "decide", run(python, "decide", "--until", date, *work, cwd=folder)
    yield "score", run(python, "score", "--as-of", date, *work, cwd=folder)
    yield "reconcile", run(python, "reconcile", *work, cwd=folder, fine=(0, 7))
    yield "report", run(python, "report", *work, cwd=folder)
    yield "ledger list", run(python, "ledger", "list", *work, cwd=folder)
    account = (folder / "said.txt").read_text(encoding="utf-8").split()[1]
    yield "why", run(python, "why", account, *work, cwd=folder)


INCREMENT = ("check", "decide", "score", "reconcile", "report")


def measured(pythons: list[str], accounts: int, runs: int, folder: Path) -> list[Costs]:
    """Median costs of each Python, in turn."""
    simulate(folder / "events", accounts=accounts, futures=0, progress=print)
    found: list[list[Costs]] = [[] for _ in pythons]
    for place, python in enumerate(pythons):
        split(folder / "events", folder / f"{place}")
        prepared(python, folder / f"{place}")
    for number in range(runs):
        for place, python in enumerate(pythons):
            copy = folder / "copy"
            shutil.copytree(folder / f"{place}", copy)
            costs = dict(day(python, copy))
            costs["the day"] = (
                sum(costs[name][0] for name in INCREMENT),
                max(costs[name][1] for name in INCREMENT),
            )
            found[place].append(costs)
            shutil.rmtree(copy)
        print(f"run {number + 1} of {runs}", file=sys.stderr)
    return [
        {name: (median(one[name][0] for one in mine), median(one[name][1] for one in mine)) for name in mine[0]}
        for mine in found
    ]


def trained(pythons: list[str], accounts: int, folder: Path) -> list[Costs]:
    """Costs of a training on many lines."""
    simulate(folder / "events", accounts=accounts, futures=0, progress=print)
    found = []
    for place, python in enumerate(pythons):
        work = ("--workspace", f"work{place}")
        run(python, "check", "events", *work, cwd=folder)
        found.append({name: run(python, name, *work, cwd=folder) for name in ("build", "train")})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=6_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--train", type=int, default=0, metavar="LINES")
    parser.add_argument("--beside", metavar="PYTHON")
    given = parser.parse_args()
    pythons = [sys.executable, *([given.beside] if given.beside else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.train:
            costs = trained(pythons, given.train, folder)
        else:
            costs = measured(pythons, given.accounts, given.runs, folder)
    print("| command | CPU s | peak MiB |" + (" CPU s beside | peak MiB beside |" if given.beside else ""))
    print("|---|---|---|" + ("---|---|" if given.beside else ""))
    for name in costs[0]:
        print(f"| {name} |", " | ".join(f"{one[name][0]:.2f} | {one[name][1]:,.0f}" for one in costs), "|")


if __name__ == "__main__":
    main()
