"""The simulated world: the same for a seed however it is cut, within its contract, and true to what it plants."""

import hashlib
import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import poisson

from limitlens.data.check import check_events
from limitlens.data.errors import ConfigError, InputError
from limitlens.data.events import EventStore
from limitlens.data.storage import ROW_GROUP_ROWS, parquet_stream
from limitlens.data.world import default_world, named_world, read_world, simulate
from limitlens.data.world.chance import Chance
from tests.conftest import MadeOnce
from tests.test_imports import FILES, ROOT, imported

pytestmark = pytest.mark.slow

SOURCES = ("accounts", "consumption", "payment", "device")


def quiet(_: str) -> None:
    """Progress nobody reads."""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def rows_of(folder: Path, source: str, accounts: Collection[str]) -> pd.DataFrame:
    rows = pd.read_parquet(folder / source)
    return rows[rows["account_id"].isin(accounts)].reset_index(drop=True)


@pytest.fixture(scope="module")
def portfolio(made_once: MadeOnce) -> Path:
    return made_once("portfolio", partial(simulate, accounts=1_200, months=8, seed=3, futures=10, progress=quiet))


#: A month costs most of what simulating few customers does, so what holds for any of them is shown in four.
SHORT: dict[str, Any] = {"accounts": 600, "months": 4, "seed": 3, "futures": 2, "progress": quiet}


@pytest.fixture(scope="module")
def short(made_once: MadeOnce) -> Path:
    return made_once("short", partial(simulate, **SHORT))


@pytest.fixture(scope="module")
def episodes(portfolio: Path) -> pd.DataFrame:
    return pd.read_parquet(portfolio / "truth" / "episodes.parquet")


def test_two_chunk_sizes_give_the_same_bytes(short: Path, tmp_path: Path) -> None:
    simulate(tmp_path, chunk_accounts=251, **SHORT)
    assert digests(tmp_path) == digests(short)


def test_the_first_world_is_what_it_always_was(short: Path) -> None:
    """By what its tables say: Parquet itself may be written otherwise by another version of its library."""
    tables = (*SOURCES, "truth/episodes.parquet", "truth/outcomes.parquet")
    text = b"".join(pd.read_parquet(short / name).to_csv(index=False).encode() for name in tables)
    assert hashlib.sha256(text).hexdigest() == "0544c05b6e81c0088146fc52eb20d48e2f336caac13e2b38f7b17bd486c21a14"


def test_another_seed_is_another_world(short: Path, tmp_path: Path) -> None:
    simulate(tmp_path, **SHORT | {"accounts": 60, "seed": 4, "futures": 0})
    some = [f"A{k:06d}" for k in range(1, 61)]
    for source in SOURCES:
        assert not rows_of(tmp_path, source, some).equals(rows_of(short, source, some))


@pytest.mark.parametrize("piece", [70_000, 131_072, 400_000])
def test_a_stream_of_pieces_has_the_bytes_of_its_whole(tmp_path: Path, piece: int) -> None:
    table = pa.table(
        {"n": np.arange(2 * ROW_GROUP_ROWS + 5), "s": [f"t{k % 97}" for k in range(2 * ROW_GROUP_ROWS + 5)]}
    )
    for name, size in (("whole", len(table)), ("pieces", piece)):
        with parquet_stream(table.schema, tmp_path / name) as write:
            for start in range(0, len(table), size):
                write(table.slice(start, size))
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()
    assert pq.read_table(tmp_path / "pieces").equals(table)


def test_a_customer_lives_the_same_life_in_a_portfolio_of_any_size(short: Path, tmp_path: Path) -> None:
    simulate(tmp_path, **SHORT | {"accounts": [17, 500], "futures": 0})
    two = ["A000018", "A000501"]
    for source in SOURCES:
        pd.testing.assert_frame_equal(rows_of(tmp_path, source, two), rows_of(short, source, two))


@pytest.mark.parametrize("cause", ["burst_borrowing", "innocent_device", "salary_delay"])
def test_a_cause_taken_out_leaves_every_line_it_did_not_strike_as_it_was(
    short: Path, tmp_path: Path, cause: str
) -> None:
    simulate(tmp_path, **SHORT | {"futures": 0}, without=[cause])
    episodes = pd.read_parquet(short / "truth" / "episodes.parquet")
    struck = set(episodes.loc[episodes["cause"] == cause, "account_id"])
    spared = {f"A{k:06d}" for k in range(1, 601)} - struck
    assert struck
    for source in SOURCES:
        pd.testing.assert_frame_equal(rows_of(tmp_path, source, spared), rows_of(short, source, spared))
    assert not rows_of(tmp_path, "payment", struck).equals(rows_of(short, "payment", struck))


def test_a_folder_with_months_of_another_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "payment").mkdir()
    (tmp_path / "payment" / "payment-08.parquet").touch()
    with pytest.raises(InputError, match=r"payment-08\.parquet: stands where the simulation writes"):
        simulate(tmp_path, accounts=10, months=7, futures=0, progress=quiet)
    assert not (tmp_path / "accounts").exists()


def test_every_row_passes_the_contract(portfolio: Path, tmp_path: Path) -> None:
    report = check_events(portfolio, EventStore(tmp_path / "work"), progress=quiet)
    nothing = {"outcomes", "shared_risk"}  # no lender shares what it knows of these
    assert not report.quarantine
    assert not report.sources["shared_risk"].rows_in
    assert all(count.accepted == count.rows_in > 0 for name, count in report.sources.items() if name not in nothing)


def test_the_two_day_case_is_planted_in_the_last_month(portfolio: Path, episodes: pd.DataFrame) -> None:
    last = episodes[(episodes["cause"] == "cash_out") & (episodes["begins"].dt.month == 8)]
    assert len(last) >= 6
    draws = rows_of(portfolio, "consumption", last["account_id"]).query("kind == 'draw'")
    assert (draws.drop_duplicates("event_id").groupby("account_id").size() >= 6).sum() >= 6


def test_causes_strike_at_about_their_rates(portfolio: Path, episodes: pd.DataFrame) -> None:
    counts = episodes["cause"].value_counts()
    for cause in ("holiday", "innocent_device"):
        expected = default_world().causes[cause].rate * 1_200 * 0.75 * 8
        assert 0.6 * expected < counts[cause] < 1.4 * expected


def test_the_true_pd_is_the_share_that_defaults(portfolio: Path) -> None:
    truth = pd.read_parquet(portfolio / "truth" / "outcomes.parquet")
    truth = truth[truth["as_of"] >= pd.Timestamp("2025-05-01", tz="UTC")]
    assert truth["true_pd"].mean() == pytest.approx(truth["bad"].mean(), rel=0.3)
    high = truth["true_pd"] >= 0.3
    assert truth.loc[high, "bad"].mean() > 0.3 > 5 * truth.loc[~high, "bad"].mean()


@pytest.mark.parametrize("world", ["first", "honest"])
def test_the_label_from_the_events_is_the_outcome_of_the_truth(tmp_path: Path, world: str) -> None:
    from limitlens.data.calendar import parse_time
    from limitlens.features.spine import book
    from limitlens.models.labels import computed_labels

    chosen = named_world(world)
    simulate(tmp_path / "events", accounts=700, months=10, seed=3, futures=1, world=chosen, progress=quiet)
    store = EventStore(tmp_path / "work")
    check_events(tmp_path / "events", store)
    as_of = parse_time("2025-04-01")
    labels = computed_labels(
        book([as_of], store.relations()), store.relations(), known_by=parse_time("2025-11-01"), horizon_months=6
    )
    truth = pd.read_parquet(tmp_path / "events" / "truth" / "outcomes.parquet")
    both = labels.merge(truth, on=["account_id", "as_of"], suffixes=("_seen", "_true"))
    assert len(both) > 400
    assert both["bad_true"].sum() > 10
    assert (both["bad_seen"] == both["bad_true"]).mean() > 0.99


def test_rows_arrive_late_and_some_are_corrected(portfolio: Path) -> None:
    rows = pq.read_table(portfolio / "payment").to_pandas()
    lag = rows["known_time"] - rows["event_time"]
    assert 0.005 < (lag.dt.days >= 3).mean() < 0.2
    assert 0.002 < rows["event_id"].duplicated().mean() < 0.03


def test_the_truth_names_every_row_the_feed_touched(portfolio: Path) -> None:
    touched = pd.read_parquet(portfolio / "truth" / "faults")
    rows = pd.read_parquet(portfolio / "consumption")
    changed = rows.groupby("event_id")["amount_cents"].nunique().loc[lambda n: n > 1].index
    assert len(changed) > 20
    assert set(changed) <= set(touched["event_id"])


def test_nothing_downstream_knows_of_the_truth() -> None:
    rooms = [p for p in FILES if p.relative_to(ROOT).parts[0] != "data"]
    readers = [p.name for p in rooms if re.search(r"\btruth\b|\bepisodes\b", p.read_text(encoding="utf-8"))]
    assert readers == ["data.py"]  # its help says what `corrupt` writes
    users = {p.name for p in rooms if any("limitlens.data.world" in name for name in imported(p))}
    assert users == {"data.py", "demo.py", "demo_watch.py"}
    assert not [p for p in FILES if any(name.startswith("benchmarks") for name in imported(p))]


def test_the_true_causes_are_found_without_the_attribution() -> None:
    banned = ("attribution", "lattice", "entries", "groups", "attribute")
    for name in ("truth.py", "proving.py"):
        modules = {m for m in imported(ROOT / "benchmarks" / name) if m.startswith("limitlens")}
        assert not [m for m in modules if m.split(".")[-1] in banned]


def test_chance_is_uniform_poisson_and_its_own_for_every_key() -> None:
    drawn = Chance(1).uniform("x", np.arange(200_000))
    assert abs(drawn.mean() - 0.5) < 0.003
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn, Chance(1).uniform("y", np.arange(200_000)))[0, 1]) < 0.01
    counts = Chance(1).poisson(np.full(200_000, 2.5), "n", np.arange(200_000))
    expected = poisson.pmf(np.arange(8), 2.5)
    assert np.abs(np.bincount(counts, minlength=8)[:8] / 200_000 - expected).max() < 0.005


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[causes.holiday]", "[causes.hollyday]", "did you mean 'holiday'"),
        ("rate = 0.030", "rate = 30", "expected 0 to 1"),
        ("severity = 0.90", "severity = true", "expected float"),
        ("severity = 0.90", "severity = -0.90", "expected 0 to 1,000"),
        ("seed = 2", "sede = 2", "did you mean 'seed'"),
        ("seed = 2", "", "'seed' is missing in [release]"),
        ("seed = 2", "seed = -2", "seed in [release] is -2; expected 0 to"),
        ("[release]", "[[release]]", "expected a table"),
        ("before_months = [6, 11, 0]", "before_months = ['June']", "expected a list, each int"),
        (
            "before_months = [6, 11, 0]",
            "before_months = [-6]",
            "before_months in [[faults]] number 5 is -6; expected 0 to 1,200",
        ),
        ("'name = \"tightened\"'", "'name', 3", "expected a list, each a list of 2"),
        ("[release]", "[release", "not valid TOML"),
    ],
)
def test_wrong_settings_are_refused_with_the_mend(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (ROOT / "conf" / "world.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "world.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"world\.toml:\d+: .*{re.escape(said)}"):
        read_world(tmp_path / "world.toml")


def test_a_cause_that_is_not_named_is_as_shipped(tmp_path: Path) -> None:
    text = "[causes.holiday]\nrate = 0.5\nseverity = 0.1\n[release]\nseed = 1\npolicy_changes = []\n"
    (tmp_path / "world.toml").write_text(text, encoding="utf-8")
    found, shipped = read_world(tmp_path / "world.toml"), default_world()
    assert found.causes["holiday"].rate == 0.5
    assert {**found.causes, "holiday": None} == {**shipped.causes, "holiday": None}
    assert found.faults == ()


def test_a_policy_without_the_line_to_be_changed_is_refused() -> None:
    with pytest.raises(ConfigError, match="the policy has no"):
        default_world().release.changed_policy("name = 'another'")
