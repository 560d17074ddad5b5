"""The simulated portfolio: deterministic, within its contract, plausible, and blind to nothing it plants."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.data.events import EventStore
from limitlens.data.simulation import simulate
from limitlens.data.stories import CASH_OUT

ROOMS = ("features", "models", "limits", "pipeline")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def portfolio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("portfolio")
    simulate(out, accounts=400, months=6, seed=3, progress=quiet)
    return out


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(portfolio: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "same", accounts=400, months=6, seed=3, progress=quiet)
    simulate(tmp_path / "other", accounts=400, months=6, seed=4, progress=quiet)
    assert digests(tmp_path / "same") == digests(portfolio)
    assert digests(tmp_path / "other") != digests(portfolio)


def test_every_row_passes_the_contract(portfolio: Path, tmp_path: Path) -> None:
    report = check_events(portfolio, EventStore(tmp_path / "work"), progress=quiet)
    assert not report.quarantine
    assert all(count.accepted == count.rows_in > 0 for name, count in report.sources.items() if name != "outcomes")


def test_the_two_day_case_is_planted_in_the_last_month(portfolio: Path) -> None:
    stories = pq.read_table(portfolio / "truth" / "stories.parquet").to_pandas()
    last = stories[(stories["story"] == CASH_OUT) & (stories["day"] > 150)]
    assert len(last) >= 6
    draws = pq.read_table(portfolio / "consumption").to_pandas()
    mine = draws[draws["account_id"].isin(last["account_id"]) & (draws["kind"] == "draw")]
    assert (mine.groupby("account_id").size() >= 6).sum() >= 6


def test_some_rows_arrive_late_and_some_are_corrected(portfolio: Path) -> None:
    rows = pq.read_table(portfolio / "payment").to_pandas()
    lag = rows["known_time"] - rows["event_time"]
    assert 0.005 < (lag.dt.days >= 3).mean() < 0.2
    assert 0.002 < rows["event_id"].duplicated().mean() < 0.03


def test_nothing_after_the_simulation_knows_of_its_truth() -> None:
    root = Path(__file__).parent.parent
    readers = [p for room in ROOMS for p in (root / room).rglob("*.py") if "truth" in p.read_text(encoding="utf-8")]
    assert not readers
