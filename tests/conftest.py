"""What tests share: hypothesis without deadlines (machines are noisy) and one finished, small demo."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from functools import cache, partial, wraps
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pytest
from hypothesis import HealthCheck, settings

# Two workers on two CPUs: one thread each, before the first OpenMP runtime is loaded.
os.environ.setdefault("LIMITLENS_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from limitlens.data.check import check_events
from limitlens.data.importing import import_files
from limitlens.data.shipped_mappings import read_mapping
from limitlens.data.spark import spark_sql
from limitlens.data.world import simulate
from limitlens.data.world.settings import WorldSettings
from limitlens.features.table import Engine
from limitlens.limits.ledger import Ledger
from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.models.settings import TrainSettings
from limitlens.pipeline import demo, tracking
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests import ledgers

if TYPE_CHECKING:
    from playwright.sync_api import Browser

settings.register_profile(
    "limitlens",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("limitlens")

gc.set_threshold(20_000)  # looking for garbage among all that is imported was a tenth of the time

ROOT = Path(__file__).parent.parent

#: Makes something in a folder, unless another worker has: (its name, what makes it) → the folder. Read only.
MadeOnce = Callable[[str, Callable[[Path], object]], Path]

#: Columns for tests that ask about something else than features: planning a query of all takes longer than running it.
FEW_COLUMNS = (
    "draw_count_2d",
    "draw_count_30d",
    "draw_sum_30d",
    "draw_sum_90d",
    "draw_share_2d",
    "draw_share_7d",
    "utilisation",
    "passed_on_count_7d",
    "purchase_count_7d",
    "purchase_sum_30d",
    "purchase_sum_90d",
    "transfer_in_sum_90d",
    "transfer_in_days_since_ever",
    "transfer_out_of_draw_2d",
    "new_device_and_city_count_7d",
    "login_count_30d",
    "late_count_180d",
    "repayment_count_90d",
    "repayment_sum_30d",
    "repayment_sum_90d",
    "repayment_days_since_ever",
)

#: The two demos of the session, in the order in which they are made.
_SMALL, _DEMO = "small_demo", "demo"
_MAKE_DEMOS = """
import os, sys
from pathlib import Path
from tests.conftest import make, make_demo, make_small_demo
folder, small, _ = Path(sys.argv[1]), *sys.argv[2:]
make(folder, "small_demo", make_small_demo)
os.close(int(small))
make(folder, "demo", lambda out: make_demo(out, folder / "small_demo" / "out" / "events"))
"""


class _Shared:
    """The folder all workers share; a process of its own makes the demos in it while they start."""

    def __init__(self, *, demo: bool) -> None:
        self.folder = tempfile.mkdtemp(prefix="limitlens-tests-")
        nowhere = subprocess.DEVNULL  # if it fails, the first worker that needs a demo does too, and says why
        self.maker = None
        if demo:  # the locks are held by that process alone from here on
            with _locked(Path(self.folder), _SMALL) as small, _locked(Path(self.folder), _DEMO) as whole:
                held = [small.fileno(), whole.fileno()]
                command = [sys.executable, "-c", _MAKE_DEMOS, self.folder, *map(str, held)]
                self.maker = subprocess.Popen(command, cwd=ROOT, pass_fds=held, stdout=nowhere, stderr=nowhere)

    def close(self) -> None:
        if self.maker:
            self.maker.kill()
            self.maker.wait()
        shutil.rmtree(self.folder)


#: Fixtures that take more than a second to make.
_SLOW_FIXTURES = {"small_workspace", "demo_workspace", "finished_demo", "real_data", "made_once", "spark"}


#: Those that wait for a finished demo.
_DEMO_FIXTURES = {"small_workspace", "demo_workspace", "finished_demo"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--quick``: the tests that answer at once, for the inner loop; ``--write-pages``: pages that tests generate."""
    parser.addoption("--quick", action="store_true", help="Only tests that take less than a second.")
    parser.addoption("--write-pages", action="store_true", help="Bring pages up to date that are made of test results.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow ones, if asked to; otherwise no worker begins with files that wait for the demo."""
    if config.getoption("--quick"):
        slow = [one for one in items if _is_slow(one)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [one for one in items if not _is_slow(one)]
        return
    files = [list(mine) for _, mine in groupby(items, key=lambda one: one.path)]
    waiting_files, free = list[list[pytest.Item]](), list[list[pytest.Item]]()
    for mine in files:
        waits = any(_DEMO_FIXTURES & set(getattr(one, "fixturenames", ())) for one in mine)
        (waiting_files if waits else free).append(mine)
    # Long tests are not left for last: one worker would run them while the other has nothing to do.
    waiting_files.sort(key=lambda mine: not any(one.get_closest_marker("slow") for one in mine))
    waiting = [one for half in (0, 1) for mine in waiting_files[half::2] for one in mine]
    # The second of two workers begins in the middle of the list: there, too, with tests that wait for nothing.
    first, second = ([one for mine in free[half::2] for one in mine] for half in (0, 1))
    room = max(len(items) // 2 - len(first), 0)
    items[:] = [*first, *waiting[:room], *second, *waiting[room:]]


def pytest_collection_finish() -> None:
    """What was imported and collected lasts as long as the tests: nobody looks for garbage in it."""
    gc.collect()
    gc.freeze()


def _is_slow(item: pytest.Item) -> bool:
    asked = set(getattr(item, "fixturenames", ()))
    return bool(asked & _SLOW_FIXTURES) or item.get_closest_marker("slow") is not None


_SHARED = pytest.StashKey[_Shared]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each worker of the shared folder."""
    stash = node.config.stash
    if _SHARED not in stash:
        stash[_SHARED] = _Shared(demo=not node.config.getoption("--quick"))
    node.workerinput["limitlens_shared"] = stash[_SHARED].folder


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if shared := config.stash.get(_SHARED, None):
        shared.close()


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[TextIO]:
    """Wait until nobody else makes what has that name; let go of by closing the file, wherever it is open."""
    with (folder / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield lock


def make(shared: Path, name: str, maker: Callable[[Path], object]) -> None:
    """Make something in a folder of its own, and say that it is finished."""
    shutil.rmtree(shared / name, ignore_errors=True)
    maker(shared / name)
    (shared / f"{name}.finished").touch()


@pytest.fixture(scope="session")
def made_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """What takes long to make is made by the first worker that needs it; the others wait for it."""
    told = getattr(request.config, "workerinput", {}).get("limitlens_shared")
    shared = Path(told) if told else tmp_path_factory.mktemp("shared")

    def made(name: str, maker: Callable[[Path], object]) -> Path:
        with _locked(shared, name):
            if not (shared / f"{name}.finished").exists():
                make(shared, name, maker)
        return shared / name

    return made


def make_demo(folder: Path, events: Path | None = None) -> None:
    """A demo of 1,500 lines in ``out``, and what it printed; no test asks for the true PDs of its lines.

    Given the events of another such demo, it goes on from them.
    """
    told: list[str] = []

    def copied(out: Path, **_: object) -> None:
        shutil.copytree(str(events), out)

    now = datetime(2026, 7, 2, tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "simulate", copied if events else partial(demo.simulate, futures=0))
        demo.run(folder / "out", accounts=1_500, seed=7, now=now, progress=_quiet, show=told.append)
    (folder / "said.txt").write_text("\n".join(told), encoding="utf-8")


def small_settings() -> TrainSettings:
    """A small model of a few columns."""
    return replace(default_settings(), columns=FEW_COLUMNS, n_estimators=60, folds=2, rounds=2, carried_rounds=1)


def make_small_demo(folder: Path) -> None:
    """The same demo with a small model of a few columns, and a policy that acts at once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "default_settings", small_settings)
        patched.setattr(demo, "default_policy", lambda: at_once(default_policy()))
        make_demo(folder)


def make_daily_book(folder: Path, policy: Policy, first: datetime, last: datetime, *, world: WorldSettings) -> None:
    """A book of 500 lines that lasts twelve months: trained in ``base``, and in ``decided`` then decided day by day."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    simulate(folder / "world", accounts=500, months=12, seed=5, world=world, futures=0, start=start)
    base = Workspace(folder / "base")
    check_events(folder / "world", base.events)
    small = replace(default_settings(), columns=FEW_COLUMNS, n_estimators=20, folds=2, min_data_in_leaf=10)
    train(base, small, policy, developer="developer", until=first)
    promote(base, None, first, override=Override("head of credit risk", "a small book"))
    shutil.copytree(base.root, folder / "decided")
    space = Workspace(folder / "decided")
    decide(space, as_of=first)
    decide(space, until=last)


@pytest.fixture(scope="session")
def finished_demo(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder of a finished demo of 1,500 lines, and what it printed; a copy for each worker."""
    made = made_once(_DEMO, make_demo)
    copy = tmp_path_factory.mktemp("copied") / "demo"
    shutil.copytree(made / "out", copy)
    return copy, (made / "said.txt").read_text(encoding="utf-8").replace(str(made / "out"), str(copy))


@pytest.fixture(scope="session")
def demo_workspace(finished_demo: tuple[Path, str]) -> Workspace:
    """The workspace of the finished demo; read only."""
    return Workspace(finished_demo[0] / "work")


@pytest.fixture(scope="session")
def small_workspace(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """That of the demo with a small model of a few columns; read only."""
    copy = tmp_path_factory.mktemp("copied") / "small"
    shutil.copytree(made_once(_SMALL, make_small_demo) / "out", copy)
    return Workspace(copy / "work")


@pytest.fixture(scope="session")
def decided_desk(small_workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A ledger whose last date was decided by a policy under which two reviewers must agree above 10,000."""
    desk = ledgers.without_last(small_workspace, tmp_path_factory.mktemp("desk") / "decided")
    section = "[desk]\nsecond_above_cents = 1_000_000\ndouble_share = 1.0\nrandom_share = 0.0\n\n[reviews]"
    decide(desk, policy=parse_policy(at_once(default_policy()).text.replace("[reviews]", section, 1)), progress=_quiet)
    return desk


@pytest.fixture
def desk(decided_desk: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it."""
    shutil.copytree(decided_desk.root, tmp_path / "desk")
    return Workspace(tmp_path / "desk")


@pytest.fixture(scope="session")
def books(made_once: MadeOnce) -> Path:
    """Read only; a book that was decided as of the first of October, its world that goes on, and what came of both."""
    from tests.test_holds import make_books

    return made_once("holds", make_books)


@pytest.fixture
def space(books: Path, tmp_path: Path) -> Workspace:
    """A copy of the decided book."""
    shutil.copytree(books / "base", tmp_path / "work")
    return Workspace(tmp_path / "work")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Where an inbox may be made."""
    return tmp_path / "inbox"


@pytest.fixture
def behind(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it that has not decided its last date yet."""
    return ledgers.without_last(small_workspace, tmp_path / "behind")


@pytest.fixture
def small(tmp_path: Path) -> Ledger:
    """Three runs and two overrides, on their own."""
    return ledgers.three_runs(tmp_path / "small")


@pytest.fixture(scope="session", autouse=True)
def _one_empty_mlflow(request: pytest.FixtureRequest) -> Iterator[None]:
    """A new store is a copy of one that MLflow made itself, and its list of migrations is read once a process.

    MLflow plays back all its migrations for every new store, and reads them again for each that it opens.
    """
    made_once: MadeOnce = request.getfixturevalue("made_once")  # no argument: it would count every test as slow
    created, opened = tracking._create, tracking._opened

    def one(folder: Path) -> None:
        folder.mkdir()
        created(folder / "mlflow.db")

    @wraps(created)
    def copied(database: Path) -> None:
        shutil.copy(made_once("mlflow", one) / "mlflow.db", database)

    def read_once(database: Path) -> Any:
        from mlflow.store.db import utils

        if not hasattr(utils._get_latest_schema_revision, "cache_info"):
            utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
        return opened(database)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tracking, "_create", copied)
        patched.setattr(tracking, "_opened", read_once)
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public data sets are not beside the checkout; see docs/real-data.md")
    return folder


def decided_workspace(name: str, data: Path, folder: Path) -> Workspace:
    """A public set taken from its files to decisions at the last two decision dates, by a small model."""
    import_files(read_mapping(name), data / name, folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events, progress=_quiet)
    small = replace(default_settings(), n_estimators=60, folds=2, rounds=1, carried_rounds=0)
    train(workspace, small, default_policy(), developer="developer", progress=_quiet)
    anyway = Override("head of credit risk", "a small model has a tail that is off")
    promote(workspace, None, datetime(2026, 1, 1, tzinfo=UTC), override=anyway, progress=_quiet)
    decide(workspace, progress=_quiet)
    return workspace


def _quiet(_: str) -> None:
    """Progress nobody reads."""


#: Java that lives for some queries over few rows: compiling, planning anew and making room take longer than running.
SHORT_LIVED = (
    "--driver-java-options '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC' --conf spark.sql.adaptive.enabled=false "
    "--conf spark.buffer.pageSize=1m pyspark-shell"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def spark() -> Iterator[Engine]:
    """One session for all tests of a worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "PYSPARK_SUBMIT_ARGS", SHORT_LIVED)
        with spark_sql() as prepare:
            yield Engine("spark", prepare)
