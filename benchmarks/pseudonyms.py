"""What pseudonyms cost: `python -m benchmarks.pseudonyms [--accounts 8000] [--rounds 5]`.

The same simulated portfolio is taken in with ids as delivered and with pseudonyms, in turn, each time by a process of
its own and into an empty workspace; then both are trained on (60 trees a member) and decided for two dates, again in
turn, on copies. Printed are medians of seconds of processor and of peak memory, ratios to ids as delivered, and the
size of the accepted events. The models differ: folds are dealt by a hash of the id that is stored.
"""

import argparse
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from benchmarks.lean import cost
from limitlens.data.contracts import FEEDS
from limitlens.data.world import simulate

#: Options of `limitlens check` by way.
WAYS = {"ids as delivered": ["--plain-ids"], "pseudonyms": []}

#: `limitlens check` ends with 8 when it holds what is unusual.
FINE = (0, 8)

Cost = tuple[float, float]


def measured(folder: Path, rounds: int) -> dict[tuple[str, str], Cost]:
    """Median seconds and MiB of each command, by (command, way)."""
    costs: dict[tuple[str, str], list[Cost]] = {}
    for number in range(rounds):
        for way, options in WAYS.items():
            shutil.rmtree(folder / way, ignore_errors=True)
            (folder / way).mkdir()
            costs.setdefault(("check", way), []).append(run(folder / way, "check", str(folder / "events"), *options))
        print(f"check: round {number + 1} of {rounds}", file=sys.stderr)
    for way in WAYS:
        run(folder / way, "train", "--config", str(folder / "train.toml"))
        run(folder / way, "promote", "--override-by", "head of credit risk", "--reason", "a benchmark")
    for number in range(rounds):
        for way in WAYS:
            copy = folder / "copy"
            shutil.copytree(folder / way, copy)
            costs.setdefault(("decide", way), []).append(run(copy, "decide"))
            shutil.rmtree(copy)
        print(f"decide: round {number + 1} of {rounds}", file=sys.stderr)
    return {what: (median(s for s, _ in mine), median(m for _, m in mine)) for what, mine in costs.items()}


def run(folder: Path, *words: str) -> Cost:
    """The cost of one command, with the workspace and its key in a folder of their own."""
    return cost([sys.executable, "-m", "limitlens.pipeline", *words, "--workspace", "work"], folder, FINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate(folder / "events", accounts=given.accounts, futures=0)
        shipped = (files("limitlens.conf") / "train.toml").read_text(encoding="utf-8")
        small = [
            "n_estimators = 60\n" if line.startswith("n_estimators") else line for line in shipped.splitlines(True)
        ]
        (folder / "train.toml").write_text("".join(small), encoding="utf-8")
        costs = measured(folder, given.rounds)
        delivered = [path for name in FEEDS for path in (folder / "events" / name).glob("*.parquet")]
        rows = sum(pq.read_metadata(path).num_rows for path in delivered)
        sizes = {way: size_of(folder / way / "work" / "events") for way in WAYS}
    print(f"{rows:,} events of {given.accounts:,} accounts; accepted events, MiB: {sizes}")
    print("| command | ids | CPU, ratio | memory, ratio | CPU s | peak MiB |\n|---|---|---|---|---|---|")
    for (command, way), (seconds, mebibytes) in costs.items():
        base = costs[command, "ids as delivered"]
        ratios = f"{seconds / base[0]:.2f} | {mebibytes / base[1]:.2f}"
        print(f"| {command} | {way} | {ratios} | {seconds:.1f} | {mebibytes:,.0f} |")


def size_of(folder: Path) -> float:
    """MiB of the files of a folder."""
    return round(sum(path.stat().st_size for path in folder.rglob("*.parquet")) / 2**20, 1)


if __name__ == "__main__":
    main()
