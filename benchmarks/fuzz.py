"""Damage files and read them: `python -m benchmarks.fuzz WORKSPACE [--seconds 60] [--only PATTERN] [--seed 1]`.

Bytes of deliveries, settings, keys and of every file of a copy of a decided workspace are changed, cut off, left out or
put in twice, one file at a time, and what reads that file is called. It has to do its work or refuse it with an error
of limitlens in one line: no other error, no end of the process, no wait. The same seed damages the same bytes. Exits
with 1 if anything else came.
"""

import argparse
import contextlib
import faulthandler
import gzip
import io
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import typer

from limitlens.data.contracts import SOURCES
from limitlens.data.delivery import read_delivered
from limitlens.data.errors import LimitlensError
from limitlens.data.quality_settings import read_quality
from limitlens.data.toml_reader import read_small
from limitlens.data.world import read_world
from limitlens.limits.anchor import Anchor, checked, signed
from limitlens.limits.keys import new_key
from limitlens.limits.policy_file import read_policy
from limitlens.models.settings import read_settings
from limitlens.pipeline.cli import app
from limitlens.pipeline.journal import Journal
from limitlens.pipeline.serving.people import digest_of, read_people
from limitlens.pipeline.watching.kafka import read_kafka
from limitlens.pipeline.workspace import Workspace

#: No case takes so long, however busy the machine is.
_SECONDS = 600

#: What stands in texts where something else should.
_WORDS = (
    b"9" * 400,
    b"-1",
    b"1e999",
    b"nan",
    b"null",
    b"[" * 3_000,
    b"{}",
    b'""',
    b"\x00",
    b"\xff\xfe",
    b"\n",
    b"=",
    b'"""',
)

_CONF = Path(__file__).parent.parent / "conf"

_PEOPLE = """["Chen Wei"]
role = "reviewer"
key_sha256 = "{digest}"
"""

_KAFKA = """[topics]
"lender.payments" = "payment"

[client]
"bootstrap.servers" = "127.0.0.1:9092"
"""


@dataclass(frozen=True)
class Target:
    """A file, and what reads it."""

    name: str
    path: Path
    readers: Sequence[Callable[[], object]]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes with up to three damages."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 4, 16, 256, 1 << 20)))
        piece = data[start:end]
        match rng.choice(("bit", "random", "cut", "twice", "out", "word", "zero", "other")):
            case "bit" if piece:
                piece = bytes([piece[0] ^ 1 << rng.randrange(8)]) + piece[1:]
            case "random":
                piece = rng.randbytes(len(piece))
            case "cut":
                data, piece, end = data[:start], b"", start
            case "twice":
                piece *= 2
            case "out":
                piece = b""
            case "word":
                piece = rng.choice(_WORDS) + (piece if rng.random() < 0.5 else b"")
            case "zero":
                piece = bytes(len(piece))
            case "other" if rng.random() < 0.2:
                data, piece, start, end = rng.choice((b"", b"{}", b"[]", b"garbage" * 99)), b"", 0, 0
        data = data[:start] + piece + data[end:]
    return data


def command(work: Path, *words: str) -> Callable[[], object]:
    """A command of the command line, which prints to nowhere."""

    def run() -> None:
        silent = io.StringIO()
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), contextlib.suppress(typer.Exit):
            app([*words, "--workspace", str(work)], standalone_mode=False)

    return run


def outside(folder: Path) -> list[Target]:
    """Files that are given to limitlens."""
    folder.mkdir()
    settings = {"train": read_settings, "policy": read_policy, "quality": read_quality, "world": read_world}
    for name in settings:
        shutil.copy(_CONF / f"{name}.toml", folder / f"{name}.toml")
    (folder / "people.toml").write_text(_PEOPLE.format(digest=digest_of("a key")), encoding="utf-8")
    (folder / "kafka.toml").write_text(_KAFKA, encoding="utf-8")
    private, public = new_key()
    (folder / "key.pem").write_bytes(private)
    (folder / "pub.pem").write_bytes(public)
    anchor = Anchor("2026-07-01T00:00:00+00:00", 1, "3f")
    (folder / "anchor.json").write_text(signed(anchor, private), encoding="utf-8")
    readers: dict[str, Callable[[Path], object]] = {f"{name}.toml": read for name, read in settings.items()}
    readers |= {
        "people.toml": read_people,
        "kafka.toml": read_kafka,
        "key.pem": lambda path: signed(anchor, read_small(path, "a key").encode()),
        "pub.pem": lambda path: checked(
            (folder / "anchor.json").read_text("utf-8"), read_small(path, "a key").encode()
        ),
        "anchor.json": lambda path: checked(read_small(path, "an anchor"), public),
    }
    day = "2026-01-02T00:00:00+00:00"
    row = {"event_id": "E1", "account_id": "A1", "event_time": day, "known_time": day, "kind": "purchase"}
    row |= {"category": 'a "b", c', "channel": "pos"}
    rows = pd.DataFrame([row | {"event_id": f"E{k}", "amount_cents": 100 + k} for k in range(40)])
    times = {name: pd.to_datetime(rows[name]).astype("datetime64[us, UTC]") for name in ("event_time", "known_time")}
    rows.assign(**times).to_parquet(folder / "rows.parquet")
    text = rows.to_csv(index=False).encode()
    (folder / "rows.csv").write_bytes(text)
    (folder / "rows.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    for name in ("rows.parquet", "rows.csv", "rows.csv.gz"):
        readers[name] = lambda path: read_delivered(path, path.name, SOURCES["consumption"])
    return [Target(name, folder / name, [partial(read, folder / name)]) for name, read in readers.items()]


def inside(work: Path, out: Path) -> list[Target]:
    """Files of a workspace, each with the commands that read it."""
    space = Workspace(work)
    runs = space.ledger.runs()
    account = str(
        space.ledger.query("SELECT account_id FROM current ORDER BY as_of DESC LIMIT 1")["account_id"].iloc[0]
    )
    Journal(work).sync(space.events)
    for rest in work.glob("*.sqlite-*"):
        rest.unlink()
    answers = [("ledger", "list"), ("ledger", "verify"), ("why", account), ("queue",), ("iterations",)]
    answers += [
        ("ledger", "export", str(out / "out.csv")),
        ("report", "--out", str(out / "out.html")),
        ("holds", "list"),
    ]
    scored = ("score", "--as-of", f"{runs[-1].as_of:%Y-%m-%d}", "--out", str(out / "out.parquet"))
    data = [("quality",), ("quarantine", "list"), ("decide",), ("reconcile",)]
    commands = {
        "ledger.sqlite": [*answers, scored, *data],
        "loads/*.json": [*answers, scored, *data],
        "events/*/*.parquet": [answers[1], answers[2], scored, *data],
        "decisions/*.parquet": [*answers, scored, data[2], data[3]],
        "attributions/*.parquet": [*answers, data[2], data[3]],
        "features/*/*": [scored],
        "profiles/*": [data[0], answers[-1]],
        "mlflow/artifacts/*/artifacts/model/*": [scored, answers[1], answers[4], answers[7]],
        "mlflow/mlflow.db": [answers[1], answers[4], data[2]],
    }
    targets = [
        Target(pattern, path, [command(work, *words) for words in several])
        for pattern, several in commands.items()
        for path in sorted(work.glob(pattern))
        if path.suffix not in {".html", ".svg"}
    ]
    since = runs[-1].as_of
    journal = Journal(work)
    reads = [journal.last_tick, journal.journaled, journal.attributes, partial(journal.touched, since)]
    reads.append(partial(journal.rows, "payment", "account_id", [account]))
    return [*targets, Target("journal.sqlite", work / "journal.sqlite", reads)]


def tried(target: Target, rng: random.Random) -> str:
    """What came of a damage: nothing, an error of ours by its name, or else where another one comes from."""
    whole = target.path.read_bytes()
    target.path.write_bytes(damaged(whole, rng))
    reader = rng.choice(target.readers)
    faulthandler.dump_traceback_later(_SECONDS, exit=True)
    try:
        reader()
    except LimitlensError as error:
        return f"two lines: {error}" if "\n" in str(error) else type(error).__name__
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "/limitlens/" in frame.filename][-1:] or last[-1:]
        return f"ESCAPED {type(error).__name__}: {str(error)[:200]!r} at {ours[0].filename}:{ours[0].lineno}"
    finally:
        faulthandler.cancel_dump_traceback_later()
        target.path.write_bytes(whole)
        for rest in target.path.parent.glob(f"{target.path.name}-*"):
            rest.unlink()
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, default=1 << 30)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", default="", help="a pattern; only files whose name it matches")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    counts, escaped = Counter[tuple[str, str]](), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(given.workspace, folder / "work")
        by_name: dict[str, list[Target]] = {}
        for target in [*outside(folder / "outside"), *inside(folder / "work", folder)]:
            if re.search(given.only, target.name):
                by_name.setdefault(target.name, []).append(target)
        names = sorted(by_name)
        os.chdir(folder)
        for targets in by_name.values():
            targets[0].readers[0]()  # without a damage each is read
        until = time.monotonic() + given.seconds
        for number in range(given.first, given.first + given.cases):
            if time.monotonic() > until:
                break
            rng = random.Random(f"{given.seed} {number}")
            target = rng.choice(by_name[names[number % len(names)]])
            print(number, target.path.relative_to(folder), file=sys.stderr, flush=True)
            came = tried(target, rng)
            if came.startswith(("ESCAPED", "two lines")):
                escaped.append(f"case {number}, {target.path.relative_to(folder)}: {came}")
                print(escaped[-1], file=sys.stderr, flush=True)
                came = "something else"
            counts[target.name, came] += 1
    kinds = sorted({came for _, came in counts})
    print(f"| file | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name in names:
        print(f"| `{name}` | {' | '.join(str(counts[name, kind]) for kind in kinds)} |")
    print(f"| all | {' | '.join(str(sum(counts[name, kind] for name in names)) for kind in kinds)} |")
    print(*escaped, sep="\n")
    sys.exit(bool(escaped))


if __name__ == "__main__":
    main()
