"""The validation report and its figures: stability, monotonicity, the tail."""

import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from limitlens.data.errors import GateError
from limitlens.limits.tail import ENOUGH_BADS
from limitlens.models.default_risk import DefaultRiskModel, recalibrated
from limitlens.models.monotonicity import monotonicity
from limitlens.models.stability import stability
from limitlens.models.validation import (
    MIN_BADS,
    Metrics,
    calibration_by,
    data_doubts,
    gains_curve,
    level_doubts,
    ranking_doubts,
    roc_of,
    tail_table,
)
from limitlens.pipeline import promote
from limitlens.pipeline.pages.chinese import in_language
from limitlens.pipeline.pages.page import Section, render
from limitlens.pipeline.release.promote import Override
from limitlens.pipeline.tracking import TrainingRecord
from limitlens.pipeline.training.flagged import flagged
from limitlens.pipeline.training.judged import Judged, judge
from limitlens.pipeline.training.reasons_report import reasons_doubts, reasons_figures
from limitlens.pipeline.training.tail_report import is_new, new_lines_section
from limitlens.pipeline.training.train import fit_iteration, validate_and_register
from limitlens.pipeline.training.training_table import build_training_table
from limitlens.pipeline.training.validation_report import render_validation, validation_sections
from limitlens.pipeline.workspace import Workspace, default_policy, default_settings


@pytest.mark.parametrize("rows", [60, 500, 5_000])
def test_without_a_change_the_critical_value_is_rarely_exceeded_whatever_the_number_of_rows(rows: int) -> None:
    rng = np.random.default_rng(rows)
    found = [stability(rng.normal(size=rows), rng.normal(size=2 * rows), level=0.95).moved for _ in range(400)]
    assert np.mean(found) < 0.08


def test_the_psi_is_the_sum_over_the_bins() -> None:
    before, after = np.array([1.0, 1, 2, 2, np.nan, np.nan]), np.array([1.0, 2, 2, 2, np.nan, np.nan])
    p, q = np.array([2.5, 2.5, 2.5]) / 7.5, np.array([1.5, 3.5, 2.5]) / 7.5
    assert stability(before, after, bins=2).psi == pytest.approx(((q - p) * np.log(q / p)).sum())


def test_the_tail_counts_the_riskiest_rows() -> None:
    rng = np.random.default_rng(1)
    pd_, bad = rng.random(1_000), rng.random(1_000) < 0.2
    row = tail_table(bad, pd_, (0.05,)).iloc[0]
    riskiest = sorted(zip(pd_, bad, strict=True), reverse=True)[:50]
    assert row["bads"] == sum(b for _, b in riskiest)
    assert row["lift"] == pytest.approx(row["bads"] / 50 / bad.mean())


def test_each_group_has_its_own_observed_and_expected_bads() -> None:
    bad, pd_ = np.array([True, False, False, True]), np.array([0.5, 0.1, 0.2, 0.4])
    found = calibration_by(pd.Series(["b", "a", "b", "b"], index=[9, 8, 7, 6]), bad, pd_).set_index("group")
    assert found.loc["b", ["rows", "bads"]].tolist() == [3, 2]
    assert found.loc["b", "ratio"] == pytest.approx(2 / 1.1)


def test_the_riskiest_of_each_group_are_its_own() -> None:
    pd_ = np.concatenate([np.linspace(0.9, 0.5, 40), np.linspace(0.4, 0.1, 40)])
    bad = np.isin(np.arange(80), [0, 5, 40, 41])
    found = calibration_by(pd.Series(["high"] * 40 + ["low"] * 40), bad, pd_).set_index("group")
    assert found.loc["high", "riskiest_ratio"] == pytest.approx(1 / pd_[:2].sum())
    assert found.loc["low", "riskiest_ratio"] == pytest.approx(2 / pd_[40:42].sum())


def test_a_model_that_breaks_a_declared_direction_is_found(small_workspace: Workspace) -> None:
    """The shipped model keeps every direction; read the other way round, its features break them."""
    model = small_workspace.iteration("2").model
    rng = np.random.default_rng(0)
    inputs = rng.choice([0.0, 1, 5, 40, 1_000], size=(20, len(model.columns)))
    assert (monotonicity(model, inputs)["worst_step"] <= 1e-9).all()
    assert monotonicity(turned(model), inputs)["worst_step"].max() > 0.001


def sections_of(judged: Judged) -> list[Section]:
    policy = default_policy()
    return validation_sections(judged, flagged(judged), reasons_figures(judged, policy), policy, lambda _: None)


def turned(model: DefaultRiskModel) -> DefaultRiskModel:
    """A model whose features declare the other direction."""
    aggregates = tuple(replace(a, monotone=-a.monotone) for a in model.features.aggregates)
    ratios = tuple(replace(r, monotone=-r.monotone) for r in model.features.ratios)
    return replace(model, features=replace(model.features, aggregates=aggregates, ratios=ratios))


def test_the_report_shows_the_features_that_break_their_declared_direction(small_workspace: Workspace) -> None:
    table = build_training_table(small_workspace, default_settings(), None, lambda _: None)
    judged = judge(turned(small_workspace.iteration("2").model), default_policy(), table, small_workspace)
    report = render_validation(judged, sections_of(judged), default_policy(), "developer")
    [section] = re.findall(r"## Monotonicity\n(.*?)\n## ", report["validation.md"], re.DOTALL)
    broken = re.findall(r"^\| (\w+) \| (?:raises|lowers) the PD \| 0\.\d{4} \|$", section, re.MULTILINE)
    assert f"{len(broken)} moved it the other way" in section
    assert broken
    assert report["validation.zh-CN.html"] == in_language(report["validation.html"], "zh")
    assert all(f'<td translate="no">{name}</td>' in report["validation.html"] for name in broken)


def test_the_reasons_told_of_the_demo_are_those_of_its_decisions(small_workspace: Workspace) -> None:
    """Without them nearly all lines are decided more mildly, without as many others hardly any."""
    table = build_training_table(small_workspace, default_settings(), None, lambda _: None)
    judged = judge(small_workspace.iteration("2").model, default_policy(), table, small_workspace)
    measured = reasons_figures(judged, default_policy())
    assert measured["lines"] > 20
    assert measured["milder"] > 0.9
    assert measured["milder_others"] < 0.3
    assert not reasons_doubts(measured, default_policy())


def test_reasons_that_are_not_those_of_the_decisions_are_a_doubt() -> None:
    few, many = ({"lines": lines, "without_reason": 5, "milder": 0.4} for lines in (24, 25))
    assert not reasons_doubts(few, default_policy())
    [doubt] = reasons_doubts(many, default_policy())
    assert "40% of 20 lines would be decided more mildly, 50% are asked for" in doubt
    asks_nothing = replace(default_policy().release, reasons_share=0.4)
    assert not reasons_doubts(many, replace(default_policy(), release=asks_nothing))


def test_a_section_shows_cells_of_any_type() -> None:
    table = pd.DataFrame({"name": ["a"], "count": [3], "share": [0.5], "known": [True], "note": [None]}, index=[7])
    context = {"title": "", "lead": "", "warnings": [], "head": {}, "sections": [Section("One", "", table)]}
    context["signers"] = {}
    page = render("sections.html.j2", context)
    assert '<td class="n">3</td><td class="n">0.5</td><td>True</td>' in page
    assert "| a | 3 | 0.5 | True |" in render("sections.md.j2", context)


def test_the_report_of_a_version_is_whole_and_reads_without_a_network(small_workspace: Workspace) -> None:
    folder = small_workspace.root / small_workspace.registry.model("2").folder
    page, text = ((folder / f"validation.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert len(titles) >= 12
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)""", page.replace("xlink:href", "href"))
    assert re.search(r"\| lines \| [\d,]+ \|", text)


def figures(rows: int, bads: int, expected_share: float, auc: float = 0.7) -> Metrics:
    return Metrics(rows, bads, auc, 2 * auc - 1, 0.3, 0.1, bads / rows, expected_share)


def test_few_bads_a_coin_and_another_level_are_doubts() -> None:
    assert data_doubts(1_000, MIN_BADS) == data_doubts(1_000, 1_000 - MIN_BADS) == []
    assert "19 bad and 981 good" in data_doubts(1_000, 19)[0]
    assert "981 bad and 19 good" in data_doubts(1_000, 981)[0]
    assert ranking_doubts(figures(1_000, 50, 0.05)) == level_doubts(figures(1_000, 50, 0.05)) == []
    assert ranking_doubts(figures(1_000, 50, 0.05, 0.499)) == ["it ranks worse than a coin: AUC 0.499"]
    off = "its PDs are off: 5.00% went bad, "
    assert level_doubts(figures(1_000, 50, 0.024)) == [off + "2.40% were expected"]
    assert level_doubts(figures(1_000, 50, 0.101)) == [off + "10.10% were expected"]
    assert level_doubts(figures(1_000, 50, 0.026)) == level_doubts(figures(1_000, 50, 0.099)) == []
    assert level_doubts(figures(20, 1, 0.024)) == []  # one bad line is chance


def test_the_curves_count_bads_among_the_riskiest_and_beside_goods() -> None:
    rng = np.random.default_rng(3)
    pd_, bad = rng.random(300), rng.random(300) < 0.2
    across, up = gains_curve(bad, pd_)
    riskiest = sorted(zip(pd_, bad, strict=True), reverse=True)
    for count in (0, 1, 60, 300):
        assert across[count] == pytest.approx(count / 300)
        assert up[count] == pytest.approx(sum(b for _, b in riskiest[:count]) / bad.sum())
    pairs = [(b > g) for b in pd_[bad] for g in pd_[~bad]]
    assert np.trapezoid(*roc_of(bad, pd_)[::-1]) == pytest.approx(np.mean(pairs))


def test_new_lines_off_by_chance_are_fine_of_few_bads_a_decision_and_of_many_a_block(
    small_workspace: Workspace,
) -> None:
    """The new lines of the demo with half as many bads expected as came, whatever their number."""
    table = build_training_table(small_workspace, default_settings(), None, lambda _: None)
    judged = judge(small_workspace.iteration("2").model, default_policy(), table, small_workspace)
    new = is_new(judged).to_numpy()
    assert new.sum() > 60
    for bads, level in ((0, "fine"), (20, "decision"), (ENOUGH_BADS, "blocks")):
        bad, pd_ = judged.bad.copy(), judged.pd_.copy()
        bad[new] = np.arange(new.sum()) < bads
        pd_[new] = max(bads / 2 / new.sum(), 0.001)
        section = new_lines_section(replace(judged, bad=bad, pd_=pd_))
        assert section.level == level, bads
        assert bool(section.findings) == (level != "fine")


def test_a_book_of_new_lines_alone_has_no_older_ones_beside_them(small_workspace: Workspace) -> None:
    table = build_training_table(small_workspace, default_settings(), None, lambda _: None)
    judged = judge(small_workspace.iteration("2").model, default_policy(), table, small_workspace)
    rows = judged.rows.assign(line_age_days=0)
    section = new_lines_section(replace(judged, rows=rows))
    assert section.table is not None
    assert len(section.table) == 1


def test_the_verdict_of_a_version_is_what_promote_refuses_and_stands_in_its_report(small_workspace: Workspace) -> None:
    for version in ("1", "2"):
        validation = small_workspace.validation(version)
        held = [finding for section in validation["verdict"]["sections"] for finding in section["findings"]]
        assert [one["text"] for one in held if one["blocks"]] == validation["doubts"]
        assert validation["verdict"]["level"] == ("blocks" if validation["doubts"] else "decision" if held else "fine")
        folder = small_workspace.root / small_workspace.registry.model(version).folder
        text = (folder / "validation.md").read_text(encoding="utf-8")
        top, rest = text.split("\n## Data and label", 1)
        for one in held:
            assert f"| {one['text']} | {one['mend']} |" in top
            assert f"{'Blocks' if one['blocks'] else 'Needs a decision'}:** {one['text']}. {one['mend']}" in rest


def test_a_tail_that_is_off_warns_in_the_report_and_is_promoted_by_the_approver_alone(
    small_workspace: Workspace, tmp_path: Path
) -> None:
    """A model of which every log-odds was lowered by one and a half."""
    settings, policy = small_workspace.iteration("1").model.settings, default_policy()
    nothing_yet = shutil.ignore_patterns("mlflow", "ledger*", "decisions", "attributions")
    shutil.copytree(small_workspace.root, tmp_path / "work", ignore=nothing_yet)
    workspace = Workspace(tmp_path / "work")
    model, table = fit_iteration(workspace, settings, None, None)
    record = TrainingRecord(workspace.events.digest(), "", "")
    trained = validate_and_register(workspace, recalibrated(model, -1.5), table, policy, "developer", record=record)
    folder = workspace.root / workspace.registry.model(trained.model_version).folder
    blocks = re.findall(
        r"\*\*Blocks:\*\* (its tail .*?)\. Train", (folder / "validation.md").read_text(encoding="utf-8")
    )
    assert len(blocks) == 1
    assert blocks == [doubt for doubt in trained.validation["doubts"] if doubt.startswith("its tail")]
    now = datetime(2026, 7, 2, tzinfo=UTC)
    with pytest.raises(GateError, match="its tail is off"):
        promote(workspace, "reviewer", now, trained.model_version)
    promote(workspace, "reviewer", now, trained.model_version, override=Override(policy.release.approver, "known"))
    assert workspace.registry.promotions()[-1].kind == "override"
