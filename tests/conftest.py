"""What tests share: hypothesis without deadlines (machines are noisy) and one finished, small demo."""

import shutil
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from limitlens.data.adapters import adapter
from limitlens.data.check import check_events
from limitlens.pipeline import demo
from limitlens.pipeline.decide import decide
from limitlens.pipeline.promote import promote
from limitlens.pipeline.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

settings.register_profile(
    "limitlens",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("limitlens")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """Folder of a finished demo of 1,500 lines, and what it printed; made once, a copy for each worker."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "finished"
    folder.mkdir(exist_ok=True)
    out, said = folder / "demo", folder / "said.txt"
    with (folder / "lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not said.exists():
            shutil.rmtree(out, ignore_errors=True)
            told: list[str] = []
            now = datetime(2026, 7, 2, tzinfo=UTC)
            demo.run(out, accounts=1_500, seed=7, now=now, progress=_quiet, show=told.append)
            said.write_text("\n".join(told), encoding="utf-8")
    copy = tmp_path_factory.mktemp("copied") / "demo"
    shutil.copytree(out, copy)
    return copy, said.read_text(encoding="utf-8").replace(str(out), str(copy))


@pytest.fixture(scope="session")
def small_workspace(finished_demo: tuple[Path, str]) -> Workspace:
    """The workspace of the finished demo; read only."""
    return Workspace(finished_demo[0] / "work")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the public data sets; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public data sets are not beside the checkout; see docs/real-data.md")
    return folder


def decided_workspace(name: str, data: Path, folder: Path) -> Workspace:
    """A public set taken from its files to decisions at the last two decision dates, with the shipped settings."""
    adapter(name)(data / name, folder / "events")
    workspace = Workspace(folder / "work")
    check_events(folder / "events", workspace.events, progress=_quiet)
    train(workspace, default_settings(), default_policy(), developer="developer", progress=_quiet)
    promote(workspace, None, datetime(2026, 1, 1, tzinfo=UTC), progress=_quiet)
    decide(workspace, progress=_quiet)
    return workspace


def _quiet(_: str) -> None:
    """Progress nobody reads."""
