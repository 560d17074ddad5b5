"""Two policies side by side: each change in words, and what it alone does to the book."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from limitlens.limits.policy import Policy
from limitlens.limits.policy_file import at_once, parse_policy
from limitlens.pipeline.cli import app
from limitlens.pipeline.release.compare import compare
from limitlens.pipeline.release.policy_diff import diff_policies
from limitlens.pipeline.workspace import Workspace, default_policy

OLD = at_once(default_policy())
NEW = OLD.text.replace("review_above_pd = 0.100", "review_above_pd = 0.080")
runner = CliRunner()


def quiet(_: str) -> None:
    """Progress nobody reads."""


def changed(*pairs: tuple[str, str]) -> Policy:
    text = OLD.text
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return parse_policy(text)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("review_above_pd = 0.100", "review_above_pd = 0.080", "segments.student.review_above_pd 10% → 8%"),
        ("adverse_above_cents = 20_00", "adverse_above_cents = 30_00", "loss.adverse_above_cents 20.00 → 30.00"),
        ("dwell_days = 28", "dwell_days = 14", "timers.dwell_days 28 days → 14 days"),
        ("max_monthly_inflows = 3.0\n", "", "segments.student.max_monthly_inflows 3 → (not said)"),
        ('action = "close"', 'action = "freeze"', "rules.cash_out.action close → freeze"),
        (", at_least = 0.50 }", ", at_least = 0.60 }", "rules.burst_borrowing.when draw_share_2d at least 0.5 and"),
        ("to_days = 29", "to_days = 29 # weeks", ""),
        (
            'from_days = 1\nto_days = 29\naction = "keep"', 'from_days = 1\nto_days = 29\naction = "review"',
            "delinquency 1 to 29 days: keep, 30 to 89 days: freeze, from 90 days: close → 1 to 29 days: review, 30",
        ),
    ],
)  # fmt: skip
def test_a_change_is_one_line_in_words(old: str, new: str, words: str) -> None:
    found = diff_policies(OLD, changed((old, new)), progress=quiet).changes
    assert [change.words()[: len(words)] for change in found] == ([words] if words else [])


def test_an_added_rule_and_a_removed_segment_are_one_change_each() -> None:
    rule = (
        '[[rules]]\nname = "new"\naction = "review"\nreason = "new_device"\nwhen = [{column = "dpd_days", above = 5}]\n'
    )
    text = OLD.text.replace("[[rules]]", rule + "[[rules]]", 1)
    text = text[: text.index("[segments.growing_loan]")] + text[text.index("# Hard rules act") :]
    found = diff_policies(OLD, parse_policy(text), progress=quiet).changes
    assert [(change.path, change.old is None, change.new is None) for change in found] == [
        (("segments", "growing_loan"), False, True),
        (("rules", "new"), True, False),
    ]


def test_each_change_alone_and_all_together_are_decided_on_the_book(small_workspace: Workspace) -> None:
    new = changed(
        ("increase_below_pd = 0.010", "increase_below_pd = 0.030"), ("from_days = 90", "from_days = 60"),
        ("to_days = 89", "to_days = 59"), ('name = "base"', 'name = "other"'),
    )  # fmt: skip
    found = diff_policies(OLD, new, small_workspace, progress=quiet)
    name, raised, closed = found.changes
    assert name.effect is None
    assert raised.effect and closed.effect and found.together
    assert raised.effect.moved.keys() == {("keep", "increase")}
    assert set(raised.effect.moved) | set(closed.effect.moved) >= set(found.together.moved)
    assert found.together.lines == raised.effect.lines


def test_all_together_moves_what_the_comparison_of_versions_moves(small_workspace: Workspace) -> None:
    version = str(small_workspace.registry.champion())
    champions = small_workspace.iteration(version).policy
    new = changed(("increase_below_pd = 0.010", "increase_below_pd = 0.030"))
    together = diff_policies(champions, new, small_workspace, progress=quiet).together
    compared = compare(small_workspace, version, version, policy=new, progress=quiet).comparison
    assert together
    told = compared.segments.loc["all"]
    assert together.limit_cents == told["raised_cents"] + told["cut_cents"]


def test_a_change_that_cannot_stand_alone_says_why(small_workspace: Workspace) -> None:
    new = changed(("freeze_above_pd = 0.300", "freeze_above_pd = 0.150"), ("= 0.180", "= 0.140"))
    refused = [change for change in diff_policies(OLD, new, small_workspace, progress=quiet).changes if change.refusal]
    assert [change.path[-1] for change in refused] == ["freeze_above_pd"]
    assert "must rise" in refused[0].refusal


def test_the_commands_take_files_and_digests(small_workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text(NEW)
    here = ["--workspace", str(small_workspace.root)]
    checked = runner.invoke(app, ["policy", "check", str(tmp_path / "new.toml"), *here])
    assert "holds together: 4 segments, 4 rules, 3 buckets" in checked.output
    shown = runner.invoke(app, ["policy", "show", small_workspace.registry.policies()[0][:8], *here])
    assert shown.output.startswith(f"policy base ({OLD.digest[:8]})")
    compared = runner.invoke(app, ["policy", "diff", OLD.digest[:8], str(tmp_path / "new.toml"), *here])
    assert "segments.student.review_above_pd 10% → 8%" in compared.output
    assert "all together, on the book of 2026-07-01: " in compared.output


def test_without_a_workspace_there_are_words_but_no_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.toml").write_text(OLD.text)
    Path("new.toml").write_text(NEW)
    shown = runner.invoke(app, ["policy", "diff", "old.toml", "new.toml"])
    assert shown.output == "segments.student.review_above_pd 10% → 8%\n"
    assert not Path("limitlens-work").exists()
