"""Kill the commands of a book and repeat them: `python -m benchmarks.command_kills [--random 200] [--each 20]`.

A small book is taken from its first delivery to its scores, one command after the other, each in a process of its own.
Then each command is begun again from where it began, killed with SIGKILL, and repeated; afterwards everything has to
be as after a call that nobody killed: every file below the workspace byte for byte, the rows of the ledger and of
MLflow but for times and MLflow's own ids, nothing left over beside them, in the folder for temporary files or where the
command was called. It is killed before changes of files that Python and SQLite make (a file opened to be written, a
rename, a removal, a sync, a statement that writes, a commit): `--each` of them a command, of each kind in each folder
by turns; and at moments of chance. Exits with 1 if anything differs.
"""

import argparse
import atexit
import itertools
import os
import random
import re
import secrets
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import partial
from hashlib import sha256
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

import limitlens.pipeline
from benchmarks.kills import Step, forked, killed_at
from limitlens.data.world import simulate
from limitlens.pipeline.cli import main as command_line
from limitlens.pipeline.workspace import default_settings

#: What a command may end with when it is repeated: done, nothing to do, an unusual delivery.
_ENDED = (0, 7, 8)

#: Delivered first, and the rest afterwards; features are brought up to date in between.
_SPLIT = datetime(2025, 11, 1, tzinfo=UTC)

#: Columns that the rules of the policy read, and some of the model.
_COLUMNS = (
    "draw_count_2d", "draw_count_30d", "draw_sum_30d", "draw_sum_90d", "draw_share_2d", "draw_share_7d",
    "utilisation", "passed_on_count_7d", "purchase_count_7d", "purchase_sum_30d", "purchase_sum_90d",
    "transfer_in_sum_90d", "transfer_in_days_since_ever", "transfer_out_of_draw_2d", "new_device_and_city_count_7d",
    "login_count_30d", "late_count_180d", "repayment_count_90d", "repayment_sum_30d", "repayment_sum_90d",
    "repayment_days_since_ever",
)  # fmt: skip

_APPROVED = ("--override-by", "head of credit risk", "--reason", "a small book")

#: A command by its name in the table, in the order in which they are called.
COMMANDS = {
    "check": ("check", "../../first", "--plain-ids", "--loaded-at", "2025-11-01"),
    "build": ("build", "--config", "../../train.toml", "--until", "2025-11-01"),
    "check a further delivery": ("check", "../../further", "--loaded-at", "2026-01-01"),
    "build again": ("build", "--config", "../../train.toml"),
    "train": ("train", "--config", "../../train.toml", "--developer", "developer"),
    "sign-off": ("sign-off", "1", "--by", "Chen Wei", "--verdict", "approve", "--reason", "report and card read"),
    "promote": ("promote", *_APPROVED),
    "decide": ("decide", "--until", "2025-12-01"),
    "decide daily": ("decide", "--until", "2026-01-01"),
    "reconcile": ("reconcile",),
    "score": ("score", "--as-of", "2026-01-01", "--out", "../out/scores.parquet"),
    "holds open": ("holds", "open", "payment", "--since", "2025-12-15", "--by", "Chen Wei", "--reason", "a gap"),
    "holds release": ("holds", "release", "1", "--verdict", "true", "--by", "Chen Wei", "--reason", "a holiday"),
    "train again": ("train", "--config", "../../train.toml", "--developer", "developer"),
    "promote another": ("promote", "--reviewer", "Chen Wei", *_APPROVED),
    "withdraw-load": ("withdraw-load", "0002", "--by", "Chen Wei", "--reason", "the file of another year"),
    "erase": ("erase", "A000007", "--by", "Chen Wei", "--reason", "asked for"),
}

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_STATEMENTS = ("INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "COMMIT")


def watch(step: Step, root: Path) -> None:
    """From now on, tell of each change of a file below a folder before it is made."""

    def at(path: Any) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - a link is no other place
        if not full.is_relative_to(root):
            return None
        return re.sub(r"/([0-9a-f]{16,}|tmp\w{6,})", "", f"/{full.parent.relative_to(root)}")[1:] or "."

    def hook(event: str, given: tuple[Any, ...]) -> None:
        what = {"os.rename": "rename", "os.remove": "removal", "os.mkdir": "folder made", "os.rmdir": "folder removed"}
        name = what.get(event) or ("opened to write" if event == "open" and (given[2] or 0) & _WRITES else None)
        within = given[-1] if event in {"os.remove", "os.rmdir"} and given[-1] >= 0 else None
        if name and (place := at(given[0] if within is None else _folder(within) / given[0])):
            step(f"{name}, {place}")

    def synced(handle: int, sync: Callable[[int], None] = os.fsync) -> None:
        if place := at(_folder(handle)):
            step(f"sync, {place}")
        sync(handle)

    def connect(path: Any, *given: Any, opened: Callable[..., Any] = sqlite3.connect, **named: Any) -> Any:
        connection = opened(path, *given, **named)
        name = Path(os.fsdecode(path)).name.partition("?")[0]

        def traced(sql: str) -> None:
            if (word := sql.lstrip()[:10].partition(" ")[0].upper()) in _STATEMENTS:
                step(f"{word}, {name}")

        connection.set_trace_callback(traced)
        return connection

    sys.addaudithook(hook)
    os.fsync = synced
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


class _Standing(datetime):
    """A clock that stands."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime(2026, 1, 2, tzinfo=tz)


def _same_each_time() -> None:
    """What is recorded of a withdrawal or an erasure: the moment it is called, and names for nobody."""
    for name, module in list(sys.modules.items()):
        if name.startswith("limitlens.pipeline.cli.") and hasattr(module, "datetime"):
            module.datetime = _Standing  # type: ignore[attr-defined]
    numbers = itertools.count()
    secrets.token_hex = lambda size=32: f"{next(numbers):0{2 * size}x}"


def _folder(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}").readlink()


@dataclass
class Book:
    """A folder with a workspace at one place, whatever it is a copy of: MLflow keeps absolute addresses."""

    folder: Path
    starts: dict[str, Path] = field(default_factory=dict)

    @property
    def live(self) -> Path:
        """Holds workspace, what is written beside it, and the folder for temporary files."""
        return self.folder / "live"

    def begin(self, start: Path | None) -> None:
        """Put a workspace back to where a command began."""
        shutil.rmtree(self.live, ignore_errors=True)
        if start:
            shutil.copytree(start, self.live)
        else:
            for name in ("work", "out", "tmp", "here"):
                (self.live / name).mkdir(parents=True)

    def call(self, words: tuple[str, ...], step: Step | None = None) -> None:
        """One command, in this process, which has no further one."""
        atexit._clear()  # what the process that this one is a copy of would do at its end
        os.chdir(self.live / "here")
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.live / "tmp")
        with (self.live / "said").open("w", encoding="utf-8") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        if step:
            watch(step, self.live)
        _same_each_time()
        sys.argv[1:] = [*words, "--workspace", "../work"]
        try:
            command_line()
        except SystemExit as end:
            if (end.code or 0) not in _ENDED:
                os._exit(int(end.code or 0))
        sys.stdout.flush()
        atexit._run_exitfuncs()

    def whole(self, name: str, step: Step | None) -> None:
        """A command that nobody kills."""
        if code := forked(partial(self.call, COMMANDS[name], step)):
            raise SystemExit(f"{name} failed with {code}: {self.said()}")

    def said(self) -> str:
        """The last line a command printed."""
        return (self.live / "said").read_text(encoding="utf-8").strip().rpartition("\n")[2]

    def there(self) -> dict[str, Any]:
        """All that has to be equal."""
        work, apart = self.live / "work", re.compile(r"said|work/(mlflow/|ledger\.sqlite|\.lock)")
        files = {str(path.relative_to(self.live)): path for path in self.live.rglob("*") if path.is_file()}
        return {
            "files": {name: _digest(path) for name, path in sorted(files.items()) if not apart.match(name)},
            "beside": sorted(str(path) for name in ("tmp", "here") for path in (self.live / name).iterdir()),
            "ledger": _ledger(work),
            "mlflow": _mlflow(work / "mlflow"),
        }


#: What MLflow says of a model beside its signature: when it was made, and in which run.
_OF_THE_CALL = re.compile(rb"^(model_uuid|run_id|utc_time_created):.*$", re.MULTILINE)

#: Records of rows with times or MLflow's ids in them.
_OF_TIMES = {"model", "files of model", "promotion", "withdrawal"}


def _digest(path: Path) -> str:
    content = path.read_bytes()
    return sha256(_OF_THE_CALL.sub(b"", content) if path.name == "MLmodel" else content).hexdigest()


def _rows(path: Path, sql: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def _ledger(work: Path) -> dict[str, Any]:
    """Rows of every table but times of calls, MLflow's ids and hashes over them; of a model what lies in its folder."""
    path, found = work / "ledger.sqlite", {}
    for name in [row["name"] for row in _rows(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]:
        found[name] = _rows(path, f"SELECT * FROM {name} ORDER BY rowid")
    for row in found.get("models", []):
        row["folder"] = {file.name: _digest(file) for file in sorted((work / row["folder"]).iterdir())}
    for row in (row for rows in found.values() for row in rows):
        row.pop("promoted_at", None)
        row.pop("head", None)
        if row.get("kind") in _OF_TIMES and "sha256" in row:
            row["sha256"] = ""
        if "mlflow_run_id" in row:
            row["mlflow_run_id"] = row["mlflow_run_id"] is not None
    return found


def _mlflow(store: Path) -> dict[str, Any]:
    """Runs with what was logged of them, versions, aliases, and files; folders that are of no run."""
    path = store / "mlflow.db"
    runs = {row["run_uuid"]: row for row in _rows(path, "SELECT run_uuid, name, status, lifecycle_stage FROM runs")}
    logged = ("tags", "params", "metrics")
    for table in logged:
        for row in _rows(path, f"SELECT run_uuid, key, value FROM {table}"):
            runs[row["run_uuid"]].setdefault(table, []).append((row["key"], row["value"]))
    recorded = []
    for run_id, row in runs.items():
        files = (path for path in (store / "artifacts" / run_id).rglob("*") if path.is_file())
        row |= {name: sorted((key, _anonymous(key, value)) for key, value in row.get(name, [])) for name in logged}
        recorded.append(row | {"run_uuid": "", "files": sorted((path.name, _digest(path)) for path in files)})
    folders = {path.name for path in (store / "artifacts").glob("*")}
    other = sorted({path.name for path in store.glob("*")} - {"mlflow.db", "artifacts"})
    of_run = "run_id IN (SELECT run_uuid FROM runs) AS of_run"
    return {
        "runs": sorted(recorded, key=repr),
        "versions": _rows(path, f"SELECT version, {of_run} FROM model_versions ORDER BY version"),
        "aliases": _rows(path, "SELECT alias, version FROM registered_model_aliases ORDER BY alias"),
        "of no run": len(folders - runs.keys()),
        "beside": other,
    }


def _anonymous(key: str, value: Any) -> Any:
    if key == "limitlens.ledger_head":
        return "a head"
    return re.sub(r"[0-9a-f]{32}(?![0-9a-f])", "id", value) if isinstance(value, str) else value


def prepare(folder: Path, lines: int) -> None:
    """Two deliveries of a small book, and settings of a small model."""
    simulate(folder / "world", accounts=lines, months=12, seed=5, futures=0, start=datetime(2025, 1, 1, tzinfo=UTC))
    for source in ("accounts", "consumption", "payment", "device"):
        table = pq.read_table(folder / "world" / source)
        early = pc.less(table["known_time"], _SPLIT)
        for name, rows in (("first", table.filter(early)), ("further", table.filter(pc.invert(early)))):
            (folder / name / source).mkdir(parents=True)
            pq.write_table(rows, folder / name / source / f"{source}.parquet")
    given = {"folds": 2, "rounds": 2, "carried_rounds": 1, "n_estimators": 20, "min_data_in_leaf": 10}
    text = (Path(__file__).parent.parent / "conf" / "train.toml").read_text(encoding="utf-8")
    for key, value in (given | {"columns": str(list(_COLUMNS)).replace("'", '"')}).items():
        text = re.sub(rf"(?m)^{key} = \S+", f"{key} = {value}", text)
    (folder / "train.toml").write_text(text, encoding="utf-8")


@dataclass
class Trial:
    """One command: where it begins, its changes of files, how long it takes, and what it ends with."""

    book: Book
    name: str

    def __post_init__(self) -> None:
        self.words, self.start = COMMANDS[self.name], self.book.folder / f"before {self.name}"
        shutil.rmtree(self.start, ignore_errors=True)
        shutil.copytree(self.book.live, self.start)
        log = self.book.folder / "steps"
        log.unlink(missing_ok=True)
        self.book.whole(self.name, lambda what: _append(log, what))
        self.steps, self.expected = log.read_text(encoding="utf-8").splitlines(), self.book.there()
        shutil.rmtree(self.book.folder / "after", ignore_errors=True)
        self.book.begin(self.start)
        began = time.perf_counter()
        self.book.whole(self.name, None)
        self.seconds = time.perf_counter() - began
        if lacking := _differing(self.expected, self.book.there()):
            raise SystemExit(f"{self.name}: two calls that nobody killed differ in {lacking}")
        shutil.copytree(self.book.live, self.book.folder / "after")

    def at_step(self, number: int) -> str:
        """What differs after a kill before a change."""
        self.book.begin(self.start)
        code = forked(partial(self.book.call, self.words, killed_at(number)))
        if code != -signal.SIGKILL:
            return f"not killed: {code}"
        return self._repeated()

    def after(self, seconds: float) -> str:
        """What differs after a kill at a moment."""
        self.book.begin(self.start)
        forked(partial(self.book.call, self.words), kill_after=seconds)
        return self._repeated()

    def _repeated(self) -> str:
        if not _differing(self.expected | {"beside": None}, self.book.there() | {"beside": None}):
            return ""  # it was done, and had only not ended
        if code := forked(partial(self.book.call, self.words)):
            return f"ended with {code}: {self.book.said()}"
        return _differing(self.expected, self.book.there())

    def go_on(self) -> None:
        """Have the workspace as the command leaves it."""
        self.book.begin(self.book.folder / "after")

    def chosen(self, each: int, rng: random.Random) -> list[int]:
        """Changes to be killed at: each kind and place by turns."""
        of_kind: dict[str, list[int]] = {}
        for number, name in enumerate(self.steps):
            of_kind.setdefault(name, []).append(number)
        kinds = list(of_kind.values())
        rng.shuffle(kinds)
        for numbers in kinds:
            rng.shuffle(numbers)
        by_turns = [number for turn in zip_longest(*kinds) for number in turn if number is not None]
        return sorted(by_turns[:each])


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _differing(expected: dict[str, Any], there: dict[str, Any], path: str = "") -> str:
    """Where two states differ first."""
    for key in sorted(expected.keys() | there.keys()):
        one, other = expected.get(key), there.get(key)
        if one != other:
            if isinstance(one, dict) and isinstance(other, dict):
                return _differing(one, other, f"{path}/{key}")
            if isinstance(one, list) and isinstance(other, list):
                more, less = [r for r in other if r not in one], [r for r in one if r not in other]
                return f"{path}/{key}: {len(one)} became {len(other)}: new {str(more)[:200]}, lacking {str(less)[:200]}"
            return f"{path}/{key}: {str(one)[:100]} became {str(other)[:100]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=200, help="kills at moments of chance, over all commands")
    parser.add_argument("--each", type=int, default=20, help="kills before changes of files, of each command")
    parser.add_argument("--lines", type=int, default=300)
    parser.add_argument("--only", default="", help="a pattern; other commands are called and not killed")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    rng, table, differ = random.Random(given.seed), [], []
    chosen = [name for name in COMMANDS if re.search(given.only, name)]
    by_chance = Counter(chosen[number % len(chosen)] for number in range(given.random))
    with tempfile.TemporaryDirectory() as name:
        book = Book(Path(name).resolve())
        if code := forked(partial(prepare, book.folder, given.lines)):
            raise SystemExit(f"no book: {code}")
        _load_all()
        book.begin(None)
        for command in list(COMMANDS)[: list(COMMANDS).index(chosen[-1]) + 1]:
            if command not in chosen:
                book.whole(command, None)
            else:
                trial = Trial(book, command)
                steps = [(trial.steps[number], trial.at_step(number)) for number in trial.chosen(given.each, rng)]
                moments = [rng.uniform(0, trial.seconds) for _ in range(by_chance[command])]
                after = [(f"after {seconds:.2f} s", trial.after(seconds)) for seconds in moments]
                equal = [sum(not what for _, what in kills) for kills in (steps, after)]
                table.append((command, len(trial.steps), len(steps), equal[0], len(after), equal[1]))
                differ += [f"{command}, {where}: {what}" for where, what in (*steps, *after) if what]
                print(f"{trial.seconds:.1f} s", table[-1], differ[-9:], file=sys.stderr, flush=True)
                trial.go_on()
    print("| command | changes of files | killed before one | equal | killed at a moment of chance | equal |")
    print("|---|---|---|---|---|---|")
    for row in [*table, ("all", *(sum(column) for column in list(zip(*table, strict=True))[1:]))]:
        print(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else f'`{cell}`' for cell in row)} |")
    print(*differ, sep="\n")
    sys.exit(bool(differ))


def _load_all() -> None:
    """What commands import when they are called, once for all of them."""
    for module in walk_packages(limitlens.pipeline.__path__, "limitlens.pipeline."):
        if not re.search("__main__|spark|kafka|webhook", module.name):
            import_module(module.name)
    for library in ("lightgbm", "sklearn.isotonic", "matplotlib.pyplot", "mlflow.store.tracking.sqlalchemy_store"):
        import_module(library)
    default_settings()


if __name__ == "__main__":
    main()
