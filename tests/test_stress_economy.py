"""Stress by the economy, from the events of a world to the command; its own economy is the truth."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import economy as lived_through
from limitlens.data.calendar import add_months
from limitlens.data.check import check_events
from limitlens.data.world import simulate
from limitlens.data.world.chance import Chance
from limitlens.data.world.fortune import economy
from limitlens.features.catalogue import CATALOGUE
from limitlens.features.spine import book as lines_at
from limitlens.features.table import build_table
from limitlens.limits.stress_tests import stress_tests
from limitlens.pipeline.cli import app
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.promote import Override, promote
from limitlens.pipeline.stressing.economy import arrears_rates
from limitlens.pipeline.training.train import train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings
from tests.conftest import FEW_COLUMNS, MadeOnce

START, MONTHS, SEED = datetime(2024, 1, 1, tzinfo=UTC), 32, 5
SCENARIOS = """
[[scenarios]]
name = "worse"
version = 1
date = 2026-11-30
kind = "economy"
path = {{ stress = [{now}, {worse}] }}

[[scenarios]]
name = "same"
version = 1
date = 2026-11-30
kind = "economy"
path = {{ stress = [{now}, {now}] }}
"""


def make_book(folder: Path) -> None:
    """A book of 32 months, decided at its end."""
    simulate(folder / "world", accounts=500, months=MONTHS, seed=SEED, futures=0, start=START)
    space, last = Workspace(folder / "work"), add_months(START, MONTHS)
    check_events(folder / "world", space.events)
    small = replace(default_settings(), columns=FEW_COLUMNS, n_estimators=20, folds=2, min_data_in_leaf=10)
    train(space, small, default_policy(), developer="developer", until=last)
    promote(space, None, last, override=Override("head of credit risk", "a small book"))
    decide(space, as_of=last)


@pytest.fixture(scope="module")
def book(made_once: MadeOnce, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(made_once("long_book", make_book) / "work")


def series(path: Path, months: int = MONTHS) -> float:
    """Write the economy of the world; returns where it stands in the last month of which arrears are known."""
    levels = economy(Chance(SEED), MONTHS)[MONTHS - months :]
    names = [f"{add_months(START, MONTHS - months + k):%Y-%m}" for k in range(months)]
    pd.DataFrame({"month": names, "stress": levels}).to_csv(path, index=False)
    return float(levels[-1])


def run(space: Workspace, folder: Path, *more: str) -> Any:
    files = ["--scenarios", str(folder / "s.toml"), "--economy", str(folder / "e.csv"), "--out", str(folder / "p.html")]
    return CliRunner().invoke(app, ["stress", "--workspace", str(space.root), *files, *more])


@pytest.mark.slow
def test_the_command_fits_the_economy_of_a_world_and_a_path_that_stands_still_is_the_ledger(
    book: Workspace, tmp_path: Path
) -> None:
    now = series(tmp_path / "e.csv")
    (tmp_path / "s.toml").write_text(SCENARIOS.format(now=now, worse=now + 0.4), "utf-8")
    answered = run(book, tmp_path, "--json")
    assert answered.exit_code == 0, answered.output
    body = json.loads(answered.stdout)
    fit = body["satellite"]
    assert 24 <= fit["months"] <= MONTHS
    assert fit["latest"]["stress"] == pytest.approx(now)
    assert body["shifts"]["worse"] == pytest.approx(0.2 * fit["weights"]["stress"])
    assert body["shifts"]["same"] == 0
    recorded = Counter(book.ledger.query("SELECT action FROM decisions")["action"])
    for scenario, severities in ((0, {0.0}), (1, {0.0, 0.5, 1.0, 1.5, 2.0})):
        for severity in severities:
            counts: Counter[str] = Counter()
            for row in body["scenarios"][scenario]["groups"]:
                if row["view"] == "day" and row["severity"] == severity:
                    assert row["action_before"] == row["action_after"]
                    counts[row["action_after"]] += row["lines"]
            assert counts == recorded


@pytest.mark.slow
def test_a_series_that_is_short_is_refused_in_a_line_and_no_test_is_recorded(book: Workspace, tmp_path: Path) -> None:
    now = series(tmp_path / "e.csv", 12)
    (tmp_path / "s.toml").write_text(SCENARIOS.format(now=now, worse=now + 0.4), "utf-8")
    before = len(stress_tests(book.root))
    refused = run(book, tmp_path)
    assert getattr(refused.exception, "exit_code", 0) == 4
    assert "worse: the book and the series share" in str(refused.exception)
    assert len(stress_tests(book.root)) == before


@pytest.mark.slow
def test_who_falls_behind_is_counted_as_a_loop_over_the_lines_counts(book: Workspace) -> None:
    months = [add_months(START, k) for k in range(MONTHS - 8, MONTHS + 1)]
    rates = arrears_rates(book, months)
    features = CATALOGUE.only({"dpd_days"})
    relations = book.relations(features)
    late_at = []
    for time in months:
        points = lines_at([time], relations)[["account_id", "as_of", "known_by"]]
        table = build_table(features, points, relations)
        late_at.append(dict(zip(table["account_id"], table["dpd_days"] >= 30, strict=True)))
    expected = {}
    for time, (begins, ends) in zip(months, pairwise(late_at), strict=False):
        could = [account for account, late in begins.items() if not late and account in ends]
        if could:
            expected[time] = (sum(ends[account] for account in could), len(could))
    counted = zip(rates.index, rates.itertuples(index=False), strict=True)
    assert {time.to_pydatetime(): tuple(row) for time, row in counted} == expected


@pytest.mark.slow
def test_the_weight_is_what_the_economy_of_the_world_does_and_its_error_is_honest() -> None:
    path = economy(Chance(1), 60)
    unpaid, worse = (lived_through.unpaid_by_month(1, 10_000, path + more) for more in (0.0, lived_through.WORSE))
    fit = lived_through.fitted(*lived_through.falling(unpaid), path[1:])
    true = lived_through.moved_by(unpaid, worse)
    assert true > 0
    assert abs(fit.weights["stress"] - true) < 3 * fit.errors["stress"]
    assert 1.4 < fit.durbin_watson < 2.6
