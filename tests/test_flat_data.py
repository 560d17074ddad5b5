"""Application data, flat: accounts with attributes and outcomes, no events; and what it says it lacks."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from limitlens.data.check import check_events
from limitlens.data.errors import InputError, WorkspaceError
from limitlens.limits.policy_file import at_once
from limitlens.models.labels import delivered_labels
from limitlens.pipeline.answers.report import read_decisions
from limitlens.pipeline.answers.why import why
from limitlens.pipeline.answers.why_pd import pd_lines, why_pd
from limitlens.pipeline.answers.why_text import render
from limitlens.pipeline.cli import app
from limitlens.pipeline.cli.limits import decision_lines
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.deciding.first_decisions import first_lines
from limitlens.pipeline.deciding.record import Decided
from limitlens.pipeline.deciding.replay import replay
from limitlens.pipeline.deciding.score import score
from limitlens.pipeline.release.compare import compare
from limitlens.pipeline.release.promote import promote
from limitlens.pipeline.training.train import Trained, train
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

OPENED, AS_OF, KNOWN = (datetime(2026, month, 1, tzinfo=UTC) for month in (2, 3, 6))
LINES = 400


def deliver(inbox: Path, limits: Sequence[int | None] | None = (5_000_00,) * LINES, ending: str = "parquet") -> None:
    """Lines whose outcome depends on income; without limits there is no column of them."""
    random = np.random.default_rng(1)
    income = random.normal(size=LINES)
    names = [f"A{number:04d}" for number in range(LINES)]
    lines = {"account_id": names, "opened_at": [OPENED] * LINES, "known_time": [OPENED] * LINES, "income": income}
    lines |= {"segment": ["salaried"] * LINES}
    lines |= {"limit_cents": pa.array(limits, pa.int64())} if limits else {}
    bad = random.random(LINES) < 1 / (1 + np.exp(1.5 + 2 * income))
    outcomes = {"account_id": names, "as_of": [AS_OF] * LINES, "known_time": [KNOWN] * LINES, "bad": bad}
    for source, table in {"accounts": lines, "outcomes": outcomes}.items():
        (inbox / source).mkdir(parents=True)
        frame = pd.DataFrame(table)
        write = frame.to_csv if ending == "csv" else frame.to_parquet
        write(inbox / source / f"a.{ending}", index=False)


def quiet(_: str) -> None:
    """Progress nobody reads."""


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Trained, Decided]:
    """A workspace from check to decisions."""
    folder = tmp_path_factory.mktemp("flat")
    deliver(folder / "in")
    workspace, trained = trained_on(folder)
    return workspace, trained, decide(workspace, progress=quiet)


def trained_on(folder: Path) -> tuple[Workspace, Trained]:
    """A workspace with a champion that has learned from what lies in ``in``."""
    workspace = Workspace(folder / "work")
    check_events(folder / "in", workspace.events)
    small = replace(default_settings(), n_estimators=20, folds=2)
    trained = train(workspace, small, at_once(default_policy()), developer="developer", progress=quiet)
    promote(workspace, None, KNOWN, progress=quiet)
    return workspace, trained


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


def test_decide_warns_of_a_book_whose_pds_are_far_from_what_the_model_learned(
    flat: tuple[Workspace, Trained, Decided],
) -> None:
    """Half or twice the share that went bad, as where a source of the events has stopped."""
    workspace, _, decided = flat
    assert decided.mean_pd == pytest.approx(workspace.decisions()["pd"].mean())
    outcomes = delivered_labels({"outcomes": workspace.events.relation("outcomes")})
    assert decided.learned_share == pytest.approx(outcomes["bad"].mean())
    for times, warned in ((1.0, False), (0.51, False), (1.99, False), (0.49, True), (2.01, True)):
        said = decision_lines(replace(decided, mean_pd=times * decided.learned_share))
        assert any(line.startswith("warning: the mean PD of the lines decided is ") for line in said) == warned


def test_an_adverse_answer_without_a_reason_says_so(flat: tuple[Workspace, Trained, Decided]) -> None:
    decisions = read_decisions(flat[0])
    cut = decisions.loc[decisions["action"].isin(["decrease", "freeze", "close"]), "account_id"].iloc[0]
    text = render(why(flat[0], cut))
    assert "Told to the customer: no reason yet; no behaviour that speaks against the line is known" in text
    assert "告知客户：暂无理由" in text


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Trained]:
    """A book in which no account has a limit, from a CSV without that column."""
    folder = tmp_path_factory.mktemp("loans")
    deliver(folder / "in", None, "csv")
    return trained_on(folder)


@pytest.mark.slow
def test_lines_without_a_limit_are_learned_from_as_well_as_with_one(
    loans: tuple[Workspace, Trained], flat: tuple[Workspace, Trained, Decided], tmp_path: Path
) -> None:
    """One limit for all tells nothing, so both models are as good; on paper nothing is cut."""
    with_limit, without = (trained.validation for trained in (flat[1], loans[1]))
    assert without["metrics"]["auc"] == pytest.approx(with_limit["metrics"]["auc"], abs=0.01)
    assert without["false_positives"]["flagged"] == 0
    assert score(loans[0], AS_OF, tmp_path / "scores.parquet", progress=quiet).rows == LINES
    report = loans[0].root / loans[0].registry.model("1").folder / "validation.md"
    assert f"{LINES} of {LINES} validation lines have no limit" in report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_book_without_a_limit_is_not_decided_and_the_mend_is_named(loans: tuple[Workspace, Trained]) -> None:
    said = f"no line can be decided as of 2026-06-01: {LINES} came without a limit; deliver limit_cents of accounts"
    with pytest.raises(InputError, match=said):
        decide(loans[0], progress=quiet)
    with pytest.raises(InputError, match=said):
        compare(loans[0], "1", "1", progress=quiet)
    assert InputError.exit_code == 4
    assert loans[0].ledger.runs() == []


@pytest.mark.slow
def test_why_says_what_pushed_the_pd_of_a_line_that_is_never_decided(
    loans: tuple[Workspace, Trained], flat: tuple[Workspace, Trained, Decided], tmp_path: Path
) -> None:
    workspace = loans[0]
    found = why_pd(workspace, "A0003", AS_OF)
    assert found is not None
    score(workspace, AS_OF, tmp_path / "scores.parquet", progress=quiet)
    scores = pq.read_table(tmp_path / "scores.parquet").to_pandas().set_index("account_id")["pd"]
    assert found.pd == scores["A0003"]
    assert found.contributions[0].feature == "income"
    shown = CliRunner().invoke(app, ["why", "A0003", "--as-of", "2026-03-01", "--workspace", str(workspace.root)])
    assert shown.stdout.splitlines() == pd_lines(found)
    assert why_pd(flat[0], "A0003", AS_OF) is None


@pytest.mark.slow
def test_another_version_is_promoted_where_no_limit_can_move(loans: tuple[Workspace, Trained], tmp_path: Path) -> None:
    shutil.copytree(loans[0].root, tmp_path / "work")
    workspace = Workspace(tmp_path / "work")
    few = replace(default_settings(), n_estimators=21, folds=2)
    train(workspace, few, at_once(default_policy()), developer="developer", progress=quiet)
    assert promote(workspace, "reviewer", KNOWN, progress=quiet) == ("2", "review")


@pytest.mark.slow
def test_among_lines_with_a_limit_those_without_are_scored_counted_and_not_decided(tmp_path: Path) -> None:
    deliver(tmp_path / "in", [None if number % 4 == 0 else 5_000_00 for number in range(LINES)])
    workspace, _ = trained_on(tmp_path)
    assert score(workspace, AS_OF, tmp_path / "scores.parquet", progress=quiet).rows == LINES
    decided = decide(workspace, as_of=KNOWN, progress=quiet)
    assert (decided.decisions, decided.without_limit) == (LINES * 3 // 4, LINES // 4)
    assert f"note: {LINES // 4} lines came without a limit: scored, never decided" in decision_lines(decided)
    assert replay(workspace, quiet) == decided.decisions


def test_a_book_of_limit_0_is_refused_in_one_line(tmp_path: Path) -> None:
    deliver(tmp_path / "in", [0] * LINES)
    with pytest.raises(WorkspaceError, match=r"no line stands in the book at the time of a label: .* has limit 0"):
        trained_on(tmp_path)
