"""Application data, flat: accounts with attributes and outcomes, no events; and what it says it lacks."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limitlens.data.check import check_events
from limitlens.pipeline.answers.report import read_decisions
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli.limits import decision_lines
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.first_decisions import first_lines
from limitlens.pipeline.deciding.record import Decided
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.release.promote import promote
from limitlens.pipeline.training.train import Trained, train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

OPENED, AS_OF, KNOWN = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 6))
LINES = 400


def deliver(inbox: Path) -> None:
    """Lines whose outcome depends on income."""
    random = np.random.default_rng(1)
    income = random.normal(size=LINES)
    names = [f"A{number:04d}" for number in range(LINES)]
    lines = {"account_id": names, "opened_at": [OPENED] * LINES, "known_time": [OPENED] * LINES, "income": income}
    lines |= {"limit_cents": [5_000_00] * LINES, "segment": ["salaried"] * LINES}
    bad = random.random(LINES) < 1 / (1 + np.exp(1.5 + 2 * income))
    outcomes = {"account_id": names, "as_of": [AS_OF] * LINES, "known_time": [KNOWN] * LINES, "bad": bad}
    for source, table in {"accounts": lines, "outcomes": outcomes}.items():
        (inbox / source).mkdir(parents=True)
        pq.write_table(pa.table(table), inbox / source / "a.parquet")


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Trained, Decided]:
    """A workspace from check to decisions."""
    folder = tmp_path_factory.mktemp("flat")
    deliver(folder / "in")
    workspace = Workspace(folder / "work")
    check_events(folder / "in", workspace.events)
    small = replace(default_settings(), n_estimators=20, folds=2)
    trained = train(workspace, small, default_policy(), developer="developer", progress=quiet)
    promote(workspace, None, KNOWN, progress=quiet)
    return workspace, trained, decide(workspace, progress=quiet)


def test_a_model_of_attributes_alone_is_validated_and_ranks(flat: tuple[Workspace, Trained, Decided]) -> None:
    assert flat[1].validation["kind"] == "cross-validated"
    assert flat[1].validation["metrics"]["auc"] > 0.7


def test_the_book_is_scored(flat: tuple[Workspace, Trained, Decided], tmp_path: Path) -> None:
    assert score(flat[0], AS_OF, tmp_path / "scores.parquet", progress=quiet).rows == LINES
    assert min(pq.read_table(tmp_path / "scores.parquet")["pd"].to_pylist()) > 0


def test_decisions_say_what_they_lack_and_raise_nothing(flat: tuple[Workspace, Trained, Decided]) -> None:
    workspace, _, decided = flat
    said = "\n".join(decision_lines(decided))
    assert "note: decided without consumption, payment, device: never delivered; balances are not known" in said
    adverse = sum(decided.actions.get(action, 0) for action in ("decrease", "freeze", "close"))
    assert adverse > 0
    assert f"note: {adverse:,} adverse decisions have no reason a customer could be told" in said
    assert "increase" not in decided.actions
    assert replay(workspace, quiet) == decided.decisions


def test_decide_tells_by_what_asked_for_them_the_changes_that_have_no_split(
    flat: tuple[Workspace, Trained, Decided],
) -> None:
    decided = flat[2]
    *groups, total = decided.first_decisions
    assert sum(row["changed"] for row in groups) == total["changed"] == decided.changed - decided.split
    assert sum(row["lines"] for row in groups) == total["lines"] == decided.decisions - decided.attributed == LINES
    told = first_lines(decided.first_decisions)
    assert len(told) == 3 + len(groups)
    assert set(told) <= set(decision_lines(decided))


def test_an_adverse_answer_without_a_reason_says_so(flat: tuple[Workspace, Trained, Decided]) -> None:
    decisions = read_decisions(flat[0])
    cut = decisions.loc[decisions["action"].isin(["decrease", "freeze", "close"]), "account_id"].iloc[0]
    text = render(why(flat[0], cut))
    assert "Told to the customer: no reason yet; no behaviour that speaks against the line is known" in text
    assert "告知客户：暂无理由" in text
