"""Runs beside each other and what they cost: locks, snapshots, threads, late imports, exit codes, progress."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from typer.testing import CliRunner

import limitlens
from limitlens.data import resources
from limitlens.data.check import check_events
from limitlens.data.errors import BusyError, ConfigError, GateError, InputError, IntegrityError, WorkspaceError
from limitlens.data.lock import exclusive, waiting
from limitlens.data.progress import Part
from limitlens.data.resources import THREADS, chosen_threads, thread_count
from limitlens.data.world import simulate
from limitlens.features.catalogue import CATALOGUE
from limitlens.pipeline import tracking
from limitlens.pipeline.cli import app, common
from limitlens.pipeline.cli import main as command_line
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import withdraw
from limitlens.pipeline.training.feature_tables import feature_tables, opened_tables
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS

pytestmark = pytest.mark.slow

NOW = datetime(2026, 7, 3, tzinfo=UTC)
FEW = replace(default_settings(), columns=FEW_COLUMNS, n_estimators=5)
COLUMNS = CATALOGUE.only(["draw_count_30d", "purchase_sum_90d", "balance_cents"])
ROOMS = ("data", "data.world", "features", "models", "limits", "pipeline")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in {THREADS, "OMP_WAIT_POLICY"}}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=kept | environment, capture_output=True, text=True, check=False
    )


# Locks


@contextmanager
def held_elsewhere(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the workspace until it reads a line."""
    code = (
        "import sys; from pathlib import Path; from limitlens.data.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), 'decide'): print('held', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", code, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_run_where_no_workspace_is_leaves_nothing_there_unless_it_begins_one(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="no workspace is there"), exclusive(tmp_path / "wrok", "decide"):
        pass
    assert not list(tmp_path.iterdir())
    for begins in (True, False):
        with exclusive(tmp_path / "work", "check", begins=begins):
            assert (tmp_path / "work" / ".lock").exists()


def test_who_finds_a_workspace_held_is_told_by_which_command_since_when_and_by_which_process(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with held_elsewhere(tmp_path) as holder, pytest.raises(BusyError) as told, exclusive(tmp_path, "check"):
        pass
    found = re.search(r"in progress \(decide since (\S+), process (\d+)\); run this again", str(told.value))
    assert found is not None
    assert before <= datetime.fromisoformat(found[1]).replace(tzinfo=UTC) <= datetime.now(UTC)
    assert int(found[2]) == holder.pid


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
        with exclusive(tmp_path, "check"):
            assert f'"process": {os.getpid()}' in (tmp_path / ".lock").read_text(encoding="utf-8")


def test_who_waits_is_told_for_whom_and_goes_on_when_the_other_has_ended(tmp_path: Path) -> None:
    said: list[str] = []
    with held_elsewhere(tmp_path) as holder:

        def tell(text: str) -> None:
            said.append(text)
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.close()

        with waiting(tell), exclusive(tmp_path, "check"):
            assert holder.wait() == 0
    assert len(said) == 1
    assert re.fullmatch(r"waiting for the run in progress \(decide since \S+, process \d+\)", said[0])


def test_a_command_waits_only_if_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["withdraw", "1", "--reason", "doubled", "--workspace", str(tmp_path)]
    with held_elsewhere(tmp_path) as holder:
        assert isinstance(CliRunner().invoke(app, words).exception, BusyError)
        monkeypatch.setattr("limitlens.pipeline.cli.common.waiting", lambda _: waiting(lambda _: holder.kill()))
        assert "version '1' does not exist" in str(CliRunner().invoke(app, [*words, "--wait"]).exception)


# A training beside other runs


def during_training(workspace: Workspace, job: object) -> str:
    """Train, do something else when it has begun, and return the new version."""
    begun: list[str] = []

    def progress(text: str) -> None:
        if text.startswith("training on") and not begun:
            begun.append(text)
            job()  # type: ignore[operator]

    trained = train(workspace, FEW, default_policy(), developer="developer", progress=progress)
    assert begun
    return trained.model_version


def test_the_book_is_decided_while_a_model_is_trained(behind: Workspace) -> None:
    decided = []
    version = during_training(behind, lambda: decided.append(decide(behind, progress=quiet).decisions))
    assert decided[0] > 1_000
    assert behind.registry.models()[-1].model_version == version
    assert behind.ledger.verify() > 0


def test_a_training_sees_the_loads_it_began_with(behind: Workspace, tmp_path: Path) -> None:
    before = behind.events.digest()
    simulate(tmp_path / "more", accounts=30, months=3, seed=99, futures=0, progress=quiet)
    version = during_training(behind, lambda: check_events(tmp_path / "more", behind.events, progress=quiet))
    record = tracking.training_record(behind.mlflow, behind.registry.model(version).mlflow_run_id)
    assert record.events == before != behind.events.digest()


def test_a_champion_withdrawn_during_a_training_does_not_score_on_in_the_new_version(behind: Workspace) -> None:
    champion = behind.registry.champion()
    assert champion is not None
    with pytest.raises(WorkspaceError, match=f"version {champion}, of which members would stay, was withdrawn"):
        during_training(behind, lambda: withdraw(behind, champion, "someone", "doubled feed", NOW))
    assert behind.registry.models()[-1].model_version == champion


def test_two_runs_that_see_other_loads_build_the_same_date_beside_each_other(tmp_path: Path) -> None:
    """The older view reads what it saw, before and after the newer one is built."""
    simulate(tmp_path / "events", accounts=60, months=8, seed=3, futures=0, progress=quiet)
    space, as_of = Workspace(tmp_path / "work"), datetime(2025, 7, 1, tzinfo=UTC)
    late = tmp_path / "late" / "consumption"
    shutil.copytree(tmp_path / "events" / "accounts", late.parent / "accounts")
    late.mkdir()
    file = min((tmp_path / "events" / "consumption").glob("*.parquet"))
    rows = pq.read_table(file)
    pq.write_table(rows.slice(0, len(rows) // 2), late / "rest.parquet")
    pq.write_table(rows.slice(len(rows) // 2), file)
    check_events(tmp_path / "events", space.events)
    older = space.snapshot()
    [seen] = opened_tables(older, COLUMNS, [as_of], progress=quiet)
    first = seen.read()
    check_events(late.parent, space.events)
    [newer] = opened_tables(space, COLUMNS, [as_of], progress=quiet)
    assert not newer.read().equals(first)
    assert seen.read().equals(first)
    [again] = opened_tables(older, COLUMNS, [as_of], progress=quiet)
    assert again.read().equals(first)
    said: list[str] = []
    [path] = feature_tables(older, COLUMNS, [as_of], progress=said.append)
    assert pq.read_table(path).equals(first)
    assert not said


def test_a_mark_that_names_no_file_of_its_own_is_built_anew(tmp_path: Path) -> None:
    """As an earlier version wrote it, or damaged: what it stands for can always be computed again."""
    simulate(tmp_path / "events", accounts=30, months=4, seed=3, futures=0, progress=quiet)
    space, as_of = Workspace(tmp_path / "work"), datetime(2025, 4, 1, tzinfo=UTC)
    check_events(tmp_path / "events", space.events)
    [path] = feature_tables(space, COLUMNS, [as_of], progress=quiet)
    before, mark = path.read_bytes(), path.with_name("20250401T000000.json")
    for text in ('{"loads": ["0001"]}', '{"file": "x.parquet"}', "{", "[]", '{"file": "../../x", "loads": ["0001"]}'):
        mark.write_text(text, encoding="utf-8")
        [again] = feature_tables(space, COLUMNS, [as_of], progress=quiet)
        assert again.read_bytes() == before, text


# Threads


def test_openmp_waits_passively_unless_the_user_says_otherwise() -> None:
    code = "import limitlens.data, os; print(os.environ['OMP_WAIT_POLICY'])"
    assert python(code).stdout == "PASSIVE\n"
    assert python(code, OMP_WAIT_POLICY="ACTIVE").stdout == "ACTIVE\n"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_threads_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS, text)
    with pytest.raises(ConfigError, match=f"LIMITLENS_THREADS is '{text}'; expected a whole number of at least 1"):
        chosen_threads()


def test_training_scoring_and_queries_take_the_chosen_threads() -> None:
    code = """
import lightgbm, numpy as np
from threadpoolctl import threadpool_info
from limitlens.data.engine import run_sql
from limitlens.models.classifier import DefaultRiskClassifier
threads, real = set(), lightgbm.cv

def cv(*given, **named):
    threads.update(one["num_threads"] for one in threadpool_info() if "gomp" in one["prefix"])
    return real(*given, **named)

lightgbm.cv = cv
x = np.random.default_rng(0).normal(size=(400, 2))
DefaultRiskClassifier(folds=2, rounds=1, carried_rounds=0, n_estimators=5).fit(x, x[:, 0] > 0)
print(run_sql("SELECT current_setting('threads') AS n")["n"][0].as_py(), threads)
"""
    for count in ("1", "3"):
        done = python(code, LIMITLENS_THREADS=count)
        assert done.stdout == f"{count} {{{count}}}\n", done.stderr


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_a_quota_of_either_version_of_control_groups_is_read(
    files: dict[str, str], cpus: float | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert list(resources._quota(tmp_path)) == ([] if cpus is None else [cpus])


def test_a_process_has_no_more_threads_than_its_affinity_allows() -> None:
    one = min(os.sched_getaffinity(0))
    code = "from limitlens.data.resources import thread_count; print(thread_count())"
    assert python(f"import os; os.sched_setaffinity(0, {{{one}}}); {code}").stdout == "1\n"
    assert 1 <= thread_count() <= (os.cpu_count() or 1)


# Late imports


def test_help_and_errors_load_no_heavy_library(tmp_path: Path) -> None:
    code = """
import sys
from limitlens.pipeline.cli import main
try:
    main()
except SystemExit as ended:
    heavy = {"pandas", "pyarrow", "duckdb", "lightgbm", "sklearn", "scipy", "matplotlib", "mlflow", "shap", "sqlglot"}
    print(sorted(heavy & set(sys.modules)), ended.code)
"""
    for words, ends in (
        (["--help"], 0),
        (["why"], 2),
        (["decide", "--workspace", "none"], 1),
        (["train", "--config", "none.toml", "--workspace", str(tmp_path)], 4),
        (["train", "--frobnicate"], 2),
        (["decide", "--policy", "none.toml", "--workspace", str(tmp_path)], 4),
    ):
        assert python(code, *words).stdout.splitlines()[-1] == f"[] {ends}", words


@pytest.mark.slow
def test_a_command_with_nothing_to_judge_loads_no_statistics(tmp_path: Path) -> None:
    code = """
import sys
from limitlens.pipeline.cli import main
try:
    main()
except SystemExit:
    print("pandas" in sys.modules, "scipy.stats" in sys.modules)
"""
    assert python(code, "reconcile", "--workspace", str(tmp_path)).stdout.splitlines()[-1] == "True False"


def test_a_command_that_only_predicts_loads_no_scikit_learn(small_workspace: Workspace) -> None:
    code = """
import sys
from limitlens.pipeline.cli import app
app(sys.argv[1:], standalone_mode=False)
print("lightgbm.basic" in sys.modules, "sklearn" in sys.modules, "matplotlib" in sys.modules)
"""
    account = str(small_workspace.ledger.current()["account_id"].iloc[0])
    done = python(code, "why", account, "--workspace", str(small_workspace.root))
    assert done.stdout.splitlines()[-1] == "True False False", done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_hands_on_what_its_stub_says(room: str) -> None:
    module = import_module(f"limitlens.{room}")
    assert module.__all__
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_version_is_that_of_the_package() -> None:
    assert limitlens.__version__ == version("limitlens")
    assert CliRunner().invoke(app, ["--version"]).stdout == f"limitlens {version('limitlens')}\n"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = limitlens.nothing


# Exit codes


def ends_with(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["limitlens", *words])
    with pytest.raises(SystemExit) as ended:
        command_line()
    return int(ended.value.code or 0)


def test_each_kind_of_end_has_its_own_exit_code(
    small_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {error.exit_code for error in (InputError, WorkspaceError, BusyError, GateError, IntegrityError)}
    assert len(kinds | {0, 2, common.NOTHING_TO_DO}) == 8
    assert ConfigError.exit_code == InputError.exit_code
    shutil.copytree(small_workspace.root, tmp_path / "work")
    work = ["--workspace", str(tmp_path / "work")]
    assert ends_with(["ledger", "list", *work], monkeypatch) == 0
    assert ends_with(["decide", "--workspace", str(tmp_path / "new")], monkeypatch) == 1
    assert ends_with(["decide", "--frobnicate"], monkeypatch) == 2
    assert ends_with(["promote", "1", "--reviewer", "demo developer", *work], monkeypatch) == 3
    assert ends_with(["check", str(tmp_path / "nowhere"), *work], monkeypatch) == 4
    assert ends_with(["train", "--config", "none.toml", *work], monkeypatch) == 4
    with exclusive(tmp_path / "work", "check"):
        assert ends_with(["decide", *work], monkeypatch) == 5
    assert ends_with(["decide", *work], monkeypatch) == 7
    assert ends_with(["reconcile", *work], monkeypatch) == 7
    assert (
        ends_with(
            ["check", str(small_workspace.root.parent / "events"), "--loaded-at", "2026-07-03", *work], monkeypatch
        )
        == 7
    )
    next((tmp_path / "work" / "decisions").glob("*.parquet")).write_bytes(b"PAR1")
    assert ends_with(["ledger", "verify", *work], monkeypatch) == 6


def test_every_exit_code_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    codes = re.findall(r"^\| (\d) \|", page, re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    told = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert all(f"{code} " in told.split("Exit codes:")[1] for code in codes)


# Progress


def test_a_training_says_which_members_on_how_many_rows_and_how_far(behind: Workspace) -> None:
    said: list[str] = []
    settings = replace(FEW, folds=2, rounds=3, carried_rounds=1)
    train(behind, settings, default_policy(), developer="developer", progress=said.append)
    parts = [text for text in said if isinstance(text, Part)]
    assert re.fullmatch(r"training members 1 to 2 of 4 on [\d,]+ rows: tree 5 of at most 5", parts[0])
    assert [part.done / part.whole for part in parts] == [0.5, 1.0]  # a round of the champion stays


def test_a_part_says_how_long_the_rest_takes_on_lines_of_its_own_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(common, "stderr", Console(record=True, width=200, force_terminal=False, markup=False))
    told = common.ProgressLines()
    for done in range(1, 5):
        told(Part(f"member {done} of 4", done, 4))
    told("validating")
    lines = common.stderr.export_text().splitlines()
    assert [line[10:].split(",")[0] for line in lines] == [
        *(f"member {done} of 4" for done in range(1, 5)),
        "validating",
    ]
    assert re.fullmatch(r"\d\d:\d\d:\d\d  member 2 of 4, 50%, about 0:00:\d\d left", lines[1])
    assert lines[3].endswith("member 4 of 4")


def test_at_a_terminal_a_part_is_a_bar_that_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "stderr", Console(record=True, width=100, force_terminal=True, markup=False))
    told = common.ProgressLines()
    told(Part("member [1] of 2", 1, 2))
    assert told._bar is not None
    assert told._bar.tasks[0].percentage == 50
    told(Part("member [2] of 2", 2, 2))
    assert told._bar is None
    assert "member [2] of 2" in common.stderr.export_text()
