"""Two iterations on the same lines: counts against a loop, and the gate that refuses to move too much."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limitlens.data.errors import GateError, WorkspaceError
from limitlens.limits.comparison import EARLY_DAYS, breaches, compare_decisions
from limitlens.limits.policy import ACTIONS, FLAGGED, Policy
from limitlens.models.calibration import Calibration
from limitlens.models.default_risk import DefaultRiskModel
from limitlens.models.scorer import Scorer
from limitlens.pipeline.deciding.decide import decide
from limitlens.pipeline.release.compare import compare
from limitlens.pipeline.release.promote import Override, promote, rollback, withdraw
from limitlens.pipeline.tracking import TrainingRecord
from limitlens.pipeline.training.judged import judge
from limitlens.pipeline.training.train import Tracked, register, train
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings

NOW = datetime(2026, 7, 3, tzinfo=UTC)
PASS = Override("head of credit risk", "the test is about something else")


def quiet(_: str) -> None:
    """Progress nobody reads."""


LINES = st.lists(
    st.tuples(
        st.sampled_from(["student", "merchant"]),
        st.integers(0, 60),
        st.sampled_from(ACTIONS),
        st.sampled_from(ACTIONS),
        st.integers(0, 3),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)
NAMES = ["segment", "line_age_days", "action_old", "action_new", "limit_old_cents", "limit_new_cents", "bad"]


@pytest.mark.slow
@settings(max_examples=60)
@given(LINES)
def test_the_counts_are_those_of_a_loop_over_the_lines(lines: list[tuple[object, ...]]) -> None:
    rows = pd.DataFrame(lines, columns=NAMES)
    found = compare_decisions(rows, rows, {})
    for segment in {*rows["segment"], "all"}:
        told = found.segments.loc[segment]
        mine = [dict(zip(NAMES, line, strict=True)) for line in lines if segment in {line[0], "all"}]
        newly = [r for r in mine if r["action_new"] in FLAGGED and r["action_old"] not in FLAGGED]
        closed = [r for r in mine if r["action_new"] == "close" != r["action_old"] and r["line_age_days"] < EARLY_DAYS]
        assert told["moved"] == sum(r["limit_old_cents"] != r["limit_new_cents"] for r in mine)
        assert told["raised_cents"] + told["cut_cents"] == sum(
            r["limit_new_cents"] - r["limit_old_cents"] for r in mine
        )
        assert told["newly_closed_early"] == len(closed)
        assert told["good_newly_cut"] == sum(not r["bad"] for r in newly)
    cut = rows[["action_old", "action_new"]].isin(FLAGGED)
    assert found.swaps["lines"].sum() == cut.any(axis=1).sum()
    assert found.swaps.loc["only new", "bad"] == (cut["action_new"] & ~cut["action_old"] & rows["bad"]).sum()


def test_a_book_decided_alike_breaks_no_budget() -> None:
    rows = pd.DataFrame([("student", 5, "keep", "keep", 1, 1, False)] * 300, columns=NAMES)
    assert breaches(compare_decisions(rows, rows, {}), default_policy().release) == []


def test_a_segment_over_the_budget_is_named_with_both_figures() -> None:
    good = pd.DataFrame([("salaried", 500, "keep", "keep", 1, 1, False)] * 9_700, columns=NAMES)
    hit = pd.DataFrame([("student", 500, "keep", "close", 1, 0, False)] * 30, columns=NAMES)
    spared = pd.DataFrame([("student", 500, "keep", "keep", 1, 1, False)] * 270, columns=NAMES)
    rows = pd.concat([good, hit, spared])
    found = [str(breach) for breach in breaches(compare_decisions(rows, rows, {}), default_policy().release)]
    assert found == ["good customers newly cut in segment student: 10.00%, allowed 2.00%"]


@pytest.fixture
def copied(small_workspace: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(small_workspace.root, tmp_path / "work")
    return Workspace(tmp_path / "work")


def tracked(workspace: Workspace, model: DefaultRiskModel, policy: Policy) -> Tracked:
    """What MLflow keeps of a training, of one that nobody did."""
    table = build_training_table(workspace, model.settings, None)
    return Tracked(judge(model, policy, table, workspace), {}, TrainingRecord("", "", ""), None)


def doubted(workspace: Workspace) -> str:
    """The champion's model registered again, with what its validation would say of one that cannot rank."""
    version = str(workspace.registry.champion())
    iteration = workspace.iteration(version)
    validation = workspace.validation(version) | {"doubts": ["it ranks worse than a coin: AUC 0.412"]}
    kept = tracked(workspace, iteration.model, iteration.policy)
    found = register(workspace, iteration.model, iteration.policy, validation, "one", kept)
    return found.model_version


def test_what_cannot_rank_is_promoted_by_the_approver_alone(copied: Workspace) -> None:
    version = doubted(copied)
    with pytest.raises(GateError, match=r"version 3 is not fit to decide: it ranks worse than a coin: AUC 0\.412"):
        promote(copied, "reviewer", NOW, version, progress=quiet)
    with pytest.raises(GateError, match="only the head of credit risk may promote it all the same; got --override-by"):
        promote(copied, "reviewer", NOW, version, override=Override("intern", "hurry"), progress=quiet)
    approved = Override("head of credit risk", "nothing else is there")
    assert promote(copied, "reviewer", NOW, version, override=approved, progress=quiet) == (version, "override")


def challenger(workspace: Workspace, change: Callable[[Scorer], Scorer]) -> str:
    """A registered version: the champion's model, each scorer changed."""
    version = workspace.registry.champion()
    assert version is not None
    iteration = workspace.iteration(version)
    model: DefaultRiskModel = iteration.model
    changed = replace(model, book=change(model.book), new_lines=change(model.new_lines) if model.new_lines else None)
    path = workspace.root / workspace.registry.model(version).folder / "validation.json"

    validation = json.loads(path.read_text(encoding="utf-8")) | {"doubts": []}
    kept = tracked(workspace, changed, iteration.policy)
    found = register(workspace, changed, iteration.policy, validation, "a developer", kept)
    return found.model_version


def raised(scorer: Scorer) -> Scorer:
    """As good a ranking, and every PD too high: good customers are cut."""
    at, levels = (-30.0, 30.0), scorer.calibration.log_odds(pd.Series([-30.0, 30.0]).to_numpy())
    return replace(scorer, calibration=Calibration("isotonic", (at, tuple((levels + 2.0).tolist()), (1.0,))))


def test_a_challenger_that_ranks_as_well_but_cuts_good_customers_is_refused_by_segment(copied: Workspace) -> None:
    version = challenger(copied, raised)
    champion = str(copied.registry.champion())
    with pytest.raises(WorkspaceError, match=r"good customers newly cut in segment \w+: \d+\.\d+%, allowed 2\.00%"):
        promote(copied, "reviewer", NOW, version, progress=quiet)
    assert copied.registry.champion() == champion
    share = compare(copied, champion, version, progress=quiet).comparison.segments.loc["all", "good_newly_cut_share"]
    assert share > 0.03


def test_only_who_the_policy_names_lets_it_pass_and_that_is_recorded(copied: Workspace) -> None:
    version = challenger(copied, raised)
    with pytest.raises(WorkspaceError, match="only the head of credit risk may promote above the budget"):
        promote(copied, "reviewer", NOW, version, override=Override("intern", "hurry"), progress=quiet)
    override = Override("head of credit risk", "loss event of June")
    assert promote(copied, "reviewer", NOW, version, override=override, progress=quiet) == (version, "override")
    last = copied.registry.promotions()[-1]
    assert (last.approver, last.reason) == ("head of credit risk", "loss event of June")


def test_a_good_challenger_passes_and_rollback_brings_the_champion_back(copied: Workspace) -> None:
    before = str(copied.registry.champion())
    version = challenger(copied, lambda scorer: scorer)
    assert promote(copied, "reviewer", NOW, version, progress=quiet) == (version, "review")
    assert rollback(copied, "reviewer", "a complaint", NOW) == before == copied.registry.champion()
    assert copied.registry.promotions()[-1].kind == "rollback"


def test_rollback_after_rollback_goes_further_back(copied: Workspace) -> None:
    third = challenger(copied, lambda scorer: scorer)
    promote(copied, "reviewer", NOW, third, progress=quiet)
    assert [rollback(copied, "reviewer", "a complaint", NOW) for _ in range(2)] == ["2", "1"]
    with pytest.raises(WorkspaceError, match="no earlier champion to go back to"):
        rollback(copied, "reviewer", "a complaint", NOW)
    assert promote(copied, "reviewer", NOW, third, override=PASS, progress=quiet)[0] == third
    assert rollback(copied, "reviewer", "a complaint", NOW) == "1"


def test_no_member_of_a_withdrawn_champion_stays_in_a_retrained_model(copied: Workspace) -> None:
    champion = str(copied.registry.champion())
    old = {member.text for member in copied.iteration(champion).model.book.members}
    withdraw(copied, champion, "reviewer", "trained on a doubled feed", NOW)
    few = replace(default_settings(), n_estimators=3)
    trained = train(copied, few, default_policy(), developer="a developer", progress=quiet)
    assert not old & {member.text for member in copied.iteration(trained.model_version).model.book.members}


def test_a_withdrawn_version_neither_decides_nor_is_promoted(copied: Workspace) -> None:
    champion = str(copied.registry.champion())
    withdraw(copied, champion, "reviewer", "trained on a doubled feed", NOW)
    with pytest.raises(WorkspaceError, match=r"version \d+ was withdrawn \(trained on a doubled feed\)"):
        decide(copied, progress=quiet)
    with pytest.raises(WorkspaceError, match="was withdrawn"):
        promote(copied, "reviewer", NOW, champion, progress=quiet)
    assert rollback(copied, "reviewer", "it was withdrawn", NOW) != champion
